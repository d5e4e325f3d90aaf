//! `burrow drill mirror` against a mirror that runs: the exit status says whether its alarm can be relied on.

use std::path::Path;
use std::process::Command;

use testkit_harness::Burrow;
use testkit_harness::burrow::run;
use testkit_harness::git::Repository;

fn bare(dir: &Path, name: &str) -> String {
    let path = dir.join(name);
    let made = Command::new("git").args(["init", "--quiet", "--bare"]).arg(&path).env("GIT_CONFIG_GLOBAL", "/dev/null").status().unwrap();
    assert!(made.success());
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_running_mirror_is_tried_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (upstream, dest) = (bare(dir, "upstream.git"), bare(dir, "dest.git"));
    let work = Repository::create(dir.join("work"));
    work.write("a", "b").commit("first");
    work.git(&["push", "--quiet", &upstream, "main"]);
    let config = format!(
        "data = \"data\"\nlisten = \"127.0.0.1:0\"\npoll = \"1s\"\n[[repo]]\nname = \"app\"\nupstream = {upstream:?}\n[[repo.dest]]\nname = \"copy\"\nurl = {dest:?}\n"
    );
    std::fs::write(dir.join("mirror.toml"), config).unwrap();
    let mirror = Burrow::serving(dir, &["gitmirror", "--config", "mirror.toml"]);
    let url = format!("http://{}", mirror.address);
    let good = run(dir, &["drill", "mirror", "--url", &url, "--repo", "app"]);
    assert!(good.code() == 0 && good.text().contains("The alarm works."), "{}", good.text());

    // A destination that takes nothing any more.
    let hook = dir.join("dest.git/hooks/pre-receive");
    std::fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bad = run(dir, &["drill", "mirror", "--url", &url, "--repo", "app", "--limit", "1"]);
    assert_eq!(bad.code(), 1, "{}", bad.text());
    assert!(bad.text().contains("FAIL  it arrives") && bad.text().contains("dest.git"), "{}", bad.text());

    let wrong = run(dir, &["drill", "mirror", "--url", &url, "--repo", "other"]);
    assert!(wrong.code() > 1 && wrong.text().contains("has no repository \"other\""), "{}", wrong.text());
}
