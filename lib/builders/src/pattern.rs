//! Lists of patterns, as policies and test selections use them (`builders.md` §10.1).

use std::collections::BTreeMap;

use burrow_site::Wildcard;
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
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Patterns {
    written: Vec<String>,
    items: Vec<Item>,
}

/// What an item means.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    adds: bool,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Set(String),
    Names(Wildcard),
}

impl From<Vec<String>> for Patterns {
    fn from(written: Vec<String>) -> Self {
        let item = |text: &String| {
            let (adds, text) = text.strip_prefix('!').map_or((true, text.as_str()), |rest| (false, rest));
            let what = text.strip_prefix('@').map_or_else(|| What::Names(Wildcard::new(text)), |set| What::Set(set.to_owned()));
            Item { adds, what }
        };
        Patterns { items: written.iter().map(item).collect(), written }
    }
}

impl From<Patterns> for Vec<String> {
    fn from(patterns: Patterns) -> Self {
        patterns.written
    }
}

/// Named lists that `@name` stands for.
pub type Sets = BTreeMap<String, Patterns>;

impl Patterns {
    /// How deep named lists may stand for named lists.
    pub(crate) const DEEPEST: usize = 8;

    /// From items as people write them.
    pub fn new<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Self {
        Patterns::from(items.into_iter().map(Into::into).collect::<Vec<String>>())
    }

    /// Everything.
    pub fn all() -> Self {
        Patterns::new(["*"])
    }

    /// Nothing.
    pub fn none() -> Self {
        Patterns::default()
    }

    /// The items, as they were written.
    pub fn items(&self) -> &[String] {
        &self.written
    }

    /// Whether `text` is in the list.
    pub fn has(&self, text: &str, sets: &Sets) -> bool {
        self.has_within(text, sets, Patterns::DEEPEST)
    }

    /// Sets may stand for sets; the loader refuses circles and deeper ones.
    fn has_within(&self, text: &str, sets: &Sets, depth: usize) -> bool {
        let mut found = false;
        for item in &self.items {
            let hit = match &item.what {
                What::Set(name) => depth > 0 && sets.get(name).is_some_and(|set| set.has_within(text, sets, depth - 1)),
                What::Names(names) => names.matches(text),
            };
            if hit {
                found = item.adds;
            }
        }
        found
    }

    /// The items that stand for sets, without `!` and `@`.
    pub fn set_names(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter_map(|item| match &item.what {
            What::Set(name) => Some(name.as_str()),
            What::Names(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_item_that_matches_decides_and_sets_can_be_taken_away() {
        let sets = Sets::from([("web".to_owned(), Patterns::new(["blog", "tour"])), ("most".to_owned(), Patterns::new(["*", "!@web"]))]);
        let list = Patterns::new(["@most", "tour", "!exp"]);
        let inside: Vec<&str> = ["blog", "tour", "exp", "net"].into_iter().filter(|name| list.has(name, &sets)).collect();
        assert_eq!(inside, ["tour", "net"]);
    }
}
