//! The model as git and a REST client see it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use burrow_http_client::{Client, Error, Request, Settings};
use serde_json::Value;
use testkit_gerrit::{Fault, Gerrit, NewComment, Policy, Review, Status, Strategy, Style};

/// Runs the git program beside the server, which shares this thread's runtime.
async fn git(dir: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("git is installed");
    if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).into_owned()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

async fn get(gerrit: &Gerrit, path: &str) -> (u16, Vec<u8>) {
    let client = Client::new(Settings::default()).unwrap();
    let answer = client.send(Request::get(&format!("{}{path}", gerrit.base())).unwrap()).await.unwrap();
    (answer.status().as_u16(), answer.bytes(10 << 20).await.unwrap().to_vec())
}

async fn json(gerrit: &Gerrit, path: &str) -> Value {
    let (status, body) = get(gerrit, path).await;
    let text = String::from_utf8(body).unwrap();
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(text.strip_prefix(")]}'\n").expect("the guard line")).unwrap()
}

/// Messages of a change's history, newest first.
async fn metas(gerrit: &Gerrit, project: &str, number: i64) -> Vec<String> {
    let dir = gerrit.world().repository(project).to_owned();
    let reference = gerrit.world().change(number).ref_name("meta");
    git(&dir, &["log", "-z", "--format=%an|%ae|%cn%n%B", &reference]).await.unwrap().split('\0').filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_random_world_is_a_sound_git_server() {
    let gerrit = Gerrit::start().await;
    gerrit.world().random(7, 400);
    let dir = tempfile::tempdir().unwrap();
    let projects: Vec<String> = gerrit.world().projects().map(|project| project.name.clone()).collect();
    for project in &projects {
        let url = gerrit.git_url(project);
        let listed: BTreeMap<String, String> = git(dir.path(), &["ls-remote", &url])
            .await
            .unwrap()
            .lines()
            .filter_map(|line| line.split_once('\t').map(|(hash, name)| (name.to_owned(), hash.to_owned())))
            .filter(|(name, _)| name != "HEAD" && !name.ends_with("^{}"))
            .collect();
        assert_eq!(listed, gerrit.world().refs(project), "{project}");
        let repository = gerrit.world().repository(project).to_owned();
        git(&repository, &["fsck", "--strict", "--full", "--no-dangling"]).await.unwrap();
        // Everything can be fetched, with either version of the protocol, and single objects by their hash alone.
        for version in ["0", "2"] {
            let copy = dir.path().join(format!("{}-{version}", project.replace('/', "-")));
            git(dir.path(), &["init", "--quiet", "--bare", copy.to_str().unwrap()]).await.unwrap();
            git(&copy, &["-c", &format!("protocol.version={version}"), "fetch", "--quiet", &url, "+refs/*:refs/*"]).await.unwrap();
            assert_eq!(git(&copy, &["for-each-ref"]).await.unwrap().lines().count(), listed.len());
            let lone = listed.iter().find(|(name, _)| name.ends_with("/meta")).unwrap().1;
            let parent = git(&repository, &["rev-parse", &format!("{lone}^{{commit}}")]).await.unwrap();
            git(&copy, &["-c", &format!("protocol.version={version}"), "fetch", "--quiet", &url, parent.trim()]).await.unwrap();
        }
    }
    let world = gerrit.world();
    for change in world.changes().values() {
        let refs = world.refs(&change.project);
        assert_eq!(refs.get(&change.ref_name("meta")), change.metas.last());
        for patch_set in &change.patch_sets {
            assert_eq!(refs.get(&change.ref_name(patch_set.number)), Some(&patch_set.commit));
        }
        if change.status == Status::Merged {
            assert!(change.submitted.is_some());
        }
    }
    for wanted in [Status::New, Status::Merged, Status::Abandoned] {
        assert!(world.changes().values().any(|change| change.status == wanted), "{wanted:?}");
    }
}

#[tokio::test]
async fn the_same_seed_makes_the_same_hashes() {
    let (one, two, other) = (Gerrit::start().await, Gerrit::start().await, Gerrit::start().await);
    one.world().random(3, 150);
    two.world().random(3, 150);
    other.world().random(4, 150);
    let refs = |gerrit: &Gerrit| gerrit.world().refs("go");
    // Addresses of the server itself stand in no commit unless changes are picked.
    assert_eq!(refs(&one), refs(&two));
    assert_ne!(refs(&one), refs(&other));
}

#[tokio::test]
async fn the_history_of_a_change_is_what_gerrit_writes() {
    let gerrit = Gerrit::start().await;
    let (number, commit) = {
        let mut world = gerrit.world();
        world.create_project("p");
        let number = world.create_change_with("p", "master", "Ada", "p: subject\n\nBody.", &[("a", "1\n")], &[("Run-TryBot", 1)]);
        world.review(
            number,
            "Bob",
            &Review {
                message: "Looks fine.".into(),
                votes: vec![("Code-Review".into(), 2)],
                comments: vec![NewComment { path: "a".into(), line: 1, text: "Why?".into(), unresolved: true }],
                tag: None,
            },
        );
        world.set_hashtags(number, "Ada", &["x", "a b"], &[]);
        world.new_patch_set(number, "Ada", &[("a", "2\n")]);
        world.vote(number, "Bob", "Code-Review", 0);
        world.submit(number, "Ada");
        (number, world.change(number).patch_sets.clone())
    };
    let found = metas(&gerrit, "p", number).await;
    let id = gerrit.world().change(number).change_id.clone();
    let uuid = "62eb7196-b449-3ce5-99f1-c037f21e1705";
    let head = |id: i64| format!("Gerrit User {id}|{id}@{uuid}|Gerrit Code Review");
    let (first, second) = (&commit[0].commit, &commit[1].commit);
    let want = [
        format!(
            "{}\nCreate change\n\nUploaded patch set 1: Run-TryBot+1.\n\nPatch-set: 1\nChange-id: {id}\nSubject: p: subject\nBranch: refs/heads/master\n\
             Status: new\nTopic: \nCommit: {first}\nTag: autogenerated:gerrit:newPatchSet\nGroups: {first}\nLabel: Run-TryBot=+1\nPrivate: false\n\
             Work-in-progress: false\n",
            head(5000)
        ),
        format!(
            "{}\nUpdate patch set 1\n\nPatch Set 1: Code-Review+2\n\n(1 comment)\n\nLooks fine.\n\nPatch-set: 1\n\
             Reviewer: Gerrit User 5001 <5001@{uuid}>\nLabel: Code-Review=+2\n",
            head(5001)
        ),
        format!("{}\nUpdate patch set 1\n\nHashtags added: x, a b\n\nPatch-set: 1\nHashtags: a b,x\nTag: autogenerated:gerrit:setHashtag\n", head(5000)),
        format!(
            "{}\nCreate patch set 2\n\nUploaded patch set 2.\n\nPatch-set: 2\nSubject: p: subject\nCommit: {second}\n\
             Tag: autogenerated:gerrit:newPatchSet\nGroups: {second}\n",
            head(5000)
        ),
        format!("{}\nUpdate patch set 2\n\nPatch Set 2: -Code-Review\n\nPatch-set: 2\nLabel: -Code-Review\n", head(5001)),
    ];
    assert_eq!(found.iter().rev().take(5).cloned().collect::<Vec<_>>(), want);
    assert!(found[0].contains("Submit patch set 2\n\nChange has been successfully merged\n\nPatch-set: 2\nStatus: merged\n"), "{}", found[0]);
    // The comment lies in a file named by the commit of its patch set.
    let dir = gerrit.world().repository("p").to_owned();
    let note = git(&dir, &["show", &format!("{}:{first}", gerrit.world().change(number).ref_name("meta"))]).await.unwrap();
    let note: Value = serde_json::from_str(&note).unwrap();
    assert_eq!((&note["comments"][0]["message"], &note["comments"][0]["key"]["filename"]), (&"Why?".into(), &"a".into()));
    assert_eq!(note["comments"][0]["revId"], first.as_str());
}

#[tokio::test]
async fn newer_gerrits_write_more() {
    let gerrit = Gerrit::start().await;
    let number = {
        let mut world = gerrit.world();
        world.policy = Policy { style: Style::New, strategy: Strategy::CherryPick, ..world.policy.clone() };
        world.create_project("p");
        let number = world.create_change("p", "master", "Ada", "p: subject", &[("a", "1\n")]);
        world.vote(number, "Bob", "Code-Review", 1);
        world.vote(number, "Bob", "Run-TryBot", 1);
        world.new_patch_set(number, "Ada", &[("a", "2\n")]);
        world.add_reviewer(number, "Ada", "Eve");
        world.push("p", "master", "Eve", "direct\n", &[("b", "b\n")]);
        let tip = world.submit(number, "Ada");
        let change = world.change(number);
        assert_eq!((change.current().number, &change.current().commit), (3, &tip), "what is picked is a patch set");
        assert_eq!(world.refs("p")["refs/heads/master"], tip);
        number
    };
    let found = metas(&gerrit, "p", number).await.join("\n");
    for wanted in [
        "\nLabel: Run-TryBot=+1, ",
        "Uploaded patch set 2.\n\nOutdated Votes:\n* Run-TryBot+1\n",
        "\nCopied-Label: Code-Review=+1, ",
        "\nAttention: {",
        "\\u003c5002@",
        "Submit patch set 3\n\nChange has been successfully cherry-picked as ",
    ] {
        assert!(found.contains(wanted), "{wanted:?} is not in\n{found}");
    }
    assert!(!found.contains("Topic:"));
}

#[tokio::test]
async fn changes_are_found_and_shown() {
    let gerrit = Gerrit::start().await;
    let (one, two, three) = {
        let mut world = gerrit.world();
        world.create_project("a/b");
        let one = world.create_change("a/b", "master", "Ada", "one", &[("f", "1\n")]);
        gerrit.clock().advance_ms(1_500);
        let two = world.create_change("a/b", "master", "Bob", "two", &[("f", "2\n")]);
        gerrit.clock().advance_ms(1_000);
        let three = world.create_change("a/b", "master", "Bob", "three", &[("f", "3\n")]);
        world.vote(one, "Bob", "Run-TryBot", 1);
        world.vote(two, "Ada", "Run-TryBot", 1);
        world.vote(two, "Gobot", "TryBot-Result", -1);
        world.abandon(three, "Bob", "");
        (one, two, three)
    };
    let numbers = async |query: &str| -> Vec<i64> {
        let found = json(&gerrit, &format!("/changes/?{query}")).await;
        found.as_array().unwrap().iter().map(|change| change["_number"].as_i64().unwrap()).collect()
    };
    assert_eq!(numbers("q=label:Run-TryBot%3D1+label:TryBot-Result%3D0+status:open").await, [one]);
    assert_eq!(numbers("q=label:TryBot-Result-1").await, [two]);
    assert_eq!(numbers("q=-status:open").await, [three]);
    assert_eq!(numbers("q=project:a/b+owner:Bob").await, [three, two]);
    assert_eq!(numbers("q=after:%222026-01-01+00:00:02%22+status:open").await, [two, one]);
    // Pages.
    gerrit.world().policy.page_size = 2;
    let first = json(&gerrit, "/changes/?q=project:a/b&n=5").await;
    assert_eq!((first.as_array().unwrap().len(), &first[1]["_more_changes"], &first[0]["_more_changes"]), (2, &true.into(), &Value::Null));
    assert_eq!(numbers("q=project:a/b&S=2").await.len(), 1);
    // One of them.
    let shown = json(&gerrit, &format!("/changes/a%2Fb~{one}?o=CURRENT_REVISION&o=CURRENT_COMMIT&o=MESSAGES&o=DETAILED_ACCOUNTS")).await;
    let commit = gerrit.world().change(one).current().commit.clone();
    assert_eq!(shown["current_revision"], commit.as_str());
    assert_eq!(shown["revisions"][&commit]["commit"]["subject"], "one");
    assert_eq!((&shown["owner"]["name"], &shown["created"]), (&"Ada".into(), &"2026-01-01 00:00:00.000000000".into()));
    assert_eq!(shown["messages"].as_array().unwrap().last().unwrap()["message"], "Patch Set 1: Run-TryBot+1");
    let detail = json(&gerrit, &format!("/changes/{two}/detail")).await;
    assert_eq!(detail["labels"]["TryBot-Result"]["rejected"]["name"], "Gobot");
    assert_eq!(get(&gerrit, "/changes/99").await.0, 404);
    assert_eq!(json(&gerrit, "/projects/").await["a/b"]["id"], "a%2Fb");
    let branches = json(&gerrit, "/projects/a%2Fb/branches/").await;
    assert_eq!((&branches[0]["ref"], &branches[0]["revision"]), (&"HEAD".into(), &"master".into()));
    assert!(gerrit.take_violations().is_empty());
    assert_eq!(get(&gerrit, "/changes/?q=nonsense:1").await.0, 400);
    assert_eq!(get(&gerrit, "/changes/?o=EVERYTHING").await.0, 400);
    assert_eq!(get(&gerrit, "/changes/?limit=1").await.0, 400);
    assert_eq!(gerrit.take_violations().len(), 3);
}

#[tokio::test]
async fn a_clone_of_anything_can_be_a_project() {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--quiet", "--initial-branch=trunk", "source"]).await.unwrap();
    let source = dir.path().join("source");
    std::fs::create_dir(source.join("sub")).unwrap();
    std::fs::write(source.join("sub/file"), "old\n").unwrap();
    git(&source, &["add", "."]).await.unwrap();
    git(&source, &["-c", "user.name=N", "-c", "user.email=e@x", "commit", "--quiet", "-m", "first"]).await.unwrap();
    let head = git(&source, &["rev-parse", "HEAD"]).await.unwrap().trim().to_owned();
    let gerrit = Gerrit::start().await;
    let number = {
        let mut world = gerrit.world();
        world.from_clone("copied", &source);
        assert_eq!(world.tip("copied", "master"), head);
        world.create_change("copied", "master", "Ada", "sub: change", &[("sub/other", "new\n")])
    };
    let reference = gerrit.world().change(number).ref_name(1);
    git(dir.path(), &["init", "--quiet", "--bare", "copy"]).await.unwrap();
    let copy = dir.path().join("copy");
    git(&copy, &["fetch", "--quiet", &gerrit.git_url("copied"), &reference]).await.unwrap();
    assert_eq!(git(&copy, &["ls-tree", "-r", "--name-only", "FETCH_HEAD"]).await.unwrap(), "sub/file\nsub/other\n");
}

#[tokio::test]
async fn access_and_faults() {
    let gerrit = Gerrit::start().await;
    gerrit.world().policy.login = Some(("robot".into(), "secret".into()));
    gerrit.world().create_project("p");
    assert_eq!(get(&gerrit, "/a/changes/").await.0, 401);
    let client = Client::new(Settings::default()).unwrap();
    let request = Request::get(&format!("{}/a/changes/", gerrit.base())).unwrap();
    let basic = request.clone().header(http::header::AUTHORIZATION, "Basic cm9ib3Q6c2VjcmV0").unwrap();
    assert_eq!(client.send(basic).await.unwrap().status(), 200);
    let cookie = request.header(http::header::COOKIE, "o=secret").unwrap();
    assert_eq!(client.send(cookie).await.unwrap().status(), 200);
    gerrit.fail("/changes", Fault::Status(502), 1);
    assert_eq!(get(&gerrit, "/changes/").await.0, 502);
    gerrit.fail("/changes", Fault::Slow, 1);
    assert_eq!(get(&gerrit, "/changes/").await.1, b")]}'\n[]\n");
    gerrit.fail("/changes", Fault::Cut(3), 1);
    let answer = client.send(Request::get(&format!("{}/changes/", gerrit.base())).unwrap()).await.unwrap();
    assert!(matches!(answer.bytes(100).await, Err(Error::Broken { .. })));
    gerrit.fail_if(|asked| asked.path.ends_with("/info/refs"), Fault::Close, 1);
    let dir = tempfile::tempdir().unwrap();
    assert!(git(dir.path(), &["ls-remote", &gerrit.git_url("p")]).await.is_err());
    gerrit.fail_if(|asked| asked.path.ends_with("/git-upload-pack"), Fault::Cut(30), 1);
    assert!(git(dir.path(), &["clone", "--bare", "--quiet", &gerrit.git_url("p"), "c"]).await.is_err());
    git(dir.path(), &["clone", "--bare", "--quiet", &gerrit.git_url("p"), "d"]).await.unwrap();
}
