//! Lists of patterns, as policies and test selections use them (`builders.md` §10.1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A list that is read from left to right: `x` adds, `!x` removes, `@set` stands for a named list, and `*` matches any
/// run of characters, `/` included. What no item mentions is not in it.
///
/// ```
/// use burrow_builders::Patterns;
/// let sets = Default::default();
/// let list = Patterns::new(["*", "!secret-*", "secret-garden"]);
/// assert!(list.has("rose", &sets) && list.has("secret-garden", &sets) && !list.has("secret-plan", &sets));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Patterns(Vec<String>);

/// Named lists that `@name` stands for.
pub type Sets = BTreeMap<String, Patterns>;

impl Patterns {
    /// How deep named lists may stand for named lists.
    pub(crate) const DEEPEST: usize = 8;

    /// From items as people write them.
    pub fn new<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Self {
        Patterns(items.into_iter().map(Into::into).collect())
    }

    /// Everything.
    pub fn all() -> Self {
        Patterns::new(["*"])
    }

    /// Nothing.
    pub fn none() -> Self {
        Patterns(Vec::new())
    }

    /// The items, as they were written.
    pub fn items(&self) -> &[String] {
        &self.0
    }

    /// Whether `text` is in the list.
    pub fn has(&self, text: &str, sets: &Sets) -> bool {
        self.has_within(text, sets, Patterns::DEEPEST)
    }

    /// Sets may stand for sets; the loader refuses circles and deeper ones.
    fn has_within(&self, text: &str, sets: &Sets, depth: usize) -> bool {
        let mut found = false;
        for item in &self.0 {
            let (adds, item) = match item.strip_prefix('!') {
                Some(rest) => (false, rest),
                None => (true, item.as_str()),
            };
            let hit = match item.strip_prefix('@') {
                Some(name) => depth > 0 && sets.get(name).is_some_and(|set| set.has_within(text, sets, depth - 1)),
                None => glob(item, text),
            };
            if hit {
                found = adds;
            }
        }
        found
    }

    /// The items that stand for sets, without `!` and `@`.
    pub fn set_names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|item| item.strip_prefix('!').unwrap_or(item).strip_prefix('@'))
    }
}

/// Whether the pattern, in which `*` matches any run of characters, matches the whole text. Linear in practice and
/// never worse than the product of the lengths.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when a later part does not fit: after the last star, one character further.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(c) if text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    p = after;
                    t = from + 1;
                    retry = Some((after, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_runs_and_nothing_else_is_special() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbcd", false),
            ("*/internal/*", "go_test:a/internal/b", true),
            ("src/**", "src/a/b", true),
            ("a?c", "abc", false),
            ("*a*a*a*a*b", &"a".repeat(200), false),
            ("dev.*", "dev", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} on {text}");
        }
    }

    #[test]
    fn the_last_item_that_matches_decides_and_sets_can_be_taken_away() {
        let sets = Sets::from([("web".to_owned(), Patterns::new(["blog", "tour"])), ("most".to_owned(), Patterns::new(["*", "!@web"]))]);
        let list = Patterns::new(["@most", "tour", "!exp"]);
        let inside: Vec<&str> = ["blog", "tour", "exp", "net"].into_iter().filter(|name| list.has(name, &sets)).collect();
        assert_eq!(inside, ["tour", "net"]);
    }
}
