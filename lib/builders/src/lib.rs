//! Builders, hosts and recipes: ways to build, kinds of machine, and what to run.
//!
//! [`Config`] is a whole farm as data: read from TOML and checked in one go ([`Config::load`]), made for a laptop
//! ([`config_for_up`]), or for the sample project ([`sample`]). It answers two questions: does this builder build this
//! commit, and why ([`Config::decide`]); and what exactly does it run ([`Config::resolve`]). [`detect`] finds a recipe
//! by looking at a repository, [`Partition`] divides tests among machines, and [`outcomes`] tells them apart in the
//! output of a command that ran several.
//!
//! (Source: `builders.md` §10 for the format, `coordinator.md` §9 for dividing tests. `env/example.toml` shows every key.)
//!
//! ```
//! let config = burrow_builders::Config::parse("burrow.toml", r#"
//! [pool.here]
//! kind = "process"
//! [host.laptop]
//! pool = "here"
//! [project.widget]
//! recipe = "make"
//! [recipe.make]
//! step = [{ name = "build", run = ["make"] }]
//! [builder.widget-linux]
//! host = "laptop"
//! builds = [{ branch = ["main", "release/*"] }]
//! "#).unwrap();
//! assert!(config.decide("widget-linux", "widget", "release/1.0", "release/1.0").post);
//! assert!(!config.decide("widget-linux", "widget", "idea", "idea").post);
//! ```

mod check;
mod detect;
mod load;
mod load_builder;
mod load_recipe;
mod model;
mod outcome;
mod partition;
mod pattern;
mod policy;
mod recipe;
mod resolve;
pub mod sample;
mod serde_duration;
mod toolchain;
mod up;
mod version;

pub use burrow_site::{ConfigErrors, Document, Problem, Secret, SecretError, SecretText, Site, Storage};
pub use detect::{DetectedRecipe, NoRecipe, Wish, detect, detect_for};
pub use load::Pools;
pub use model::{Builder, Config, GoToolchain, Helpers, Host, Pool, PoolKind, Project, RecipeKind, Repo, SkipTests, TestPolicy};
pub use outcome::{TestOutcome, outcomes};
pub use partition::{Partition, Set, Taker, sets};
pub use pattern::{Patterns, Sets};
pub use policy::{Clause, Decision, Policy, Question};
pub use recipe::{Detect, Input, ListFormat, NewFile, Phase, Recipe, Report, Snapshot, SnapshotKey, Step, TestList, TestOutput, Tests, When};
pub use resolve::{ResolvedBuilder, TestSkip, fill};
pub use up::{UpRepo, config_for_up, config_for_up_with, this_machine};
pub use version::{BranchVersion, Version, VersionRange};
