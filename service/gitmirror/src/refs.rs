//! References of a repository, and what git programs print about them. All parsers take any bytes.

use std::collections::BTreeMap;

use burrow_git::Oid;

use crate::rules::well_formed;

/// Full names with what they point at, unpeeled.
pub type Refs = BTreeMap<String, Oid>;

/// More references than this are refused: a server that lists so many is broken, or means harm.
pub const MAX_REFS: usize = 5_000_000;

/// What a remote repository says it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advertised {
    /// Full name of the branch that HEAD stands for.
    pub head: Option<String>,
    /// References, unpeeled, with well-formed names.
    pub refs: Refs,
    /// Names that git itself would not accept; they are left out.
    pub odd: usize,
}

impl Advertised {
    /// Reads what `git ls-remote --symref` prints.
    pub fn parse(stdout: &[u8]) -> Advertised {
        let mut found = Advertised::default();
        for line in stdout.split(|byte| *byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else {
                found.odd += usize::from(!line.is_empty());
                continue;
            };
            if let Some((value, name)) = line.split_once('\t') {
                match value.strip_prefix("ref: ") {
                    Some(target) => found.symref(name, target),
                    None => found.add(name, value),
                }
            }
        }
        found
    }

    /// Notes what a symbolic reference stands for; only HEAD's counts.
    pub fn symref(&mut self, name: &str, target: &str) {
        if name == "HEAD" && target.starts_with("refs/heads/") && well_formed(target) {
            self.head = Some(target.to_owned());
        }
    }

    /// Notes a reference.
    pub fn add(&mut self, name: &str, value: &str) {
        if !name.starts_with("refs/") || name.ends_with("^{}") {
            return;
        }
        match value.parse() {
            Ok(id) if well_formed(name) && self.refs.len() < MAX_REFS => {
                self.refs.insert(name.to_owned(), id);
            }
            _ => self.odd += 1,
        }
    }

    /// Branches among them.
    pub fn heads(&self) -> usize {
        self.refs.range("refs/heads/".to_owned().."refs/heads0".to_owned()).count()
    }
}

/// What a push did to one reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// It is there now.
    Done,
    /// It was so already.
    UpToDate,
    /// It did not have the value that we expected: somebody else moved it.
    Stale,
    /// The destination, or git here, refused it.
    Refused(String),
}

/// Reads what `git push --porcelain` prints: the destination's names with what became of them.
pub fn parse_push(stdout: &[u8]) -> Vec<(String, Pushed)> {
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(stdout).lines() {
        let mut parts = line.splitn(3, '\t');
        let (Some(flag), Some(pair), Some(summary)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let Some((_, to)) = pair.split_once(':') else { continue };
        let result = match flag {
            " " | "+" | "-" | "*" => Pushed::Done,
            "=" => Pushed::UpToDate,
            "!" if summary.contains("(stale info)") => Pushed::Stale,
            "!" => Pushed::Refused(reason(summary)),
            _ => continue,
        };
        found.push((to.to_owned(), result));
    }
    found
}

/// `[remote rejected] (hook declined)` without the brackets around what matters.
fn reason(summary: &str) -> String {
    let inner = summary.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or(summary, |(inner, _)| inner);
    inner.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// One reference that changes: from one value (`None`: not there) to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Full name.
    pub name: String,
    /// What it is now.
    pub old: Option<Oid>,
    /// What it becomes.
    pub new: Option<Oid>,
}

/// What differs between two sets, in the order of names.
pub fn difference(from: &Refs, to: &Refs) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for (name, old) in from {
        let new = to.get(name).copied();
        if new != Some(*old) {
            changes.push(Change { name: name.clone(), old: Some(*old), new });
        }
    }
    changes.extend(to.iter().filter(|(name, _)| !from.contains_key(*name)).map(|(name, new)| Change { name: name.clone(), old: None, new: Some(*new) }));
    changes.sort_by(|a, b| a.name.cmp(&b.name));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

    #[test]
    fn an_advertisement_is_read_without_peeled_tags_and_odd_names() {
        let text = format!(
            "ref: refs/heads/trunk\tHEAD\n{ID}\tHEAD\n{ID}\trefs/heads/trunk\n{ID}\trefs/tags/v1\n{ID}\trefs/tags/v1^{{}}\n{ID}\trefs/heads/a..b\nxyz\trefs/heads/c\n"
        );
        let found = Advertised::parse(text.as_bytes());
        assert_eq!(found.head.as_deref(), Some("refs/heads/trunk"));
        assert_eq!(found.refs.keys().map(String::as_str).collect::<Vec<_>>(), ["refs/heads/trunk", "refs/tags/v1"]);
        assert_eq!((found.odd, found.heads()), (2, 1));
    }

    #[test]
    fn each_line_of_a_push_says_what_became_of_its_reference() {
        let text = format!(
            "To /srv/x.git\n \t{ID}:refs/heads/a\t1..2\n+\t{ID}:refs/heads/b\t1...2 (forced update)\n-\t:refs/heads/c\t[deleted]\n*\t{ID}:refs/tags/d\t[new tag]\n\
             =\t{ID}:refs/heads/e\t[up to date]\n!\t{ID}:refs/heads/f\t[rejected] (stale info)\n!\t{ID}:refs/heads/g\t[remote rejected] (hook (mine) declined)\nDone\n"
        );
        let found = parse_push(text.as_bytes());
        let results: Vec<&Pushed> = found.iter().map(|(_, result)| result).collect();
        let refused = Pushed::Refused("hook (mine) declined".into());
        assert_eq!(results, [&Pushed::Done, &Pushed::Done, &Pushed::Done, &Pushed::Done, &Pushed::UpToDate, &Pushed::Stale, &refused]);
        assert_eq!(found[2].0, "refs/heads/c");
    }

    #[test]
    fn differences_are_told_in_both_directions() {
        let id: Oid = ID.parse().unwrap();
        let other: Oid = "0000000000000000000000000000000000000001".parse().unwrap();
        let refs = |list: &[(&str, Oid)]| list.iter().map(|(n, i)| ((*n).to_owned(), *i)).collect::<Refs>();
        let changes = difference(&refs(&[("refs/a", id), ("refs/b", id), ("refs/c", id)]), &refs(&[("refs/b", other), ("refs/c", id), ("refs/0", id)]));
        let told: Vec<_> = changes.iter().map(|c| (c.name.as_str(), c.old.is_some(), c.new.is_some())).collect();
        assert_eq!(told, [("refs/0", false, true), ("refs/a", true, false), ("refs/b", true, true)]);
    }
}
