//! The drill itself.

use burrow_gitmirror::drill;

use burrow_gitmirror::http::Access;

use crate::http::router_of;
use crate::scene::{REPO, Scene, quiet, refs};

#[tokio::test(flavor = "multi_thread")]
async fn the_alarm_works() {
    let scene = Scene::empty();
    let deps = scene.deps();
    let dir = std::fs::canonicalize(scene.dir.path()).unwrap().join("drill");
    std::fs::create_dir(&dir).unwrap();
    let tools = drill::Tools { http: deps.http, clock: deps.clock, dir, limit: std::time::Duration::from_secs(2) };
    let report = drill::scratch(tools).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(report.tried.len(), 9);
}

/// The drill of a mirror that is in use: a branch comes and goes, and nothing else is touched.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_mirror_is_tried_from_outside() {
    let scene = Scene::empty();
    let (upstream, dest, away) = (scene.bare("source.git"), scene.bare("dest.git"), scene.path("away.git"));
    scene.upstream.write("a.txt", "one").commit("first");
    scene.upstream.git(&["push", "--quiet", upstream.to_str().unwrap(), "main"]);
    let mut config = scene.config(&[&dest]);
    config.repo[0].upstream = upstream.to_str().unwrap().into();
    // Nobody wakes it: the drill finds out whether it looks by itself.
    config.poll = std::time::Duration::from_millis(200);
    let mirror = scene.start(config).await;
    quiet(&mirror).await;
    let app = router_of(&mirror, &scene.path("archives"), Access::new(None, None, true), &scene);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let before = refs(&upstream, "refs");
    let tools = |name: &str, limit: u64| {
        let dir = std::fs::canonicalize(scene.dir.path()).unwrap().join(name);
        std::fs::create_dir(&dir).unwrap();
        let deps = scene.deps();
        drill::Tools { http: deps.http, clock: deps.clock, dir, limit: std::time::Duration::from_secs(limit) }
    };
    let report = drill::running(tools("good", 60), &base, REPO, &Default::default()).await.unwrap();
    assert!(report.passed() && report.tried.len() == 4, "{report}");
    assert_eq!((refs(&upstream, "refs"), refs(&dest, "refs")), (before.clone(), before.clone()), "nothing is left of it");

    // A destination that does not get it is named.
    std::fs::rename(&dest, &away).unwrap();
    scene.bare("dest.git");
    crate::scene::script(&dest.join("hooks/pre-receive"), "#!/bin/sh\nexit 1\n");
    let report = drill::running(tools("bad", 1), &base, REPO, &Default::default()).await.unwrap();
    assert!(!report.passed(), "{report}");
    let missing = report.tried[1].seen.clone().unwrap_err();
    assert!(missing.starts_with("not at ") && missing.contains("dest.git"), "{missing}");
    assert_eq!(refs(&upstream, "refs"), before, "it tidies up all the same");

    for (base, repo, says) in [(base.as_str(), "other", "has no repository \"other\""), ("http://127.0.0.1:1", REPO, "127.0.0.1:1")] {
        let error = drill::running(tools(&format!("{repo}-wrong"), 1), base, repo, &Default::default()).await.unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    mirror.stop().await;
}
