//! Odd changes.

use super::{Commit, GO, Log, NET, Review, account, file, git_ref, id};

pub(super) fn all(log: &mut Log) {
    placeholders(log);
    lives(log);
    many_patch_sets(log);
    branches(log);
    flags(log);
    hashtags(log);
    messages(log);
    commit_messages(log);
    incomplete(log);
}

/// Patch sets and metadata that are pointed to before they are there.
fn placeholders(log: &mut Log) {
    // The message is not known when the reference comes, so the change refers to no issue; nobody looks again.
    log.gerrit(
        GO,
        vec![Commit::new("on-102", "all: on top of a change\n").on(&["patch-102"]).build()],
        vec![git_ref("refs/changes/02/102/1", id("patch-102"))],
    );
    log.gerrit(GO, vec![Commit::new("patch-102", "all: expected\n\nFixes #102\n").build()], Vec::new());
    Review::new(log, GO, 102).meta("Create change\n\nUploaded patch set 1.\n\nPatch-set: 1\nBranch: refs/heads/master\nStatus: new\n");
    // Metadata comes newest first and is whole in the end.
    let mut review = Review::new(log, GO, 103);
    review.upload(1, "all: backwards\n\nFixes #103\n", vec![file("a.go", 1, 1)]);
    let commits = ["Create change\n\nPatch-set: 1\nStatus: new\nBranch: refs/heads/master\n", "Update patch set 1\n\nPatch Set 1:\n\nfine\n\nPatch-set: 1\n"];
    let commits = commits.map(|message| review.meta_commit(&account("Gerrit User 5000", 5000), message, &[]));
    let head = review.refs("meta", id(&format!("{GO}/103/meta/2")));
    for commit in commits.into_iter().rev() {
        review.log.gerrit(GO, vec![commit], Vec::new());
    }
    review.log.gerrit(GO, Vec::new(), vec![head]);
    // A reference to metadata that is a placeholder then.
    let mut review = Review::new(log, GO, 104);
    review.upload(1, "all: expected metadata\n", Vec::new());
    let first = review.meta_commit(&account("Gerrit User 5000", 5000), "Create change\n\nPatch-set: 1\nStatus: new\n", &[]);
    let second = review.meta_commit(&account("Gerrit User 5000", 5000), "Update patch set 1\n\nPatch-set: 1\nStatus: merged\n", &[]);
    let head = review.refs("meta", id(&format!("{GO}/104/meta/1")));
    log.gerrit(GO, vec![second], vec![head]);
    log.gerrit(GO, vec![first], Vec::new());
}

fn lives(log: &mut Log) {
    let mut review = Review::new(log, GO, 201);
    review.begin("net: a plain life\n\nFixes #201\n\nChange-Id: I0123456789012345678901234567890123456789\n");
    review.meta("Update patch set 1\n\nPatch-set: 1\nReviewer: Gerrit User 5200 <5200@62eb7196-b449-3ce5-99f1-c037f21e1705>\nCC: Gerrit User 5201 <5201@62eb7196-b449-3ce5-99f1-c037f21e1705>\n");
    review.meta("Update patch set 1\n\nChange has been successfully cherry-picked as 117ac82c422a11e4dd5f4c14b50bafc1df840481\n\nPatch-set: 1\nStatus: merged\nSubmission-id: 16401-1446004855021-a20b3823\n");
    let mut review = Review::new(log, GO, 202);
    review.begin("net: abandoned, restored, abandoned\n");
    for status in ["abandoned", "new", "abandoned", "submitted", "merged and more"] {
        review.meta(&format!("Update patch set 1\n\nPatch-set: 1\nStatus: {status}\n"));
    }
    let mut review = Review::new(log, GO, 203);
    review.begin("net: a status that says nothing hides an older one in one message only\n");
    review.meta("Update patch set 1\n\nPatch-set: 1\nStatus: submitted\nStatus: abandoned\n");
    Review::new(log, GO, 204)
        .upload(1, "net: draft\n", Vec::new())
        .meta("Create change\n\nPatch-set: 1 (draft)\nBranch: refs/heads/master\nStatus: draft\nTopic:\n");
    Review::new(log, GO, 205).upload(1, "net: no status at all\n", Vec::new()).meta("Create change\n\nPatch-set: 1\n");
    // The metadata goes back to an older commit, as after a deletion by the server.
    let mut review = Review::new(log, GO, 206);
    review.begin("net: rewound\n").meta("Update patch set 1\n\nPatch-set: 1\nStatus: merged\n");
    let back = review.refs("meta", id(&format!("{GO}/206/meta/1")));
    log.gerrit(GO, Vec::new(), vec![back]);
    // The same number in another project.
    Review::new(log, NET, 201).begin("net: the number of another project's change\n");
    // Names of references that go on behind what is looked at; patch set 0 is the metadata.
    let mut review = Review::new(log, GO, 207);
    review.begin("net: longer names\n");
    let more = review.meta_commit(&account("Gerrit User 5200", 5200), "Update patch set 1\n\nPatch-set: 1\nStatus: abandoned\n", &[]);
    let (patch, head) = (review.patch_id(1), id(&format!("{GO}/207/meta/2")));
    let refs = vec![review.refs("7suffix", patch), review.refs("0", head)];
    log.gerrit(GO, vec![more], refs);
    // By whom, when that is hard to say.
    Review::new(log, GO, 208)
        .upload(1, "net: of no account\n", Vec::new())
        .meta_by("Gerrit", "Create change\n\nUploaded patch set 1: hello\n\nPatch-set: 1\nLabel: Code-Review=+1\n");
    Review::new(log, GO, 209)
        .upload(1, "net: of an account that is no number\n", Vec::new())
        .meta_by("Ada <ada@example.org>", "Create change\n\nPatch-set: 1\n");
    // Metadata whose commit is defined again, with another message.
    let mut review = Review::new(log, GO, 210);
    review.begin("net: defined again\n");
    (review.head, review.metas) = (None, 0);
    let again = review.meta_commit(&account("Gerrit User 1", 1), "Create change\n\nPatch-set: 1\nBranch: refs/heads/again\nStatus: merged\n", &[]);
    log.gerrit(GO, vec![again], Vec::new());
}

/// Eleven patch sets, in the order of `git ls-remote`: the last one that is processed is the ninth.
fn many_patch_sets(log: &mut Log) {
    let mut review = Review::new(log, GO, 211);
    let mut names: Vec<String> = (1..=11).map(|patch_set: u32| patch_set.to_string()).collect();
    names.sort();
    let mut refs = Vec::new();
    for name in names {
        let patch_set = name.parse().unwrap_or(0);
        let mut commit = Commit::new("", &format!("net: patch set {name}\n\nUpdates #{name}\n")).files(vec![file("a.go", i64::from(patch_set), 0)]).build();
        let patch = review.patch_id(patch_set);
        commit.sha1 = patch.0.into();
        review.log.gerrit(GO, vec![commit], Vec::new());
        refs.push(review.refs(&name, patch));
    }
    let meta = review.meta_commit(&account("Gerrit User 5300", 5300), "Create change\n\nPatch-set: 11\nStatus: new\nBranch: refs/heads/master\n", &[]);
    refs.push(review.refs("meta", id(&format!("{GO}/211/meta/1"))));
    log.gerrit(GO, vec![meta], refs);
}

fn branches(log: &mut Log) {
    let mut review = Review::new(log, GO, 221);
    review.begin("net: moves to a branch\n");
    review.meta("Update patch set 1\n\nChange destination moved from master to dev.boringcrypto\n\nPatch-set: 1\nBranch: refs/heads/dev.boringcrypto\n");
    review.meta("Update patch set 1\n\nPatch Set 1:\n\nand nothing else\n\nPatch-set: 1\n");
    let mut review = Review::new(log, GO, 222);
    review.begin("net: prose that looks like a footer\n");
    review.meta(
        "Update patch set 1\n\nPatch Set 1:\n\nWhere does it belong?\nBranch: not a footer, but found first\n\nPatch-set: 1\nBranch: refs/heads/footer\n",
    );
    Review::new(log, GO, 223)
        .upload(1, "net: unusual branches\n", Vec::new())
        .meta("Create change\n\nPatch-set: 1\nBranch: refs/heads/refs/heads/x\nStatus: new\n");
    let mut review = Review::new(log, GO, 224);
    review.begin("net: an empty branch does not count\n").meta("Update patch set 1\n\nPatch-set: 1\nBranch: \n");
}

fn flags(log: &mut Log) {
    let mut review = Review::new(log, GO, 231);
    review.begin("net: private, then not\n");
    review.meta("Update patch set 1\n\nSet private\n\nPatch-set: 1\nTag: autogenerated:gerrit:setPrivate\nPrivate: true\n");
    review.meta("Update patch set 1\n\nUnset private\n\nPatch-set: 1\nTag: autogenerated:gerrit:unsetPrivate\nPrivate: false\n");
    let mut review = Review::new(log, GO, 232);
    review.begin("net: not private: the line has no end\n").meta("Update patch set 1\n\nPatch-set: 1\nPrivate: true");
    let mut review = Review::new(log, GO, 233);
    review.begin("net: private\n").meta("Update patch set 1\n\nPatch-set: 1\nPrivate: true\n");
    let mut review = Review::new(log, GO, 234);
    review.begin("net: in progress, ready, in progress\n");
    for value in ["true", "false", "true", "maybe"] {
        review.meta(&format!(
            "Update patch set 1\n\nSet Work In Progress\n\nPatch-set: 1\nTag: autogenerated:gerrit:setWorkInProgress\nWork-in-progress: {value}\n"
        ));
    }
    let mut review = Review::new(log, GO, 235);
    review.begin("net: in progress, then ready\n");
    for value in ["true", "false"] {
        review.meta(&format!("Update patch set 1\n\nPatch-set: 1\nWork-in-progress: {value}\n"));
    }
    let mut review = Review::new(log, GO, 236);
    review.begin("net: somebody says in prose that it is in progress\n");
    review.meta("Update patch set 1\n\nPatch Set 1:\n\nas I said\nWork-in-progress: true\n\nPatch-set: 1\nWork-in-progress: false\n");
}

fn hashtags(log: &mut Log) {
    let edit = |said: &str, footer: &str| format!("Update patch set 1\n\n{said}\n\nPatch-set: 1\n{footer}Tag: autogenerated:gerrit:setHashtag\n");
    let mut review = Review::new(log, GO, 241);
    review.begin("net: hashtags\n");
    review.meta(&edit("Hashtag added: foo", "Hashtags: foo\n"));
    review.meta(&edit("Hashtags added: bar, b az", "Hashtags: foo, bar,b az\n"));
    review.meta("Update patch set 1\n\nPatch Set 1:\n\nno change of hashtags\n\nPatch-set: 1\n");
    review.meta(&edit("Hashtag removed: foo", "Hashtags: bar,b az\n"));
    review.meta(&edit("Hashtags added: x\nHashtags removed:    bar, b az", "Hashtags: x\n"));
    let mut review = Review::new(log, GO, 242);
    review.begin("net: hashtags, then none\n");
    review.meta(&edit("Hashtag added:foo", "Hashtags: foo\n"));
    review.meta(&edit("Hashtag removed:foo", "Hashtags: \n"));
    let mut review = Review::new(log, GO, 243);
    review.begin("net: hashtags outside their footer\n");
    review.meta("Update patch set 1\n\nHashtag added: other tag\n\nPatch-set: 1\nHashtags: one\nTag: autogenerated:gerrit:otherTag\n");
    review.meta("Update patch set 1\n\nHashtags: in prose\n\nHashtag added: prose\n\nPatch-set: 1\nTag: autogenerated:gerrit:setHashtag\n");
    review.meta(&edit("Hashtag added: first\nHashtag added: second\nHashtag\nHash tag added: third\nHashtagadded: fourth", "Hashtags:no blank\n"));
    review.meta(
        "Update patch set 1\n\nHashtag added: late\n\nPatch-set: 1\nHashtags: late\nTag: autogenerated:gerrit:setHashtag\n\nTag: of the last paragraph\n",
    );
}

/// Every shape of the rule for messages (`spec/maintner.md` §4.4).
fn messages(log: &mut Log) {
    let mut review = Review::new(log, GO, 251);
    review.begin("net: messages\n");
    for said in [
        "Patch Set 3: Code-Review+2\n\n(2 comments)",
        "Patch Set 3:\n\n(1 comment)",
        "Patch Set 3:",
        "Patch Set 3: ",
        "Patch Set 12: Code-Review+1 Run-TryBot+1\n\nSeveral\n\nparagraphs: with colons.",
        "Uploaded patch set 4.",
        "Uploaded patch set 4: Run-TryBot+1.",
        "Uploaded patch set 4: Patch Set 3 was rebased.",
        "Uploaded patch set 7.: Commit message was updated",
        "Patch Set three: not a number",
        "Patch Set 99999999999: too large",
        "Patch Set -1: less than nothing",
        "Patch Set +3: more than necessary",
        "Patch Set 007: of the queen",
        "Patch Set 1 : with a blank",
        "Patch Set : nothing",
        "Patch Set 3\nwith the colon: on the next line",
        "Patch Set 1.5: with a dot",
        "No phrase here at all.",
        "In prose: Patch Set 5: not at the start of a line",
        "patch set 5: in small letters",
        "Uploaded patch set 2: first one\n\nPatch Set 1: then the other",
        "Patch Set 1: first one\n\nUploaded patch set 2: then the other",
        "Uploaded patch set 2.\n\nPatch Set 1: the first one spoils it",
        "Patch Set 6: quotes\nPatch-set: of somebody else\nand goes on",
        "Patch Set 6: carriage returns\r\n\r\nas from Windows\r\n",
        "Patch Set 6: 😕 naïve\n\n\u{2028}",
        "Patch Set 6: blanks behind   \n\n   ",
        "Change has been rebased as Patch Set 8: really",
        "Abandoned\n\nPatch Set 9: a phrase behind a verb",
    ] {
        review.meta_by(&account("Gerrit User 5400", 5400), &format!("Update patch set 3\n\n{said}\n\nPatch-set: 3\n"));
    }
    for message in [
        // The phrase must follow a line end.
        "Patch Set 1: in the first line\n\nPatch-set: 1\n",
        "Uploaded patch set 1: in the first line\n\nPatch-set: 1\n",
        "\nPatch Set 1: in the second line\n\nPatch-set: 1\n",
        // The line `Patch-set:` must have an end, and be there.
        "Update patch set 1\n\nPatch Set 1: no end\n\nPatch-set: 1",
        "Update patch set 1\n\nPatch Set 1: no footer\n",
        "Update patch set 1\n\nPatch Set 1: no footer and no end",
        "Update patch set 1\n\nPatch Set 1",
        // Two bytes before it are cut off whatever they are.
        "Update patch set 1\n\nPatch Set 1: cut\nPatch-set: 1\n",
        "Update patch set 1\n\nPatch Set 1:\nPatch-set: 1\n",
        "Update patch set 1\n\nPatch Set 1: ends in two bytes ü\nPatch-set: 1\n",
        "Update patch set 1\n\nPatch Set 1: much room\n\n\n\nPatch-set: 1\n",
        "Update patch set 1\n\nPatch Set 1: near it\n\n Patch-set: 1\nPatch-sets: 1\nPatch-set : 1\nPatch-set:1\n",
        "",
        "\n",
    ] {
        review.meta_by(&account("Gerrit User 5401", 5401), message);
    }
}

/// Messages of patch sets: subjects, Change-Ids, references to issues.
fn commit_messages(log: &mut Log) {
    for (place, message) in [
        "net: forms\n\nFixes #1\nUpdates golang/go#2, Golang/Go#2 and golang/go#3.\nFor #1\n",
        "net: the first line with a number sign counts from its start\n\ngolang/go#7 was before #8\nnothing #\n",
        "golang/tools#4: in the subject\n",
        "net: glued\n\nx#5 y/z#6 a/b/c#7 (#8) [#9] #10a #11_ #12- #13. issue#14 -/-#15 _x/y-z#16 é/é#17 ü#18\n",
        "net: zeros and large ones\n\n#0 #007 #2147483647 #2147483648 #99999999999999999999 #-1\n",
        "net: links\n\nhttps://github.com/golang/go/issues/20 and https://github.com/golang/go/issues/21#issuecomment-22 and golang.org/issue/23#24\n",
        "net: other places\n\nGoogleCloudPlatform/google-cloud-go#481\nmy-org/my_repo#482\n",
        "net: ## #### #x#26#27 golang/go##28 golang/go #29\n",
        "net: subject\nof two lines\n\nand a body\n",
        "net: no line end, no Change-Id",
        "net: ids\n\nChange-Id: I0123\nChange-Id: I0123456789012345678901234567890123456789\n",
        "net: ids\n\nChange-Id:I0123456789012345678901234567890123456789\n",
        "net: ids\n\nChange-Id:    I0123456789012345678901234567890123456789   \r\n",
        "net: ids\n\nChange-Id: i0123456789012345678901234567890123456789\n",
        "net: ids\n\n  Change-Id: I0123456789012345678901234567890123456789\nNot-Change-Id: I1\n",
        "\n\nnet: nothing before the blank line\n",
        "",
    ]
    .into_iter()
    .enumerate()
    {
        for project in [GO, NET] {
            Review::new(log, project, 301 + place as u32).begin(message);
        }
    }
    // Another patch set refers to other issues, and replaces the first one's.
    let mut review = Review::new(log, GO, 331);
    review.begin("net: one\n\nFixes #331\n").upload(2, "net: two\n\nFixes #332\n", Vec::new());
    let mut review = Review::new(log, GO, 332);
    review.begin("net: one\n\nFixes #331\n").upload(2, "net: none any more\n", Vec::new());
    // Two changes and a project point to the same commit.
    let patch = Review::new(log, GO, 331).patch_id(1);
    Review::new(log, NET, 333).meta("Create change\n\nPatch-set: 1\nStatus: new\n");
    log.gerrit(NET, Vec::new(), vec![git_ref("refs/changes/33/333/1", patch)]);
}

/// Changes that are not to be seen.
fn incomplete(log: &mut Log) {
    Review::new(log, GO, 401).upload(1, "net: no metadata\n", Vec::new());
    Review::new(log, GO, 402).meta("Create change\n\nUploaded patch set 1.\n\nPatch-set: 1\nStatus: new\nPrivate: true\n");
    // A merge in the metadata: the walk gives up, and in a fresh corpus there is nothing from before.
    let mut review = Review::new(log, GO, 403);
    review.begin("net: merged metadata\n");
    let merge =
        review.meta_commit(&account("Gerrit User 5500", 5500), "Update patch set 1\n\nPatch-set: 1\nLabel: Code-Review=+1\nPrivate: true\n", &[id("root")]);
    let head = review.refs("meta", id(&format!("{GO}/403/meta/2")));
    log.gerrit(GO, vec![merge], vec![head]);
    let mut review = Review::new(log, GO, 404);
    review.begin("net: a merge below\n");
    let merge = review.meta_commit(&account("Gerrit User 5500", 5500), "Update patch set 1\n\nPatch-set: 1\nLabel: Code-Review=+1\n", &[id("root")]);
    review.log.gerrit(GO, vec![merge], Vec::new());
    review.meta("Update patch set 1\n\nPatch-set: 1\nStatus: merged\nLabel: Code-Review=+2\n");
}
