//! What ends the reference, sends it round for ever, or is no message at all.

use protocol_mutlog::schema::{
    GerritMutation, GitCommit, GitDiffTree, GitDiffTreeFile, GitRef, GithubIssueCommentMutation, GithubIssueEvent, GithubIssueMutation, GithubIssueSyncStatus,
    GithubMilestone, GithubMutation, GithubReview, GithubUser, Mutation, Timestamp,
};
use protocol_mutlog::wire;

use super::{Commit, GO, Log, NET, Review, about, account, at, file, git_ref, id, label, set, user};

/// Records that a corpus must take without a crash, an endless loop or memory without bound, and after which it must still answer. Some cannot be decoded; the
/// reader says so, and goes on or stops as it likes.
pub fn torture_hostile() -> Vec<Vec<u8>> {
    let mut log = Log::default();
    commits(&mut log);
    people(&mut log);
    circles(&mut log);
    references(&mut log);
    changes(&mut log);
    issues(&mut log);
    numbers(&mut log);
    texts(&mut log);
    damage(&mut log);
    log.0
}

fn raw(log: &mut Log, name: &str, raw: impl Into<Vec<u8>>) {
    log.gerrit(GO, vec![GitCommit { sha1: id(name).0.into(), raw: raw.into(), ..Default::default() }], vec![git_ref(format!("refs/heads/{name}"), id(name))]);
}

/// Commits that are none.
fn commits(log: &mut Log) {
    raw(log, "root", Commit::new("root", "all: fine\n").build().raw);
    let tree = id("tree");
    let tree = tree.text();
    let head = format!("tree {tree}\nauthor A <a@example.org> 1500000000 +0000\ncommitter A <a@example.org> 1500000000 +0000\n");
    // Without a blank line: an empty message.
    raw(log, "no-blank-line", head.clone());
    raw(log, "no-blank-line-no-end", head.trim_end());
    raw(log, "empty", "");
    raw(log, "line-end", "\n");
    raw(log, "only-blank-line", "\n\n");
    raw(log, "blank-line-first", format!("\n\n{head}\nmessage"));
    raw(log, "no-header", "\nmessage");
    raw(log, "one-byte", "t");
    raw(log, "no-people", format!("tree {tree}\n\nall: by nobody at all\n"));
    raw(log, "no-tree", "author A <a@example.org> 1500000000 +0000\ncommitter A <a@example.org> 1500000000 +0000\n\nall: of nothing\n");
    raw(log, "all-twice", format!("{head}{head}\nall: everything twice\n"));
    raw(log, "zeros", vec![0; 100_000]);
    raw(log, "line-ends", vec![b'\n'; 100_000]);
    raw(log, "windows", head.replace('\n', "\r\n") + "\r\nall: carriage returns\r\n");
    for (name, parent) in
        [("short-parent", "abc"), ("no-parent", ""), ("long-parent", &"a".repeat(41)), ("parent-no-hex", &"g".repeat(40)), ("parent-bytes", &"é".repeat(20))]
    {
        raw(log, name, format!("parent {parent}\n{head}\nall: bad parent\n"));
    }
    raw(log, "tree-no-hex", head.replace(tree, &"x".repeat(40)) + "\nall: bad tree\n");
    raw(log, "tree-short", head.replace(tree, "12") + "\nall: bad tree\n");
    raw(log, "many-parents", format!("{}{head}\nall: many parents\n", format!("parent {}\n", id("root").text()).repeat(5_000)));
    raw(log, "long-header", format!("{head}x {}\n\nall: long header\n", "y".repeat(1 << 20)));
    raw(log, "many-headers", format!("{head}{}\nall: many headers\n", "z\n".repeat(100_000)));
    for sha1 in ["", "a", &"b".repeat(39), &"c".repeat(41), &"d".repeat(64), &"g".repeat(40), &"é".repeat(20), &" ".repeat(40)] {
        let commit = GitCommit { sha1: sha1.into(), ..Commit::new("", "all: bad id\n").build() };
        log.gerrit(GO, vec![commit.clone()], vec![GitRef { ref_name: b"refs/heads/bad".into(), sha1: sha1.into(), ..Default::default() }]);
        log.put(Mutation { git: Some(protocol_mutlog::schema::GitMutation { commit: Some(commit), ..Default::default() }), ..Default::default() });
    }
    log.gerrit(GO, vec![GitCommit::default()], Vec::new());
    let all = (0..20_000).map(|each| file(&format!("f{}", each % 7), each, -each)).collect();
    log.gerrit(GO, vec![Commit::new("many-files", "all: many files\n").files(all).build()], Vec::new());
    let odd = vec![GitDiffTreeFile { added: i64::MIN, deleted: i64::MAX, ..file("\0\n", -1, -1) }, file(&"long/".repeat(10_000), 1, 1)];
    log.gerrit(GO, vec![Commit::new("odd-files", "all: odd files\n").files(odd).build()], Vec::new());
}

/// Lines that name nobody, or nobody's moment.
fn people(log: &mut Log) {
    for (place, line) in [
        "",
        " ",
        "x",
        "  ",
        "A",
        "A <a@b>",
        "A <a@b> 1500000000",
        "A <a@b> x +0000",
        "A <a@b> 1500000000 ",
        "A <a@b> 1500000000 +",
        "A <a@b> 1500000000 Z",
        "A <a@b> 1500000000 +01",
        "A <a@b> 1500000000 +1",
        "A <a@b> 1500000000 +01000",
        "A <a@b> 1500000000 +ab:cd",
        "A <a@b> 1500000000 é",
        "A <a@b> 9223372036854775807 +0000",
        "A <a@b> -9223372036854775808 -9999",
        "A <a@b> 99999999999999999999 +0000",
        "A <a@b> 0x10 +0000",
        "A <a@b> 1.5 +0000",
        "A <a@b> +5 +0000",
        "1500000000 +0000",
        ">< 1500000000 +0000",
        "<<<>>> 1500000000 +0000",
        "\0 1500000000 +0000",
        "A <a@b> 1500000000 +2147483647",
    ]
    .into_iter()
    .enumerate()
    {
        let ada = "Ada Lovelace <ada@example.org> 1500000000 +0000";
        for (name, author, committer) in [("odd-person", line, ada), ("odd-committer", ada, line)] {
            let mut commit = Commit::new(name, "all: odd person\n").on(&["root"]).by(author, committer).build();
            commit.sha1 = id(&format!("{name} {place}")).0.into();
            log.gerrit(GO, vec![commit], Vec::new());
        }
    }
}

/// Parents in a circle.
fn circles(log: &mut Log) {
    let circle = |log: &mut Log, names: &[&'static str]| {
        for (place, name) in names.iter().enumerate() {
            let parent = names[(place + 1) % names.len()];
            log.gerrit(GO, vec![Commit::new(name, "all: round\n\nPatch-set: 1\nStatus: new\n").on(&[parent]).build()], Vec::new());
        }
    };
    circle(log, &["self"]);
    circle(log, &["hen", "egg"]);
    circle(log, &["rock", "paper", "scissors"]);
    log.gerrit(GO, Vec::new(), ["self", "hen", "rock"].map(|name| git_ref(format!("refs/heads/{name}"), id(name))).into());
    // Metadata in a circle, and metadata that runs into one.
    for (number, name) in [(701, "self"), (702, "hen"), (703, "scissors")] {
        let mut review = Review::new(log, GO, number);
        review.upload(1, "all: round and round\n", Vec::new());
        let head = review.refs("meta", id(name));
        log.gerrit(GO, Vec::new(), vec![head]);
    }
    let mut review = Review::new(log, GO, 704);
    review.upload(1, "all: round and round\n", Vec::new());
    review.head = Some(id("egg"));
    review.meta("Update patch set 1\n\nPatch Set 1: into the circle\n\nPatch-set: 1\n");
    // A change whose metadata was fine until its first commit was defined again, on top of the last.
    let mut review = Review::new(log, GO, 705);
    review.begin("all: bitten tail\n").meta("Update patch set 1\n\nPatch-set: 1\n");
    review.metas = 0;
    let first = review.meta_commit(&account("Gerrit User 1", 1), "Create change\n\nPatch-set: 1\n", &[]);
    log.gerrit(GO, vec![first], Vec::new());
    // A long chain: what walks it must not do so on the stack.
    let mut review = Review::new(log, GO, 706);
    review.upload(1, "all: long\n", Vec::new());
    let chain: Vec<GitCommit> = (0..20_000).map(|_| review.meta_commit(&account("Gerrit User 1", 1), "Update patch set 1\n\nPatch-set: 1\n", &[])).collect();
    let head = review.refs("meta", id(&format!("{GO}/706/meta/20000")));
    log.gerrit(GO, chain, vec![head]);
}

fn references(log: &mut Log) {
    let to = |name: Vec<u8>| GitRef { ref_name: name, sha1: id("root").0.into(), ..Default::default() };
    let mut names: Vec<Vec<u8>> = [
        "",
        "/",
        "refs/",
        "refs/heads/",
        "refs/changes/",
        "refs/changes/00",
        "refs/changes/00/",
        "refs/changes/00/1",
        "refs/changes/00/1/",
        "refs/changes/00//meta",
        "refs/changes/00/0/0",
        "refs/changes/00/0/meta",
        "refs/changes/00/1/metameta",
        "refs/changes/00/1/-1",
        "refs/changes/00/-1/1",
        "refs/changes/00/+1/1",
        "refs/changes/00/00001/00001",
        "refs/changes/00/2147483647/2147483647",
        "refs/changes/00/2147483648/2147483648",
        "refs/changes/00/9223372036854775808/1",
        "refs/changes/aA/1/1",
        "refs/changes/000/1/1",
        "refs/changes/00/1/1\n",
        "refs/changes/00/١/1",
        "refs/heads/a\nb",
        "refs/heads/\0",
        "refs/heads/ü",
        "refs/heads/..",
        "HEAD\n",
        "^{}",
    ]
    .map(|name| name.as_bytes().into())
    .into();
    names.extend([b"refs/heads/\xff\xfe".to_vec(), b"\x80".to_vec(), b"refs/changes/\xff\xff/1/1".to_vec(), b"refs/changes/00/1/\xff".to_vec()]);
    names.push([&b"refs/heads/"[..], &[b'x'; 100_000]].concat());
    names.push([&b"refs/changes/00/"[..], &[b'1'; 10_000], b"/meta"].concat());
    names.push([&b"refs/changes/00/1/"[..], &[b'0'; 10_000]].concat());
    log.gerrit(GO, Vec::new(), names.iter().cloned().map(to).collect());
    log.put(Mutation { gerrit: Some(GerritMutation { project: GO.into(), deleted_refs: names, ..Default::default() }), ..Default::default() });
    for project in ["", "/", "no-slash", "a/b/c/d", "go.googlesource.com/", "\0", "go.googlesource.com/go\n"] {
        log.gerrit(
            project,
            Vec::new(),
            vec![git_ref("HEAD", id("root")), git_ref("refs/changes/01/1/meta", id("root")), git_ref("refs/changes/01/1/1", id("root"))],
        );
    }
    log.put(Mutation { gerrit: Some(GerritMutation::default()), ..Default::default() });
}

fn changes(log: &mut Log) {
    // Metadata that never comes.
    let mut review = Review::new(log, GO, 721);
    review.upload(1, "all: waiting\n", Vec::new());
    let _never = review.meta_commit(&account("Gerrit User 1", 1), "Create change\n\nPatch-set: 1\n", &[]);
    review.meta("Update patch set 1\n\nPatch-set: 1\nStatus: new\n");
    let mut review = Review::new(log, GO, 722);
    review.upload(1, "all: waiting\n", Vec::new());
    let _never = review.meta_commit(&account("Gerrit User 1", 1), "Create change\n\nPatch-set: 1\n", &[]);
    let lost = review.meta_commit(&account("Gerrit User 1", 1), "Update patch set 1\n\nPatch-set: 1\n", &[]);
    let head = review.refs("meta", id(&format!("{GO}/722/meta/1")));
    log.gerrit(GO, vec![lost], vec![head]);
    // Two changes and two projects share their metadata.
    Review::new(log, GO, 723).begin("all: shared\n\nFixes #1\n");
    let head = id(&format!("{GO}/723/meta/1"));
    for (project, number) in [(GO, 724), (NET, 725)] {
        let mut review = Review::new(log, project, number);
        review.upload(1, "all: sharing\n", Vec::new());
        let head = review.refs("meta", head);
        log.gerrit(project, Vec::new(), vec![head]);
    }
    // A code commit as metadata, metadata as a patch set.
    log.gerrit(GO, Vec::new(), vec![git_ref("refs/changes/26/726/meta", id("many-files")), git_ref("refs/changes/26/726/1", head)]);
    // A new patch set whose commit is nowhere, or no commit.
    for (number, commit) in [(727, "0".repeat(40)), (728, "nonsense".into()), (729, "A".repeat(40)), (730, id("root").text().into())] {
        let mut review = Review::new(log, GO, number);
        review.begin("all: lost commits\n").meta("Update patch set 1\n\nPatch-set: 1\nLabel: Run-TryBot=+1\n");
        review.meta(&format!("Create patch set 2\n\nPatch-set: 2\nCommit: {commit}\nTag: autogenerated:gerrit:newPatchSet\nGroups: x\n"));
    }
    // Messages of nothing but one kind of line, and very many of them.
    for (number, line) in [
        (731, "Label: A=+1\n"),
        (732, "\nPatch Set 1: x"),
        (733, "Hashtag added: x\n"),
        (734, "Hash"),
        (735, "Branch:"),
        (736, "\n\n"),
        (737, "#"),
        (738, "a/b#1 "),
    ] {
        let mut review = Review::new(log, GO, number);
        review.begin(&line.repeat(3_000));
        review.meta(&format!("Update\n\n{}\n\nTag: autogenerated:gerrit:setHashtag\n{}", line.repeat(3_000), line.repeat(3_000)));
    }
    let mut review = Review::new(log, GO, 739);
    review.begin("all: many voters\n");
    let votes: String = (0..10_000).map(|each| format!("Label: L{}=+1 X <{each}@x>\n", each % 100)).collect();
    review.meta(&format!("Update patch set 1\n\nPatch-set: 1\n{votes}"));
}

fn issues(log: &mut Log) {
    log.issue(GithubIssueMutation::default());
    log.issue(GithubIssueMutation { owner: Vec::new(), ..about(801) });
    log.issue(GithubIssueMutation { repo: Vec::new(), ..about(801) });
    // Without a birthday, unless it is a tombstone, the reference ends.
    log.issue(GithubIssueMutation { created: None, title: b"unborn".into(), ..about(802) });
    for number in [0, -1, i32::MIN, i32::MAX] {
        log.issue(GithubIssueMutation { title: b"numbered".into(), ..about(number) });
    }
    let lists = |labels, milestones| Mutation {
        github: Some(GithubMutation { owner: b"golang".into(), repo: b"go".into(), labels, milestones, ..Default::default() }),
        ..Default::default()
    };
    log.put(lists(vec![label(0, "no id"), label(-1, "negative"), label(i64::MIN, "least"), label(i64::MAX, "most")], Vec::new()));
    let milestone = |id, number| GithubMilestone { id, number, title: b"odd".into(), closed: set(true), ..Default::default() };
    log.put(lists(Vec::new(), vec![milestone(0, 1), milestone(-1, -1), milestone(i64::MAX, i64::MAX), milestone(i64::MIN, i64::MIN)]));
    log.issue(GithubIssueMutation { add_label: vec![label(0, "no id"), label(-5, "negative")], remove_label: vec![0, -5, i64::MIN], ..about(803) });
    log.issue(GithubIssueMutation { milestone_id: -1, milestone_num: i64::MAX, ..about(804) });
    // The reference removes by place, and these places move while it does.
    let three = || user(1, "a").into_iter().chain(user(2, "b")).chain(user(3, "c")).collect::<Vec<GithubUser>>();
    log.issue(GithubIssueMutation { assignees: three(), ..about(805) });
    log.issue(GithubIssueMutation { deleted_assignees: vec![3, 2, 1], ..about(805) });
    log.issue(GithubIssueMutation { assignees: three(), deleted_assignees: vec![1, 1, 1, 2], ..about(805) });
    // Twice in one mutation: there twice in the reference.
    log.issue(GithubIssueMutation { assignees: [three(), three()].concat(), ..about(806) });
    log.issue(GithubIssueMutation { assignees: three(), deleted_assignees: vec![2], ..about(806) });
    log.issue(GithubIssueMutation {
        user: user(0, "ghost"),
        assignees: user(0, "ghost").into_iter().chain(user(-1, "minus")).collect(),
        deleted_assignees: vec![0],
        ..about(807)
    });
    let event = |id| GithubIssueEvent { id, event_type: b"labeled".into(), actor_id: -1, label: Some(label(-1, "")), created: at(-1), ..Default::default() };
    log.issue(GithubIssueMutation { event: vec![event(0), event(-1), event(i64::MIN), event(i64::MAX)], ..about(808) });
    let comment = |id| GithubIssueCommentMutation { id, user: user(i64::MIN, "least"), body: b"x".into(), ..Default::default() };
    log.issue(GithubIssueMutation { comment: vec![comment(0), comment(-1), comment(i64::MIN), comment(i64::MAX)], ..about(809) });
    let review = |id| GithubReview { id, actor_id: i64::MAX, created: at(i64::MAX), ..Default::default() };
    log.issue(GithubIssueMutation { review: vec![review(0), review(-1), review(i64::MIN), review(i64::MAX)], pull_request: true, ..about(810) });
    let all = (0..50_000).map(|each| GithubIssueEvent { id: each % 5_000 + 1, created: at(each % 97), ..Default::default() }).collect();
    log.issue(GithubIssueMutation { event: all, ..about(811) });
}

/// Moments that no calendar has.
fn numbers(log: &mut Log) {
    for (place, (seconds, nanos)) in [
        (i64::MAX, 0),
        (i64::MIN, 0),
        (0, -1),
        (0, 1_000_000_000),
        (0, i32::MAX),
        (0, i32::MIN),
        (253_402_300_800, 0),
        (-62_135_596_801, 0),
        (1 << 40, 999_999_999),
    ]
    .into_iter()
    .enumerate()
    {
        let stamp = Some(Timestamp::new(seconds, nanos));
        let status = Some(GithubIssueSyncStatus { server_date: stamp.clone(), ..Default::default() });
        log.issue(GithubIssueMutation {
            created: stamp.clone(),
            updated: stamp.clone(),
            closed_at: stamp.clone(),
            comment: vec![GithubIssueCommentMutation { id: 1, created: stamp.clone(), updated: stamp.clone(), ..Default::default() }],
            event: vec![GithubIssueEvent { id: 1, created: stamp.clone(), ..Default::default() }],
            review: vec![GithubReview { id: 1, created: stamp, ..Default::default() }],
            comment_status: status.clone(),
            event_status: status.clone(),
            review_status: status,
            ..about(831 + place as i32)
        });
    }
}

/// Strings that are not UTF-8: old writers did not check, newer decoders of the reference refuse the record.
fn texts(log: &mut Log) {
    let odd = || b"\xff\xfe\xc0\x80\xed\xa0\x80".to_vec();
    log.issue(GithubIssueMutation { title: odd(), body: odd(), ..about(851) });
    log.issue(GithubIssueMutation {
        body_change: Some(protocol_mutlog::schema::StringChange { val: odd(), ..Default::default() }),
        milestone_id: 5,
        milestone_title: odd(),
        ..about(852)
    });
    let mut issue = GithubIssueMutation { owner: odd(), repo: odd(), user: Some(GithubUser { id: 5, login: odd(), ..Default::default() }), ..about(853) };
    issue.add_label = vec![protocol_mutlog::schema::GithubLabel { id: 5, name: odd(), ..Default::default() }];
    issue.comment = vec![GithubIssueCommentMutation { id: 5, body: odd(), ..Default::default() }];
    issue.event = vec![GithubIssueEvent { id: 5, event_type: odd(), rename_from: odd(), other_json: odd(), ..Default::default() }];
    issue.review = vec![GithubReview { id: 5, body: odd(), state: odd(), commit_id: odd(), actor_association: odd(), ..Default::default() }];
    log.issue(issue);
    let mut commit = Commit::new("odd-texts", "all: odd texts\n").build();
    commit.diff_tree = Some(GitDiffTree { file: vec![GitDiffTreeFile { file: odd(), ..Default::default() }], ..Default::default() });
    let refs = vec![GitRef { ref_name: odd(), sha1: id("odd-texts").0.into(), ..Default::default() }];
    log.put(Mutation {
        gerrit: Some(GerritMutation { project: odd(), commits: vec![commit], refs, deleted_refs: vec![odd()], ..Default::default() }),
        ..Default::default()
    });
}

/// Records that are no messages, or hardly.
fn damage(log: &mut Log) {
    let deep = |levels: usize, closed: bool| {
        let mut out = Vec::new();
        for _ in 0..levels {
            wire::put_varint(&mut out, 1005 << 3 | 3);
        }
        for _ in 0..if closed { levels } else { 0 } {
            wire::put_varint(&mut out, 1005 << 3 | 4);
        }
        out
    };
    for payload in [
        deep(20, true),
        deep(100, true),
        deep(1_000_000, true),
        deep(1_000_000, false),
        // An end without a start, a form that does not exist, field zero, a length beyond the end, a number without end.
        vec![0x0c],
        vec![0x0f, 0],
        vec![0x00, 0x01],
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        vec![0xff; 20],
        vec![0x0a],
        b"not a message at all".to_vec(),
        vec![0; 64],
    ] {
        log.0.push(payload);
    }
    // Known fields of another form.
    log.0.push(vec![0x08, 1, 0x10, 2, 0x18, 3, 0x20, 4]);
    let mut issue = about(871).encode();
    issue.extend_from_slice(&[0x1a, 1, b'x', 0x48, 5, 0x40, 5, 0x98, 0x01, 1]);
    let mut payload = Vec::new();
    wire::put_bytes(&mut payload, 1, &issue);
    log.0.push(payload.clone());
    // The same message twice in a record, and a repeated scalar: the format lets the last one win.
    log.0.push(payload.repeat(2));
    let mut issue = about(872).encode();
    issue.extend_from_slice(&[0x4a, 3, b'o', b'n', b'e', 0x4a, 3, b't', b'w', b'o']);
    let mut payload = Vec::new();
    wire::put_bytes(&mut payload, 1, &issue);
    log.0.push(payload);
    // A whole record, cut anywhere.
    let whole = Mutation {
        gerrit: Some(GerritMutation { project: GO.into(), commits: vec![Commit::new("cut", "all: cut\n").build()], ..Default::default() }),
        ..Default::default()
    }
    .encode();
    log.0.extend((1..whole.len()).step_by(7).map(|end| whole[..end].to_vec()));
    // After all that, a change that must be seen.
    Review::new(log, GO, 799).begin("all: still here\n\nFixes #799\n");
}

#[cfg(test)]
mod tests {
    use protocol_mutlog::view;

    use super::*;

    #[test]
    fn most_of_it_is_readable_and_the_damage_is_not() {
        let log = torture_hostile();
        let unreadable = log.iter().filter(|payload| view::Mutation::decode(payload).is_err()).count();
        assert!(log.len() - unreadable > 250 && unreadable > 20, "{unreadable} of {} cannot be read", log.len());
        let last = log.last().unwrap();
        assert!(view::Mutation::decode(last).unwrap().gerrit.unwrap().refs.iter().any(|reference| reference.ref_name == b"refs/changes/99/799/meta"));
    }
}
