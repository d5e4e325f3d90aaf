//! A builder with everything that its builds need, settled: what a build keeps from its beginning to its end.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::detect::{self, DetectedRecipe, NoRecipe};
use crate::model::{Config, Helpers, Host, RecipeKind};
use crate::pattern::{Patterns, Sets};
use crate::recipe::Recipe;
use crate::toolchain;

/// A builder, its host, and its recipe applied to it. Stored with each build, so that a running build keeps what it
/// started with when the configuration changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResolvedBuilder {
    /// The builder's name.
    pub builder: String,
    /// Its project.
    pub project: String,
    /// The host type's name.
    pub host_type: String,
    /// The host type.
    pub host: Host,
    /// The pool's name.
    pub pool: String,
    /// Operating system, as Go names it; empty when unknown.
    pub os: String,
    /// Architecture, as Go names it; empty when unknown.
    pub arch: String,
    /// The recipe's name.
    pub recipe_name: String,
    /// What is run. When `recipe.detect` is set, ask [`ResolvedBuilder::detect`] first.
    pub recipe: Recipe,
    /// Environment of every command: general variables, then the host's, then the builder's own.
    pub env: BTreeMap<String, String>,
    /// Factor on every time limit.
    pub timeout_scale: f64,
    /// More machines for tests.
    pub helpers: Helpers,
    /// Race detector.
    pub race: bool,
    /// Long tests.
    pub long: bool,
    /// Builds have no network.
    pub offline: bool,
    /// The built tree is kept.
    pub snapshot: bool,
    /// Uses another builder's.
    pub snapshot_from: Option<String>,
    /// Ends after building.
    pub stop_after_build: bool,
    /// Tests that are left out.
    pub skip: Vec<TestSkip>,
    /// Commits that a built one must contain.
    pub requires_commits: Vec<String>,
    /// Issues because of which failures are expected.
    pub known_issues: Vec<u32>,
    /// Until when (YYYY-MM-DD).
    pub known_issues_until: Option<String>,
    /// The configuration this comes from ([`Config::hash`]).
    pub config_hash: String,
}

/// Tests that a builder leaves out, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestSkip {
    /// Names.
    pub tests: Patterns,
    /// Only in ordinary try runs.
    pub only_try: bool,
    /// What says so.
    pub because: String,
}

impl Config {
    /// Everything that builds of a builder need; `None` when there is no such builder.
    pub fn resolve(&self, builder: &str) -> Option<ResolvedBuilder> {
        let (name, builder) = self.builders.get_key_value(builder)?;
        let host = self.hosts.get(&builder.host)?;
        let recipe = match self.recipes.get(&builder.recipe)? {
            RecipeKind::Steps(recipe) | RecipeKind::Detect(recipe) => recipe.clone(),
            RecipeKind::GoToolchain(settings) => toolchain::expand(settings, name, builder, host),
        };
        let mut env = BTreeMap::from([("BURROW_BUILDER".to_owned(), name.clone()), ("CI".to_owned(), "true".to_owned())]);
        if matches!(self.recipes.get(&builder.recipe), Some(RecipeKind::GoToolchain(_))) || self.site.go_names {
            env.extend(toolchain::environment(name, builder));
        }
        if builder.timeout_scale != 1.0 {
            env.insert("BURROW_TIMEOUT_SCALE".to_owned(), builder.timeout_scale.to_string());
        }
        env.extend(host.env.clone());
        env.extend(builder.env.clone());
        let mut skip: Vec<TestSkip> = self
            .skip_tests
            .iter()
            .filter(|entry| entry.builder.has(name, &Sets::new()))
            .map(|entry| TestSkip { tests: entry.tests.clone(), only_try: entry.only_try, because: "a [[skip_tests]] entry names it".to_owned() })
            .collect();
        if let Some((policy, entry)) = builder.tests.as_ref().and_then(|policy| self.test_policies.get_key_value(policy)) {
            skip.push(TestSkip { tests: entry.skip.clone(), only_try: false, because: format!("test policy {policy:?} skips it") });
            skip.push(TestSkip { tests: entry.skip_try.clone(), only_try: true, because: format!("test policy {policy:?} skips it in try runs") });
        }
        Some(ResolvedBuilder {
            builder: name.clone(),
            project: builder.project.clone(),
            host_type: builder.host.clone(),
            host: host.clone(),
            pool: host.pool.clone(),
            os: builder.os.clone(),
            arch: builder.arch.clone(),
            recipe_name: builder.recipe.clone(),
            recipe,
            env,
            timeout_scale: builder.timeout_scale,
            helpers: builder.helpers,
            race: builder.race,
            long: builder.long,
            offline: builder.offline,
            snapshot: builder.snapshot,
            snapshot_from: builder.snapshot_from.clone(),
            stop_after_build: builder.stop_after_build,
            skip,
            requires_commits: builder.requires_commits.clone(),
            known_issues: builder.known_issues.clone(),
            known_issues_until: builder.known_issues_until.clone(),
            config_hash: self.hash.clone(),
        })
    }
}

impl ResolvedBuilder {
    /// A limit of the recipe on this builder.
    pub fn scaled(&self, limit: Duration) -> Duration {
        // A scale that overflows (there is a largest duration) means "no limit" to whoever wrote it.
        Duration::try_from_secs_f64(limit.as_secs_f64() * self.timeout_scale).unwrap_or(Duration::MAX)
    }

    /// Why a test is left out, or `None` when it runs. `ordinary_try`: a try run in which the builder was not asked for
    /// by name.
    pub fn skips_test(&self, test: &str, ordinary_try: bool) -> Option<&str> {
        let hit = |skip: &&TestSkip| (ordinary_try || !skip.only_try) && skip.tests.has(test, &Sets::new());
        self.skip.iter().find(hit).map(|skip| skip.because.as_str())
    }

    /// Looks at a commit and settles the recipe, when the recipe is one that looks; otherwise the recipe as it is.
    /// `read` gives the content of a file by its path, `root` names what is in the root directory (directories end in `/`).
    ///
    /// # Errors
    /// [`NoRecipe`] when nothing known is there.
    pub fn detect(&self, read: &dyn Fn(&str) -> Option<Bytes>, root: &[String]) -> Result<DetectedRecipe, NoRecipe> {
        match &self.recipe.detect {
            None => Ok(DetectedRecipe {
                recipe: self.recipe.clone(),
                why: format!("recipe {:?} of the configuration", self.recipe_name),
                tool: self.recipe_name.clone(),
            }),
            Some(rules) => detect::detect_for(rules, detect::Wish { race: self.race, long: self.long }, read, root),
        }
    }

    /// The environment with placeholders filled in: `{workdir}` by the work directory, `{rev}` by the commit.
    pub fn environment(&self, workdir: &str, rev: &str) -> BTreeMap<String, String> {
        self.env.iter().map(|(name, value)| (name.clone(), fill(value, workdir, rev))).collect()
    }
}

/// Replaces `{workdir}` and `{rev}`.
pub fn fill(text: &str, workdir: &str, rev: &str) -> String {
    text.replace("{workdir}", workdir).replace("{rev}", rev)
}
