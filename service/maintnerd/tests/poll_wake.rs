//! Pollers that listen to a stream of events.

mod poll_worlds;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use burrow_gerrit::Auth;
use burrow_maintnerd::poll::{GerritSource, Outcome, Pause, Pollers, Source};
use poll_worlds::Bench;
use testkit_server::{Reply, Server};
use tokio::sync::Notify;

/// A stream that hands out what it is given, one event for each question.
struct Stream {
    server: Server,
    events: Arc<(Mutex<VecDeque<Reply>>, Notify)>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stream {
    async fn start() -> Stream {
        let events: Arc<(Mutex<VecDeque<Reply>>, Notify)> = Arc::default();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (queue, questions) = (Arc::clone(&events), Arc::clone(&asked));
        let server = Server::start(move |request| {
            questions.lock().unwrap().push(request.uri().to_string());
            let queue = Arc::clone(&queue);
            Box::pin(async move {
                loop {
                    if let Some(reply) = queue.0.lock().unwrap().pop_front() {
                        return reply;
                    }
                    queue.1.notified().await;
                }
            })
        })
        .await;
        Stream { server, events, asked }
    }

    fn send(&self, reply: Reply) {
        self.events.0.lock().unwrap().push_back(reply);
        self.events.1.notify_one();
    }
}

#[tokio::test]
async fn events_make_their_sources_look_at_once() {
    let mut bench = Bench::new(&["Big/Repo", "o/r"]).await;
    let gerrit = testkit_gerrit::Gerrit::start_at(bench.github.clock().clone()).await;
    gerrit.world().create_project("nested/p");
    bench.sources.gerrit = vec![GerritSource { name: "go.example/nested/p".into(), url: gerrit.git_url("nested/p"), auth: Auth::None }];
    let number = bench.github.world().open_issue("Big/Repo", "ada", "Title", "text");
    bench.github.clock().advance_ms(1_000);
    let stream = Stream::start().await;
    let client = burrow_http_client::Client::new(burrow_http_client::Settings::default()).unwrap();
    bench.sources.wake = Some((client, stream.server.url("/")));
    // Nothing happens by the clock.
    bench.sources.timing.pause = Pause::new(|_| Box::pin(std::future::pending()));
    let pollers = Pollers::start(&bench.leader, &bench.sources, &bench.github.shared_clock()).await;
    let mut changed = pollers.changed();
    let rounds = |source: &Source| pollers.status().sources.into_iter().find(|status| status.source == *source).unwrap().rounds;
    let (github, other, project) = (Source::Github("big/repo".into()), Source::Github("o/r".into()), Source::Gerrit("go.example/nested/p".into()));
    changed.wait_for(|_| [&github, &other, &project].iter().all(|source| rounds(source) == 1)).await.unwrap();

    bench.github.world().comment("Big/Repo", number, "bob", "said");
    bench.github.clock().advance_ms(1_000);
    bench.github.take_asked();
    stream.send(Reply::text(200, r#"{"Time":"2026-01-02T03:04:05.000000006Z","GitHub":{"Action":"created","RepoOwner":"Big","Repo":"Repo","IssueNumber":1}}"#));
    changed.wait_for(|_| rounds(&github) == 2).await.unwrap();
    assert_eq!(bench.github.take_asked()[0].path, "/repos/Big/Repo/issues/1");
    bench.assert_same_repo("Big/Repo").await;

    let change = gerrit.world().create_change("nested/p", "master", "ada", "p: change", &[("f", "x\n")]);
    let event = format!(r#"{{"Time":"2026-01-02T03:04:06Z","Gerrit":{{"URL":"https://go.example/{change}","Project":"nested/p","ChangeNumber":{change}}}}}"#);
    stream.send(Reply::text(200, event));
    changed.wait_for(|_| rounds(&project) == 2).await.unwrap();
    let view = bench.leader.view();
    assert!(view.gerrit().project_named("go.example/nested/p").unwrap().change(i32::try_from(change).unwrap()).is_some());

    // Of others, of nobody, and nothing at all.
    stream.send(Reply::text(200, r#"{"Time":"2026-01-02T03:04:07Z","GitHub":{"RepoOwner":"some","Repo":"other"}}"#));
    stream.send(Reply::text(200, r#"{"Time":"2026-01-02T03:04:08Z","LongPollTimeout":true}"#));
    stream.send(Reply::text(500, "no"));
    changed.wait_for(|_| pollers.status().sources.iter().any(|status| matches!(&status.outcome, Outcome::Failed(why) if why.contains("500")))).await.unwrap();
    assert_eq!((rounds(&github), rounds(&other), rounds(&project)), (2, 1, 2));
    let asked = stream.asked.lock().unwrap().clone();
    assert_eq!(asked[0], "/waitevent?after=");
    assert_eq!(asked[1], "/waitevent?after=2026-01-02T03:04:05.000000006Z");
    assert_eq!(asked[4], "/waitevent?after=2026-01-02T03:04:08Z");
    pollers.stop().await;
}
