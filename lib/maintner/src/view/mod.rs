//! What readers see.

mod gerrit;
mod git;
mod github;
mod votes;

use std::borrow::Cow;
use std::fmt;

pub use gerrit::{Change, Gerrit, HashtagEdit, Hashtags, Message, Meta, MissingCommits, Project, Reviewers};
pub use git::{Commit, FileChange, Git, Person};
pub use github::{Comment, DismissedReview, Event, Github, Issue, Label, Milestone, MilestoneOf, Repo, Review, Team, User};
pub use votes::Votes;

/// A moment: Unix seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z; may be negative.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: i32,
}

/// A moment with the zone it was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZonedTime {
    /// The moment.
    pub time: Time,
    /// Minutes east of Greenwich.
    pub zone_minutes: i32,
}

/// Name of a git object: 20 bytes, written as 40 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 20]);

impl Hash {
    /// From 40 hex digits.
    pub fn parse(hex: &str) -> Option<Hash> {
        crate::commit::hash(hex.as_bytes()).map(Hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text of the log. It need not be UTF-8; shown, other bytes become U+FFFD.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text<'a>(pub &'a [u8]);

impl<'a> Text<'a> {
    /// The bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// As text; bytes that are none become U+FFFD.
    pub fn lossy(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.0)
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.lossy())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.lossy())
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

/// Which of two answers is wanted where Burrow knows better than the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reading {
    /// Burrow's.
    #[default]
    Ours,
    /// The reference's, with its faults: `docs/maintner-dump.md` lists them.
    Reference,
}
