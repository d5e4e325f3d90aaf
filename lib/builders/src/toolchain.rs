//! The recipe kind `go-toolchain`: how a Go distribution builds and tests itself.
//!
//! (Source: `coordinator.md` §8.1, §8.2, §9; `builders.md` §3.1, §4.3, §5.) The repository is checked out as `go`; a
//! `VERSION` file names the commit; `make` builds it with a bootstrap toolchain in `go1.4`, or with the machine's own;
//! then `go tool dist test` lists the tests and runs them by name.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Builder, GoToolchain, Host};
use crate::pattern::Patterns;
use crate::recipe::{Input, ListFormat, NewFile, Recipe, Snapshot, SnapshotKey, Step, TestList, TestOutput, Tests, When};

/// What separates the parts of a `dist test` output, and is unlikely in any test's own.
const BANNER: &str = "XXXBANNERXXX:";

/// Variables that Go's own tests look at.
pub(crate) fn environment(name: &str, builder: &Builder) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([("GO_BUILDER_NAME".to_owned(), name.to_owned())]);
    if builder.flaky_net {
        env.insert("GO_BUILDER_FLAKY_NET".to_owned(), "1".to_owned());
    }
    if builder.long {
        env.insert("GO_TEST_SHORT".to_owned(), "0".to_owned());
    }
    if builder.timeout_scale != 1.0 {
        env.insert("GO_TEST_TIMEOUT_SCALE".to_owned(), builder.timeout_scale.to_string());
    }
    if builder.offline {
        env.insert("GO_DISABLE_OUTBOUND_NETWORK".to_owned(), "1".to_owned());
    }
    env
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

/// The steps and tests of one builder.
pub(crate) fn expand(settings: &GoToolchain, name: &str, builder: &Builder, host: &Host) -> Recipe {
    let (make, all_targets) = match builder.os.as_str() {
        "windows" => ("make.bat", "buildall.bash"),
        "plan9" => ("make.rc", "buildall.bash"),
        _ => ("make.bash", "buildall.bash"),
    };
    let bootstrap = host.bootstrap.as_deref().or(settings.bootstrap.as_deref()).filter(|version| *version != "none");
    let arch = host.arch.clone().unwrap_or_else(|| format!("{}-{}", builder.os, builder.arch));
    let inputs: Vec<Input> = bootstrap
        .zip(settings.bootstrap_url.as_deref())
        .map(|(version, url)| Input { url: url.replace("{arch}", &arch).replace("{version}", version), dir: "go1.4".to_owned() })
        .into_iter()
        .collect();
    let mut env = BTreeMap::from([("GOBIN".to_owned(), String::new())]);
    if !inputs.is_empty() {
        env.insert("GOROOT_BOOTSTRAP".to_owned(), "{workdir}/go1.4".to_owned());
    }
    // Cross-compile builders check many targets with one script, which builds and does nothing else.
    let crosses = name.split('-').take(2).eq(["misc", "compile"]);
    let script = if crosses { all_targets } else { make };
    let mut steps = vec![Step {
        name: "make".to_owned(),
        run: std::iter::once(format!("go/src/{script}")).chain(builder.args.iter().cloned()).collect(),
        dir: "go/src".to_owned(),
        env: env.clone(),
        timeout: Some(settings.make_timeout),
        ..Step::default()
    }];
    let race_packages = builder.race_install.clone().or_else(|| builder.race.then(|| words(&["std"]))).unwrap_or_default();
    if !race_packages.is_empty() && !crosses {
        steps.push(Step {
            name: "install_race_std".to_owned(),
            run: words(&["go/bin/go", "install", "-race"]).into_iter().chain(race_packages).collect(),
            dir: "go/src".to_owned(),
            env: env.clone(),
            timeout: Some(settings.make_timeout),
            when: When::Build,
            ..Step::default()
        });
    }
    let with_flags = |list: &[&str]| {
        let mut run = words(list);
        run.extend(builder.race.then(|| "--race".to_owned()));
        run.extend(builder.compile_only.then(|| "--compile-only".to_owned()));
        run
    };
    let tests = (!crosses && !builder.stop_after_build).then(|| {
        let banner = format!("--banner={BANNER}");
        let mut run = with_flags(&["go/bin/go", "tool", "dist", "test", "--no-rebuild", &banner]);
        run.push("{tests}".to_owned());
        Tests {
            list: TestList::Command(with_flags(&["go/bin/go", "tool", "dist", "test", "--no-rebuild", "--list"])),
            list_format: ListFormat::Words,
            run,
            dir: String::new(),
            env: test_env(builder),
            timeout: Some(settings.test_timeout),
            shard: true,
            retry: settings.retry,
            batch_target: Duration::from_secs(10),
            unknown: Duration::from_secs(3),
            // Package tests: `go_test:<pkg>` until Go 1.20, the bare import path since.
            batch: Patterns::new(["*", "!*:*", "go_test:*", "!api", "!reboot"]),
            last: Patterns::new(["go_test:cmd/*", "cmd/*"]),
            output: TestOutput::Dist(BANNER.to_owned()),
            ..Tests::default()
        }
    });
    Recipe {
        checkout: "go".to_owned(),
        inputs,
        files: vec![NewFile { path: "go/VERSION".to_owned(), text: "devel {rev}".to_owned() }],
        steps,
        tests,
        snapshot: builder.snapshot.then(|| Snapshot {
            paths: words(&["go"]),
            exclude: words(&["go/doc/gopher", "go/pkg/bootstrap"]),
            key: vec![SnapshotKey::Builder, SnapshotKey::Rev],
            max_size: None,
        }),
        ..Recipe::default()
    }
}

fn test_env(builder: &Builder) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([("GOROOT".to_owned(), "{workdir}/go".to_owned()), ("GOPATH".to_owned(), "{workdir}/gopath".to_owned())]);
    if !builder.long {
        // The toolchain's own tests have what they need in the repository; only long ones try what is outside.
        env.insert("GOPROXY".to_owned(), "off".to_owned());
    }
    env
}
