//! Odd commits and references, without changes.

use protocol_mutlog::schema::{GerritMutation, GitCommit, GitDiffTreeFile, GitMutation, GitRepo, Mutation};

use super::{Commit, GO, Log, NET, file, git_ref, id, unknown_fields};

pub(super) fn all(log: &mut Log) {
    orders(log);
    headers(log);
    messages(log);
    people(log);
    files(log);
    twice(log);
    refused(log);
    plain_git(log);
    references(log);
}

fn one(log: &mut Log, commit: Commit) {
    log.gerrit(GO, vec![commit.build()], Vec::new());
}

fn refs(log: &mut Log, project: &str, names: &[(&str, &str)]) {
    log.gerrit(project, Vec::new(), names.iter().map(|(name, to)| git_ref(*name, id(to))).collect());
}

/// Who comes before whom.
fn orders(log: &mut Log) {
    one(log, Commit::new("root", "all: begin\n"));
    one(log, Commit::new("child", "all: child before its parent\n").on(&["parent"]));
    one(log, Commit::new("parent", "all: the parent\n").on(&["root"]));
    // A reference to what nobody has mentioned is dropped, also when the commit comes later.
    refs(log, GO, &[("refs/heads/dropped", "late"), ("refs/changes/01/101/1", "late"), ("refs/changes/01/101/meta", "late")]);
    one(log, Commit::new("late", "all: later than its reference\n").on(&["root"]));
    // One to what is known as a parent only is kept.
    one(log, Commit::new("grown-up", "all: its parent follows\n").on(&["expected"]));
    refs(log, GO, &[("refs/heads/expected", "expected")]);
    one(log, Commit::new("expected", "all: expected\n").on(&["root"]));
    // Several commits and their references in one mutation: commits come first whatever the order of the fields.
    let commits = vec![Commit::new("pair-child", "all: pair\n").on(&["pair-parent"]).build(), Commit::new("pair-parent", "all: pair\n").on(&["root"]).build()];
    log.gerrit(GO, commits, vec![git_ref("refs/heads/pair", id("pair-child"))]);
    one(log, Commit::new("merge", "all: merge\n").on(&["child", "pair-child"]));
    one(log, Commit::new("octopus", "all: octopus\n").on(&["merge", "late", "grown-up", "root"]));
    one(log, Commit::new("twins", "all: both parents are one\n").on(&["root", "root"]));
}

fn headers(log: &mut Log) {
    let signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n iQEzBAABCAAdFiEE\n =abcd\n -----END PGP SIGNATURE-----\n";
    one(log, Commit::new("signed", "all: signed\n").on(&["root"]).header(signature));
    one(log, Commit::new("encoded", "all: encoded\n").on(&["root"]).header("encoding ISO-8859-1\n"));
    let tag = format!(
        "mergetag object {}\n type commit\n tag v1\n tagger T <t@example.org> 1500000000 +0000\n \n the tag\n parent {}\n",
        id("late").text(),
        id("root").text()
    );
    one(log, Commit::new("mergetag", "all: merges a tag\n").on(&["root", "late"]).header(&tag));
    one(log, Commit::new("from-hg", "all: from Mercurial\n").on(&["root"]).header("golang-hg 0123456789abcdef0123456789abcdef01234567\n"));
    one(log, Commit::new("strange", "all: strange header\n").on(&["root"]).header("HG:rename-source hg\nnonsense\n"));
    // A tree that is written in capitals.
    let mut capitals = Commit::new("capitals", "all: capitals\n").build();
    capitals.raw = String::from_utf8_lossy(&capitals.raw).replacen(id("tree").text(), &id("tree").text().to_uppercase(), 1).into_bytes();
    log.gerrit(GO, vec![capitals], Vec::new());
}

fn messages(log: &mut Log) {
    one(log, Commit::new("silent", ""));
    one(log, Commit::new("unended", "all: no line end"));
    one(log, Commit::new("blank-first", "\n\nall: blank lines first\n\n\n\nand between\n\n"));
    one(log, Commit::new("carriage", "all: carriage returns\r\n\r\nReviewer: of a line\r\n"));
    let mut latin = Commit::new("latin1", "");
    latin.message = b"all: gr\xfc\xdfe \xff\xfe\x00 and zeros\n".into();
    one(log, latin);
    one(log, Commit::new("emoji", "all: 😕 → naïve \u{2028}\u{7f}\u{1}\t\"quoted\" \\ <b>&amp;</b>\n"));
    one(log, Commit::new("reviewed", "all: reviewed\n\nReviewer: Grace Hopper <grace@example.org>\nReviewer: Nobody Else <n@example.org>\n"));
    one(log, Commit::new("reviewed-not", "all: not reviewed\n\nReviewer: \nNo Reviewer: x\nreviewer: y\n"));
    one(log, Commit::new("reviewed-prose", "all: prose\n\nI am no\nReviewer:  of anything   \n\nChange-Id: I1\n"));
    one(log, Commit::new("long-line", &format!("all: {}\n", "long ".repeat(20_000))));
}

fn people(log: &mut Log) {
    for (name, author, committer) in [
        ("nepal", "Tenzing <t@example.org> 1500000000 +0545", "Tenzing <t@example.org> 1500000001 +0545"),
        ("unknown-zone", "Nobody <n@example.org> 1500000000 -0000", "Nobody <n@example.org> 1500000000 +0000"),
        ("far-zones", "East <e@example.org> 1500000000 +1400", "West <w@example.org> 1500000000 -1200"),
        ("wrong-zone", "W <w@example.org> 1500000000 +9999", "W <w@example.org> 1500000000 -0061"),
        ("before-time", "Old <o@example.org> -1 +0000", "Old <o@example.org> 0 +0000"),
        ("far-future", "New <n@example.org> 4294967296 +0000", "New <n@example.org> 253402300799 +0000"),
        ("no-mail", "Just A Name 1500000000 +0000", "Brackets <> 1500000000 +0000"),
        ("no-name", "<only@example.org> 1500000000 +0000", " <blank@example.org> 1500000000 +0000"),
        ("brackets", "A <b <c@example.org> d> e> 1500000000 +0000", ">B< >b@example.org< 1500000000 +0000"),
        ("spaces", "  Many   Blanks  <m@example.org>  1500000000 +0000  ", "Tab\there <t@example.org> 1500000000 +0000"),
        ("names", "Zsófia Ærø 王 <zsófia@example.org> 1500000000 +0100", "Gerrit Code Review <noreply-gerritcodereview@google.com> 1500000000 +0000"),
    ] {
        one(log, Commit::new(name, "all: people\n").on(&["root"]).by(author, committer));
    }
    let mut latin = Commit::new("latin1-name", "all: a name of other bytes\n").on(&["root"]);
    latin.author = b"J\xfcrgen <j@example.org> 1500000000 +0200".into();
    one(log, latin);
}

fn files(log: &mut Log) {
    let binary = |name: &str| GitDiffTreeFile { binary: true, ..file(name, 0, 0) };
    let all = vec![
        file("z/last.go", 1, 2),
        file("a/first.go", 70_000, 80_000),
        binary("image.png"),
        file("with blanks in it.txt", 0, 0),
        file("\"quoted \\303\\244.txt\"", 1, 1),
        file("src/{old => new}/name.go", 3, 4),
        file("😕.go", 5_000_000_000, i64::from(u32::MAX)),
        file(id("tree").text(), 8, 0),
        file("", 1, 1),
    ];
    one(log, Commit::new("files", "all: files\n").on(&["root"]).files(all));
    one(log, Commit::new("same-file", "all: a file twice\n").on(&["root"]).files(vec![file("b", 2, 0), file("a", 1, 0), file("b", 1, 0), file("b", 2, 0)]));
    // Without a list, and with an empty one.
    let mut without = Commit::new("no-files", "all: no list\n").on(&["root"]).build();
    without.diff_tree = None;
    log.gerrit(GO, vec![without], Vec::new());
}

/// Commits that are defined twice: the last word counts.
fn twice(log: &mut Log) {
    for message in ["all: once\n", "all: once\n", "all: and differently\n"] {
        one(log, Commit::new("twice", message).on(&["root"]));
    }
    one(log, Commit::new("orphaned", "all: with a parent\n").on(&["child"]));
    one(log, Commit::new("orphaned", "all: and without\n"));
    // The same in another project, which then needs the parent too.
    for name in ["root", "twice"] {
        let commit = Commit::new(name, "all: seen from net\n");
        log.gerrit(NET, vec![if name == "root" { commit } else { commit.on(&["root"]) }.build()], Vec::new());
    }
    let mut capitals = Commit::new("shouted", "all: an id in capitals\n").on(&["root"]).build();
    capitals.sha1.make_ascii_uppercase();
    log.gerrit(GO, vec![capitals], Vec::new());
    refs(log, GO, &[("refs/heads/shouted", "shouted")]);
}

/// Commits that the reference passes over.
fn refused(log: &mut Log) {
    for sha1 in ["", "abc", &id("short").text()[..39], "0123456789012345678901234567890123456789f"] {
        let commit = GitCommit { sha1: sha1.into(), ..Commit::new("short", "all: of a wrong length\n").build() };
        log.gerrit(GO, vec![commit], Vec::new());
    }
    for (name, author) in [("faceless", "Nobody"), ("timeless", "Nobody <n@example.org> yesterday +0000"), ("nameless", "")] {
        let commit = Commit::new(name, "all: by nobody\n").on(&["root"]).by(author, "Ada Lovelace <ada@example.org> 1500000000 +0000");
        log.gerrit(GO, vec![commit.build()], vec![git_ref(format!("refs/heads/{name}"), id(name))]);
    }
}

/// Commits of plain git: known to the corpus and to no project.
fn plain_git(log: &mut Log) {
    for (name, parents) in [("git-child", &["git-parent"][..]), ("git-parent", &[])] {
        let commit = Commit::new(name, "all: plain git\n").on(parents).build();
        let repo = Some(GitRepo { go_repo: b"go".into(), ..Default::default() });
        log.put(Mutation { git: Some(GitMutation { repo, commit: Some(commit), ..Default::default() }), ..Default::default() });
    }
    log.put(Mutation { git: Some(GitMutation { repo: Some(GitRepo::default()), ..Default::default() }), ..Default::default() });
    // A project may refer to what only another place has told.
    refs(log, NET, &[("refs/heads/foreign", "git-child")]);
    // Four kinds of change in one record.
    let mut everything = Mutation { unknown: unknown_fields(), ..Default::default() };
    everything.github_issue = Some(super::about(900));
    everything.github = Some(protocol_mutlog::schema::GithubMutation {
        owner: b"golang".into(),
        repo: b"go".into(),
        labels: vec![super::label(99, "Together")],
        ..Default::default()
    });
    everything.git = Some(GitMutation { commit: Some(Commit::new("together", "all: together\n").build()), ..Default::default() });
    // Git comes before Gerrit, so this reference is kept.
    everything.gerrit = Some(GerritMutation { project: NET.into(), refs: vec![git_ref("refs/heads/together", id("together"))], ..Default::default() });
    log.put(everything);
}

fn references(log: &mut Log) {
    refs(log, GO, &[("HEAD", "child"), ("refs/heads/master", "child"), ("refs/heads/release-branch.go1.1", "late"), ("refs/heads/dev.ssa", "parent")]);
    refs(log, GO, &[("refs/heads/master", "merge"), ("refs/heads/master", "octopus")]);
    // An annotated tag: its own id is a commit with the content of what it points to; the peeled name is a reference of its own.
    let tagged = Commit::new("late", "all: later than its reference\n").on(&["root"]);
    let mut annotated = tagged.build();
    annotated.sha1 = id("tag go1.1").0.into();
    log.gerrit(GO, vec![annotated], vec![git_ref("refs/tags/go1.1", id("tag go1.1")), git_ref("refs/tags/go1.1^{}", id("late"))]);
    refs(
        log,
        GO,
        &[("refs/tags/go1", "root"), ("refs/tags/go1.2", "octopus"), ("refs/heads/release-branch.go1.2", "octopus"), ("refs/heads/release-branch.go1", "root")],
    );
    refs(log, GO, &[("refs/meta/config", "root"), ("refs/users/00/1000", "root"), ("refs/cache-automerge/ab/cdef", "root"), ("refs/notes/review", "root")]);
    // Near a change's reference, and none.
    refs(
        log,
        GO,
        &[("refs/changes/1/101/1", "root"), ("refs/changes/GG/101/1", "root"), ("refs/changes/01/101/x", "root"), ("x/refs/changes/01/101/1", "root")],
    );
    // Numbers that are too large are passed over.
    refs(log, GO, &[("refs/changes/99/99999999999/1", "root"), ("refs/changes/01/101/99999999999", "root")]);
    let deleted = |names: &[&str], refs| Mutation {
        gerrit: Some(GerritMutation {
            project: GO.into(),
            deleted_refs: names.iter().map(|name| name.as_bytes().into()).collect(),
            refs,
            ..Default::default()
        }),
        ..Default::default()
    };
    log.put(deleted(&["refs/heads/dev.ssa", "refs/heads/never-was", "refs/changes/01/201/1"], Vec::new()));
    log.put(deleted(&["refs/heads/pair", "refs/tags/go1"], vec![git_ref("refs/tags/go1", id("parent"))]));
    refs(log, GO, &[("refs/heads/dev.ssa", "late")]);
    // A mutation that only makes a project.
    log.gerrit("code.googlesource.com/empty", Vec::new(), Vec::new());
}
