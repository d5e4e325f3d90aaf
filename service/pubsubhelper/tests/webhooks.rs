//! What may be posted, by whom, and what becomes of it.

mod world;

use std::io::Read as _;

use http::Method;
use world::{GITHUB, World, signature, signature_sha1};

const ISSUE: &str = r#"{"action":"opened","repository":{"full_name":"a/b"},"issue":{"number":7}}"#;

/// Every example payload of the npm package is accepted: as an event if it has an issue, a pull request or a moved reference, else as nothing to wait for.
#[tokio::test]
async fn every_example_of_github_is_accepted() {
    let world = World::start(GITHUB).await;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&include_bytes!("fixtures/github-examples.tsv.gz")[..]).read_to_string(&mut text).unwrap();
    let (mut accepted, mut ignored) = (0, 0);
    for (index, line) in text.lines().enumerate() {
        let (event, payload) = line.split_once('\t').unwrap();
        let answer = world.github(event, &format!("example-{index}"), payload).await;
        assert_eq!(answer.status, 200, "{event}: {}", answer.text);
        let json: serde_json::Value = serde_json::from_str(payload).unwrap();
        let waited_for = matches!(event, "push" | "create" | "delete") || json.get("issue").is_some() || json.get("pull_request").is_some();
        assert_eq!(answer.text.starts_with("accepted as event "), waited_for, "{event}: {}", answer.text);
        if waited_for {
            accepted += 1;
            let event = world.last();
            let name = json["repository"]["full_name"].as_str().unwrap();
            assert_eq!(event.topics[0], format!("github:{name}"));
            match &event.github {
                Some(github) => {
                    assert_eq!((format!("{}/{}", github.owner, github.repo).as_str(), github.action.as_str()), (name, json["action"].as_str().unwrap()));
                    assert_eq!(github.issue, json["issue"]["number"].as_u64().unwrap_or(0));
                    assert_eq!(github.pull_request, json["pull_request"]["number"].as_u64().unwrap_or(0));
                }
                None => {
                    let push = event.push.as_ref().unwrap();
                    assert!(push.reference.starts_with("refs/") && push.reference.ends_with(json["ref"].as_str().unwrap()), "{push:?}");
                    assert!(push.urls.iter().any(|url| url.ends_with(&format!("{name}.git"))), "{push:?}");
                }
            }
        } else {
            ignored += 1;
        }
    }
    assert_eq!((accepted + ignored, world.events()), (404, accepted));
    assert!(accepted > 80, "{accepted}");
}

#[tokio::test]
async fn forged_and_damaged_deliveries_are_refused_with_a_reason_and_counted() {
    let world = World::start(GITHUB).await;
    let good = signature("k", ISSUE.as_bytes());
    let post = |headers: Vec<(&'static str, String)>, body: &'static str| {
        let world = &world;
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = world.ask(Method::POST, "/github-webhook", &headers, body).await;
            (answer.status, answer.text)
        }
    };
    for (headers, body, status, says) in [
        (vec![], ISSUE, 401, "X-Hub-Signature-256 is missing"),
        (vec![("x-hub-signature-256", "sha256=zz".into())], ISSUE, 401, "hex"),
        (vec![("x-hub-signature-256", good.replace("sha256=", "sha512="))], ISSUE, 401, "hex"),
        (vec![("x-hub-signature-256", "sha256=".into())], ISSUE, 403, "does not fit"),
        (vec![("x-hub-signature-256", good[..good.len() - 2].to_owned())], ISSUE, 403, "does not fit"),
        (vec![("x-hub-signature-256", signature("other", ISSUE.as_bytes()))], ISSUE, 403, "does not fit"),
        (vec![("x-hub-signature-256", good.clone())], r#"{"action":"opened"}"#, 403, "does not fit"),
        (vec![("x-hub-signature", signature_sha1("k", ISSUE.as_bytes()))], ISSUE, 401, "X-Hub-Signature-256 is missing"),
        (vec![("x-hub-signature-256", signature("k", b"not json"))], "not json", 400, "not the JSON that GitHub sends"),
        (vec![("x-hub-signature-256", signature("k", b"[]"))], "[]", 400, "not the JSON"),
    ] {
        let (answered, text) = post(headers.clone(), body).await;
        assert_eq!(answered, status, "{headers:?}: {text}");
        assert!(text.contains(says), "{headers:?}: {text}");
    }
    for name in ["a/b/c", "a", "a/", "/b", "", "a /b", "a/\\nb"] {
        let body = ISSUE.replace("a/b", name);
        let answer = world.github("issues", "x", &body).await;
        assert_eq!((answer.status, answer.text.contains("owner/name")), (400, true), "{name}: {}", answer.text);
    }
    let got = world.get("/github-webhook").await;
    assert_eq!((got.status, got.headers["allow"].to_str().unwrap()), (405, "POST"));
    assert_eq!(world.events(), 0);
    let source = world.source("github");
    use burrow_pubsubhelper::counters::Outcome;
    let counts = [Outcome::Unsigned, Outcome::BadSignature, Outcome::Malformed, Outcome::Method].map(|outcome| source.counters.of(outcome));
    assert_eq!(counts, [4, 4, 9, 1]);
    assert!(world.get("/status.json").await.json()["sources"][0]["last_refusal"].is_array());
    assert!(world.get("/metrics").await.text.contains("burrow_pubsub_deliveries_total{source=\"github\",outcome=\"bad_signature\"} 4"));
    assert!(world.get("/").await.text.contains("bad signature: 4"));
    // And after all that, the right one is taken.
    assert_eq!(post(vec![("x-hub-signature-256", good)], ISSUE).await.0, 200);
}

#[tokio::test]
async fn old_hooks_are_believed_when_that_is_wished() {
    let world = World::start(&format!("{GITHUB}allow_sha1 = true\n")).await;
    let sha1 = signature_sha1("k", ISSUE.as_bytes());
    assert_eq!(world.ask(Method::POST, "/github-webhook", &[("x-hub-signature", &sha1)], ISSUE).await.status, 200);
    let sha256 = signature("k", ISSUE.as_bytes());
    assert_eq!(world.ask(Method::POST, "/github-webhook", &[("x-hub-signature", &sha256)], ISSUE).await.status, 200);
    let wrong = signature_sha1("other", ISSUE.as_bytes());
    assert_eq!(world.ask(Method::POST, "/github-webhook", &[("x-hub-signature", &wrong)], ISSUE).await.status, 403);
    // The better one counts if both are there.
    assert_eq!(world.ask(Method::POST, "/github-webhook", &[("x-hub-signature", &sha1), ("x-hub-signature-256", &wrong)], ISSUE).await.status, 401);
}

#[tokio::test]
async fn a_delivery_that_is_sent_again_is_one_event() {
    let world = World::start(GITHUB).await;
    let first = world.issue(1).await;
    let again = world.issue(1).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.text.replace("accepted as", ""), again.text.replace("known already as", ""));
    let (a, b, c) = tokio::join!(world.issue(2), world.issue(2), world.issue(2));
    assert_eq!([a, b, c].iter().filter(|answer| answer.text.starts_with("accepted")).count(), 1);
    assert_eq!(world.events(), 2);
}

#[tokio::test]
async fn forms_are_read_too() {
    let world = World::start(GITHUB).await;
    let body: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", ISSUE).finish();
    let signed = signature("k", body.as_bytes());
    let headers = [("x-hub-signature-256", signed.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let answer = world.ask(Method::POST, "/github-webhook", &headers, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(world.last().github.as_ref().unwrap().issue, 7);
    let signed = signature("k", ISSUE.as_bytes());
    let headers = [("x-hub-signature-256", signed.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(world.ask(Method::POST, "/github-webhook", &headers, ISSUE).await.status, 200, "curl -d says so of everything");
    let signed = signature("k", b"a=b");
    let headers = [("x-hub-signature-256", signed.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    assert!(world.ask(Method::POST, "/github-webhook", &headers, "a=b").await.text.contains("no field `payload`"));
}

#[tokio::test]
async fn a_webhook_must_come_encrypted() {
    let strict = "[[source]]\nkind = \"github\"\nsecret_file = \"k\"\n";
    let world = World::start(strict).await;
    let answer = world.issue(1).await;
    assert!(answer.status == 400 && answer.text.starts_with("HTTPS required\n"), "{}", answer.text);
    let signed = signature("k", ISSUE.as_bytes());
    let through_a_proxy = [("x-hub-signature-256", signed.as_str()), ("x-forwarded-proto", "https")];
    assert_eq!(world.ask(Method::POST, "/github-webhook", &through_a_proxy, ISSUE).await.status, 400, "nobody said that this proxy is to be trusted");
    let world = World::start(&format!("trusted_proxies = [\"127.0.0.0/8\"]\n{strict}")).await;
    assert_eq!(world.issue(1).await.status, 400);
    assert_eq!(world.ask(Method::POST, "/github-webhook", &through_a_proxy, ISSUE).await.status, 200);
}

#[tokio::test]
async fn secrets_rotate_and_may_be_for_some_repositories_only() {
    let config = "allow_plain_http = true\n[[source]]\nkind = \"github\"\nsecret_file = \"k\"\nrepo_secrets = { \"team/*\" = \"team\" }\n";
    let world = World::start_with(config, &[("team", "t\n")]).await;
    let post = |secret: &'static str, name: &'static str| {
        let world = &world;
        async move {
            let body = ISSUE.replace("a/b", name);
            let signed = signature(secret, body.as_bytes());
            world.ask(Method::POST, "/github-webhook", &[("x-hub-signature-256", &signed)], body).await
        }
    };
    assert_eq!((post("t", "team/x").await.status, post("k", "other/x").await.status), (200, 200));
    let refused = post("t", "other/x").await;
    assert!(refused.status == 403 && refused.text.contains("does not count for \"other/x\""), "{}", refused.text);
    std::fs::write(world.dir.path().join("k"), "new secret\nk\n").unwrap();
    assert_eq!(post("new secret", "a/b").await.status, 403);
    world.service.reload();
    assert_eq!((post("new secret", "a/b").await.status, post("k", "a/b").await.status), (200, 200));
    std::fs::write(world.dir.path().join("k"), "new secret\n").unwrap();
    world.service.reload();
    assert_eq!((post("new secret", "a/b").await.status, post("k", "a/b").await.status), (200, 403));
}

#[tokio::test]
async fn gitlab_gitea_gerrit_and_anything_that_signs() {
    let config = r#"
allow_plain_http = true
[[source]]
kind = "gitlab"
secret_file = "k"
[[source]]
kind = "gitea"
secret_file = "k"
[[source]]
kind = "gerrit-webhooks"
secret_file = "k"
url = "https://review.example.org/"
[[source]]
kind = "generic"
name = "server"
secret_file = "k"
topic = ["git:git.example.org/app", "team:*"]
url = "https://git.example.org/app.git"
"#;
    let world = World::start(config).await;
    let hash = "1".repeat(40);

    let push = format!(
        r#"{{"object_kind":"push","before":"{hash}","after":"{hash}","ref":"refs/heads/main","project":{{"path_with_namespace":"group/sub/app","web_url":"https://lab.example.org/group/sub/app","git_http_url":"https://lab.example.org/group/sub/app.git"}}}}"#
    );
    assert_eq!(world.ask(Method::POST, "/gitlab-webhook", &[], push.clone()).await.status, 401);
    assert_eq!(world.ask(Method::POST, "/gitlab-webhook", &[("x-gitlab-token", "wrong")], push.clone()).await.status, 403);
    let headers = [("x-gitlab-token", "k"), ("idempotency-key", "one")];
    assert_eq!(world.ask(Method::POST, "/gitlab-webhook", &headers, push.clone()).await.status, 200);
    assert!(world.ask(Method::POST, "/gitlab-webhook", &headers, push).await.text.starts_with("known already"));
    assert_eq!(world.last().topics, ["gitlab:lab.example.org/group/sub/app", "git:lab.example.org/group/sub/app"]);
    let merge = r#"{"object_kind":"merge_request","project":{"path_with_namespace":"g/a","web_url":"https://lab.example.org/g/a"},"object_attributes":{"iid":5,"action":"open","url":"https://lab.example.org/g/a/-/merge_requests/5","last_commit":{"id":"abc"}}}"#;
    assert_eq!(world.ask(Method::POST, "/gitlab-webhook", &[("x-gitlab-token", "k")], merge).await.status, 200);
    let change = world.last().change.clone().unwrap();
    assert_eq!((change.number, change.kind.as_str(), change.commit.as_str()), (5, "merge_request", "abc"));

    let push = format!(
        r#"{{"ref":"refs/heads/main","before":"{hash}","after":"{hash}","repository":{{"full_name":"org/app","html_url":"https://Forge.example.org/org/app","clone_url":"https://forge.example.org/org/app.git","ssh_url":"git@forge.example.org:org/app.git"}}}}"#
    );
    let signed = signature("k", push.as_bytes());
    let bare = signed.strip_prefix("sha256=").unwrap();
    assert_eq!(world.ask(Method::POST, "/gitea-webhook", &[("x-gitea-event", "push"), ("x-gitea-signature", bare)], push.clone()).await.status, 200);
    assert_eq!(world.last().topics, ["gitea:forge.example.org/org/app", "git:forge.example.org/org/app"]);
    assert_eq!(
        world.ask(Method::POST, "/gitea-webhook", &[("x-forgejo-event", "push"), ("x-forgejo-signature", &bare.replace('a', "b"))], push).await.status,
        403
    );

    let stream =
        format!(r#"{{"type":"ref-updated","refUpdate":{{"oldRev":"{hash}","newRev":"{hash}","refName":"refs/changes/51/39551/meta","project":"tools/app"}}}}"#);
    assert_eq!(world.ask(Method::POST, "/gerrit-webhook", &[], stream.clone()).await.status, 401);
    assert_eq!(world.ask(Method::POST, "/gerrit-webhook?token=no", &[], stream.clone()).await.status, 403);
    assert_eq!(world.ask(Method::POST, "/gerrit-webhook?token=k", &[], stream).await.status, 200);
    let event = world.last();
    assert_eq!(event.topics, ["gerrit:review.example.org/tools/app", "git:review.example.org/tools/app"]);
    let gerrit = event.gerrit.as_ref().unwrap();
    assert_eq!((gerrit.change_number, gerrit.commit_hash.as_str()), (39551, ""), "never the commit of the notes");

    let post = |body: String, kind: &'static str| {
        let world = &world;
        async move {
            let signed = signature("k", body.as_bytes());
            world.ask(Method::POST, "/notify/server", &[("x-burrow-signature-256", &signed), ("content-type", kind)], body).await
        }
    };
    assert_eq!(post(format!("{hash} {hash} refs/heads/main\n{hash} {hash} refs/tags/v1\n"), "text/plain").await.status, 200);
    let last = world.last();
    let pushed = last.push.as_ref().unwrap();
    assert_eq!((pushed.reference.as_str(), &last.topics[..]), ("refs/tags/v1", &["git:git.example.org/app".to_owned()][..]));
    assert_eq!(post(r#"{"topic":"team:a","ref":"refs/heads/x"}"#.into(), "application/json").await.status, 200);
    assert!(post(r#"{"topic":"github:golang/go"}"#.into(), "application/json").await.text.contains("may not speak of"));
    assert!(post("rubbish".into(), "text/plain").await.text.contains("OLD NEW REF"));
    assert!(post(r#"{"tpic":"team:a"}"#.into(), "application/json").await.text.contains("tpic"));
}

#[tokio::test]
async fn what_cannot_be_kept_is_told_to_the_sender_and_kept_when_it_comes_again() {
    let world = World::start(GITHUB).await;
    let log = world.dir.path().join("data/log");
    let away = world.dir.path().join("away");
    std::fs::rename(&log, &away).unwrap();
    let answer = world.issue(1).await;
    assert_eq!((answer.status, answer.text.starts_with("not stored, send it again"), answer.headers.contains_key("retry-after")), (503, true, true));
    let health = world.get("/healthz").await;
    assert_eq!((health.status, health.text.starts_with("failing\n")), (503, true));
    std::fs::rename(&away, &log).unwrap();
    assert_eq!(world.issue(1).await.status, 200);
    assert_eq!(world.get("/healthz").await.text, "ok");
    assert_eq!(world.events(), 1);
}
