//! Real components for tests: databases, repositories, executables.
//!
//! Nothing here is a fake. A test gets a schema of its own in a real PostgreSQL ([`postgres`]), a real git repository whose hashes are the same on every
//! machine ([`git::Repository`]), and the real executables as processes whose lines it can wait for ([`Process`], [`Burrow`]). Whatever a handle
//! started is gone when it is dropped, also what was started in sessions of its own.
//!
//! A test that cannot run here calls [`skip()`]: it is then named at the end of `cargo xtask test`, and under `CI=true` that is a failure.

pub mod burrow;
#[cfg(target_os = "linux")]
pub mod disk;
pub mod git;
pub mod http;
pub mod postgres;
pub mod process;
pub mod skip;

pub use burrow::Burrow;
#[cfg(target_os = "linux")]
pub use disk::SmallDisk;
pub use process::Process;
pub use skip::skip;

use std::time::Duration;

/// How long a wait may take before it is called a hang. Not a measure of anything: a test that passes never waits for it to end.
pub const HANG: Duration = Duration::from_secs(90);
