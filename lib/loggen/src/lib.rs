//! Synthetic mutation logs: [`generate`] makes the log of a project as big as one likes, [`torture`] one small log with everything odd that a log can hold, and
//! [`torture_hostile`] what only damage or malice puts there.
//!
//! The big log is for measuring: the same bytes for the reference's maintner and for ours, at the scale of Go. The same version, seed, scale and order give
//! the same bytes on every machine; a test pins digests. It is a model, not a copy: lengths, counts and shapes are drawn so that sums and means come out as they were
//! measured or documented (`spec/maintner.md` §11); what is said in it is nonsense.
//!
//! # The model
//!
//! **GitHub**: 60,000 issues (times the scale, as everything that follows) in 36 repositories, 88 of 100 in the first, one in nine a pull request; more are born the later it
//! is, over thirteen years. An issue has 11.9 updates on average (geometric): labels 31 %, assignees 4 %, milestones 7 %, closing, reopening and locking 8 %, texts 5 %,
//! talk 45 %. In order of time an update is one mutation of the issue, one of its comments, one of its events and, for a pull request, one of its reviews. Users and
//! labels follow Zipf; lengths of texts are log-normal.
//!
//! **Gerrit**: 44 projects, 56 of 100 changes and commits in the first. Each has a linear history on `master` with `HEAD`, tags and release branches. 95,000 changes were
//! born over the last seven and a half years, with 3.6 patch sets and 17.4 commits of metadata each, which read like NoteDb's: creations, patch sets, votes with text,
//! "(2 comments)", tries of the bot, reviewers, hashtags, work in progress, merges. 22 % of them touch a file with the hash of a patch set for a name.
//!
//! **Ids** of git objects are drawn from the seed, not computed from content: nobody can check them in a log, and it is cheaper. Everything that is referred to exists.
//!
//! # Orders
//!
//! [`Order::Time`]: everything happens when it happens, projects and issues interleaved; a parent comes before its child, a reference after both. [`Order::Slurp`]: the
//! same world as a first sync writes it, project by project and repository by repository. Commits come newest first, so that children precede parents; references
//! come in batches of 250 in the order of their names, behind all that they need; an issue comes once, as it is in the end, in pages of a hundred, latest first, then its
//! comments in pages of a hundred, its events and its reviews.
//!
//! # What it makes at scale 1, seed 1
//!
//! Bytes are those of whole records, with headers. The target is that of `spec/maintner.md` §11, in order of time.
//!
//! | what | records | bytes | target | as a first sync | bytes |
//! | --- | --- | --- | --- | --- | --- |
//! | labels and milestones | 36 | 0.0 MB |  | 36 | 0.0 MB |
//! | issues | 774,326 | 217.0 MB | 776 k, 218 MB | 60,000 | 129.7 MB |
//! | comments | 774,326 | 238.0 MB | 776 k, 238 MB | 60,000 | 207.6 MB |
//! | events and reviews | 859,882 | 76.9 MB | 863 k, 74 MB | 66,679 | 42.8 MB |
//! | commits on branches | 70,000 | 71.2 MB | 70 k, 69 MB | 70,000 | 71.2 MB |
//! | patch sets | 344,448 | 377.5 MB | 344 k, 381 MB | 344,448 | 377.5 MB |
//! | metadata | 1,656,562 | 1,012.9 MB | 1.65 M, 1,017 MB | 1,656,562 | 1,012.9 MB |
//! | references | 1,674,372 | 216.3 MB | 1.65 M, 213 MB | 1,780 | 31.1 MB |
//! | all | 6,153,952 | 2,209.7 MB | 6.13 M, 2.21 GB | 2,259,505 | 1,872.8 MB |
//!
//! In them are 367,468 comments (368 k), 800,097 events (817 k), 23,495 reviews, 2.0 M lines of diffstats, and 2,037,050 references (439,956 as a first sync).
//!
//! ```
//! use burrow_loggen::{Order, Plan, generate};
//! use protocol_mutlog::view;
//!
//! let mut gerrit = 0;
//! generate(&Plan { scale: 0.001, seed: 1, order: Order::Time }, &mut |payload| {
//!     gerrit += u32::from(view::Mutation::decode(payload).unwrap().gerrit.is_some());
//!     Ok(())
//! })?;
//! assert!(gerrit > 3000);
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;

use protocol_mutlog::schema::Mutation;

mod gerrit;
mod github;
mod notedb;
mod order;
mod random;
mod text;
mod torture;
mod write;

pub use torture::{torture, torture_hostile};
pub use write::{Cuts, Layout, LogFile, Manifest, Source, WriteError, write_log, write_payloads};

/// When the model's first commit was made, in Unix seconds: 2009-11-10.
const START: u32 = 1_257_894_000;
/// When its first change was made: 2015-05-01.
const CHANGES_START: u32 = 1_430_438_400;
/// When its last mutation happens: 2022-11-10.
const END: u32 = 1_668_121_200;

/// Which log to make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// How big: 1.0 is Go at the end of 2022, 2.2 GB.
    pub scale: f64,
    /// What else is made of the same model.
    pub seed: u64,
    /// In which order.
    pub order: Order,
}

/// In which order the mutations come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// As they happened.
    Time,
    /// As a first sync writes them.
    Slurp,
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Labels and milestones of a repository.
    Lists,
    /// An issue itself.
    Issue,
    /// Comments of an issue.
    Comments,
    /// Events of an issue, or reviews of a pull request.
    Events,
    /// A commit on a branch.
    History,
    /// A commit that was uploaded for review.
    PatchSet,
    /// A commit to a change's metadata.
    Meta,
    /// References.
    Refs,
}

impl Kind {
    /// All of them, in the order of [`Counts`].
    pub const ALL: [Kind; 8] = [Kind::Lists, Kind::Issue, Kind::Comments, Kind::Events, Kind::History, Kind::PatchSet, Kind::Meta, Kind::Refs];
}

/// How many records of a kind there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    /// Records.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// What was made, by [`Kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Counts(pub [Tally; 8]);

impl Counts {
    /// Of one kind.
    pub fn of(&self, kind: Kind) -> Tally {
        self.0[kind as usize]
    }

    /// Of all together.
    pub fn total(&self) -> Tally {
        self.0.iter().fold(Tally::default(), |sum, each| Tally { records: sum.records + each.records, bytes: sum.bytes + each.bytes })
    }
}

/// Where the mutations go.
struct Sink<'a> {
    each: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
    counts: Counts,
}

impl Sink<'_> {
    fn put(&mut self, kind: Kind, mutation: &Mutation) -> io::Result<()> {
        let payload = mutation.encode();
        let tally = &mut self.counts.0[kind as usize];
        tally.records += 1;
        tally.bytes += payload.len() as u64;
        (self.each)(&payload)
    }
}

/// Makes a log: calls `each` with every payload, in order. Holds the outline of all entities meanwhile, about 60 MB per 1.0 of scale.
///
/// # Errors
/// What `each` returns, at once; [`io::ErrorKind::InvalidInput`] if the scale is not above 0 and at most 50.
pub fn generate(plan: &Plan, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<Counts> {
    if !(plan.scale > 0.0 && plan.scale <= 50.0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the scale of a log is above 0 and at most 50, not {}", plan.scale)));
    }
    let github = github::GitHub::new(plan.seed, plan.scale);
    let gerrit = gerrit::Gerrit::new(plan.seed, plan.scale);
    let mut sink = Sink { each, counts: Counts::default() };
    match plan.order {
        Order::Time => order::time(&github, &gerrit, &mut sink)?,
        Order::Slurp => order::slurp(&github, &gerrit, &mut sink)?,
    }
    Ok(sink.counts)
}

/// A count at a scale, at least 1.
fn scaled(count: f64, scale: f64) -> u64 {
    ((count * scale) as u64).max(1)
}

/// Moments from `born` on with these pauses between them; drawn together if they would not end before [`END`].
fn schedule(born: u32, pauses: impl Iterator<Item = u64>) -> Vec<u32> {
    let mut passed = 0_u64;
    let offsets: Vec<u64> = std::iter::once(0)
        .chain(pauses.map(|pause| {
            passed += pause.min(u64::from(END)) + 1;
            passed
        }))
        .collect();
    let room = u64::from(END.saturating_sub(born));
    let whole = offsets.last().copied().unwrap_or(0);
    offsets.into_iter().map(|offset| born + if whole > room { offset * room / whole } else { offset } as u32).collect()
}
