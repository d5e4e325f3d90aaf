//! What a leader answers about its corpus, for small corpora. The facts are those of the reference's own tables.

#[path = "maintapi/world.rs"]
mod world;

use burrow_maintnerd::api::dashboard::{DashboardError, page};
use burrow_maintnerd::api::refs::{AncestorError, UnknownProject, has_ancestor, reference};
use burrow_maintnerd::api::releases::{ReleasesError, list, supported};
use burrow_maintnerd::api::{Rules, VersionPattern};
use protocol_maintapi::*;

use world::{GO, New, World, id};

/// A corpus whose main project has these references, each to a commit of its own.
fn with_references<'a>(names: impl IntoIterator<Item = &'a str>) -> World {
    let mut world = World::default();
    for name in names {
        world.commit(GO, &New { name, ..New::default() });
        world.refs(GO, &[(name, name)]);
    }
    world
}

fn releases(world: &World, rules: &Rules) -> Vec<(i32, i32, i32, String, String)> {
    let releases = supported(&world.view(), rules).unwrap();
    for release in &releases {
        assert_eq!(release.tag_commit, id(&format!("refs/tags/{}", release.tag_name)));
        assert_eq!(release.branch_commit, id(&format!("refs/heads/{}", release.branch_name)));
    }
    releases.into_iter().map(|release| (release.major, release.minor, release.patch, release.tag_name, release.branch_name)).collect()
}

fn release(major: i32, minor: i32, patch: i32, tag: &str, branch: &str) -> (i32, i32, i32, String, String) {
    (major, minor, patch, tag.to_owned(), branch.to_owned())
}

#[test]
fn the_newest_two_releases_with_a_branch_are_supported() {
    // As Go's repository was in autumn 2018.
    let go = "HEAD refs/heads/dev.boringcrypto refs/heads/dev.boringcrypto.go1.11 refs/heads/master refs/heads/release-branch.go1 refs/heads/release-branch.go1.1 \
              refs/heads/release-branch.go1.10 refs/heads/release-branch.go1.11 refs/heads/release-branch.go1.10-security refs/heads/release-branch.go1.11-security \
              refs/heads/release-branch.go1.2 refs/heads/release-branch.r60 refs/notes/review refs/tags/1.10beta1.mailed refs/tags/andybons/blog.mailed refs/tags/go1 \
              refs/tags/go1.0.1 refs/tags/go1.0.3 refs/tags/go1.1 refs/tags/go1.10 refs/tags/go1.10.1 refs/tags/go1.10.4 refs/tags/go1.10.3 refs/tags/go1.10beta2 \
              refs/tags/go1.10rc2 refs/tags/go1.11 refs/tags/go1.11.1 refs/tags/go1.11beta3 refs/tags/go1.11rc2 refs/tags/go1.9.7 refs/tags/go1.9rc2 \
              refs/tags/release.r60.3 refs/tags/weekly refs/tags/weekly.2009-11-10.1";
    let expected = [release(1, 11, 1, "go1.11.1", "release-branch.go1.11"), release(1, 10, 4, "go1.10.4", "release-branch.go1.10")];
    assert_eq!(releases(&with_references(go.split_whitespace()), &Rules::go()), expected);

    // A new major version, and a version whose branch is not there yet.
    let go2 = "refs/tags/go1.5 refs/tags/go1.42.1 refs/tags/go1 refs/tags/go2 refs/tags/go1.11.111 refs/heads/release-branch.go1 refs/heads/release-branch.go1.5 \
               refs/heads/release-branch.go1.11 refs/heads/release-branch.go1.42 refs/heads/release-branch.go2 refs/heads/release-branch.go1.2 refs/tags/go1.43";
    let expected = [release(2, 0, 0, "go2", "release-branch.go2"), release(1, 42, 1, "go1.42.1", "release-branch.go1.42")];
    assert_eq!(releases(&with_references(go2.split_whitespace()), &Rules::go()), expected);
}

#[test]
fn tags_that_end_in_zero_are_releases_since_2023() {
    let world = with_references(
        "refs/tags/go1.20 refs/heads/release-branch.go1.20 refs/tags/go1.21.0 refs/heads/release-branch.go1.21 refs/tags/go1.19.1 refs/heads/release-branch.go1.19"
            .split_whitespace(),
    );
    let (r20, r19) = (release(1, 20, 0, "go1.20", "release-branch.go1.20"), release(1, 19, 1, "go1.19.1", "release-branch.go1.19"));
    assert_eq!(releases(&world, &Rules::go()), [r20.clone(), r19]);
    assert_eq!(releases(&world, &Rules::go_2026()), [release(1, 21, 0, "go1.21.0", "release-branch.go1.21"), r20]);
}

#[test]
fn other_projects_have_other_names() {
    let mut rules = Rules::go();
    rules.name = "Ferris".to_owned();
    rules.releases.tags = VersionPattern::new("v*").unwrap();
    rules.releases.branches = VersionPattern::new("stable/*.x").unwrap();
    rules.releases.supported = 3.try_into().unwrap();
    let mut names: Vec<&str> = "refs/tags/v1.1.1 refs/heads/stable/1.1.x refs/tags/v1.2 refs/heads/stable/1.2.x refs/tags/v1.3.7".split_whitespace().collect();
    let error = list(&with_references(names.iter().copied()).view(), &rules).unwrap_err();
    assert_eq!(error.to_string(), "there was a problem finding supported Ferris releases");
    names.push("refs/heads/stable/1.3.x");
    let expected = [release(1, 3, 7, "v1.3.7", "stable/1.3.x"), release(1, 2, 0, "v1.2", "stable/1.2.x"), release(1, 1, 1, "v1.1.1", "stable/1.1.x")];
    assert_eq!(releases(&with_references(names), &rules), expected);
    assert_eq!(list(&World::default().view(), &rules), Err(ReleasesError::NoMainProject { project: "go".to_owned() }));
}

#[test]
fn a_history_holds_what_is_before_a_commit() {
    let mut world = World::default();
    // a ← b ← d, a ← c ← d: a merge; and e, whose parent is not in the log.
    for (name, parents) in [("a", &[][..]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"]), ("e", &["missing"])] {
        world.commit(GO, &New { name, parents, ..New::default() });
    }
    // What git cannot make: circles.
    for (name, parents) in [("self", &["self"][..]), ("hen", &["egg"]), ("egg", &["hen", "a"])] {
        world.commit(GO, &New { name, parents, ..New::default() });
    }
    // A long one, and one with very many ways.
    world.line(GO, "long", "d", 20_000, 1_600_000_000, 1);
    let names: Vec<String> = (0..=64).map(|at| format!("diamond-{at}")).collect();
    for at in 1..=64 {
        for side in ["left", "right"] {
            world.commit(GO, &New { name: &format!("{side}-{at}"), parents: &[&names[at - 1]], ..New::default() });
        }
        world.commit(GO, &New { name: &names[at], parents: &[&format!("left-{at}"), &format!("right-{at}")], ..New::default() });
    }
    world.commit(GO, &New { name: &names[0], ..New::default() });

    let view = world.view();
    let ask = |commit: &str, ancestor: &str| has_ancestor(&view, &HasAncestorRequest { commit: commit.to_owned(), ancestor: ancestor.to_owned() });
    let known = |has_ancestor| Ok(HasAncestorResponse { has_ancestor, unknown_commit: false });
    for (commit, ancestor, expected) in [
        ("b", "a", true),
        ("a", "b", false),
        ("d", "a", true),
        ("d", "b", true),
        ("d", "c", true),
        ("b", "c", false),
        ("a", "a", false),
        ("d", "nobody", false),
        ("e", "missing", true),
        ("missing", "a", false),
        ("self", "self", true),
        ("hen", "hen", true),
        ("hen", "a", true),
        ("hen", "b", false),
        ("long-19999", "a", true),
        ("long-19999", "e", false),
        ("diamond-64", "diamond-0", true),
        ("diamond-64", "a", false),
    ] {
        assert_eq!(ask(&id(commit), &id(ancestor)), known(expected), "{commit} {ancestor}");
    }
    assert_eq!(ask(&id("nobody"), &id("a")), Ok(HasAncestorResponse { has_ancestor: false, unknown_commit: true }));
    assert_eq!(ask(&"x".repeat(40), &id("a")), Ok(HasAncestorResponse { has_ancestor: false, unknown_commit: true }));
    assert_eq!(ask(&id("d").to_uppercase(), &id("a").to_uppercase()), known(true));
    assert_eq!(ask(&id("d"), &"ü".repeat(20)), known(false));
    for bad in ["", "12", &"0".repeat(41), &"0".repeat(39)] {
        assert_eq!(ask(bad, bad), Err(AncestorError::Commit));
        assert_eq!(ask(&id("a"), bad), Err(AncestorError::Ancestor));
    }
}

#[test]
fn references_are_those_of_branches_and_tags() {
    let world = with_references(["HEAD", "refs/heads/master", "refs/tags/go1", "refs/changes/01/101/1"]);
    let view = world.view();
    let ask = |server: &str, project: &str, name: &str| {
        reference(&view, &GetRefRequest { r#ref: name.into(), gerrit_server: server.into(), gerrit_project: project.into() }).map(|answer| answer.value)
    };
    assert_eq!(ask("go.googlesource.com", "go", "refs/heads/master"), Ok(id("refs/heads/master")));
    assert_eq!(ask("https://go-review.googlesource.com", "go", "HEAD"), Ok(id("HEAD")));
    assert_eq!(ask("go.googlesource.com", "go", "NOT EXIST REF"), Ok(String::new()));
    assert_eq!(ask("go.googlesource.com", "go", "refs/changes/01/101/1"), Ok(String::new()));
    assert_eq!(ask("go.googlesource.com", "NOT EXIST PROJ", "HEAD"), Err(UnknownProject));
    assert_eq!(UnknownProject.to_string(), "unknown gerrit project");
}

const NET: &str = "go.googlesource.com/net";

fn ask(world: &World, repo: &str, branch: &str, number: i32, max_commits: i32) -> Result<DashboardResponse, DashboardError> {
    page(&world.view(), &Rules::go(), &DashboardRequest { page: number, repo: repo.into(), branch: branch.into(), max_commits })
}

fn titles(answer: &DashboardResponse) -> Vec<&str> {
    answer.commits.iter().map(|commit| commit.title.split_once(": change ").map_or("", |(_, number)| number)).collect()
}

#[test]
fn pages_follow_each_other() {
    let world = World::with_releases();
    for (number, expected, more) in [(0, &["3", "2"][..], true), (1, &["1", "0"], false), (2, &[], false)] {
        let answer = ask(&world, "", "", number, 2).unwrap();
        assert_eq!((titles(&answer).as_slice(), answer.commits_truncated), (expected, more), "page {number}");
    }
    let answer = ask(&world, "go", "release-branch.go1.16", 0, 0).unwrap();
    assert_eq!((titles(&answer), answer.commits_truncated), (vec!["2", "1", "0"], false));
    assert_eq!(answer.branches, ["master", "release-branch.go1.15", "release-branch.go1.16"]);
    let names: Vec<(&str, &str)> = answer.releases.iter().map(|release| (release.branch_name.as_str(), release.tag_name.as_str())).collect();
    assert_eq!(names, [("master", ""), ("release-branch.go1.16", "go1.16.3"), ("release-branch.go1.15", "go1.15.11")]);
    assert!(answer.commits.iter().all(|commit| commit.go_commit_at_time.is_empty() && commit.branch == "release-branch.go1.16"));

    let mut long = World::with_releases();
    long.line(GO, "long", "go-3", 1_200, 1_600_001_000, 1);
    long.refs(GO, &[("refs/heads/master", "long-1199")]);
    // Mixed, what a branch had no room for does not count as more; the reference has it so.
    for (branch, asked, given, more) in
        [("", 0, 30, true), ("", 31, 31, true), ("", 1_000, 1_000, true), ("", 9_999, 1_000, true), ("mixed", 0, 500, false), ("mixed", 3, 3, false)]
    {
        let answer = ask(&long, "", branch, 0, asked).unwrap();
        assert_eq!((answer.commits.len(), answer.commits_truncated), (given, more), "{branch} {asked}");
    }
}

#[test]
fn mixed_branches_are_one_history_by_time() {
    let mut world = World::with_releases();
    world.line(GO, "dev", "go-1", 2, 1_600_000_150, 200);
    world.refs(GO, &[("refs/heads/dev", "dev-1")]);
    let answer = ask(&world, "", "mixed", 0, 0).unwrap();
    let listed: Vec<(i64, &str)> = answer.commits.iter().map(|commit| (commit.commit_time_sec - 1_600_000_000, commit.branch.as_str())).collect();
    // What is on several branches is listed once for each.
    let (r15, r16) = ("release-branch.go1.15", "release-branch.go1.16");
    let expected = [
        (350, "dev"),
        (300, "master"),
        (200, "master"),
        (200, r16),
        (150, "dev"),
        (100, "dev"),
        (100, "master"),
        (100, r15),
        (100, r16),
        (0, "dev"),
        (0, "master"),
        (0, r15),
        (0, r16),
    ];
    assert_eq!(listed, expected);
    assert!(!answer.commits_truncated);
    let answer = ask(&world, "", "mixed", 0, 5).unwrap();
    assert_eq!(answer.commits.iter().map(|commit| commit.commit_time_sec - 1_600_000_000).collect::<Vec<_>>(), [350, 300, 200, 200, 150]);
    assert!(answer.commits_truncated);
}

#[test]
fn other_projects_say_what_the_main_one_was_then() {
    let mut world = World::with_releases();
    // Go's commits are at 0, 100, 200, 300.
    world.line(NET, "net", "", 3, 1_600_000_050, 100);
    world.refs(NET, &[("refs/heads/master", "net-2")]);
    let answer = ask(&world, "golang.org/x/net", "", 0, 0).unwrap();
    let go = |commit: &DashCommit| (commit.title.clone(), commit.go_commit_at_time.clone(), commit.go_commit_latest.clone());
    let expected = |net: usize, at: &str, latest: &str| (format!("net: change {net}"), id(at), id(latest));
    let of_page = |answer: &DashboardResponse| answer.commits.iter().map(go).collect::<Vec<_>>();
    // On the first page nothing is newer than its first commit.
    assert_eq!(of_page(&answer), [expected(2, "go-2", "go-2"), expected(1, "go-1", "go-2"), expected(0, "go-0", "go-1")]);
    let answer = ask(&world, "golang.org/x/net", "", 1, 1).unwrap();
    assert_eq!(of_page(&answer), [expected(1, "go-1", "go-2")]);
    assert!(answer.commits_truncated);
}

#[test]
fn heads_are_those_of_the_server_that_are_there() {
    let mut world = World::with_releases();
    world.line(NET, "net", "", 1, 1_600_000_050, 100);
    world.refs(NET, &[("refs/heads/master", "net-0")]);
    // No main branch; a head of which another project alone has the commit; another server.
    world.line("go.googlesource.com/tools", "tools", "", 1, 1_600_000_050, 100);
    world.refs("go.googlesource.com/tools", &[("refs/heads/dev", "tools-0")]);
    world.refs("go.googlesource.com/dl", &[("refs/heads/master", "go-2")]);
    world.line("code.googlesource.com/gocloud", "cloud", "", 1, 1_600_000_050, 100);
    world.refs("code.googlesource.com/gocloud", &[("refs/heads/master", "cloud-0")]);
    let answer = ask(&world, "", "", 0, 0).unwrap();
    let heads: Vec<(&str, &str)> =
        answer.repo_heads.iter().map(|head| (head.gerrit_project.as_str(), head.commit.as_ref().map_or("", |commit| commit.title.as_str()))).collect();
    assert_eq!(heads, [("go", "go: change 3"), ("net", "net: change 0")]);
}

#[test]
fn odd_histories_end() {
    let mut world = World::with_releases();
    // Its parent is known by name only; nobody wrote it; it is its own ancestor.
    world.commit(GO, &New { name: "orphan", parents: &["missing"], author: "", message: "", ..New::default() });
    world.commit(GO, &New { name: "hen", parents: &["egg"], time: 1_700_000_000, ..New::default() });
    world.commit(GO, &New { name: "egg", parents: &["hen"], time: 1_700_000_000, ..New::default() });
    world.refs(GO, &[("refs/heads/orphan", "orphan"), ("refs/heads/nobody", "missing"), ("refs/heads/circle", "hen")]);

    let answer = ask(&world, "", "orphan", 0, 0).unwrap();
    let [commit] = answer.commits.as_slice() else { panic!("{answer:?}") };
    assert_eq!((commit.commit.as_str(), commit.author_name.as_str(), commit.title.as_str()), (id("orphan").as_str(), "", ""));
    assert!(answer.commits_truncated, "there is a parent");
    let answer = ask(&world, "", "nobody", 0, 0).unwrap();
    assert_eq!((answer.commits.len(), answer.commits_truncated), (0, true));
    assert!(ask(&world, "", "circle", 0, 1_000).unwrap().commits.len() < 10);
    let answer = ask(&world, "", "mixed", 0, 0).unwrap();
    assert!(answer.commits.iter().all(|commit| commit.branch == "circle"), "older than all of the first branch");

    // Another project's page needs the main one's history, back to its own oldest commit.
    world.line(NET, "net", "", 1, 1_000, 1);
    world.refs(NET, &[("refs/heads/master", "net-0")]);
    world.refs(GO, &[("refs/heads/master", "hen")]);
    assert_eq!(ask(&world, "golang.org/x/net", "", 0, 0).unwrap().commits.len(), 1);
}
