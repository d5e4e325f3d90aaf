//! Which failures shall be built again: the selectors of `retrybuilds` (`dashboard.md` §6.1) and what makes a failure look flaky. Pure; a program gives it
//! the list of failures and the logs.
//!
//! ```
//! use burrow_results::retry::{Selector, failures};
//! let list = failures("1234567890123456789012345678901234567890 linux-amd64 https://build.example.org/log/ab12\n");
//! assert_eq!(list[0].builder, "linux-amd64");
//! let selector = Selector::from_flags("ab", "", false, "", "")?;
//! assert!(selector.may_match(&list[0]));
//! # Ok::<_, burrow_results::retry::NothingSelected>(())
//! ```

use serde::Deserialize;

/// A line of the list of failures (`dashboard.md` §4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Full commit hash.
    pub hash: String,
    /// Builder name.
    pub builder: String,
    /// Address of the log.
    pub log_url: String,
}

impl Failure {
    /// Hash in the log's address; empty if it has none.
    pub fn log_hash(&self) -> &str {
        self.log_url.rsplit_once("/log/").map_or("", |(_, hash)| hash)
    }
}

/// Reads the list of failures; lines of any other shape are left out.
pub fn failures(text: &str) -> Vec<Failure> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let failure = Failure { hash: words.next()?.to_owned(), builder: words.next()?.to_owned(), log_url: words.next()?.to_owned() };
        (words.next().is_none() && failure.hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(failure)
    };
    text.lines().filter_map(line).collect()
}

/// Nothing says which failures are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing selects failures: give --loghash, --substr, --redo-flaky or --builder (with --hash for one commit)")]
pub struct NothingSelected;

/// Which failures are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Those whose log's hash begins so.
    LogHash(String),
    /// Those whose log holds this text, of one builder or (empty) of all.
    Text {
        /// The text.
        text: String,
        /// The builder, or empty.
        builder: String,
    },
    /// Those that look flaky, of one builder or (empty) of all.
    Flaky {
        /// The builder, or empty.
        builder: String,
    },
    /// Those of a builder, at commits whose hash begins so (empty: all on the list).
    Builder {
        /// The builder.
        builder: String,
        /// Beginning of the commit's hash.
        hash: String,
    },
}

impl Selector {
    /// From the flags, which are looked at in this order (`dashboard.md` §6.1, "Precedence").
    ///
    /// # Errors
    /// [`NothingSelected`]
    pub fn from_flags(log_hash: &str, text: &str, flaky: bool, builder: &str, hash: &str) -> Result<Selector, NothingSelected> {
        let builder = builder.to_owned();
        if !log_hash.is_empty() {
            Ok(Selector::LogHash(log_hash.to_ascii_lowercase()))
        } else if !text.is_empty() {
            Ok(Selector::Text { text: text.to_owned(), builder })
        } else if flaky {
            Ok(Selector::Flaky { builder })
        } else if !builder.is_empty() {
            Ok(Selector::Builder { builder, hash: hash.to_ascii_lowercase() })
        } else {
            Err(NothingSelected)
        }
    }

    /// Whether the failure is meant, as far as that can be said without its log.
    pub fn may_match(&self, failure: &Failure) -> bool {
        match self {
            Selector::LogHash(prefix) => failure.log_hash().starts_with(prefix),
            Selector::Text { builder, .. } | Selector::Flaky { builder } => builder.is_empty() || *builder == failure.builder,
            Selector::Builder { builder, hash } => *builder == failure.builder && failure.hash.starts_with(hash),
        }
    }

    /// Whether the log has to be read to decide.
    pub fn needs_log(&self) -> bool {
        matches!(self, Selector::Text { .. } | Selector::Flaky { .. })
    }

    /// Whether a log is what was meant; always true for selectors that need none.
    pub fn log_matches(&self, log: &str, rules: &FlakyRules) -> bool {
        match self {
            Selector::Text { text, .. } => log.contains(text),
            Selector::Flaky { .. } => rules.reason(log).is_some(),
            Selector::LogHash(_) | Selector::Builder { .. } => true,
        }
    }
}

/// What a log looks like when the commit is probably not to blame: the content of `env/flaky.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlakyRules {
    /// The trimmed log has fewer line ends.
    pub fewer_line_ends_than: usize,
    /// The log begins with one of these.
    pub starts_with: Vec<String>,
    /// The log holds one of these.
    pub contains: Vec<String>,
    /// Rules with several conditions.
    pub all: Vec<AllOf>,
}

/// A rule that holds when all of its conditions do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllOf {
    /// All of these texts.
    pub contains: Vec<String>,
    /// And fewer lines than this.
    #[serde(default)]
    pub fewer_lines_than: Option<usize>,
}

impl FlakyRules {
    /// The first rule that holds, as words for people; `None`: the log does not look flaky.
    pub fn reason(&self, log: &str) -> Option<String> {
        if log.trim().matches('\n').count() < self.fewer_line_ends_than {
            return Some("nothing but a line or two".into());
        }
        if let Some(start) = self.starts_with.iter().find(|start| log.starts_with(start.as_str())) {
            return Some(format!("begins with {start:?}"));
        }
        if let Some(text) = self.contains.iter().find(|text| log.contains(text.as_str())) {
            return Some(format!("holds {text:?}"));
        }
        let holds = |rule: &&AllOf| {
            rule.contains.iter().all(|text| log.contains(text.as_str()))
                && rule.fewer_lines_than.is_none_or(|limit| log.lines().count() < limit)
                && !(rule.contains.is_empty() && rule.fewer_lines_than.is_none())
        };
        self.all.iter().find(holds).map(|rule| format!("holds {}", rule.contains.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" and ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(builder: &str, hash: char, log: &str) -> Failure {
        Failure { hash: hash.to_string().repeat(40), builder: builder.into(), log_url: format!("https://build.example.org/log/{log}") }
    }

    #[test]
    fn the_list_is_read_and_other_lines_are_left_out() {
        let hash = "a".repeat(40);
        let text = format!("{hash} linux-amd64 https://x/log/12\n\n<html>\nnot a line of failures here\n{hash} windows-386 https://x/log/34\n");
        let list = failures(&text);
        assert_eq!(list.iter().map(|f| (f.builder.as_str(), f.log_hash())).collect::<Vec<_>>(), [("linux-amd64", "12"), ("windows-386", "34")]);
    }

    #[test]
    fn flags_have_an_order() {
        let all = Selector::from_flags("AB", "text", true, "b", "c");
        assert_eq!(all, Ok(Selector::LogHash("ab".into())));
        assert_eq!(Selector::from_flags("", "text", true, "b", "c"), Ok(Selector::Text { text: "text".into(), builder: "b".into() }));
        assert_eq!(Selector::from_flags("", "", true, "b", "c"), Ok(Selector::Flaky { builder: "b".into() }));
        assert_eq!(Selector::from_flags("", "", false, "b", "C"), Ok(Selector::Builder { builder: "b".into(), hash: "c".into() }));
        assert_eq!(Selector::from_flags("", "", false, "", "c"), Err(NothingSelected), "a commit alone is no selection");
    }

    #[test]
    fn each_selector_takes_what_it_says() {
        let list = [failure("linux", 'a', "12ff"), failure("linux", 'b', "34ff"), failure("windows", 'a', "12ee")];
        let taken = |selector: Selector| list.iter().filter(|f| selector.may_match(f)).map(|f| f.log_hash()).collect::<Vec<_>>();
        assert_eq!(taken(Selector::LogHash("12".into())), ["12ff", "12ee"]);
        assert_eq!(taken(Selector::Builder { builder: "linux".into(), hash: "bb".into() }), ["34ff"]);
        assert_eq!(taken(Selector::Builder { builder: "linux".into(), hash: String::new() }), ["12ff", "34ff"]);
        assert_eq!(taken(Selector::Flaky { builder: "windows".into() }), ["12ee"]);
        assert_eq!(taken(Selector::Text { text: "x".into(), builder: String::new() }).len(), 3);
    }

    #[test]
    fn rules_hold_alone_or_together() {
        let rules = FlakyRules {
            fewer_line_ends_than: 2,
            starts_with: vec!["exit status ".into()],
            contains: vec!["Killed".into()],
            all: vec![
                AllOf { contains: vec!["error: exit status".into()], fewer_lines_than: Some(6) },
                AllOf { contains: vec!["path".into(), "exists".into()], fewer_lines_than: None },
                AllOf { contains: vec![], fewer_lines_than: None },
            ],
        };
        let long = "one\ntwo\nthree\nfour\nfive\nsix\nseven\n";
        assert!(rules.reason(long).is_none(), "an ordinary log is not flaky, and a rule without conditions never holds");
        assert!(rules.reason("\n\n  one\ntwo\n\n").is_some(), "too short once trimmed");
        assert!(rules.reason(&format!("exit status 3\n{long}")).is_some());
        assert!(rules.reason(&format!("{long}Killed\n")).is_some());
        assert!(rules.reason("a\nb\nc\nerror: exit status 1\n").is_some());
        assert!(rules.reason(&format!("{long}error: exit status 1\n")).is_none(), "too long for that rule");
        assert_eq!(rules.reason(&format!("{long}path exists")).as_deref(), Some(r#"holds "path" and "exists""#));
    }
}
