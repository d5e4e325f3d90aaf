//! Finding out how a repository is built by looking at it: what `burrow up --repo` uses for a repository that nobody
//! has described.
//!
//! The rules aim at what the project's own people type, with nothing special: no linters, no options of taste. When
//! several tools left their files, the first of this order wins, and the answer says what else was there:
//! `src/all.bash` (a Go distribution), `go.mod`, `Cargo.toml`, `package.json` with a test or build script, a makefile.
//!
//! ```
//! let root = ["go.mod".to_owned(), "Makefile".to_owned()];
//! let found = burrow_builders::detect(&|_| None, &root).unwrap();
//! assert_eq!(found.tool, "go");
//! assert_eq!(found.why, "go.mod is in the root (also there: Makefile)");
//! ```

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::load;
use crate::model::{Builder, GoToolchain, Host};
use crate::recipe::{Detect, Recipe, Step, TestList, TestOutput, Tests, When};
use crate::toolchain;

/// A recipe that was found by looking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectedRecipe {
    /// What to run.
    pub recipe: Recipe,
    /// What it was found by, as a sentence.
    pub why: String,
    /// `go-toolchain`, `go`, `cargo`, `npm`, `yarn`, `pnpm`, `make`, or `burrow.toml`.
    pub tool: String,
}

/// Nothing that says how to build was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NoRecipe {
    /// The files that would have told.
    pub looked_for: Vec<&'static str>,
    /// A file that was there, and what is wrong with it.
    pub problem: Option<String>,
}

impl std::fmt::Display for NoRecipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.problem {
            Some(problem) => f.write_str(problem),
            None => write!(f, "nothing says how to build this: looked for {}; write a recipe in the configuration", self.looked_for.join(", ")),
        }
    }
}

/// What is looked for, in the order of preference.
const LOOKED_FOR: [&str; 5] = ["src/all.bash", "go.mod", "Cargo.toml", "package.json", "Makefile"];

/// Names that make reads, in its own order.
const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

/// What the builder wants beyond the plain recipe, where the tool has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// The race detector.
    pub race: bool,
    /// Long tests.
    pub long: bool,
}

/// Looks at a commit: `read` gives the content of a file by its path, `root` names what is in the root directory
/// (directories end in `/`).
///
/// # Errors
/// [`NoRecipe`] when nothing known is there.
pub fn detect(read: &dyn Fn(&str) -> Option<Bytes>, root: &[String]) -> Result<DetectedRecipe, NoRecipe> {
    detect_for(&Detect::default(), Wish::default(), read, root)
}

/// The same, for a builder with wishes, by given rules.
///
/// # Errors
/// [`NoRecipe`] when nothing known is there, or the repository's own `burrow.toml` counts and is wrong.
pub fn detect_for(rules: &Detect, wish: Wish, read: &dyn Fn(&str) -> Option<Bytes>, root: &[String]) -> Result<DetectedRecipe, NoRecipe> {
    let checkout = if rules.checkout.is_empty() { "src" } else { &rules.checkout };
    let has = |name: &str| root.iter().any(|entry| entry == name);
    let text = |name: &str| read(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if rules.allow_file && has("burrow.toml") {
        match load::repo_recipe(&text("burrow.toml").unwrap_or_default(), checkout) {
            Ok(Some(recipe)) => return Ok(DetectedRecipe { recipe, why: "burrow.toml in the root says so".to_owned(), tool: "burrow.toml".to_owned() }),
            // A site's configuration that lies in the repository describes no recipe.
            Ok(None) => {}
            Err(errors) => return Err(NoRecipe { looked_for: vec!["burrow.toml"], problem: Some(errors.to_string()) }),
        }
    }
    let makefile = MAKEFILES.into_iter().find(|name| has(name));
    let script = if has("package.json") { Package::read(&text("package.json").unwrap_or_default()) } else { None };
    let mut found: Vec<&str> = Vec::new();
    found.extend((has("src/") && read("src/all.bash").is_some()).then_some("src/all.bash"));
    found.extend(has("go.mod").then_some("go.mod"));
    found.extend(has("Cargo.toml").then_some("Cargo.toml"));
    found.extend(script.is_some().then_some("package.json"));
    found.extend(makefile);
    let (Some(first), others) = (found.first().copied(), found.get(1..).unwrap_or_default()) else {
        return Err(NoRecipe { looked_for: LOOKED_FOR.to_vec(), problem: None });
    };
    let (tool, recipe) = match first {
        "src/all.bash" => ("go-toolchain", go_toolchain(wish)),
        "go.mod" => ("go", go(checkout, wish)),
        "Cargo.toml" => ("cargo", cargo(checkout)),
        "package.json" => node(checkout, script.unwrap_or_default(), &has),
        _ => ("make", make(checkout, &text(first).unwrap_or_default())),
    };
    let also = if others.is_empty() { String::new() } else { format!(" (also there: {})", others.join(", ")) };
    let why = match first {
        "src/all.bash" => format!("src/all.bash is there{also}"),
        _ => format!("{first} is in the root{also}"),
    };
    Ok(DetectedRecipe { recipe, why, tool: tool.to_owned() })
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn step(checkout: &str, name: &str, run: &str, when: When) -> Step {
    Step { name: name.to_owned(), run: words(run), dir: checkout.to_owned(), timeout: Some(Duration::from_secs(30 * 60)), when, ..Step::default() }
}

fn recipe(checkout: &str, steps: Vec<Step>, tests: Option<Tests>) -> Recipe {
    Recipe { checkout: checkout.to_owned(), steps, tests, ..Recipe::default() }
}

/// Packages are the tests: `go test` says for each of them how it ended, and they may run on different machines.
fn go(checkout: &str, wish: Wish) -> Recipe {
    let mut run = words("go test");
    if wish.race {
        run.push("-race".to_owned());
    }
    run.push("{tests}".to_owned());
    let mut build = step(checkout, "build", "go build ./...", When::Build);
    if wish.race {
        build.run = words("go build -race ./...");
    }
    let tests = Tests {
        // The go command prints notices (downloads) among the names; only lines with the mark are names. Packages
        // without tests have been compiled by the build step.
        list: TestList::Command(vec![
            "go".to_owned(),
            "list".to_owned(),
            "-f".to_owned(),
            "{{if or .TestGoFiles .XTestGoFiles}}test-package {{.ImportPath}}{{end}}".to_owned(),
            "./...".to_owned(),
        ]),
        list_prefix: "test-package ".to_owned(),
        run,
        dir: checkout.to_owned(),
        timeout: Some(Duration::from_secs(20 * 60)),
        shard: true,
        output: TestOutput::GoTest,
        ..Tests::default()
    };
    recipe(checkout, vec![build], Some(tests))
}

/// Benchmarks are not compiled: many need a nightly compiler, and `cargo test` does not run them either.
fn cargo(checkout: &str) -> Recipe {
    let build = step(checkout, "build", "cargo build --bins --examples --tests", When::Build);
    recipe(checkout, vec![build, step(checkout, "test", "cargo test", When::Test)], None)
}

/// The scripts of a `package.json` that say something.
#[derive(Default)]
struct Package {
    build: bool,
    test: bool,
    /// Name and version.
    manager: Option<(String, String)>,
}

impl Package {
    /// `None` when there is nothing to run, or it is not readable.
    fn read(text: &str) -> Option<Package> {
        let json: serde_json::Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()?;
        let script = |name: &str| {
            json.get("scripts").and_then(|scripts| scripts.get(name)).and_then(|script| script.as_str()).filter(|script| !script.trim().is_empty())
        };
        // What `npm init` writes into every new project.
        let test = script("test").is_some_and(|script| !script.contains("no test specified"));
        // `pnpm@9.1.0+sha512.…`: name and exact version.
        let manager = json.get("packageManager").and_then(|manager| manager.as_str()).and_then(|manager| {
            let (name, version) = manager.split_once('@')?;
            let version = version.split('+').next()?;
            let plain = !version.is_empty() && version.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
            plain.then(|| (name.to_owned(), version.to_owned()))
        });
        let found = Package { build: script("build").is_some(), test, manager };
        (found.build || found.test).then_some(found)
    }
}

fn node(checkout: &str, package: Package, has: &dyn Fn(&str) -> bool) -> (&'static str, Recipe) {
    let named = |name: &str| package.manager.as_ref().is_some_and(|(manager, _)| manager == name);
    let chosen = |name: &str, lock: &str| named(name) || (package.manager.is_none() && has(lock));
    // npm comes with node; the others are run through it, in the version the project names, so that a machine needs
    // nothing else.
    let through_npm = |name: &str| match &package.manager {
        Some((manager, version)) if manager == name => format!("npx --yes {name}@{version}"),
        _ => format!("npx --yes {name}"),
    };
    let (tool, command, install) = if chosen("pnpm", "pnpm-lock.yaml") {
        ("pnpm", through_npm("pnpm"), "install --frozen-lockfile")
    } else if chosen("yarn", "yarn.lock") {
        ("yarn", through_npm("yarn"), "install --frozen-lockfile")
    } else if has("package-lock.json") || has("npm-shrinkwrap.json") {
        ("npm", "npm".to_owned(), "ci --no-audit --no-fund")
    } else {
        ("npm", "npm".to_owned(), "install --no-audit --no-fund")
    };
    // Both: what is installed is needed on a helper too.
    let mut steps = vec![step(checkout, "install", &format!("{command} {install}"), When::Both)];
    if package.build {
        steps.push(step(checkout, "build", &format!("{command} run build"), When::Build));
    }
    if package.test {
        steps.push(step(checkout, "test", &format!("{command} test"), When::Test));
    }
    (tool, recipe(checkout, steps, None))
}

fn make(checkout: &str, text: &str) -> Recipe {
    let mut steps = vec![step(checkout, "build", "make", When::Build)];
    let has = |target: &str| targets(text).any(|name| name == target);
    if let Some(target) = ["check", "test"].into_iter().find(|target| has(target)) {
        steps.push(step(checkout, "test", &format!("make {target}"), When::Test));
    }
    recipe(checkout, steps, None)
}

/// Names of explicit rules. Lines of scripts begin with a tab; `:=` and `::=` are assignments.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    let rule = |line: &&str| !line.starts_with(['\t', '#', ' ']);
    text.lines().filter(rule).flat_map(|line| {
        match line.split_once(':') {
            Some((names, rest)) if !rest.starts_with('=') && !rest.starts_with(":=") && !names.contains('=') => names,
            _ => "",
        }
        .split_whitespace()
    })
}

/// Like a farm's builder without any settings of its own, on a machine with its own bootstrap toolchain.
fn go_toolchain(wish: Wish) -> Recipe {
    let settings = GoToolchain::default();
    let builder = Builder { race: wish.race, long: wish.long, ..Builder::default() };
    toolchain::expand(&settings, "", &builder, &Host::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tool and commands found for these files, or what is said when there is nothing.
    fn found(files: &[(&str, &str)], rules: &Detect, wish: Wish) -> String {
        let read = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| Bytes::from((*text).to_owned()));
        let root: Vec<String> = files.iter().map(|(name, _)| name.split_once('/').map_or_else(|| (*name).to_owned(), |(dir, _)| format!("{dir}/"))).collect();
        match detect_for(rules, wish, &read, &root) {
            Err(none) => none.to_string(),
            Ok(found) => {
                let steps = found.recipe.steps.iter().map(|step| step.run.join(" "));
                let tests = found.recipe.tests.iter().map(|tests| tests.run.join(" "));
                format!("{}: {}", found.tool, steps.chain(tests).collect::<Vec<_>>().join("; "))
            }
        }
    }

    #[test]
    fn each_tool_is_found_by_its_files_and_run_as_its_people_do() {
        let package = r#"{"scripts": {"build": "tsc", "test": "jest"}, "packageManager": "pnpm@9.1.0+sha512.ab"}"#;
        for (files, expected) in [
            (&[("go.mod", "module m"), ("Makefile", "all:")][..], "go: go build ./...; go test {tests}"),
            (&[("Cargo.toml", ""), ("package.json", package)], "cargo: cargo build --bins --examples --tests; cargo test"),
            (&[("package.json", r#"{"scripts": {"test": "node t.js"}}"#), ("package-lock.json", "{}")], "npm: npm ci --no-audit --no-fund; npm test"),
            (&[("package.json", r#"{"scripts": {"build": "x"}}"#)], "npm: npm install --no-audit --no-fund; npm run build"),
            (&[("package.json", package)], "pnpm: npx --yes pnpm@9.1.0 install --frozen-lockfile; npx --yes pnpm@9.1.0 run build; npx --yes pnpm@9.1.0 test"),
            (&[("package.json", r#"{"scripts": {"test": "x"}}"#), ("yarn.lock", "")], "yarn: npx --yes yarn install --frozen-lockfile; npx --yes yarn test"),
            (&[("package.json", r#"{"scripts": {"test": "echo \"Error: no test specified\" && exit 1"}}"#), ("Makefile", "")], "make: make"),
            (&[("package.json", "not json"), ("GNUmakefile", "check: all\n")], "make: make; make check"),
            (&[("Makefile", "test := 1\nX = a:b\nall lint test: x\n\ttest: no\n")], "make: make; make test"),
            (&[("Makefile", "check ::= 1\n# test: no\n\tcheck: no\n")], "make: make"),
            (
                &[("src/all.bash", "#!/bin/bash"), ("go.mod", "")],
                "go-toolchain: go/src/make.bash; go/bin/go tool dist test --no-rebuild --banner=XXXBANNERXXX: {tests}",
            ),
            (
                &[("README", "")],
                "nothing says how to build this: looked for src/all.bash, go.mod, Cargo.toml, package.json, Makefile; write a recipe in the configuration",
            ),
        ] {
            assert_eq!(found(files, &Detect::default(), Wish::default()), expected);
        }
        assert_eq!(found(&[("go.mod", "")], &Detect::default(), Wish { race: true, long: false }), "go: go build -race ./...; go test -race {tests}");
    }

    #[test]
    fn a_repository_s_own_file_counts_only_where_it_may() {
        let own = "[recipe]\nstep = [{ name = \"x\", run = [\"./ci\"] }]\n";
        let allowed = Detect { allow_file: true, checkout: String::new() };
        let files = |own| [("burrow.toml", own), ("Makefile", "")];
        assert_eq!(found(&files(own), &allowed, Wish::default()), "burrow.toml: ./ci");
        assert_eq!(found(&files(own), &Detect::default(), Wish::default()), "make: make");
        assert_eq!(found(&files("[pool.x]\nkind = \"process\"\n"), &allowed, Wish::default()), "make: make", "a site's configuration is not a recipe");
        let broken = found(&files("[recipe]\nstep = [{ name = \"x\", rum = [\"./ci\"] }]\n"), &allowed, Wish::default());
        assert!(broken.contains("burrow.toml:2:23") && broken.contains("did you mean `run`?"), "{broken}");
    }

    #[test]
    fn names_are_read_from_a_list_command_s_output_among_its_notices() {
        let tests = go("src", Wish::default()).tests.unwrap();
        let output = b"go: downloading example.org/x v1.0.0\ntest-package m/a\n\ntest-package m/b\ntest-package m/a\n";
        assert_eq!(tests.names(output).unwrap(), ["m/a", "m/b"]);
    }
}
