//! Without a server.

use burrow_godata::{Error, Event, Options, Source, sync};
use tokio::net::TcpListener;

use crate::world::{World, new};

const HOST: &str = "127.0.0.1";

/// Three segments in the cache.
async fn filled() -> World {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    world.leader.turn(&[b"two"]);
    world.leader.turn(&[b"three"]);
    sync(&world.leader.url(), world.dir.path(), world.options()).await.unwrap();
    world
}

#[tokio::test]
async fn without_network_and_cache_there_is_nothing() {
    let world = World::new().await;
    world.network.forget(HOST);
    let error = world.source().update().await.unwrap_err();
    assert!(matches!(&error, Error::Offline { dir, .. } if dir == world.dir.path()), "{error}");
    assert!(error.is_transient());
    assert_eq!(world.pauses.taken(), [0; 0]);
}

#[tokio::test]
async fn without_network_the_cache_is_used_and_later_only_what_is_missing() {
    let world = filled().await;
    world.network.forget(HOST);
    let mut source = world.source();
    let update = source.update().await.unwrap();
    assert!(update.offline.as_ref().is_some_and(|why| why.contains("no such host")), "{:?}", update.offline);
    assert_eq!(new(&update), [(0, 0, 11), (1, 0, 11), (2, 0, 13)]);
    assert_eq!(update.segments.iter().map(|segment| segment.frozen).collect::<Vec<_>>(), [true, true, false]);
    assert!(world.events.lock().unwrap().iter().any(|event| matches!(event, Event::Offline { segments: 3, bytes: 35, .. })));

    // Now there is something that can wait: it does so until the network is back.
    world.leader.append(&[b"four"]);
    let (network, mut pauses) = (world.network.clone(), 0);
    world.pauses.at_each(move |_| {
        pauses += 1;
        if pauses == 7 {
            network.remember(HOST);
        }
    });
    let update = source.update().await.unwrap();
    assert_eq!(world.pauses.taken(), [15; 7]);
    assert_eq!((new(&update), update.offline), (vec![(2, 13, 25)], None));
}

#[tokio::test]
async fn a_cache_that_is_confirmed_is_no_news() {
    let world = filled().await;
    world.network.forget(HOST);
    let mut source = world.source();
    source.update().await.unwrap();
    world.network.remember(HOST);
    world.leader.asked();
    let leader = world.leader.clone();
    let (update, ()) = tokio::join!(source.update(), async {
        while leader.with(|book| book.asked.len() < 2) {
            tokio::task::yield_now().await;
        }
        leader.append(&[b"four"]);
    });
    assert_eq!(new(&update.unwrap()), [(2, 13, 25)]);
    let asked = world.leader.asked();
    assert_eq!(asked[..2], ["/logs Bearer secret", "/logs?waitsizenot=35 Bearer secret"], "compared at once, then waited for more");
}

#[tokio::test]
async fn a_cache_that_the_server_does_not_confirm_is_another_log() {
    let world = filled().await;
    world.network.forget(HOST);
    let mut source = world.source();
    source.update().await.unwrap();
    world.network.remember(HOST);
    world.leader.with(|book| book.segments[2].clear());
    world.leader.append(&[b"other"]);
    assert!(matches!(source.update().await, Err(Error::Split { common: 22, loaded: 35, .. })));
}

#[tokio::test]
async fn nobody_listening_is_like_no_network_as_long_as_nothing_is_loaded() {
    let world = filled().await;
    // A port that was free a moment ago, and that nobody else is given while it is bound.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = format!("http://{closed}/logs");
    let mut source = Source::open(&server, world.dir.path(), world.options()).unwrap();
    let update = source.update().await.unwrap();
    assert!(update.offline.is_some());
    assert_eq!((update.total, world.pauses.taken()), (35, vec![]));
    // From then on it is a server in trouble.
    let error = source.update().await.unwrap_err();
    assert!(matches!(&error, Error::Retryable { attempts: 5, .. }), "{error}");
    assert_eq!(world.pauses.taken(), [1, 4, 9, 16]);

    // With an empty cache too: it may just be starting.
    let empty = tempfile::tempdir().unwrap();
    let error = Source::open(&server, empty.path(), world.options()).unwrap().update().await.unwrap_err();
    assert!(matches!(&error, Error::Retryable { attempts: 5, .. }), "{error}");
    let error = sync(&server, empty.path(), world.options()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_network_that_goes_away_is_waited_for() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    let mut source = world.source();
    source.update().await.unwrap();
    world.network.forget(HOST);
    world.leader.append(&[b"two"]);
    let (network, mut pauses) = (world.network.clone(), 0);
    world.pauses.at_each(move |_| {
        pauses += 1;
        if pauses == 20 {
            network.remember(HOST);
        }
    });
    assert_eq!(new(&source.update().await.unwrap()), [(0, 11, 22)]);
    assert_eq!(world.pauses.taken(), [15; 20]);

    // A server in trouble has all its attempts once more when the network comes back.
    world.leader.append(&[b"three"]);
    world.leader.with(|book| book.indexes.extend([500; 7].map(|code| Some(Err(code)))));
    let (network, mut pauses) = (world.network.clone(), 0);
    world.pauses.at_each(move |_| {
        pauses += 1;
        match pauses {
            3 => network.forget(HOST),
            4 => network.remember(HOST),
            _ => {}
        }
    });
    source.update().await.unwrap();
    assert_eq!(world.pauses.taken(), [1, 4, 9, 15, 1, 4, 9, 16]);
}

#[tokio::test]
async fn it_can_be_cancelled_at_any_time() {
    let world = World::new().await;
    world.network.forget(HOST);
    let options = world.options();
    let cancel = options.cancel.clone();
    world.leader.append(&[b"one"]);
    sync(&world.leader.url(), world.dir.path(), Options { http: None, ..options.clone() }).await.unwrap();
    let mut source = Source::open(&world.leader.url(), world.dir.path(), options).unwrap();
    assert_eq!(source.update().await.unwrap().total, 11);
    let mut pauses = 0;
    world.pauses.at_each(move |_| {
        pauses += 1;
        if pauses == 3 {
            cancel.cancel();
        }
    });
    assert!(matches!(source.update().await, Err(Error::Cancelled)));
    assert!(matches!(source.update().await, Err(Error::Cancelled)), "for good");
    assert_eq!(world.pauses.taken(), [15; 3]);
}
