//! Only what is new.

use burrow_godata::{Error, Tail, TailBytes};

use crate::leader::Fault;
use crate::world::World;

fn tail(world: &World) -> Tail {
    Tail::new(&world.leader.url(), world.options()).unwrap()
}

fn payloads(bytes: &TailBytes) -> Vec<String> {
    bytes.records().map(|record| String::from_utf8(record.unwrap().payload.to_vec()).unwrap()).collect()
}

/// Segments that were asked for, with the ranges.
fn downloads(world: &World) -> Vec<String> {
    let asked = world.leader.asked();
    asked.iter().filter_map(|asked| asked.strip_prefix("/logs/").and_then(|asked| asked.strip_suffix(" Bearer secret"))).map(str::to_owned).collect()
}

/// A tail of a log of three segments.
async fn following() -> (World, Tail) {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    world.leader.turn(&[b"two"]);
    world.leader.turn(&[b"three"]);
    let mut tail = tail(&world);
    assert_eq!(tail.position(), None);
    tail.ready().await.unwrap();
    assert_eq!(tail.position(), Some((2, 13)));
    assert_eq!(downloads(&world), ["2 bytes=0-12"], "history stays where it is");
    (world, tail)
}

#[tokio::test]
async fn what_is_appended_comes_out_and_history_does_not() {
    let (world, mut tail) = following().await;
    world.leader.append(&[b"four", b""]);
    let new = tail.next().await.unwrap();
    assert_eq!((new.segment, new.offset, new.repeated, payloads(&new)), (2, 13, false, vec!["four".to_owned(), String::new()]));
    world.leader.append(&[b"five"]);
    assert_eq!(payloads(&tail.next().await.unwrap()), ["five"]);
    assert_eq!(downloads(&world), ["2 bytes=13-33", "2 bytes=34-46"]);

    // Frozen, and on in others.
    world.leader.append(&[b"six"]);
    world.leader.turn(&[b"seven"]);
    world.leader.turn(&[b"eight"]);
    for (segment, offset, payload) in [(2, 47, "six"), (3, 0, "seven"), (4, 0, "eight")] {
        let new = tail.next().await.unwrap();
        assert_eq!((new.segment, new.offset, new.repeated, payloads(&new)), (segment, offset, false, vec![payload.to_owned()]));
    }
    assert_eq!(world.names(), [""; 0], "no disk is used");
}

#[tokio::test]
async fn it_waits_for_the_first_record_of_an_empty_log() {
    let world = World::new().await;
    let mut tail = tail(&world);
    world.leader.with(|book| book.indexes.push_back(Some(Ok("[]".to_owned()))));
    let leader = world.leader.clone();
    let (ready, ()) = tokio::join!(tail.ready(), async {
        while leader.with(|book| book.asked.len() < 2) {
            tokio::task::yield_now().await;
        }
        leader.append(&[b"one"]);
    });
    ready.unwrap();
    world.leader.append(&[b"two"]);
    assert_eq!(payloads(&tail.next().await.unwrap()), ["two"]);
}

#[tokio::test]
async fn the_index_is_read_at_most_once_a_second() {
    let (world, mut tail) = following().await;
    let unchanged = world.leader.index().encode();
    world.leader.with(|book| book.indexes.extend([unchanged.clone(), unchanged].map(|index| Some(Ok(index)))));
    world.leader.append(&[b"four"]);
    assert_eq!(payloads(&tail.next().await.unwrap()), ["four"]);
    // Before each of the three questions for the index.
    assert_eq!(world.pauses.taken(), [1, 1, 1]);
}

#[tokio::test]
async fn after_an_error_it_pauses_and_goes_on() {
    let (world, mut tail) = following().await;
    world.leader.append(&[b"four"]);
    world.leader.with(|book| book.indexes.extend([Some(Err(502)), Some(Ok("{}".to_owned()))]));
    world.leader.fault(2, Fault::Cut(3));
    world.leader.fault(2, Fault::Status(404));
    world.pauses.taken();
    assert!(matches!(tail.next().await, Err(Error::Retryable { attempts: 1, .. })));
    assert!(matches!(tail.next().await, Err(Error::Fatal { .. })));
    assert!(matches!(tail.next().await, Err(Error::Retryable { .. })));
    assert!(matches!(tail.next().await, Err(Error::Retryable { .. })));
    assert_eq!(payloads(&tail.next().await.unwrap()), ["four"]);
    assert_eq!(world.pauses.taken().iter().filter(|pause| **pause == 5).count(), 4);
}

#[tokio::test]
async fn servers_without_ranges_will_do() {
    let (world, mut tail) = following().await;
    for fault in [Fault::Whole, Fault::WholeUnmeasured, Fault::WholeWith206, Fault::Endless, Fault::PartWith200] {
        world.leader.append(&[b"more"]);
        world.leader.fault(2, fault);
        let new = tail.next().await.unwrap();
        assert_eq!((payloads(&new), new.repeated), (vec!["more".to_owned()], false));
    }
}

#[tokio::test]
async fn a_changed_history_repeats_but_leaves_nothing_out() {
    let (world, mut tail) = following().await;
    // Grown over a lost end.
    world.leader.with(|book| book.segments[2].clear());
    world.leader.append(&[b"other", b"four"]);
    let new = tail.next().await.unwrap();
    assert_eq!((new.segment, new.offset, new.repeated, payloads(&new)), (2, 0, true, vec!["other".to_owned(), "four".to_owned()]));
    // Shorter than it was.
    world.leader.with(|book| book.segments[2].clear());
    world.leader.append(&[b"five"]);
    let new = tail.next().await.unwrap();
    assert_eq!((new.repeated, payloads(&new)), (true, vec!["five".to_owned()]));
    // Fewer segments than there were.
    world.leader.with(|book| drop(book.segments.pop()));
    let new = tail.next().await.unwrap();
    assert_eq!((new.segment, new.repeated, payloads(&new)), (1, true, vec!["two".to_owned()]));
    // And on from there.
    world.leader.append(&[b"six"]);
    let new = tail.next().await.unwrap();
    assert_eq!((new.segment, new.repeated, payloads(&new)), (1, false, vec!["six".to_owned()]));
}

#[tokio::test]
async fn corrupt_or_torn_bytes_do_not_come_out() {
    let (world, mut tail) = following().await;
    world.leader.append(&[b"four"]);
    // The new bytes, then the whole.
    world.leader.fault(2, Fault::Flip(8));
    world.leader.fault(2, Fault::Flip(8));
    let error = tail.next().await.unwrap_err();
    assert!(matches!(error, Error::Fatal { .. }), "{error}");
    assert_eq!(payloads(&tail.next().await.unwrap()), ["four"]);
    world.leader.with(|book| book.segments[2].extend_from_slice(b"REC@19+5=fi"));
    let error = tail.next().await.unwrap_err();
    assert!(matches!(error, Error::Truncated { segment: 2, offset: 25, missing: 3, .. }), "{error}");
    world.leader.with(|book| book.segments[2].extend_from_slice(b"ve!"));
    assert_eq!(payloads(&tail.next().await.unwrap()), ["five!"]);
}

#[tokio::test]
async fn it_can_be_cancelled_while_it_waits() {
    let world = World::new().await;
    world.leader.append(&[b"one"]);
    let options = world.options();
    let cancel = options.cancel.clone();
    let mut tail = Tail::new(&world.leader.url(), options).unwrap();
    tail.ready().await.unwrap();
    let leader = world.leader.clone();
    let (next, ()) = tokio::join!(tail.next(), async {
        while leader.with(|book| book.asked.len() < 3) {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert!(matches!(next, Err(Error::Cancelled)));
}
