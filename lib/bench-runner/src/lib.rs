//! Runs benchmarks of two or more things side by side, so that what the machine does in the meantime (clock rate, temperature, neighbours) touches all of them
//! alike: round after round, in each round every side once, in random order.
//!
//! - [`Plan`]: what is run, and when it is enough.
//! - [`Session`]: the decisions, without I/O: what runs next, and why it ends. It ends when every interval of a ratio of medians is tight — not when a
//!   difference is significant: stopping at the first good p-value would find differences in identical code.
//! - [`Samples`]: what was measured, and how wide its intervals are.
//! - [`run`]: carries it out: starts commands, reads what they print (the benchmark format, or what [`protocol_benchfmt::adapters`] know), notes the state of the
//!   machine.
//! - [`compare`]: the tables of `benchstat`, and a gate. [`upload`]: into a store of results. [`Worktrees`]: several revisions of one repository.

mod compare;
mod execute;
mod machine;
mod plan;
mod run;
mod samples;
mod session;
mod sheet;
mod upload;
mod worktree;

pub use compare::{Compared, compare};
pub use execute::{ExecuteError, Failed};
pub use machine::Machine;
pub use plan::{Plan, PlanError, Side};
pub use run::{Event, Outcome, RunError, run};
pub use samples::{Samples, Spread};
pub use session::{Ending, Session, Step, Turn};
pub use upload::{UploadError, upload};
pub use worktree::{WorktreeError, Worktrees};
