//! Which results, and which of their measurements.

use std::collections::HashSet;

use super::Subject;
use super::extract::Extract;
use super::lexer::SyntaxError;
use super::parse::{self, Query, Wanted};

/// A filter, ready for use.
#[derive(Debug)]
pub struct Filter {
    root: Node,
    /// Fixed lists of projections: other values are filtered out.
    only: Vec<(Extract, HashSet<Vec<u8>>)>,
}

#[derive(Debug)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Unit(Wanted),
    Part(Extract, Wanted),
}

/// What is kept of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// All measurements.
    All,
    /// None.
    Nothing,
    /// Those that are true.
    Some(Vec<bool>),
}

impl Filter {
    /// `*` keeps everything.
    ///
    /// # Errors
    /// The expression is wrong.
    pub fn new(query: &str) -> Result<Filter, SyntaxError> {
        let root = compile(parse::filter(query)?, query)?;
        Ok(Filter { root, only: Vec::new() })
    }

    /// Keeps these values of a part only.
    pub(super) fn restrict(&mut self, part: Extract, values: impl IntoIterator<Item = Vec<u8>>) {
        self.only.push((part, values.into_iter().collect()));
    }

    /// What is kept of this result.
    #[must_use]
    pub fn apply(&self, subject: &Subject<'_>) -> Kept {
        if self.only.iter().any(|(part, values)| !values.contains(part.from(subject))) {
            return Kept::Nothing;
        }
        let kept = self.root.apply(subject);
        match kept {
            Kept::Some(mask) if mask.iter().all(|keep| *keep) => Kept::All,
            Kept::Some(mask) if !mask.contains(&true) => Kept::Nothing,
            kept => kept,
        }
    }
}

fn compile(query: Query, text: &str) -> Result<Node, SyntaxError> {
    let list = |terms: Vec<Query>| terms.into_iter().map(|term| compile(term, text)).collect::<Result<Vec<_>, _>>();
    let wrong = |offset, message: &str| SyntaxError { query: text.to_owned(), offset, message: message.to_owned() };
    Ok(match query {
        Query::And(terms) => Node::And(list(terms)?),
        Query::Or(terms) => Node::Or(list(terms)?),
        Query::Not(term) => Node::Not(Box::new(compile(*term, text)?)),
        Query::Match { key, value, .. } if key == b".unit" => Node::Unit(value),
        Query::Match { key, offset, .. } if key == b".config" => return Err(wrong(offset, ".config is only allowed in projections")),
        Query::Match { key, offset, value } => Node::Part(Extract::of(&key).ok_or_else(|| wrong(offset, "key must not be empty"))?, value),
    })
}

impl Node {
    fn apply(&self, subject: &Subject<'_>) -> Kept {
        let whole = |keep: bool| if keep { Kept::All } else { Kept::Nothing };
        match self {
            Node::Part(part, wanted) => whole(wanted.matches(part.from(subject))),
            Node::Unit(wanted) => Kept::Some(subject.units.iter().map(|unit| wanted.matches(unit.tidied) || wanted.matches(unit.written)).collect()),
            Node::Not(term) => match term.apply(subject) {
                Kept::All => Kept::Nothing,
                Kept::Nothing => Kept::All,
                Kept::Some(mask) => Kept::Some(mask.into_iter().map(|keep| !keep).collect()),
            },
            Node::And(terms) => combine(terms, subject, Kept::All, Kept::Nothing, |a, b| *a &= b),
            Node::Or(terms) => combine(terms, subject, Kept::Nothing, Kept::All, |a, b| *a |= b),
        }
    }
}

/// `decided` ends it; `neutral` says nothing; masks are put together.
fn combine(terms: &[Node], subject: &Subject<'_>, neutral: Kept, decided: Kept, put: impl Fn(&mut bool, bool)) -> Kept {
    let mut result = neutral;
    for term in terms {
        match (term.apply(subject), &mut result) {
            (kept, _) if kept == decided => return decided,
            (Kept::Some(mask), Kept::Some(so_far)) => so_far.iter_mut().zip(mask).for_each(|(a, b)| put(a, b)),
            (Kept::Some(mask), result) => *result = Kept::Some(mask),
            _ => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::super::{Setting, UnitNames};
    use super::*;

    fn kept(query: &str) -> String {
        let setting = |key: &str, value: &str, from_file| Setting { key: key.as_bytes().into(), value: value.as_bytes().into(), from_file };
        let config = [setting("goos", "linux", true), setting(".file", "a.txt", false)];
        let units = [("sec/op", "ns/op"), ("B/op", "B/op"), ("B/s", "MB/s")]
            .map(|(tidied, written)| UnitNames { tidied: tidied.as_bytes(), written: written.as_bytes() });
        let subject = Subject { name: b"Test/a=1/b=x-8", config: &config, units: &units };
        match Filter::new(query).unwrap_or_else(|e| panic!("{e}")).apply(&subject) {
            Kept::All => "all".to_owned(),
            Kept::Nothing => "nothing".to_owned(),
            Kept::Some(mask) => mask.iter().map(|keep| if *keep { 'x' } else { '.' }).collect(),
        }
    }

    #[test]
    fn results_and_measurements() {
        let cases = [
            ("*", "all"),
            ("-*", "nothing"),
            (".name:Test", "all"),
            ("/a:1 /gomaxprocs:8", "all"),
            ("/a:2", "nothing"),
            (".fullname:/b=x/", "all"),
            ("goos:linux", "all"),
            ("goarch:\"\"", "all"),
            (".file:a.txt", "all"),
            (".unit:ns/op", "x.."),
            (".unit:sec/op", "x.."),
            ("-.unit:ns/op", ".xx"),
            (".unit:(ns/op OR B/op)", "xx."),
            (".unit:ns/op .unit:B/op", "nothing"),
            (".unit:ns/op goos:linux", "x.."),
            (".unit:ns/op goos:plan9", "nothing"),
            (".unit:ns/op OR goos:linux", "all"),
            (".unit:ns/op OR goos:plan9", "x.."),
            (".unit:/./", "all"),
        ];
        for (query, expected) in cases {
            assert_eq!(kept(query), expected, "{query}");
        }
    }

    #[test]
    fn keys_that_are_not_allowed() {
        for (query, message, offset) in [("a:b .config:x", ".config is only allowed in projections", 4), ("\"\":x", "key must not be empty", 0)] {
            let error = Filter::new(query).unwrap_err();
            assert_eq!((error.message.as_str(), error.offset), (message, offset));
        }
    }
}
