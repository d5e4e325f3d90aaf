//! Who gets which archive: validators, parts, the cache and its accidents, and what is refused.

mod support;

use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use burrow_gitserve::{Options, Repository};
use http_body_util::BodyExt as _;
use support::{Work, World, assert_same, git, word};

/// Bytes that do not compress, so that a few files make an archive of some size.
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

/// A repository of some megabytes, and the hash of its commit.
fn large(world: &World, name: &str) -> (PathBuf, String) {
    let work = Work::new(&world.path(&format!("{name}-work")), "sha1");
    for number in 0..24 {
        work.write(&format!("dir{}/file{number}", number % 3), noise(number, 100_000));
    }
    let head = work.commit("large");
    let bare = work.bare(&world.path(name));
    world.add(name, Repository::public(&bare));
    (bare, head)
}

fn small(world: &World, name: &str) -> (Work, PathBuf, String) {
    let work = Work::new(&world.path(&format!("{}-work", name.replace('/', "-"))), "sha1");
    work.write("file", "content\n");
    let head = work.commit("small");
    let bare = work.bare(&world.path(&name.replace('/', "-")));
    world.add(name, Repository::public(&bare));
    (work, bare, head)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_askers_and_one_production() {
    let world = World::new();
    let (bare, head) = large(&world, "r");
    let url = format!("{}/r.tar.gz?rev={head}", world.listen().await);
    let theirs = git(&bare, &["archive", "--format=tar", &head]);
    let (server, address) = (world.server.clone(), format!("/r.tar?rev={head}"));
    let askers: Vec<_> = (0..100)
        .map(|_| {
            let (server, address) = (server.clone(), address.clone());
            tokio::spawn(async move { server.answer(Request::get(address).body(Body::empty()).unwrap()).await.into_body().collect().await.unwrap().to_bytes() })
        })
        .collect();
    for asker in askers {
        assert_same(&asker.await.unwrap(), &theirs, "one of a hundred");
    }
    assert_eq!(world.server.figures().made, 1);
    // And over a socket, with somebody else's client.
    let file = world.path("got");
    let done = support::aside({
        let file = file.clone();
        move || std::process::Command::new("curl").args(["-sSf", "-o"]).arg(file).arg(url).status().unwrap()
    })
    .await;
    assert!(done.success());
    assert!(std::fs::metadata(file).unwrap().len() > 2_000_000);
}

/// Waits until the running productions have been kept: the last asker of one need not see that.
async fn kept(world: &World, archives: usize) -> PathBuf {
    while world.server.figures().archives < archives || world.server.figures().making > 0 {
        tokio::task::yield_now().await;
    }
    let mut files: Vec<_> = std::fs::read_dir(world.cache()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "archive"));
    files.pop().expect("there is an archive")
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_and_parts() {
    let world = World::new();
    let (_, head) = large(&world, "r");
    let address = format!("/r.tgz?rev={head}");
    // Also the very first request can be for a part: it then waits for the whole.
    let first = world.ask(Method::GET, &address, &[("range", "bytes=1000000-1000099")]).await;
    assert_eq!((first.status, first.body.len()), (StatusCode::PARTIAL_CONTENT, 100));
    let whole = world.get(&address).await;
    kept(&world, 1).await;
    let again = world.get(&address).await;
    assert_same(&again.body, &whole.body, "from the cache");
    assert_eq!(again.header("content-length"), whole.body.len().to_string());
    assert_eq!(again.header("cache-control"), "public, max-age=31536000, immutable");
    let tag = again.header("etag").to_owned();
    assert!(tag.starts_with(&format!("\"{head}-gz-")), "{tag}");
    assert_eq!(world.server.figures().made, 1);
    let part = world.ask(Method::GET, &address, &[("range", "bytes=600000-1299999"), ("if-range", &tag)]).await;
    assert_eq!(part.header("content-range"), format!("bytes 600000-1299999/{}", whole.body.len()));
    assert_same(&part.body, &whole.body[600_000..1_300_000], "a part");
    assert_same(&first.body, &whole.body[1_000_000..1_000_100], "the first part");
    let stale = world.ask(Method::GET, &address, &[("range", "bytes=0-9"), ("if-range", "\"other\"")]).await;
    assert_eq!((stale.status, stale.body.len()), (StatusCode::OK, whole.body.len()));
    let beyond = world.ask(Method::GET, &address, &[("range", "bytes=99999999-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (StatusCode::RANGE_NOT_SATISFIABLE, &*format!("bytes */{}", whole.body.len())));
    let known = world.ask(Method::GET, &address, &[("if-none-match", &format!("\"x\", W/{tag}"))]).await;
    assert_eq!((known.status, known.body.len()), (StatusCode::NOT_MODIFIED, 0));
    let headers = world.ask(Method::HEAD, &address, &[]).await;
    assert_eq!((headers.status, headers.body.len(), headers.header("content-length")), (StatusCode::OK, 0, &*whole.body.len().to_string()));
    // A branch moves, so it must be asked about again; what it means now has the same validator.
    let branch = world.get("/r.tgz?rev=main").await;
    assert_eq!((branch.header("cache-control"), branch.header("etag")), ("public, no-cache", &*tag));
    let other = world.get(&format!("{address}&prefix=x/")).await;
    assert_ne!(other.header("etag"), tag);
    assert_eq!(world.ask(Method::POST, &address, &[]).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_damages_is_made_again() {
    let mut world = World::new();
    let (_, head) = large(&world, "r");
    let address = format!("/r.tar.zst?rev={head}");
    let good = world.get(&address).await.body;
    let path = kept(&world, 1).await;
    world.restart(Options::default());
    assert_same(&world.get(&address).await.body, &good, "after a restart");
    assert_eq!(world.server.figures().made, 0, "the cache outlives the process");
    // A flipped bit in the middle, found after a megabyte has been sent.
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[good[1_200_000] ^ 1], 1_200_000).unwrap();
    assert_same(&world.get(&address).await.body, &good, "with a flipped bit");
    assert_eq!(world.server.figures().made, 1);
    // Cut short, and filled with nothing.
    kept(&world, 1).await;
    for length in [good.len() as u64, 100, 0] {
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        assert_same(&world.get(&address).await.body, &good, "cut short");
        kept(&world, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_nothing_that_is_served() {
    let mut world = World::new();
    std::fs::write(world.cache().join("scratch-7"), "half an archive").unwrap();
    std::fs::create_dir_all(world.cache().join("scratch-0123-0/sub")).unwrap();
    world.restart(Options::default());
    let left: Vec<_> = std::fs::read_dir(world.cache()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["gitconfig"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_archives_pass_through() {
    for cache_bytes in [0, 300_000] {
        let world = World::with(Options { cache_bytes, threads: 2, ..Options::default() });
        let (bare, head) = large(&world, "r");
        let theirs = git(&bare, &["archive", "--format=tar", &head]);
        let address = format!("/r.tar?rev={head}");
        let (one, two, three) = tokio::join!(world.get(&address), world.get(&address), world.get(&address));
        for got in [one, two, three] {
            assert_same(&got.body, &theirs, "passed through");
        }
        assert_eq!(world.server.figures().archives, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_that_was_not_used_longest_goes_first() {
    let world = World::with(Options { cache_bytes: 45_000, threads: 1, ..Options::default() });
    let (work, ..) = small(&world, "r");
    let mut revs = vec![work.rev("HEAD")];
    for number in 1..5 {
        work.write("file", number.to_string());
        revs.push(work.commit("next"));
    }
    git(&work.dir, &["push", "-q", world.path("r").to_str().unwrap(), "main"]);
    // Each is 10,240 bytes and a little: four fit.
    for (number, rev) in revs.iter().enumerate().take(4) {
        world.get(&format!("/r.tar?rev={rev}")).await;
        kept(&world, number + 1).await;
        world.clock.advance_ms(100_000);
    }
    world.get(&format!("/r.tar?rev={}", revs[0])).await;
    // The fifth is kept when it is given from the cache.
    while world.server.figures().from_cache < 2 {
        world.get(&format!("/r.tar?rev={}", revs[4])).await;
    }
    assert_eq!(world.server.figures().archives, 4);
    let before = world.server.figures().from_cache;
    world.get(&format!("/r.tar?rev={}", revs[0])).await;
    assert_eq!(world.server.figures().from_cache, before + 1, "it had been used");
    world.get(&format!("/r.tar?rev={}", revs[1])).await;
    assert_eq!(world.server.figures().from_cache, before + 1, "it had not");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_archive_is_never_taken_for_a_whole() {
    let world = World::new();
    let (bare, head) = large(&world, "r");
    // The blob of the last file is lost, after a megabyte of good ones.
    let lost = word(git(&bare, &["rev-parse", "HEAD:dir2/file8"]));
    let packs: Vec<_> = std::fs::read_dir(bare.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path()).collect();
    for pack in packs {
        let moved = world.path(pack.file_name().unwrap().to_str().unwrap());
        std::fs::rename(&pack, &moved).unwrap();
        if moved.extension().is_some_and(|ending| ending == "pack") {
            let unpack = support::git_command(&bare, &["unpack-objects", "-q"]).stdin(std::fs::File::open(&moved).unwrap()).status().unwrap();
            assert!(unpack.success());
        }
    }
    std::fs::remove_file(bare.join("objects").join(&lost[..2]).join(&lost[2..])).unwrap();
    for format in ["tar", "tgz", "tar.zst"] {
        let response = world.server.answer(Request::get(format!("/r.{format}?rev={head}")).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK, "it had begun well");
        assert!(response.headers().get("content-length").is_none());
        assert!(response.into_body().collect().await.is_err(), "{format}: the client cannot tell that this is not the whole");
    }
    let url = format!("{}/r.tgz?rev={head}", world.listen().await);
    let status = support::aside(move || std::process::Command::new("curl").args(["-sS", "-o", "/dev/null"]).arg(url).output().unwrap().status).await;
    assert_eq!(status.code(), Some(18), "curl: transfer closed with outstanding read data remaining");
    assert_eq!((world.server.figures().archives, world.server.figures().broken), (0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_revision_is_refused_and_nothing_runs() {
    let world = World::new();
    let (work, bare, head) = small(&world, "r");
    let target = world.path("written-by-an-option");
    let option = format!("--output={}", target.display());
    for rev in [
        &*option,
        "-h",
        "--exec=x",
        "..",
        "a..b",
        "%00",
        "HEAD%5E%7B/small%7D",
        "HEAD%5E%7Btree%7D",
        "HEAD:file",
        "@%7B1%7D",
        "",
        ":/small",
        "x%20y",
        "%ff",
        "HEAD~99999999999",
    ] {
        let answer = world.get(&format!("/r.tar.gz?rev={rev}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{rev}");
        assert!(answer.text().ends_with('\n') && answer.text().len() > 10, "{rev}: {}", answer.text());
    }
    assert!(!target.exists());
    assert_eq!(world.get("/r.tar.gz").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.table.wanted.load(Ordering::SeqCst), 0, "none of them is worth asking upstream");
    for rev in ["no-such-branch", &"0".repeat(40), &"0".repeat(64), &head[..12], "HEAD~5", "refs/heads/nope"] {
        assert_eq!(world.get(&format!("/r.tar.gz?rev={rev}")).await.status, StatusCode::NOT_FOUND, "{rev}");
    }
    for other in ["/nope.tar.gz?rev=HEAD", "/r.zip?rev=HEAD", "/../r.tar.gz?rev=HEAD", "/r.tar.gz/x"] {
        assert_eq!(world.get(other).await.status, StatusCode::NOT_FOUND, "{other}");
    }
    for query in ["path=..", "path=a/../..", "prefix=/x", "prefix=../x"] {
        assert_eq!(world.get(&format!("/r.tar.gz?rev=HEAD&{query}")).await.status, StatusCode::BAD_REQUEST, "{query}");
    }
    assert_eq!(world.get("/r.tar.gz?rev=HEAD&path=nope").await.status, StatusCode::NOT_FOUND);
    // A branch that is called like a hash is not what the hash means.
    work.write("file", "on the odd branch\n");
    let odd = work.commit("odd");
    git(&bare, &["fetch", "-q", work.dir.to_str().unwrap(), &format!("main:refs/heads/{head}")]);
    let by_hash = world.tar(&format!("/r.tar?rev={head}")).await;
    assert_same(&by_hash, &git(&bare, &["archive", "--format=tar", &head]), "the hash");
    let by_name = world.tar(&format!("/r.tar?rev=refs/heads/{head}")).await;
    assert_same(&by_name, &git(&bare, &["archive", "--format=tar", &odd]), "the branch");
    let nobody = "1".repeat(40);
    git(&bare, &["update-ref", &format!("refs/heads/{nobody}"), &odd]);
    assert_eq!(world.get(&format!("/r.tar?rev={nobody}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_published_is_given() {
    let world = World::new();
    let (work, bare, first) = small(&world, "a/b");
    work.write("secret", "s");
    let secret = work.commit("a change in review");
    git(&bare, &["fetch", "-q", work.dir.to_str().unwrap(), "main:refs/changes/01/1/1"]);
    git(&bare, &["symbolic-ref", "refs/heads/alias", "refs/changes/01/1/1"]);
    let ask = |rev: String, token: &'static str| {
        let world = &world;
        async move {
            let headers = [("authorization", token)];
            world.ask(Method::GET, &format!("/a/b.tar?rev={rev}"), if token.is_empty() { &[] } else { &headers }).await.status
        }
    };
    for rev in [&*secret, "refs/changes/01/1/1", "changes/01/1/1", "alias"] {
        assert_eq!(ask(rev.to_owned(), "").await, StatusCode::NOT_FOUND, "{rev}");
        assert_eq!(ask(rev.to_owned(), "Bearer reader").await, StatusCode::NOT_FOUND, "{rev}");
        assert_eq!(ask(rev.to_owned(), "Bearer owner").await, StatusCode::OK, "{rev}");
        // What the owner had made is not given to others.
        assert_eq!(ask(rev.to_owned(), "").await, StatusCode::NOT_FOUND, "{rev}");
    }
    assert_eq!(ask(first.clone(), "").await, StatusCode::OK);
    // It is merged: now it is published, by its hash too.
    git(&bare, &["update-ref", "refs/heads/main", &secret]);
    assert_eq!(ask(secret.clone(), "").await, StatusCode::OK);
    // And set back.
    git(&bare, &["update-ref", "refs/heads/main", &first]);
    assert_eq!(ask(secret.clone(), "").await, StatusCode::NOT_FOUND);
    assert_eq!(ask(first.clone(), "").await, StatusCode::OK);
    // A private repository needs a token, and looks like none without.
    world.make_private("a/b");
    assert_eq!(ask("HEAD".to_owned(), "").await, StatusCode::UNAUTHORIZED);
    assert_eq!(world.get("/no/such.tar?rev=HEAD").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("HEAD".to_owned(), "Bearer guess").await, StatusCode::NOT_FOUND);
    assert_eq!(ask("HEAD".to_owned(), "Bearer reader").await, StatusCode::OK);
    // "x:reader"
    let basic = world.ask(Method::GET, "/a/b.tar?rev=HEAD", &[("authorization", "Basic eDpyZWFkZXI=")]).await;
    assert_eq!((basic.status, basic.header("cache-control")), (StatusCode::OK, "private, no-cache"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_not_here_yet_is_fetched_once_for_all() {
    let world = World::new();
    let (work, bare, _) = small(&world, "r");
    work.write("file", "new\n");
    let new = work.commit("after the last fetch");
    let upstream = work.dir.clone();
    *world.table.fetch.lock().unwrap() = Some(Box::new(move |_, _| {
        git(&bare, &["fetch", "-q", "--force", upstream.to_str().unwrap(), "+refs/heads/*:refs/heads/*"]);
    }));
    let address = format!("/r.tgz?rev={new}");
    let (one, two, three) = tokio::join!(world.get(&address), world.get(&address), world.get(&address));
    assert_eq!([one.status, two.status, three.status], [StatusCode::OK; 3]);
    assert_eq!(world.table.wanted.load(Ordering::SeqCst), 1);
    // What is not upstream either is asked for again only after a while.
    for expected in [2, 2] {
        assert_eq!(world.get("/r.tgz?rev=nope").await.status, StatusCode::NOT_FOUND);
        assert_eq!(world.table.wanted.load(Ordering::SeqCst), expected);
    }
    world.clock.advance_ms(6_000);
    world.get("/r.tgz?rev=nope").await;
    assert_eq!(world.table.wanted.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_size_is_told_before_the_first_byte() {
    let world = World::new();
    let (bare, head) = large(&world, "r");
    world.add("r", Repository { max_archive_bytes: Some(1_000_000), ..Repository::public(&bare) });
    let refused = world.get(&format!("/r.tgz?rev={head}")).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(refused.text().contains("1000000 bytes"), "{}", refused.text());
    assert_eq!(world.get(&format!("/r.tgz?rev={head}&path=dir1")).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn references_and_commits_for_programs() {
    let world = World::new();
    let (work, bare, first) = small(&world, "a/b");
    let mut commits = vec![first];
    for number in 0..4 {
        work.write("file", number.to_string());
        commits.push(work.commit(&format!("number {number}\n\nbody")));
    }
    git(&work.dir, &["tag", "-a", "-m", "t", "v1"]);
    git(&work.dir, &["push", "-q", bare.to_str().unwrap(), "main", "v1", "main:refs/changes/1"]);
    let parse = |answer: &support::Answer| serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap();
    let refs = world.get("/a/b/refs.json").await;
    let page = parse(&refs);
    assert_eq!(page["head"], "refs/heads/main");
    let names: Vec<_> = page["refs"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["refs/heads/main", "refs/tags/v1"]);
    assert_eq!((&page["refs"][0]["id"], &page["refs"][1]["peeled"]), (&commits[4].clone().into(), &commits[4].clone().into()));
    let again = world.ask(Method::GET, "/a/b/refs.json", &[("if-none-match", refs.header("etag"))]).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    // Pages of a history, in git's order.
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = parse(&world.get(&format!("/a/b/commits.json?rev=main&limit=2{after}")).await);
        seen.extend(page["commits"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    seen.sort();
    commits.sort();
    assert_eq!(seen, commits);
    let head = work.rev("HEAD");
    let one = parse(&world.get(&format!("/a/b/commit/{head}.json")).await);
    assert_eq!((&one["subject"], &one["body"], &one["author"]["time"]), (&"number 3".into(), &"body".into(), &1_700_000_000.into()));
    assert_eq!(world.get("/a/b/commits.json?limit=x").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/a/b/commits.json?rev=-x").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.get(&format!("/a/b/commits.json?after={}", "0".repeat(40))).await.status, StatusCode::NOT_FOUND);
}
