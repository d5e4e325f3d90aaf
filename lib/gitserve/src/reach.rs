//! Which commits are published: those that a published reference leads to.
//!
//! The walk from the tips is kept and continued: what it has met needs no second look, and a push only adds to it. Only a reference that left commits
//! behind makes it start anew.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use gix::hashtable::HashSet;
use gix::objs::{CommitRefIter, Kind};
use gix::{ObjectId, Repository};

/// A reference that was moved by more commits than this is treated like one that was set back.
const FORWARD: usize = 20_000;

/// The state of one repository's walk.
#[derive(Default)]
pub(crate) struct Reach {
    tips: HashSet<ObjectId>,
    /// All that was met: looked at, or in `next`.
    met: HashSet<ObjectId>,
    next: BinaryHeap<Waiting>,
}

struct Waiting {
    time: u64,
    id: ObjectId,
    parents: Vec<ObjectId>,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.time, self.id).cmp(&(other.time, other.id))
    }
}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Waiting {}

/// Where parents are looked up.
struct Source<'r> {
    repo: &'r Repository,
    graph: Option<gix::commitgraph::Graph>,
}

impl Source<'_> {
    /// `None`: not a commit that is here; a shallow history ends so.
    fn commit(&self, id: ObjectId) -> Option<Waiting> {
        if let Some(graph) = &self.graph
            && let Some(commit) = graph.commit_by_id(id)
        {
            let parents = commit.iter_parents().filter_map(Result::ok).map(|position| graph.id_at(position).to_owned()).collect();
            return Some(Waiting { time: commit.committer_timestamp(), id, parents });
        }
        let found = self.repo.try_find_object(id).ok()??;
        if found.kind != Kind::Commit {
            return None;
        }
        let parents = CommitRefIter::from_bytes(&found.data, self.repo.object_hash()).parent_ids().collect();
        Some(Waiting { time: commit_time(&found.data).unwrap_or(0), id, parents })
    }
}

/// The committer's time in a commit object, when it is written as git writes it.
pub(crate) fn commit_time(commit: &[u8]) -> Option<u64> {
    use gix::bstr::ByteSlice as _;
    let head = commit.split_str("\n\n").next()?;
    let line = head.lines().find_map(|line| line.strip_prefix(b"committer "))?;
    let (_, time) = line.rsplit_once_str("> ")?;
    let seconds = time.split_str(" ").next()?;
    if seconds.is_empty() || !seconds.iter().all(u8::is_ascii_digit) { None } else { seconds.to_str().ok()?.parse().ok() }
}

impl Reach {
    /// The first of `wanted` to which `tips` (commits) do not lead.
    pub(crate) fn outside(&mut self, repo: &Repository, tips: HashSet<ObjectId>, wanted: &[ObjectId]) -> Option<ObjectId> {
        let source = Source { repo, graph: repo.commit_graph_if_enabled().ok().flatten() };
        if tips != self.tips {
            self.follow(&source, tips);
        }
        wanted.iter().copied().find(|wanted| !self.has(&source, *wanted))
    }

    fn has(&mut self, source: &Source<'_>, wanted: ObjectId) -> bool {
        while !self.met.contains(&wanted) {
            let Some(newest) = self.next.pop() else { return false };
            for parent in newest.parents {
                meet(source, parent, &mut self.met, &mut self.next);
            }
        }
        true
    }

    /// Takes over new tips.
    fn follow(&mut self, source: &Source<'_>, tips: HashSet<ObjectId>) {
        let mut left: HashSet<ObjectId> = self.tips.difference(&tips).copied().collect();
        let (mut met, mut next) = (HashSet::default(), BinaryHeap::new());
        for tip in tips.difference(&self.tips) {
            left.remove(tip);
            meet(source, *tip, &mut met, &mut next);
        }
        // Are the old tips part of what the new ones lead to?
        let mut looked = 0;
        while !left.is_empty() && looked < FORWARD {
            let Some(newest) = next.pop() else { break };
            looked += 1;
            for parent in newest.parents {
                left.remove(&parent);
                meet(source, parent, &mut met, &mut next);
            }
        }
        if left.is_empty() {
            self.next.extend(next.into_iter().filter(|waiting| !self.met.contains(&waiting.id)));
            self.met.extend(met);
        } else {
            *self = Reach::default();
            for tip in &tips {
                meet(source, *tip, &mut self.met, &mut self.next);
            }
        }
        self.tips = tips;
    }
}

fn meet(source: &Source<'_>, id: ObjectId, met: &mut HashSet<ObjectId>, next: &mut BinaryHeap<Waiting>) {
    if !met.contains(&id)
        && let Some(commit) = source.commit(id)
    {
        met.insert(id);
        next.push(commit);
    }
}
