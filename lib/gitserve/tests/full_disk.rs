//! The disk of the archive cache is full: whoever asks for an archive gets all of it, and what could not be kept is not taken for whole afterwards.
#![cfg(target_os = "linux")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::{Method, StatusCode};
use burrow_gitserve::{Options, Repository, Server};
use support::{Work, World, assert_same, git};
use testkit_harness::SmallDisk;

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length / 8 + 1).flat_map(|_| next().to_le_bytes()).take(length).collect()
}

/// A repository whose archive has about six million bytes, and its commit.
fn large(world: &World) -> (std::path::PathBuf, String) {
    let work = Work::new(&world.path("work"), "sha1");
    for number in 1..=12 {
        work.write(&format!("file{number}"), noise(number, 500_000));
    }
    let head = work.commit("large");
    let bare = work.bare(&world.path("r"));
    world.add("r", Repository::public(&bare));
    (bare, head)
}

fn names(dir: &std::path::Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// The disk is full from the start, becomes full in the middle of an archive, or has no room only for the checksums at its end.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_whole_wherever_the_disk_ends() {
    let mut world = World::with(Options { threads: 2, ..Options::default() });
    let (bare, head) = large(&world);
    let theirs = git(&bare, &["archive", "--format=tar", &head]);
    let address = format!("/r.tar?rev={head}");
    for free in [0, 2 << 20, theirs.len() as u64 / 4096 * 4096] {
        let Some(disk) = SmallDisk::mount(12) else { return };
        let cache = disk.path().join("archives");
        world.server = Server::new(world.table.clone(), &cache, Arc::new(world.clock.clone()), Options { threads: 2, ..Options::default() }).unwrap();
        disk.fill_but(free);
        let (one, two, three) = tokio::join!(world.tar(&address), world.tar(&address), world.ask(Method::GET, &address, &[("range", "bytes=0-99")]));
        assert_same(&one, &theirs, &format!("{free} bytes free"));
        assert_same(&two, &theirs, "a second one beside it");
        // A part can be had only of what is kept: all of it is an answer too.
        match three.status {
            StatusCode::PARTIAL_CONTENT => assert_same(&three.body, &theirs[..100], "a part"),
            status => {
                assert_eq!(status, StatusCode::OK);
                assert_same(&three.body, &theirs, "asked for in part");
            }
        }
        // A production ends a moment after its last reader.
        let start = std::time::Instant::now();
        while names(&cache).iter().any(|name| name.starts_with("scratch-")) {
            assert!(start.elapsed() < testkit_harness::HANG, "left: {:?}", names(&cache));
            tokio::task::yield_now().await;
        }

        disk.empty_out();
        // One that comes just now may still be served by the production before.
        while names(&cache).iter().all(|name| !name.ends_with(".archive")) {
            assert!(start.elapsed() < testkit_harness::HANG, "it is not kept: {:?}", names(&cache));
            assert_same(&world.tar(&address).await, &theirs, "with room");
        }
        let part = world.ask(Method::GET, &address, &[("range", "bytes=1000000-1999999")]).await;
        assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
        assert_same(&part.body, &theirs[1_000_000..2_000_000], "a part of what is kept");
        // What is kept is served from a disk that is full again.
        disk.fill();
        assert_same(&world.tar(&address).await, &theirs, "kept");
    }
}

#[tokio::test]
async fn a_revision_that_cannot_be_fetched_now_is_not_called_unknown() {
    let world = World::new();
    let (_, head) = large(&world);
    let other = head.chars().rev().collect::<String>();
    let asked = |rev: String| format!("/r.tar.gz?rev={rev}");
    assert_eq!(world.get(&asked(other.clone())).await.status, StatusCode::NOT_FOUND, "the owner looked and has none");
    world.table.cannot_tell.store(true, Ordering::SeqCst);
    world.clock.advance_ms(6_000);
    for _ in 0..2 {
        let answer = world.get(&asked(other.clone())).await;
        assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "10"), "{}", answer.text());
        assert!(answer.text().contains("ask again"), "{}", answer.text());
    }
    assert_eq!(world.table.wanted.load(Ordering::SeqCst), 2, "once for both");
    assert_eq!(world.get(&asked(head)).await.status, StatusCode::OK);
}
