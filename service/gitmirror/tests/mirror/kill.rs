//! `kill -9` of the mirror at any moment.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use burrow_gitmirror::config::{Config, Dest, Repo};
use burrow_gitmirror::{Deps, Mirror};

use crate::scene::{REPO, Scene, git, quiet, script};

/// Set for the child: the folder of the scene.
const FOLDER: &str = "BURROW_TEST_MIRROR_FOLDER";

/// Not a test of its own: the process that is killed.
#[tokio::test(flavor = "multi_thread")]
async fn mirror_process() {
    let Some(dir) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let mut repo = Repo::kept(REPO, dir.join("upstream").to_str().unwrap());
    repo.dest = vec![Dest::plain("dest", dir.join("dest.git").to_str().unwrap())];
    let config = Config { repo: vec![repo], poll: std::time::Duration::from_secs(3600), ..Config::default() };
    let deps = Deps {
        data: dir.join("data"),
        clock: burrow_clock::SystemClock::shared(),
        ids: burrow_clock::Ids::seeded(1),
        http: burrow_http_client::Client::new(Default::default()).unwrap(),
        feed: None,
    };
    let _mirror = Mirror::start(config, deps).await.unwrap();
    println!("mirror started");
    std::future::pending::<()>().await;
}

fn start(scene: &Scene) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::mirror_process", "--exact", "--nocapture"])
        .env(FOLDER, scene.dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("mirror started")));
    child
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until somebody has made this file.
fn wait_for_file(path: &std::path::Path) {
    let begun = std::time::Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < testkit_harness::HANG, "{} never came", path.display());
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_killed_during_a_push_knows_what_it_did_and_goes_on() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    let old = scene.upstream.head();
    kill_when_equal(&scene, &dest);
    let cache = std::fs::canonicalize(scene.path("data/repos/app.git")).unwrap();
    std::fs::write(cache.join("witness"), "").unwrap();
    // The push has changed the branch and has not been heard of when the mirror dies.
    let marker = scene.path("reached");
    script(&dest.join("hooks/post-update"), &format!("#!/bin/sh\ntouch '{}'\nsleep 987653\n", marker.display()));
    let new = scene.upstream.write("a.txt", "two").commit("second");
    let child = start(&scene);
    wait_for_file(&marker);
    kill(child);
    assert_eq!(git(&dest, &["rev-parse", "main"]), new);
    assert!(!testkit_harness::process::find(&scene.path("data")).is_empty(), "its git is still there");
    std::fs::remove_file(dest.join("hooks/post-update")).unwrap();
    std::fs::write(cache.join("packed-refs.lock"), "").unwrap();

    let third = scene.upstream.write("a.txt", "three").commit("third");
    let mirror = scene.start(scene.config(&[&dest])).await;
    quiet(&mirror).await;
    assert_eq!(git(&dest, &["rev-parse", "main"]), third);
    assert!(cache.join("witness").exists(), "the copy was used again");
    let entries = mirror.journal(&Default::default(), 10).await.unwrap();
    let told: Vec<(&str, &str, &str)> = entries.iter().map(|e| (e.old.as_str(), e.new.as_str(), e.state.as_str())).collect();
    assert_eq!(told[..2], [(new.as_str(), third.as_str(), "done"), (old.as_str(), new.as_str(), "done")]);
    assert!(mirror.status().is_healthy(), "{:#?}", mirror.status());
    mirror.stop().await;
    assert!(testkit_harness::process::find(&scene.path("data")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_killed_during_a_fetch_goes_on_with_the_same_copy() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    kill_when_equal(&scene, &dest);
    let cache = std::fs::canonicalize(scene.path("data/repos/app.git")).unwrap();
    std::fs::write(cache.join("witness"), "").unwrap();
    // The fetch has its objects and is about to write references.
    let marker = scene.path("reached");
    script(&cache.join("held/reference-transaction"), &format!("#!/bin/sh\ntouch '{}'\nsleep 987652\n", marker.display()));
    let config = std::fs::read_to_string(cache.join("config")).unwrap();
    std::fs::write(cache.join("config"), config.replace("/dev/null", cache.join("held").to_str().unwrap())).unwrap();
    // So many that git is asked to fetch them.
    let second = scene.upstream.write("a.txt", "two").commit("second");
    let packed: String = (0..600).map(|n| format!("{second} refs/heads/b{n:03}\n")).collect();
    std::fs::write(scene.upstream.path().join(".git/packed-refs"), format!("# pack-refs with: peeled fully-peeled sorted \n{packed}")).unwrap();
    let child = start(&scene);
    wait_for_file(&marker);
    kill(child);
    std::fs::write(cache.join("config"), config).unwrap();
    let mirror = scene.start(scene.config(&[&dest])).await;
    quiet(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    assert!(cache.join("witness").exists(), "the copy was used again");
    git(&cache, &["fsck", "--full"]);
    mirror.stop().await;
    assert!(testkit_harness::process::find(&scene.path("data")).is_empty());
}

/// Lets a process mirror everything and kills it.
fn kill_when_equal(scene: &Scene, dest: &std::path::Path) {
    let child = start(scene);
    let begun = std::time::Instant::now();
    while scene.refs(dest) != scene.upstream_refs() {
        assert!(begun.elapsed() < testkit_harness::HANG);
        std::thread::yield_now();
    }
    kill(child);
}
