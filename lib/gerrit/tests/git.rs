//! The git side against a modelled Gerrit, and against git itself.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use burrow_gerrit::{Auth, FileStat, GitError, Oid, Repository};
use testkit_gerrit::{Fault, Gerrit};

const LIMIT: Duration = Duration::from_secs(60);

fn git_in(dir: &Path, args: &[&str], stdin: &[u8]) -> Vec<u8> {
    let mut child = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("LC_ALL", "C")
        .envs(
            ["AUTHOR", "COMMITTER"]
                .iter()
                .flat_map(|who| [(format!("GIT_{who}_NAME"), "N"), (format!("GIT_{who}_EMAIL"), "e@x"), (format!("GIT_{who}_DATE"), "1700000000 +0000")]),
        )
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("git is installed");
    let mut input = child.stdin.take().unwrap();
    let bytes = stdin.to_vec();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, &bytes));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    assert!(output.status.success(), "git {args:?} in {}", dir.display());
    output.stdout
}

fn git(dir: &Path, args: &[&str]) -> String {
    String::from_utf8_lossy(&git_in(dir, args, b"")).trim().to_owned()
}

/// The same beside the server, which shares this thread's runtime.
async fn git_beside(dir: &Path, args: &[&str]) -> String {
    let (dir, args): (PathBuf, Vec<String>) = (dir.to_owned(), args.iter().map(|arg| (*arg).to_owned()).collect());
    tokio::task::spawn_blocking(move || git(&dir, &args.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap()
}

fn oid(text: &str) -> Oid {
    text.parse().unwrap()
}

/// What `git diff-tree --numstat` prints for each commit, by one process: a commit's hash is a line of its own.
fn numstats_of_git(dir: &Path, commits: &[String]) -> BTreeMap<String, Vec<u8>> {
    let stdin = commits.join("\n") + "\n";
    let printed = git_in(dir, &["diff-tree", "--stdin", "--always", "--numstat"], stdin.as_bytes());
    let mut all: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut current = String::new();
    for line in printed.split_inclusive(|byte| *byte == b'\n') {
        if !line.contains(&b'\t') {
            current = String::from_utf8_lossy(line).trim().to_owned();
            all.insert(current.clone(), Vec::new());
        } else {
            all.get_mut(&current).unwrap().extend_from_slice(line);
        }
    }
    all
}

fn printed(files: &[FileStat]) -> Vec<u8> {
    let mut out = Vec::new();
    for file in files {
        let numbers = if file.binary { "-\t-\t".to_owned() } else { format!("{}\t{}\t", file.added, file.deleted) };
        out.extend_from_slice(numbers.as_bytes());
        out.extend_from_slice(&file.path);
        out.push(b'\n');
    }
    out
}

/// A repository of ours in which a clone's objects count as its own.
async fn over(dir: &Path, source: &Path) -> Repository {
    let repo = Repository::open(dir, source.to_str().unwrap(), &Auth::None).await.unwrap();
    repo.fetch_branches(LIMIT).await.unwrap();
    repo
}

#[tokio::test]
async fn a_whole_gerrit_is_followed_through_its_references() {
    let gerrit = Gerrit::start().await;
    gerrit.world().random(11, 300);
    let dir = tempfile::tempdir().unwrap();
    let project = "go";
    let repo = Repository::open(&dir.path().join("r"), &gerrit.git_url(project), &Auth::None).await.unwrap();
    let mut known: HashSet<Oid> = HashSet::new();
    let mut before: BTreeMap<String, Oid> = BTreeMap::new();
    for round in 0..4 {
        let listed = repo.ls_remote(LIMIT).await.unwrap();
        let refs: BTreeMap<String, Oid> = listed.into_iter().filter(|(name, _)| name != "HEAD" && !name.ends_with("^{}")).collect();
        let truth: BTreeMap<String, Oid> = gerrit.world().refs(project).into_iter().map(|(name, hash)| (name, oid(&hash))).collect();
        assert_eq!(refs, truth, "round {round}");
        repo.fetch_branches(LIMIT).await.unwrap();
        let changed: Vec<Oid> = refs.iter().filter(|(name, id)| before.get(*name) != Some(id)).map(|(_, id)| *id).collect();
        let have: Vec<Oid> = before.values().copied().collect();
        repo.fetch_objects(&changed, &have, LIMIT).await.unwrap();
        let seen = known.clone();
        let new = repo.unknown_commits(changed.clone(), move |id| seen.contains(id)).await.unwrap();
        let server = gerrit.world().repository(project).to_owned();
        let stats = numstats_of_git(&server, &new.iter().map(|commit| commit.id.to_string()).collect::<Vec<_>>());
        for commit in &new {
            assert!(commit.parents.iter().all(|parent| known.contains(parent)), "parents come first");
            known.insert(commit.id);
            assert_eq!(commit.raw, git_in(&server, &["cat-file", "commit", &commit.id.to_string()], b""));
            let files = repo.numstat(commit.id).await.unwrap();
            if let Some(want) = stats.get(&commit.id.to_string()) {
                assert_eq!(printed(&files), *want, "{}", commit.id);
            }
        }
        assert!(refs.values().all(|id| known.contains(id)), "all that a reference needs is here");
        assert_eq!(
            repo.unknown_commits(changed, {
                let known = known.clone();
                move |id| known.contains(id)
            })
            .await
            .unwrap(),
            []
        );
        before = refs;
        gerrit.world().random(100 + round, 60);
    }
    assert!(known.len() > 150, "{}", known.len());
}

#[tokio::test]
async fn only_what_is_new_is_sent() {
    let gerrit = Gerrit::start().await;
    let number = {
        let mut world = gerrit.world();
        world.create_project("p");
        world.push("p", "master", "Ada", "big\n", &[("big", &"line\n".repeat(100_000))]);
        world.create_change("p", "master", "Ada", "change", &[("f", "1\n")])
    };
    for n in 0..50 {
        gerrit.world().message(number, "Bob", &format!("message {n}"));
    }
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::open(dir.path(), &gerrit.git_url("p"), &Auth::None).await.unwrap();
    repo.fetch_branches(LIMIT).await.unwrap();
    let refs = |gerrit: &Gerrit| {
        let world = gerrit.world();
        let change = world.change(number);
        [oid(&change.current().commit), oid(change.metas.last().unwrap())]
    };
    let first = refs(&gerrit);
    repo.fetch_objects(&first, &[], LIMIT).await.unwrap();
    let objects = async || git_beside(dir.path(), &["count-objects", "-v"]).await;
    // Nothing to do, nothing asked.
    gerrit.take_asked();
    repo.fetch_objects(&first, &[], LIMIT).await.unwrap();
    assert_eq!(gerrit.take_asked(), []);
    gerrit.world().message(number, "Bob", "one more");
    let before = objects().await;
    let second = refs(&gerrit);
    repo.fetch_objects(&second, &first, LIMIT).await.unwrap();
    let count = |text: &str| -> u64 {
        text.lines().filter_map(|line| line.strip_prefix("count: ").or(line.strip_prefix("in-pack: "))).map(|n| n.parse::<u64>().unwrap()).sum()
    };
    let after = objects().await;
    assert_eq!(count(&after) - count(&before), 1, "one commit, whose tree was there: not the fifty before it\n{before}\n{after}");
}

#[tokio::test]
async fn annotated_tags_stand_for_their_commits() {
    let gerrit = Gerrit::start().await;
    let (tag, commit) = {
        let mut world = gerrit.world();
        world.create_project("p");
        let commit = world.push("p", "master", "Ada", "code\n", &[("f", "1\n2\n")]);
        (world.tag("p", "v1", &commit, "Ada", Some("One.")), commit)
    };
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::open(dir.path(), &gerrit.git_url("p"), &Auth::None).await.unwrap();
    let listed: BTreeMap<String, Oid> = repo.ls_remote(LIMIT).await.unwrap().into_iter().collect();
    assert_eq!((listed["refs/tags/v1"], listed["refs/tags/v1^{}"], listed["HEAD"]), (oid(&tag), oid(&commit), oid(&commit)));
    repo.fetch_branches(LIMIT).await.unwrap();
    let (of_tag, of_commit) = (repo.commit_raw(oid(&tag)).await.unwrap().unwrap(), repo.commit_raw(oid(&commit)).await.unwrap().unwrap());
    assert_eq!((of_tag.id, &of_tag.raw, &of_tag.parents), (oid(&tag), &of_commit.raw, &of_commit.parents));
    assert_eq!(printed(&repo.numstat(oid(&tag)).await.unwrap()), b"2\t0\tf\n");
    let nowhere = oid("0123456789012345678901234567890123456789");
    assert_eq!(repo.commit_raw(nowhere).await.unwrap(), None);
    assert!(!repo.contains(nowhere).await.unwrap() && repo.contains(oid(&tag)).await.unwrap());
    assert!(matches!(repo.numstat(nowhere).await, Err(GitError::Missing { .. })));
    assert!(matches!(repo.unknown_commits(vec![nowhere], |_| false).await, Err(GitError::Missing { .. })));
    // After a question that could not be answered, the next one is.
    assert_eq!(repo.numstat(oid(&commit)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn more_hashes_than_a_command_line_holds_are_fetched_in_batches() {
    let gerrit = Gerrit::start().await;
    let wants: Vec<Oid> = {
        let mut world = gerrit.world();
        world.create_project("p");
        let root = world.tip("p", "master");
        (0..620)
            .map(|n| {
                let commit = world.raw_commit("p", &[&root], "Ada", format!("change {n}\n").as_bytes(), &[]);
                world.set_ref("p", &format!("refs/changes/{:02}/{n}/1", n % 100), &commit);
                oid(&commit)
            })
            .collect()
    };
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::open(dir.path(), &gerrit.git_url("p"), &Auth::None).await.unwrap();
    let repeated: Vec<Oid> = wants.iter().chain(&wants).copied().collect();
    repo.fetch_objects(&repeated, &wants, LIMIT).await.unwrap();
    let fetches = gerrit.take_asked().iter().filter(|asked| asked.path.ends_with("/info/refs")).count();
    assert_eq!(fetches, 3, "620 in batches of 250");
    for id in &wants {
        assert!(repo.contains(*id).await.unwrap());
    }
}

#[tokio::test]
async fn many_small_fetches_leave_few_packs_and_lose_nothing() {
    let gerrit = Gerrit::start().await;
    gerrit.world().create_project("p");
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::open(dir.path(), &gerrit.git_url("p"), &Auth::None).await.unwrap();
    // Every fetch is kept as a pack, however small.
    git(dir.path(), &["config", "fetch.unpackLimit", "1"]);
    let mut all = Vec::new();
    for n in 0..104 {
        let commit = {
            let mut world = gerrit.world();
            let root = world.tip("p", "master");
            let commit = world.raw_commit("p", &[&root], "Ada", format!("{n}\n").as_bytes(), &[("f", n.to_string().as_bytes())]);
            world.set_ref("p", &format!("refs/changes/00/{n}/1"), &commit);
            commit
        };
        repo.fetch_objects(&[oid(&commit)], &[], LIMIT).await.unwrap();
        all.push(oid(&commit));
    }
    let packs = std::fs::read_dir(dir.path().join("objects/pack")).unwrap().flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "pack"));
    assert!(packs.count() < 20);
    for id in all {
        // No reference names any of them.
        assert!(repo.commit_raw(id).await.unwrap().is_some());
        assert_eq!(repo.numstat(id).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn credentials_reach_the_server_and_stay_out_of_sight() {
    let gerrit = Gerrit::start().await;
    gerrit.world().policy.login = Some(("robot".into(), "s3cret\"\\".into()));
    gerrit.world().create_project("p");
    let url = format!("{}/a/p", gerrit.base());
    let dir = tempfile::tempdir().unwrap();
    let auth = Auth::Basic { user: "robot".into(), password: "s3cret\"\\".into() };
    let repo = Repository::open(&dir.path().join("basic"), &url, &auth).await.unwrap();
    assert!(!repo.ls_remote(LIMIT).await.unwrap().is_empty());
    let cookie = Repository::open(&dir.path().join("cookie"), &url, &Auth::Cookie("o=s3cret\"\\".into())).await.unwrap();
    assert!(!cookie.ls_remote(LIMIT).await.unwrap().is_empty());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(dir.path().join("basic/burrow-gerrit-gitconfig")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let nobody = Repository::open(&dir.path().join("none"), &url, &Auth::None).await.unwrap();
    assert!(matches!(nobody.ls_remote(LIMIT).await, Err(GitError::Auth { .. })));
    // Taken away again when the repository is opened without.
    let again = Repository::open(&dir.path().join("basic"), &url, &Auth::None).await.unwrap();
    assert!(matches!(again.ls_remote(LIMIT).await, Err(GitError::Auth { .. })));
}

#[tokio::test]
async fn a_server_in_trouble_is_an_error_of_its_kind() {
    let gerrit = Gerrit::start().await;
    gerrit.world().create_project("p");
    let commit = gerrit.world().tip("p", "master");
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::open(&dir.path().join("p"), &gerrit.git_url("p"), &Auth::None).await.unwrap();
    assert!(matches!(repo.ls_remote(Duration::ZERO).await, Err(GitError::Timeout { .. })));
    for fault in [Fault::Status(500), Fault::Close, Fault::Cut(60)] {
        gerrit.fail("/p/info/refs", fault.clone(), 1);
        let error = repo.ls_remote(LIMIT).await.unwrap_err();
        assert!(matches!(error, GitError::Other { .. }), "{fault:?}: {error:?}");
    }
    gerrit.fail("/p/git-upload-pack", Fault::Cut(100), 1);
    assert!(repo.fetch_objects(&[oid(&commit)], &[], LIMIT).await.is_err());
    assert!(!repo.contains(oid(&commit)).await.unwrap());
    repo.fetch_objects(&[oid(&commit)], &[], LIMIT).await.unwrap();
    assert!(repo.contains(oid(&commit)).await.unwrap());
    let gone = Repository::open(&dir.path().join("gone"), &gerrit.git_url("gone"), &Auth::None).await.unwrap();
    assert!(matches!(gone.ls_remote(LIMIT).await, Err(GitError::Gone { .. })));
    for bad in ["", "--upload-pack=x", "a\nb"] {
        assert!(matches!(Repository::open(&dir.path().join("bad"), bad, &Auth::None).await, Err(GitError::BadUrl(_))));
    }
}

#[tokio::test]
async fn a_fetch_that_is_given_up_leaves_no_process() {
    let gerrit = Gerrit::start().await;
    gerrit.world().create_project("p");
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::open(dir.path(), &gerrit.git_url("p"), &Auth::None).await.unwrap();
    gerrit.fail("/p/info/refs", Fault::Hang, 1);
    let asking = tokio::spawn(async move { repo.ls_remote(LIMIT).await });
    while gerrit.take_asked().is_empty() {
        assert!(!asking.is_finished());
        tokio::task::yield_now().await;
    }
    assert!(!testkit_harness::process::find(dir.path()).is_empty());
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    // It was killed; the kernel takes a moment to clear it away.
    let left = tokio::task::spawn_blocking({
        let dir = dir.path().to_owned();
        move || (0..100_000).all(|_| !testkit_harness::process::find(&dir).is_empty())
    });
    assert!(!left.await.unwrap());
}

/// Mode, path and content of a file; without content it is deleted.
type Entry<'a> = (&'a str, &'a [u8], Option<&'a [u8]>);

/// A repository with everything that makes numbers of lines hard, as `git fast-import` reads it.
fn odd_history() -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    let mut marks = 0;
    let mut commit = |parents: &[usize], files: &[Entry<'_>]| -> usize {
        marks += 1;
        let mut head = format!("commit refs/heads/c{marks}\nmark :{marks}\ncommitter N <e@x> 1700000000 +0000\ndata 2\nm\n");
        for (nth, parent) in parents.iter().enumerate() {
            head.push_str(&format!("{} :{parent}\n", if nth == 0 { "from" } else { "merge" }));
        }
        text.extend_from_slice(head.as_bytes());
        for (mode, path, content) in files {
            match content {
                Some(bytes) if *mode == "160000" => text.extend_from_slice(format!("M 160000 {} ", String::from_utf8_lossy(bytes)).as_bytes()),
                Some(_) => text.extend_from_slice(format!("M {mode} inline ").as_bytes()),
                None => text.extend_from_slice(b"D "),
            }
            // Quoted as git reads it: every byte in octal.
            text.push(b'"');
            for byte in *path {
                text.extend_from_slice(format!("\\{byte:03o}").as_bytes());
            }
            text.extend_from_slice(b"\"\n");
            if let Some(bytes) = content.filter(|_| *mode != "160000") {
                text.extend_from_slice(format!("data {}\n", bytes.len()).as_bytes());
                text.extend_from_slice(bytes);
                text.push(b'\n');
            }
        }
        text.push(b'\n');
        marks
    };
    let (file, script, link, module) = ("100644", "100755", "120000", "160000");
    let lines = |n: usize| -> Vec<u8> { (0..n).flat_map(|i| format!("line {}\n", i % 7).into_bytes()).collect() };
    let root = commit(&[], &[(file, b"a", Some(b"1\n2\n3\n")), (file, b"dir/b", Some(b"x\n")), (file, b"bin", Some(b"a\0b\n")), (file, b"empty", Some(b""))]);
    let empty = commit(&[root], &[]);
    let odd_names = commit(
        &[empty],
        &[
            (file, b"tab\there", Some(b"1\n")),
            (file, b"line\nbreak", Some(b"1\n")),
            (file, "caf\u{e9}".as_bytes(), Some(b"1\n")),
            (file, b"latin \xe9 1", Some(b"1\n")),
            (file, b"quote\"and\\", Some(b"1\n")),
            (file, b"\x01\x7f", Some(b"1\n")),
            (file, b" blank ", Some(b"1\n")),
            (file, b"-", Some(b"1\n")),
            (file, b"end 1", Some(b"1\n")),
        ],
    );
    let no_newline = commit(&[odd_names], &[(file, b"a", Some(b"1\n2\n3")), (file, b"empty", Some(b"\n"))]);
    let crlf = commit(&[no_newline], &[(file, b"a", Some(b"1\r\n2\r\n3\r\n"))]);
    let modes = commit(&[crlf], &[(script, b"a", Some(b"1\r\n2\r\n3\r\n")), (file, b"bin", Some(b"a\0c\n"))]);
    let to_link = commit(&[modes], &[(link, b"a", Some(b"dir/b"))]);
    let to_module = commit(
        &[to_link],
        &[(module, b"a", Some(b"4b825dc642cb6eb9a060e54bf8d69288fbee4904")), (module, b"sub", Some(b"4b825dc642cb6eb9a060e54bf8d69288fbee4904"))],
    );
    let module_moves = commit(&[to_module], &[(module, b"sub", Some(b"0123456789012345678901234567890123456789"))]);
    let back = commit(&[module_moves], &[(file, b"a", Some(b"text\n")), (file, b"sub", None), (file, b"dir/b", None), (file, b"dir", Some(b"now a file\n"))]);
    let renamed = commit(&[back], &[(file, b"dir", None), (file, b"moved", Some(b"now a file\n")), (file, b"bin", Some(b"now text\n"))]);
    // Nobody's attributes count.
    let attributes = commit(&[renamed], &[(file, b".gitattributes", Some(b"* binary\n*.txt -diff\n")), (file, b"x.txt", Some(b"1\n2\n"))]);
    let after = commit(&[attributes], &[(file, b"x.txt", Some(b"1\n3\n")), (file, b"late nul", Some(&[lines(2_000), b"\0".to_vec()].concat()))]);
    let big = commit(&[after], &[(file, b"big", Some(&lines(5_000)))]);
    let mut shuffled = lines(5_000);
    shuffled.rotate_left(7_777);
    shuffled.extend_from_slice(&lines(333));
    let churned = commit(&[big], &[(file, b"big", Some(&shuffled))]);
    let side = commit(&[root], &[(file, b"a", Some(b"side\n"))]);
    let merge = commit(&[churned, side], &[(file, b"a", Some(b"merged by hand\n"))]);
    let _ = commit(&[merge], &[(file, b"z", Some(b"\xff\xfe not utf-8\n"))]);
    text
}

#[tokio::test]
async fn numbers_of_lines_are_gits_own_however_odd_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    git(&source, &["init", "--quiet", "--bare", "--initial-branch=c18", "."]);
    git_in(&source, &["fast-import", "--quiet"], &odd_history());
    compare(&source, &dir.path().join("copy"), 18).await;
}

/// Compares every commit of a repository with git.
async fn compare(source: &Path, copy: &Path, least: usize) {
    let repo = over(copy, source).await;
    let commits: Vec<String> = git(source, &["rev-list", "--branches"]).lines().map(str::to_owned).collect();
    assert!(commits.len() >= least, "{} commits", commits.len());
    let stats = numstats_of_git(source, &commits);
    assert_eq!(stats.len(), commits.len());
    for commit in &commits {
        assert_eq!(String::from_utf8_lossy(&printed(&repo.numstat(oid(commit)).await.unwrap())), String::from_utf8_lossy(&stats[commit]), "{commit}");
    }
    // And the command as Go's program runs it, which must say the same as the long-lived one.
    for commit in commits.iter().step_by(commits.len().div_ceil(40)) {
        let alone = git_in(source, &["diff-tree", "--numstat", commit], b"");
        let alone = alone.strip_prefix(format!("{commit}\n").as_bytes()).unwrap_or(&alone);
        assert_eq!(printed(&repo.numstat(oid(commit)).await.unwrap()), alone, "{commit}");
    }
}

#[tokio::test]
async fn numbers_of_lines_of_real_histories_are_gits_own() {
    let dir = tempfile::tempdir().unwrap();
    // This project's own history, where it is there; and any other that the environment names.
    let mut sources: Vec<(PathBuf, usize)> = Vec::new();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join(".git").exists());
    sources.extend(own.map(|folder| (folder.to_owned(), 1)));
    sources.extend(std::env::var_os("BURROW_TEST_HISTORIES").iter().flat_map(std::env::split_paths).map(|folder| (folder, 1_000)));
    if sources.is_empty() {
        testkit_harness::skip("no git history here (BURROW_TEST_HISTORIES is not set)");
    }
    for (nth, (source, least)) in sources.iter().enumerate() {
        compare(source, &dir.path().join(nth.to_string()), *least).await;
    }
}
