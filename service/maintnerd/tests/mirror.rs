//! The copy in an object store: complete, never ahead of what it replaces, and enough to get the log back.

mod logs;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use burrow_clock::TestClock;
use burrow_maintnerd::log::OpenError;
use burrow_maintnerd::mirror::{EVERY, Mirror, MirrorError, MirrorStatus};
use burrow_maintnerd::restore::{RestoreError, Restored, restore};
use burrow_maintnerd::{Bucket, FillError, Log};
use logs::{files, frozen, growing, mutation, open, segment, try_open};
use object_store::local::LocalFileSystem;
use protocol_mutlog::MAX_SEGMENT;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

fn bucket(dir: &Path) -> Bucket {
    std::fs::create_dir_all(dir.join("store")).unwrap();
    Bucket::new(Arc::new(LocalFileSystem::new_with_prefix(dir.join("store")).unwrap()), "some/prefix")
}

/// What lies under the prefix.
fn objects(dir: &Path) -> Vec<String> {
    files(&dir.join("store/some/prefix")).into_keys().collect()
}

struct Running {
    status: watch::Receiver<MirrorStatus>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), MirrorError>>,
}

impl Running {
    fn start(log: &Log, bucket: Bucket) -> Running {
        let mirror = Mirror::new(log.clone(), bucket, EVERY, Arc::new(TestClock::at(5_000)));
        let (status, shutdown) = (mirror.status(), CancellationToken::new());
        Running { status, task: tokio::spawn(mirror.run(shutdown.clone())), shutdown }
    }

    async fn until_copied(&mut self, total: u64) {
        self.status.wait_for(|status| status.copied == total && status.trouble.is_none()).await.unwrap();
    }

    async fn stop(self) -> Result<(), MirrorError> {
        self.shutdown.cancel();
        self.task.await.unwrap()
    }
}

/// Appends from outside the runtime, whose time therefore stands still meanwhile.
async fn append(log: &Log, payload: Vec<u8>) -> u64 {
    let log = log.clone();
    tokio::task::spawn_blocking(move || log.append_blocking(payload).unwrap().total).await.unwrap()
}

fn bytes_of(log: &Log) -> Vec<u8> {
    log.snapshot().segments.iter().flat_map(|segment| std::fs::read(&segment.path).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn frozen_segments_are_copied_at_once_and_the_growing_one_after_ten_minutes() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("log"));
    let mut mirror = Running::start(&log, bucket(dir.path()));
    mirror.until_copied(8).await;
    let first = log.snapshot().segments[0].sha224;
    assert_eq!(objects(dir.path()), [format!("0000.{first}.mutlog")]);

    let start = Instant::now();
    let total = append(&log, mutation(1)).await;
    mirror.until_copied(total).await;
    assert_eq!(start.elapsed().as_secs(), EVERY.as_secs(), "not before");
    let second = log.snapshot().segments[0].sha224;
    assert_eq!(objects(dir.path()), [format!("0000.{second}.mutlog")], "the older copy is gone");

    let start = Instant::now();
    let full = append(&log, vec![7; MAX_SEGMENT as usize]).await;
    mirror.until_copied(total).await;
    assert_eq!(objects(dir.path()), [format!("0000.{second}.mutlog")]);
    assert_eq!(start.elapsed(), Duration::ZERO, "segment 1 grows, though it is full");
    append(&log, mutation(2)).await;
    mirror.status.wait_for(|status| status.copied == full).await.unwrap();
    assert!(start.elapsed() < EVERY, "a frozen one does not wait");
    assert_eq!(objects(dir.path()).len(), 2);

    append(&log, mutation(3)).await;
    mirror.stop().await.unwrap();
    let names: Vec<String> = log.snapshot().segments.iter().map(|s| format!("{:04}.{}.mutlog", s.number, s.sha224)).collect();
    assert_eq!(objects(dir.path()), names, "at the end everything is copied");
    let copied: Vec<u8> = files(&dir.path().join("store/some/prefix")).into_values().flatten().collect();
    assert!(copied == bytes_of(&log));
}

#[tokio::test(start_paused = true)]
async fn a_lost_folder_is_restored_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("log"));
    append(&log, mutation(1)).await;
    // Large enough to be sent in parts.
    append(&log, vec![5; 40 << 20]).await;
    append(&log, mutation(2)).await;
    Running::start(&log, bucket(dir.path())).stop().await.unwrap();
    // What else lies there belongs to others.
    let store = dir.path().join("store/some/prefix");
    let other = segment(&[mutation(9)]);
    std::fs::create_dir_all(store.join("below")).unwrap();
    for name in ["0002.growing.mutlog".to_owned(), format!("x{}", frozen(7, &other)), format!("below/{}", frozen(3, &other))] {
        std::fs::write(store.join(name), &other).unwrap();
    }
    std::fs::write(dir.path().join("store/some").join(frozen(3, &other)), &other).unwrap();

    let restored = dir.path().join("restored");
    let state = log.snapshot();
    assert_eq!(restore(&bucket(dir.path()), &restored).await.unwrap(), Restored { segments: 3, bytes: state.total });
    let again = open(&restored);
    assert!(bytes_of(&again) == bytes_of(&log));
    assert_eq!(
        again.snapshot().segments.iter().map(|s| (s.sha224, s.frozen)).collect::<Vec<_>>(),
        state.segments.iter().map(|s| (s.sha224, s.frozen)).collect::<Vec<_>>()
    );
    append(&again, mutation(3)).await;
    assert_eq!(again.snapshot().segments.len(), 3, "the last segment grows on");
    // Its copy goes on too.
    Running::start(&again, bucket(dir.path())).stop().await.unwrap();
    assert!(matches!(restore(&bucket(dir.path()), &restored).await, Err(RestoreError::Target(FillError::InUse { .. }))));
    again.close().await;
    assert!(matches!(restore(&bucket(dir.path()), &restored).await, Err(RestoreError::Target(FillError::NotEmpty { .. }))));
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_was_begun_anew_does_not_eat_the_copy() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("log"));
    append(&log, mutation(1)).await;
    append(&log, vec![5; MAX_SEGMENT as usize]).await;
    Running::start(&log, bucket(dir.path())).stop().await.unwrap();
    let before = files(&dir.path().join("store/some/prefix"));
    for (name, records) in [("empty", vec![]), ("other", vec![mutation(2), vec![6; MAX_SEGMENT as usize], mutation(3)])] {
        let other = open(&dir.path().join(name));
        for record in records {
            append(&other, record).await;
        }
        let mut mirror = Running::start(&other, bucket(dir.path()));
        mirror.status.wait_for(|status| status.trouble.as_ref().is_some_and(|trouble| trouble.attempts == 3)).await.unwrap();
        let text = mirror.status.borrow().trouble.clone().unwrap().text;
        assert!(text.contains("is not the beginning of segment 0 of this log"), "{text}");
        assert!(matches!(mirror.stop().await, Err(MirrorError::Foreign { number: 0, .. })));
        assert_eq!(files(&dir.path().join("store/some/prefix")), before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_tried_again_and_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("log"));
    let bucket = bucket(dir.path());
    let store = dir.path().join("store");
    std::fs::remove_dir(&store).unwrap();
    std::fs::write(&store, "not a folder").unwrap();
    let start = Instant::now();
    let mut mirror = Running::start(&log, bucket);
    mirror.status.wait_for(|status| status.trouble.as_ref().is_some_and(|trouble| trouble.attempts == 5)).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 1 + 2 + 4 + 8, "ever longer pauses");
    let status = mirror.status.borrow().clone();
    assert_eq!((status.copied, status.last_ms, status.trouble.unwrap().since_ms), (0, None, 5_000));
    std::fs::remove_file(&store).unwrap();
    std::fs::create_dir(&store).unwrap();
    mirror.until_copied(8).await;
    assert_eq!(mirror.status.borrow().last_ms, Some(5_000));
    mirror.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_damaged_segment_does_not_replace_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("log"));
    append(&log, vec![5; MAX_SEGMENT as usize - 8]).await;
    append(&log, mutation(1)).await;
    let path = log.snapshot().segments[0].path.clone();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1_000_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let ended = Running::start(&log, bucket(dir.path())).stop().await;
    assert!(matches!(ended, Err(MirrorError::Damaged { number: 0, .. })), "{ended:?}");
    assert!(!dir.path().join("store/some").exists());
}

#[tokio::test]
async fn copies_that_do_not_make_a_log_are_refused() {
    let parts = [segment(&[vec![], mutation(1)]), segment(&[mutation(2)])];
    let longer = segment(&[vec![], mutation(1), mutation(3)]);
    let other = segment(&[mutation(5)]);
    type Objects<'a> = Vec<(String, &'a [u8])>;
    type Check = fn(&RestoreError) -> bool;
    let cases: Vec<(Objects<'_>, &str, Check)> = vec![
        (vec![], "no copy of a log", |e| matches!(e, RestoreError::Empty)),
        (vec![(frozen(1, &parts[1]), &parts[1])], "segment 0 is missing", |e| matches!(e, RestoreError::Gap { missing: 0, .. })),
        (vec![(frozen(0, &parts[0]), &parts[0]), (frozen(2, &parts[1]), &parts[1])], "segment 1 is missing", |e| {
            matches!(e, RestoreError::Gap { missing: 1, .. })
        }),
        (vec![(frozen(0, &parts[0]), &parts[1])], "is damaged", |e| matches!(e, RestoreError::Damaged { .. })),
        (vec![(frozen(0, &longer), &longer), (frozen(0, &other), &other)], "different contents", |e| matches!(e, RestoreError::Twice { .. })),
    ];
    for (content, text, check) in cases {
        let dir = tempfile::tempdir().unwrap();
        let bucket = bucket(dir.path());
        let store = dir.path().join("store/some/prefix");
        std::fs::create_dir_all(&store).unwrap();
        for (name, bytes) in &content {
            std::fs::write(store.join(name), bytes).unwrap();
        }
        let target = dir.path().join("log");
        let error = restore(&bucket, &target).await.expect_err(text);
        assert!(check(&error), "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(!target.exists() || matches!(try_open(&target), Err(OpenError::Unfinished { .. })), "{text}");
    }
    // An older copy that a crash kept from being removed is the beginning of the newer one.
    let dir = tempfile::tempdir().unwrap();
    let bucket = bucket(dir.path());
    let store = dir.path().join("store/some/prefix");
    std::fs::create_dir_all(&store).unwrap();
    std::fs::write(store.join(frozen(0, &parts[0])), &parts[0]).unwrap();
    std::fs::write(store.join(frozen(0, &longer)), &longer).unwrap();
    let target = dir.path().join("log");
    assert_eq!(restore(&bucket, &target).await.unwrap(), Restored { segments: 1, bytes: longer.len() as u64 });
    assert_eq!(std::fs::read(target.join(growing(0))).unwrap(), longer);
}
