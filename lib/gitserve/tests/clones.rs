//! The real git clones and fetches, and is not given what is not published.

mod support;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use axum::http::{Method, StatusCode};
use burrow_gitserve::{Options, Repository};
use support::{Work, World, aside, git, git_output, word};

fn repository(world: &World) -> (Work, PathBuf) {
    let work = Work::new(&world.path("work"), "sha1");
    for number in 0..3 {
        work.write(&format!("dir/file{number}"), format!("content {number}\n"));
        work.commit(&format!("commit {number}"));
    }
    git(&work.dir, &["tag", "-a", "-m", "t", "v1"]);
    git(&work.dir, &["branch", "release/1"]);
    let bare = work.bare(&world.path("bare"));
    world.add("group/sub/repo", Repository::public(&bare));
    (work, bare)
}

/// Runs git in a folder of its own, on another thread.
async fn client(world: &World, args: &[&str]) -> std::process::Output {
    let (dir, args) = (world.dir.path().to_owned(), args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
    aside(move || git_output(&dir, &args.iter().map(String::as_str).collect::<Vec<_>>())).await
}

async fn client_ok(world: &World, args: &[&str]) -> String {
    let done = client(world, args).await;
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn git_clones_and_fetches_in_every_version_of_the_protocol() {
    let world = World::new();
    let (work, bare) = repository(&world);
    let url = world.listen().await;
    for version in ["0", "1", "2"] {
        let protocol = format!("protocol.version={version}");
        let copy = format!("copy{version}");
        // The name with and without .git is the same.
        let address = if version == "0" { format!("{url}/group/sub/repo.git") } else { format!("{url}/group/sub/repo") };
        client_ok(&world, &["-c", &protocol, "clone", "-q", &address, &copy]).await;
        assert_eq!(client_ok(&world, &["-C", &copy, "rev-parse", "HEAD"]).await, work.rev("HEAD"), "version {version}");
        client_ok(&world, &["-C", &copy, "fsck", "--strict"]).await;
        let listed = client_ok(&world, &["-c", &protocol, "ls-remote", "--symref", &address]).await;
        assert_eq!(listed, client_ok(&world, &["-c", &protocol, "ls-remote", "--symref", bare.to_str().unwrap()]).await, "version {version}");
        work.write("dir/file0", version);
        let new = work.commit("news");
        git(&work.dir, &["push", "-q", "--force", bare.to_str().unwrap(), "main"]);
        client_ok(&world, &["-c", &protocol, "-C", &copy, "fetch", "-q"]).await;
        assert_eq!(client_ok(&world, &["-C", &copy, "rev-parse", "origin/main"]).await, new, "version {version}");
    }
    client_ok(&world, &["clone", "-q", "--depth=1", &format!("{url}/group/sub/repo"), "shallow"]).await;
    assert_eq!(client_ok(&world, &["-C", "shallow", "rev-list", "--count", "HEAD"]).await, "1");
    client_ok(&world, &["-C", "shallow", "fetch", "-q", "--unshallow"]).await;
    assert_eq!(client_ok(&world, &["-C", "shallow", "rev-list", "--count", "HEAD"]).await, "6");
    // The files of a partial clone come when they are looked at.
    client_ok(&world, &["clone", "-q", "--filter=blob:none", "--no-checkout", &format!("{url}/group/sub/repo"), "partial"]).await;
    let missing = client_ok(&world, &["-C", "partial", "rev-list", "--objects", "--all", "--missing=print"]).await;
    assert!(missing.lines().any(|line| line.starts_with('?')), "nothing was left out:\n{missing}");
    assert_eq!(client_ok(&world, &["-C", "partial", "cat-file", "-p", "v1:dir/file1"]).await, "content 1");
    // An old commit by its hash.
    let old = work.rev("v1^{commit}~1");
    client_ok(&world, &["init", "-q", "one"]).await;
    client_ok(&world, &["-C", "one", "fetch", "-q", "--depth=1", &format!("{url}/group/sub/repo"), &old]).await;
    assert_eq!(client_ok(&world, &["-C", "one", "rev-parse", "FETCH_HEAD"]).await, old);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_repository_can_be_cloned() {
    let world = World::new();
    let bare = world.path("bare");
    std::fs::create_dir(&bare).unwrap();
    git(&bare, &["init", "-q", "--bare", "."]);
    world.add("empty", Repository::public(&bare));
    let url = world.listen().await;
    client_ok(&world, &["clone", "-q", &format!("{url}/empty"), "copy"]).await;
    assert_eq!(client_ok(&world, &["-C", "copy", "symbolic-ref", "HEAD"]).await, "refs/heads/main");
    assert_eq!(world.get("/empty.tar?rev=HEAD").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_published_cannot_be_fetched() {
    let world = World::new();
    let (work, bare) = repository(&world);
    git(&work.dir, &["checkout", "-q", "-b", "secret"]);
    work.write("secret", "s");
    let secret = work.commit("secret");
    git(&work.dir, &["push", "-q", bare.to_str().unwrap(), "secret:refs/changes/01/1/1", "secret:refs/heads/security/fix", "secret:refs/heads/odd-1"]);
    let published = ["refs/heads/*", "refs/tags/*", "!refs/heads/security/*", "!refs/heads/odd-*"].map(str::to_owned).to_vec();
    world.add("group/sub/repo", Repository { published, ..Repository::public(&bare) });
    let address = format!("{}/group/sub/repo", world.listen().await);
    client_ok(&world, &["init", "-q", "copy"]).await;
    for version in ["0", "2"] {
        let protocol = format!("protocol.version={version}");
        let listed = client_ok(&world, &["-c", &protocol, "ls-remote", &address]).await;
        let names: Vec<_> = listed.lines().filter_map(|line| line.split('\t').nth(1)).collect();
        assert_eq!(names, ["HEAD", "refs/heads/main", "refs/heads/release/1", "refs/tags/v1", "refs/tags/v1^{}"], "version {version}");
        for what in [&*secret, "refs/changes/01/1/1", "refs/heads/security/fix"] {
            let refused = client(&world, &["-c", &protocol, "-C", "copy", "fetch", "-q", &address, what]).await;
            assert!(!refused.status.success(), "version {version} gave {what}");
            assert!(!git_output(&world.path("copy"), &["cat-file", "-e", &secret]).status.success(), "version {version}: {what}");
        }
    }
    // Nor is it found among the commits of a mirror.
    client_ok(&world, &["clone", "-q", "--mirror", &address, "all"]).await;
    assert!(!git_output(&world.path("all"), &["cat-file", "-e", &secret]).status.success());
    // The owner's token gives all.
    let with_token = address.replace("http://", "http://x:owner@");
    client_ok(&world, &["-C", "copy", "-c", "protocol.version=2", "-c", "http.extraHeader=Authorization: Bearer owner", "fetch", "-q", &with_token, &secret])
        .await;
    assert!(git_output(&world.path("copy"), &["cat-file", "-e", &secret]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn private_repositories_ask_git_for_its_token() {
    let world = World::new();
    repository(&world);
    world.make_private("group/sub/repo");
    let url = world.listen().await;
    assert!(!client(&world, &["clone", "-q", &format!("{url}/group/sub/repo"), "no"]).await.status.success());
    assert!(!client(&world, &["clone", "-q", &format!("{}/group/sub/repo", url.replace("http://", "http://x:guess@")), "no"]).await.status.success());
    client_ok(&world, &["clone", "-q", &format!("{}/group/sub/repo", url.replace("http://", "http://x:reader@")), "yes"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_pushes_and_nobody_reads_files() {
    let world = World::new();
    let (_, bare) = repository(&world);
    let url = world.listen().await;
    client_ok(&world, &["clone", "-q", &format!("{url}/group/sub/repo"), "copy"]).await;
    let before = git(&bare, &["for-each-ref"]);
    let pushed = client(&world, &["-C", "copy", "push", "-q", "origin", "HEAD:refs/heads/new"]).await;
    assert!(String::from_utf8_lossy(&pushed.stderr).contains("403"), "{pushed:?}");
    assert_eq!(git(&bare, &["for-each-ref"]), before);
    for address in ["info/refs", "info/refs?service=git-receive-pack", "info/refs?service=git-upload-archive", "HEAD", "objects/info/packs"] {
        assert_eq!(world.get(&format!("/group/sub/repo/{address}")).await.status, StatusCode::FORBIDDEN, "{address}");
    }
    assert_eq!(world.ask(Method::POST, "/group/sub/repo/git-receive-pack", &[]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.get("/group/sub/repo/config").await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.get("/group/sub/repo/git-upload-pack").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(world.ask(Method::POST, "/group/sub/repo/git-upload-pack", &[]).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_clones_than_allowed_are_asked_to_come_back() {
    let world = World::with(Options { uploads: 0, ..Options::default() });
    repository(&world);
    let busy = world.get("/group/sub/repo/info/refs?service=git-upload-pack").await;
    assert_eq!((busy.status, busy.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert_eq!(world.server.figures().turned_away, 1);
}

/// A request for everything, as git 2 sends it.
fn clone_request(head: &str) -> Vec<u8> {
    let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
    format!("{}{}0001{}{}{}0000", line("command=fetch\n"), line("object-format=sha1"), line("ofs-delta\n"), line(&format!("want {head}\n")), line("done\n"))
        .into_bytes()
}

fn post(address: &str, coding: &str, body: &[u8]) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    let head = format!(
        "POST /group/sub/repo/git-upload-pack HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-git-upload-pack-request\r\n\
         Git-Protocol: version=2\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_request_is_understood_and_a_bomb_is_not() {
    let world = World::new();
    let (work, _) = repository(&world);
    let url = world.listen().await;
    let zip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (good, bomb, head) = (zip(&clone_request(&work.rev("HEAD"))), zip(&vec![0; 17 << 20]), url.clone());
    let answers = aside(move || {
        [good, bomb, b"not gzip".to_vec()].map(|body| {
            let mut answer = Vec::new();
            post(&head, "gzip", &body).read_to_end(&mut answer).unwrap();
            String::from_utf8_lossy(&answer).into_owned()
        })
    })
    .await;
    assert!(answers[0].starts_with("HTTP/1.1 200") && answers[0].contains("PACK"), "{}", answers[0]);
    assert!(answers[1].starts_with("HTTP/1.1 413"), "{}", answers[1]);
    assert!(answers[2].starts_with("HTTP/1.1 400"), "{}", answers[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_git_with_it() {
    let world = World::with(Options { uploads: 1, ..Options::default() });
    let (work, bare) = repository(&world);
    // More than sockets and pipes hold, so that git is still writing when the client leaves.
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(24 << 20)
    .collect();
    work.write("noise", noise);
    let head = work.commit("noise");
    git(&work.dir, &["push", "-q", bare.to_str().unwrap(), "main"]);
    let url = world.listen().await;
    aside(move || {
        let mut stream = post(&url, "identity", &clone_request(&head));
        stream.read_exact(&mut [0; 1000]).unwrap();
    })
    .await;
    // It has left. Its place becomes free, and no git works in the repository any more.
    while world.server.figures().uploads > 0 || works_in(&bare) {
        tokio::task::yield_now().await;
    }
}

fn works_in(dir: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
    processes.filter_map(|process| std::fs::read_link(process.join("cwd")).ok()).any(|cwd| cwd == dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_takes_too_long_is_cut() {
    let world = World::with(Options { upload_limit: std::time::Duration::ZERO, ..Options::default() });
    let (_, bare) = repository(&world);
    assert_eq!(world.get("/group/sub/repo/info/refs?service=git-upload-pack").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    while works_in(&bare) {
        tokio::task::yield_now().await;
    }
    assert_eq!(word(git(&bare, &["rev-parse", "main"])).len(), 40);
}
