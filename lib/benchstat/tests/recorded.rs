//! What the reference printed, replayed: its own test data, and some hundred random inputs.

mod reference;

use std::io::Read as _;
use std::path::Path;

use reference::{Output, cases, run};

fn testdata() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// Its test data, its arguments. (The files are the Go authors'; see the LICENSE beside them.)
#[test]
fn the_reference_s_own_tests() {
    let dir = testdata().join("golang");
    let tests = [
        ("csvOldNew", "-format csv old.txt new.txt"),
        ("csvErrors", "-format csv -row .name new.txt"),
        ("crcOldNew", "crc-old.txt crc-new.txt"),
        ("crcIgnore", "-ignore note crc-old.txt crc-new.txt"),
        ("crcSizeVsPoly", "-filter /align:0 -row /size -col /poly crc-new.txt"),
        ("units", "-col note units.txt"),
        ("zero", "-col note zero.txt"),
        ("smallSample", "-col note smallSample.txt"),
        ("issue19565", "-col note issue19565.txt"),
        ("issue19634", "-col note issue19634.txt"),
    ];
    for (name, args) in tests {
        let args: Vec<String> = args.split(' ').map(str::to_owned).collect();
        let expected = Output {
            stdout: std::fs::read(dir.join(format!("{name}.stdout"))).unwrap(),
            stderr: std::fs::read(dir.join(format!("{name}.stderr"))).unwrap_or_default(),
        };
        for compat in [false, true] {
            let ours = run(&dir, &args, compat);
            assert_eq!(String::from_utf8_lossy(&ours.stdout), String::from_utf8_lossy(&expected.stdout), "{name}, compat {compat}");
            assert_eq!(String::from_utf8_lossy(&ours.stderr), String::from_utf8_lossy(&expected.stderr), "{name}, compat {compat}");
        }
    }
}

/// Made by `differential` with `RECORD`.
#[test]
fn random_inputs_give_the_recorded_bytes() {
    let file = std::fs::File::open(testdata().join("recorded.jsonl.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bytes = |text: &serde_json::Value| text.as_str().unwrap().chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect::<Vec<u8>>();
    let mut replayed = 0;
    for line in text.lines() {
        let recorded: serde_json::Value = serde_json::from_str(line).unwrap();
        let seed = recorded["case"].as_u64().unwrap();
        let case = cases::case(seed);
        let dir = dir.path().join(seed.to_string());
        std::fs::create_dir(&dir).unwrap();
        for (name, content) in &case.files {
            std::fs::write(dir.join(name), content).unwrap();
        }
        let expected = Output { stdout: bytes(&recorded["stdout"]), stderr: bytes(&recorded["stderr"]) };
        let ours = run(&dir, &case.args, true);
        assert_eq!(String::from_utf8_lossy(&ours.stdout), String::from_utf8_lossy(&expected.stdout), "case {seed}: {:?}", case.args);
        assert_eq!(String::from_utf8_lossy(&ours.stderr), String::from_utf8_lossy(&expected.stderr), "case {seed}: {:?}", case.args);
        replayed += 1;
    }
    assert!(replayed >= 300, "{replayed}");
}
