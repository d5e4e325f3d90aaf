//! Questions to a log on this disk. What is true of the logs is what their dumps say, which are compared with the reference's elsewhere.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::logs::{command, facts, made, objects, run, text, well};
use serde_json::Value;

/// What `godata --log LOG …` answers.
fn ask(log: &str, question: &[&str]) -> Vec<Value> {
    objects(made(), &[&["godata", "--log", log], question].concat())
}

/// Unix seconds of a dump's time; `None`: not set.
fn seconds(value: &Value) -> Option<i64> {
    value.as_str()?.split('.').next()?.parse().ok()
}

fn names(found: &[Value]) -> Vec<String> {
    found.iter().map(|issue| format!("{}#{}", text(issue, "repo"), issue["number"])).collect()
}

#[test]
fn issues_are_chosen_by_every_filter() {
    let facts = facts("demo");
    let name_of = |kind: &str, repo: &str, id: &Value| {
        let known = facts[kind].iter().find(|known| text(known, "repo") == repo && known["id"] == *id);
        known.map(|known| known[if kind == "ghlabel" { "name" } else { "title" }].as_str().unwrap().to_owned())
    };
    let labels = |issue: &Value| -> BTreeSet<String> {
        issue["labels"].as_array().unwrap().iter().filter_map(|id| name_of("ghlabel", text(issue, "repo"), id)).collect()
    };
    let milestone = |issue: &Value| name_of("ghmilestone", text(issue, "repo"), &issue["milestone"]);
    let login = |value: &Value| value["login"].as_str().map(str::to_owned);
    let day = |days: i64| days * 86_400;
    type Filter<'f> = Box<dyn Fn(&Value) -> bool + 'f>;
    let cases: Vec<(&[&str], Filter<'_>)> = vec![
        (&[], Box::new(|_| true)),
        (&["--repo", "golang/go"], Box::new(|issue| text(issue, "repo") == "golang/go")),
        (&["--repo", "golang/snappy", "--repo", "Golang/VSCode-Go"], Box::new(|issue| ["golang/snappy", "golang/vscode-go"].contains(&text(issue, "repo")))),
        (&["--label", "needsfix"], Box::new(|issue| labels(issue).contains("NeedsFix"))),
        (&["--label", "NeedsFix", "--label", "OS-Windows"], Box::new(|issue| labels(issue).contains("NeedsFix") && labels(issue).contains("OS-Windows"))),
        (&["--not-label", "NeedsFix"], Box::new(|issue| !labels(issue).contains("NeedsFix"))),
        (&["--milestone", "go1.3"], Box::new(|issue| milestone(issue).as_deref() == Some("Go1.3"))),
        (&["--milestone", "none"], Box::new(|issue| issue["milestone"] == 0)),
        (&["--author", "BABABABA0"], Box::new(|issue| login(&issue["user"]).as_deref() == Some("babababa0"))),
        (&["--assignee", "babababa0"], Box::new(|issue| issue["assignees"].as_array().unwrap().iter().any(|user| login(user).as_deref() == Some("babababa0")))),
        (&["--pull-requests"], Box::new(|issue| issue["pr"] == true)),
        (&["--issues-only"], Box::new(|issue| issue["pr"] == false)),
        (&["--since", "2019-01-01"], Box::new(|issue| seconds(&issue["created"]) >= Some(day(17_897)))),
        (&["--updated-since", "2021-06-30T12:00:00+02:00"], Box::new(|issue| seconds(&issue["updated"]) >= Some(1_625_047_200))),
    ];
    for (filter, wanted) in &cases {
        for (state, closed) in [("open", vec![false]), ("closed", vec![true]), ("all", vec![false, true])] {
            let fits = |issue: &&Value| issue["not_exist"] == false && closed.contains(&issue["closed"].as_bool().unwrap()) && wanted(issue);
            let expected: BTreeSet<String> = facts["ghissue"].iter().filter(fits).map(|issue| format!("{}#{}", text(issue, "repo"), issue["number"])).collect();
            let found = ask("demo", &[&["issues", "--state", state], *filter].concat());
            assert_eq!(names(&found).into_iter().collect::<BTreeSet<_>>(), expected, "{filter:?} {state}");
            assert_eq!(found.len(), expected.len(), "each once");
        }
        let chosen = ask("demo", &[&["issues", "--state", "all"], *filter].concat()).len();
        assert!(chosen > 0, "{filter:?} chooses something");
    }
}

#[test]
fn issues_come_in_the_order_that_is_asked_for() {
    for (sort, key) in [("number", "number"), ("created", "created"), ("updated", "updated")] {
        let question = ["issues", "--repo", "golang/go", "--state", "all", "--sort", sort];
        let found = ask("demo", &question);
        let keys: Vec<String> =
            found.iter().map(|issue| issue[key].as_str().map_or_else(|| format!("{:09}", issue[key].as_i64().unwrap()), str::to_owned)).collect();
        assert!(keys.len() == 52 && keys.is_sorted_by(|a, b| a >= b), "{sort}: {keys:?}");
        let mut reversed = names(&ask("demo", &[&question[..], &["--reverse"]].concat()));
        reversed.reverse();
        assert_eq!(reversed, names(&found));
        assert_eq!(names(&ask("demo", &[&question[..], &["--limit", "3"]].concat())), names(&found)[..3]);
    }
}

#[test]
fn words_are_found_in_titles_texts_and_comments() {
    let all = ask("demo", &["issues", "--state", "all", "--comments"]);
    for words in ["deadlock", "DEADLOCK stream", "naïve 2×", "database/sql: add", "nowhere-at-all"] {
        let says = |issue: &&Value| {
            let comments = issue["comments"].as_array().unwrap().iter().map(|comment| text(comment, "body"));
            let texts: String = [text(issue, "title"), text(issue, "body")].into_iter().chain(comments).collect::<Vec<_>>().join("\n").to_lowercase();
            words.to_lowercase().split_whitespace().all(|word| texts.contains(word))
        };
        let expected = names(&all.iter().filter(says).cloned().collect::<Vec<_>>());
        assert_eq!(names(&ask("demo", &["issues", "--state", "all", "--text", words])), expected, "{words}");
        assert_eq!(expected.is_empty(), words.starts_with("nowhere"), "{words}: {expected:?}");
    }
}

#[test]
fn an_issue_tells_everything_in_its_order() {
    let facts = facts("odd");
    let one = |name: &str| ask("odd", &["issue", name]).remove(0);
    // Everything that the dump has of issues is in the answers, each once.
    for (kind, what) in [("ghcomment", "comment"), ("ghevent", "event"), ("ghreview", "review")] {
        let mut ids: Vec<(String, Value)> = Vec::new();
        for issue in &facts["ghissue"] {
            let name = format!("{}#{}", text(issue, "repo"), issue["number"]);
            let answer = one(&name);
            let times: Vec<&str> = answer["timeline"].as_array().unwrap().iter().map(|entry| entry["time"].as_str().unwrap_or("")).collect();
            assert!(times.is_sorted(), "{name}: {times:?}");
            ids.extend(answer["timeline"].as_array().unwrap().iter().filter(|entry| entry["what"] == what).map(|entry| (name.clone(), entry["id"].clone())));
        }
        let mut expected: Vec<(String, Value)> =
            facts[kind].iter().map(|entry| (format!("{}#{}", text(entry, "repo"), entry["number"]), entry["id"].clone())).collect();
        let key = |(name, id): &(String, Value)| (name.clone(), id.as_i64());
        ids.sort_by_key(key);
        expected.sort_by_key(key);
        assert_eq!(ids, expected);
    }
    // What the torture log says in so many words.
    let buried = one("golang/go#51");
    assert_eq!((text(&buried, "state"), text(&buried, "title"), text(&buried["timeline"][0], "body")), ("deleted", "to be buried", "stays underneath"));
    assert!(!names(&ask("odd", &["issues", "--state", "all"])).contains(&"golang/go#51".to_owned()), "but it is not listed");
    let people = one("golang/go#41");
    assert_eq!((text(&people["author"], "login"), people["milestone_known"].as_bool()), ("renamed-by-comment", Some(false)));
    let assigned: Vec<i64> = people["assignees"].as_array().unwrap().iter().filter_map(|user| user["id"].as_i64()).collect();
    assert_eq!(assigned, [10, 9]);
    let events = one("https://github.com/golang/go/pull/81");
    let event = |id: i64| events["timeline"].as_array().unwrap().iter().find(|entry| entry["id"] == id).unwrap().clone();
    assert_eq!((text(&event(8_113), "from"), text(&event(8_113), "to")), ("from", "tö"));
    assert_eq!(
        (event(8_119)["reviewer"]["id"].as_i64(), text(&event(8_120)["team"], "slug"), text(&event(8_122)["dismissed"], "message")),
        (Some(9), "second-slug", "no more")
    );
    assert_eq!((text(&event(8_124), "other"), text(&event(8_105), "kind")), ("\u{fffd}\u{fffd} no json", "replaced"), "bytes that are no text are no fault");
    // For people.
    let shown = well(made(), &["godata", "--log", "odd", "issue", "golang/go#71"]);
    assert!(shown.contains("2017-07-14 02:40  renamed-by-comment commented\n    edited\n"), "{shown}");
}

#[test]
fn changes_are_chosen_by_every_filter() {
    let facts = facts("demo");
    let commit = |hash: &str| facts["commit"].iter().find(|commit| text(commit, "hash") == hash).unwrap();
    let mail = |change: &Value| {
        let first =
            facts["gchangeref"].iter().find(|found| found["project"] == change["project"] && found["cl"] == change["number"] && found["ps"] == 1).unwrap();
        text(commit(text(first, "hash")), "author").split(['<', '>']).nth(1).unwrap().to_owned()
    };
    let vote = |change: &Value, label: &str, value: i64| change["votes"][label].as_object().is_some_and(|voters| voters.values().any(|vote| *vote == value));
    let has = |change: &Value, tag: &str| text(change, "hashtags").split(',').any(|found| found.trim() == tag);
    type Filter<'f> = Box<dyn Fn(&Value) -> bool + 'f>;
    let cases: Vec<(&[&str], Filter<'_>)> = vec![
        (&["--status", "all"], Box::new(|_| true)),
        (&[], Box::new(|change| text(change, "status") == "new")),
        (&["--status", "merged"], Box::new(|change| text(change, "status") == "merged")),
        (&["--status", "abandoned"], Box::new(|change| text(change, "status") == "abandoned")),
        (
            &["--status", "all", "--project", "go.googlesource.com/sys", "--project", "https://go-review.googlesource.com/net"],
            Box::new(|change| ["go.googlesource.com/sys", "go.googlesource.com/net"].contains(&text(change, "project"))),
        ),
        (&["--status", "all", "--branch", "refs/heads/master"], Box::new(|change| text(change, "branch") == "master")),
        (&["--status", "all", "--owner", "Ada.Bababa@golang.org"], Box::new(|change| mail(change) == "ada.bababa@golang.org")),
        (&["--status", "all", "--owner", "5000"], Box::new(|change| change["owner_id"] == 5_000)),
        (&["--status", "all", "--hashtag", "wait-issue"], Box::new(|change| has(change, "wait-issue"))),
        (
            &["--status", "all", "--vote", "Code-Review=+2", "--vote", "TryBot-Result=-1"],
            Box::new(|change| vote(change, "Code-Review", 2) && vote(change, "TryBot-Result", -1)),
        ),
        (&["--status", "all", "--wip"], Box::new(|change| change["wip"] == true)),
        (&["--status", "all", "--since", "2021-01-01"], Box::new(|change| seconds(&change["created"]) >= Some(1_609_459_200))),
        (&["--references", "GoLang/Go#41552"], Box::new(|change| change["refs"].as_array().unwrap().iter().any(|reference| reference == "golang/go#41552"))),
    ];
    let name = |change: &Value| format!("{}~{}", text(change, "project"), change["number"]);
    for (filter, wanted) in cases {
        let expected: BTreeSet<String> = facts["gcl"].iter().filter(|change| wanted(change)).map(name).collect();
        let found = ask("demo", &[&["changes"], filter].concat());
        assert_eq!(found.iter().map(name).collect::<BTreeSet<_>>(), expected, "{filter:?}");
        assert!(!expected.is_empty() && found.len() == expected.len(), "{filter:?}");
        let created: Vec<&str> = found.iter().map(|change| text(change, "created")).collect();
        assert!(created.is_sorted_by(|a, b| a >= b), "{created:?}");
    }
}

#[test]
fn a_change_tells_what_burrow_knows_better() {
    let odd = |number: i32| ask("odd", &["change", &format!("go.googlesource.com/go~{number}")]).remove(0);
    let many = odd(211);
    assert_eq!((many["version"].as_i64(), many["patch_sets"].as_array().map(Vec::len)), (Some(11), Some(11)), "not the ninth, which came last");
    assert_eq!(many["references"], serde_json::json!(["golang/go#11"]));
    let private: Vec<bool> = ask("odd", &["changes", "--status", "all"]).iter().map(|change| change["private"] == true).collect();
    assert_eq!(private.iter().filter(|private| **private).count(), 1, "those that were private once are not for ever");
    assert_eq!(
        odd(508)["votes"]["Run-TryBot"].as_object().map(|voters| voters.values().filter_map(Value::as_i64).collect::<BTreeSet<_>>()),
        Some(BTreeSet::from([-1, 1])),
        "votes with an id"
    );
    let tags: Vec<(String, String)> =
        odd(241)["timeline"].as_array().unwrap().iter().map(|meta| (meta["hashtags_added"].to_string(), meta["hashtags_removed"].to_string())).collect();
    assert!(tags.contains(&(r#"["bar","b az"]"#.into(), "null".into())) && tags.contains(&(r#"["x"]"#.into(), r#"["bar","b az"]"#.into())), "{tags:?}");
    // The same address as in a browser, and as people read it.
    let shown = well(made(), &["godata", "--log", "odd", "change", "https://go-review.googlesource.com/c/go/+/251"]);
    assert!(shown.contains("go.googlesource.com/go~251  net: messages\n") && shown.contains("    Patch Set 3: Code-Review+2\n\n    (2 comments)\n"), "{shown}");
    for (number, word) in [(401, "too little"), (7, "there is no change 7")] {
        let said = run(made(), &["godata", "--log", "odd", "change", &format!("go.googlesource.com/go~{number}")]);
        assert!(said.code == 2 && said.err.contains(word), "{}", said.err);
    }
}

#[test]
fn a_history_is_walked_by_first_parents() {
    let facts = facts("demo");
    let commit = |hash: &str| facts["commit"].iter().find(|commit| text(commit, "hash") == hash);
    let head = facts["gref"].iter().find(|found| text(found, "project") == "go.googlesource.com/go" && text(found, "ref") == "refs/heads/master").unwrap();
    let mut expected = Vec::new();
    let mut at = Some(text(head, "hash").to_owned());
    while let Some(found) = at.and_then(|hash| commit(&hash)) {
        expected.push(found);
        at = found["parents"][0].as_str().map(str::to_owned);
    }
    let hashes = |found: &[Value]| found.iter().map(|commit| text(commit, "commit").to_owned()).collect::<Vec<_>>();
    let walked = ask("demo", &["commits", "--project", "go.googlesource.com/go", "--branch", "master"]);
    assert_eq!(hashes(&walked), expected.iter().map(|commit| text(commit, "hash")).collect::<Vec<_>>());
    assert_eq!(hashes(&ask("demo", &["commits", "--project", "go.googlesource.com/go"])), hashes(&walked), "HEAD is meant when nothing is said");
    assert!(walked.len() > 10);
    // A day counts to its end.
    let some = &walked[5];
    let day = &text(some, "committed")[..10];
    let moment = seconds(&expected[5]["commit_time"]).unwrap();
    let until = ask("demo", &["commits", "--project", "go.googlesource.com/go", "--until", &format!("{}Z", &jiff_utc(moment))]);
    assert_eq!(hashes(&until), hashes(&walked)[5..], "{day}");
    let since = ask("demo", &["commits", "--project", "go.googlesource.com/go", "--since", &format!("{}Z", &jiff_utc(moment))]);
    assert_eq!(hashes(&since), hashes(&walked)[..6]);
    // Without a project everything in the log.
    assert_eq!(ask("demo", &["commits"]).len(), facts["commit"].len());
    let touched = ask("demo", &["commits", "--path", "src/cmd/", "--author", "BARBARA"]);
    let fits = |commit: &&Value| {
        text(commit, "author").to_lowercase().contains("barbara")
            && commit["files"].as_array().unwrap().iter().any(|file| file[0].as_str().unwrap().starts_with("src/cmd/"))
    };
    assert_eq!(touched.len(), facts["commit"].iter().filter(fits).count());
    assert!(!touched.is_empty());
}

/// A moment of Unix seconds as people write it, without the zone.
fn jiff_utc(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().strftime("%FT%T").to_string()
}

#[test]
fn numbers_add_up() {
    for log in ["demo", "odd"] {
        let facts = facts(log);
        let stats = ask(log, &["stats"]);
        let of = |what: &str| stats.iter().find(|line| line["what"] == what).unwrap();
        let manifest: Value = serde_json::from_slice(&std::fs::read(made().join(log).join("manifest.json")).unwrap()).unwrap();
        assert_eq!((&of("log")["records"], &of("log")["bytes"]), (&manifest["records"], &manifest["segment_bytes"]));
        let sum = |lines: &str, key: &str| stats.iter().filter(|line| line["what"] == lines).map(|line| line[key].as_u64().unwrap()).sum::<u64>();
        let count = |kind: &str| facts[kind].len() as u64;
        for (whole, part, key, kind) in [
            ("github", "repo", "comments", "ghcomment"),
            ("github", "repo", "events", "ghevent"),
            ("github", "repo", "reviews", "ghreview"),
            ("github", "repo", "labels", "ghlabel"),
            ("gerrit", "project", "changes", "gcl"),
            ("gerrit", "project", "refs", "gref"),
        ] {
            assert_eq!((of(whole)[key].as_u64(), sum(part, key)), (Some(count(kind)), count(kind)), "{log}: {key}");
        }
        assert_eq!((of("git")["commits"].as_u64(), of("github")["users"].as_u64()), (Some(count("commit")), Some(count("ghuser"))));
        let issues = ["issues", "pull_requests", "deleted"].iter().map(|key| of("github")[key].as_u64().unwrap()).sum::<u64>();
        assert_eq!(issues, count("ghissue"));
        assert!(of("log")["memory_bytes"].as_u64().is_none_or(|bytes| bytes > 100_000));
    }
    let few = ask("demo", &["stats", "--limit", "1"]);
    assert_eq!(few.iter().filter(|line| line["what"] == "project").count(), 1);
}

#[test]
fn what_is_wrong_is_told_with_what_was_meant() {
    let log = ["godata", "--log", "demo"];
    for (question, code, words) in [
        (&["issues", "--repo", "golang/goo"][..], 2, &["no repository (owner/name) \"golang/goo\"", "nearest of 5 are golang/go,"][..]),
        (&["issues", "--repo", "go"], 2, &["golang/go"]),
        (&["changes", "--project", "net"], 2, &["nearest of 44 are go.googlesource.com/net,"]),
        (&["commits", "--project", "go.googlesource.com/go", "--branch", "mster"], 2, &["no branch \"mster\"", "are master,"]),
        (&["commits", "--branch", "master"], 2, &["--project"]),
        (&["issue", "golang/go#999"], 2, &["no issue 999 in golang/go", "52 with numbers from 1 to 52"]),
        (&["issue", "golang/go/7"], 2, &["owner/name#N"]),
        (&["change", "go~5"], 2, &["host/project~N"]),
        (&["issues", "--since", "yesterday"], 2, &["yesterday", "2023-01-31"]),
        (&["issues", "--since", "2023-02-30"], 2, &["2023-02-30"]),
        (&["changes", "--vote", "Code-Review"], 2, &["Code-Review=+2"]),
        (&["issues", "--pull-requests", "--issues-only"], 2, &["cannot be used with"]),
        (&["issues", "--label", "NeedFix"], 0, &["no label \"NeedFix\"", "NeedsFix,", "no issue matches"]),
        (&["issues", "--milestone", "Go9"], 0, &["no milestone \"Go9\"", "no issue matches"]),
        (&["issues", "--limit", "2"], 0, &["2 of 33 are shown"]),
        (&["stats", "--offline"], 2, &["--log"]),
        (&["sync"], 2, &["asks a server"]),
        (&["watch"], 2, &["asks a server"]),
        (&[], 2, &["Usage"]),
    ] {
        let said = run(made(), &[&log[..], question].concat());
        assert_eq!(said.code, code, "{question:?}: {}", said.err);
        assert!(words.iter().all(|word| said.err.contains(word)), "{question:?}: {}", said.err);
    }
    let said = run(made(), &["godata", "--log", "nowhere", "stats"]);
    assert!(said.code == 2 && said.err.contains("nowhere does not exist"), "{}", said.err);
}

#[test]
fn files_of_a_log_may_be_named_one_by_one() {
    let whole = ask("demo/disk", &["stats", "--limit", "0"]);
    let mut files: Vec<String> = std::fs::read_dir(made().join("demo/disk")).unwrap().flatten().map(|entry| entry.path().display().to_string()).collect();
    files.sort();
    let mut args = vec!["godata", "stats", "--limit", "0"];
    files.iter().for_each(|file| args.extend(["--log", file]));
    let one_by_one = objects(made(), &args);
    assert_eq!((&one_by_one[0]["records"], &one_by_one[1], &one_by_one[2]), (&whole[0]["records"], &whole[1], &whole[2]));
    assert_eq!(one_by_one[0]["segments"], 5);
}

#[test]
fn whoever_has_read_enough_may_go() {
    let mut child = command(made(), &["godata", "--log", "demo", "commits", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    drop(reader);
    let said = child.wait_with_output().unwrap();
    assert!(first.starts_with('{') && said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn every_command_shows_examples() {
    for command in ["issues", "issue", "changes", "change", "commits", "stats", "dump", "sync", "watch"] {
        let help = well(made(), &["godata", command, "--help"]);
        assert!(help.contains("Examples:") && help.contains(&format!("burrow godata {command}")), "{command}: {help}");
        assert!(help.contains("--log") && help.contains("--json"), "{command}: what all commands know is in the help of each");
    }
    assert!(well(made(), &["godata", "--help"]).contains("Examples:"));
}
