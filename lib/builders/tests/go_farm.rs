//! Go's whole farm as configuration (`env/go/farm.toml`) decides what Go's own code decides: the golden tables of
//! `builders.md` §12, of which the reference's answers are known by hash.

use std::path::Path;

use burrow_builders::{Config, Document, Pools};
use sha2::{Digest, Sha256};

fn farm() -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../env/go/farm.toml");
    let document = Document::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    Config::from_document(&document, Pools::Any).unwrap_or_else(|errors| panic!("{errors}"))
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

const REPOS: &str = "go arch benchmarks blog build crypto debug dl example exp gddo image lint mobile mod net oauth2 perf pkgsite playground \
    protobuf review scratch sync sys talks term text time tools tour vgo vuln vulndb website xerrors grpc-review vscode-go";
const BRANCHES: &str = "master dev.unified dev.boringcrypto dev.boringcrypto.go1.18 dev.typeparams release-branch.go1.10 release-branch.go1.11 \
    release-branch.go1.18 release-branch.go1.19 release-branch.go1.20 release-branch.go1.99 release-branch.go2 internal-branch.go1.19-vendor feature";

#[test]
fn every_decision_is_the_reference_s() {
    let config = farm();
    assert_eq!((config.hosts.len(), config.builders.len()), (78, 131));
    let names: Vec<&String> = config.builders.keys().collect();
    let table = |name: &str| {
        let mut text = String::new();
        let mut lines = 0;
        for repo in REPOS.split_whitespace() {
            for branch in BRANCHES.split_whitespace() {
                for base in BRANCHES.split_whitespace() {
                    if repo == "go" && branch != base {
                        continue;
                    }
                    let decided = config.decide(name, repo, branch, base);
                    text.push_str(&format!("{name}\t{repo}\t{branch}\t{base}\t{}\t{}\n", decided.post, decided.try_));
                    lines += 1;
                }
            }
        }
        (text, lines)
    };
    // A million decisions: shared among the machine's processors.
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    let parts: Vec<Vec<(String, usize)>> = std::thread::scope(|scope| {
        let chunks: Vec<_> = names.chunks(names.len().div_ceil(threads)).map(|chunk| scope.spawn(|| chunk.iter().map(|name| table(name)).collect())).collect();
        chunks.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut hash = Sha256::new();
    let mut lines = 0;
    for (text, count) in parts.into_iter().flatten() {
        hash.update(text);
        lines += count;
    }
    assert_eq!(lines, 951_846);
    assert_eq!(hex(hash.finalize()), "97b28db8afc5a3dbc3bcfab742a57af59e35609a3668758491412c3c28a014a9");
}

#[test]
fn every_test_selection_is_the_reference_s() {
    let config = farm();
    let tests = "api reboot test:0_10 test:9_10 go_test:cmd/go go_test:cmd/internal/obj go_test:internal/poll go_test:cmd/vendor/golang.org/x/arch/arm/armasm \
        go_test:vendor/golang.org/x/arch/x nolibgcc:crypto/x509 nolibgcc:net doc_progs wiki bench_go1 codewalk runtime:cpu124 race moved_goroot go_test:fmt cgo_test";
    let mut text = String::new();
    for name in config.builders.keys() {
        let resolved = config.resolve(name).unwrap();
        for test in tests.split_whitespace() {
            let (post, tried) = (config.skips_test(name, test, false).is_none(), config.skips_test(name, test, true).is_none());
            assert_eq!((resolved.skips_test(test, false).is_none(), resolved.skips_test(test, true).is_none()), (post, tried));
            text.push_str(&format!("{name}\t{test}\t{post}\t{tried}\n"));
        }
    }
    assert_eq!(text.lines().count(), 2_620);
    assert_eq!(hex(Sha256::digest(&text)), "76f8c0af6c25ee01501afb265179e8d9943534716cc0bc1802d3c8540cb912a3");
}

#[test]
fn derived_values_and_terms_are_the_reference_s() {
    let config = farm();
    let limit = |name: &str| {
        let resolved = config.resolve(name).unwrap();
        resolved.scaled(resolved.recipe.tests.as_ref().unwrap().timeout.unwrap()).as_secs() / 60
    };
    assert_eq!((limit("netbsd-arm-bsiegert"), limit("plan9-386"), limit("linux-amd64")), (200, 60, 20));
    let arch = |host: &str| config.hosts[host].arch.clone().unwrap();
    assert_eq!(arch("host-linux-arm-aws"), "linux-arm-7");
    assert_eq!(arch("host-solaris-oracle-amd64-oraclerel"), "solaris-amd64");
    assert_eq!(config.builders_called("longtest"), ["linux-amd64-longtest"]);
    assert_eq!(config.builders_called("plan9-386"), ["plan9-386", "plan9-386-0intro"]);
    assert!(config.decide_request("openbsd-386-70-n2d", "net", "master", "master").try_, "an explicit request skips the policy");
    assert!(!config.decide_request("misc-compile-go1.20", "go", "release-branch.go1.19", "release-branch.go1.19").try_, "but not the minimum version");

    let race = config.resolve("linux-amd64-race").unwrap();
    let names: Vec<&str> = race.recipe.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["make", "install_race_std"]);
    let tests = race.recipe.tests.as_ref().unwrap();
    assert_eq!(
        tests.command("linux", &["go_test:fmt".to_owned()]).join(" "),
        "go/bin/go tool dist test --no-rebuild --banner=XXXBANNERXXX: --race go_test:fmt"
    );
    assert_eq!((race.helpers.count(false), race.helpers.count(true)), (1, 5));
    let windows = config.resolve("windows-amd64-longtest").unwrap();
    assert_eq!(windows.recipe.steps[0].run, ["go/src/make.bat"]);
    assert_eq!(windows.env["GO_TEST_SHORT"], "0");
    assert_eq!(windows.env["GO_BUILDER_NAME"], "windows-amd64-longtest");
    assert!(config.resolve("linux-amd64-racecompile").unwrap().recipe.tests.is_none());
}
