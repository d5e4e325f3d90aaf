//! Telling others that something was mirrored: signed, again when it fails, and without holding anything up.

use std::sync::{Arc, Mutex};

use burrow_gitmirror::config::Notify;
use burrow_gitmirror::rules::Pattern;
use hmac::{Hmac, KeyInit as _, Mac as _};
use testkit_server::{Reply, Server};

use crate::scene::{REPO, Scene, eventually, quiet, round, until};

#[derive(Debug, Clone)]
struct Hook {
    path: String,
    event: String,
    signature: String,
    body: Vec<u8>,
}

/// Keeps what comes, and answers it by the number of tries before it.
async fn hooks(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> (Server, Arc<Mutex<Vec<Hook>>>) {
    let seen: Arc<Mutex<Vec<Hook>>> = Arc::default();
    let own = Arc::clone(&seen);
    let server = Server::start(move |request| {
        let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let hook =
            Hook { path: request.uri().path().into(), event: text("x-github-event"), signature: text("x-hub-signature-256"), body: request.body().to_vec() };
        let mut seen = own.lock().unwrap();
        seen.push(hook);
        let reply = reply(seen.len() - 1);
        Box::pin(std::future::ready(reply))
    })
    .await;
    (server, seen)
}

fn notify(url: String, secret: Option<std::path::PathBuf>, repos: &str) -> Notify {
    Notify { url, secret_file: secret, repos: vec![Pattern::new(repos)] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_with_a_signature_and_again_when_that_fails() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    let secret = scene.path("secret");
    std::fs::write(&secret, "open sesame\n").unwrap();
    // The first try of all is refused.
    let (server, seen) = hooks(|tries| if tries == 0 { Reply::text(503, "not yet") } else { Reply::text(200, "ok") }).await;
    let mut config = scene.config(&[&dest]);
    config.notify = vec![notify(server.url("/hook/{repo}"), Some(secret), "*"), notify(server.url("/other/{repo}"), None, "something-else")];
    let mirror = scene.start(config).await;
    quiet(&mirror).await;
    eventually("the second try", || seen.lock().unwrap().len() == 2).await;
    let first = scene.upstream.head();
    let told = seen.lock().unwrap().clone();
    assert_eq!(told[0].body, told[1].body, "the same again");
    scene.upstream.write("a.txt", "two").commit("second");
    scene.upstream.git(&["tag", "v1"]);
    round(&mirror).await;
    eventually("the next hook", || seen.lock().unwrap().len() == 3).await;
    let hook = seen.lock().unwrap()[2].clone();
    assert_eq!((hook.path.as_str(), hook.event.as_str()), ("/hook/app", "push"));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"open sesame").unwrap();
    mac.update(&hook.body);
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hook.signature, format!("sha256={signature}"));
    let body: serde_json::Value = serde_json::from_slice(&hook.body).unwrap();
    assert_eq!(
        (body["ref"].as_str(), body["before"].as_str(), body["after"].as_str()),
        (Some("refs/heads/main"), Some(first.as_str()), Some(scene.upstream.head().as_str()))
    );
    assert_eq!(body["refs"][1], serde_json::json!({"ref": "refs/tags/v1", "before": "0".repeat(40), "after": scene.upstream.head()}));
    assert_eq!(body["repository"]["full_name"], "app");
    // Nothing changed, nothing is told.
    round(&mirror).await;
    assert_eq!(seen.lock().unwrap().len(), 3);
    assert!(mirror.status().trouble.is_empty(), "{:?}", mirror.status().trouble);
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_holds_up_nothing() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    let (hanging, asked) = hooks(|_| Reply::Hang).await;
    let (good, told) = hooks(|_| Reply::text(204, "")).await;
    let mut config = scene.config(&[&dest]);
    config.notify = vec![notify(hanging.url("/{repo}"), None, "*"), notify(good.url("/{repo}"), None, "*")];
    let mirror = scene.start(config).await;
    quiet(&mirror).await;
    for number in 1..=3 {
        scene.upstream.write("a.txt", format!("{number}")).commit("more");
        round(&mirror).await;
        until(&mirror, "equality", |s| s.repo(REPO).filter(|r| r.is_quiet() && r.dests[0].behind == 0).map(drop)).await;
        assert_eq!(scene.refs(&dest), scene.upstream_refs());
        eventually("the good one", || told.lock().unwrap().len() == number + 1).await;
    }
    assert_eq!(asked.lock().unwrap().len(), 4, "the other one waits for four answers");
    // Nor does it hold up the end.
    mirror.stop().await;
}
