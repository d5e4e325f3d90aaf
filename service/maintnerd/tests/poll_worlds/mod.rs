//! A leader that follows modelled worlds, and whether it has what they have.
#![allow(dead_code, reason = "every test program uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use burrow_clock::{Clock as _, SharedClock, TestClock};
use burrow_github::{Budget, Client, Pace, Settings};
use burrow_maintner as corpus;
use burrow_maintnerd::Leader;
use burrow_maintnerd::leader::LeaderError;
use burrow_maintnerd::log::OpenError;
use burrow_maintnerd::poll::{Pause, Sources, SyncError, Timing, sync_once};
use protocol_mutlog::wire::{Value, field, varint};
use protocol_mutlog::{Records, schema, view};
use serde_json::Value as Json;
use testkit_github::{Fate, GitHub};

pub(crate) async fn leader(dir: &Path, clock: &TestClock) -> Leader {
    let clock: SharedClock = Arc::new(clock.clone());
    // A git that another test is just starting holds a copy of every open file, the last leader's lock too, until it has become git.
    for _ in 0..10_000 {
        match Leader::open(&dir.join("log"), Arc::clone(&clock), 1, Arc::new(|_| {})).await {
            Err(LeaderError::Open(OpenError::InUse { .. })) => {}
            other => return other.unwrap(),
        }
    }
    panic!("the log stays in use");
}

/// Time passes by moving the clock.
pub(crate) fn timing(clock: &TestClock) -> Timing {
    let clock = clock.clone();
    let pause = Pause::new(move |length| {
        clock.advance_ms(u64::try_from(length.as_millis()).unwrap());
        Box::pin(tokio::task::yield_now())
    });
    Timing { reconcile: Duration::ZERO, pause, ..Timing::default() }
}

pub(crate) fn client(github: &GitHub) -> Client {
    client_with(github, burrow_http_client::Settings::default())
}

pub(crate) fn client_with(github: &GitHub, http: burrow_http_client::Settings) -> Client {
    let budget = Budget::new(Pace { per_second: 0, burst: 0 }, github.shared_clock());
    Client::new(Settings { base: github.base(), http, ..Settings::default() }, budget, github.shared_clock()).unwrap()
}

/// A GitHub and a leader that follows some of its repositories.
pub(crate) struct Bench {
    pub(crate) github: GitHub,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) leader: Leader,
    pub(crate) sources: Sources,
}

impl Bench {
    pub(crate) async fn new(repos: &[&str]) -> Bench {
        let github = GitHub::start().await;
        let dir = tempfile::tempdir().unwrap();
        let leader = leader(dir.path(), github.clock()).await;
        for repo in repos {
            github.world().create_repo(repo);
        }
        let repos = repos.iter().map(|repo| repo.parse().unwrap()).collect();
        let sources = Sources { dir: dir.path().to_owned(), github: Some((client(&github), repos)), timing: timing(github.clock()), ..Sources::default() };
        Bench { github, dir, leader, sources }
    }

    /// Reads everything once.
    pub(crate) async fn sync(&self) -> Result<(), SyncError> {
        sync_once(&self.leader, &self.sources, &self.github.shared_clock()).await
    }

    /// Lets a second pass, so that what happened is over, reads everything once and says what was written.
    pub(crate) async fn written(&self) -> Vec<schema::Mutation> {
        self.github.clock().advance_ms(1_000);
        let before = mutations(&self.leader).await.len();
        self.sync().await.unwrap();
        mutations(&self.leader).await.split_off(before)
    }

    /// The only issue mutation that was written.
    pub(crate) async fn written_issue(&self) -> schema::GithubIssueMutation {
        let mut written = self.written().await;
        assert_eq!(written.len(), 1, "{written:#?}");
        written.remove(0).github_issue.expect("a mutation of an issue")
    }

    pub(crate) async fn assert_same(&self) {
        for repo in &self.sources.github.as_ref().unwrap().1 {
            self.assert_same_repo(&repo.to_string()).await;
        }
    }

    pub(crate) async fn assert_same_repo(&self, repo: &str) {
        let deleted = deleted_comments(&mutations(&self.leader).await);
        let found = github_differences(&self.github.world(), repo, &self.leader.view(), &deleted);
        assert!(found.is_empty(), "the corpus is not what GitHub has:\n{}", found.join("\n"));
    }
}

/// Everything in a log, except empty records.
pub(crate) async fn mutations(leader: &Leader) -> Vec<schema::Mutation> {
    let state = leader.log().snapshot();
    let mut all = Vec::new();
    for segment in &state.segments {
        let bytes = leader.log().read(segment.number, 0..segment.size).await.unwrap();
        for record in Records::new(&bytes, 0) {
            let payload = record.unwrap().payload;
            if !payload.is_empty() {
                all.push(view::Mutation::decode(payload).unwrap().into());
            }
        }
    }
    all
}

/// Ids in the extension field of deleted comments, by issue.
pub(crate) fn deleted_comments(mutations: &[schema::Mutation]) -> BTreeMap<(Vec<u8>, i32), BTreeSet<i64>> {
    let mut found: BTreeMap<(Vec<u8>, i32), BTreeSet<i64>> = BTreeMap::new();
    for issue in mutations.iter().filter_map(|mutation| mutation.github_issue.as_ref()) {
        let mut rest = &issue.unknown[..];
        while let Some(field) = field(&mut rest).unwrap() {
            let (1000, Value::Bytes(mut packed)) = (field.number, field.value) else { panic!("an unknown field: {field:?}") };
            let repo = [&issue.owner[..], b"/", &issue.repo].concat();
            while !packed.is_empty() {
                found.entry((repo.clone(), issue.number)).or_default().insert(varint(&mut packed).unwrap().cast_signed());
            }
        }
    }
    found
}

fn seconds(time: Option<corpus::Time>) -> Option<i64> {
    time.map(|time| time.seconds)
}

fn id(user: Option<corpus::User<'_>>) -> i64 {
    user.map_or(0, |user| user.id)
}

/// In what a repository of the corpus differs from the world's.
pub(crate) fn github_differences(
    world: &testkit_github::World,
    repo: &str,
    view: &corpus::View,
    deleted: &BTreeMap<(Vec<u8>, i32), BTreeSet<i64>>,
) -> Vec<String> {
    let mut found = Vec::new();
    let there = world.repo(repo);
    // The log has names in lower case.
    let repo = repo.to_lowercase();
    let (owner, name) = repo.split_once('/').unwrap();
    let Some(here) = view.github().repo(owner, name) else {
        return if there.issues.is_empty() && there.labels.is_empty() && there.milestones.is_empty() { found } else { vec![format!("no repository {repo}")] };
    };
    for label in there.labels.values() {
        if here.labels().all(|known| known.id != label.id || known.name.bytes() != label.name.as_bytes()) {
            found.push(format!("label {label:?}"));
        }
    }
    for milestone in there.milestones.values() {
        let same = |known: corpus::Milestone<'_>| {
            known.id == milestone.id
                && known.title.bytes() == milestone.title.as_bytes()
                && i64::from(known.number) == milestone.number
                && known.closed == milestone.closed
        };
        if !here.milestones().any(same) {
            found.push(format!("milestone {milestone:?}"));
        }
    }
    for issue in here.issues() {
        if !there.issues.contains_key(&issue.number()) && !issue.not_exist() {
            found.push(format!("#{} is no more", issue.number()));
        }
    }
    for (number, fate) in &there.fates {
        if matches!(fate, Fate::Deleted | Fate::Transferred(..)) && here.issue(*number).is_none_or(|issue| !issue.not_exist()) {
            found.push(format!("#{number} has no tombstone: {fate:?}"));
        }
    }
    for issue in there.issues.values() {
        let key = (repo.as_bytes().to_vec(), issue.number);
        match here.issue(issue.number) {
            Some(known) => issue_differences(world, there, issue, known, deleted.get(&key), &mut found),
            None => found.push(format!("#{} is missing", issue.number)),
        }
    }
    found
}

fn issue_differences(
    world: &testkit_github::World,
    repo: &testkit_github::Repo,
    there: &testkit_github::Issue,
    here: corpus::Issue<'_>,
    deleted: Option<&BTreeSet<i64>>,
    found: &mut Vec<String>,
) {
    let number = there.number;
    let mut check = |what: &str, here: String, there: String| {
        if here != there {
            found.push(format!("#{number} {what}: {here} instead of {there}"));
        }
    };
    macro_rules! same {
        ($what:literal, $here:expr, $there:expr) => {
            check($what, format!("{:?}", $here), format!("{:?}", $there))
        };
    }
    let second = |ms: i64| ms.div_euclid(1000);
    same!("existence", here.not_exist(), false);
    same!("title", here.title().lossy(), there.title);
    same!("body", here.body().lossy(), there.body.clone().unwrap_or_default());
    same!("author", id(here.user()), there.user.unwrap_or(0));
    same!("closed", here.closed(), there.closed);
    same!("locked", here.locked(), there.locked);
    same!("pull request", here.is_pull_request(), there.pull);
    same!("created", seconds(here.created()), Some(second(there.created)));
    same!("updated", seconds(here.updated()), Some(second(there.updated)));
    if let Some(closed_at) = there.closed_at {
        same!("closed at", seconds(here.closed_at()), Some(second(closed_at)));
    }
    same!("assignees", here.assignees().map(|user| user.id).collect::<BTreeSet<_>>(), there.assignees.iter().copied().collect::<BTreeSet<_>>());
    same!("labels", here.labels().map(|label| label.id).collect::<BTreeSet<_>>(), there.labels);
    let milestone = there.milestone.and_then(|number| repo.milestones.get(&number)).map(|milestone| milestone.id);
    let known = match here.milestone() {
        corpus::MilestoneOf::Unknown => Some(-1),
        corpus::MilestoneOf::None => None,
        corpus::MilestoneOf::Is(milestone) => Some(milestone.id),
    };
    same!("milestone", known, milestone);
    let comments: BTreeMap<i64, _> = here
        .comments()
        .map(|comment| (comment.id(), (comment.body().lossy().into_owned(), id(comment.user()), seconds(comment.created()), seconds(comment.updated()))))
        .collect();
    let (gone, kept): (BTreeMap<_, _>, BTreeMap<_, _>) = comments.into_iter().partition(|(id, _)| deleted.is_some_and(|deleted| deleted.contains(id)));
    let expected: BTreeMap<i64, _> = there
        .comments
        .values()
        .map(|comment| (comment.id, (comment.body.clone(), comment.user.unwrap_or(0), Some(second(comment.created)), Some(second(comment.updated)))))
        .collect();
    same!("comments", kept, expected);
    same!("comments that came back", gone.keys().filter(|id| there.comments.contains_key(id)).count(), 0);
    let events: BTreeMap<i64, _> = here.events().map(|event| (event.id(), event_here(event))).collect();
    let expected: BTreeMap<i64, _> = there.events.values().map(|event| (event.id, event_there(event))).collect();
    same!("events", events, expected);
    let reviews: BTreeMap<i64, _> = here
        .reviews()
        .map(|review| {
            let texts = (review.state().lossy().into_owned(), review.body().lossy().into_owned(), review.commit_id().lossy().into_owned());
            (review.id(), (texts, id(review.actor()), seconds(review.created())))
        })
        .collect();
    let expected: BTreeMap<i64, _> = there
        .reviews
        .values()
        .filter(|review| review.state != "PENDING")
        .map(|review| {
            let texts = (review.state.clone(), review.body.clone(), review.commit.clone());
            (review.id, (texts, review.user.unwrap_or(0), review.submitted.map(second)))
        })
        .collect();
    same!("reviews", reviews, expected);
    let logins = here.user().map(|user| user.login.lossy().into_owned());
    same!("login", logins, there.user.and_then(|user| world.user_by_id(user)).map(|user| user.login.clone()));
    same!("whole", (here.comments_as_of().is_some(), here.events_as_of().is_some(), here.reviews_as_of().is_some()), (true, true, there.pull));
}

type EventParts = (String, i64, Option<i64>, Vec<String>);

fn event_here(event: corpus::Event<'_>) -> EventParts {
    let people = [event.assignee(), event.assigner(), event.reviewer(), event.review_requester()].map(|user| id(user).to_string());
    let mut parts = vec![
        event.label().lossy().into_owned(),
        event.milestone().lossy().into_owned(),
        event.rename().0.lossy().into_owned(),
        event.rename().1.lossy().into_owned(),
        event.commit().map(|(_, _, id)| id.lossy().into_owned()).unwrap_or_default(),
        event.team_reviewer().map_or(0, |team| team.id).to_string(),
        event.dismissed_review().map_or(0, |review| review.id).to_string(),
    ];
    parts.extend(people);
    (event.kind().lossy().into_owned(), id(event.actor()), seconds(event.created()), parts)
}

fn event_there(event: &testkit_github::Event) -> EventParts {
    let at = |path: &[&str]| path.iter().skip(1).fold(event.fields.get(path[0]), |value, key| value.and_then(|value| value.get(key)));
    let text = |path: &[&str]| at(path).and_then(Json::as_str).unwrap_or_default().to_owned();
    let number = |path: &[&str]| at(path).and_then(Json::as_i64).unwrap_or(0).to_string();
    let parts = vec![
        text(&["label", "name"]),
        text(&["milestone", "title"]),
        text(&["rename", "from"]),
        text(&["rename", "to"]),
        text(&["commit_id"]),
        number(&["requested_team", "id"]),
        number(&["dismissed_review", "review_id"]),
        number(&["assignee", "id"]),
        number(&["assigner", "id"]),
        number(&["requested_reviewer", "id"]),
        number(&["review_requester", "id"]),
    ];
    (event.kind.clone(), event.actor.unwrap_or(0), Some(event.created.div_euclid(1000)), parts)
}

/// One number for everything in a corpus.
pub(crate) fn digest(view: &corpus::View) -> String {
    corpus::dump::dump(view, corpus::Reading::Ours, &mut std::io::sink()).unwrap().sha256
}

/// What the clock shows, in seconds.
pub(crate) fn now(clock: &TestClock) -> i64 {
    clock.now_ms().div_euclid(1000)
}

/// The bytes of commits.
fn raw_commits(dir: &Path, hashes: &str) -> BTreeMap<String, Vec<u8>> {
    let printed = git_bytes(dir, &["cat-file", "--batch"], hashes);
    let mut rest = &printed[..];
    let mut found = BTreeMap::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let head = String::from_utf8(rest[..end].to_vec()).unwrap();
        let (hash, size) = (head.split(' ').next().unwrap(), head.split(' ').nth(2).unwrap().parse::<usize>().unwrap());
        found.insert(hash.to_owned(), rest[end + 1..end + 1 + size].to_vec());
        rest = &rest[end + 2 + size..];
    }
    found
}

/// The `git` program, for what a test wants to know of a repository.
pub(crate) fn git(dir: &Path, args: &[&str], input: &str) -> String {
    String::from_utf8(git_bytes(dir, args, input)).unwrap()
}

fn git_bytes(dir: &Path, args: &[&str], input: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = std::process::Command::new("git")
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("GIT_DIR")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("git is installed");
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success(), "git {args:?}");
    output.stdout
}

/// What the corpus should have of a repository: references with hashes, as a server lists them.
fn references_there(dir: &Path) -> BTreeMap<String, String> {
    let listed = git(dir, &["ls-remote", "."], "");
    listed.lines().filter_map(|line| line.split_once('\t')).map(|(hash, name)| (name.to_owned(), hash.to_owned())).collect()
}

/// In what a project of the corpus differs from a repository that is served.
pub(crate) fn gerrit_differences(dir: &Path, project: &str, view: &corpus::View) -> Vec<String> {
    let mut found = Vec::new();
    let there = references_there(dir);
    let Some(here) = view.gerrit().project_named(project) else { return vec![format!("no project {project}")] };
    let (changes, plain): (BTreeMap<_, _>, BTreeMap<_, _>) =
        there.into_iter().filter(|(name, _)| !name.starts_with("refs/meta/")).partition(|(name, _)| name.starts_with("refs/changes/"));
    let known: BTreeMap<String, String> = here.references().into_iter().map(|(name, hash)| (name.to_string(), hash.to_string())).collect();
    if known != plain {
        found.push(format!("references {known:#?} instead of {plain:#?}"));
    }
    for (name, hash) in &changes {
        let parts: Vec<&str> = name.split('/').collect();
        let patch_set = if parts[4] == "meta" { 0 } else { parts[4].parse().unwrap() };
        let known = here.change_reference(parts[3].parse().unwrap(), patch_set).map(|hash| hash.to_string());
        if known.as_ref() != Some(hash) {
            found.push(format!("{name} is {known:?} instead of {hash}"));
        }
    }
    let tips: String = plain.values().chain(changes.values()).map(|hash| format!("{hash}\n")).collect();
    let commits = git(dir, &["rev-list", "--stdin"], &tips);
    let mut stats: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let printed = git(dir, &["diff-tree", "--stdin", "--always", "--no-renames", "--numstat"], &commits);
    let mut current = "";
    for line in printed.lines() {
        if line.contains('\t') {
            stats.entry(current).or_default().push(line.to_owned());
        } else {
            current = line;
        }
    }
    let raws = raw_commits(dir, &commits);
    for hash in commits.lines() {
        let Some(commit) = here.commit(&corpus::Hash::parse(hash).unwrap()) else {
            found.push(format!("commit {hash} is missing"));
            continue;
        };
        if raws.get(hash).map(Vec::as_slice) != Some(commit.raw()) {
            found.push(format!("commit {hash} has other bytes"));
        }
        let mut files: Vec<String> = commit
            .files()
            .into_iter()
            .map(|file| if file.binary { format!("-\t-\t{}", file.name) } else { format!("{}\t{}\t{}", file.added, file.deleted, file.name) })
            .collect();
        let mut expected = stats.remove(hash).unwrap_or_default();
        files.sort();
        expected.sort();
        if files != expected {
            found.push(format!("commit {hash} changes {files:?} instead of {expected:?}"));
        }
    }
    found
}

/// Whether every beginning of a log is a log: no commit before its parents, no reference before its commit.
pub(crate) fn assert_ordered(mutations: &[schema::Mutation]) {
    let mut seen: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
    for mutation in mutations {
        let Some(gerrit) = &mutation.gerrit else { continue };
        let seen = seen.entry(&gerrit.project).or_default();
        for commit in &gerrit.commits {
            let head = commit.raw.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
            for parent in head.filter_map(|line| line.strip_prefix(b"parent ".as_slice())) {
                assert!(seen.contains(parent), "{} comes before its parent", String::from_utf8_lossy(&commit.sha1));
            }
            assert!(seen.insert(&commit.sha1), "{} is written twice", String::from_utf8_lossy(&commit.sha1));
        }
        for reference in &gerrit.refs {
            assert!(seen.contains(&reference.sha1[..]), "{} comes before its commit", String::from_utf8_lossy(&reference.ref_name));
        }
    }
}
