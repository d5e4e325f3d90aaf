//! What goes wrong, and that nothing is lost or hidden by it.

use std::time::Duration;

use burrow_gitmirror::config::{Dest, Repo};

use crate::scene::{REPO, Scene, git, quiet, round, script, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_upstream_deletes_nothing_and_is_loud() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    let mirror = scene.start(scene.config(&[&dest])).await;
    quiet(&mirror).await;
    let before = scene.refs(&dest);
    std::fs::remove_dir_all(scene.upstream.path()).unwrap();
    git(scene.dir.path(), &["init", "--quiet", scene.upstream.arg()]);
    round(&mirror).await;
    assert_eq!(scene.refs(&dest), before);
    assert_eq!(scene.refs(&mirror.bare_path(REPO).unwrap()), before);
    let status = mirror.status();
    let error = status.first_error().unwrap();
    assert!(error.contains("no references at all") && error.contains("nothing is deleted"), "{error}");
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deletions_wait_until_they_are_confirmed_while_the_rest_goes_on() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    for n in 0..9 {
        scene.upstream.git(&["branch", &format!("b{n}")]);
    }
    let mirror = scene.start(scene.config(&[&dest])).await;
    quiet(&mirror).await;
    let before = scene.refs(&dest).len();
    for n in 0..8 {
        scene.upstream.git(&["branch", "-D", &format!("b{n}")]);
    }
    scene.upstream.write("a.txt", "two").commit("second");
    round(&mirror).await;
    assert_eq!(scene.refs(&dest).len(), before);
    assert!(scene.refs(&dest).contains(&format!("refs/heads/main {}", scene.upstream.head())), "news go on");
    let hold = mirror.status().repo(REPO).unwrap().hold.clone().unwrap();
    assert_eq!((hold.count, hold.names[0].as_str()), (8, "refs/heads/b0"));
    assert!(mirror.status().repo(REPO).unwrap().line.starts_with("ok; 8 deletions wait"));

    assert_eq!(mirror.confirm(REPO).await.unwrap(), 8);
    // The destination has its own limit, which asks again.
    until(&mirror, "the destination's hold", |s| s.repo(REPO).filter(|r| r.is_quiet())?.dest("dest")?.hold.clone()).await;
    mirror.confirm(REPO).await.unwrap();
    until(&mirror, "the deletions", |s| s.repo(REPO).filter(|r| r.is_quiet() && r.dests[0].hold.is_none()).map(drop)).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    assert!(mirror.confirm(REPO).await.is_err(), "there is nothing left to confirm");
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_push_is_reported_and_left_alone() {
    let scene = Scene::new();
    let (dest, taken) = (scene.bare("dest.git"), scene.bare("taken.git"));
    let mut config = scene.config(&[&dest, &taken]);
    config.repo[0].dest[1].force = true;
    let mirror = scene.start(config).await;
    quiet(&mirror).await;
    let theirs = |path: &std::path::Path, message: &str| {
        let tree = git(path, &["rev-parse", "main^{tree}"]);
        let made = git(path, &["commit-tree", "-m", message, &tree]);
        git(path, &["update-ref", "refs/heads/main", &made]);
        made
    };
    let (left, overwritten) = (theirs(&dest, "theirs"), theirs(&taken, "others"));
    scene.upstream.write("a.txt", "two").commit("second");
    scene.upstream.git(&["branch", "new"]);
    round(&mirror).await;
    assert_eq!(git(&dest, &["rev-parse", "main"]), left);
    assert_eq!(git(&dest, &["rev-parse", "new"]), scene.upstream.head(), "the others go on");
    let status = mirror.status();
    let seen = status.repo(REPO).unwrap().dest("dest").unwrap();
    assert_eq!((seen.diverged.len(), seen.diverged[0].there.as_str(), seen.behind), (1, left.as_str(), 1));
    scene.upstream.git(&["branch", "another"]);
    round(&mirror).await;
    assert_eq!(git(&dest, &["rev-parse", "main"]), left, "having been seen once does not make it ours");
    // With `force` it is overwritten, and what was there is kept.
    assert_eq!(git(&taken, &["rev-parse", "main"]), scene.upstream.head());
    git(&mirror.bare_path(REPO).unwrap(), &["cat-file", "-e", &overwritten]);
    // Once it is as it was, it is followed again.
    git(&dest, &["update-ref", "refs/heads/main", scene.upstream.git(&["rev-parse", "HEAD~1"]).trim()]);
    scene.upstream.write("a.txt", "three").commit("third");
    round(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    assert!(mirror.status().is_healthy());
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_reference_is_set_aside_alone_whichever_hook_refuses_it() {
    for hook in ["update", "pre-receive"] {
        let scene = Scene::new();
        let dest = scene.bare("dest.git");
        for n in 0..7 {
            scene.upstream.git(&["branch", &format!("good{n}")]);
        }
        scene.upstream.git(&["branch", "secret"]);
        let check = match hook {
            "update" => "#!/bin/sh\nif test \"$1\" = refs/heads/secret; then echo 'it holds a secret' >&2; exit 1; fi\n",
            _ => "#!/bin/sh\nwhile read old new name; do if test $name = refs/heads/secret; then exit 1; fi; done\n",
        };
        script(&dest.join("hooks").join(hook), check);
        let mirror = scene.start(scene.config(&[&dest])).await;
        quiet(&mirror).await;
        assert_eq!(scene.refs(&dest).len(), 8, "{hook}");
        let status = mirror.status();
        let seen = status.repo(REPO).unwrap().dest("dest").unwrap().clone();
        assert_eq!(seen.quarantined.iter().map(|q| q.name.as_str()).collect::<Vec<_>>(), ["refs/heads/secret"], "{hook}");
        assert!(seen.quarantined[0].reason.contains("hook declined"), "{seen:?}");
        assert!(status.repo(REPO).unwrap().line.starts_with("ok; dest refuses 1 "), "{hook}");
        // It does not hold up what comes later, and is not tried again with each of them.
        scene.upstream.write("a.txt", hook).commit("later");
        round(&mirror).await;
        assert_eq!(git(&dest, &["rev-parse", "main"]), scene.upstream.head());
        // Another value is tried at once.
        std::fs::remove_file(dest.join("hooks").join(hook)).unwrap();
        scene.upstream.git(&["branch", "-f", "secret", "HEAD"]);
        round(&mirror).await;
        assert_eq!(scene.refs(&dest), scene.upstream_refs(), "{hook}");
        assert!(mirror.status().repo(REPO).unwrap().dests[0].quarantined.is_empty());
        mirror.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_away_does_not_hold_up_the_other() {
    let scene = Scene::new();
    let (up, down) = (scene.bare("up.git"), scene.path("down.git"));
    let mirror = scene.start(scene.config(&[&up, &down])).await;
    quiet(&mirror).await;
    scene.upstream.write("a.txt", "two").commit("second");
    round(&mirror).await;
    assert_eq!(scene.refs(&up), scene.upstream_refs());
    let status = mirror.status();
    let repo = status.repo(REPO).unwrap();
    assert!(repo.dest("up").unwrap().failures == 0 && repo.dest("down").unwrap().failures > 0);
    assert!(status.first_error().unwrap().starts_with("app: down: "), "{:?}", status.first_error());
    assert!(repo.line.starts_with("broken; permanently? always failing, for "), "{}", repo.line);
    assert!(repo.dest("down").unwrap().next_ms.is_some(), "it is tried again");
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_can_be_undone_and_stays_undone_until_upstream_changes() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    scene.upstream.git(&["branch", "precious"]);
    let mirror = scene.start(scene.config(&[&dest])).await;
    quiet(&mirror).await;
    let before = scene.refs(&dest);
    scene.upstream.git(&["branch", "-D", "precious"]);
    scene.upstream.git(&["commit", "--quiet", "--amend", "--message", "a mistake"]);
    round(&mirror).await;
    assert_eq!(scene.refs(&dest).len(), 1);
    let pushes = mirror.journal(&Default::default(), 10).await.unwrap();
    assert_eq!(mirror.undo(REPO, "dest", pushes[0].round, None).await.unwrap(), 2);
    until(&mirror, "the undo", |s| s.repo(REPO).filter(|r| r.is_quiet() && r.dests[0].undone.len() == 2).map(drop)).await;
    assert_eq!(scene.refs(&dest), before);
    round(&mirror).await;
    assert_eq!(scene.refs(&dest), before, "a round does not do it again");
    // The next value is welcome.
    scene.upstream.git(&["commit", "--quiet", "--amend", "--message", "mended"]);
    round(&mirror).await;
    assert_eq!(git(&dest, &["rev-parse", "main"]), scene.upstream.head());
    mirror.release(REPO, "dest").await.unwrap();
    until(&mirror, "the release", |s| s.repo(REPO).filter(|r| r.is_quiet() && r.dests[0].undone.is_empty()).map(drop)).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_git_that_ignores_signals_and_leaves_a_child_with_its_output_is_ended() {
    let scene = Scene::new();
    // The hook runs below `git push`: it ignores what asks it to end, and starts a process that holds the pipes.
    let dest = scene.bare("dest.git");
    script(&dest.join("hooks/pre-receive"), "#!/bin/sh\ntrap '' INT TERM\nsleep 987654 &\nsleep 987655\n");
    let mut config = scene.config(&[&dest]);
    config.git_limit = Duration::from_secs(2);
    let mirror = scene.start(config).await;
    until(&mirror, "the limit", |s| s.repo(REPO).filter(|r| r.dests[0].failures > 0).map(drop)).await;
    let error = mirror.status().repo(REPO).unwrap().dests[0].error.clone();
    assert!(error.contains("took longer than 2 s"), "{error}");
    // Whoever is killed is gone a moment later.
    let start = std::time::Instant::now();
    loop {
        let left = testkit_harness::process::find(&scene.path("data"));
        if left.is_empty() {
            break;
        }
        assert!(start.elapsed() < testkit_harness::HANG, "left behind: {left:?}");
        tokio::task::yield_now().await;
    }
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_cache_is_repaired_in_place() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    let mirror = scene.start(scene.config(&[&dest])).await;
    quiet(&mirror).await;
    let cache = mirror.bare_path(REPO).unwrap();
    mirror.stop().await;
    drop(mirror);
    // Every object is cut off, as a crash of the machine may do.
    let mut cut = 0;
    for entry in walk(&cache.join("objects")) {
        if entry.is_file() {
            let mut permissions = std::fs::metadata(&entry).unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
            std::fs::set_permissions(&entry, permissions).unwrap();
            std::fs::write(&entry, b"").unwrap();
            cut += 1;
        }
    }
    assert!(cut > 0);
    std::fs::write(cache.join("HEAD.lock"), "").unwrap();
    scene.upstream.write("a.txt", "two").commit("second");
    let mirror = scene.start(scene.config(&[&dest])).await;
    until(&mirror, "the repair", |s| s.repo(REPO).filter(|r| r.rounds > 1 && r.is_quiet() && r.first_error().is_none()).map(drop)).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs(), "{:#?}", mirror.status());
    git(&cache, &["fsck", "--full", "--strict"]);
    let log = mirror.log_of(REPO).unwrap();
    assert!(log.iter().any(|(_, line)| line.contains("repaired in place")), "{log:?}");
    mirror.stop().await;
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir).unwrap().flatten().flat_map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { vec![entry.path()] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_previous_process_knew_is_known_to_the_next() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    let mirror = scene.start(scene.config(&[&dest])).await;
    quiet(&mirror).await;
    mirror.stop().await;
    drop(mirror);
    let mut repo = Repo::kept(REPO, scene.path("nowhere").to_str().unwrap());
    repo.dest = vec![Dest::plain("dest", dest.to_str().unwrap())];
    let mirror = scene.start(scene.config_of(repo)).await;
    quiet(&mirror).await;
    let status = mirror.status();
    let repo = status.repo(REPO).unwrap();
    assert!(repo.line.starts_with("broken for "), "it was good once: {}", repo.line);
    assert!(repo.dests[0].good_ms.is_some() && repo.dests[0].failures == 0);
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    mirror.stop().await;
}
