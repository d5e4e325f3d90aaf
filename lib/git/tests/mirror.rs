//! Mirrors of real repositories, made with the git program.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use burrow_git::{Error, Mirror, Oid};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

const LIMIT: Duration = Duration::from_secs(60);

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let world = World { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(world.work()).unwrap();
        world.git(&["init", "--quiet", "--initial-branch=main", "."]);
        world
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn run(&self, args: &[&str], stdin: &[u8]) -> String {
        let mut child = Command::new("git")
            .args(args)
            .current_dir(self.work())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_AUTHOR_NAME", "A U Thor")
            .env("GIT_AUTHOR_EMAIL", "author@localhost")
            .env("GIT_COMMITTER_NAME", "C O Mitter")
            .env("GIT_COMMITTER_EMAIL", "committer@localhost")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "git {args:?}");
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    fn git(&self, args: &[&str]) -> String {
        self.run(args, b"")
    }

    fn write(&self, path: impl AsRef<Path>, text: &str) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn commit(&self, message: &str) -> Oid {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.id("HEAD")
    }

    fn id(&self, rev: &str) -> Oid {
        self.git(&["rev-parse", rev]).parse().unwrap()
    }

    async fn mirror(&self) -> Mirror {
        let mirror = Mirror::open(&self.dir.path().join("mirror"), &self.work().to_string_lossy()).await.unwrap();
        mirror.fetch(LIMIT).await.unwrap();
        mirror
    }
}

async fn bytes(stream: impl Stream<Item = Result<Bytes, Error>>) -> Vec<u8> {
    let chunks: Vec<_> = stream.collect().await;
    chunks.into_iter().flat_map(|chunk| chunk.unwrap()).collect()
}

/// What a worker's directory holds: path → (kind and permissions, content).
type Files = BTreeMap<Vec<u8>, (char, Vec<u8>)>;

/// Applies a tar stream the way `docs/worker-protocol.md` says.
fn apply(files: &mut Files, body: &[u8]) -> usize {
    let mut sent = 0;
    for (at, entry) in tar::Archive::new(body).entries().unwrap().enumerate() {
        let mut entry = entry.unwrap();
        let path = entry.path_bytes().strip_suffix(b"/").map_or(entry.path_bytes().to_vec(), <[u8]>::to_vec);
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        if path == b".burrow-delete" {
            assert_eq!(at, 0, "deletions come first");
            for gone in data.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
                let inside = [gone, b"/"].concat();
                assert!(!files.keys().any(|path| path.starts_with(&inside)), "a directory is emptied before it is removed");
                files.remove(gone);
            }
            continue;
        }
        sent += 1;
        if let Some(slash) = path.iter().rposition(|byte| *byte == b'/') {
            assert_eq!(files.get(&path[..slash]).map(|(kind, _)| *kind), Some('d'), "the directory of {:?} exists", String::from_utf8_lossy(&path));
        }
        let header = entry.header();
        let (kind, data) = match header.entry_type() {
            tar::EntryType::Directory => ('d', Vec::new()),
            tar::EntryType::Symlink => ('l', entry.link_name_bytes().unwrap().to_vec()),
            _ if header.mode().unwrap() & 0o111 != 0 => ('x', data),
            _ => ('f', data),
        };
        if let Some((old, _)) = files.insert(path, (kind, data)) {
            assert!(old == kind || "fx".contains(old) && "fx".contains(kind), "another kind is deleted first");
        }
    }
    sent
}

/// The same from git itself.
fn truth(world: &World, tree: &str) -> Files {
    let mut files = Files::new();
    let list = Command::new("git").args(["ls-tree", "-r", "-t", "-z", tree]).current_dir(world.work()).output().unwrap().stdout;
    for line in list.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let tab = line.iter().position(|byte| *byte == b'\t').unwrap();
        let head: Vec<&str> = std::str::from_utf8(&line[..tab]).unwrap().split(' ').collect();
        let kind = match head[0] {
            "040000" | "160000" => 'd',
            "120000" => 'l',
            "100755" => 'x',
            _ => 'f',
        };
        let data =
            if kind == 'd' { Vec::new() } else { Command::new("git").args(["cat-file", "blob", head[2]]).current_dir(world.work()).output().unwrap().stdout };
        files.insert(line[tab + 1..].to_vec(), (kind, data));
    }
    files
}

#[tokio::test]
async fn branches_follow_pushes_force_pushes_and_deletions_and_nothing_is_forgotten() {
    let world = World::new();
    world.write("a", "1");
    let first = world.commit("first");
    let mirror = world.mirror().await;
    assert_eq!(mirror.branches().await.unwrap(), [("main".to_owned(), first)]);
    assert_eq!(mirror.default_branch().await.unwrap().as_deref(), Some("main"));

    world.write("a", "2");
    let second = world.commit("second\n\nwith a body\nof two lines\n");
    world.git(&["branch", "side"]);
    mirror.fetch(LIMIT).await.unwrap();
    assert_eq!(mirror.branches().await.unwrap(), [("main".to_owned(), second), ("side".to_owned(), second)]);
    let found = mirror.commit(second).await.unwrap().unwrap();
    assert_eq!((found.subject.as_str(), found.body.as_str(), found.parents.as_slice()), ("second", "with a body\nof two lines", &[first][..]));
    assert_eq!((found.author_name.as_str(), found.author_email.as_str()), ("A U Thor", "author@localhost"));
    assert_eq!(found.tree, mirror.tree_of(second).await.unwrap());

    world.git(&["reset", "--quiet", "--hard", &first.to_string()]);
    world.write("a", "3");
    let third = world.commit("instead of second");
    world.git(&["branch", "-D", "side"]);
    world.git(&["branch", "side/deeper"]);
    mirror.fetch(LIMIT).await.unwrap();
    assert_eq!(mirror.branches().await.unwrap(), [("main".to_owned(), third), ("side/deeper".to_owned(), third)]);
    assert_eq!(mirror.read_file(second, "a").await.unwrap().unwrap(), "2", "the commit that was pushed over is still here");
    let gc = Command::new("git").args(["gc", "--quiet", "--prune=now"]).current_dir(mirror.dir()).output().unwrap();
    assert!(gc.status.success());
    let again = Mirror::open(mirror.dir(), mirror.url()).await.unwrap();
    assert_eq!(again.commit(second).await.unwrap().unwrap().subject, "second", "even after a gc by hand");

    let kept = || Command::new("git").args(["for-each-ref", "refs/burrow/keep"]).current_dir(mirror.dir()).output().unwrap().stdout;
    let before = kept();
    world.write("a", "4");
    world.commit("forward");
    mirror.fetch(LIMIT).await.unwrap();
    assert_eq!(kept(), before, "a branch that only moves forward leaves nothing to keep");
}

#[tokio::test]
async fn a_branch_called_like_a_hash_confuses_nothing() {
    let world = World::new();
    let first = world.commit("first");
    let second = world.commit("second");
    // git refuses to make such a branch by name, but not to push one.
    world.git(&["update-ref", &format!("refs/heads/{first}"), &second.to_string()]);
    world.git(&["update-ref", &format!("refs/heads/{}", "ab".repeat(20)), &first.to_string()]);
    world.git(&["tag", "-a", "-m", "released", "v1", &first.to_string()]);
    let mirror = world.mirror().await;
    let branches: BTreeMap<_, _> = mirror.branches().await.unwrap().into_iter().collect();
    assert_eq!(branches[&first.to_string()], second);
    let resolve = async |rev: &str| mirror.resolve(rev).await.unwrap();
    assert_eq!(resolve(&first.to_string()).await, Some(first), "a hash means the commit");
    assert_eq!(resolve(&"ab".repeat(20)).await, Some(first), "or the branch, when there is no such commit");
    assert_eq!(resolve(&second.to_string()[..9]).await, Some(second));
    assert_eq!(resolve("main").await, Some(second));
    assert_eq!(resolve("HEAD").await, Some(second));
    assert_eq!(resolve("v1").await, Some(first), "an annotated tag means its commit");
    assert_eq!(resolve("refs/tags/v1").await, Some(first));
    for nothing in ["", "nope", "main~1", "--all", "abc", &"0".repeat(40), &"0".repeat(12)] {
        assert_eq!(resolve(nothing).await, None, "{nothing:?}");
    }
    assert_eq!(mirror.tags().await.unwrap(), [("v1".to_owned(), first)]);
}

#[tokio::test]
async fn remotes_that_are_empty_or_gone_say_so() {
    let world = World::new();
    let mirror = world.mirror().await;
    assert_eq!(mirror.branches().await.unwrap(), []);
    assert_eq!(mirror.default_branch().await.unwrap(), None);
    let first = world.commit("now there is one");
    world.git(&["branch", "-M", "trunk"]);
    mirror.fetch(LIMIT).await.unwrap();
    assert_eq!(mirror.default_branch().await.unwrap().as_deref(), Some("trunk"));
    world.write("a", "uncommitted changes are nobody's business");
    mirror.fetch(LIMIT).await.unwrap();

    std::fs::rename(world.work(), world.dir.path().join("moved")).unwrap();
    assert!(matches!(mirror.fetch(LIMIT).await, Err(Error::Gone { .. })));
    assert_eq!(mirror.commit(first).await.unwrap().unwrap().subject, "now there is one", "what is here stays");
    std::fs::rename(world.dir.path().join("moved"), world.work()).unwrap();
    mirror.fetch(LIMIT).await.unwrap();

    for bad in ["", "--upload-pack=touch /tmp/x", "a\nb"] {
        assert!(matches!(Mirror::open(&world.dir.path().join("bad"), bad).await, Err(Error::BadUrl(_))), "{bad:?}");
    }
    let missing = Mirror::open(&world.dir.path().join("other"), &world.dir.path().join("nowhere").to_string_lossy()).await.unwrap();
    assert!(matches!(missing.fetch(LIMIT).await, Err(Error::Gone { .. })));
    let nobody: Oid = "1".repeat(40).parse().unwrap();
    assert_eq!(mirror.commit(nobody).await.unwrap(), None);
    assert!(matches!(mirror.tree_of(nobody).await, Err(Error::Missing { .. })));
    assert!(matches!(mirror.tree_tar(None, nobody, vec![]).next().await, Some(Err(Error::Missing { .. }))));
}

#[tokio::test]
async fn a_remote_that_never_answers_is_given_up_and_the_mirror_stays_usable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("git://{}/x.git", listener.local_addr().unwrap());
    let mirror = Mirror::open(dir.path(), &url).await.unwrap();
    std::fs::write(dir.path().join("packed-refs.lock"), "left by a git that was killed").unwrap();
    // Longer than connecting takes and shorter than anybody's patience: the listener accepts and says nothing.
    let given_up = mirror.fetch(Duration::from_millis(300)).await;
    assert!(matches!(given_up, Err(Error::Timeout { .. })), "{given_up:?}");
    assert!(!dir.path().join("packed-refs.lock").exists());
}

#[tokio::test]
async fn histories_come_newest_first_and_stop_where_told() {
    let world = World::new();
    let mut ids = Vec::new();
    for (at, name) in ["one", "two", "three"].iter().enumerate() {
        std::fs::write(world.work().join("f"), name).unwrap();
        world.git(&["add", "--all"]);
        let date = format!("{} +0000", 1_700_000_000 + at);
        let done = Command::new("git")
            .args(["-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "-m", name])
            .current_dir(world.work())
            .env("GIT_COMMITTER_DATE", &date)
            .env("GIT_AUTHOR_DATE", &date)
            .status()
            .unwrap();
        assert!(done.success());
        ids.push(world.id("HEAD"));
    }
    world.git(&["checkout", "--quiet", "-b", "side", &ids[0].to_string()]);
    let side = world.commit("side");
    world.git(&["checkout", "--quiet", "main"]);
    world.git(&["merge", "--quiet", "--no-ff", "-m", "merge", "side"]);
    let merge = world.id("HEAD");
    let mirror = world.mirror().await;
    let subjects = |list: Vec<burrow_git::Commit>| list.into_iter().map(|commit| commit.subject).collect::<Vec<_>>().join(" ");
    assert_eq!(subjects(mirror.log(merge, 100, |_| false).await.unwrap()), "merge side three two one");
    assert_eq!(subjects(mirror.log_first_parent(merge, 100, |_| false).await.unwrap()), "merge three two one");
    assert_eq!(subjects(mirror.log(merge, 2, |_| false).await.unwrap()), "merge side");
    let known = [ids[1], side];
    assert_eq!(subjects(mirror.log(merge, 100, move |id| known.contains(id)).await.unwrap()), "merge three");
    assert_eq!(mirror.log(merge, 100, |_| true).await.unwrap(), []);

    // A shallow clone as the remote: its history ends early, and nothing fails.
    let shallow = world.dir.path().join("shallow");
    world.git(&["clone", "--quiet", "--depth=2", "--no-local", &world.work().to_string_lossy(), &shallow.to_string_lossy()]);
    let mirror = Mirror::open(&world.dir.path().join("mirror-of-shallow"), &shallow.to_string_lossy()).await.unwrap();
    mirror.fetch(LIMIT).await.unwrap();
    assert_eq!(subjects(mirror.log(merge, 100, |_| false).await.unwrap()), "merge side three");
}

#[cfg(unix)]
#[tokio::test]
async fn trees_arrive_as_they_are_whatever_changes_between_them() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    let world = World::new();
    let work = world.work();
    let odd = std::ffi::OsStr::from_bytes(b"odd \xff name");
    world.write("plain", "text");
    world.write("run.sh", "#!/bin/sh\n");
    std::fs::set_permissions(work.join("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    world.write("dir/deep/file", "deep");
    world.write("dir/other", "other");
    world.write("swap/a", "a directory now, a file later");
    world.write(odd, "strange");
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(120));
    world.write(&long, "long");
    symlink("dir//deep/../deep/file", work.join("link")).unwrap();
    symlink("x".repeat(150), work.join("long-link")).unwrap();
    world.write("empty", "");
    std::fs::write(work.join("big"), vec![7; 300_000]).unwrap();
    world.commit("a");
    world.run(&["update-index", "--add", "--cacheinfo", &format!("160000,{},vendor/sub", "12".repeat(20))], b"");
    world.git(&["commit", "--quiet", "-m", "with a submodule"]);
    let a = world.id("HEAD");
    world.git(&["update-index", "--force-remove", "vendor/sub"]);

    std::fs::remove_dir_all(work.join("swap")).unwrap();
    world.write("swap", "a file");
    std::fs::remove_file(work.join("link")).unwrap();
    world.write("link/is/a/directory", "now");
    std::fs::remove_dir_all(work.join("dir/deep")).unwrap();
    std::fs::remove_file(work.join("plain")).unwrap();
    symlink("run.sh", work.join("plain")).unwrap();
    std::fs::set_permissions(work.join("run.sh"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::remove_file(work.join(odd)).unwrap();
    let b = world.commit("b");

    let mirror = world.mirror().await;
    let (tree_a, tree_b) = (mirror.tree_of(a).await.unwrap(), mirror.tree_of(b).await.unwrap());
    let (is_a, is_b) = (truth(&world, &tree_a.to_string()), truth(&world, &tree_b.to_string()));
    assert_eq!(is_a[&b"vendor/sub"[..]].0, 'd', "a submodule is an empty directory");
    assert_eq!(is_a[&b"odd \xff name"[..]].1, b"strange");

    let mut files = Files::new();
    assert_eq!(apply(&mut files, &bytes(mirror.tree_tar(None, tree_a, vec![])).await), is_a.len());
    assert_eq!(files, is_a);
    let sent = apply(&mut files, &bytes(mirror.tree_tar(Some(tree_a), tree_b, vec![])).await);
    assert_eq!(files, is_b);
    assert!(sent < is_b.len(), "only the difference is sent");
    apply(&mut files, &bytes(mirror.tree_tar(Some(tree_b), tree_a, vec![])).await);
    assert_eq!(files, is_a);

    // The worker tells what its build changed: those paths come again, and only those.
    let dirty: Vec<String> = ["run.sh", "dir/deep", "odd \u{fffd} name", "not-in-the-tree/x"].map(str::to_owned).to_vec();
    files.retain(|path, _| path != b"run.sh" && !path.starts_with(b"dir/deep") && path != b"odd \xff name");
    files.insert(b"not-in-the-tree/x".to_vec(), ('f', b"junk".to_vec()));
    let sent = apply(&mut files, &bytes(mirror.tree_tar(Some(tree_a), tree_a, dirty.clone())).await);
    assert_eq!((files.clone(), sent), (is_a.clone(), 4));
    files.retain(|path, _| path != b"run.sh" && !path.starts_with(b"dir/deep") && path != b"odd \xff name");
    apply(&mut files, &bytes(mirror.tree_tar(Some(tree_a), tree_b, dirty)).await);
    assert_eq!(files, is_b);
    assert_eq!(bytes(mirror.tree_tar(Some(tree_a), tree_a, vec![])).await.iter().filter(|byte| **byte != 0).count(), 0, "nothing to do is an empty archive");

    let mut unzipped = Vec::new();
    flate2::read::GzDecoder::new(bytes(mirror.archive_tgz(b, "go/")).await.as_slice()).read_to_end(&mut unzipped).unwrap();
    let mut archived = Files::from([(b"go".to_vec(), ('d', Vec::new()))]);
    assert_eq!(apply(&mut archived, &unzipped), is_b.len());
    assert_eq!(archived.iter().skip(1).map(|(path, file)| (path.strip_prefix(b"go/").unwrap().to_vec(), file.clone())).collect::<Files>(), is_b);

    assert_eq!(mirror.read_file(a, "dir/deep/file").await.unwrap().unwrap(), "deep");
    assert_eq!(mirror.read_file(a, "dir").await.unwrap(), None);
    assert_eq!(mirror.read_file(a, "plain/x").await.unwrap(), None);
    let root = mirror.list_root(a).await.unwrap();
    assert!(root.contains(&"dir/".to_owned()) && root.contains(&"run.sh".to_owned()) && root.contains(&"odd \u{fffd} name".to_owned()));
}

#[tokio::test]
async fn commits_that_are_not_utf_8_or_not_quite_right_can_be_read() {
    let world = World::new();
    let tree = world.run(&["mktree"], b"");
    let raw = [
        format!("tree {tree}\n").as_bytes(),
        b"author J\xf6rg <j@x> 1700000000 +0100\ncommitter Nobody <> not-a-time\nencoding ISO-8859-1\n\nGr\xfc\xdfe\nin zwei Zeilen\n\nmore\n",
    ]
    .concat();
    let id: Oid = world.run(&["hash-object", "-t", "commit", "-w", "--literally", "--stdin"], &raw).parse().unwrap();
    world.git(&["update-ref", "refs/heads/main", &id.to_string()]);
    let commit = world.mirror().await.commit(id).await.unwrap().unwrap();
    assert_eq!((commit.author_name.as_str(), commit.author_time, commit.commit_time), ("J\u{f6}rg", 1_700_000_000, 0));
    assert_eq!((commit.subject.as_str(), commit.body.as_str()), ("Gr\u{fc}\u{df}e in zwei Zeilen", "more"));
    let json = serde_json::to_string(&commit).unwrap();
    assert!(json.contains(&format!("\"id\":\"{id}\"")));
    assert_eq!(serde_json::from_str::<burrow_git::Commit>(&json).unwrap(), commit);
}

#[tokio::test]
async fn a_thousand_files_differ_in_one() {
    let world = World::new();
    for at in 0..1000 {
        world.write(format!("d{}/f{at}", at % 20), &format!("file {at}\n"));
    }
    let a = world.commit("a");
    world.write("d7/f7", "changed");
    let b = world.commit("b");
    let mirror = world.mirror().await;
    let (tree_a, tree_b) = (mirror.tree_of(a).await.unwrap(), mirror.tree_of(b).await.unwrap());
    let mut files = Files::new();
    assert_eq!(apply(&mut files, &bytes(mirror.tree_tar(None, tree_a, vec![])).await), 1020);
    assert_eq!(apply(&mut files, &bytes(mirror.tree_tar(Some(tree_a), tree_b, vec![])).await), 1);
    assert_eq!(files, truth(&world, &tree_b.to_string()));
}

#[tokio::test]
async fn a_sha_256_repository_is_mirrored_too() {
    let world = World { dir: tempfile::tempdir().unwrap() };
    std::fs::create_dir(world.work()).unwrap();
    world.git(&["init", "--quiet", "--initial-branch=main", "--object-format=sha256", "."]);
    world.write("a", "1");
    let id = world.commit("first");
    assert_eq!(id.as_bytes().len(), 32);
    let mirror = world.mirror().await;
    assert_eq!(mirror.branches().await.unwrap(), [("main".to_owned(), id)]);
    assert_eq!(mirror.read_file(id, "a").await.unwrap().unwrap(), "1");
    assert_eq!(mirror.log(id, 10, |_| false).await.unwrap().len(), 1);
}
