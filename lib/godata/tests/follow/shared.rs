//! Directories that others use too.

use std::fs::{self, File};
use std::sync::Arc;
use std::time::Duration;

use burrow_godata::{Cache, Error, Event, Options, Pause, Source};
use futures_util::future::BoxFuture;
use protocol_mutlog::Sha224;
use tokio::sync::{mpsc, watch};

use crate::leader::Fault;
use crate::world::{World, new};

#[tokio::test]
async fn a_go_programs_cache_is_taken_over() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    world.leader.turn(&[b"two"]);
    world.leader.turn(&[b"three"]);
    let path = |name: &str| world.dir.path().join(name);
    // What a Go program leaves: a frozen file, one that was growing when it was looked at last, and what it had not finished when it was killed.
    fs::write(path(&world.leader.name(0, true)), world.leader.segment(0)).unwrap();
    fs::write(path(&world.leader.name(2, false)), world.leader.segment(2)).unwrap();
    world.leader.append(&[b"four"]);
    fs::write(path("tempseg111"), b"REC@").unwrap();
    let old = File::create(path("tempseg222")).unwrap();
    old.set_modified(old.metadata().unwrap().modified().unwrap() - Duration::from_secs(2 * 60 * 60)).unwrap();

    let mut source = world.source();
    assert!(path("tempseg111").exists() && !path("tempseg222").exists(), "one that may still be written to is left alone");
    fs::remove_file(path("tempseg111")).unwrap();
    let update = source.update().await.unwrap();
    world.assert_files(&[true, true, false]);
    assert_eq!(update.new_bytes(), world.leader.total(), "to this program all of it is new");
    let mut asked = world.leader.asked();
    asked.sort();
    assert_eq!(asked[..2], ["/logs/1 bytes=0-10 Bearer secret", "/logs/2 bytes=13-24 Bearer secret"], "only what was missing");
}

#[tokio::test]
async fn a_go_program_may_write_beside_us() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    let mut source = world.source();
    source.update().await.unwrap();
    // It is first: its file has what we have not seen yet, and more than we will be told.
    world.leader.append(&[b"two"]);
    let index = world.leader.index();
    world.leader.append(&[b"three"]);
    let growing = world.dir.path().join(world.leader.name(0, false));
    let replace = |bytes: &[u8]| {
        let beside = world.dir.path().join("tempseg1");
        fs::write(&beside, bytes).unwrap();
        fs::rename(&beside, &growing).unwrap();
    };
    replace(&world.leader.segment(0));
    world.leader.with(|book| book.indexes.push_back(Some(Ok(index.encode()))));
    world.leader.asked();
    assert_eq!(new(&source.update().await.unwrap()), [(0, 11, 22)]);
    assert_eq!(world.leader.asked().len(), 1, "nothing is downloaded that is there");
    assert_eq!(fs::read(&growing).unwrap(), world.leader.segment(0)[..22]);

    // It replaced the file by something that is damaged.
    let mut damaged = world.leader.segment(0);
    damaged[9] ^= 1;
    replace(&damaged);
    assert_eq!(new(&source.update().await.unwrap()), [(0, 22, 36)]);
    world.assert_files(&[false]);

    // It deleted the file.
    fs::remove_file(&growing).unwrap();
    world.leader.append(&[b"four"]);
    assert_eq!(new(&source.update().await.unwrap()), [(0, 36, 49)]);
    world.assert_files(&[false]);
}

#[tokio::test]
async fn a_growing_file_that_is_longer_than_the_log_loses_its_end() {
    let world = World::new().await;
    world.leader.append(&[b"one", b"two"]);
    fs::write(world.dir.path().join(world.leader.name(0, false)), [&world.leader.segment(0)[..], b"REC@16+5=lost!"].concat()).unwrap();
    let mut source = world.source();
    assert_eq!(new(&source.update().await.unwrap()), [(0, 0, 22)]);
    world.assert_files(&[false]);
    assert_eq!(world.leader.asked().len(), 1);
    world.leader.append(&[b"three"]);
    assert_eq!(new(&source.update().await.unwrap()), [(0, 22, 36)]);
}

#[tokio::test]
async fn a_damaged_growing_file_is_downloaded_whole() {
    let world = World::new().await;
    world.leader.append(&[b"one", b"two"]);
    for (damage, more, downloads) in [(0, "", 1), (9, "", 2), (12, "?????", 1)] {
        let mut bytes = world.leader.segment(0)[..11].to_vec();
        bytes.extend_from_slice(more.as_bytes());
        bytes[damage] ^= 1;
        fs::write(world.dir.path().join(world.leader.name(0, false)), bytes).unwrap();
        world.leader.asked();
        world.source().update().await.unwrap();
        world.assert_files(&[false]);
        let asked = world.leader.asked();
        assert_eq!(asked.len(), 1 + downloads, "what is no record is not even tried to go on with: {asked:?}");
    }
    assert_eq!(world.pauses.taken(), [0; 0]);
}

#[tokio::test]
async fn offline_the_end_of_a_torn_file_does_not_count() {
    let world = World::new().await;
    world.leader.append(&[b"one", b"two"]);
    let growing = world.dir.path().join(world.leader.name(0, false));
    let cache = Cache::open(world.dir.path()).unwrap();
    assert_eq!(cache.scan().unwrap(), []);
    fs::write(&growing, &world.leader.segment(0)[..17]).unwrap();
    let segments = cache.scan().unwrap();
    assert_eq!((segments.len(), segments[0].size, segments[0].sha224), (1, 11, Sha224::of(&world.leader.segment(0)[..11])));
    segments[0].verify().unwrap();
    fs::write(&growing, b"REC@0+0=garbage").unwrap();
    assert!(matches!(cache.scan(), Err(Error::Malformed { segment: 0, offset: 8, .. })));
}

#[tokio::test]
async fn offline_frozen_files_go_before_growing_ones_and_a_gap_ends_the_log() {
    let world = World::new().await;
    for payload in [&b"one"[..], b"two", b"three", b"four"] {
        world.leader.turn(&[payload]);
    }
    let write = |number: usize, frozen: bool| fs::write(world.dir.path().join(world.leader.name(number, frozen)), world.leader.segment(number)).unwrap();
    let cache = Cache::open(world.dir.path()).unwrap();
    let scanned = || cache.scan().unwrap().iter().map(|segment| (segment.number, segment.frozen)).collect::<Vec<_>>();
    write(0, true);
    write(1, false);
    write(2, true);
    assert_eq!(scanned(), [(0, true), (1, false)], "a growing one is the last");
    write(1, true);
    assert_eq!(scanned(), [(0, true), (1, true), (2, true)]);
    // Of several the longest one: the others were frozen too early.
    for (digit, bytes) in [('0', "short"), ('8', "longer than the others"), ('f', "")] {
        fs::write(world.dir.path().join(format!("0001.{}.mutlog", digit.to_string().repeat(56))), bytes).unwrap();
    }
    assert_eq!(cache.scan().unwrap()[1].size, 22);
    write(3, false);
    assert_eq!(scanned(), [(0, true), (1, true), (2, true), (3, false)]);
    fs::remove_file(world.dir.path().join(world.leader.name(0, true))).unwrap();
    assert_eq!(scanned(), []);
}

#[tokio::test]
async fn damage_to_a_frozen_file_is_found_when_asked_for() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    world.leader.turn(&[b"two"]);
    let update = world.source().update().await.unwrap();
    let frozen = &update.segments[0];
    frozen.verify().unwrap();
    fs::write(&frozen.path, b"REC@0+3=One").unwrap();
    assert!(matches!(frozen.verify(), Err(Error::Damaged { size: 11, .. })));
    fs::write(&frozen.path, b"REC@0+3").unwrap();
    assert!(matches!(frozen.open(), Err(Error::Cache { .. })), "too short to be used");
    // A file of another length is not believed.
    world.source().update().await.unwrap();
    world.assert_files(&[true, false]);
}

/// Pauses until one of them is done.
struct Politeness(watch::Receiver<bool>);

impl Pause for Politeness {
    fn pause(&self, _: Duration) -> BoxFuture<'_, ()> {
        let mut done = self.0.clone();
        Box::pin(async move { drop(done.wait_for(|done| *done).await) })
    }
}

#[tokio::test]
async fn two_followers_share_a_directory() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    world.leader.turn(&[b"two"]);
    let (done, wait) = watch::channel(false);
    let one = async || {
        let options = Options { pause: Arc::new(Politeness(wait.clone())), ..world.options() };
        let update = Source::open(&world.leader.url(), world.dir.path(), options).unwrap().update().await.unwrap();
        done.send(true).unwrap();
        update
    };
    let (a, b) = tokio::join!(one(), one());
    assert_eq!(a, b);
    world.assert_files(&[true, false]);
    let downloads = world.leader.asked().iter().filter(|asked| asked.starts_with("/logs/")).count();
    assert_eq!(downloads, 2, "whoever is second finds the files");
}

#[tokio::test]
async fn a_lock_is_waited_for() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    let mut source = world.source();
    let mut lock = Some(Cache::open(world.dir.path()).unwrap().try_lock().unwrap().unwrap());
    let mut pauses = 0;
    world.pauses.at_each(move |_| {
        pauses += 1;
        if pauses == 3 {
            drop(lock.take());
        }
    });
    source.update().await.unwrap();
    assert_eq!(world.pauses.taken().len(), 3);
    let told = world.events.lock().unwrap().iter().filter(|event| matches!(event, Event::Waiting { .. })).count();
    assert_eq!(told, 1);

    // One that is never given back is passed by in the end.
    let lock = Cache::open(world.dir.path()).unwrap().try_lock().unwrap();
    assert!(lock.is_some());
    world.pauses.at_each(|_| {});
    world.leader.append(&[b"two"]);
    source.update().await.unwrap();
    world.assert_files(&[false]);
}

#[tokio::test]
async fn an_update_that_is_dropped_leaves_nothing_unfinished() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    world.leader.turn(&[b"two"]);
    let (tick, ticks) = mpsc::unbounded_channel();
    world.leader.fault(1, Fault::Slow(ticks));
    let mut source = world.source();
    {
        let update = source.update();
        tokio::pin!(update);
        tick.send(()).unwrap();
        let first = world.dir.path().join(world.leader.name(0, true));
        while !first.exists() || world.progress().last().is_none_or(|(done, _)| *done < 12) {
            tokio::select! {
                biased;
                _ = &mut update => panic!("the body has not ended"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    // The thread that writes notices that nothing more comes.
    while world.names().len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.names(), [world.leader.name(0, true)]);
    assert_eq!(source.update().await.unwrap().new.len(), 2);
    world.assert_files(&[true, false]);
}

#[tokio::test]
async fn what_came_before_a_failure_is_kept() {
    let world = World::new().await;
    for _ in 0..3 {
        world.leader.turn(&[b"some"]);
    }
    (0..10).for_each(|_| world.leader.fault(1, Fault::Status(503)));
    let options = Options { parallel: 1, ..world.options() };
    let mut source = Source::open(&world.leader.url(), world.dir.path(), options).unwrap();
    assert!(source.update().await.unwrap_err().is_transient());
    assert_eq!(world.names(), [world.leader.name(0, true)]);
    world.leader.asked();
    assert_eq!(source.update().await.unwrap().new.len(), 3);
    assert_eq!(world.leader.asked().iter().filter(|asked| asked.starts_with("/logs/")).count(), 2);
    world.assert_files(&[true, true, false]);
}
