//! Gerrit's events over SSH, its mail, and alarms: sources that do not post.

mod world;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use burrow_pubsubhelper::silence::Hearing;
use testkit_mail::{Answer, Client, Letter, Names, RCPT, Signer};
use testkit_server::{Reply, Server};
use world::{GITHUB, World};

/// A program in the place of `ssh` that prints what it is told by a file and ends, as a connection that breaks does.
#[tokio::test]
async fn the_stream_is_opened_again_when_it_ends() {
    let programs = tempfile::tempdir().unwrap();
    let (program, lines, arguments) = (programs.path().join("ssh"), programs.path().join("lines"), programs.path().join("arguments"));
    let hash = "2".repeat(40);
    let first = format!(
        r#"{{"type":"patchset-created","change":{{"project":"tools/app","number":12,"url":"https://review.example.org/c/tools/app/+/12"}},"patchSet":{{"revision":"{hash}"}}}}"#
    );
    std::fs::write(&lines, format!("{first}\nnot json\n{{\"type\":\"dropped-output\"}}\n")).unwrap();
    std::fs::write(&program, format!("#!/bin/sh\necho \"$@\" > {}\ncat {}\necho bad luck >&2\nexit 3\n", arguments.display(), lines.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!(
        "[[source]]\nkind = \"gerrit-stream\"\nssh = \"bot@review.example.org:29418\"\nkey_file = \"k\"\nknown_hosts_file = \"hosts\"\nurl = \"https://review.example.org\"\nprogram = \"{}\"\n",
        program.display()
    );
    let world = World::start(&config).await;
    let mut tail = world.service.log().subscribe(burrow_events::After::Oldest, Default::default());
    for _ in 0..2 {
        let Some(burrow_events::Next::Event(stored)) = tail.next().await else { panic!("the log is open") };
        let gerrit = stored.event.gerrit.as_ref().unwrap();
        assert_eq!(
            (gerrit.change_number, gerrit.commit_hash.as_str(), &stored.event.topics[..]),
            (12, hash.as_str(), &["gerrit:review.example.org/tools/app".to_owned()][..])
        );
    }
    let source = world.source("gerrit-stream");
    // The program ends by itself, and the next connection is a second away at least.
    while source.connection().unwrap().up {
        tokio::task::yield_now().await;
    }
    let connection = source.connection().unwrap();
    assert!(connection.count >= 2 && connection.error.contains("bad luck"), "{connection:?}");
    assert!(world.get("/healthz").await.text.starts_with("ok\n"), "trouble is told of, and is no reason to be restarted");
    let said = std::fs::read_to_string(arguments).unwrap();
    assert!(said.contains("-p 29418 -- bot@review.example.org gerrit stream-events") && said.contains("StrictHostKeyChecking=yes"), "{said}");
    world.service.stop().await;
}

#[tokio::test]
async fn mail_of_a_gerrit_becomes_an_event_once() {
    let names = Names::start().await;
    names.set("20221208._domainkey.google.com", Answer::Text(Signer::record()));
    let config = format!(
        "[[source]]\nkind = \"gerrit-mail\"\nlisten = \"127.0.0.1:0\"\nrcpt = [\"{RCPT}\"]\nhostname = \"mx.example.org\"\ndns = [\"{}\"]\n",
        names.address()
    );
    let world = World::start(&config).await;
    let mail = Signer::new().sign(&Letter::new(39551));
    let mut client = Client::connect(world.service.mail_addresses()[0]).await.unwrap();
    client.reply().await;
    client.say("EHLO sender.example.org").await;
    for _ in 0..2 {
        assert!(client.mail(&mail).await.starts_with("250 "), "a mail that is known may be forgotten by its sender, too");
    }
    assert_eq!(world.events(), 1);
    let event = world.last();
    assert_eq!((event.gerrit.as_ref().unwrap().change_number, event.source.as_str()), (39551, "gerrit-mail"));
    // Not one that was changed on the way.
    let forged = String::from_utf8(mail).unwrap().replace("39551", "39552");
    assert!(client.mail(forged.as_bytes()).await.starts_with("550 "));
    assert_eq!(world.events(), 1);
    assert!(world.get("/metrics").await.text.contains("burrow_pubsub_mail_refused_total{source=\"gerrit-mail\",reason=\"bad_"));
    assert!(world.get("/").await.text.contains("Mail that was refused"));
}

/// One certificate, for HTTPS and for mail that says nothing of its own.
#[tokio::test]
async fn one_certificate_is_enough_for_events_and_mail() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mail = |tls: &str| format!("[[source]]\nkind = \"gerrit-mail\"\nlisten = \"127.0.0.1:0\"\nrcpt = [\"{RCPT}\"]\nhostname = \"mx.example.org\"\n{tls}\n");
    let files = [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let pair = "tls = { cert = \"cert.pem\", key = \"key.pem\" }\n";
    for (config, https) in [(format!("{pair}{}", mail("")), true), (mail(pair), false)] {
        let world = World::start_with(&config, &files).await;
        if https {
            let trust = burrow_http_client::Trust::Ca(made.cert.pem().into_bytes());
            let client = burrow_http_client::Client::new(burrow_http_client::Settings { trust, ..Default::default() }).unwrap();
            let url = format!("https://localhost:{}/healthz", world.service.addresses()[0].port());
            let answer = client.send(burrow_http_client::Request::get(&url).unwrap()).await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.status());
        } else {
            assert!(world.get("/healthz").await.text.starts_with("ok"));
        }
        let mut client = Client::connect(world.service.mail_addresses()[0]).await.unwrap();
        client.reply().await;
        assert!(client.say("EHLO sender.example.org").await.contains("250-STARTTLS"), "{config}");
        assert!(client.say("STARTTLS").await.starts_with("220 "), "{config}");
        let mut client = client.secure().await.unwrap();
        assert!(client.say("EHLO sender.example.org").await.starts_with("250-"));
        world.service.stop().await;
    }
}

#[tokio::test]
async fn a_mail_address_that_is_taken_is_fatal() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\n[[source]]\nkind = \"gerrit-mail\"\nlisten = \"{}\"\nrcpt = [\"{RCPT}\"]\nhostname = \"mx.example.org\"\n",
        taken.local_addr().unwrap()
    );
    let path = dir.path().join("p.toml");
    std::fs::write(&path, text).unwrap();
    let deps = burrow_pubsubhelper::Deps { clock: burrow_clock::SystemClock::shared(), keys: None, certificates: None };
    let error = burrow_pubsubhelper::Service::start(burrow_pubsubhelper::Config::load(&path).unwrap(), deps).await.unwrap_err().to_string();
    assert!(error.contains("the mail of \"gerrit-mail\"") && error.contains("another program listens there"), "{error}");
    assert!(!dir.path().join("data").exists(), "nothing was begun");
}

/// Silence is measured by the service's own clock; here time is passed by hand.
#[tokio::test]
async fn a_source_that_falls_silent_is_seen_and_told_of() {
    let posted: Arc<Mutex<Vec<serde_json::Value>>> = Arc::default();
    let (heard, mut hear) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start({
        let posted = Arc::clone(&posted);
        move |request| {
            let (posted, heard) = (Arc::clone(&posted), heard.clone());
            Box::pin(async move {
                posted.lock().unwrap().push(serde_json::from_slice(request.body()).unwrap());
                heard.send(()).unwrap();
                Reply::text(200, "thanks")
            })
        }
    })
    .await;
    let config = format!("{GITHUB}quiet_minutes = 60\n");
    let world = World::start(&config).await;
    let hub = world.service.hub().clone();
    let alert = burrow_pubsubhelper::config::Alert { url: server.url("/alarm"), token_file: None };
    let alerts = burrow_pubsubhelper::alert::Alerts::new(&alert, world.client.clone()).unwrap();
    let (turned, turns) = tokio::sync::mpsc::unbounded_channel();
    let stop = tokio_util::sync::CancellationToken::new();
    let telling = tokio::spawn(alerts.run(hub.clone(), turns, stop.clone()));

    assert!(hub.pass(100 * 3_600_000).is_empty(), "what never spoke has not fallen silent");
    world.issue(1).await;
    assert!(hub.pass(3_600_000).is_empty());
    let turn = hub.pass(1).pop().unwrap();
    assert!(turn.silent && matches!(world.source("github").hearing(), Hearing::Silent { .. }));
    turned.send(turn).unwrap();
    hear.recv().await.unwrap();
    let health = world.get("/healthz").await;
    assert!(health.status == 200 && health.text.starts_with("ok\ngithub is silent: nothing has come for 1 h"), "{}", health.text);
    assert!(world.get("/metrics").await.text.contains("burrow_pubsub_silent{source=\"github\"} 1"));
    assert!(world.get("/").await.text.contains("<span class=\"st to\">silent</span>"));
    // A delivery that nobody waits for is a sign of life, too.
    world.github("ping", "", r#"{"zen":"Keep it logically awesome.","repository":{"full_name":"a/b"}}"#).await;
    assert_eq!(world.get("/healthz").await.text, "ok");
    turned.send(hub.pass(1).pop().unwrap()).unwrap();
    hear.recv().await.unwrap();
    stop.cancel();
    telling.await.unwrap();
    let posted = std::mem::take(&mut *posted.lock().unwrap());
    assert_eq!((posted[0]["state"].as_str(), posted[0]["source"].as_str(), posted[1]["state"].as_str()), (Some("silent"), Some("github"), Some("heard")));
    assert!(posted[0]["text"].as_str().unwrap().contains("nothing has come from github"), "{}", posted[0]);
    // What was learned is there after a restart.
    let world = world.restart().await;
    assert_eq!(world.source("github").silence().longest_ms, 3_600_001);
}
