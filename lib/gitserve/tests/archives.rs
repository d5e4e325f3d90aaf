//! Archives are what `git archive` makes of the same revision, to the byte.

mod support;

use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use axum::http::{Method, StatusCode};
use burrow_gitserve::{Options, Repository};
use support::{Work, World, assert_same, git, word};

/// Everything that a tree can contain, one of each.
fn zoo(work: &Work) {
    let long = "d".repeat(60);
    work.write("README.md", "hello\n")
        .write("empty", "")
        .write("exactly", [7; 512])
        .write("bin/run", "#!/bin/sh\n")
        .write("a name with spaces", "x")
        .write("new\nline", "x")
        .write("\u{fc}ml\u{e4}ut/\u{65e5}\u{672c}", "non-ASCII")
        .write(&format!("{long}/{long}/file"), "cut at a slash")
        .write(&format!("{long}/{}", "f".repeat(100)), "name of 100")
        .write(&format!("{long}/{}", "f".repeat(101)), "name of 101")
        .write(&format!("{}/{}/x", "e".repeat(160), "e".repeat(150)), "no place for a cut")
        .write(&format!("{}/{}", "c".repeat(90), "n".repeat(9)), "path of exactly 100")
        .write(&format!("{}/deep", ["l"; 120].join("/")), "deep")
        .write("only-ignored/secret", "s")
        .write("ignored-dir/a/b", "s")
        .write("ignored-dir/kept", "s")
        .write("parent/gone/x", "s")
        .write("sub/.gitattributes", "*.txt -text\n!important\nsecret -export-ignore\n/anchored export-ignore\ndeeper/** export-ignore\n")
        .write("sub/secret", "not ignored here")
        .write("sub/anchored", "ignored")
        .write("sub/x/anchored", "not ignored")
        .write("sub/deeper/y/z", "ignored, so the directories are not there")
        .write("sub/raw.txt", "stays\nLF\n")
        .write("dos.txt", "one\ntwo\r\nthree")
        .write("auto.bat", "one\ntwo\n")
        .write("mixed.bat", "one\r\ntwo\n")
        .write("binary.bat", b"\x00\x01\n\n")
        .write("literal $Format:%H$", "no attribute")
        .write("subst-without-keyword", "nothing here\n")
        .write("ident-without-keyword", "nothing here\n")
        .write("filtered.bin", "lfs is not configured\n")
        .write(
            ".gitattributes",
            "[attr]private export-ignore\n* text=auto\n*.txt text eol=crlf\n*.bat eol=crlf\nsecret export-ignore\nignored-dir/ private\n\
             parent/gone export-ignore\nsubst-* export-subst\nident-* ident\n*.bin filter=lfs -text\n\"quoted name\" export-ignore\n",
        )
        .write("quoted name", "ignored");
    std::fs::set_permissions(work.dir.join("bin/run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("README.md", work.dir.join("link")).unwrap();
    symlink("../".repeat(50) + "far", work.dir.join("long-link")).unwrap();
    symlink("x".repeat(100), work.dir.join("link-of-100")).unwrap();
}

async fn compare(world: &World, bare: &std::path::Path, rev: &str, more: &[&str], address: &str) {
    let theirs = git(bare, &[&["archive", "--format=tar"], more, &[rev]].concat());
    assert_same(&world.tar(address).await, &theirs, address);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_zoo_is_archived_as_git_does_it() {
    for hash in ["sha1", "sha256"] {
        let world = World::new();
        let work = Work::new(&world.path("work"), hash);
        zoo(&work);
        work.commit("the zoo");
        // Another repository's commit at a path of ours.
        let foreign = work.rev("HEAD");
        git(&work.dir, &["update-index", "--add", "--cacheinfo", &format!("160000,{foreign},parent/submodule")]);
        git(&work.dir, &["update-index", "--add", "--cacheinfo", &format!("160000,{foreign},submodule")]);
        git(&work.dir, &["commit", "-q", "-m", "a submodule"]);
        let head = work.rev("HEAD");
        git(&work.dir, &["tag", "-a", "-m", "annotated", "v1"]);
        let bare = world.path("bare");
        work.bare(&bare);
        world.add("x/zoo", Repository::public(&bare));
        for rev in ["HEAD", "main", "v1", "refs/heads/main", &head, "HEAD~1", "v1^"] {
            compare(&world, &bare, rev, &[], &format!("/x/zoo.tar?rev={rev}")).await;
        }
        for prefix in ["p/", "a/b/", "no-slash-", &("q".repeat(99) + "/")] {
            compare(&world, &bare, "HEAD", &[&format!("--prefix={prefix}")], &format!("/x/zoo.tar?rev=HEAD&prefix={prefix}")).await;
        }
        let theirs = git(&work.dir.join("sub"), &["archive", "--format=tar", "HEAD"]);
        assert_same(&world.tar("/x/zoo.tar?rev=main&path=sub").await, &theirs, "a directory");
        // The same through both compressors, unpacked by somebody else's programs.
        let theirs = git(&bare, &["archive", "--format=tar", "HEAD"]);
        let zipped = world.get("/x/zoo.tgz?rev=HEAD").await;
        assert_eq!(zipped.header("content-type"), "application/x-compressed");
        assert_same(&filter("gzip", &zipped.body), &theirs, "gzip");
        let mut first_member = Vec::new();
        flate2::read::GzDecoder::new(&zipped.body[..]).read_to_end(&mut first_member).unwrap();
        assert_same(&first_member, &theirs, "one gzip member holds all");
        let packed = world.get("/x/zoo.tar.zst?rev=HEAD").await;
        assert_same(&zstd::decode_all(&packed.body[..]).unwrap(), &theirs, "zstd");
    }
}

fn filter(program: &str, input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = std::process::Command::new(program).arg("-dc").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let done = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(done.status.success());
    done.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_git_can_do_is_left_to_git() {
    let world = World::new();
    let work = Work::new(&world.path("work"), "sha1");
    work.write("plain", "x").write("sub/version.txt", "$Format:%H %an %ad$\n").write(".gitattributes", "*.txt export-subst\n");
    work.write("sub/.gitattributes", "version.txt export-subst\n");
    work.commit("substituted");
    git(&work.dir, &["tag", "subst"]);
    work.write("id.c", "/* $Id$ */\n").write(".gitattributes", "*.c ident\n").write("sub/.gitattributes", "");
    work.commit("ident");
    git(&work.dir, &["tag", "ident"]);
    work.write("wide", "w\u{ef}de\n").write(".gitattributes", "wide text working-tree-encoding=UTF-16LE\n");
    git(&work.dir, &["-c", "core.safecrlf=false", "add", ".gitattributes"]);
    git(&work.dir, &["rm", "-q", "--cached", "-r", "."]);
    work.write("wide", [b'w', 0, 0xef, 0]);
    work.commit("encoded");
    git(&work.dir, &["tag", "encoded"]);
    let bare = world.path("bare");
    work.bare(&bare);
    world.add("zoo", Repository::public(&bare));
    for rev in ["subst", "ident", "encoded"] {
        compare(&world, &bare, rev, &["--prefix=p/"], &format!("/zoo.tar?rev={rev}&prefix=p/")).await;
    }
    git(&work.dir, &["checkout", "-q", "subst"]);
    let theirs = git(&work.dir.join("sub"), &["archive", "--format=tar", "subst"]);
    assert_same(&world.tar("/zoo.tar?rev=subst&path=sub").await, &theirs, "a directory, by git");
    // A filter that the repository configures.
    git(&bare, &["config", "filter.shout.smudge", "tr a-z A-Z"]);
    world.add("zoo2", Repository::public(&bare));
    compare(&world, &bare, "ident", &[], "/zoo2.tar?rev=ident").await;
    // What they were made in goes away (an answer can be complete a moment before).
    while std::fs::read_dir(world.cache()).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("scratch")) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_stream_is_right_for_every_length() {
    let world = World::new();
    let work = Work::new(&world.path("work"), "sha1");
    let mut revs = Vec::new();
    for records in 0..22 {
        work.write("file", vec![b'x'; records * 512]);
        revs.push(work.commit("longer"));
    }
    git(&work.dir, &["rm", "-q", "file"]);
    revs.push(work.commit("nothing at all"));
    let bare = world.path("bare");
    work.bare(&bare);
    world.add("r", Repository::public(&bare));
    for rev in &revs {
        compare(&world, &bare, rev, &[], &format!("/r.tar?rev={rev}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_and_odd_commit_times() {
    let world = World::new();
    let work = Work::new(&world.path("work"), "sha1");
    let big = b"twenty-seven letters a line\n".repeat((33 << 20) / 28);
    work.write("big", &big).write("after", "x");
    work.commit("big");
    let tree = work.rev("HEAD^{tree}");
    for (name, committer) in [("future", "C <c> 99999999999 +0000"), ("none", "C <c>"), ("negative", "C <c> -5 +0000")] {
        let text = format!("tree {tree}\nauthor A <a> 1 +0000\ncommitter {committer}\n\nodd\n");
        work.write("../commit", text);
        let file = world.path("commit");
        let id = word(git(&work.dir, &["hash-object", "-t", "commit", "--literally", "-w", file.to_str().unwrap()]));
        git(&work.dir, &["update-ref", &format!("refs/heads/{name}"), &id]);
    }
    let bare = world.path("bare");
    work.bare(&bare);
    world.add("r", Repository::public(&bare));
    for rev in ["main", "future", "none", "negative"] {
        compare(&world, &bare, rev, &[], &format!("/r.tar?rev={rev}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_tree_has_the_time_of_now_and_no_validator() {
    let world = World::new();
    let work = Work::new(&world.path("work"), "sha1");
    work.write("file", "x");
    work.commit("one");
    let tree = work.rev("HEAD^{tree}");
    let bare = world.path("bare");
    work.bare(&bare);
    world.add("r", Repository::public(&bare));
    let address = format!("/r.tar?rev={tree}");
    assert_eq!(world.get(&address).await.status, StatusCode::NOT_FOUND, "whether a tree is published is not known");
    let answer = world.ask(Method::GET, &address, &[("authorization", "Bearer owner")]).await;
    assert_eq!((answer.header("etag"), answer.header("cache-control")), ("", "no-store"));
    let mut theirs = git(&bare, &["archive", "--format=tar", &tree]);
    // The only difference is the time in the only header, and its sum.
    for field in [136..147, 148..155] {
        theirs[field.clone()].copy_from_slice(&answer.body[field]);
    }
    assert_same(&answer.body, &theirs, "a tree");
    assert_eq!(&answer.body[136..147], format!("{:011o}", 1_800_000_000).as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn this_very_repository_is_archived_as_git_does_it() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if !root.join(".git").is_dir() {
        eprintln!("skipped: this is no git checkout");
        return;
    }
    let world = World::with(Options { threads: 3, ..Options::default() });
    let bare = world.path("bare");
    git(&world.path(""), &["clone", "-q", "--mirror", root.to_str().unwrap(), bare.to_str().unwrap()]);
    world.add("burrow", Repository::public(&bare));
    let revs = word(git(&bare, &["rev-list", "--all", "--max-count=200"]));
    for rev in revs.lines().step_by(20) {
        compare(&world, &bare, rev, &[], &format!("/burrow.tar?rev={rev}")).await;
    }
}
