//! The log on a real disk: what is acknowledged is there again, in order, whatever happened in between.

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use burrow_clock::TestClock;
use burrow_events::log::record;
use burrow_events::{After, AppendError, Appended, Draft, Feed as _, Gerrit, Github, Item, Log, Next, Options, Retention, Topics, Waited};
use futures_util::StreamExt as _;
use tokio::sync::oneshot;

const NOW: i64 = 1_700_000_000_000;

fn options(clock: &TestClock) -> Options {
    Options::new(Arc::new(clock.clone()))
}

fn draft(number: u64) -> Draft {
    let github = Github { action: "opened".into(), owner: "a".into(), repo: "b".into(), issue: number, pull_request: 0 };
    Draft { source: "github".into(), topics: vec![github.topic()], github: Some(github), ..Draft::default() }
}

fn named(number: u64, delivery: &str) -> Draft {
    Draft { delivery: Some(delivery.into()), ..draft(number) }
}

fn numbers(log: &Log, after: After) -> Vec<u64> {
    log.after(after, &Topics::all(), usize::MAX).events.iter().map(|stored| stored.event.github.as_ref().unwrap().issue).collect()
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "events")).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn events_are_there_again_and_time_goes_on_though_the_clock_was_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let log = Log::open(dir.path(), options(&clock)).unwrap();
    for number in 1..=3 {
        log.append(draft(number)).await.unwrap();
    }
    let before = log.position();
    assert!(before.id > 3, "numbers of a lost log must be smaller");
    log.close().await;
    assert!(matches!(log.append(draft(9)).await, Err(AppendError::Closed)));

    clock.set_wall_ms(NOW - 3_600_000);
    let log = Log::open(dir.path(), options(&clock)).unwrap();
    assert_eq!(numbers(&log, After::Oldest), [1, 2, 3]);
    assert_eq!(log.position(), before);
    let Appended::New(fourth) = log.append(draft(4)).await.unwrap() else { panic!("it is new") };
    assert_eq!((fourth.event.id, fourth.event.time.as_nanosecond()), (before.id + 1, before.time.as_nanosecond() + 1));
    assert_eq!(numbers(&log, After::Id(before.id)), [4]);
    assert_eq!(numbers(&log, After::Time(before.time)), [4]);
}

#[tokio::test]
async fn a_log_is_written_by_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let log = Log::open(dir.path(), options(&clock)).unwrap();
    let refused = Log::open(dir.path(), options(&clock)).unwrap_err().to_string();
    assert!(refused.contains("in use by another process"), "{refused}");
    drop(log);
    Log::open(dir.path(), options(&clock)).unwrap();
}

/// Every length to which a crash can cut the file gives the events whose records are whole, and the log goes on.
#[tokio::test]
async fn a_torn_end_is_cut_off_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let log = Log::open(dir.path(), options(&clock)).unwrap();
    for number in 1..=3 {
        log.append(named(number, "d")).await.unwrap();
        log.append(named(number, &format!("d{number}"))).await.unwrap();
    }
    log.close().await;
    let [path] = &segments(dir.path())[..] else { panic!("one segment") };
    let whole = std::fs::read(path).unwrap();
    let all = record::read(&whole);
    assert_eq!((all.events.len(), all.whole), (4, whole.len()));
    let mut counts = Vec::new();
    for length in 0..whole.len() {
        std::fs::write(path, &whole[..length]).unwrap();
        let log = Log::open(dir.path(), options(&clock)).unwrap();
        let kept = log.after(After::Oldest, &Topics::all(), 10).events.len();
        counts.push(kept);
        assert_eq!(log.opened().is_empty(), length > 0 && record::read(&whole[..length]).whole == length, "{length}: {:?}", log.opened());
        if length % 37 == 0 {
            log.append(draft(9)).await.unwrap();
            log.close().await;
            let log = Log::open(dir.path(), options(&clock)).unwrap();
            assert_eq!(log.after(After::Oldest, &Topics::all(), 10).events.len(), kept + 1, "{length}");
            assert!(log.opened().is_empty());
            drop(log);
            segments(dir.path()).iter().for_each(|path| std::fs::remove_file(path).unwrap());
        }
    }
    assert!(counts.is_sorted() && counts.contains(&0) && counts.contains(&3) && !counts.contains(&4), "{counts:?}");
}

#[tokio::test]
async fn a_flipped_bit_takes_no_event_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let log = Log::open(dir.path(), options(&clock)).unwrap();
    for number in 1..=4 {
        log.append(draft(number)).await.unwrap();
    }
    log.close().await;
    let [path] = &segments(dir.path())[..] else { panic!("one segment") };
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(path, &bytes).unwrap();
    let log = Log::open(dir.path(), options(&clock)).unwrap();
    assert_eq!(numbers(&log, After::Oldest), [1]);
    assert!(log.opened()[0].contains("cut off"), "{:?}", log.opened());
}

#[tokio::test]
async fn a_delivery_is_one_event_also_after_a_restart_and_within_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let log = Log::open(dir.path(), options(&clock)).unwrap();
    let (a, b, c) = tokio::join!(log.append(named(1, "x")), log.append(named(1, "x")), log.append(named(2, "y")));
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert_eq!((a.id(), matches!(a, Appended::New(_)), matches!(b, Appended::Duplicate(_))), (b.id(), true, true));
    assert!(c.id() > a.id());
    // Another source may use the same names.
    assert!(matches!(log.append(Draft { source: "other".into(), ..named(3, "x") }).await.unwrap(), Appended::New(_)));
    log.close().await;
    let log = Log::open(dir.path(), options(&clock)).unwrap();
    assert!(matches!(log.append(named(1, "x")).await.unwrap(), Appended::Duplicate(id) if id == a.id()));
    assert_eq!(log.after(After::Oldest, &Topics::all(), 10).events.len(), 3);
}

#[tokio::test]
async fn a_disk_that_refuses_loses_nothing_that_was_acknowledged_and_works_again() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let folder = dir.path().join("log");
    let log = Log::open(&folder, options(&clock)).unwrap();
    // The folder is gone: the first segment cannot be begun.
    let away = dir.path().join("away");
    std::fs::rename(&folder, &away).unwrap();
    let error = log.append(named(1, "x")).await.unwrap_err();
    assert!(matches!(error, AppendError::Write { .. }), "{error}");
    assert!(log.trouble().borrow().is_some());
    assert_eq!(log.after(After::Oldest, &Topics::all(), 10).events.len(), 0);
    std::fs::rename(&away, &folder).unwrap();
    // Sent again, as it was told to be: no duplicate of what was not kept.
    assert!(matches!(log.append(named(1, "x")).await.unwrap(), Appended::New(_)));
    assert!(log.trouble().borrow().is_none());
    log.close().await;
    let log = Log::open(&folder, options(&clock)).unwrap();
    assert_eq!(numbers(&log, After::Oldest), [1]);
}

#[tokio::test]
async fn what_is_kept_is_the_younger_and_the_newest_within_the_bytes() {
    let clock = TestClock::at(NOW);
    let retention = Retention { age: Duration::from_secs(60), count: 3, bytes: 1 << 20 };
    let log = Log::in_memory(Options { retention, ..options(&clock) });
    let begun = log.position();
    for number in 1..=10 {
        log.append(draft(number)).await.unwrap();
    }
    assert_eq!(numbers(&log, After::Oldest).len(), 10, "young ones are kept beyond the count");
    clock.advance_ms(61_000);
    log.append(draft(11)).await.unwrap();
    assert_eq!(numbers(&log, After::Oldest), [9, 10, 11], "the newest are kept beyond the age");
    assert!(log.after(After::Id(begun.id), &Topics::all(), 10).gap, "who was further back is told");
    assert!(log.after(After::Time(begun.time), &Topics::all(), 10).gap);
    assert!(!log.after(After::Id(begun.id + 8), &Topics::all(), 10).gap, "who was at the last that is gone has missed nothing");
    assert!(!log.after(After::Oldest, &Topics::all(), 10).gap);

    let small = Log::in_memory(Options { retention: Retention { bytes: 20_000, ..retention }, ..options(&clock) });
    for number in 1..=100 {
        small.append(draft(number)).await.unwrap();
    }
    let (count, bytes, _) = small.kept();
    assert!(bytes <= 20_000 && (5..60).contains(&count), "{count} events, {bytes} bytes");
    assert_eq!(numbers(&small, After::Oldest).last(), Some(&100));
}

#[tokio::test]
async fn segments_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let retention = Retention { age: Duration::from_secs(60), count: 5, bytes: 300_000 };
    let log = Log::open(dir.path(), Options { retention, ..options(&clock) }).unwrap();
    for number in 1..=3000 {
        clock.advance_ms(100);
        log.append(draft(number)).await.unwrap();
    }
    let position = log.position();
    let kept = numbers(&log, After::Oldest);
    log.close().await;
    let disk: u64 = segments(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(segments(dir.path()).len() > 1 && disk < 300_000, "{} segments, {disk} bytes", segments(dir.path()).len());
    let log = Log::open(dir.path(), Options { retention, ..options(&clock) }).unwrap();
    assert_eq!((numbers(&log, After::Oldest), log.position()), (kept, position));
    assert!(log.opened().is_empty(), "{:?}", log.opened());
}

#[tokio::test]
async fn a_log_that_was_lost_is_a_gap_and_no_silence() {
    let clock = TestClock::at(NOW);
    let lost = Log::in_memory(options(&clock));
    for number in 1..=5 {
        lost.append(draft(number)).await.unwrap();
    }
    let old = lost.position();
    clock.advance_ms(1_000);
    let new = Log::in_memory(options(&clock));
    let mut feed = new.follow(After::Id(old.id), Topics::all());
    assert_eq!(feed.next().await, Some(Item::Up));
    assert_eq!(feed.next().await, Some(Item::Gap));
    new.append(draft(6)).await.unwrap();
    assert!(matches!(feed.next().await, Some(Item::Event(event)) if event.github.as_ref().unwrap().issue == 6));
    // Even with a clock that was set back, so that numbers begin below those of the lost log.
    clock.set_wall_ms(NOW - 1_000_000);
    let older = Log::in_memory(options(&clock));
    assert!(older.after(After::Id(old.id), &Topics::all(), 1).gap);
}

/// `spec/pubsubhelper.md` §7 row 3: an event and the end of the limit at the same moment, in every order, a thousand times. In the reference the event is then
/// skipped for ever.
#[tokio::test]
async fn an_event_at_the_moment_of_a_timeout_is_never_lost() {
    use rand::{RngExt as _, SeedableRng as _};
    let clock = TestClock::at(NOW);
    let log = Log::in_memory(options(&clock));
    let all = Topics::all();
    let mut random = rand::rngs::StdRng::seed_from_u64(3);
    let mut cursor = After::Time(log.position().time);
    let (mut seen, mut appended, mut timeouts) = (Vec::new(), 0, 0);
    for _ in 0..1000 {
        let (end, ended) = oneshot::channel::<()>();
        let mut waiting = Box::pin(log.wait(cursor, &all, 1, async move { drop(ended.await) }));
        // Steps in any order: the waiter runs, the event comes, the limit is over.
        let mut steps = vec![0, 1, 2, 0];
        if random.random_range(0..4) == 0 {
            steps.retain(|step| *step != 1);
        }
        for at in (1..steps.len()).rev() {
            steps.swap(at, random.random_range(0..=at));
        }
        let mut end = Some(end);
        let mut answer = Poll::Pending;
        for step in steps {
            match step {
                0 if answer.is_pending() => answer = poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await,
                1 => {
                    appended += 1;
                    clock.advance_ms(random.random_range(0..2));
                    log.append(draft(appended)).await.unwrap();
                }
                2 => drop(end.take()),
                _ => {}
            }
        }
        let answer = match answer {
            Poll::Ready(answer) => answer,
            Poll::Pending => waiting.await,
        };
        match answer {
            Waited::Events(batch) => {
                let event = &batch.events[0].event;
                seen.push(event.github.as_ref().unwrap().issue);
                cursor = After::Time(event.time);
            }
            Waited::Nothing(batch) => {
                timeouts += 1;
                cursor = After::Time(batch.position.time);
            }
            Waited::Closed => panic!("it is open"),
        }
    }
    while let Waited::Events(batch) = log.wait(cursor, &Topics::all(), 1, async {}).await {
        seen.push(batch.events[0].event.github.as_ref().unwrap().issue);
        cursor = After::Time(batch.events[0].event.time);
    }
    assert_eq!(seen, (1..=appended).collect::<Vec<_>>());
    assert!(timeouts > 100 && appended > 500, "{timeouts} timeouts, {appended} events: both must happen");
}

/// §9: fifty posters at once, followers of both kinds: each sees every event once, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_events_of_fifty_posters_are_seen_once_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), Options::new(burrow_clock::SystemClock::shared())).unwrap();
    let start = log.position();
    let mut by_time = tokio::spawn({
        let log = log.clone();
        async move {
            let (mut cursor, mut seen) = (After::Time(start.time), Vec::new());
            while seen.len() < 10_000 {
                let Waited::Events(batch) = log.wait(cursor, &Topics::all(), 1, std::future::pending()).await else { panic!("closed") };
                cursor = After::Time(batch.events[0].event.time);
                seen.push((batch.events[0].event.id, batch.events[0].event.time));
            }
            seen
        }
    });
    let mut subscription = log.subscribe(After::Now, Topics::all());
    let posters: Vec<_> = (0..50_u64)
        .map(|poster| {
            let log = log.clone();
            tokio::spawn(async move {
                for number in 0..200 {
                    log.append(draft(1 + poster * 200 + number)).await.unwrap();
                }
            })
        })
        .collect();
    let mut seen = Vec::new();
    while seen.len() < 10_000 {
        let Some(Next::Event(stored)) = subscription.next().await else { panic!("closed or a gap") };
        seen.push((stored.event.id, stored.event.time));
    }
    for poster in posters {
        poster.await.unwrap();
    }
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
    assert_eq!((&mut by_time).await.unwrap(), seen);
    let mut all = numbers(&log, After::Oldest);
    all.sort_unstable();
    assert_eq!(all, (1..=10_000).collect::<Vec<_>>());
    // Closing tells those who wait.
    log.close().await;
    assert!(subscription.next().await.is_none());
}

#[tokio::test]
async fn topics_choose_and_the_cursor_goes_on_past_what_is_not_wanted() {
    let clock = TestClock::at(NOW);
    let log = Log::in_memory(options(&clock));
    let gerrit = Gerrit { url: "https://go-review.googlesource.com/c/build/+/1".into(), project: "build".into(), ..Gerrit::default() };
    for number in 1..=3000 {
        log.append(draft(number)).await.unwrap();
    }
    log.append(Draft { topics: vec![gerrit.topic()], gerrit: Some(gerrit), ..Draft::default() }).await.unwrap();
    let wanted = Topics::parse(["gerrit:go.googlesource.com/*"]).unwrap();
    let batch = log.after(After::Oldest, &wanted, 5);
    assert_eq!((batch.events.len(), batch.position), (1, log.position()));
    let none = Topics::parse(["nothing:*"]).unwrap();
    let Waited::Nothing(batch) = log.wait(After::Oldest, &none, 5, async {}).await else { panic!("nothing matches") };
    assert_eq!(batch.position, log.position());
    assert_eq!(log.recent(None, &wanted).len(), 1);
    assert_eq!(log.before(None, &Topics::parse(["github:*"]).unwrap(), 2000).len(), 2000);
    let oldest_first: Vec<_> = log.after(After::Oldest, &Topics::all(), 3).events.iter().map(|stored| stored.event.id).collect();
    let newest_first: Vec<_> = log.before(Some(oldest_first[2]), &Topics::all(), 9).iter().map(|stored| stored.event.id).collect();
    assert_eq!(newest_first, [oldest_first[1], oldest_first[0]]);
}

#[cfg(target_os = "linux")]
mod full_disk {
    use super::*;
    use testkit_harness::SmallDisk;

    /// An event of about so many bytes.
    fn large(number: u64, bytes: usize) -> Draft {
        Draft { topics: vec![format!("git:{}", "x".repeat(bytes))], ..named(number, &format!("large-{number}")) }
    }

    fn is_full(error: &AppendError) -> bool {
        matches!(error, AppendError::Write { source, .. } if source.kind() == std::io::ErrorKind::StorageFull) && error.to_string().contains("free some space")
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_whole_and_taken_when_there_is_room() {
        let Some(disk) = SmallDisk::mount(3) else { return };
        let (dir, clock) = (disk.path().join("log"), TestClock::at(NOW));
        let log = Log::open(&dir, options(&clock)).unwrap();
        for number in 1..=3 {
            log.append(named(number, &format!("d{number}"))).await.unwrap();
        }
        let before = log.position();
        disk.fill();
        let mut follower = log.subscribe(After::Id(before.id), Topics::all());
        for _ in 0..5 {
            // Two of a name, and a repetition of what is kept, beside what does not fit.
            let (a, b, c, old) =
                tokio::join!(log.append(large(4, 50_000)), log.append(large(5, 50_000)), log.append(large(5, 50_000)), log.append(named(2, "d2")));
            for error in [a, b, c].map(Result::unwrap_err) {
                assert!(is_full(&error), "{error}");
            }
            assert_eq!(old.unwrap().id(), before.id - 1, "what is kept is still known");
            log.probe().await;
            assert!(log.trouble().borrow().as_ref().is_some_and(is_full));
        }
        assert_eq!((log.position(), numbers(&log, After::Oldest)), (before, vec![1, 2, 3]), "nothing of it is shown");
        assert!(follower.ready().is_empty());

        // A start on the full disk serves what was acknowledged, and nothing else.
        log.close().await;
        let log = Log::open(&dir, options(&clock)).unwrap();
        assert_eq!((log.position(), numbers(&log, After::Oldest)), (before, vec![1, 2, 3]));
        assert!(log.append(large(4, 50_000)).await.is_err_and(|error| is_full(&error)));
        let mut follower = log.subscribe(After::Id(before.id), Topics::all());

        // With room it is no longer in trouble though nobody has sent anything, and takes what is sent again, once.
        disk.empty_out();
        log.probe().await;
        assert!(log.trouble().borrow().is_none());
        let ids = [log.append(large(4, 50_000)).await.unwrap().id(), log.append(large(5, 50_000)).await.unwrap().id()];
        assert!(before.id < ids[0] && ids[0] < ids[1]);
        assert!(matches!(log.append(large(4, 50_000)).await.unwrap(), Appended::Duplicate(id) if id == ids[0]));
        let seen: Vec<u64> = follower.ready().into_iter().map(|next| if let Next::Event(stored) = next { stored.event.id } else { panic!("a gap") }).collect();
        assert_eq!(seen, ids);
        log.close().await;
        let log = Log::open(&dir, options(&clock)).unwrap();
        assert_eq!(numbers(&log, After::Oldest), [1, 2, 3, 4, 5]);
        assert_eq!(log.opened(), [] as [String; 0], "nothing torn was left");
    }

    /// Where there is room for the beginning of a segment and not for the event, tries must not use up that room.
    #[tokio::test]
    async fn tries_take_no_room() {
        let Some(disk) = SmallDisk::mount(3) else { return };
        let (dir, clock) = (disk.path().join("log"), TestClock::at(NOW));
        let log = Log::open(&dir, options(&clock)).unwrap();
        log.append(draft(1)).await.unwrap();
        disk.fill_but(32 << 10);
        for _ in 0..20 {
            assert!(log.append(large(2, 60_000)).await.is_err_and(|error| is_full(&error)));
            assert_eq!(segments(&dir).len(), 1);
        }
        // A small one still fits, and ends the trouble.
        log.append(draft(3)).await.unwrap();
        assert!(log.trouble().borrow().is_none());
        assert_eq!(numbers(&log, After::Oldest), [1, 3]);
    }
}
