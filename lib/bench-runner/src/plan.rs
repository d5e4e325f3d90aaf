//! What is run, and when it is enough.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use protocol_benchfmt::adapters::Format;

/// One of the things that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// What it is called in results.
    pub label: String,
    /// The command, for `sh -c`. `{bench}` becomes a pattern of the benchmarks that are still too noisy, or `.` for all.
    pub command: String,
    /// Where it runs; `None`: here.
    pub dir: Option<PathBuf>,
}

/// Which word of a command is replaced by a pattern of benchmarks.
pub(crate) const PATTERN: &str = "{bench}";

/// Sides and limits.
#[derive(Clone, Debug)]
pub struct Plan {
    /// At least two; the first one is the base.
    pub sides: Vec<Side>,
    /// A file, or Criterion's folder, that a run writes its results to, from where it runs; `None`: they are on its standard output.
    pub report: Option<PathBuf>,
    /// What the results are in; `None`: told by their content.
    pub format: Option<Format>,
    /// Rounds before intervals are looked at.
    pub min_rounds: u32,
    /// Rounds at most.
    pub max_rounds: u32,
    /// No round is begun that would probably end after this.
    pub budget: Duration,
    /// A single run may take this long; `None`: as long as it likes.
    pub run_limit: Option<Duration>,
    /// Half the width of the interval of a ratio, as a part of the ratio, that is tight enough: 0.01 for 1 %.
    pub until: f64,
    /// Base units that must be tight; empty: all.
    pub units: Vec<String>,
    /// Decides the order within rounds.
    pub seed: u64,
}

/// A plan that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is nothing to compare.
    #[error("a comparison needs at least two sides, and there is {0}; give --a and --b, or --rev twice")]
    Sides(usize),
    /// Two sides have one name.
    #[error("two sides are called {0:?}; give them other names (name=command)")]
    Label(String),
    /// A name cannot be the value of a configuration line.
    #[error("{0:?} cannot be the name of a side: it is empty, or has a line end")]
    BadLabel(String),
    /// A limit makes no sense.
    #[error("{0}")]
    Limit(&'static str),
}

impl Plan {
    /// Looks whether it can be carried out.
    ///
    /// # Errors
    /// It cannot.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.sides.len() < 2 {
            return Err(PlanError::Sides(self.sides.len()));
        }
        let mut labels = BTreeSet::new();
        for side in &self.sides {
            // Blanks at the beginning are lost in a configuration line.
            if side.label.trim() != side.label || side.label.is_empty() || side.label.contains(['\n', '\r']) {
                return Err(PlanError::BadLabel(side.label.clone()));
            }
            if !labels.insert(&side.label) {
                return Err(PlanError::Label(side.label.clone()));
            }
        }
        if self.min_rounds < 2 {
            return Err(PlanError::Limit("there must be at least 2 rounds: one says nothing about noise"));
        }
        if self.max_rounds < self.min_rounds {
            return Err(PlanError::Limit("the largest number of rounds is below the smallest"));
        }
        if !(self.until > 0.0 && self.until < 1.0) {
            return Err(PlanError::Limit("an interval is tight at a width between 0% and 100%, both excluded"));
        }
        Ok(())
    }
}
