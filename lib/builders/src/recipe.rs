//! Recipes: how a commit is checked out, built and tested (`builders.md` §10.3).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pattern::Patterns;
use crate::serde_duration;

/// What is done to a commit. Directories are relative to the work directory, which `{workdir}` stands for in
/// environments; `{rev}` is the commit, `{builder}` the builder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    /// Where the repository is checked out.
    pub checkout: String,
    /// Where the base repository is, for projects that have one.
    pub base_checkout: Option<String>,
    /// Where the source of the commit's first parent is put beside it, for steps that compare the two; a commit without parents is put there itself.
    pub parent_checkout: Option<String>,
    /// Archives to unpack first.
    pub inputs: Vec<Input>,
    /// Files to write after the checkout.
    pub files: Vec<NewFile>,
    /// Commands, in this order.
    pub steps: Vec<Step>,
    /// Tests that are listed and run by name.
    pub tests: Option<Tests>,
    /// Limit of one whole attempt, before the builder's scale.
    #[serde(with = "serde_duration::option")]
    pub timeout: Option<Duration>,
    /// What of the built tree is worth keeping.
    pub snapshot: Option<Snapshot>,
    /// Where the tests write structured results.
    pub report: Option<Report>,
    /// The steps are found by looking at the commit ([`crate::detect`]); `steps` and `tests` are then empty.
    pub detect: Option<Detect>,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            checkout: "src".to_owned(),
            base_checkout: None,
            parent_checkout: None,
            inputs: Vec::new(),
            files: Vec::new(),
            steps: Vec::new(),
            tests: None,
            timeout: None,
            snapshot: None,
            report: None,
            detect: None,
        }
    }
}

impl Recipe {
    /// The directories that hold sources, the commit's own first.
    pub fn checkouts(&self) -> Vec<String> {
        std::iter::once(&self.checkout).chain(&self.parent_checkout).cloned().collect()
    }

    /// The steps of one phase, in order.
    pub fn steps_for(&self, phase: Phase) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| match phase {
            Phase::Build => step.when != When::Test,
            Phase::Test => step.when == When::Test,
            Phase::Helper => step.when == When::Both,
        })
    }
}

/// Which steps are wanted; see [`Recipe::steps_for`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// On the main worker, before tests and before the snapshot: `build` and `both`.
    Build,
    /// On the main worker, beside the named tests: `test`.
    Test,
    /// On a helper, before its first named test: `both`.
    Helper,
}

/// When a step runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Once, as part of building; a snapshot is taken after it.
    #[default]
    Build,
    /// Once, as one test: its failure does not keep the other tests from running.
    Test,
    /// While building, and again on every helper: it prepares the machine, not only the tree.
    Both,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// What people call it; unique in the recipe.
    pub name: String,
    /// Program and arguments; a program with a `/` is relative to the work directory, a bare name is looked up in PATH.
    /// With `shell`, one text.
    pub run: Vec<String>,
    /// `run` is a script for the machine's shell.
    pub shell: bool,
    /// Where, relative to the work directory. Empty: the work directory itself.
    pub dir: String,
    /// Additions to the builder's environment.
    pub env: BTreeMap<String, String>,
    /// Limit, before the builder's scale.
    #[serde(with = "serde_duration::option")]
    pub timeout: Option<Duration>,
    /// Limit without any output, before the builder's scale.
    #[serde(with = "serde_duration::option")]
    pub idle_timeout: Option<Duration>,
    /// In which phase.
    pub when: When,
}

impl Default for Step {
    fn default() -> Self {
        Step {
            name: String::new(),
            run: Vec::new(),
            shell: false,
            dir: "src".to_owned(),
            env: BTreeMap::new(),
            timeout: None,
            idle_timeout: None,
            when: When::Build,
        }
    }
}

impl Step {
    /// Program and arguments for a machine of this operating system: what `run` says, or its shell with the script.
    pub fn command(&self, os: &str) -> Vec<String> {
        if self.shell { shell_command(os, &self.run) } else { self.run.clone() }
    }
}

fn shell_command(os: &str, run: &[String]) -> Vec<String> {
    let script = run.join(" ");
    match os {
        "windows" => vec!["cmd".to_owned(), "/c".to_owned(), script],
        "plan9" => vec!["rc".to_owned(), "-c".to_owned(), script],
        // `-e`: a script of several lines fails where it fails, not at its last line.
        _ => vec!["sh".to_owned(), "-ec".to_owned(), script],
    }
}

/// Where test names come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestList {
    /// What a command prints, read by [`Tests::names`].
    Command(Vec<String>),
    /// Always these.
    Fixed(Vec<String>),
}

/// How a list command prints names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListFormat {
    /// One per line.
    #[default]
    Lines,
    /// Separated by white space.
    Words,
    /// A JSON list of texts.
    Json,
}

/// How results of single tests are told from the output of a command that ran several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestOutput {
    /// Only the exit status counts, for all of them together.
    #[default]
    Plain,
    /// `go test` package lines (`ok  pkg 0.1s`, `FAIL pkg 0.1s`).
    GoTest,
    /// `go tool dist test --banner=…`: sections that begin with this banner.
    Dist(String),
}

/// Tests that are listed, divided and run by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tests {
    /// Where the names come from.
    pub list: TestList,
    /// How a list command prints them.
    pub list_format: ListFormat,
    /// Only lines that begin so are names, and the rest of the line is the name: tools print notices in between.
    pub list_prefix: String,
    /// Limit of the list command, before the builder's scale.
    #[serde(with = "serde_duration::option")]
    pub list_timeout: Option<Duration>,
    /// The command; `{tests}` stands for the names (see [`Tests::command`]).
    pub run: Vec<String>,
    /// `run` (and the list command) is a script for the machine's shell.
    pub shell: bool,
    /// Where, relative to the work directory.
    pub dir: String,
    /// Additions to the builder's environment.
    pub env: BTreeMap<String, String>,
    /// Limit of one run, before the builder's scale.
    #[serde(with = "serde_duration::option")]
    pub timeout: Option<Duration>,
    /// Limit of one run without any output, before the builder's scale.
    #[serde(with = "serde_duration::option")]
    pub idle_timeout: Option<Duration>,
    /// Helpers may take some of them.
    pub shard: bool,
    /// How often a failed test is tried again, alone; one that then passes is flaky, not failed.
    pub retry: u32,
    /// Tests are run together until their expected times reach this.
    #[serde(with = "serde_duration")]
    pub batch_target: Duration,
    /// Expected time of a test that never ran.
    #[serde(with = "serde_duration")]
    pub unknown: Duration,
    /// At most so many names in one command.
    pub max_batch: usize,
    /// Which tests may share a command; the others run alone.
    pub batch: Patterns,
    /// Which of those come after the rest.
    pub last: Patterns,
    /// How the output is read.
    pub output: TestOutput,
}

impl Default for Tests {
    fn default() -> Self {
        Tests {
            list: TestList::Fixed(Vec::new()),
            list_format: ListFormat::Lines,
            list_prefix: String::new(),
            list_timeout: Some(Duration::from_secs(600)),
            run: Vec::new(),
            shell: false,
            dir: "src".to_owned(),
            env: BTreeMap::new(),
            timeout: Some(Duration::from_secs(20 * 60)),
            idle_timeout: None,
            shard: false,
            retry: 0,
            batch_target: Duration::from_secs(10),
            unknown: Duration::from_secs(3),
            max_batch: 200,
            batch: Patterns::all(),
            last: Patterns::none(),
            output: TestOutput::Plain,
        }
    }
}

impl Tests {
    /// The list command for a machine of this operating system; `None` when the names are fixed.
    pub fn list_command(&self, os: &str) -> Option<Vec<String>> {
        match &self.list {
            TestList::Fixed(_) => None,
            TestList::Command(run) if self.shell => Some(shell_command(os, run)),
            TestList::Command(run) => Some(run.clone()),
        }
    }

    /// The command that runs these tests. An argument `{tests}` becomes one argument per name; inside a longer
    /// argument the names are joined by spaces; in a script they are quoted for the shell.
    ///
    /// ```
    /// let tests = burrow_builders::Tests { run: vec!["go".into(), "test".into(), "{tests}".into()], ..Default::default() };
    /// assert_eq!(tests.command("linux", &["a".into(), "b".into()]), ["go", "test", "a", "b"]);
    /// ```
    pub fn command(&self, os: &str, names: &[String]) -> Vec<String> {
        if self.shell {
            let quoted: Vec<String> = names.iter().map(|name| quote(os, name)).collect();
            let run: Vec<String> = self.run.iter().map(|part| part.replace("{tests}", &quoted.join(" "))).collect();
            return shell_command(os, &run);
        }
        let mut command = Vec::with_capacity(self.run.len() + names.len());
        for part in &self.run {
            match part.as_str() {
                "{tests}" => command.extend(names.iter().cloned()),
                _ => command.push(part.replace("{tests}", &names.join(" "))),
            }
        }
        command
    }

    /// The names in a list command's output, each once, in its order. Fixed names when they are fixed.
    ///
    /// # Errors
    /// A sentence, when the output is not in the promised format.
    pub fn names(&self, output: &[u8]) -> Result<Vec<String>, String> {
        let text = String::from_utf8_lossy(output);
        let all: Vec<String> = match (&self.list, self.list_format) {
            (TestList::Fixed(names), _) => names.clone(),
            (_, ListFormat::Json) => serde_json::from_str(&text).map_err(|error| format!("the list of tests is not a JSON list of texts: {error}"))?,
            (_, format) => {
                let rest = text.lines().filter_map(|line| line.trim().strip_prefix(self.list_prefix.as_str()));
                match format {
                    ListFormat::Words => rest.flat_map(str::split_whitespace).map(str::to_owned).collect(),
                    _ => rest.map(|line| line.trim().to_owned()).collect(),
                }
            }
        };
        let mut seen = std::collections::HashSet::new();
        Ok(all.into_iter().filter(|name| !name.is_empty() && seen.insert(name.clone())).collect())
    }
}

/// A name as one word of a script.
fn quote(os: &str, name: &str) -> String {
    match os {
        "windows" => format!("\"{}\"", name.replace('"', "")),
        "plan9" => format!("'{}'", name.replace('\'', "''")),
        _ => format!("'{}'", name.replace('\'', "'\\''")),
    }
}

/// An archive to unpack before the steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// A tar.gz.
    pub url: String,
    /// Where, relative to the work directory.
    pub dir: String,
}

/// A file to write before the steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFile {
    /// Relative to the work directory.
    pub path: String,
    /// Its content; `{rev}` is the commit.
    pub text: String,
}

/// What is kept of a built tree, so that helpers and later builds can go on from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// What to keep, relative to the work directory.
    pub paths: Vec<String>,
    /// What to leave out of it.
    pub exclude: Vec<String>,
    /// What makes two snapshots the same.
    pub key: Vec<SnapshotKey>,
    /// Larger ones are not kept. Bytes.
    pub max_size: Option<u64>,
}

/// One part of a snapshot's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotKey {
    /// The builder.
    Builder,
    /// The commit.
    Rev,
    /// The base repository's commit.
    BaseRev,
    /// The content of a file, relative to the work directory.
    Hash(String),
}

/// Where tests write structured results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// JUnit XML files that match this glob, relative to the work directory.
    Junit(String),
}

/// How steps are found by looking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detect {
    /// A `burrow.toml` in the repository's root may say what is run. Off unless the configuration allows it for the
    /// repository: a change could then decide how it is tested itself.
    pub allow_file: bool,
    /// Where the repository is checked out.
    pub checkout: String,
}
