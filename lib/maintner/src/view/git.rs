//! Commits and people.

use std::collections::HashSet;

use protocol_mutlog::view::GitCommit;

use crate::commit::{self, zone_minutes};
use crate::notedb::line_value;
use crate::rows::{CommitRow, commit_flag};
use crate::table::{NONE, hash_bytes};
use crate::view::{Hash, Text, Time, ZonedTime};
use crate::{View, apply_git};

impl View {
    /// Everything git.
    pub fn git(&self) -> Git<'_> {
        Git { view: self }
    }
}

/// All commits, of all projects.
#[derive(Clone, Copy, Debug)]
pub struct Git<'a> {
    pub(crate) view: &'a View,
}

impl<'a> Git<'a> {
    /// A commit by its name; `None` if it is not known, or only as somebody's parent.
    pub fn commit(self, hash: &Hash) -> Option<Commit<'a>> {
        let row = self.view.state.git.find_commit(&hash.0)?;
        Some(Commit { view: self.view, row }).filter(|commit| !commit.is_placeholder())
    }

    /// A commit by its name, also if nothing but the name is known.
    pub fn mentioned(self, hash: &Hash) -> Option<Commit<'a>> {
        self.view.state.git.find_commit(&hash.0).map(|row| Commit { view: self.view, row })
    }

    /// All commits, in no particular order; those that are only mentioned, too.
    pub fn commits(self) -> impl Iterator<Item = Commit<'a>> {
        (0..self.view.state.git.commits.len()).map(move |row| Commit { view: self.view, row })
    }

    /// How many commits there are, with those that are only mentioned.
    pub fn commit_count(self) -> usize {
        self.view.state.git.commits.len() as usize
    }

    /// The commit that once was this Mercurial changeset.
    pub fn of_hg(self, hg: &str) -> Option<Commit<'a>> {
        let (log, git) = (&self.view.state.log, &self.view.state.git);
        let row = git.hg_index.find(hash_bytes(hg.as_bytes()), |row| log.text(git.hg.at(row).hg) == hg.as_bytes())?;
        Some(Commit { view: self.view, row: git.hg.get(row)?.commit })
    }
}

/// A commit.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    pub(crate) view: &'a View,
    pub(crate) row: u32,
}

impl PartialEq for Commit<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

impl<'a> Commit<'a> {
    pub(crate) fn data(self) -> CommitRow {
        self.view.state.git.commits.at(self.row)
    }

    fn encoded(self) -> GitCommit<'a> {
        GitCommit::decode(self.view.state.log.text(self.data().source)).unwrap_or_default()
    }

    pub(crate) fn parsed(self) -> commit::Commit<'a> {
        commit::Commit::parse(self.encoded().raw)
    }

    /// Its name.
    pub fn hash(self) -> Hash {
        Hash(self.data().hash)
    }

    /// Whether nothing but its name is known: it is somebody's parent and was not in the log yet.
    pub fn is_placeholder(self) -> bool {
        self.data().has(commit_flag::PLACEHOLDER)
    }

    /// The object as git has it.
    pub fn raw(self) -> &'a [u8] {
        self.encoded().raw
    }

    /// Its tree.
    pub fn tree(self) -> Option<Hash> {
        self.parsed().tree.map(Hash)
    }

    /// Its first parent.
    pub fn first_parent(self) -> Option<Commit<'a>> {
        let parent = self.data().parent;
        (parent != NONE).then_some(Commit { view: self.view, row: parent })
    }

    /// Its parents, in order.
    pub fn parents(self) -> Vec<Commit<'a>> {
        let data = self.data();
        if !data.has(commit_flag::MERGE) {
            return self.first_parent().into_iter().collect();
        }
        let git = &self.view.state.git;
        let rows = apply_git::raw(&self.view.state.log, data.source).map(commit::parents).into_iter().flatten();
        rows.filter_map(|hash| git.find_commit(&hash)).map(|row| Commit { view: self.view, row }).collect()
    }

    /// Who wrote it; nobody if it does not say.
    pub fn author(self) -> Person<'a> {
        Person(Text(self.view.state.git.people.text(&self.view.state.log, self.data().author)))
    }

    /// When it was written.
    pub fn author_time(self) -> Option<ZonedTime> {
        self.parsed().author.map(zoned)
    }

    /// Who committed it.
    pub fn committer(self) -> Person<'a> {
        Person(Text(self.parsed().committer.map_or(b"", |committer| committer.person)))
    }

    /// When it was committed.
    pub fn commit_time(self) -> Option<Time> {
        let data = self.data();
        data.has(commit_flag::TIMED).then_some(Time { seconds: data.time, nanos: 0 })
    }

    /// When it was committed, with the zone.
    pub fn commit_time_zoned(self) -> Option<ZonedTime> {
        self.parsed().committer.map(zoned)
    }

    /// Value of the first line `Reviewer: ` of its message.
    pub fn reviewer(self) -> Option<Person<'a>> {
        line_value(self.message().0, b"Reviewer: ").filter(|(value, _)| !value.is_empty()).map(|(value, _)| Person(Text(value)))
    }

    /// Its message, subject and body.
    pub fn message(self) -> Text<'a> {
        Text(self.parsed().message)
    }

    /// First line of its message, trimmed.
    pub fn summary(self) -> Text<'a> {
        let message = self.message().0;
        let end = memchr::memchr(b'\n', message).unwrap_or(message.len());
        Text(commit::trim(message.get(..end).unwrap_or(message)))
    }

    /// What it changes against its parent, sorted by name.
    pub fn files(self) -> Vec<FileChange<'a>> {
        let files = self.encoded().diff_tree.map(|tree| tree.file).unwrap_or_default();
        let mut files: Vec<_> =
            files.iter().map(|file| FileChange { name: Text(file.file), added: file.added, deleted: file.deleted, binary: file.binary }).collect();
        files.sort_by_key(|file| file.name);
        files
    }

    /// Whether it changes the same files by the same numbers of lines as another one.
    pub fn same_diff_stat(self, other: Commit<'_>) -> bool {
        self.files() == other.files()
    }

    /// Whether `other` is among its ancestors. A commit is not its own ancestor.
    pub fn has_ancestor(self, other: Commit<'_>) -> bool {
        let mut seen = HashSet::new();
        let mut left = vec![self.row];
        while let Some(row) = left.pop() {
            for parent in (Commit { view: self.view, row }).parents() {
                if parent.hash() == other.hash() {
                    return true;
                }
                if seen.insert(parent.row) {
                    left.push(parent.row);
                }
            }
        }
        false
    }
}

fn zoned(who: commit::Signature<'_>) -> ZonedTime {
    ZonedTime { time: Time { seconds: who.seconds, nanos: 0 }, zone_minutes: zone_minutes(who.zone) }
}

/// A file that a commit changes: a line of `git diff-tree --numstat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileChange<'a> {
    /// Path.
    pub name: Text<'a>,
    /// Lines added.
    pub added: i64,
    /// Lines deleted.
    pub deleted: i64,
    /// It is no text; then there are no numbers of lines.
    pub binary: bool,
}

/// `Name <mail>`, as commits write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Person<'a>(pub Text<'a>);

impl<'a> Person<'a> {
    /// What stands between `<` and `>`; empty if there is no such thing.
    pub fn email(self) -> Text<'a> {
        let bytes = self.0.0;
        let (open, close) = (memchr::memchr(b'<', bytes), memchr::memchr(b'>', bytes));
        Text(open.zip(close).and_then(|(open, close)| bytes.get(open + 1..close)).unwrap_or(b""))
    }

    /// What stands before `<`, trimmed; all of it if there is none.
    pub fn name(self) -> Text<'a> {
        let bytes = self.0.0;
        match memchr::memchr(b'<', bytes) {
            Some(open) => Text(commit::trim(bytes.get(..open).unwrap_or(b""))),
            None => self.0,
        }
    }
}
