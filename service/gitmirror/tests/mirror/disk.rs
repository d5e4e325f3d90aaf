//! The mirror's disk is full: nothing half is taken over, nothing is pushed that is not written down, and it goes on by itself when there is room.

use burrow_gitmirror::Mirror;
use burrow_gitmirror::http::Access;
use testkit_harness::SmallDisk;

use crate::http::{get, router_of};
use crate::scene::{REPO, Scene, eventually, git, quiet, round, until};

/// Files of a git that was stopped in the middle.
fn leftovers(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("tmp_") || name.starts_with(".tmp") || name.ends_with(".lock") {
            found.push(entry.path());
        } else if entry.path().is_dir() {
            found.extend(leftovers(&entry.path()));
        }
    }
    found
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length / 8).flat_map(|_| next().to_le_bytes()).collect()
}

async fn start_on(scene: &Scene, disk: &SmallDisk, config: burrow_gitmirror::config::Config) -> Mirror {
    let deps = burrow_gitmirror::Deps { data: disk.path().join("data"), ..scene.deps() };
    Mirror::start(config, deps).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_does_not_fit_changes_nothing_and_is_made_good() {
    let scene = Scene::new();
    let Some(disk) = SmallDisk::mount(8) else { return };
    let dest = scene.bare("dest.git");
    scene.upstream.git(&["branch", "old"]);
    let mirror = start_on(&scene, &disk, scene.config(&[&dest])).await;
    quiet(&mirror).await;
    let (cache, before, first) = (mirror.bare_path(REPO).unwrap(), scene.refs(&dest), scene.upstream.head());
    assert_eq!(before.len(), 2);
    let app = router_of(&mirror, &disk.path().join("archives"), Access::new(None, None, true), &scene);

    // Rewritten besides: what lost its name must not be lost.
    std::fs::write(scene.upstream.path().join("large"), noise(12 << 20)).unwrap();
    scene.upstream.git(&["add", "large"]);
    scene.upstream.git(&["commit", "--quiet", "--amend", "--message", "large"]);
    for _ in 0..3 {
        round(&mirror).await;
        let status = mirror.status();
        let error = status.repo(REPO).unwrap().error.clone();
        assert!(error.contains("No space left on device") && error.contains("free some space"), "{error}");
        assert_eq!((scene.refs(&dest), scene.refs(&cache)), (before.clone(), before.clone()), "nothing is taken over and nothing deleted");
        assert_eq!(leftovers(&cache), [] as [std::path::PathBuf; 0], "half a pack is not left on a full disk");
        let (code, text) = get(&app, "/healthz").await;
        assert!(code == 500 && text.contains("free some space"), "{code} {text}");
        assert!(get(&app, "/status").await.1.contains("free some space"));
        // What is here is served, and what cannot be fetched is not called unknown.
        assert_eq!(get(&app, &format!("/app.tar.gz?rev={first}")).await.0, 200);
        let (code, text) = get(&app, &format!("/app.tar.gz?rev={}", scene.upstream.head())).await;
        assert_eq!(code, 503, "{text}");
    }
    git(&cache, &["fsck", "--full", "--strict"]);

    disk.resize(64);
    round(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs(), "{:#?}", mirror.status());
    assert!(mirror.status().is_healthy());
    assert_eq!(get(&app, "/healthz").await.0, 200);
    git(&cache, &["fsck", "--full", "--strict"]);
    git(&cache, &["cat-file", "-e", &first]);
    assert_eq!(get(&app, &format!("/app.tar.gz?rev={}", scene.upstream.head())).await.0, 200);
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_journalled_is_not_pushed() {
    let scene = Scene::new();
    let Some(disk) = SmallDisk::mount(16) else { return };
    let dest = scene.bare("dest.git");
    let mirror = start_on(&scene, &disk, scene.config(&[&dest])).await;
    quiet(&mirror).await;
    let before = scene.refs(&dest);
    let app = router_of(&mirror, &disk.path().join("archives"), Access::new(None, None, true), &scene);

    scene.upstream.write("a.txt", "two").commit("second");
    disk.fill();
    // The last page of their file may have room for some more of them.
    eventually("rows that wait", || {
        let status = mirror.status();
        if status.repo(REPO).unwrap().is_quiet() {
            mirror.wake(REPO);
        }
        status.stalled.is_some()
    })
    .await;
    let stalled = mirror.status().stalled.unwrap();
    assert!(stalled.contains("nothing is pushed until it can") && stalled.contains("free some space"), "{stalled}");
    let (code, text) = get(&app, "/healthz").await;
    assert!(code == 500 && text.starts_with("journal: ") && text.contains("free some space"), "{code} {text}");
    assert!(get(&app, "/status").await.1.contains("nothing can be written"), "the page says so");
    let json: serde_json::Value = serde_json::from_str(&get(&app, "/status.json").await.1).unwrap();
    assert!(json["healthy"] == false && json["stalled"].is_string(), "{json}");
    assert!(get(&app, "/metrics").await.1.contains("burrow_gitmirror_healthy 0\n"));
    assert!(get(&app, "/").await.1.contains("</a> - broken: nothing can be written"), "the reference's coordinator calls it an error");
    assert_eq!(get(&app, "/livez").await.0, 200, "a restart would not help");
    // What is here is served meanwhile.
    assert_eq!(get(&app, "/app.tar.gz?rev=main").await.0, 200);
    assert_eq!(scene.refs(&dest), before, "nothing is pushed that is not written down");

    disk.empty_out();
    eventually("rows that are written", || mirror.status().stalled.is_none()).await;
    round(&mirror).await;
    until(&mirror, "equality", |s| s.repo(REPO).filter(|r| r.is_quiet() && r.first_error().is_none() && r.dests[0].behind == 0).map(drop)).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    let journal = mirror.journal(&Default::default(), 10).await.unwrap();
    assert_eq!(journal.iter().map(|entry| entry.state.as_str()).collect::<Vec<_>>(), ["done", "done"], "{journal:?}");
    assert_eq!(journal[0].new, scene.upstream.head());
    assert!(mirror.status().is_healthy());
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_fails_with_a_reason_or_serves_what_is_there() {
    let scene = Scene::new();
    let Some(disk) = SmallDisk::mount(16) else { return };
    let dest = scene.bare("dest.git");
    let mirror = start_on(&scene, &disk, scene.config(&[&dest])).await;
    quiet(&mirror).await;
    let before = scene.refs(&dest);
    mirror.stop().await;
    drop(mirror);
    disk.fill();
    let deps = burrow_gitmirror::Deps { data: disk.path().join("data"), ..scene.deps() };
    match Mirror::start(scene.config(&[&dest]), deps).await {
        Ok(mirror) => mirror.stop().await,
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("is full") && text.contains("free some space"), "{text}");
        }
    }
    assert_eq!(scene.refs(&dest), before);
    disk.empty_out();
    scene.upstream.write("a.txt", "two").commit("second");
    let mirror = start_on(&scene, &disk, scene.config(&[&dest])).await;
    quiet(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    mirror.stop().await;
}
