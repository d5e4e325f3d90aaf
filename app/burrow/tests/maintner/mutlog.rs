//! Making, converting, verifying and reading logs.

use std::path::Path;

use crate::logs::{made, objects, run, text, well};
use serde_json::Value;

/// A copy of a file or folder of [`made`] that a test may damage.
fn copy(from: &str, to: &Path) {
    let from = made().join(from);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn cut(path: &Path, bytes: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len - bytes).unwrap();
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn the_same_numbers_make_the_same_log() {
    let dir = tempfile::tempdir().unwrap();
    let first = &objects(dir.path(), &["mutlog", "gen", "--scale", "0.0005", "--seed", "9", "--out", "a"])[0];
    let second = &objects(dir.path(), &["mutlog", "gen", "--scale", "0.0005", "--seed", "9", "--out", "b"])[0];
    let other = &objects(dir.path(), &["mutlog", "gen", "--scale", "0.0005", "--seed", "10", "--out", "c"])[0];
    let slurped = &objects(dir.path(), &["mutlog", "gen", "--scale", "0.0005", "--seed", "9", "--order", "slurp", "--layout", "disk", "--out", "d"])[0];
    assert_eq!(first, second);
    assert_ne!(first["segments"][0]["sha224"], other["segments"][0]["sha224"]);
    assert_eq!(slurped["segments"].as_array().unwrap().len(), 0, "only what was asked for is written");
    let digest = |log: &str| well(dir.path(), &["mutlog", "dump", log, "--out", "/dev/null"]);
    assert_eq!(digest("a/disk"), digest("a/segments"));
    assert_eq!(digest("a/disk"), digest("b"), "a folder that was made by gen stands for the log in it");
    let manifest: Value = serde_json::from_slice(&std::fs::read(dir.path().join("a/manifest.json")).unwrap()).unwrap();
    assert_eq!(&manifest, first);
}

#[test]
fn a_log_is_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    well(dir.path(), &["mutlog", "torture", "--out", "odd"]);
    for again in [
        &["mutlog", "torture", "--out", "odd"][..],
        &["mutlog", "gen", "--scale", "0.0005", "--out", "odd"],
        &["mutlog", "convert", "odd/disk", "odd/segments"],
    ] {
        let said = run(dir.path(), again);
        assert_eq!(said.code, 2, "{again:?}: {}", said.err);
        assert!(said.err.contains("odd/"), "{}", said.err);
    }
    for wrong in ["0", "-1", "51", "x", "NaN"] {
        assert_eq!(run(dir.path(), &["mutlog", "gen", "--scale", wrong, "--out", "new"]).code, 2, "{wrong}");
    }
    assert!(!dir.path().join("new").exists());
}

#[test]
fn a_dump_has_the_digest_of_its_lines() {
    use sha2::Digest as _;
    let dir = tempfile::tempdir().unwrap();
    let log = made().join("odd");
    let log = log.to_str().unwrap();
    let said = run(dir.path(), &["mutlog", "dump", log, "--out", "lines"]);
    let lines = std::fs::read(dir.path().join("lines")).unwrap();
    let digest: String = sha2::Sha256::digest(&lines).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(said.out, format!("{} lines\nsha256 {digest}\n", lines.iter().filter(|byte| **byte == b'\n').count()));
    // On standard output are the lines and nothing else.
    let said = run(dir.path(), &["mutlog", "dump", log]);
    assert_eq!((said.out.as_bytes(), said.err.contains(&digest)), (&lines[..], true));
    let ours = &objects(dir.path(), &["mutlog", "dump", log, "--reading", "ours", "--out", "/dev/null"])[0];
    assert!(ours["lines"].as_u64() > Some(1_000) && text(ours, "sha256") != digest, "the torture log is read otherwise by the reference");
}

#[test]
fn a_log_comes_back_from_the_other_form() {
    let dir = tempfile::tempdir().unwrap();
    let demo = made().join("demo/disk");
    let there = objects(dir.path(), &["mutlog", "convert", demo.to_str().unwrap(), "there"]);
    assert_eq!((there[0]["records"].as_u64(), text(&there[0], "to")), (Some(6_845), "there"));
    well(dir.path(), &["mutlog", "convert", "there", "back", "--to", "disk"]);
    let digest = |log: &str| well(dir.path(), &["mutlog", "dump", log, "--out", "/dev/null"]);
    let (one, two, three) = (digest(demo.to_str().unwrap()), digest("there"), digest("back"));
    assert!(one == two && two == three, "{one}{two}{three}");
    assert!(std::fs::read_dir(dir.path().join("back")).unwrap().flatten().all(|entry| entry.file_name().to_string_lossy().starts_with("maintner-")));
    let said = run(dir.path(), &["mutlog", "convert", "back", "again", "--to", "disk"]);
    assert_eq!(said.code, 2, "it has that form already: {}", said.err);
}

#[test]
fn every_fault_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let fine = well(made(), &["mutlog", "verify", "odd"]);
    assert!(fine.contains("949 records") && fine.contains("nothing is wrong"), "{fine}");
    // A torn end, and damage in the middle.
    let bad = dir.path().join("bad");
    copy("demo/disk", &bad);
    let (second, last) = (bad.join("maintner-2022-01-02.mutlog"), bad.join("maintner-2022-01-05.mutlog"));
    cut(&second, 5);
    cut(&last, 5);
    let said = run(dir.path(), &["mutlog", "verify", "bad"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("bad/maintner-2022-01-02.mutlog, offset 559822: truncated record"), "{}", said.out);
    assert!(said.out.contains("bad/maintner-2022-01-05.mutlog, offset 48689: the last record is unfinished"), "{}", said.out);
    assert!(said.out.contains("2 faults") && said.out.contains("takes it away when it starts"), "what, where, and what to do: {}", said.out);
    let said = run(dir.path(), &["mutlog", "verify", "bad", "--json"]);
    let lines: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines[0]["offset"].as_u64(), lines[2]["faults"].as_u64()), (3, Some(559_822), Some(2)));
    // A byte that changed in a segment with its digest in its name.
    let flipped = dir.path().join("flipped");
    copy("demo/segments", &flipped);
    let segment = std::fs::read_dir(&flipped).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.len() - 3;
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let said = run(dir.path(), &["mutlog", "verify", "flipped"]);
    assert!(said.code == 1 && said.out.contains("the digest of its content"), "{}", said.out);
    // A segment that is missing.
    let gap = dir.path().join("gap");
    copy("demo/segments", &gap);
    std::fs::write(gap.join("0002.growing.mutlog"), "REC@0+0=").unwrap();
    let said = run(dir.path(), &["mutlog", "verify", "gap"]);
    assert!(said.code == 1 && said.out.contains("segment 1 should come here"), "{}", said.out);
}

#[test]
fn a_damaged_log_is_not_read_and_the_remedy_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad");
    copy("demo/disk", &bad);
    cut(&bad.join("maintner-2022-01-02.mutlog"), 5);
    for command in [&["mutlog", "dump", "bad", "--out", "/dev/null"][..], &["godata", "--log", "bad", "stats"], &["mutlog", "convert", "bad", "new"]] {
        let said = run(dir.path(), command);
        assert_eq!((said.code, said.out.as_str()), (3, ""), "{command:?}");
        assert!(
            said.err.contains("maintner-2022-01-02.mutlog") && said.err.contains("559822") && said.err.contains("burrow mutlog verify bad"),
            "{}",
            said.err
        );
    }
    // What lies before the damage can still be looked at.
    let said = run(dir.path(), &["mutlog", "cat", "bad/maintner-2022-01-02.mutlog"]);
    assert!(said.code == 3 && said.out.lines().count() > 1_000 && said.err.contains("559822"), "{}", said.err);
}

#[test]
fn an_unfinished_end_is_left_out_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let torn = dir.path().join("torn");
    copy("demo/disk", &torn);
    cut(&torn.join("maintner-2022-01-05.mutlog"), 5);
    let said = run(dir.path(), &["godata", "--log", "torn", "stats", "--json"]);
    let first: Value = serde_json::from_str(said.out.lines().next().unwrap()).unwrap();
    assert_eq!((said.code, first["records"].as_u64()), (0, Some(6_844)), "{}", said.err);
    assert!(said.err.contains("maintner-2022-01-05.mutlog ends within the record at offset 48689"), "{}", said.err);
    let said = run(dir.path(), &["mutlog", "convert", "torn", "whole"]);
    assert!(said.code == 0 && said.err.contains("offset 48689"), "{}", said.err);
    assert!(well(dir.path(), &["mutlog", "verify", "whole"]).contains("6844 records"));
}

#[test]
fn records_are_shown_from_any_offset() {
    let dir = made();
    let all = objects(dir, &["mutlog", "cat", "odd/disk"]);
    assert_eq!(all.len(), 949);
    // The places of the log are the sizes of its files, one behind the other.
    let mut start = 0;
    let mut files: Vec<_> = std::fs::read_dir(dir.join("odd/disk")).unwrap().flatten().map(|entry| entry.path()).collect();
    files.sort();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    for file in &files {
        let of_file: Vec<&Value> = all.iter().filter(|record| text(record, "file").ends_with(&name(file))).collect();
        let bytes: u64 = of_file.iter().map(|record| record["bytes"].as_u64().unwrap()).sum();
        assert_eq!(bytes, size(file));
        // Any record by its offset in the file, and in the whole log; hexadecimal as in its header.
        let middle = of_file[of_file.len() / 2];
        let offset = middle["offset"].as_u64().unwrap();
        let in_file = objects(dir, &["mutlog", "cat", &format!("odd/disk/{}", name(file)), "--limit", "1", "--from", &format!("{offset:#x}")]);
        let in_log = objects(dir, &["mutlog", "cat", "odd/disk", "--limit", "1", "--from", &(start + offset).to_string()]);
        assert_eq!((&in_file[0], &in_log[0]), (middle, middle));
        start += bytes;
    }
    assert_eq!(objects(dir, &["mutlog", "cat", "odd/disk", "--from", &start.to_string()]).len(), 0, "the end is no fault");
    for (from, code) in [((start + 1).to_string(), 2), ("5".into(), 2), ("0x1g".into(), 2)] {
        let said = run(dir, &["mutlog", "cat", "odd/disk", "--from", &from]);
        assert_eq!(said.code, code, "{from}: {}", said.err);
    }
    let fields: Vec<&Value> = all.iter().filter(|record| record["mutation"]["github_issue"]["number"] == 71).collect();
    assert!(fields.iter().any(|record| record["mutation"]["github_issue"]["comment"][0]["body"] == "edited"));
    assert!(fields.iter().any(|record| record["mutation"]["github_issue"]["comment_status"]["server_date"] == "2017-07-14T02:40:05Z"));
}

#[test]
fn records_that_are_no_mutations_are_findings() {
    let dir = tempfile::tempdir().unwrap();
    well(dir.path(), &["mutlog", "torture", "--hostile", "--layout", "segments", "--out", "hostile"]);
    let verified = run(dir.path(), &["mutlog", "verify", "hostile", "--json"]);
    let faults = verified.out.lines().count() - 1;
    let shown = run(dir.path(), &["mutlog", "cat", "hostile"]);
    let errors = shown.out.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok_and(|record| record["error"].is_string())).count();
    assert_eq!((verified.code, shown.code, errors), (1, 1, faults), "{}", shown.err);
    assert!(faults > 10);
    let said = run(dir.path(), &["mutlog", "dump", "hostile", "--out", "/dev/null"]);
    assert!(said.code == 3 && said.err.contains("is no mutation"), "{}", said.err);
}

#[test]
fn what_holds_no_log_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    std::fs::write(dir.path().join("file"), "no log").unwrap();
    copy("demo/disk", &dir.path().join("both"));
    copy("demo/segments", &dir.path().join("both"));
    for (args, word) in [
        (&["mutlog", "dump", "nowhere"][..], "nowhere does not exist"),
        (&["mutlog", "dump", "empty"], "empty holds no log"),
        (&["mutlog", "dump", "both"], "both holds two logs"),
        (&["mutlog", "verify", "nowhere"], "nowhere does not exist"),
        (&["mutlog", "verify", "file"], "file is no folder"),
        (&["mutlog", "verify", "empty"], "empty holds no log"),
        (&["mutlog", "convert", "empty", "new"], "empty holds no log"),
        (&["mutlog", "cat", "nowhere"], "nowhere does not exist"),
    ] {
        let said = run(dir.path(), args);
        assert!(said.code == 2 && said.err.contains(word), "{args:?}: {} {}", said.code, said.err);
    }
    let said = run(dir.path(), &["mutlog", "cat", "file"]);
    assert!(said.code == 3 && said.err.contains("malformed record header at offset 0"), "{}", said.err);
}

#[test]
fn every_command_shows_examples() {
    for command in ["gen", "torture", "dump", "convert", "verify", "cat"] {
        let help = well(made(), &["mutlog", command, "--help"]);
        assert!(help.contains("Examples:") && help.contains(&format!("burrow mutlog {command}")), "{command}: {help}");
    }
    assert!(well(made(), &["mutlog", "--help"]).contains("Examples:"));
}
