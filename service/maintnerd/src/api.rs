//! What a leader answers about its corpus: pure functions of a view and the rules (`spec/maintner.md` §6.3).
//!
//! Every function answers for every corpus, an odd one too: where the reference's program dies of a commit of which nothing but the name is known, a history
//! ends here.

pub mod dashboard;
mod quote;
pub mod refs;
pub mod releases;
mod rules;
pub mod trywork;
mod version;

pub use rules::{BadProjectName, BranchRule, DashboardRules, ProjectName, ReleaseRules, Rules, TryWorkRules};
pub use version::{BadPattern, Version, VersionPattern};

/// What the branches' references begin with.
const HEADS: &str = "refs/heads/";

/// Text of the log for an answer, which must be UTF-8.
fn shown(text: burrow_maintner::Text<'_>) -> String {
    text.lossy().into_owned()
}
