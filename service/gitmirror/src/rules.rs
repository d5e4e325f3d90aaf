//! Which references, and under which names.

use std::fmt;

use burrow_site::Wildcard;
use serde::{Deserialize, Deserializer};

/// A pattern of full names: literal text in which `*` stands for anything, `/` included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Wildcard);

impl Pattern {
    /// From its text.
    pub fn new(text: impl Into<String>) -> Pattern {
        Pattern(Wildcard::new(text))
    }

    /// Fits everything.
    pub fn everything() -> Pattern {
        Pattern::new("*")
    }

    /// Fits what begins so.
    pub fn below(prefix: &str) -> Pattern {
        Pattern::new(format!("{prefix}*"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether a name fits.
    ///
    /// ```
    /// use burrow_gitmirror::rules::Pattern;
    /// assert!(Pattern::new("refs/heads/*").matches("refs/heads/a/b"));
    /// assert!(Pattern::new("refs/heads/release-*.x").matches("refs/heads/release-1.2.x"));
    /// assert!(!Pattern::new("refs/heads/main").matches("refs/heads/main2"));
    /// ```
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() || text.contains(char::is_whitespace) || text.contains(char::is_control) {
            return Err(serde::de::Error::custom(format_args!("{text:?} is not a pattern such as \"refs/heads/*\"")));
        }
        Ok(Pattern::new(text))
    }
}

/// A name that is another one at a destination: both with one `*` for the same text, or both without.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawRename")]
pub struct Rename {
    from: String,
    to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRename {
    from: String,
    to: String,
}

impl TryFrom<RawRename> for Rename {
    type Error = String;

    fn try_from(raw: RawRename) -> Result<Rename, String> {
        Rename::new(&raw.from, &raw.to).ok_or_else(|| {
            format!("a rename from {:?} to {:?} cannot be: both are full names below refs/, each with one '*' or both with none", raw.from, raw.to)
        })
    }
}

impl Rename {
    /// From both patterns; `None` when they do not fit together.
    pub fn new(from: &str, to: &str) -> Option<Rename> {
        let stars = |text: &str| text.matches('*').count();
        let right = stars(from) == stars(to) && stars(from) <= 1 && from.starts_with("refs/") && to.starts_with("refs/");
        right.then(|| Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn apply(&self, name: &str) -> Option<String> {
        let Some((before, after)) = self.from.split_once('*') else { return (self.from == name).then(|| self.to.clone()) };
        let middle = name.strip_prefix(before)?.strip_suffix(after)?;
        Some(self.to.replacen('*', middle, 1))
    }

    /// The name that would become `there`.
    fn undo(&self, there: &str) -> Option<String> {
        Rename { from: self.to.clone(), to: self.from.clone() }.apply(there)
    }
}

/// Which references are meant, and under which names they are on the other side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    rename: Vec<Rename>,
}

impl Rules {
    /// What fits one of `include` and none of `exclude`.
    pub fn new(include: Vec<Pattern>, exclude: Vec<Pattern>, rename: Vec<Rename>) -> Rules {
        Rules { include, exclude, rename }
    }

    /// Whether a reference is meant. What is not below `refs/`, or is this program's own, never is.
    pub fn includes(&self, name: &str) -> bool {
        name.starts_with("refs/")
            && !name.starts_with("refs/burrow/")
            && well_formed(name)
            && self.include.iter().any(|p| p.matches(name))
            && !self.exclude.iter().any(|p| p.matches(name))
    }

    /// The name on the other side, if the reference is meant.
    pub fn map(&self, name: &str) -> Option<String> {
        if !self.includes(name) {
            return None;
        }
        Some(self.rename.iter().find_map(|rename| rename.apply(name)).unwrap_or_else(|| name.to_owned()))
    }

    /// Whether a reference of the other side is ours to delete when nothing is there on this side: some included name would be called so.
    pub fn owns(&self, there: &str) -> bool {
        let renamed = self.rename.iter().filter_map(|rename| rename.undo(there));
        std::iter::once(there.to_owned()).chain(renamed).any(|here| self.map(&here).as_deref() == Some(there))
    }

    /// Beginnings that together cover all included names, for servers that can be asked for a part.
    pub fn prefixes(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.include.iter().map(|pattern| pattern.0.prefix()).map(|p| if p.starts_with("refs/") { p } else { "refs/" }).collect();
        all.sort_unstable();
        all.dedup_by(|later, earlier| later.starts_with(*earlier));
        all
    }
}

/// What git accepts as a full name (`git check-ref-format`). Servers can send anything.
pub fn well_formed(name: &str) -> bool {
    name.len() <= 4096
        && !name.ends_with(['/', '.'])
        && !name.contains("..")
        && !name.contains("@{")
        && name.bytes().all(|byte| byte > b' ' && byte != 0x7f && !matches!(byte, b'~' | b'^' | b':' | b'?' | b'*' | b'[' | b'\\'))
        && name.contains('/')
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(include: &[&str], exclude: &[&str], rename: &[(&str, &str)]) -> Rules {
        let patterns = |list: &[&str]| list.iter().map(|p| Pattern::new(*p)).collect();
        Rules::new(patterns(include), patterns(exclude), rename.iter().map(|(a, b)| Rename::new(a, b).unwrap()).collect())
    }

    #[test]
    fn renamed_names_are_owned_where_they_go() {
        let moved = rules(&["refs/heads/*", "refs/tags/*"], &["refs/heads/private-*"], &[("refs/heads/*", "refs/heads/up/*")]);
        assert_eq!(moved.map("refs/heads/main").as_deref(), Some("refs/heads/up/main"));
        assert_eq!(moved.map("refs/tags/v1").as_deref(), Some("refs/tags/v1"));
        assert_eq!(moved.map("refs/heads/private-x"), None);
        assert!(moved.owns("refs/heads/up/old") && moved.owns("refs/tags/old"));
        assert!(!moved.owns("refs/heads/theirs") && !moved.owns("refs/extra/y"));
        let one = rules(&["refs/heads/*"], &[], &[("refs/heads/master", "refs/heads/main")]);
        assert!(one.owns("refs/heads/main") && one.owns("refs/heads/other"));
    }

    #[test]
    fn other_namespaces_and_our_own_are_never_meant() {
        let all = rules(&["*"], &[], &[]);
        assert!(all.includes("refs/changes/01/1/1") && !all.includes("refs/burrow/keep/x") && !all.includes("HEAD"));
        let usual = rules(&["refs/heads/*", "refs/tags/*"], &[], &[]);
        for name in ["refs/changes/01/1/1", "refs/meta/config", "refs/heads/a..b", "refs/heads/a b", "refs/heads/.x", "refs/heads/x.lock", "refs/heads/"] {
            assert!(!usual.includes(name), "{name}");
        }
        assert!(usual.includes("refs/heads/0123456789012345678901234567890123456789") && usual.includes("refs/heads/ä"));
        assert_eq!(usual.prefixes(), ["refs/heads/", "refs/tags/"]);
        assert_eq!(rules(&["refs/*", "refs/heads/*"], &[], &[]).prefixes(), ["refs/"]);
    }
}
