//! What a round does: the reference's own tests and the table of `spec/gitmirror.md` §11.

use burrow_gitmirror::config::{Delete, Dest, Repo};
use burrow_gitmirror::rules::{Pattern, Rename};

use crate::scene::{REPO, Scene, git, quiet, refs, round};

#[tokio::test(flavor = "multi_thread")]
async fn both_destinations_become_equal_to_the_upstream() {
    let scene = Scene::new();
    let (one, two) = (scene.bare("one.git"), scene.bare("two.git"));
    let mirror = scene.start(scene.config(&[&one, &two])).await;
    quiet(&mirror).await;
    assert_eq!(scene.refs(&one), scene.upstream_refs());

    scene.upstream.write("a.txt", "two").commit("second");
    scene.upstream.git(&["tag", "-a", "-m", "one", "v1"]);
    scene.upstream.git(&["branch", "other", "HEAD~1"]);
    let mut changes = mirror.changes();
    round(&mirror).await;
    assert_eq!(scene.upstream_refs().len(), 3);
    assert_eq!(scene.refs(&one), scene.upstream_refs());
    assert_eq!(scene.refs(&two), scene.upstream_refs());
    let told = changes.try_recv().unwrap();
    assert_eq!((told.repo.as_str(), told.changes.len()), (REPO, 3));
    // A merge, a folder, a tag of a tag and a submodule: every kind of object is taken over whole.
    scene.upstream.git(&["checkout", "--quiet", "-b", "side"]);
    scene.upstream.write("deep/er/b.txt", "b").commit("side");
    scene.upstream.git(&["checkout", "--quiet", "main"]);
    scene.upstream.git(&["merge", "--quiet", "--no-ff", "-m", "merge", "side"]);
    scene.upstream.git(&["update-index", "--add", "--cacheinfo", "160000,1234567890123456789012345678901234567890,module"]);
    scene.upstream.git(&["commit", "--quiet", "-m", "a submodule"]);
    scene.upstream.git(&["tag", "-a", "-m", "two", "v2", "v1"]);
    round(&mirror).await;
    assert_eq!(scene.refs(&one), scene.upstream_refs());
    git(&one, &["fsck", "--full", "--strict"]);
    git(&mirror.bare_path(REPO).unwrap(), &["fsck", "--full", "--strict"]);
    let status = mirror.status();
    assert!(status.is_healthy() && status.repo(REPO).unwrap().dests.iter().all(|dest| dest.lag_ms == 0 && dest.pushed > 0));
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_empty_at_first_is_an_error_and_then_it_is_mirrored() {
    let scene = Scene::empty();
    let dest = scene.bare("dest.git");
    let mirror = scene.start(scene.config(&[&dest])).await;
    quiet(&mirror).await;
    let status = mirror.status();
    assert!(status.repo(REPO).unwrap().error.contains("no references"), "{:?}", status.repo(REPO));
    scene.upstream.write("a.txt", "one").commit("first");
    round(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_follow_deleted_moved_and_rewritten_references_and_get_nothing_else() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    for name in ["gone", "keep"] {
        scene.upstream.git(&["branch", name]);
    }
    scene.upstream.git(&["tag", "v1"]);
    scene.upstream.git(&["update-ref", "refs/changes/01/1/1", "HEAD"]);
    scene.upstream.git(&["update-ref", "refs/meta/config", "HEAD"]);
    let mirror = scene.start(scene.config(&[&dest])).await;
    quiet(&mirror).await;
    let old = scene.upstream.head();
    git(&dest, &["update-ref", "refs/heads/stray", &old]);
    git(&dest, &["update-ref", "refs/extra/y", &old]);

    scene.upstream.git(&["branch", "-D", "gone"]);
    scene.upstream.git(&["commit", "--quiet", "--amend", "--message", "rewritten"]);
    scene.upstream.git(&["tag", "-f", "v1"]);
    round(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    assert_eq!(refs(&dest, "refs/changes refs/meta refs/extra"), [format!("refs/extra/y {old}")]);
    // What was rewritten can be had back: the old value is in the journal and its commit in the cache.
    let entries = mirror.journal(&Default::default(), 100).await.unwrap();
    assert!(entries.iter().any(|e| e.name == "refs/heads/main" && e.old == old && e.state == "done"), "{entries:?}");
    git(&mirror.bare_path(REPO).unwrap(), &["cat-file", "-e", &old]);
    assert!(refs(&mirror.bare_path(REPO).unwrap(), "refs/burrow/keep").iter().any(|line| line.ends_with(&old)));
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_arrive_as_they_are() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    let hash = scene.upstream.head();
    // A branch that looks like a hash, names that differ only in case, one beyond ASCII, one with a dash in front.
    for name in
        ["refs/heads/0123456789abcdef0123456789abcdef01234567", "refs/heads/Main", "refs/heads/MAIN", "refs/heads/ärger", "refs/heads/-x", "refs/tags/main"]
    {
        scene.upstream.git(&["update-ref", name, &hash]);
    }
    let mirror = scene.start(scene.config(&[&dest])).await;
    quiet(&mirror).await;
    assert_eq!(scene.upstream_refs().len(), 7);
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    // A name that becomes a folder of another, in one round, in both directions.
    scene.upstream.git(&["update-ref", "-d", "refs/heads/Main"]);
    scene.upstream.git(&["update-ref", "refs/heads/Main/sub", &hash]);
    round(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    scene.upstream.git(&["update-ref", "-d", "refs/heads/Main/sub"]);
    scene.upstream.git(&["update-ref", "refs/heads/Main", &hash]);
    round(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    assert!(mirror.status().is_healthy());
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_references_go_in_a_few_pushes() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    let hash = scene.upstream.head();
    let packed: String = (0..2_000).map(|n| format!("{hash} refs/heads/a-rather-long-name-of-a-branch-{n:05}\n")).collect();
    std::fs::write(scene.upstream.path().join(".git/packed-refs"), format!("# pack-refs with: peeled fully-peeled sorted \n{packed}")).unwrap();
    let mirror = scene.start(scene.config(&[&dest])).await;
    quiet(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    assert_eq!(scene.refs(&dest).len(), 2_001);
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_choose_rename_and_keep() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    for name in ["release-1", "release-2", "private-x"] {
        scene.upstream.git(&["branch", name]);
    }
    let mut repo = Repo::kept(REPO, scene.upstream.arg());
    repo.dest = vec![Dest {
        refs: vec![Pattern::new("refs/heads/*")],
        exclude: vec![Pattern::new("refs/heads/private-*")],
        rename: vec![Rename::new("refs/heads/release-*", "refs/heads/up/*").unwrap()],
        delete: Delete::Never,
        ..Dest::plain("dest", dest.to_str().unwrap())
    }];
    let mirror = scene.start(scene.config_of(repo)).await;
    quiet(&mirror).await;
    let names = |list: Vec<String>| list.into_iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(scene.refs(&dest)), ["refs/heads/main", "refs/heads/up/1", "refs/heads/up/2"]);
    scene.upstream.git(&["branch", "-D", "release-1"]);
    round(&mirror).await;
    assert_eq!(names(scene.refs(&dest)), ["refs/heads/main", "refs/heads/up/1", "refs/heads/up/2"]);
    assert!(mirror.status().is_healthy());
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_with_long_hashes_is_mirrored() {
    let scene = Scene::new();
    let (upstream, dest) = (scene.path("wide"), scene.path("wide-dest.git"));
    git(scene.dir.path(), &["init", "--quiet", "--object-format=sha256", "--initial-branch=main", upstream.to_str().unwrap()]);
    git(scene.dir.path(), &["init", "--quiet", "--object-format=sha256", "--bare", dest.to_str().unwrap()]);
    git(&upstream, &["commit", "--quiet", "--allow-empty", "--message", "first"]);
    let mut repo = Repo::kept(REPO, upstream.to_str().unwrap());
    repo.dest = vec![Dest::plain("dest", dest.to_str().unwrap())];
    let mirror = scene.start(scene.config_of(repo)).await;
    quiet(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.refs(&upstream));
    assert!(scene.refs(&dest)[0].len() > 70);
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_is_taken_over_without_a_restart() {
    let scene = Scene::new();
    let (one, two) = (scene.bare("one.git"), scene.bare("two.git"));
    let mirror = scene.start(scene.config(&[&one])).await;
    quiet(&mirror).await;
    mirror.apply(scene.config(&[&one, &two])).await.unwrap();
    crate::scene::until(&mirror, "the new destination", |status| {
        let repo = status.repo(REPO)?;
        (repo.dests.len() == 2 && repo.dests.iter().all(|dest| dest.good_ms.is_some())).then_some(())
    })
    .await;
    assert_eq!(scene.refs(&two), scene.upstream_refs());
    mirror.apply(scene.config(&[&two])).await.unwrap();
    scene.upstream.write("a.txt", "two").commit("second");
    round(&mirror).await;
    assert_eq!(scene.refs(&two), scene.upstream_refs());
    assert_ne!(scene.refs(&one), scene.upstream_refs(), "what is not in the configuration is left alone");
    mirror.stop().await;
}
