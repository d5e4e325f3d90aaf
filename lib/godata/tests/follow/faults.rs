//! Everything that goes wrong between a server and its follower.

use burrow_godata::{Cause, Error, Event, Source};
use protocol_mutlog::{FrameError, Index, IndexError};
use tokio::sync::mpsc;

use crate::leader::Fault;
use crate::world::{World, names, new};

/// A log of two segments, the second one growing, and a follower that has it.
async fn loaded() -> (World, Source) {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    world.leader.turn(&[b"two", b"three"]);
    let mut source = world.source();
    source.update().await.unwrap();
    world.leader.asked();
    (world, source)
}

fn fatal(error: Error) -> Cause {
    match error {
        Error::Fatal { source, .. } => *source,
        other => panic!("not fatal: {other}"),
    }
}

#[tokio::test]
async fn a_server_in_trouble_is_asked_five_times() {
    let (world, mut source) = loaded().await;
    world.leader.append(&[b"four"]);
    world.leader.with(|book| book.indexes.extend([Some(Err(500)), Some(Err(502)), Some(Err(503)), Some(Err(504))]));
    assert_eq!(source.update().await.unwrap().new.len(), 1);
    assert_eq!(world.pauses.taken(), [1, 4, 9, 16]);
    let retries: Vec<(u32, Option<u32>)> = world
        .events
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| if let Event::Retry { attempt, of, .. } = event { Some((*attempt, *of)) } else { None })
        .collect();
    assert_eq!(retries, [(1, Some(5)), (2, Some(5)), (3, Some(5)), (4, Some(5))]);

    world.leader.append(&[b"five"]);
    world.leader.with(|book| book.indexes.extend([500, 500, 500, 500, 503].map(|code| Some(Err(code)))));
    let error = source.update().await.unwrap_err();
    assert!(matches!(&error, Error::Retryable { attempts: 5, source, .. } if matches!(**source, Cause::Status { status: 503, .. })), "{error}");
    assert!(error.is_transient());
    assert_eq!(world.pauses.taken(), [1, 4, 9, 16]);
    assert_eq!(source.update().await.unwrap().new.len(), 1, "it goes on where it was");
}

#[tokio::test]
async fn an_index_that_is_none_is_fatal_at_once() {
    let (world, mut source) = loaded().await;
    world.leader.append(&[b"four"]);
    let mut last = world.leader.index().segments[1].clone();
    last.number = 2;
    let gap = Index { segments: vec![world.leader.index().segments[0].clone(), last.clone()] };
    let late = Index { segments: vec![last.clone()] };
    last.number = 0;
    last.size = u64::MAX;
    let endless = Index { segments: vec![last] };
    world.leader.with(|book| {
        let answers = [Err(404), Err(400), Ok("<html>".to_owned()), Ok(gap.encode()), Ok(late.encode()), Ok(endless.encode())];
        book.indexes.extend(answers.map(Some));
    });
    assert!(matches!(fatal(source.update().await.unwrap_err()), Cause::Status { status: 404, .. }));
    assert!(matches!(fatal(source.update().await.unwrap_err()), Cause::Status { status: 400, text, .. } if text == "as the test wants it"));
    assert!(matches!(fatal(source.update().await.unwrap_err()), Cause::Index { source: IndexError::Json(_), .. }));
    let gap = fatal(source.update().await.unwrap_err());
    assert!(matches!(gap, Cause::Index { source: IndexError::Order { expected: 1, found: 2 }, .. }), "{gap}");
    assert!(matches!(fatal(source.update().await.unwrap_err()), Cause::Protocol { what, .. } if what.contains("begins with segment 2")));
    assert!(matches!(fatal(source.update().await.unwrap_err()), Cause::Protocol { what, .. } if what.contains("18446744073709551615")));
    assert_eq!(world.pauses.taken(), [0; 0]);
    assert_eq!(source.update().await.unwrap().new.len(), 1, "nothing of that does harm");
}

#[tokio::test]
async fn an_answer_without_news_is_an_error() {
    let world = World::new().await;
    let mut source = world.source();
    world.leader.with(|book| book.indexes.push_back(Some(Ok("[]".to_owned()))));
    assert!(matches!(fatal(source.update().await.unwrap_err()), Cause::Unchanged { total: 0, .. }));

    let (world, mut source) = loaded().await;
    let index = world.leader.index().encode();
    world.leader.with(|book| book.indexes.push_back(Some(Ok(index))));
    let error = source.update().await.unwrap_err();
    assert!(error.to_string().contains("unchanged log segments"), "{error}");
    // A log that is suddenly empty is another one.
    world.leader.with(|book| book.indexes.push_back(Some(Ok("[]".to_owned()))));
    assert!(matches!(source.update().await, Err(Error::Split { common: 0, .. })));
}

#[tokio::test]
async fn a_segment_is_asked_for_ten_times() {
    let (world, mut source) = loaded().await;
    world.leader.append(&[b"four"]);
    for status in [500, 503, 429] {
        world.leader.fault(1, Fault::Status(status));
    }
    source.update().await.unwrap();
    assert_eq!(world.pauses.taken(), [1, 4, 9]);
    world.leader.append(&[b"five"]);
    (0..10).for_each(|_| world.leader.fault(1, Fault::Status(503)));
    let error = source.update().await.unwrap_err();
    assert!(matches!(&error, Error::Retryable { attempts: 10, .. }), "{error}");
    assert!(error.to_string().contains("segment 1"), "{error}");
    assert_eq!(world.pauses.taken(), [1, 4, 9, 16, 25, 36, 49, 64, 81]);
    source.update().await.unwrap();
    world.leader.append(&[b"six"]);
    world.leader.fault(1, Fault::Status(403));
    assert!(matches!(fatal(source.update().await.unwrap_err()), Cause::Status { status: 403, .. }));
    assert_eq!(world.pauses.taken(), [0; 0]);
}

#[tokio::test]
async fn a_connection_that_breaks_costs_only_what_did_not_come() {
    let world = World::new().await;
    let payload = vec![b'x'; 300_000];
    world.leader.append(&[&payload]);
    let size = world.leader.segment(0).len();
    world.leader.fault(0, Fault::Cut(200_000));
    world.leader.fault(0, Fault::Cut(60_000));
    world.source().update().await.unwrap();
    world.assert_files(&[false]);
    assert_eq!(world.pauses.taken(), [1, 4]);
    let asked = world.leader.asked();
    let ranges: Vec<&str> = asked.iter().filter_map(|asked| asked.split(' ').find(|word| word.starts_with("bytes="))).collect();
    assert_eq!(ranges.len(), 3, "{asked:?}");
    let from = |range: &str| range.strip_prefix("bytes=").unwrap().split('-').next().unwrap().parse::<usize>().unwrap();
    // What was on its way when the connection broke may be lost.
    assert!(from(ranges[0]) == 0 && from(ranges[1]) > 0 && from(ranges[1]) <= 200_000, "{ranges:?}");
    assert!(from(ranges[1]) < from(ranges[2]) && from(ranges[2]) < size, "{ranges:?}");
}

#[tokio::test]
async fn servers_without_ranges_will_do() {
    let (world, mut source) = loaded().await;
    for fault in [Fault::Whole, Fault::WholeUnmeasured, Fault::WholeWith206, Fault::Endless, Fault::PartWith200] {
        world.leader.append(&[b"more"]);
        world.leader.fault(1, fault);
        assert_eq!(source.update().await.unwrap().new.len(), 1);
        world.assert_files(&[true, false]);
    }
    // Meanwhile the log has grown beyond what the index said.
    for fault in [Fault::Whole, Fault::WholeUnmeasured] {
        world.leader.append(&[b"more"]);
        let index = world.leader.index();
        world.leader.append(&[b"and more"]);
        world.leader.with(|book| book.indexes.push_back(Some(Ok(index.encode()))));
        world.leader.fault(1, fault);
        let update = source.update().await.unwrap();
        assert_eq!(update.total, index.total());
        source.update().await.unwrap();
        world.assert_files(&[true, false]);
    }
    assert_eq!(world.pauses.taken(), [0; 0]);
}

#[tokio::test]
async fn a_slow_body_is_waited_for() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    let (tick, ticks) = mpsc::unbounded_channel();
    world.leader.fault(0, Fault::Slow(ticks));
    let size = world.leader.segment(0).len() as u64;
    let mut source = world.source();
    let (update, ()) = tokio::join!(source.update(), async {
        for bytes in 1..=size {
            tick.send(()).unwrap();
            while world.progress().last().is_none_or(|(done, _)| *done < bytes) {
                tokio::task::yield_now().await;
            }
            let unfinished = names(world.dir.path()).iter().all(|name| name.starts_with("tempseg"));
            assert!(unfinished || bytes == size, "nothing has a name before it is whole");
        }
        drop(tick);
    });
    assert_eq!(update.unwrap().total, size);
    world.assert_files(&[false]);
}

#[tokio::test]
async fn a_flipped_byte_is_noticed_and_downloaded_again() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    world.leader.turn(&[b"two"]);
    world.leader.fault(0, Fault::Flip(9));
    let mut source = world.source();
    source.update().await.unwrap();
    world.assert_files(&[true, false]);
    assert!(world.events.lock().unwrap().iter().any(|event| matches!(event, Event::Again { url } if url.ends_with("/logs/0"))));
    let (done, total) = *world.progress().last().unwrap();
    assert_eq!((done, total), (33, 33), "what is downloaded twice counts twice");

    // On top of a good beginning: first the new bytes again with all the rest, then it is given up. What was there stays.
    world.leader.append(&[b"three"]);
    let before = names(world.dir.path());
    world.leader.asked();
    for at in [9, 0, 30] {
        world.leader.fault(1, Fault::Flip(at % 13));
    }
    let error = fatal(source.update().await.unwrap_err());
    assert!(matches!(&error, Cause::Corrupt { wanted, got, expected, found, .. } if wanted == got && expected != found), "{error}");
    assert_eq!(world.leader.asked().iter().filter(|asked| asked.starts_with("/logs/1 bytes=0-")).count(), 2);
    assert_eq!(names(world.dir.path()), before);
    assert_eq!(source.update().await.unwrap().new.len(), 1);
    world.assert_files(&[true, false]);
}

#[tokio::test]
async fn a_new_segment_that_stays_corrupt_is_fatal() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    for _ in 0..2 {
        world.leader.fault(0, Fault::Flip(0));
    }
    let cause = fatal(world.source().update().await.unwrap_err());
    assert!(matches!(cause, Cause::Corrupt { .. }), "{cause}");
    assert_eq!(world.names(), [""; 0]);
    for _ in 0..2 {
        world.leader.fault(0, Fault::Short(5));
    }
    let cause = fatal(world.source().update().await.unwrap_err());
    assert!(matches!(cause, Cause::Corrupt { wanted: 11, got: 5, .. }), "{cause}");
    assert_eq!(world.names(), [""; 0]);
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_another_one() {
    let (world, mut source) = loaded().await;
    world.leader.with(|book| book.segments[1].truncate(11));
    let error = source.update().await.unwrap_err();
    assert!(matches!(error, Error::Split { common: 22, loaded: 35, .. }), "{error}");
    assert!(matches!(source.update().await, Err(Error::Split { .. })), "and stays one");
    world.assert_files(&[true, false]);
    // Whoever begins anew has the right log, and nothing is downloaded for it.
    world.leader.asked();
    let update = world.source().update().await.unwrap();
    assert_eq!(update.total, 22);
    assert_eq!(world.leader.asked().len(), 1);

    // Lost and grown again beyond what it was.
    let (world, mut source) = loaded().await;
    world.leader.with(|book| book.segments[1].truncate(11));
    world.leader.append(&[b"another end of the log"]);
    assert!(matches!(source.update().await, Err(Error::Split { .. })));
    world.assert_files(&[true, false]);

    // Lost and grown to the very size.
    let (world, mut source) = loaded().await;
    world.leader.with(|book| book.segments[1].truncate(11));
    world.leader.append(&[b"THREE"]);
    let index = world.leader.index().encode();
    world.leader.with(|book| book.indexes.push_back(Some(Ok(index))));
    assert!(matches!(source.update().await, Err(Error::Split { common: 11, .. })));
}

#[tokio::test]
async fn a_log_that_is_cut_anew_is_another_one() {
    let (world, mut source) = loaded().await;
    world.leader.with(|book| {
        // The same records in other segments.
        book.segments = Vec::new();
    });
    world.leader.append(&[b"one", b"two"]);
    world.leader.turn(&[b"three", b"four"]);
    let error = source.update().await.unwrap_err();
    assert!(matches!(error, Error::Split { common: 11, .. }), "{error}");
    world.source().update().await.unwrap();
    // The old file of segment 0 has another name, and does no harm.
    assert_eq!(world.names().len(), 3);
}

#[tokio::test]
async fn an_index_that_goes_back_in_time_is_another_log() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    let old = world.leader.index().encode();
    world.leader.append(&[b"two"]);
    world.leader.turn(&[b"three"]);
    let mut source = world.source();
    source.update().await.unwrap();
    world.leader.with(|book| book.indexes.push_back(Some(Ok(old))));
    assert!(matches!(source.update().await, Err(Error::Split { common: 11, .. })));
    let update = world.source().update().await.unwrap();
    assert_eq!(update.total, world.leader.total());
}

#[tokio::test]
async fn records_that_are_none_are_refused_with_their_place() {
    let (world, mut source) = loaded().await;
    world.leader.with(|book| book.segments[1].extend_from_slice(b"REC@18+9=four"));
    let error = source.update().await.unwrap_err();
    assert!(matches!(&error, Error::Truncated { segment: 1, offset: 24, missing: 5, place } if place.ends_with("/logs/1")), "{error}");
    world.leader.with(|book| book.segments[1].extend_from_slice(b", and"));
    assert_eq!(new(&source.update().await.unwrap()), [(1, 24, 42)], "once it is whole it is good");
    world.assert_files(&[true, false]);

    world.leader.with(|book| book.segments[1].extend_from_slice(b"REC@0+0="));
    let error = source.update().await.unwrap_err();
    assert!(matches!(&error, Error::Malformed { segment: 1, offset: 42, source: FrameError::Misplaced { said: 0, .. }, .. }), "{error}");
    assert!(error.to_string().contains("segment 1 is malformed at offset 42"), "{error}");
}

#[tokio::test]
async fn an_index_that_is_out_of_date_is_read_again() {
    let (world, mut source) = loaded().await;
    world.leader.append(&[b"four"]);
    for status in [404, 416] {
        world.leader.fault(1, Fault::Status(status));
    }
    assert_eq!(source.update().await.unwrap().new.len(), 1);
    assert_eq!(world.pauses.taken(), [1, 4]);
    assert_eq!(world.leader.asked().iter().filter(|asked| asked.starts_with("/logs?")).count(), 3);
    world.leader.append(&[b"five"]);
    (0..3).for_each(|_| world.leader.fault(1, Fault::Status(410)));
    assert!(matches!(fatal(source.update().await.unwrap_err()), Cause::Status { status: 410, .. }));
}

#[tokio::test]
async fn an_empty_segment_is_a_segment() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    world.leader.turn(&[]);
    let mut source = world.source();
    let update = source.update().await.unwrap();
    assert_eq!((new(&update), update.segments.len()), (vec![(0, 0, 11)], 2));
    world.assert_files(&[true, false]);
    world.leader.append(&[b"two"]);
    assert_eq!(new(&source.update().await.unwrap()), [(1, 0, 11)]);
    world.assert_files(&[true, false]);
}
