//! The log as it should be: it grows, freezes, and is served in three ways.

use std::sync::Arc;

use burrow_godata::{Error, sync};
use tokio::sync::Barrier;

use crate::leader::{Fault, Listing};
use crate::world::{World, new};

#[tokio::test]
async fn the_first_update_brings_everything_and_later_ones_what_is_new() {
    let world = World::new().await;
    world.leader.append(&[b"one", b"two"]);
    world.leader.turn(&[b"three"]);
    let mut source = world.source();
    let first = source.update().await.unwrap();
    let (a, b) = (world.leader.segment(0).len() as u64, world.leader.segment(1).len() as u64);
    assert_eq!(new(&first), [(0, 0, a), (1, 0, b)]);
    assert_eq!((first.total, first.offline.as_deref()), (a + b, None));
    assert_eq!(first.segments.iter().map(|segment| segment.frozen).collect::<Vec<_>>(), [true, false]);
    world.assert_files(&[true, false]);
    let mut asked = world.leader.asked();
    asked.sort();
    let index = "/logs?waitsizenot=0 Bearer secret".to_owned();
    assert_eq!(asked, [format!("/logs/0 bytes=0-{} Bearer secret", a - 1), format!("/logs/1 bytes=0-{} Bearer secret", b - 1), index]);

    world.leader.append(&[b"four", b""]);
    let second = source.update().await.unwrap();
    let grown = world.leader.segment(1).len() as u64;
    assert_eq!(new(&second), [(1, b, grown)]);
    assert_eq!(second.segments, source.loaded());
    world.assert_files(&[true, false]);
    let index = format!("/logs?waitsizenot={} Bearer secret", a + b);
    assert_eq!(world.leader.asked(), [index, format!("/logs/1 bytes={b}-{} Bearer secret", grown - 1)]);

    world.leader.append(&[b"five"]);
    let grown_again = world.leader.segment(1).len() as u64;
    assert_eq!(new(&source.update().await.unwrap()), [(1, grown, grown_again)]);
    world.assert_files(&[true, false]);
    assert_eq!(world.pauses.taken(), [0; 0]);
}

#[tokio::test]
async fn it_waits_until_there_is_something_new() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    let mut source = world.source();
    source.update().await.unwrap();
    world.leader.asked();
    let leader = world.leader.clone();
    let (update, ()) = tokio::join!(source.update(), async {
        // The server holds the question; nothing else is asked.
        while leader.with(|book| book.asked.is_empty()) {
            tokio::task::yield_now().await;
        }
        leader.append(&[b"two"]);
    });
    assert_eq!(update.unwrap().new_bytes(), "REC@b+3=two".len() as u64);
    assert_eq!(world.leader.asked().len(), 2);
}

#[tokio::test]
async fn nothing_new_is_asked_again_at_once() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    world.leader.with(|book| book.indexes.extend([None, None, None]));
    world.source().update().await.unwrap();
    assert_eq!(world.leader.asked().iter().filter(|asked| asked.starts_with("/logs?")).count(), 4);
    assert_eq!(world.pauses.taken(), [0; 0]);

    // A server that does not wait at all is asked once a second.
    let mut source = world.source();
    world.leader.with(|book| book.indexes.extend([None; 10].map(|_: Option<()>| None)));
    source.update().await.unwrap();
    assert_eq!(world.pauses.taken(), [1; 7]);
}

#[tokio::test]
async fn a_segment_that_is_frozen_gets_its_final_name() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    let mut source = world.source();
    source.update().await.unwrap();
    world.assert_files(&[false]);

    // Frozen as it is: the file is renamed and nothing of it is downloaded.
    world.leader.turn(&[b"two"]);
    world.leader.asked();
    let update = source.update().await.unwrap();
    let second = world.leader.segment(1).len() as u64;
    assert_eq!(new(&update), [(1, 0, second)]);
    assert!(update.segments[0].frozen && update.segments[0].path.ends_with(world.leader.name(0, true)));
    world.assert_files(&[true, false]);
    assert!(!world.leader.asked().iter().any(|asked| asked.starts_with("/logs/0")));

    // Grown and frozen at once.
    world.leader.append(&[b"three"]);
    world.leader.turn(&[b"four"]);
    let update = source.update().await.unwrap();
    assert_eq!(new(&update), [(1, second, world.leader.segment(1).len() as u64), (2, 0, world.leader.segment(2).len() as u64)]);
    world.assert_files(&[true, true, false]);
}

#[tokio::test]
async fn the_references_bucket_means_frozen() {
    let world = World::new().await;
    world.leader.with(|book| book.listing = Listing::Bucket);
    world.leader.append(&[b"one"]);
    world.leader.turn(&[b"two"]);
    let mut source = world.source();
    source.update().await.unwrap();
    world.assert_files(&[true, false]);
    let asked = world.leader.asked();
    let bucket: Vec<&String> = asked.iter().filter(|asked| asked.starts_with("/bucket/0000.")).collect();
    assert!(bucket.len() == 1 && !bucket[0].contains("Bearer"), "the token is for the server of the index only: {asked:?}");
    world.leader.turn(&[b"three"]);
    source.update().await.unwrap();
    world.assert_files(&[true, true, false]);
}

#[tokio::test]
async fn redirects_to_another_host_are_followed() {
    let world = World::new().await;
    world.leader.with(|book| book.redirect = true);
    world.leader.append(&[b"one"]);
    world.leader.turn(&[b"two"]);
    world.source().update().await.unwrap();
    world.assert_files(&[true, false]);
    let asked = world.leader.asked();
    let there: Vec<&String> = asked.iter().filter(|asked| asked.starts_with("/bucket/")).collect();
    assert_eq!(there, ["/bucket/0000.x.mutlog bytes=0-10"], "with the range and without the token");
}

#[tokio::test]
async fn without_a_word_about_frozen_everything_grows_until_it_is_synced() {
    let world = World::new().await;
    world.leader.with(|book| book.listing = Listing::Unsaid);
    world.leader.append(&[b"one"]);
    world.leader.turn(&[b"two"]);
    let mut source = world.source();
    source.update().await.unwrap();
    world.assert_files(&[false, false]);
    world.leader.turn(&[b"three"]);
    source.update().await.unwrap();
    world.assert_files(&[false, false, false]);

    world.leader.asked();
    let synced = sync(&world.leader.url(), world.dir.path(), world.options()).await.unwrap();
    world.assert_files(&[true, true, false]);
    assert_eq!(synced.segments.iter().map(|segment| segment.frozen).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(synced.total, world.leader.total());
    assert_eq!(world.leader.asked(), ["/logs Bearer secret"], "nothing is downloaded for new names, and nothing waited for");

    // A follower that had the old names goes on.
    world.leader.append(&[b"four"]);
    let update = source.update().await.unwrap();
    assert_eq!(update.new.len(), 1);
    world.assert_files(&[true, true, false]);
}

#[tokio::test]
async fn sync_fills_an_empty_cache_and_takes_an_empty_log() {
    let world = World::new().await;
    let nothing = sync(&world.leader.url(), world.dir.path(), world.options()).await.unwrap();
    assert_eq!((nothing.segments.len(), nothing.total), (0, 0));
    world.leader.append(&[b"one"]);
    world.leader.turn(&[b"two"]);
    world.leader.turn(&[b"three"]);
    sync(&world.leader.url(), world.dir.path(), world.options()).await.unwrap();
    world.assert_files(&[true, true, false]);
    let again = sync(&world.leader.url(), world.dir.path(), world.options()).await.unwrap();
    for segment in &again.segments {
        segment.verify().unwrap();
    }
}

#[tokio::test]
async fn four_segments_come_at_a_time_and_progress_is_told() {
    let world = World::new().await;
    let barrier = Arc::new(Barrier::new(4));
    for number in 0..8_u32 {
        world.leader.turn(&[&vec![7; 1000 + number as usize]]);
        world.leader.fault(number, Fault::Together(Arc::clone(&barrier)));
    }
    let mut source = world.source();
    let update = source.update().await.unwrap();
    assert_eq!(update.new.len(), 8);
    assert_eq!(world.leader.with(|book| book.active.1), 4, "no more than four at a time; fewer would wait for ever");
    world.assert_files(&[true, true, true, true, true, true, true, false]);
    let progress = world.progress();
    assert!(progress.is_sorted(), "{progress:?}");
    assert_eq!(progress.last(), Some(&(update.total, update.total)));
    assert!(progress.iter().all(|(_, total)| *total == update.total));
}

#[tokio::test]
async fn a_big_segment_comes_in_pieces() {
    let world = World::new().await;
    let payload: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    world.leader.append(&[b"small", &payload, b"small"]);
    let mut source = world.source();
    source.update().await.unwrap();
    world.assert_files(&[false]);
    world.leader.append(&[&payload]);
    source.update().await.unwrap();
    world.assert_files(&[false]);
    assert!(world.progress().len() > 4);
}

#[tokio::test]
async fn addresses_that_cannot_be_an_index_are_refused() {
    let world = World::new().await;
    for server in ["logs", "ftp://h/logs", "http://h/logs?x=1", "http://h/logs#x", "http://me:pw@h/logs"] {
        let refused = burrow_godata::Source::open(server, world.dir.path(), world.options());
        assert!(matches!(refused, Err(Error::BadServer { .. })), "{server}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_the_cache() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    world.leader.turn(&[b"two"]);
    let dir = world.dir.path().join("a").join("b");
    sync(&world.leader.url(), &dir, world.options()).await.unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&world.dir.path().join("a")), mode(&dir)), (0o700, 0o700));
    let files: Vec<u32> = dir.read_dir().unwrap().map(|entry| mode(&entry.unwrap().path())).collect();
    assert_eq!(files, [0o600; 3]);
}
