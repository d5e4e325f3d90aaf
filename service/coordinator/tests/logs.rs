//! Logs of attempts as their readers see them.

use burrow_blobs::Blobs;
use burrow_coordinator::control::LogReader;
use burrow_coordinator::logs::Logs;
use burrow_results::model::AttemptId;

const A: AttemptId = AttemptId(7);

fn logs(dir: &tempfile::TempDir) -> Logs {
    Logs::new(&dir.path().join("live"), Blobs::folder(&dir.path().join("blobs")).unwrap()).unwrap()
}

async fn rest(reader: &mut Box<dyn LogReader>) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        out.extend_from_slice(&piece);
    }
    out
}

#[tokio::test]
async fn readers_that_join_at_different_times_see_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(&dir);
    let mut writer = logs.writer(A, 0).unwrap();
    let mut first = logs.live(A, 0, true).unwrap();
    // This one never reads: nobody waits for it.
    let _stalled = logs.live(A, 0, true).unwrap();
    let mut all = Vec::new();
    for n in 0..5_000u32 {
        let line = format!("line {n} \u{1b}[31mred\u{1b}[0m \0\n");
        writer.append(line.as_bytes()).unwrap();
        all.extend_from_slice(line.as_bytes());
    }
    let mut second = logs.live(A, 0, true).unwrap();
    let mut third = logs.live(A, 1000, true).unwrap();
    let readers = tokio::spawn(async move { (rest(&mut first).await, rest(&mut second).await, rest(&mut third).await) });
    let log = writer.seal().await.unwrap();
    let (hash, length) = (log.hash().map(str::to_owned), log.length());
    let (first, second, third) = readers.await.unwrap();
    assert_eq!(first, all);
    assert_eq!(second, all);
    assert_eq!(third, &all[1000..]);
    assert_eq!(length, all.len() as u64);
    let hash = hash.unwrap();
    let (size, mut ended) = logs.finished(&hash, 0).await.unwrap().unwrap();
    assert_eq!((size, rest(&mut ended).await), (length, all.clone()), "before it is among the blobs");
    log.publish().await;
    let (size, mut stored) = logs.finished(&hash, 0).await.unwrap().unwrap();
    assert_eq!((size, rest(&mut stored).await), (length, all));
    assert!(logs.live(A, 0, true).is_none());
}

#[tokio::test]
async fn a_writer_that_goes_on_after_a_restart_cuts_what_is_uncertain_and_the_hash_is_that_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    {
        let mut writer = logs(&dir).writer(A, 0).unwrap();
        writer.append(b"hello\nhalf a li").unwrap();
        // Killed here.
    }
    let logs = logs(&dir);
    assert_eq!(logs.leftovers(), [A]);
    let writer = logs.writer(A, 6).unwrap();
    let mut reader = logs.live(A, 0, true).unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), "hello\n");
    let log = writer.seal().await.unwrap();
    assert_eq!((log.hash(), log.length()), (Some("f572d396fae9206628714fb2ce00f72e94f2258f"), 6));
    assert_eq!(logs.just_ended(A).as_deref(), log.hash());
}

#[tokio::test]
async fn a_log_that_ended_is_not_lost_when_its_end_was_not_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let name = {
        let mut writer = logs(&dir).writer(A, 0).unwrap();
        writer.append(b"step\nAll steps passed.\n").unwrap();
        writer.seal().await.unwrap().hash().unwrap().to_owned()
        // Killed here: no row says that the attempt has ended, so it goes on after its last step.
    };
    let logs = logs(&dir);
    let mut writer = logs.writer(A, 5).unwrap();
    writer.append(b"All steps passed.\n").unwrap();
    let log = writer.seal().await.unwrap();
    assert_eq!(log.hash(), Some(name.as_str()));
    // The row is on disk, and killed again: the next start finds the file and moves it.
    drop(log);
    logs.salvage(A).await.unwrap().publish().await;
    let (_, mut reader) = logs.finished(&name, 0).await.unwrap().unwrap();
    assert_eq!(rest(&mut reader).await, b"step\nAll steps passed.\n");
    assert_eq!(logs.leftovers(), []);
}

#[tokio::test]
async fn the_log_of_a_lost_attempt_is_kept_to_its_last_byte() {
    let dir = tempfile::tempdir().unwrap();
    logs(&dir).writer(A, 0).unwrap().append(b"so far").unwrap();
    let logs = logs(&dir);
    let log = logs.salvage(A).await.unwrap();
    let hash = log.hash().unwrap().to_owned();
    assert_eq!(log.length(), 6);
    log.publish().await;
    let (_, mut reader) = logs.finished(&hash, 0).await.unwrap().unwrap();
    assert_eq!(rest(&mut reader).await, b"so far");
    assert_eq!(logs.leftovers(), []);
}
