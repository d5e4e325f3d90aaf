//! Gerrit projects: their history, their changes with patch sets, and the references that point there. What the changes' metadata says is in [`crate::notedb`].
//!
//! The id of an object is drawn from the seed and the object's place; it is not the digest of its content. Nothing that reads a log checks it, and so the
//! parent of anything can be named without making the parent.

use protocol_mutlog::schema::{GerritMutation, GitCommit, GitDiffTree, GitDiffTreeFile, GitRef, Mutation};

use crate::random::{Id, Purpose, Random};
use crate::{CHANGES_START, END, START, scaled, schedule, text};

/// Projects of the model; 56 of 100 changes are in the first.
const PROJECTS: [&str; 44] = [
    "go",
    "tools",
    "build",
    "net",
    "crypto",
    "sys",
    "website",
    "text",
    "mod",
    "exp",
    "vuln",
    "vulndb",
    "oauth2",
    "image",
    "mobile",
    "perf",
    "blog",
    "sync",
    "review",
    "debug",
    "arch",
    "term",
    "time",
    "tour",
    "talks",
    "benchmarks",
    "example",
    "lint",
    "playground",
    "pkgsite",
    "pkgsite-metrics",
    "proposal",
    "protobuf",
    "scratch",
    "sublime-build",
    "sublime-config",
    "vscode-go",
    "xerrors",
    "dl",
    "gddo",
    "gofrontend",
    "grpc-review",
    "gocloud",
    "google-api-go-client",
];

/// A project.
pub(crate) struct Project {
    pub(crate) name: String,
    /// When each commit of its master branch was made, oldest first. There is at least one.
    pub(crate) history: Vec<u32>,
}

/// A change.
pub(crate) struct Change {
    pub(crate) project: u8,
    pub(crate) number: u32,
    pub(crate) born: u32,
    /// A person.
    pub(crate) owner: u32,
}

/// What a step of a change's life is. Each is one commit to its metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Create,
    NewPatchSet,
    Vote,
    Comments,
    TryRun,
    TryBegin,
    TryEnd,
    Reviewers,
    /// So many hashtags are set now, one more than before.
    HashtagAdded,
    /// So many are left.
    HashtagRemoved,
    WorkInProgress,
    Ready,
    Merged,
    Abandoned,
}

/// A step of a change's life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) time: u32,
    /// From 0.
    pub(crate) place: u16,
    /// The newest patch set then.
    pub(crate) patch_set: u8,
    pub(crate) act: Act,
    /// See [`Act`].
    pub(crate) hashtags: u8,
}

/// All of Gerrit that the model has.
pub(crate) struct Gerrit {
    pub(crate) seed: u64,
    pub(crate) people: usize,
    pub(crate) projects: Vec<Project>,
    /// In order of birth, which is that of their numbers.
    pub(crate) changes: Vec<Change>,
}

/// The mutation of a project with one commit.
pub(crate) fn commit_mutation(project: &Project, commit: GitCommit) -> Mutation {
    Mutation { gerrit: Some(GerritMutation { project: project.name.clone().into_bytes(), commits: vec![commit], ..Default::default() }), ..Default::default() }
}

/// The mutation of a project with references.
pub(crate) fn refs_mutation(project: &Project, refs: Vec<GitRef>) -> Mutation {
    Mutation { gerrit: Some(GerritMutation { project: project.name.clone().into_bytes(), refs, ..Default::default() }), ..Default::default() }
}

/// A reference.
pub(crate) fn git_ref(name: impl Into<Vec<u8>>, id: Id) -> GitRef {
    GitRef { ref_name: name.into(), sha1: id.0.into(), ..Default::default() }
}

impl Gerrit {
    pub(crate) fn new(seed: u64, scale: f64) -> Gerrit {
        // Like Go's: the first project has more than half of everything, the others follow Zipf.
        let share = |random: &mut Random| if random.percent(56) { 0 } else { 1 + random.zipf(PROJECTS.len() - 1) };
        let mut projects: Vec<Project> = PROJECTS
            .iter()
            .enumerate()
            .map(|(place, name)| {
                let host = if place < PROJECTS.len() - 2 { "go" } else { "code" };
                // The first commit is older than any change, which needs a parent.
                Project { name: format!("{host}.googlesource.com/{name}"), history: vec![START + place as u32] }
            })
            .collect();
        for each in 0..scaled(70_000.0, scale).saturating_sub(PROJECTS.len() as u64) {
            let mut random = Random::of(seed, Purpose::Plan, 3, each);
            let project = share(&mut random);
            let since = if project == 0 { START } else { START + project as u32 * 3_000_000 };
            projects[project].history.push(since + random.below(u64::from(END - since)) as u32);
        }
        for project in &mut projects {
            project.history.sort_unstable();
        }
        let people = scaled(9_000.0, scale).max(30) as usize;
        let mut changes: Vec<Change> = (0..scaled(95_000.0, scale))
            .map(|each| {
                let mut random = Random::of(seed, Purpose::Plan, 4, each);
                let born = CHANGES_START + (f64::from(END - CHANGES_START) * random.growth()) as u32;
                Change { project: share(&mut random) as u8, number: 0, born, owner: random.zipf(people) as u32 }
            })
            .collect();
        changes.sort_by_key(|change| change.born);
        let mut number = 1_000;
        for (place, change) in changes.iter_mut().enumerate() {
            // Numbers have gaps: other projects of the server take them.
            number += 1 + Random::of(seed, Purpose::Plan, 5, place as u64).below(8) as u32;
            change.number = number;
        }
        Gerrit { seed, people, projects, changes }
    }

    /// The life of a change.
    pub(crate) fn steps(&self, change: usize) -> Vec<Step> {
        let mut random = Random::of(self.seed, Purpose::Change, change as u64, 0);
        let mut steps = Vec::with_capacity(24);
        let mut hashtags = 0;
        let mut working = false;
        let mut push = |act, patch_set, hashtags| steps.push(Step { time: 0, place: 0, patch_set, act, hashtags });
        // 3.62 patch sets with 4.55 steps each and 0.93 steps at the end are 17.4.
        let patch_sets = 1 + random.geometric(2.62).min(199) as u8;
        for patch_set in 1..=patch_sets {
            push(if patch_set == 1 { Act::Create } else { Act::NewPatchSet }, patch_set, hashtags);
            for _ in 0..random.geometric(2.84).min(80) {
                match random.below(80) {
                    0..28 => push(Act::Comments, patch_set, hashtags),
                    28..50 => push(Act::Vote, patch_set, hashtags),
                    50..60 => [Act::TryRun, Act::TryBegin, Act::TryEnd].into_iter().for_each(|act| push(act, patch_set, hashtags)),
                    60..72 => push(Act::Reviewers, patch_set, hashtags),
                    72..76 if hashtags > 1 || hashtags == 1 && random.percent(30) => {
                        hashtags -= 1;
                        push(Act::HashtagRemoved, patch_set, hashtags);
                    }
                    72..76 => {
                        hashtags += 1;
                        push(Act::HashtagAdded, patch_set, hashtags);
                    }
                    _ => {
                        working = !working;
                        push(if working { Act::WorkInProgress } else { Act::Ready }, patch_set, hashtags);
                    }
                }
            }
        }
        match random.below(100) {
            0..80 => push(Act::Merged, patch_sets, hashtags),
            80..93 => push(Act::Abandoned, patch_sets, hashtags),
            _ => {}
        }
        let pauses = (1..steps.len()).map(|_| random.log_normal(4_000.0, 2.4));
        let times = schedule(self.changes[change].born, pauses);
        for (place, (step, time)) in steps.iter_mut().zip(times).enumerate() {
            (step.time, step.place) = (time, place as u16);
        }
        steps
    }

    /// The `place`-th commit of a project's master branch.
    pub(crate) fn history_id(&self, project: usize, place: usize) -> Id {
        Id::draw(&mut Random::of(self.seed, Purpose::Id, (project as u64) << 32 | 1 << 63, place as u64))
    }

    pub(crate) fn patch_set_id(&self, change: usize, patch_set: u8) -> Id {
        Id::draw(&mut Random::of(self.seed, Purpose::Id, change as u64, u64::from(patch_set) << 32))
    }

    pub(crate) fn meta_id(&self, change: usize, place: u16) -> Id {
        Id::draw(&mut Random::of(self.seed, Purpose::Id, change as u64, u64::from(place)))
    }

    /// `I…`, the name under which a change is known through all its patch sets.
    pub(crate) fn change_id(&self, change: usize) -> String {
        format!("I{}", Id::draw(&mut Random::of(self.seed, Purpose::Id, change as u64, 1 << 62)).text())
    }

    /// Which older patch set the message and the files of this one are those of.
    fn versions(&self, change: usize, patch_set: u8) -> (u64, u64) {
        let (mut message, mut files) = (1, 1);
        for each in 2..=patch_set {
            let mut random = Random::of(self.seed, Purpose::PatchSet, change as u64, u64::from(each));
            // Most uploads leave the message alone; a rebase leaves the files alone.
            if random.percent(30) {
                message = u64::from(each);
            }
            if random.percent(80) {
                files = u64::from(each);
            }
        }
        (message, files)
    }

    /// Message of a commit, with trailers. `reviewed`: the change from which it came to its branch.
    fn message(&self, project: usize, key: (u64, u64), change_id: &str, reviewed: Option<u32>) -> Vec<u8> {
        let mut random = Random::of(self.seed, Purpose::Message, key.0, key.1);
        let mut out = Vec::with_capacity(700);
        text::title(&mut random, &mut out);
        out.extend_from_slice(b"\n\n");
        // A commit on a branch has more trailers and no more bytes.
        let median = if reviewed.is_some() { 180.0 } else { 350.0 };
        let length = random.log_normal(median, 0.9).min(20_000) as usize;
        text::prose(&mut random, &mut out, length);
        out.extend_from_slice(b"\n\n");
        let issue = 1 + random.below(60_000);
        let kind = match random.below(100) {
            0..30 => "Fixes ",
            30..45 => "Updates ",
            45..55 => "For ",
            _ => "",
        };
        if !kind.is_empty() {
            let repo = if project == 0 { "" } else { "golang/go" };
            out.extend_from_slice(format!("{kind}{repo}#{issue}\n\n").as_bytes());
        }
        out.extend_from_slice(b"Change-Id: ");
        out.extend_from_slice(change_id.as_bytes());
        out.push(b'\n');
        if let Some(number) = reviewed {
            let name = self.projects[project].name.rsplit('/').next().unwrap_or_default();
            out.extend_from_slice(format!("Reviewed-on: https://go-review.googlesource.com/c/{name}/+/{number}\n").as_bytes());
            for key in ["Reviewed-by: ", "TryBot-Result: "] {
                out.extend_from_slice(key.as_bytes());
                text::person(random.zipf(self.people), &mut out);
                out.push(b'\n');
            }
        }
        out
    }

    /// The subject of the patch set's message.
    pub(crate) fn subject(&self, change: usize, patch_set: u8) -> Vec<u8> {
        let mut out = Vec::with_capacity(80);
        let (message, _) = self.versions(change, patch_set);
        text::title(&mut Random::of(self.seed, Purpose::Message, change as u64, message), &mut out);
        out
    }

    /// What a commit changes: files in the order of their paths, none twice.
    fn files(&self, key: (u64, u64)) -> Option<GitDiffTree> {
        let mut random = Random::of(self.seed, Purpose::Files, key.0, key.1);
        let mut file: Vec<GitDiffTreeFile> = (0..1 + random.geometric(3.0).min(60))
            .map(|_| {
                let mut path = Vec::with_capacity(40);
                text::path(&mut random, &mut path);
                GitDiffTreeFile { file: path, added: random.log_normal(12.0, 1.3) as i64, deleted: random.log_normal(5.0, 1.4) as i64, ..Default::default() }
            })
            .collect();
        file.sort_by(|one, other| one.file.cmp(&other.file));
        file.dedup_by(|one, other| one.file == other.file);
        Some(GitDiffTree { file, ..Default::default() })
    }

    /// `Name <mail> seconds zone` of a person at a moment.
    fn signature(&self, person: usize, time: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(80);
        text::person(person, &mut out);
        out.extend_from_slice(format!(" {time} {}", text::zone(person)).as_bytes());
        out
    }

    /// The `place`-th commit of a project's master branch.
    pub(crate) fn history_commit(&self, project: usize, place: usize) -> GitCommit {
        let time = self.projects[project].history[place];
        let key = (project as u64 | 1 << 63, place as u64);
        let mut random = Random::of(self.seed, Purpose::History, key.0, key.1);
        let author = self.signature(random.zipf(self.people), time.saturating_sub(random.below(200_000) as u32));
        let committer = self.signature(random.zipf(self.people), time);
        let parents: Vec<Id> = place.checked_sub(1).map(|before| self.history_id(project, before)).into_iter().collect();
        let change_id = format!("I{}", Id::draw(&mut random).text());
        let message = self.message(project, key, &change_id, Some(1_000 + random.below(400_000) as u32));
        let raw = text::raw_commit(Id::draw(&mut random), &parents, &author, &committer, &message);
        GitCommit { sha1: self.history_id(project, place).0.into(), raw, diff_tree: self.files(key), ..Default::default() }
    }

    /// The commit of a patch set that was uploaded then, on top of master as it was then.
    pub(crate) fn patch_set_commit(&self, change: usize, patch_set: u8, time: u32) -> GitCommit {
        let of = &self.changes[change];
        let project = usize::from(of.project);
        let mut random = Random::of(self.seed, Purpose::PatchSet, change as u64, u64::from(patch_set) << 32);
        let (message, files) = self.versions(change, patch_set);
        let base = self.projects[project].history.partition_point(|commit| *commit <= time).saturating_sub(1);
        let author = self.signature(of.owner as usize, of.born);
        let committer = self.signature(of.owner as usize, time);
        let message = self.message(project, (change as u64, message), &self.change_id(change), None);
        let raw = text::raw_commit(Id::draw(&mut random), &[self.history_id(project, base)], &author, &committer, &message);
        GitCommit { sha1: self.patch_set_id(change, patch_set).0.into(), raw, diff_tree: self.files((change as u64, files)), ..Default::default() }
    }

    /// `refs/changes/34/1234/` and what follows.
    pub(crate) fn change_ref(&self, change: usize, last: &str) -> String {
        let number = self.changes[change].number;
        format!("refs/changes/{:02}/{number}/{last}", number % 100)
    }

    /// Tags and release branches of a project: the place of the commit in its history, and the name.
    pub(crate) fn releases(&self, project: usize) -> Vec<(usize, String)> {
        let commits = self.projects[project].history.len();
        let count = if project == 0 { 57 } else { 8 };
        let mut releases = Vec::new();
        for each in 0..count {
            let place = (each + 1) * commits / (count + 1);
            let (minor, patch) = (1 + each / 3, each % 3);
            match (project, patch) {
                (0, 0) => releases.extend([(place, format!("refs/heads/release-branch.go1.{minor}")), (place, format!("refs/tags/go1.{minor}"))]),
                (0, _) => releases.push((place, format!("refs/tags/go1.{minor}.{patch}"))),
                _ => releases.push((place, format!("refs/tags/v0.{}.0", each + 1))),
            }
        }
        releases
    }
}
