//! A whole farm in pieces: pubsubhelper hears of a push, gitmirror fetches it, the coordinator builds it from the mirror. Upstream may be away meanwhile.

use std::path::Path;

use burrow_tests::all_ended;
use serde_json::json;
use testkit_harness::git::Repository;
use testkit_harness::{Burrow, HANG, http};

/// So long that no poll can be what found a commit.
const NEVER: &str = "1h";

struct Farm {
    coordinator: Burrow,
    mirror: Burrow,
    events: Burrow,
    upstream: Repository,
}

fn write(dir: &Path, name: &str, text: &str) {
    // Whole at once: the services watch their configurations.
    std::fs::write(dir.join(format!("{name}.new")), text).unwrap();
    std::fs::rename(dir.join(format!("{name}.new")), dir.join(name)).unwrap();
}

fn farm(dir: &Path) -> Farm {
    let upstream = Repository::create(dir.join("upstream"));
    upstream.write("Makefile", "all:\n\techo made\n").commit("first");
    write(dir, "secret", "open sesame\n");
    write(
        dir,
        "events.toml",
        "data = \"events\"\nlisten = [\"127.0.0.1:0\"]\nallow_plain_http = true\n[[source]]\nkind = \"gitlab\"\nsecret_file = \"secret\"\n",
    );
    let events = Burrow::serving(dir, &["pubsubhelper", "--config", "events.toml"]);
    let mirroring = |notify: &str| {
        format!(
            "data = \"mirror\"\nlisten = \"127.0.0.1:0\"\npoll = \"{NEVER}\"\n[events]\nurl = \"http://{}\"\n{notify}[[repo]]\nname = \"app\"\nupstream = {:?}\n",
            events.address,
            upstream.arg()
        )
    };
    write(dir, "mirror.toml", &mirroring(""));
    let mirror = Burrow::serving(dir, &["gitmirror", "--config", "mirror.toml"]);
    let text = format!(
        "schema = 1\n[site]\nlisten = \"127.0.0.1:0\"\nmirror = {{ url = \"http://{}\" }}\n\
         [pool.local]\nkind = \"process\"\nworkers = 1\n[host.local]\npool = \"local\"\n[project.app]\nmain_branch = \"main\"\n\
         [repo.app]\nproject = \"app\"\nurl = {:?}\npoll = \"{NEVER}\"\n\
         [recipe.make]\nstep = [{{ name = \"build\", run = [\"make\"] }}]\n[builder.one]\nhost = \"local\"\nrecipe = \"make\"\n",
        mirror.address,
        upstream.arg()
    );
    // A folder of its own: what runs below the folder of a handle ends with the handle.
    let home = dir.join("farm");
    std::fs::create_dir(&home).unwrap();
    write(&home, "farm.toml", &text);
    // Nobody would tell the coordinator of the first copy.
    let start = std::time::Instant::now();
    while mirror.get("/app/refs.json").status != 200 {
        assert!(start.elapsed() < HANG, "no first copy: {}", mirror.process.text());
        std::thread::yield_now();
    }
    let coordinator = Burrow::serving(&home, &["coordinator", "--config", "farm.toml", "--data", "data"]);
    // Taken over while it runs: where the coordinator listens is known only now.
    write(dir, "mirror.toml", &mirroring(&format!("[[notify]]\nurl = \"http://{}/hook/{{repo}}\"\n", coordinator.address)));
    mirror.process.wait_for("The configuration is in force");
    Farm { coordinator, mirror, events, upstream }
}

#[test]
fn a_push_is_built_at_once_and_builds_go_on_without_the_upstream() {
    let dir = tempfile::tempdir().unwrap();
    let farm = farm(dir.path());
    let first = all_ended(&farm.coordinator, 1);
    assert_eq!(first[0]["state"], "passed");

    // The hook says nothing but "look"; every other way to the commit takes an hour.
    let pushed = farm.upstream.write("more", "more\n").commit("second");
    let hook = json!({
        "object_kind": "push", "ref": "refs/heads/main", "before": "0".repeat(40), "after": pushed,
        "project": {"path_with_namespace": "team/app", "git_http_url": farm.upstream.arg(), "git_ssh_url": farm.upstream.arg()},
    });
    let headers = [("X-Gitlab-Event", "Push Hook"), ("X-Gitlab-Token", "open sesame")];
    let answer = http::post_with(&farm.events.address, "/gitlab-webhook", &headers, &hook.to_string()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let both = all_ended(&farm.coordinator, 2);
    assert!(both.iter().any(|build| build["hash"] == pushed.as_str() && build["state"] == "passed"), "{both:?}");

    // Upstream is unplugged, and whatever the coordinator had fetched itself is gone.
    std::fs::rename(farm.upstream.path(), dir.path().join("unplugged")).unwrap();
    let Farm { coordinator, mirror, .. } = farm;
    drop(coordinator);
    let home = dir.path().join("farm");
    std::fs::remove_dir_all(home.join("data")).unwrap();
    let coordinator = Burrow::serving(&home, &["coordinator", "--config", "farm.toml", "--data", "data"]);
    let again = all_ended(&coordinator, 2);
    assert!(again.iter().all(|build| build["state"] == "passed"), "{again:?}\n{}", mirror.process.text());
}
