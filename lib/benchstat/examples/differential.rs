//! Random inputs through the reference's program and through this crate: every byte of both outputs must be the same.
//!
//! The program is not part of the repository. With its path in `BENCHSTAT`:
//! `BENCHSTAT=… CASES=10000 cargo run --release -p burrow-benchstat --example differential`; with `RECORD=N` also the first N cases are written as
//! the fixture that `recorded` replays.

#[path = "../tests/reference/mod.rs"]
mod reference;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use reference::{Output, cases, run};

fn main() {
    let program = std::env::var("BENCHSTAT").expect("BENCHSTAT: path of the reference's benchstat");
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (from, count, record) = (number("FROM", 0), number("CASES", 1000), number("RECORD", 0));
    let dir = tempfile::tempdir().unwrap();
    let (mut different, mut recorded, mut bytes) = (Vec::new(), String::new(), 0);
    for seed in from..from + count {
        let case = cases::case(seed);
        let dir = dir.path().join("case");
        std::fs::create_dir_all(&dir).unwrap();
        for (name, content) in &case.files {
            std::fs::write(dir.join(name), content).unwrap();
        }
        let theirs = Command::new(&program).args(&case.args).current_dir(&dir).output().unwrap();
        let theirs = Output { stdout: theirs.stdout, stderr: theirs.stderr };
        bytes += theirs.stdout.len();
        let ours = run(&dir, &case.args, true);
        // The words of another regular expression engine, and of a program that ends, are its own.
        if ours != theirs {
            let keep = std::env::temp_dir().join(format!("different-{seed}"));
            std::fs::create_dir_all(&keep).unwrap();
            for (name, content) in &case.files {
                std::fs::write(keep.join(name), content).unwrap();
            }
            for (name, content) in [("ours.out", &ours.stdout), ("ours.err", &ours.stderr), ("theirs.out", &theirs.stdout), ("theirs.err", &theirs.stderr)] {
                std::fs::write(keep.join(name), content).unwrap();
            }
            std::fs::write(keep.join("args"), case.args.join("\n")).unwrap();
            eprintln!("case {seed} differs: {:?} in {}", case.args, keep.display());
            different.push(seed);
        }
        if seed - from < record {
            let text = |bytes: &[u8]| bytes.iter().map(|&byte| char::from(byte)).collect::<String>();
            recorded.push_str(&serde_json::json!({"case": seed, "stdout": text(&theirs.stdout), "stderr": text(&theirs.stderr)}).to_string());
            recorded.push('\n');
        }
    }
    if record > 0 {
        let file = std::fs::File::create(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/recorded.jsonl.gz")).unwrap();
        let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::best());
        gz.write_all(recorded.as_bytes()).unwrap();
        gz.finish().unwrap();
    }
    eprintln!("{count} cases, {bytes} bytes of output, {} differ", different.len());
    assert!(different.is_empty(), "{different:?}");
}
