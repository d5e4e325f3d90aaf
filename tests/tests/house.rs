//! Rules of the house that no compiler checks: which crate may use which, how files are called and how long they are, what the README promises.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    testkit_harness::burrow::root()
}

/// Edges that the rule refuses and that are there all the same: (from, to, reason).
const EDGES: &[(&str, &str, &str)] = &[];

/// The rooms, from top to bottom. A crate may use rooms below its own, and `lib` and `protocol` crates their own room.
const ROOMS: [&str; 4] = ["app", "service", "lib", "protocol"];

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output =
        Command::new(cargo).args(["metadata", "--no-deps", "--offline", "--format-version=1"]).current_dir(root()).output().expect("cargo is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// Why an edge is refused; `None`: it is fine.
fn refused(from: &str, to: &str, development: bool) -> Option<&'static str> {
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    match (place(from), place(to)) {
        (_, _) if to == "testkit" => (!development && ROOMS.contains(&from)).then_some("testkit is for tests only"),
        // What is only for development may stand anywhere and use anything.
        (None, _) => None,
        (_, None) => Some("nothing may use tests, bench or xtask"),
        // A test may play the peer with a crate from the same or a higher room; what is shipped may not.
        (Some(_), Some(_)) if development => None,
        (Some(above), Some(below)) if above < below => None,
        (Some(same), Some(other)) if same == other && matches!(from, "lib" | "protocol") => None,
        (Some(same), Some(other)) if same == other => Some("services meet through lib, executables not at all"),
        _ => Some("arrows go down only: app, service, lib, protocol"),
    }
}

#[test]
fn crates_use_only_what_is_below_them() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let room_of: BTreeMap<&str, String> = packages
        .iter()
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
            let room = manifest.strip_prefix(root()).expect("in the workspace").components().next().expect("a folder");
            (package["name"].as_str().expect("a name"), room.as_os_str().to_string_lossy().into_owned())
        })
        .collect();
    assert!(room_of.len() > 15, "the workspace was found");
    let mut wrong = Vec::new();
    let mut used = Vec::new();
    for package in packages {
        let from = package["name"].as_str().expect("a name");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().expect("a name");
            let Some(to_room) = room_of.get(to) else { continue };
            if from == to {
                continue;
            }
            if let Some(why) = refused(&room_of[from], to_room, dependency["kind"] == "dev") {
                match EDGES.iter().find(|(a, b, _)| (*a, *b) == (from, to)) {
                    Some(edge) => used.push(edge),
                    None => wrong.push(format!("{from} → {to}: {why}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(used.len(), EDGES.len(), "an exception that is not needed any more");
}

#[test]
fn the_rule_refuses_what_it_should() {
    for (from, to, development, fine) in [
        ("app", "service", false, true),
        ("app", "lib", false, true),
        ("service", "protocol", false, true),
        ("lib", "lib", false, true),
        ("service", "service", false, false),
        ("lib", "service", false, false),
        ("protocol", "lib", false, false),
        ("app", "app", false, false),
        ("lib", "testkit", false, false),
        ("lib", "testkit", true, true),
        ("bench", "testkit", false, true),
        ("service", "bench", false, false),
    ] {
        assert_eq!(refused(from, to, development).is_none(), fine, "{from} → {to}");
    }
}

/// Files that are in the repository, or will be: what git does not ignore.
fn files() -> Vec<PathBuf> {
    let output =
        Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root()).output().expect("git is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned())).filter(|path| root().join(path).is_file()).collect()
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["rs", "ts", "js", "mjs", "sh"].iter().any(|known| extension == *known))
}

fn text(path: &Path) -> Option<String> {
    String::from_utf8(std::fs::read(root().join(path)).ok()?).ok()
}

#[test]
fn names_say_something() {
    let empty = ["util", "utils", "common", "misc", "helper", "helpers"];
    let wrong: Vec<PathBuf> = files()
        .into_iter()
        .filter(|path| {
            path.components().any(|part| empty.contains(&Path::new(&part).file_stem().and_then(|stem| stem.to_str()).unwrap_or("").to_lowercase().as_str()))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn long_files_say_why() {
    const LIMIT: usize = 600;
    let wrong: Vec<String> = files()
        .into_iter()
        .filter(|path| is_source(path))
        .filter_map(|path| {
            let text = text(&path)?;
            let lines = text.lines().count();
            // The reason is a line near the top that names the length.
            let says = text.lines().take(20).any(|line| line.to_lowercase().contains("long file") || line.to_lowercase().contains("one file"));
            (lines > LIMIT && !says).then(|| format!("{}: {lines} lines", path.display()))
        })
        .collect();
    assert!(wrong.is_empty(), "more than {LIMIT} lines and no reason (\"long file: …\") in the first twenty:\n{}", wrong.join("\n"));
}

/// Words that may not stand anywhere, in two halves so that this file does not hold them: the machine it was written on, how it was written, where
/// registries are.
const WORDS: &[(&str, &str)] = &[
    ("/wo", "rk/main"),
    ("/wo", "rk/shared"),
    ("bash_", "jobs"),
    ("index.", "crates.io"),
    ("static.", "crates.io"),
    ("py", "pi.org"),
    ("npm", "js.org"),
    ("deb.", "debian.org"),
    ("repo1.", "maven"),
    ("clau", "de"),
    ("anth", "ropic"),
    ("language ", "model"),
    ("ai ass", "istant"),
    ("sub", "agent"),
    ("copi", "lot"),
];

/// Promises that code may not make: unfinished work is in `docs/shortcomings.md`. The first ones count in comments only.
const PROMISES: &[(&str, &str, bool)] =
    &[("TO", "DO", true), ("FIX", "ME", true), ("XX", "X", true), ("unimple", "mented!(", false), ("to", "do!(", false), ("#[ig", "nore]", false)];

fn promises(text: &str) -> Vec<String> {
    let comment = |line: &str| ["//", "#!", "/*", "* "].iter().any(|start| line.trim_start().starts_with(start));
    let holds = |word: &str, comments: bool| text.lines().any(|line| line.contains(word) && (!comments || comment(line)));
    PROMISES.iter().map(|(a, b, comments)| (format!("{a}{b}"), *comments)).filter(|(word, comments)| holds(word, *comments)).map(|(word, _)| word).collect()
}

#[test]
fn nothing_is_said_that_should_not_be() {
    let mut wrong = Vec::new();
    for path in files() {
        let lock = path.file_name().is_some_and(|name| name == "Cargo.lock" || name == "package-lock.json");
        let Some(text) = text(&path).filter(|_| !lock) else { continue };
        let small = text.to_lowercase();
        let words = WORDS.iter().map(|(a, b)| format!("{a}{b}")).filter(|word| small.contains(word));
        let promises = if is_source(&path) { promises(&text) } else { Vec::new() };
        wrong.extend(words.chain(promises).map(|word| format!("{}: {word}", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files and folders of shipped crates that read the machine's clock, with the reason. Everybody else is handed a `burrow_clock::Clock`.
const CLOCKS: &[(&str, &str)] = &[
    ("lib/clock/src/lib.rs", "the one place that reads it"),
    ("lib/git/src/tree.rs", "the time of files within an archive; nothing is decided by it"),
    ("service/buildlet/src/executions.rs", "the worker stands alone and is small; its records carry its own machine's time"),
    ("service/buildlet/src/tree/", "compares the times of files with the clock that made them"),
    ("service/buildlet/src/untar.rs", "compares the times of files with the clock that made them"),
];

/// Files and folders of shipped crates that hold up a thread, with the reason.
const SLEEPS: &[(&str, &str)] =
    &[("service/buildlet/src/platform/", "systems that tell by no event when a process tree, a control group or an SSH server is gone")];

/// Sources of shipped crates, without their tests.
fn shipped() -> Vec<(String, String)> {
    let is_shipped = |path: &Path| {
        let room = path.components().next().is_some_and(|room| ROOMS.iter().any(|known| room.as_os_str() == *known));
        let inner = path.components().any(|part| ["tests", "examples", "benches", "fuzz"].iter().any(|known| part.as_os_str() == *known));
        room && !inner && path.extension().is_some_and(|extension| extension == "rs")
    };
    // Tests inside a file come last.
    let code = |path: &Path| Some(text(path)?.split("#[cfg(test)]").next().unwrap_or("").to_owned());
    files().into_iter().filter(|path| is_shipped(path)).filter_map(|path| Some((path.to_string_lossy().into_owned(), code(&path)?))).collect()
}

#[test]
fn clocks_and_sleeps_are_where_they_may_be() {
    let mut wrong = Vec::new();
    for (name, code) in shipped() {
        for (what, places) in [("SystemTime::now(", CLOCKS), ("thread::sleep(", SLEEPS)] {
            if code.contains(what) && !places.iter().any(|(place, _)| name == *place || (place.ends_with('/') && name.starts_with(place))) {
                wrong.push(format!("{name}: {what}…)"));
            }
        }
    }
    assert!(wrong.is_empty(), "give it a Clock, or wait for an event; or add it to the exceptions with its reason:\n{}", wrong.join("\n"));
}

#[test]
fn tasks_are_started_without_their_types() {
    /// These compile the executor anew for each type of future.
    const TYPED: [&str; 2] = ["tokio::spawn(", "tokio::task::spawn_blocking("];
    let mut wrong = Vec::new();
    for (name, code) in shipped().into_iter().filter(|(name, _)| !name.starts_with("lib/task/")) {
        wrong.extend(TYPED.iter().filter(|way| code.contains(**way)).map(|way| format!("{name}: {way}…)")));
    }
    assert!(wrong.is_empty(), "start tasks with burrow_task, or the executor is compiled anew for each of them:\n{}", wrong.join("\n"));
}

/// Commands in the README's code blocks.
fn readme_commands() -> Vec<Vec<String>> {
    let readme = text(Path::new("README.md")).expect("README.md");
    let mut commands = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = !inside && line.trim_end() != "```toml";
            continue;
        }
        let command = line.split("  #").next().unwrap_or("").split("   ").next().unwrap_or("");
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        if inside && words.first().is_some_and(|word| ["cargo", "burrow", "buildlet"].contains(&word.as_str())) {
            commands.push(words);
        }
    }
    commands
}

#[test]
fn the_readmes_commands_exist() {
    let commands = readme_commands();
    let set_up: Vec<String> = commands.iter().filter(|words| words[0] == "cargo").map(|words| words.join(" ")).collect();
    for needed in ["cargo run --release -- up", "cargo xtask test"] {
        assert!(set_up.iter().any(|command| command == needed), "README.md does not say {needed:?}; it says {set_up:?}");
    }
    let aliases = text(Path::new(".cargo/config.toml")).expect(".cargo/config.toml");
    assert!(aliases.contains("xtask = "), "cargo xtask is an alias");
    let ci = text(Path::new(".ci/run")).expect(".ci/run");
    assert!(ci.contains("cargo xtask test"), "what is run for every change is the README's test command");
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for words in commands.iter().filter(|words| words[0] == "burrow") {
        // Every flag and subcommand that the README shows must be in the help of that command.
        let subcommands: Vec<&str> = words[1..].iter().map(String::as_str).take_while(|word| word.chars().all(|c| c.is_ascii_lowercase())).take(2).collect();
        let depth = if matches!(subcommands.first(), Some(&"bench" | &"config" | &"drill" | &"godata" | &"machine" | &"mutlog")) { 2 } else { 1 };
        let mut args = subcommands[..depth.min(subcommands.len())].to_vec();
        args.push("--help");
        let help = testkit_harness::burrow::run(dir.path(), &args);
        assert_eq!(help.code(), 0, "burrow {args:?}: {}", help.text());
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            let flag = flag.split('=').next().unwrap_or("");
            assert!(help.text().contains(flag), "{words:?}: {flag} is not in the help of burrow {args:?}");
        }
        seen += 1;
    }
    assert!(seen > 3, "the README shows how burrow is used");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for path in files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let Some(text) = text(&path) else { continue };
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or("");
            let outside = target.is_empty() || target.contains("://");
            if !outside && !root().join(path.parent().unwrap_or(Path::new(""))).join(target).exists() {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
