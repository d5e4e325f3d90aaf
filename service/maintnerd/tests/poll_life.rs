//! The life of pollers: cut off and started again, woken, asked what they do.

mod poll_worlds;

use std::sync::Arc;

use burrow_maintnerd::poll::{Outcome, Pause, Pollers, Source};
use poll_worlds::{Bench, leader, mutations};
use protocol_mutlog::schema::Mutation;

#[tokio::test]
async fn cut_off_anywhere_the_next_start_completes_it() {
    for seed in 0..4_u64 {
        let mut bench = Bench::new(&["o/r"]).await;
        bench.github.world().policy.page_size = 6;
        bench.github.world().random("o/r", seed, 150);
        bench.github.clock().advance_ms(1_000);
        let mut acknowledged: Vec<Mutation> = Vec::new();
        for cut in 0..12_usize {
            // The round is dropped when so many questions were asked: no destructor of ours runs on purpose, as after kill -9.
            let reached = Arc::new(tokio::sync::Notify::new());
            let (notify, mut left) = (Arc::clone(&reached), 3 + cut * 7);
            bench.github.before_each(move |_, _| {
                left = left.saturating_sub(1);
                if left == 0 {
                    notify.notify_one();
                }
            });
            let ended = tokio::select! {
                result = bench.sync() => { result.unwrap(); true }
                () = reached.notified() => false,
            };
            let now = mutations(&bench.leader).await;
            assert!(now.starts_with(&acknowledged), "the log only grows");
            acknowledged = now;
            bench.leader.close().await;
            bench.leader = leader(bench.dir.path(), bench.github.clock()).await;
            // What was on its way to the disk when the round was dropped may have arrived.
            let now = mutations(&bench.leader).await;
            assert!(now.starts_with(&acknowledged), "seed {seed}, cut {cut}: something that was acknowledged is gone");
            acknowledged = now;
            if ended {
                bench.github.world().random("o/r", seed * 50 + cut as u64, 30);
                bench.github.clock().advance_ms(1_000);
            }
        }
        bench.github.before_each(|_, _| {});
        bench.sync().await.unwrap();
        bench.assert_same().await;
        bench.leader.view().gerrit().check().unwrap();
    }
}

#[tokio::test]
async fn pollers_say_what_they_do_and_wake_up_when_told() {
    let mut bench = Bench::new(&["o/r", "o/off"]).await;
    bench.github.world().set_issues_enabled("o/off", false);
    let number = bench.github.world().open_issue("o/r", "ada", "Title", "text");
    bench.github.clock().advance_ms(1_000);
    // Between rounds nothing happens by itself.
    bench.sources.timing.pause = Pause::new(|_| Box::pin(std::future::pending()));
    let pollers = Pollers::start(&bench.leader, &bench.sources, &bench.github.shared_clock()).await;
    let mut changed = pollers.changed();
    let rounds = |wanted: u64| {
        let pollers = &pollers;
        move |_: &u64| pollers.status().sources.iter().all(|source| source.rounds >= wanted || source.source != Source::Github("o/r".into()))
    };
    changed.wait_for(rounds(1)).await.unwrap();
    bench.assert_same_repo("o/r").await;
    bench.github.world().comment("o/r", number, "bob", "said");
    bench.github.clock().advance_ms(1_000);
    bench.github.take_asked();
    assert!(pollers.wake(&Source::Github("o/r".into()), Some(number)));
    assert!(!pollers.wake(&Source::Github("o/unknown".into()), None));
    changed.wait_for(rounds(2)).await.unwrap();
    bench.assert_same_repo("o/r").await;
    assert_eq!(bench.github.take_asked()[0].path, "/repos/o/r/issues/1", "what was named is looked at first");
    changed.wait_for(|_| pollers.status().sources.iter().all(|source| source.rounds > 0 && source.next.is_some())).await.unwrap();
    let status = pollers.status();
    let [on, off] = &status.sources[..] else { panic!("{status:#?}") };
    assert_eq!((&on.outcome, on.rounds, on.mutations, on.last_mutations, on.failures), (&Outcome::Good, 2, 2, 1, 0));
    assert!(matches!(&off.outcome, Outcome::Idle(why) if why.contains("switched off")), "{off:?}");
    assert!(status.github.unwrap().windows[0].limit.remaining < 5_000);
    pollers.stop().await;
}

#[tokio::test]
async fn a_wake_up_during_a_round_makes_another_one() {
    let mut bench = Bench::new(&["o/r"]).await;
    let number = bench.github.world().open_issue("o/r", "ada", "Title", "text");
    bench.github.clock().advance_ms(1_000);
    bench.sources.timing.pause = Pause::new(|_| Box::pin(std::future::pending()));
    let source = Source::Github("o/r".into());
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut tell = Some(tell);
    bench.github.before_each(move |asked, world| {
        // The last question of the round, which asks for no comments since there were none in the list.
        if asked.path.ends_with("/events")
            && let Some(tell) = tell.take()
        {
            world.comment("o/r", number, "bob", "said");
            tell.send(()).unwrap();
        }
    });
    let pollers = Pollers::start(&bench.leader, &bench.sources, &bench.github.shared_clock()).await;
    told.await.unwrap();
    pollers.wake(&source, None);
    let mut changed = pollers.changed();
    changed.wait_for(|_| pollers.status().sources[0].rounds >= 2).await.unwrap();
    bench.github.clock().advance_ms(1_000);
    pollers.wake(&source, None);
    changed.wait_for(|_| pollers.status().sources[0].rounds >= 3).await.unwrap();
    bench.assert_same().await;
    pollers.stop().await;
}
