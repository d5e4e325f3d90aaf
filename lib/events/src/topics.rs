//! Which events somebody wants, or may see.

use burrow_site::Wildcard;

/// A pattern that no topic can match or that is longer than any.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no topic pattern: write something like \"github:owner/*\" or \"gerrit:host/*\", at most {MAX} characters; * stands for anything")]
pub struct BadTopic {
    /// The pattern.
    pub pattern: String,
}

/// Longest pattern, bytes.
const MAX: usize = 500;

/// A choice of topics. Several choices can be joined: then an event must be in each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topics {
    /// All of these must match; each is matched by any of its patterns.
    all: Vec<Vec<Wildcard>>,
}

impl Topics {
    /// Every event.
    pub fn all() -> Topics {
        Topics::default()
    }

    /// Events with a topic that matches one of these patterns; none of them: every event. `*` stands for any characters, `/` too. Upper and lower case differ,
    /// as in the reference's consumer.
    ///
    /// # Errors
    /// [`BadTopic`].
    pub fn parse<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Topics, BadTopic> {
        let patterns: Vec<Wildcard> = patterns.into_iter().map(|pattern| Wildcard::new(pattern.as_ref())).collect();
        for pattern in patterns.iter().map(Wildcard::as_str) {
            if pattern.is_empty() || pattern.len() > MAX || pattern.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(BadTopic { pattern: pattern.chars().take(MAX).collect() });
            }
        }
        // A lone star is meant as everything, also what has no topic.
        let everything = patterns.is_empty() || patterns.iter().any(|pattern| pattern.as_str() == "*");
        Ok(Topics { all: if everything { Vec::new() } else { vec![patterns] } })
    }

    /// Events that are in both.
    #[must_use]
    pub fn and(mut self, other: &Topics) -> Topics {
        self.all.extend(other.all.iter().filter(|patterns| !patterns.is_empty()).cloned());
        self
    }

    /// Whether every event is meant.
    pub fn is_all(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether an event with these topics is meant.
    pub fn matches(&self, topics: &[String]) -> bool {
        self.all.iter().all(|patterns| patterns.iter().any(|pattern| topics.iter().any(|topic| pattern.matches(topic))))
    }

    /// The patterns of the first choice, for asking a server; further ones cannot be asked for.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.all.first().into_iter().flatten().map(Wildcard::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn patterns_choose() {
        let golang = Topics::parse(["github:golang/*", "gerrit:go.googlesource.com/*"]).unwrap();
        assert!(golang.matches(&topics(&["github:golang/go"])));
        assert!(golang.matches(&topics(&["other", "gerrit:go.googlesource.com/a/b"])));
        assert!(!golang.matches(&topics(&["github:golangx/go"])) && !golang.matches(&topics(&["xgithub:golang/go"])) && !golang.matches(&[]));
        let text = topics(&["git:host/a/b.git"]);
        for (pattern, fits) in
            [("*", true), ("git:*.git", true), ("*a*b*", true), ("git:host/a/b.git", true), ("git:*.gi", false), ("*b*a*", false), ("GIT:*", false)]
        {
            assert_eq!(Topics::parse([pattern]).unwrap().matches(&text), fits, "{pattern}");
        }
    }

    #[test]
    fn rights_narrow_a_wish_and_never_widen_it() {
        let rights = Topics::parse(["github:mine/*"]).unwrap();
        let wish = Topics::parse(["*"]).unwrap().and(&rights);
        assert!(wish.matches(&topics(&["github:mine/a"])) && !wish.matches(&topics(&["github:yours/a"])));
        assert!(Topics::all().and(&rights) == rights && Topics::all().and(&Topics::all()).is_all());
        assert!(Topics::parse(["a", "*"]).unwrap().matches(&[]));
    }

    #[test]
    fn patterns_that_cannot_be_meant_are_refused() {
        for bad in ["", "a b", "a\nb"] {
            assert!(Topics::parse([bad]).unwrap_err().to_string().contains("github:owner/*"), "{bad:?}");
        }
        assert!(Topics::parse(["x".repeat(501)]).is_err());
    }
}
