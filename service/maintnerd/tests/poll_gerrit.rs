//! A leader that follows projects of a modelled Gerrit, and plain git repositories.

mod poll_worlds;

use std::sync::Arc;
use std::time::Duration;

use burrow_clock::TestClock;
use burrow_gerrit::{Auth, GitError};
use burrow_maintnerd::Leader;
use burrow_maintnerd::poll::{GerritSource, GitSource, Outcome, Pause, PollError, Pollers, Source, Sources, SyncError, sync_once};
use poll_worlds::{assert_ordered, digest, gerrit_differences, git, leader, mutations, timing};
use protocol_mutlog::schema::{GerritMutation, GitCommit, GitRef, Mutation};
use testkit_gerrit::{Fault, Gerrit};

struct Bench {
    gerrit: Gerrit,
    dir: tempfile::TempDir,
    leader: Leader,
    sources: Sources,
    projects: Vec<String>,
}

impl Bench {
    async fn new(projects: &[&str]) -> Bench {
        let gerrit = Gerrit::start().await;
        let dir = tempfile::tempdir().unwrap();
        let leader = leader(dir.path(), gerrit.clock()).await;
        for project in projects {
            gerrit.world().create_project(project);
        }
        let source = |project: &&str| GerritSource { name: format!("gerrit.example/{project}"), url: gerrit.git_url(project), auth: Auth::None };
        let sources =
            Sources { dir: dir.path().to_owned(), gerrit: projects.iter().map(source).collect(), timing: timing(gerrit.clock()), ..Sources::default() };
        Bench { gerrit, dir, leader, sources, projects: projects.iter().map(|project| (*project).to_owned()).collect() }
    }

    async fn sync(&self) -> Result<(), SyncError> {
        sync_once(&self.leader, &self.sources, &self.gerrit.shared_clock()).await
    }

    async fn written(&self) -> Vec<Mutation> {
        let before = mutations(&self.leader).await.len();
        self.sync().await.unwrap();
        mutations(&self.leader).await.split_off(before)
    }

    async fn assert_same(&self) {
        for project in &self.projects {
            let path = self.gerrit.world().repository(project).to_owned();
            let found = gerrit_differences(&path, &format!("gerrit.example/{project}"), &self.leader.view());
            assert!(found.is_empty(), "{project} is not what Gerrit has:\n{}", found.join("\n"));
        }
        assert_ordered(&mutations(&self.leader).await);
    }

    async fn reopen(&mut self) {
        self.leader.close().await;
        self.leader = leader(self.dir.path(), self.gerrit.clock()).await;
    }
}

fn refs(mutations: &[Mutation]) -> Vec<String> {
    let all = mutations.iter().filter_map(|mutation| mutation.gerrit.as_ref()).flat_map(|gerrit| &gerrit.refs);
    all.map(|reference| String::from_utf8(reference.ref_name.clone()).unwrap()).collect()
}

fn commits(mutations: &[Mutation]) -> usize {
    mutations.iter().filter_map(|mutation| mutation.gerrit.as_ref()).map(|gerrit| gerrit.commits.len()).sum()
}

#[tokio::test]
async fn everything_is_read_and_nothing_is_written_twice() {
    let bench = Bench::new(&["go", "tools", "nested/deep/widget", "empty"]).await;
    bench.gerrit.world().random(3, 150);
    bench.sync().await.unwrap();
    bench.assert_same().await;
    assert_eq!(bench.written().await, []);
    let view = bench.leader.view();
    let world = bench.gerrit.world();
    for change in world.changes().values() {
        let project = view.gerrit().project_named(&format!("gerrit.example/{}", change.project)).unwrap();
        let known = project.change(i32::try_from(change.number).unwrap()).unwrap();
        assert_eq!(known.version(burrow_maintner::Reading::Reference), i32::try_from(change.patch_sets.len()).unwrap(), "the newest patch set came last");
        assert_eq!(known.metas().len(), change.metas.len());
    }
}

#[tokio::test]
async fn what_happens_is_what_is_written() {
    let bench = Bench::new(&["p"]).await;
    bench.sync().await.unwrap();
    let number = bench.gerrit.world().create_change("p", "master", "ada", "p: turn faster", &[("p.go", "package p\n")]);
    let written = bench.written().await;
    let name = |suffix: &str| bench.gerrit.world().change(number).ref_name(suffix);
    assert_eq!((refs(&written), commits(&written), written.len()), (vec![name("1"), name("meta")], 2, 3));
    bench.gerrit.world().vote(number, "bob", "Code-Review", 2);
    let written = bench.written().await;
    assert_eq!((refs(&written), commits(&written)), (vec![name("meta")], 1));
    bench.gerrit.world().new_patch_set(number, "ada", &[("p.go", "package p // faster\n")]);
    assert_eq!(refs(&bench.written().await), [name("2"), name("meta")]);
    bench.gerrit.world().submit(number, "bob");
    let written = bench.written().await;
    assert!(refs(&written).starts_with(&["HEAD".into(), "refs/heads/master".into()]), "{:?}", refs(&written));
    let tip = bench.gerrit.world().tip("p", "master");
    bench.gerrit.world().set_branch("p", "dev", &tip);
    bench.gerrit.world().tag("p", "light", &tip, "ada", None);
    bench.gerrit.world().tag("p", "v1", &tip, "ada", Some("A release."));
    let written = bench.written().await;
    assert_eq!(
        (refs(&written).as_slice(), commits(&written)),
        (&["refs/heads/dev", "refs/tags/light", "refs/tags/v1", "refs/tags/v1^{}"].map(String::from)[..], 1)
    );
    bench.assert_same().await;
    bench.gerrit.world().delete_branch("p", "dev");
    bench.gerrit.world().delete_tag("p", "v1");
    let deleted = vec![b"refs/heads/dev".to_vec(), b"refs/tags/v1".to_vec(), b"refs/tags/v1^{}".to_vec()];
    let gone = GerritMutation { project: b"gerrit.example/p".to_vec(), deleted_refs: deleted, ..Default::default() };
    assert_eq!(bench.written().await, [Mutation { gerrit: Some(gone), ..Default::default() }]);
    bench.assert_same().await;
    bench.gerrit.world().delete_change(number);
    assert_eq!(bench.written().await, [], "a change that was deleted stays as history");
}

#[tokio::test]
async fn references_that_are_no_commits_or_nobodys_business_are_left_out() {
    let bench = Bench::new(&["p"]).await;
    let path = bench.gerrit.world().repository("p").to_owned();
    let tip = bench.gerrit.world().tip("p", "master");
    let blob = git(&path, &["hash-object", "-w", "--stdin"], "a key\n").trim().to_owned();
    for (name, hash) in [
        ("refs/tags/key", &blob),
        ("refs/users/05/5005", &tip),
        ("refs/cache-automerge/ab/cd", &tip),
        ("refs/changes/01/1/robot-comments", &tip),
        ("refs/other/thing", &tip),
    ] {
        bench.gerrit.world().set_ref("p", name, hash);
    }
    assert_eq!(refs(&bench.written().await), ["HEAD", "refs/heads/master", "refs/other/thing"]);
    assert_eq!(bench.written().await, []);
}

#[tokio::test]
async fn more_references_than_fit_in_a_batch() {
    let bench = Bench::new(&["p"]).await;
    let path = bench.gerrit.world().repository("p").to_owned();
    let tip = bench.gerrit.world().tip("p", "master");
    let tree = git(&path, &["rev-parse", &format!("{tip}^{{tree}}")], "").trim().to_owned();
    for n in 0..620 {
        let commit =
            git(&path, &["-c", "user.name=a", "-c", "user.email=a", "commit-tree", "-p", &tip, "-m", &format!("commit {n}"), &tree], "").trim().to_owned();
        bench.gerrit.world().set_ref("p", &format!("refs/heads/b{n}"), &commit);
    }
    let written = bench.written().await;
    let batches: Vec<usize> = written.iter().filter_map(|mutation| mutation.gerrit.as_ref()).map(|gerrit| gerrit.refs.len()).filter(|refs| *refs > 0).collect();
    assert_eq!(batches, [250, 250, 122]);
    bench.assert_same().await;
}

#[tokio::test]
async fn an_empty_list_deletes_nothing() {
    let bench = Bench::new(&["go"]).await;
    bench.gerrit.world().random(4, 20);
    bench.sync().await.unwrap();
    let before = digest(&bench.leader.view());
    let path = bench.gerrit.world().repository("go").to_owned();
    std::fs::rename(path.join("refs"), path.join("hidden")).unwrap();
    std::fs::create_dir(path.join("refs")).unwrap();
    let error = bench.sync().await.unwrap_err();
    assert!(matches!(error, SyncError::Poll(_, PollError::Odd(_))), "{error}");
    assert_eq!(digest(&bench.leader.view()), before);
}

#[tokio::test]
async fn commits_that_a_log_lacks_are_fetched_first() {
    let bench = Bench::new(&["p"]).await;
    for n in 0..5 {
        bench.gerrit.world().push("p", "master", "ada", &format!("commit {n}\n"), &[("f", &n.to_string())]);
    }
    let path = bench.gerrit.world().repository("p").to_owned();
    let tip = bench.gerrit.world().tip("p", "master");
    // As the reference leaves it when it is stopped: a child and its reference without its parents.
    let commit = GitCommit { sha1: tip.clone().into_bytes(), raw: git(&path, &["cat-file", "commit", &tip], "").into_bytes(), ..Default::default() };
    let reference = GitRef { ref_name: b"refs/heads/master".to_vec(), sha1: tip.into_bytes(), ..Default::default() };
    let gerrit = GerritMutation { project: b"gerrit.example/p".to_vec(), commits: vec![commit], refs: vec![reference], ..Default::default() };
    bench.leader.commit(&[Mutation { gerrit: Some(gerrit), ..Default::default() }]).await.unwrap();
    assert!(bench.leader.view().gerrit().check().is_err());
    let written = bench.written().await;
    assert_eq!((commits(&written), refs(&written)), (5, vec!["HEAD".to_owned()]));
    bench.leader.view().gerrit().check().unwrap();
}

#[tokio::test]
async fn faults_of_the_server_delay_and_hide_nothing() {
    for fault in [Fault::Status(500), Fault::Status(429), Fault::Close, Fault::Cut(300), Fault::Cut(3_000)] {
        for service in ["/info/refs", "/git-upload-pack"] {
            let bench = Bench::new(&["go"]).await;
            bench.gerrit.world().random(9, 40);
            bench.gerrit.fail_if(move |asked| asked.path.ends_with(service), fault.clone(), 2);
            bench.sync().await.unwrap_or_else(|error| panic!("{fault:?} at {service}: {error}"));
            bench.assert_same().await;
        }
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_and_asked_again() {
    for service in ["/info/refs", "/git-upload-pack"] {
        let mut bench = Bench::new(&["go"]).await;
        bench.gerrit.world().random(9, 20);
        // Long enough for the answers that do come.
        bench.sources.timing.list_limit = Duration::from_secs(3);
        bench.sources.timing.fetch_limit = Duration::from_secs(3);
        bench.gerrit.fail_if(move |asked| asked.path.ends_with(service), Fault::Hang, 1);
        bench.sync().await.unwrap();
        bench.assert_same().await;
    }
}

#[tokio::test]
async fn a_reference_that_cannot_be_had_keeps_nothing_else_from_being_read() {
    let bench = Bench::new(&["go"]).await;
    bench.gerrit.world().random(12, 40);
    let path = bench.gerrit.world().repository("go").to_owned();
    let tree = git(&path, &["hash-object", "-t", "tree", "-w", "--stdin"], "").trim().to_owned();
    // Its parent is nowhere.
    let orphan = format!("tree {tree}\nparent {}\nauthor a <a> 1 +0000\ncommitter a <a> 1 +0000\n\nlost\n", "12".repeat(20));
    let orphan = git(&path, &["hash-object", "-t", "commit", "-w", "--stdin", "--literally"], &orphan).trim().to_owned();
    bench.gerrit.world().set_ref("go", "refs/changes/77/77/1", &orphan);
    let error = bench.sync().await.unwrap_err();
    assert!(matches!(error, SyncError::Poll(_, PollError::Git(_))), "{error}");
    std::fs::remove_file(path.join("refs/changes/77/77/1")).unwrap();
    assert_eq!(bench.written().await, [], "everything else is there");
    bench.assert_same().await;
}

#[tokio::test]
async fn random_worlds_are_followed_step_by_step() {
    for seed in 0..3 {
        let bench = Bench::new(&["go", "nested/deep/widget"]).await;
        for step in 0..5 {
            bench.gerrit.world().random(seed * 100 + step, 25);
            bench.sync().await.unwrap();
            bench.assert_same().await;
        }
    }
}

#[tokio::test]
async fn cut_off_anywhere_the_next_start_completes_it() {
    for seed in 0..3_u64 {
        let mut bench = Bench::new(&["go"]).await;
        bench.gerrit.world().random(seed, 80);
        let mut acknowledged: Vec<Mutation> = Vec::new();
        for cut in 0..10_u64 {
            // Dropped when the log has so many records more: in the middle of commits, between commits and references.
            let reached = acknowledged.len() as u64 + cut * 13 % 40;
            let mut views = bench.leader.subscribe();
            let ended = tokio::select! {
                result = bench.sync() => { result.unwrap(); true }
                _ = views.wait_for(|view| view.records() > reached) => false,
            };
            let now = mutations(&bench.leader).await;
            assert!(now.starts_with(&acknowledged), "the log only grows");
            assert_ordered(&now);
            acknowledged = now;
            if cut % 4 == 3 {
                std::fs::remove_dir_all(bench.dir.path().join("git")).unwrap_or_default();
            }
            bench.reopen().await;
            // What was on its way to the disk when the round was dropped may have arrived.
            let now = mutations(&bench.leader).await;
            assert!(now.starts_with(&acknowledged), "seed {seed}, cut {cut}: something that was acknowledged is gone");
            acknowledged = now;
            if ended {
                bench.gerrit.world().random(seed * 50 + cut, 20);
            }
        }
        bench.sync().await.unwrap();
        bench.assert_same().await;
    }
}

#[tokio::test]
async fn plain_repositories_give_their_commits() {
    let gerrit = Gerrit::start().await;
    gerrit.world().random(8, 60);
    let dir = tempfile::tempdir().unwrap();
    let leader = leader(dir.path(), gerrit.clock()).await;
    let source = |branches: &[&str]| GitSource {
        name: "plain".into(),
        url: gerrit.git_url("go"),
        branches: branches.iter().map(|branch| (*branch).to_owned()).collect(),
        auth: Auth::None,
    };
    let sync = async |branches: &[&str]| {
        let sources = Sources { dir: dir.path().to_owned(), git: vec![source(branches)], timing: timing(gerrit.clock()), ..Sources::default() };
        sync_once(&leader, &sources, &gerrit.shared_clock()).await
    };
    let reachable = |tip: &str| git(gerrit.world().repository("go"), &["rev-list", "--reverse", "--topo-order", tip], "").lines().count();
    sync(&["master"]).await.unwrap();
    let tip = gerrit.world().tip("go", "master");
    assert_eq!(mutations(&leader).await.len(), reachable(&tip));
    sync(&["master"]).await.unwrap();
    assert_eq!(mutations(&leader).await.len(), reachable(&tip));
    gerrit.world().set_branch("go", "release-1", &tip);
    gerrit.world().push("go", "release-1", "ada", "backport\n", &[("f", "x")]);
    sync(&["master"]).await.unwrap();
    assert_eq!(mutations(&leader).await.len(), reachable(&tip), "a branch that is not followed");
    sync(&["master", "release-*"]).await.unwrap();
    let all = mutations(&leader).await;
    assert_eq!(all.len(), reachable(&tip) + 1);
    let last = all.last().unwrap().git.as_ref().unwrap();
    assert_eq!(
        (last.repo.as_ref().unwrap().go_repo.as_slice(), last.commit.as_ref().unwrap().sha1.clone()),
        (&b"plain"[..], gerrit.world().tip("go", "release-1").into_bytes())
    );
    assert!(matches!(sync(&["nothing"]).await, Err(SyncError::Poll(_, PollError::Odd(_)))));
}

#[tokio::test]
async fn a_gone_project_is_a_failure_that_waits_longer_each_time() {
    let clock = TestClock::at(1_767_225_600_000);
    let gerrit = Gerrit::start_at(clock.clone()).await;
    let dir = tempfile::tempdir().unwrap();
    let leader = leader(dir.path(), &clock).await;
    let mut sources = Sources { dir: dir.path().to_owned(), timing: timing(&clock), ..Sources::default() };
    sources.gerrit = vec![GerritSource { name: "h/none".into(), url: gerrit.git_url("none"), auth: Auth::None }];
    let error = sync_once(&leader, &sources, &gerrit.shared_clock()).await.unwrap_err();
    assert!(matches!(error, SyncError::Poll(Source::Gerrit(_), PollError::Git(GitError::Gone { .. }))), "{error}");
    let pauses = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&pauses);
    sources.timing.pause = Pause::new(move |length| {
        clock.advance_ms(u64::try_from(length.as_millis()).unwrap());
        seen.lock().unwrap().push(length.as_secs());
        Box::pin(tokio::task::yield_now())
    });
    let pollers = Pollers::start(&leader, &sources, &gerrit.shared_clock()).await;
    pollers.changed().wait_for(|_| pollers.status().sources[0].failures >= 4).await.unwrap();
    let status = pollers.status().sources.remove(0);
    assert!(matches!(&status.outcome, Outcome::Failed(why) if why.contains("no repository")), "{status:?}");
    pollers.stop().await;
    // Pauses of more than a minute come in minutes.
    assert!(pauses.lock().unwrap().starts_with(&[30, 60, 60, 60]), "{pauses:?}");
}
