//! Logs of everything odd.
//!
//! [`torture`] holds what a log can hold and the reference survives, so that what it and we make of it can be compared. [`torture_hostile`] holds what ends the
//! reference or sends it round for ever; a corpus of ours must take it without a crash.

use protocol_mutlog::schema::{
    BoolChange, GerritMutation, GitCommit, GitDiffTree, GitDiffTreeFile, GitRef, GithubIssueMutation, GithubLabel, GithubUser, Mutation, StringChange,
    Timestamp,
};
use protocol_mutlog::{MAX_SEGMENT, append_record, wire};

use crate::gerrit::git_ref;
use crate::random::{Id, Purpose, Random};
use crate::text::{self, SERVER};

mod changes;
mod commits;
mod hostile;
mod issues;
mod votes;

pub use hostile::torture_hostile;

const GO: &str = "go.googlesource.com/go";
const NET: &str = "go.googlesource.com/net";

/// Everything odd that the reference survives, as payloads in log order. Every commit that is named as a parent is there in the end. `big` adds a record that
/// fills the first segment to exactly 16 MiB and one of 20 MiB.
pub fn torture(big: bool) -> Vec<Vec<u8>> {
    let mut log = Log::default();
    nothing(&mut log);
    commits::all(&mut log);
    changes::all(&mut log);
    votes::all(&mut log);
    issues::all(&mut log);
    if big {
        let framed = log.framed();
        log.0.push(filler(framed));
        let mut issue = about(901);
        issue.comment = vec![protocol_mutlog::schema::GithubIssueCommentMutation {
            id: 90_001,
            body: vec![b'x'; 20 << 20],
            created: at(1_500_000_000),
            ..Default::default()
        }];
        log.issue(issue);
        log.issue(GithubIssueMutation { title: b"behind the big ones".into(), ..about(902) });
    }
    log.0
}

/// A record that says nothing and brings a segment of `framed` bytes to exactly 16 MiB.
fn filler(framed: u64) -> Vec<u8> {
    let mut header = Vec::new();
    append_record(&mut header, framed, b"");
    // The header says a length of six or seven digits and not one of one digit.
    let room = MAX_SEGMENT.saturating_sub(framed + header.len() as u64 - 1);
    let payload = (6..=7).map(|digits| room.saturating_sub(digits)).find(|payload| format!("{payload:x}").len() as u64 + payload == room).unwrap_or(0);
    let mut out = Vec::new();
    // Two bytes of tag, four of length.
    wire::put_bytes(&mut out, 1000, &vec![b'.'; payload.saturating_sub(6) as usize]);
    out
}

/// Records without anything in them that is known.
fn nothing(log: &mut Log) {
    log.0.push(Vec::new());
    log.put(Mutation { unknown: unknown_fields(), ..Default::default() });
    log.put(Mutation { git: Some(Default::default()), ..Default::default() });
    log.put(Mutation { github: Some(Default::default()), ..Default::default() });
    log.put(Mutation { github_issue: Some(GithubIssueMutation { number: 5, title: b"of no repository".into(), ..Default::default() }), ..Default::default() });
    log.put(Mutation { github_issue: Some(GithubIssueMutation { number: 0, title: b"of no number".into(), ..about(0) }), ..Default::default() });
}

/// Fields of numbers that are ours to give, in every form there is: text, number, 64 bits, 32 bits, a group.
fn unknown_fields() -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_bytes(&mut out, 1000, "später".as_bytes());
    wire::put_number(&mut out, 1001, u64::MAX);
    let mut tagged = |number: u64, form: u64, bytes: &[u8]| {
        wire::put_varint(&mut out, number << 3 | form);
        out.extend_from_slice(bytes);
    };
    tagged(1002, 1, &[1; 8]);
    tagged(1003, 5, &[2; 4]);
    tagged(1004, 3, &[0x08, 0x01]);
    tagged(1004, 4, &[]);
    tagged(500_000_000, 0, &[7]);
    out
}

/// A log that grows.
#[derive(Default)]
struct Log(Vec<Vec<u8>>);

impl Log {
    fn put(&mut self, mutation: Mutation) {
        self.0.push(mutation.encode());
    }

    fn issue(&mut self, mutation: GithubIssueMutation) {
        self.put(Mutation { github_issue: Some(mutation), ..Default::default() });
    }

    fn gerrit(&mut self, project: &str, commits: Vec<GitCommit>, refs: Vec<GitRef>) {
        self.put(Mutation { gerrit: Some(GerritMutation { project: project.into(), commits, refs, ..Default::default() }), ..Default::default() });
    }

    /// Bytes of all records so far in one segment.
    fn framed(&self) -> u64 {
        let mut header = Vec::new();
        self.0.iter().fold(0, |offset, payload| {
            header.clear();
            append_record(&mut header, offset, payload);
            offset + header.len() as u64
        })
    }
}

/// The id of what is called so.
fn id(name: &str) -> Id {
    let digest = name.bytes().fold(0xcbf2_9ce4_8422_2325, |digest: u64, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    Id::draw(&mut Random::of(0, Purpose::Torture, digest, 0))
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp::new(seconds, 0))
}

fn user(id: i64, login: &str) -> Option<GithubUser> {
    Some(GithubUser { id, login: login.into(), ..Default::default() })
}

fn label(id: i64, name: &str) -> GithubLabel {
    GithubLabel { id, name: name.into(), ..Default::default() }
}

fn set(val: bool) -> Option<BoolChange> {
    Some(BoolChange { val, ..Default::default() })
}

fn words(text: &str) -> Option<StringChange> {
    Some(StringChange { val: text.into(), ..Default::default() })
}

/// A mutation of an issue of `golang/go`, with the moment of its birth.
fn about(number: i32) -> GithubIssueMutation {
    GithubIssueMutation { owner: b"golang".into(), repo: b"go".into(), number, created: at(1_400_000_000 + i64::from(number)), ..Default::default() }
}

/// A line of a diffstat.
fn file(name: &str, added: i64, deleted: i64) -> GitDiffTreeFile {
    GitDiffTreeFile { file: name.into(), added, deleted, ..Default::default() }
}

/// What a commit is made of.
struct Commit {
    name: &'static str,
    parents: Vec<Id>,
    author: Vec<u8>,
    committer: Vec<u8>,
    /// Whole lines behind the committer.
    headers: Vec<u8>,
    message: Vec<u8>,
    files: Vec<GitDiffTreeFile>,
}

impl Commit {
    /// Without a parent, by Ada in the summer of 2017.
    fn new(name: &'static str, message: &str) -> Commit {
        let ada = b"Ada Lovelace <ada@example.org> 1500000000 +0000";
        Commit { name, parents: Vec::new(), author: ada.into(), committer: ada.into(), headers: Vec::new(), message: message.into(), files: Vec::new() }
    }

    fn on(mut self, parents: &[&str]) -> Commit {
        self.parents.extend(parents.iter().map(|name| id(name)));
        self
    }

    fn by(mut self, author: &str, committer: &str) -> Commit {
        (self.author, self.committer) = (author.into(), committer.into());
        self
    }

    fn header(mut self, lines: &str) -> Commit {
        self.headers.extend_from_slice(lines.as_bytes());
        self
    }

    fn files(mut self, files: Vec<GitDiffTreeFile>) -> Commit {
        self.files = files;
        self
    }

    fn build(self) -> GitCommit {
        let mut raw = text::raw_commit(id("tree"), &self.parents, &self.author, &self.committer, b"");
        raw.pop();
        raw.extend_from_slice(&self.headers);
        raw.push(b'\n');
        raw.extend_from_slice(&self.message);
        GitCommit { sha1: id(self.name).0.into(), raw, diff_tree: Some(GitDiffTree { file: self.files, ..Default::default() }), ..Default::default() }
    }
}

/// `Name <id@server>`, as Gerrit names the voter of a label.
fn account(name: &str, number: u32) -> String {
    format!("{name} <{number}@{SERVER}>")
}

/// A change whose metadata grows.
struct Review<'a> {
    log: &'a mut Log,
    project: &'static str,
    number: u32,
    /// The newest commit of its metadata.
    head: Option<Id>,
    metas: u32,
}

impl<'a> Review<'a> {
    fn new(log: &'a mut Log, project: &'static str, number: u32) -> Review<'a> {
        Review { log, project, number, head: None, metas: 0 }
    }

    fn reference(&self, last: &str) -> String {
        format!("refs/changes/{:02}/{}/{last}", self.number % 100, self.number)
    }

    /// The id of a patch set.
    fn patch_id(&self, patch_set: u32) -> Id {
        id(&format!("{}/{}/{patch_set}", self.project, self.number))
    }

    /// A commit of metadata on top of the newest one; not in the log yet.
    fn meta_commit(&mut self, author: &str, message: &str, more_parents: &[Id]) -> GitCommit {
        let parents: Vec<Id> = self.head.into_iter().chain(more_parents.iter().copied()).collect();
        self.metas += 1;
        let meta = id(&format!("{}/{}/meta/{}", self.project, self.number, self.metas));
        self.head = Some(meta);
        let seconds = 1_510_000_000 + self.number * 1_000 + self.metas;
        let author = format!("{author} {seconds} +0000");
        let committer = format!("Gerrit Code Review <noreply-gerritcodereview@google.com> {seconds} +0000");
        let raw = text::raw_commit(id("tree"), &parents, author.as_bytes(), committer.as_bytes(), message.as_bytes());
        GitCommit { sha1: meta.0.into(), raw, diff_tree: Some(GitDiffTree::default()), ..Default::default() }
    }

    fn refs(&self, last: &str, to: Id) -> GitRef {
        git_ref(self.reference(last), to)
    }

    /// Uploads a patch set with this message and these files.
    fn upload(&mut self, patch_set: u32, message: &str, files: Vec<GitDiffTreeFile>) -> &mut Self {
        let mut commit = Commit::new("", message).files(files).build();
        let patch = self.patch_id(patch_set);
        commit.sha1 = patch.0.into();
        let refs = vec![self.refs(&patch_set.to_string(), patch)];
        self.log.gerrit(self.project, vec![commit], Vec::new());
        self.log.gerrit(self.project, Vec::new(), refs);
        self
    }

    /// Adds to the metadata and moves the reference there.
    fn meta_by(&mut self, author: &str, message: &str) -> &mut Self {
        let commit = self.meta_commit(author, message, &[]);
        self.log.gerrit(self.project, vec![commit], Vec::new());
        if let Some(head) = self.head {
            let refs = vec![self.refs("meta", head)];
            self.log.gerrit(self.project, Vec::new(), refs);
        }
        self
    }

    /// The same by the owner.
    fn meta(&mut self, message: &str) -> &mut Self {
        self.meta_by(&account("Gerrit User 5167", 5167), message)
    }

    /// A first patch set and the creation.
    fn begin(&mut self, message: &str) -> &mut Self {
        let commit = self.patch_id(1);
        let created = format!(
            "Create change\n\nUploaded patch set 1.\n\nPatch-set: 1\nChange-id: I{0}\nSubject: {1}\nBranch: refs/heads/master\nStatus: new\nTopic:\nCommit: {2}\n\
             Tag: autogenerated:gerrit:newPatchSet\nGroups: {2}\nPrivate: false\nWork-in-progress: false\n",
            id(&format!("change {}", self.number)).text(),
            message.lines().next().unwrap_or_default(),
            commit.text(),
        );
        self.upload(1, message, vec![file("a.go", 1, 0)]).meta(&created)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use protocol_mutlog::view;

    use super::*;

    #[test]
    fn every_record_of_the_torture_log_can_be_read() {
        for (place, payload) in torture(false).iter().enumerate() {
            view::Mutation::decode(payload).unwrap_or_else(|error| panic!("record {place}: {error}"));
        }
    }

    #[test]
    fn parents_close_project_by_project() {
        let (mut named, mut there) = (HashSet::new(), HashSet::new());
        for payload in torture(false) {
            let mutation = Mutation::from(view::Mutation::decode(&payload).unwrap());
            let (project, commits) = match (mutation.gerrit, mutation.git) {
                (Some(gerrit), _) => (gerrit.project, gerrit.commits),
                (None, Some(git)) => (b"plain git".into(), git.commit.into_iter().collect()),
                (None, None) => continue,
            };
            for commit in commits {
                let head = commit.raw.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
                named.extend(head.filter_map(|line| line.strip_prefix(b"parent ")).map(|parent| (project.clone(), parent.to_vec())));
                there.insert((project.clone(), commit.sha1.to_ascii_lowercase()));
            }
        }
        let open: Vec<_> = named.difference(&there).map(|(project, sha1)| (String::from_utf8_lossy(project), String::from_utf8_lossy(sha1))).collect();
        assert!(open.is_empty(), "the reference's Check would find missing commits: {open:?}");
        assert!(named.len() > 100);
    }

    #[test]
    fn what_is_promised_is_there() {
        let mutations: Vec<Mutation> = torture(false).iter().map(|payload| Mutation::from(view::Mutation::decode(payload).unwrap())).collect();
        let issues = || mutations.iter().filter_map(|mutation| mutation.github_issue.as_ref());
        let gerrits = || mutations.iter().filter_map(|mutation| mutation.gerrit.as_ref());
        let raws = || gerrits().flat_map(|gerrit| &gerrit.commits).map(|commit| &commit.raw);
        let says = |text: &str| raws().any(|raw| raw.windows(text.len()).any(|window| window == text.as_bytes()));
        let refers = |name: &str| gerrits().flat_map(|gerrit| &gerrit.refs).any(|reference| reference.ref_name.ends_with(name.as_bytes()));
        for (what, there) in [
            ("an empty record", torture(false).iter().any(Vec::is_empty)),
            ("unknown fields", mutations.iter().any(|mutation| !mutation.unknown.is_empty()) && issues().any(|issue| !issue.unknown.is_empty())),
            ("tombstones", issues().filter(|issue| issue.not_exist).count() > 3),
            ("both forms of a body", issues().any(|issue| !issue.body.is_empty() && issue.body_change.is_some())),
            ("a body that is cleared", issues().any(|issue| issue.body_change.as_ref().is_some_and(|change| change.val.is_empty()))),
            ("no milestone", issues().any(|issue| issue.no_milestone)),
            ("a comment without a body", issues().flat_map(|issue| &issue.comment).any(|comment| comment.body.is_empty())),
            ("events twice", issues().flat_map(|issue| &issue.event).filter(|event| event.id == 8_101).count() == 2),
            ("dismissed reviews", issues().flat_map(|issue| &issue.event).any(|event| event.dismissed_review.is_some())),
            ("team reviewers", issues().flat_map(|issue| &issue.event).any(|event| event.team_reviewer.is_some())),
            ("reviews", issues().any(|issue| !issue.review.is_empty())),
            ("assignees that go", issues().any(|issue| !issue.deleted_assignees.is_empty())),
            ("plain git", mutations.iter().any(|mutation| mutation.git.as_ref().is_some_and(|git| git.commit.is_some()))),
            ("signatures", says("\ngpgsig ")),
            ("encodings", says("\nencoding ")),
            ("merged tags", says("\nmergetag ")),
            ("Mercurial", says("\ngolang-hg ")),
            ("no message", raws().any(|raw| raw.ends_with(b"\n\n"))),
            ("no line end", says("all: no line end")),
            ("text that is not UTF-8", raws().any(|raw| std::str::from_utf8(raw).is_err())),
            ("odd zones", says(" +0545\n") && says(" -0000\n")),
            ("a reviewer", says("\nReviewer: ")),
            ("eleven patch sets", refers("/211/11") && refers("/211/2")),
            ("branches", says("\nBranch: refs/heads/dev.boringcrypto\n")),
            ("private and not", says("\nPrivate: true\n") && says("\nPrivate: false\n")),
            ("in progress and not", says("\nWork-in-progress: true\n") && says("\nWork-in-progress: false\n")),
            ("hashtags", says("\nTag: autogenerated:gerrit:setHashtag\n") && says("\nHashtags: \n") && says("Hashtags removed:")),
            (
                "votes",
                says("\nLabel: Code-Review=+2\n") && says("\nLabel: -Code-Review\n") && says("\nCopied-Label: ") && says(&format!("=+1, {}", "a2bf5d4e")),
            ),
            ("deleted references", gerrits().any(|gerrit| !gerrit.deleted_refs.is_empty())),
            ("peeled tags", refers("^{}")),
            ("issues of other repositories", says("GoogleCloudPlatform/google-cloud-go#481")),
            ("messages with comments", says("Patch Set 3: Code-Review+2\n\n(2 comments)")),
        ] {
            assert!(there, "{what}");
        }
    }

    #[test]
    fn the_big_one_fills_a_segment_exactly() {
        let directory = tempfile::tempdir().unwrap();
        let payloads = torture(true);
        let cuts = crate::Cuts { day: u64::MAX };
        let manifest = crate::write_payloads(
            &mut |each| payloads.iter().try_for_each(|payload| each(payload)),
            directory.path(),
            crate::Layout::Segments,
            cuts,
            &mut |_| {},
        )
        .unwrap();
        let sizes: Vec<u64> = manifest.segments.iter().map(|segment| segment.size).collect();
        assert_eq!((sizes.len(), sizes[0]), (3, MAX_SEGMENT), "{sizes:?}");
        assert!(sizes[1] > 20 << 20 && manifest.segments[1].records == 1, "{sizes:?}");
    }
}
