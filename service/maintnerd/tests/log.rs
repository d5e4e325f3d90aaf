//! The log in its folder: what is acknowledged stays, what a crash left goes, and whatever else is wrong is named with its place.

mod logs;

use std::path::Path;

use burrow_maintnerd::log::{AppendError, MAX_BATCH, OpenError, ReadError, Torn};
use logs::{files, fill, frozen, growing, mutation, open, payloads, segment, try_open};
use protocol_mutlog::{FrameError, MAX_SEGMENT, Sha224};

#[tokio::test]
async fn a_new_log_begins_with_one_empty_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("deep/log"));
    assert_eq!(log.snapshot().total, 8);
    assert_eq!(files(log.dir()).into_iter().collect::<Vec<_>>(), [(growing(0), b"REC@0+0=".to_vec())]);
    log.close().await;
    let again = open(&dir.path().join("deep/log"));
    assert_eq!(again.snapshot().total, 8, "one, not one for each start");
    assert_eq!(again.opened().truncated, None);
}

#[tokio::test]
async fn what_was_appended_is_read_back_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut total = 8;
    for n in 0..20 {
        let at = log.append(mutation(n)).await.unwrap();
        assert_eq!((at.segment, at.offset), (0, total), "a record stands behind the one before it");
        total += at.size;
        assert_eq!(at.total, total);
        assert_eq!((log.snapshot().total, *log.changed().borrow()), (total, total), "visible when it is acknowledged");
        let bytes = log.read(0, at.offset..at.offset + at.size).await.unwrap();
        assert!(bytes.ends_with(&mutation(n)));
    }
    let state = log.snapshot();
    let bytes = log.read(0, 0..total).await.unwrap();
    assert_eq!(state.segments.len(), 1);
    assert_eq!(state.segments[0].sha224, Sha224::of(&bytes));
    assert!(!state.segments[0].frozen && state.segments[0].path.ends_with(growing(0)));
    assert!(matches!(log.read(0, 0..total + 1).await, Err(ReadError::Range { .. })));
    assert!(matches!(log.read(1, 0..1).await, Err(ReadError::NoSegment { number: 1 })));
    log.close().await;
    assert!(matches!(log.append(mutation(0)).await, Err(AppendError::Closed)));
    assert_eq!(log.read(0, 0..total).await.unwrap(), bytes, "a closed log can still be read");

    let again = open(dir.path());
    assert_eq!(again.snapshot().segments[0].sha224, state.segments[0].sha224);
    let at = again.append(mutation(20)).await.unwrap();
    assert_eq!(at.offset, total);
    let expected: Vec<Vec<u8>> = std::iter::once(Vec::new()).chain((0..=20).map(mutation)).collect();
    assert_eq!(payloads(dir.path()), expected);
}

#[tokio::test]
async fn a_second_leader_is_refused_and_told_where() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let error = try_open(dir.path()).unwrap_err();
    assert!(matches!(&error, OpenError::InUse { dir: named } if named == dir.path()), "{error:?}");
    assert_eq!(error.to_string(), format!("{} is in use by another leader; stop it first, or choose another folder", dir.path().display()));
    let clone = log.clone();
    log.close().await;
    let second = open(dir.path());
    drop((log, clone));
    assert!(matches!(try_open(dir.path()), Err(OpenError::InUse { .. })), "the handles of the closed log have no part in the new one's lock");
    drop(second);
    open(dir.path());
}

#[tokio::test]
async fn a_torn_last_record_is_taken_away_wherever_it_was_torn() {
    let whole = tempfile::tempdir().unwrap();
    let log = open(whole.path());
    let at = {
        log.append(mutation(1)).await.unwrap();
        log.append(mutation(2)).await.unwrap()
    };
    log.close().await;
    let bytes = std::fs::read(whole.path().join(growing(0))).unwrap();
    assert_eq!(bytes.len() as u64, at.total);
    for cut in at.offset..=at.total {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(growing(0));
        std::fs::write(&path, &bytes[..usize::try_from(cut).unwrap()]).unwrap();
        let log = open(dir.path());
        let torn = (cut != at.offset && cut != at.total).then(|| Torn { path: path.clone(), offset: at.offset, bytes: cut - at.offset });
        assert_eq!(log.opened().truncated, torn, "cut at {cut}");
        let next = log.append(mutation(3)).await.unwrap();
        log.close().await;
        let kept = if cut == at.total { at.total } else { at.offset };
        assert_eq!(next.offset, kept);
        let mut expected = vec![Vec::new(), mutation(1), mutation(2), mutation(3)];
        if cut != at.total {
            expected.remove(2);
        }
        assert_eq!(payloads(dir.path()), expected, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_batch_that_did_not_get_its_first_byte_was_never_there() {
    let before = segment(&[vec![], mutation(1)]);
    let batch = |first: u8| {
        let mut bytes = segment(&[vec![], mutation(1), mutation(2), mutation(3)]).split_off(before.len());
        bytes[0] = first;
        bytes
    };
    let mut two = batch(b'R');
    let mut third = segment(&[vec![], mutation(1), mutation(2), mutation(3), mutation(4), mutation(5)]).split_off(before.len() + two.len());
    third[0] = 0;
    two.extend(third);
    let cases = [
        (batch(b'R'), before.len() + batch(b'R').len()),
        (batch(0), before.len()),
        (batch(0)[..5].to_vec(), before.len()),
        (batch(0)[..40].to_vec(), before.len()),
        // The file system had made room and not written yet.
        (vec![0; 5_000], before.len()),
        // Of two batches in one write, the first got its byte.
        (two, before.len() + batch(b'R').len()),
    ];
    for (number, (rest, kept)) in cases.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(growing(0)), [before.clone(), rest].concat()).unwrap();
        let log = open(dir.path());
        assert_eq!(log.snapshot().total, kept as u64, "case {number}");
        log.append(mutation(9)).await.unwrap();
        log.close().await;
        assert_eq!(payloads(dir.path()).last(), Some(&mutation(9)), "case {number}");
    }
}

#[test]
fn the_first_byte_of_a_batch_is_written_last() {
    use std::os::unix::fs::FileExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};
    const TRIES: u8 = 250;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let seen = AtomicBool::new(false);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = std::fs::File::open(dir.path().join(growing(0))).unwrap();
            while !ended.load(Ordering::SeqCst) && !seen.load(Ordering::SeqCst) {
                // What stands behind everything that is shown: nothing, or a batch under way.
                let mut first = [b'R'];
                let behind = file.read_at(&mut first, log.snapshot().total).unwrap();
                seen.store(behind == 1 && first == [0], Ordering::SeqCst);
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for n in 0..TRIES {
            if !seen.load(Ordering::SeqCst) {
                runtime.block_on(log.append_batch(vec![vec![n; 20_000]; 3])).unwrap();
            }
        }
        ended.store(true, Ordering::SeqCst);
    });
    assert!(seen.into_inner(), "of {TRIES} batches none was seen without its first byte");
}

#[test]
fn damage_is_told_with_its_place_and_nothing_is_changed() {
    let good = segment(&[vec![], mutation(1), mutation(2)]);
    let mut wrong = good.clone();
    wrong[8] = b'X';
    let mut zeroed = good.clone();
    zeroed[8..20].fill(0);
    let mut shifted = good.clone();
    shifted.insert(8, b'x');
    let last = segment(&[vec![], mutation(1)]).len();
    type Files = Vec<(String, Vec<u8>)>;
    type Check = fn(&OpenError) -> bool;
    let cases: Vec<(Files, &str, Check)> = vec![
        (vec![(growing(0), wrong)], "0000.growing.mutlog: malformed record header at offset 8", |e| matches!(e, OpenError::Records { .. })),
        (vec![(growing(0), zeroed)], "0000.growing.mutlog: malformed record header at offset 8", |e| matches!(e, OpenError::Records { .. })),
        (vec![(growing(0), shifted)], "0000.growing.mutlog: malformed record header at offset 8", |e| matches!(e, OpenError::Records { .. })),
        (vec![(growing(0), good[8..].to_vec())], "0000.growing.mutlog: the record at offset 0 says it is at 8", |e| matches!(e, OpenError::Records { .. })),
        (vec![(growing(0), [&good[..last], b"garbage"].concat())], "malformed record header at offset", |e| matches!(e, OpenError::Records { .. })),
        (vec![(frozen(0, b"x"), b"x".to_vec())], "malformed record header at offset 0", |e| matches!(e, OpenError::Records { .. })),
        (vec![(frozen(0, b"REC@0+5=ab"), b"REC@0+5=ab".to_vec())], "has 10 bytes, fewer than its first record at offset 0 (13)", |e| {
            matches!(e, OpenError::Size { size: 10, wanted: 13, .. })
        }),
        (vec![(frozen(0, &good), good.clone()), (frozen(2, &good), good.clone())], "segment 1 is missing", |e| matches!(e, OpenError::Gap { missing: 1, .. })),
        (vec![(growing(1), good.clone())], "segment 0 is missing", |e| matches!(e, OpenError::Gap { missing: 0, .. })),
        (vec![(frozen(0, &good), good.clone()), (growing(0), good.clone())], "have the same number", |e| matches!(e, OpenError::Twice { .. })),
        (vec![(frozen(0, &good), good.clone()), (frozen(0, b"other"), good.clone())], "have the same number", |e| matches!(e, OpenError::Twice { .. })),
        (vec![(growing(0), good.clone()), (growing(1), good.clone())], "0000.growing.mutlog still grows but is not the last", |e| {
            matches!(e, OpenError::NotLast { .. })
        }),
        (vec![("0000.abc.mutlog".into(), good.clone())], "0000.abc.mutlog is not the name of a segment", |e| matches!(e, OpenError::Name { .. })),
        (vec![("maintner-2023-01-01.mutlog".into(), good.clone())], "maintner-2023-01-01.mutlog belongs to a log of daily files", |e| {
            matches!(e, OpenError::DataFiles { .. })
        }),
        (vec![("UNFINISHED".into(), b"x".to_vec())], "run that again", |e| matches!(e, OpenError::Unfinished { .. })),
    ];
    for (content, text, check) in cases {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &content {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let before = files(dir.path());
        let error = try_open(dir.path()).expect_err(text);
        assert!(check(&error), "{error:?}");
        assert!(error.to_string().contains(text) && error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
        assert_eq!(files(dir.path()), before, "{text}");
    }
    // An empty frozen segment, and files of others.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tempseg123"), "of a follower").unwrap();
    std::fs::write(dir.path().join(frozen(0, b"")), "").unwrap();
    assert!(matches!(try_open(dir.path()), Err(OpenError::Size { size: 0, wanted: 1, .. })));
    std::fs::remove_file(dir.path().join(frozen(0, b""))).unwrap();
    assert!(try_open(dir.path()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_appenders_lose_nothing_and_keep_their_order() {
    const TASKS: i32 = 64;
    const EACH: i32 = 40;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut places = Vec::new();
                for n in 0..EACH {
                    // Some as a batch: these must stay together.
                    if n % 8 == 0 {
                        places.extend(log.append_batch(vec![mutation(task * 1_000 + n), mutation(task * 1_000 + 500 + n)]).await.unwrap());
                    } else {
                        places.push(log.append(mutation(task * 1_000 + n)).await.unwrap());
                    }
                }
                places
            })
        })
        .collect();
    let mut places = Vec::new();
    for task in tasks {
        let of_one = task.await.unwrap();
        assert!(of_one.is_sorted_by_key(|at| at.total), "one after the other");
        places.extend(of_one);
    }
    places.sort_by_key(|at| at.total);
    let mut total = 8;
    for at in &places {
        assert_eq!((at.offset, at.total), (total, total + at.size), "no two at one place, none missing");
        total = at.total;
    }
    assert_eq!(log.snapshot().total, total);
    log.close().await;
    let found = payloads(dir.path());
    assert_eq!(found.len(), places.len() + 1);
    for task in 0..TASKS {
        for n in 0..EACH {
            let place = found.iter().position(|payload| *payload == mutation(task * 1_000 + n)).unwrap();
            if n % 8 == 0 {
                assert_eq!(found[place + 1], mutation(task * 1_000 + 500 + n));
            }
        }
    }
}

#[tokio::test]
async fn what_waits_shares_a_write_and_nobody_sees_half_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut changed = log.changed();
    let watching = tokio::spawn(async move {
        let mut seen = Vec::new();
        while *changed.borrow_and_update() < 8 + 100 * 3 * 1_000 {
            seen.push(*changed.borrow());
            changed.changed().await.unwrap();
        }
        seen
    });
    let batches = (0..100).map(|n| log.append_batch(vec![vec![n; 990]; 3]));
    let places = futures_util::future::try_join_all(batches).await.unwrap();
    let ends: Vec<u64> = places.iter().map(|batch| batch[2].total).collect();
    for total in watching.await.unwrap() {
        assert!(total == 8 || ends.contains(&total), "{total} is within a batch");
    }
    assert_eq!(log.append_batch(Vec::new()).await.unwrap(), []);
}

#[tokio::test]
async fn a_segment_takes_sixteen_mebibytes_and_not_one_byte_more() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    // The header of the record that fills it does not count, as in the reference.
    let first = log.append(vec![1; (MAX_SEGMENT - 8) as usize]).await.unwrap();
    assert_eq!((first.segment, first.offset), (0, 8));
    assert!(first.total > MAX_SEGMENT);
    let seen = log.snapshot();
    assert_eq!((seen.segments.len(), seen.segments[0].frozen), (1, false), "the next number begins with data");

    // An empty record does not fit any more either.
    let second = log.append(Vec::new()).await.unwrap();
    assert_eq!((second.segment, second.offset, second.size), (1, 0, 8));
    let state = log.snapshot();
    let names: Vec<String> = files(dir.path()).into_keys().collect();
    let whole = std::fs::read(&state.segments[0].path).unwrap();
    assert_eq!(names, [frozen(0, &whole), growing(1)]);
    assert_eq!(state.segments.iter().map(|s| (s.number, s.frozen, s.size)).collect::<Vec<_>>(), [(0, true, first.total), (1, false, 8)]);
    assert_eq!(state.segments[0].sha224, Sha224::of(&whole));
    // What was looked at before it was frozen can be read on.
    let mut reader = seen.segments[0].reader(0..seen.total).await.unwrap();
    assert!(whole.starts_with(&reader.next().await.unwrap().unwrap()));

    let third = log.append(vec![3; (MAX_SEGMENT - 8) as usize + 1]).await.unwrap();
    assert_eq!((third.segment, third.offset), (2, 0), "one byte too many");
    log.close().await;

    let again = open(dir.path());
    assert_eq!(again.snapshot().total, third.total);
    again.scrub().wait_for(|scrub| scrub.finished).await.unwrap();
    assert!(again.scrub().borrow().faults.is_empty());
}

#[tokio::test]
async fn a_record_or_batch_larger_than_a_segment_gets_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let large = log.append(vec![2; 20 << 20]).await.unwrap();
    let small = log.append(mutation(1)).await.unwrap();
    let batch = log.append_batch(vec![vec![3; 9 << 20]; 2]).await.unwrap();
    let after = log.append(mutation(2)).await.unwrap();
    assert_eq!([large.segment, small.segment, batch[0].segment, batch[1].segment, after.segment], [1, 2, 3, 3, 4]);
    assert_eq!([large.offset, small.offset, batch[0].offset, after.offset], [0; 4]);
    // A batch that fits into a segment but not into the rest of this one begins the next.
    log.append(vec![4; 10 << 20]).await.unwrap();
    let pair = log.append_batch(vec![vec![5; 4 << 20]; 2]).await.unwrap();
    assert_eq!((pair[0].segment, pair[1].segment), (5, 5));
    let too_large = log.append_batch(vec![vec![0; 130 << 20]; 2]).await;
    assert!(matches!(too_large, Err(AppendError::TooLarge { bytes }) if bytes > MAX_BATCH), "{too_large:?}");
    log.close().await;
    let again = open(dir.path());
    assert_eq!(again.snapshot().total, pair[1].total);
    assert_eq!(again.snapshot().segments.iter().map(|s| s.frozen).collect::<Vec<_>>(), [true, true, true, true, true, false]);
}

#[tokio::test]
async fn a_crash_between_freezing_and_the_next_record_is_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&log).await;
    let second = log.append(mutation(1)).await.unwrap();
    log.close().await;
    let next = dir.path().join(growing(1));
    // The file was not made, or made and still empty, or torn within its first record.
    let bytes = std::fs::read(&next).unwrap();
    for left in [None, Some(&bytes[..0]), Some(&bytes[..9])] {
        match left {
            Some(left) => std::fs::write(&next, left).unwrap(),
            None => std::fs::remove_file(&next).unwrap(),
        }
        let log = open(dir.path());
        let state = log.snapshot();
        assert_eq!((state.segments.len(), state.total), (1, second.total - second.size), "a segment without data is not shown");
        let again = log.append(mutation(1)).await.unwrap();
        assert_eq!(again, second);
        log.close().await;
    }
}

#[tokio::test]
async fn damage_in_a_frozen_segment_is_found_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (segment(&[vec![], mutation(1), mutation(2)]), segment(&[mutation(3), mutation(4)]));
    let (inside, framing) = (first.len() - 2, segment(&[mutation(3)]).len());
    let mut content = first.clone();
    content[inside] ^= 1;
    let mut header = second.clone();
    header[framing + 5] ^= 1;
    std::fs::write(dir.path().join(frozen(0, &first)), content).unwrap();
    std::fs::write(dir.path().join(frozen(1, &second)), header).unwrap();
    std::fs::write(dir.path().join(frozen(2, &second)), &second).unwrap();
    let log = open(dir.path());
    let scrub = log.scrub().wait_for(|scrub| scrub.finished).await.unwrap().clone();
    assert_eq!((scrub.segments, scrub.checked, scrub.bytes), (3, 3, (first.len() + 2 * second.len()) as u64));
    let found: Vec<_> = scrub.faults.iter().map(|fault| (fault.path.clone(), fault.offset)).collect();
    assert_eq!(found, [(dir.path().join(frozen(0, &first)), None), (dir.path().join(frozen(1, &second)), Some(framing as u64))]);
    assert!(scrub.faults[1].text.contains("is at"), "{}", scrub.faults[1].text);
    assert_eq!(log.append(mutation(5)).await.unwrap().segment, 3, "the log is used meanwhile");
}

#[cfg(target_os = "linux")]
mod full_disk {
    use super::*;

    /// A small file system of its own.
    struct Small(tempfile::TempDir);

    impl Small {
        fn mount() -> Option<Small> {
            use rustix::mount::{MountFlags, mount};
            let dir = tempfile::tempdir().unwrap();
            match mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), Some(c"size=3m")) {
                Ok(()) => Some(Small(dir)),
                Err(error) => {
                    testkit_harness::skip(&format!("cannot mount a small file system ({error}); needs root"));
                    None
                }
            }
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
        }
    }

    #[tokio::test]
    async fn a_full_disk_refuses_records_and_takes_them_again_when_there_is_room() {
        let Some(small) = Small::mount() else { return };
        let log = open(&small.0.path().join("log"));
        let first = log.append(vec![1; 1 << 20]).await.unwrap();
        for _ in 0..3 {
            let (large, batch) = tokio::join!(log.append(vec![2; 4 << 20]), log.append_batch(vec![vec![3; 2 << 20]; 2]));
            for error in [large.map(|_| ()), batch.map(|_| ())].map(Result::unwrap_err) {
                assert!(matches!(&error, AppendError::Write { source, .. } if source.kind() == std::io::ErrorKind::StorageFull), "{error}");
                assert!(error.to_string().contains("0000.growing.mutlog"), "{error}");
            }
            assert!(log.trouble().borrow().is_some());
            let state = log.snapshot();
            assert_eq!(state.total, first.total, "nothing of it is shown");
            let path = &state.segments[0].path;
            assert_eq!(std::fs::metadata(path).unwrap().len(), first.total, "and nothing is left of it");
            assert_eq!(log.read(0, first.total - 10..first.total).await.unwrap(), vec![1; 10]);
        }
        // What is small enough goes in, and what was refused goes in when there is room.
        let second = log.append(mutation(1)).await.unwrap();
        assert_eq!(second.offset, first.total);
        assert!(log.trouble().borrow().is_none());
        rustix::mount::mount_remount(small.0.path(), rustix::mount::MountFlags::empty(), "size=9m").unwrap();
        let third = log.append_batch(vec![vec![3; 2 << 20]; 2]).await.unwrap();
        assert_eq!(third[0].offset, second.total);
        log.close().await;
        assert_eq!(payloads(&small.0.path().join("log")), [vec![], vec![1; 1 << 20], mutation(1), vec![3; 2 << 20], vec![3; 2 << 20]]);
    }
}

#[test]
fn a_log_can_be_written_without_a_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let at = log.append_blocking(mutation(1)).unwrap();
    drop(log);
    assert_eq!(payloads(dir.path()), [vec![], mutation(1)]);
    assert_eq!(at.total, size(&dir.path().join(growing(0))));
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn faults_of_the_framing_keep_their_kind() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(growing(0)), b"REC@0+0=REC@9+0=").unwrap();
    let Err(OpenError::Records { fault, .. }) = try_open(dir.path()) else { panic!("it must not be opened") };
    assert!(matches!(fault, burrow_maintnerd::FrameFault::Frame(FrameError::Misplaced { offset: 8, said: 9 })));
    assert_eq!(fault.offset(), 8);
}
