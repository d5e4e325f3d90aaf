//! Every `burrow …` line of `docs/maintner.md` runs, and prints what the document shows.

use burrow_maintnerd::http::Readers;

use crate::logs::{Said, command};
use crate::server::{Server, watching};

/// A command in `docs/maintner.md`, and the lines below it.
#[derive(Debug)]
struct Example {
    line: String,
    shown: Vec<String>,
}

fn examples(document: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    // Only blocks that begin with a command are runs; others are files, or commands that need the world outside.
    let (mut inside, mut run) = (false, false);
    for line in document.lines() {
        if line.starts_with("```") {
            (inside, run) = (!inside, false);
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            run = true;
            found.push(Example { line: command.to_owned(), shown: Vec::new() });
        } else if let Some(example) = found.last_mut().filter(|_| run && !line.trim().is_empty()) {
            example.shown.push(line.to_owned());
        }
    }
    found
}

/// Whether a line is there; `…` in it stands for anything.
fn is_there(shown: &str, out: &str) -> bool {
    let parts: Vec<&str> = shown.split('…').collect();
    out.lines().any(|line| {
        let mut rest = line;
        let open = parts.len() > 1;
        parts.iter().enumerate().all(|(place, part)| {
            let found = if place == 0 { rest.strip_prefix(part) } else { rest.find(part).map(|at| &rest[at + part.len()..]) };
            found.is_some_and(|behind| {
                rest = behind;
                true
            })
        }) && (open || rest.is_empty())
    })
}

/// Words of a command line, with single quotes as a shell has them.
fn words(line: &str) -> Vec<String> {
    line.split('\'').enumerate().fold(Vec::new(), |mut words: Vec<String>, (place, part)| {
        match place % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
        words
    })
}

#[test]
fn every_example_of_the_document_runs() {
    let document = std::fs::read_to_string(testkit_harness::burrow::root().join("docs/maintner.md")).unwrap();
    let examples = examples(&document);
    assert!(examples.len() > 30 && examples.iter().all(|example| example.line.starts_with("burrow ")), "{examples:?}");
    let mut covered: Vec<String> = examples.iter().flat_map(|example| words(&example.line)).collect();
    covered.sort();
    for command in ["issues", "issue", "changes", "change", "commits", "stats", "dump", "sync", "watch", "gen", "torture", "convert", "verify", "cat"] {
        assert!(covered.binary_search_by(|word| word.as_str().cmp(command)).is_ok(), "the document shows `{command}`");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut server: Option<Server> = None;
    let mut news = 52;
    for example in &examples {
        let words = words(&example.line);
        let args: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        // As the text says: from when `log` is there, it is served.
        if server.is_none() && !args.contains(&"--log") && args[0] == "godata" {
            server = Some(Server::start(&dir.path().join("log"), Readers::everybody()));
        }
        let said = match &server {
            Some(server) if args.contains(&"watch") => {
                let process = watching(dir.path(), server, &args[2..]);
                news = 53;
                server.append(news, "all: it is news");
                let ended = process.wait();
                Said { code: ended.code(), out: ended.text(), err: String::new() }
            }
            server => {
                let mut command = command(dir.path(), &args);
                command.env("COLUMNS", "110").envs(server.as_ref().map(|server| ("BURROW_MAINTNER", &server.address)));
                command.output().unwrap().into()
            }
        };
        assert_eq!(said.code, 0, "{}: {}", example.line, said.err);
        assert!(!example.shown.is_empty(), "{}: the document shows what it prints", example.line);
        for shown in &example.shown {
            assert!(is_there(shown, &said.out), "{}: the document shows\n{shown}\nand what is printed is\n{}", example.line, said.out);
        }
    }
    assert_eq!(news, 53, "the document shows how news are watched");
}

#[test]
fn what_a_document_may_leave_out() {
    for (shown, out, there) in [
        ("a b", "x\na b\ny", true),
        ("a b", "a b c", false),
        ("a…", "a b c", true),
        ("…c", "a b c", true),
        ("a … c", "a b c", true),
        ("a…x", "a b c", false),
        ("b…", "a b", false),
        ("…", "anything", true),
    ] {
        assert_eq!(is_there(shown, out), there, "{shown:?} in {out:?}");
    }
}
