//! The configuration as types (`builders.md` §2, §3, §10).

use std::collections::BTreeMap;
use std::time::Duration;

use burrow_site::{Secret, Site, Storage};
use serde::{Deserialize, Serialize};

use crate::pattern::{Patterns, Sets};
use crate::policy::{Clause, Policy};
use crate::recipe::Recipe;
use crate::serde_duration;
use crate::version::{BranchVersion, Version};

/// A checked configuration: every name in it exists, and what is in it can be acted on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// `[site]`.
    pub site: Site,
    /// `[storage.<name>]`.
    pub storage: BTreeMap<String, Storage>,
    /// `[secret.<name>]`: where secrets are, not what they are.
    pub secrets: BTreeMap<String, Secret>,
    /// `[pool.<name>]`.
    pub pools: BTreeMap<String, Pool>,
    /// `[project.<name>]`.
    pub projects: BTreeMap<String, Project>,
    /// `[repo.<name>]`.
    pub repos: BTreeMap<String, Repo>,
    /// `[recipe.<name>]`.
    pub recipes: BTreeMap<String, RecipeKind>,
    /// `[reposet]`.
    pub reposets: Sets,
    /// `[policy]`.
    pub policies: BTreeMap<String, Policy>,
    /// `[test_policy]`.
    pub test_policies: BTreeMap<String, TestPolicy>,
    /// `[[deny]]`.
    pub deny: Vec<Clause>,
    /// `[[skip_tests]]`.
    pub skip_tests: Vec<SkipTests>,
    /// `[host.<type>]`.
    pub hosts: BTreeMap<String, Host>,
    /// `[builder.<name>]`.
    pub builders: BTreeMap<String, Builder>,
    /// SHA-256 (hex) of all of the above, after templates and defaults: two files that mean the same have the same.
    #[serde(default)]
    pub hash: String,
}

/// A source of machines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Its kind, with what the kind needs.
    pub kind: PoolKind,
    /// Machines at once, whatever the kind. `None`: what the kind gives.
    pub max_instances: Option<u32>,
}

/// The kinds of pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PoolKind {
    /// Workers that are processes on this machine; each builds one thing at a time.
    Process {
        /// How many.
        workers: u32,
        /// Bytes of memory that one build may use. `None`: no limit.
        memory: Option<u64>,
        /// Processes that one build may have. `None`: no limit.
        max_processes: Option<u32>,
    },
    /// Machines that dial in.
    Reverse {
        /// The secret from which classic builder keys are made (HMAC-MD5), for stock Go buildlets. `None`: only
        /// enrolled machines.
        legacy_key: Option<String>,
        /// Accepts the well-known development key. Only for trying things out on one machine.
        dev_key: bool,
        /// How long a machine that lost its connection is waited for before its build is given to another.
        #[serde(with = "serde_duration")]
        grace: Duration,
        /// Silence after which a machine counts as lost.
        #[serde(with = "serde_duration")]
        heartbeat: Duration,
    },
    /// Workers that wait for connections at known addresses.
    Listen {
        /// `host:port`, or `unix:/path`.
        addresses: Vec<String>,
        /// The secret with the workers' password.
        password: Option<String>,
    },
    /// A kind that exists but is not in this program. [`Config::load`] refuses it; `config check` on a laptop of a farm
    /// elsewhere does not.
    NotBuiltIn {
        /// Its name.
        name: String,
    },
}

/// A set of repositories that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// The repository that every other one is built against, if there is one.
    pub base_repo: Option<String>,
    /// The branch that `tip` means.
    pub main_branch: String,
    /// Branches that count as newer than every release.
    pub current_branches: Patterns,
    /// Release branches: `{version}` stands for M or M.N.
    pub release_branch: Option<String>,
    /// Go's rules for versions in branch names.
    pub go_versions: bool,
    /// The recipe of builders that name none.
    pub recipe: Option<String>,
    /// Words that people may ask builders by, and that deliberately mean none.
    pub no_builder_terms: Vec<String>,
}

impl Project {
    /// What a branch is, as far as versions are concerned.
    pub fn version_of(&self, branch: &str) -> BranchVersion {
        let parse = if self.go_versions { Version::parse_go } else { Version::parse };
        let release = self.release_branch.as_deref().and_then(|pattern| pattern.split_once("{version}")).and_then(|(before, after)| {
            let version = branch.strip_prefix(before)?.strip_suffix(after)?;
            parse(version)
        });
        match release {
            Some(version) => BranchVersion::Release(version),
            None if branch == self.main_branch || self.current_branches.has(branch, &Sets::new()) => BranchVersion::Current,
            None => BranchVersion::Other,
        }
    }
}

/// A repository that is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repo {
    /// The project it belongs to.
    pub project: String,
    /// Where it is: anything git takes, or a folder.
    pub url: String,
    /// Its own main branch. `None`: as the remote says, else the project's.
    pub main_branch: Option<String>,
    /// Whether its commits are built.
    pub build: bool,
    /// Which branches.
    pub branches: Patterns,
    /// How often it is asked for news.
    #[serde(with = "serde_duration")]
    pub poll: Duration,
    /// The secret that its webhook signs with. `None`: no webhook.
    pub hook_secret: Option<String>,
    /// The name that other code imports it by.
    pub import_path: Option<String>,
    /// How many commits of a branch are built when it is seen for the first time.
    pub first_commits: u32,
}

/// A recipe, before it is applied to a builder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RecipeKind {
    /// Steps, as written.
    Steps(Recipe),
    /// Found by looking at the commit.
    Detect(Recipe),
    /// A Go toolchain's repository: `src/make.bash`, then `go tool dist test`.
    GoToolchain(GoToolchain),
}

/// Settings of the recipe kind `go-toolchain`; [`Config::resolve`] makes the steps of each builder from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoToolchain {
    /// The Go version that builds it, or `None` when machines have their own.
    pub bootstrap: Option<String>,
    /// Where bootstrap toolchains are: `{arch}` (as `linux-amd64`) and `{version}` are replaced.
    pub bootstrap_url: Option<String>,
    /// Limit of `make`, before the builder's scale.
    #[serde(with = "serde_duration")]
    pub make_timeout: Duration,
    /// Limit of one test run, before the builder's scale.
    #[serde(with = "serde_duration")]
    pub test_timeout: Duration,
    /// How often a failed test is tried again.
    pub retry: u32,
}

/// Which tests a builder leaves out, as globs over their names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TestPolicy {
    /// Never run.
    pub skip: Patterns,
    /// Not run in ordinary try runs.
    pub skip_try: Patterns,
}

/// An entry `[[skip_tests]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SkipTests {
    /// Test names.
    pub tests: Patterns,
    /// On these builders.
    pub builder: Patterns,
    /// Only in ordinary try runs.
    pub only_try: bool,
}

/// A kind of machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The pool it comes from.
    pub pool: String,
    /// `os-arch`, for choosing programs; `None` when nothing says.
    pub arch: Option<String>,
    /// Disk image.
    pub image: Option<String>,
    /// Container image.
    pub container: Option<String>,
    /// Machine type, as the pool names them.
    pub machine: Option<String>,
    /// Disk size in GB.
    pub disk_gb: Option<u32>,
    /// Disk kind: `ssd` or `hdd`.
    pub disk: Option<String>,
    /// CPU platform at least.
    pub min_cpu: Option<String>,
    /// CPUs of one machine.
    pub cpus: Option<u32>,
    /// Memory of one machine, bytes.
    pub memory: Option<u64>,
    /// Machines inside the machine.
    pub nested_virt: bool,
    /// Image that starts the container.
    pub host_image: Option<String>,
    /// System that starts the container.
    pub host_os: Option<String>,
    /// A machine is removed after this, whatever it does.
    #[serde(with = "serde_duration")]
    pub delete_after: Duration,
    /// A machine that has not answered by then is given up.
    #[serde(with = "serde_duration")]
    pub boot_timeout: Duration,
    /// A machine older than this gets no new work.
    #[serde(with = "serde_duration::option")]
    pub max_age: Option<Duration>,
    /// Its bootstrap toolchain, when it differs from the recipe's; `none` = it has its own.
    pub bootstrap: Option<String>,
    /// How many machines of this kind should be there (those that dial in).
    pub expect: u32,
    /// Nothing of a build remains on it.
    pub hermetic: bool,
    /// It may be given things that strangers must not see.
    pub trusted: bool,
    /// Worker version at least.
    pub min_buildlet: u32,
    /// Environment of every builder on it.
    pub env: BTreeMap<String, String>,
    /// Whom SSH sessions log in as. `None`: no SSH.
    pub ssh_user: Option<String>,
    /// Whom to tell: `github:x`, `mailto:y`.
    pub owners: Vec<String>,
    /// Text for people.
    pub notes: String,
    /// Machines at once.
    pub max_concurrent: Option<u32>,
    /// Machines prove who they are with classic keys.
    pub legacy_auth: bool,
}

/// A way to build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Builder {
    /// The kind of machine.
    pub host: String,
    /// The project.
    pub project: String,
    /// The recipe.
    pub recipe: String,
    /// When it may build at all.
    pub builds: Policy,
    /// What `builds` is called, for explanations.
    pub builds_name: Option<String>,
    /// When it builds changes before they are submitted. `None`: only when asked for.
    pub try_: Option<Policy>,
    /// What `try` is called.
    pub try_name: Option<String>,
    /// Whether it builds submitted commits.
    pub post: bool,
    /// The test policy. `None`: all tests.
    pub tests: Option<String>,
    /// More machines for tests: after submit, and in try runs.
    pub helpers: Helpers,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Factor on every time limit.
    pub timeout_scale: f64,
    /// Race detector.
    pub race: bool,
    /// Long tests.
    pub long: bool,
    /// Operating system, as Go names it; empty when unknown.
    pub os: String,
    /// Architecture, as Go names it; empty when unknown.
    pub arch: String,
    /// Builds have no network.
    pub offline: bool,
    /// Tests must expect a bad network.
    pub flaky_net: bool,
    /// The built tree is kept.
    pub snapshot: bool,
    /// Uses another builder's.
    pub snapshot_from: Option<String>,
    /// Tests are compiled, not run.
    pub compile_only: bool,
    /// Ends after building.
    pub stop_after_build: bool,
    /// Packages installed with the race detector after building. `None`: the recipe's.
    pub race_install: Option<Vec<String>>,
    /// Where modules come from: `relay`, `public` or `own`.
    pub go_proxy: Option<String>,
    /// Runs benchmarks instead of tests.
    pub bench: bool,
    /// Arguments of the build script.
    pub args: Vec<String>,
    /// Release branches below this are not built.
    pub min_version: Option<Version>,
    /// Commits that a built one must contain.
    pub requires_commits: Vec<String>,
    /// Issues because of which failures are expected.
    pub known_issues: Vec<u32>,
    /// Until when (YYYY-MM-DD).
    pub known_issues_until: Option<String>,
    /// Groups that may use it. Empty: everybody.
    pub restricted: Vec<String>,
    /// Other words that people may ask for it by.
    pub aliases: Vec<String>,
    /// Text for people.
    pub notes: String,
}

/// Numbers of additional machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Helpers {
    /// After submit.
    pub post: u32,
    /// In try runs; 0 means the same as after submit.
    pub try_: u32,
}

impl Helpers {
    /// The number for one build.
    pub fn count(&self, is_try: bool) -> u32 {
        if is_try && self.try_ > 0 { self.try_ } else { self.post }
    }
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            host: String::new(),
            project: String::new(),
            recipe: String::new(),
            builds: Policy::always(),
            builds_name: None,
            try_: None,
            try_name: None,
            post: true,
            tests: None,
            helpers: Helpers::default(),
            env: BTreeMap::new(),
            timeout_scale: 1.0,
            race: false,
            long: false,
            os: String::new(),
            arch: String::new(),
            offline: false,
            flaky_net: false,
            snapshot: true,
            snapshot_from: None,
            compile_only: false,
            stop_after_build: false,
            race_install: None,
            go_proxy: None,
            bench: false,
            args: Vec::new(),
            min_version: None,
            requires_commits: Vec::new(),
            known_issues: Vec::new(),
            known_issues_until: None,
            restricted: Vec::new(),
            aliases: Vec::new(),
            notes: String::new(),
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Host {
            pool: String::new(),
            arch: None,
            image: None,
            container: None,
            machine: None,
            disk_gb: None,
            disk: None,
            min_cpu: None,
            cpus: None,
            memory: None,
            nested_virt: false,
            host_image: None,
            host_os: None,
            delete_after: Duration::from_secs(2 * 3600),
            boot_timeout: Duration::from_secs(10 * 60),
            max_age: None,
            bootstrap: None,
            expect: 0,
            hermetic: false,
            trusted: false,
            min_buildlet: 23,
            env: BTreeMap::new(),
            ssh_user: None,
            owners: Vec::new(),
            notes: String::new(),
            max_concurrent: None,
            legacy_auth: false,
        }
    }
}

impl Default for GoToolchain {
    fn default() -> Self {
        GoToolchain { bootstrap: None, bootstrap_url: None, make_timeout: Duration::from_secs(3600), test_timeout: Duration::from_secs(20 * 60), retry: 0 }
    }
}

impl Default for Project {
    fn default() -> Self {
        Project {
            base_repo: None,
            main_branch: "main".to_owned(),
            current_branches: Patterns::none(),
            release_branch: None,
            go_versions: false,
            recipe: None,
            no_builder_terms: Vec::new(),
        }
    }
}

impl Repo {
    /// A repository with everything else as it is by default.
    pub fn new(project: impl Into<String>, url: impl Into<String>) -> Self {
        Repo {
            project: project.into(),
            url: url.into(),
            main_branch: None,
            build: true,
            branches: Patterns::all(),
            poll: Duration::from_secs(30),
            hook_secret: None,
            import_path: None,
            first_commits: 10,
        }
    }
}
