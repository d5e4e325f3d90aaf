//! Benchmarks beside the peers: what Burrow promises in numbers, measured on the real executables.
//!
//! `burrow-bench NAME` measures one thing, prints a table (measure, ours, peer, required, met?) and writes the raw runs as JSON into `bench/runs`.
//! `docs/benchmarks.md` says what each measure does and what was found. Nothing here is a test: a number below its bound is reported, not a failure.

mod buildbot;
mod buildtime;
mod farm;
mod grid;
mod http;
mod idle;
mod kill;
mod latency;
mod leaderkill;
mod livelog;
mod maintner;
mod noop;
mod procfs;
mod report;
mod repository;
mod revdial;
mod scheduler;
mod settings;
mod tree;

use clap::{Parser, Subcommand};

use crate::settings::Settings;

/// Measures Burrow, and beside it what people use today.
#[derive(Parser)]
#[command(name = "burrow-bench", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    measure: Measure,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Measure {
    /// No-op builds of real commits: builds per second, coordinator CPU per build; beside Buildbot
    Noop,
    /// From the request to the recorded end of one no-op build; beside Buildbot
    Latency,
    /// Memory of an idle coordinator, and of 1,000 idle reverse machines
    Memory,
    /// One build writes 1 GiB of log; eight readers follow it live, one of them stalled
    Log,
    /// kill -9 of coordinator and workers while builds run: nothing lost, nothing doubled
    Kill,
    /// Grid of 60 commits × 120 builders with 100,000 builds stored; start with that data
    Grid,
    /// Cold release build of the whole workspace
    BuildTime,
    /// A source tree of 12,000 files to a worker and back; beside the Go buildlet
    Tree,
    /// One decision of the scheduler: 10,000 queued builds, 2,000 workers, 200 kinds
    Scheduler,
    /// Dials through a reverse connection, and bytes per second
    Revdial,
    /// The corpus: cold load, memory, snapshot, walks, append to 100 followers; beside the reference's library
    Maintner,
    /// kill -9 of maintnerd while it reads a Gerrit: nothing shown is lost, no follower is broken
    MaintnerdKill,
    /// (for `maintner`) Loads the log of a folder
    #[command(hide = true)]
    MaintnerLoad {
        /// Segments.
        log: std::path::PathBuf,
        /// Where a snapshot is written if there is none.
        snapshot: std::path::PathBuf,
    },
    /// (for `maintner`) Opens a snapshot
    #[command(hide = true)]
    MaintnerOpen {
        /// Segments.
        log: std::path::PathBuf,
        /// The snapshot.
        snapshot: std::path::PathBuf,
    },
    /// (for `kill`) Writes the log of a build
    #[command(hide = true)]
    WriteLog {
        /// Where it notes that it began.
        journal: std::path::PathBuf,
    },
    /// (for `memory` and `revdial`) Plays so many machines
    #[command(hide = true)]
    Machines {
        /// Coordinator's address for machines.
        address: String,
        /// How many.
        count: usize,
    },
}

fn main() -> anyhow::Result<()> {
    let Cli { measure, settings } = Cli::parse();
    if !matches!(measure, Measure::WriteLog { .. } | Measure::Machines { .. } | Measure::MaintnerLoad { .. } | Measure::MaintnerOpen { .. }) {
        settings::leave_nothing_behind()?;
    }
    match measure {
        Measure::Noop => noop::run(&settings),
        Measure::Latency => latency::run(&settings),
        Measure::Memory => idle::run(&settings),
        Measure::Log => livelog::run(&settings),
        Measure::Kill => kill::run(&settings),
        Measure::Grid => grid::run(&settings),
        Measure::BuildTime => buildtime::run(&settings),
        Measure::Tree => tree::run(&settings),
        Measure::Scheduler => scheduler::run(&settings),
        Measure::Revdial => revdial::run(&settings),
        Measure::Maintner => maintner::run(&settings),
        Measure::MaintnerdKill => leaderkill::run(&settings),
        Measure::MaintnerLoad { log, snapshot } => maintner::load(&log, &snapshot),
        Measure::MaintnerOpen { log, snapshot } => maintner::open(&log, &snapshot),
        Measure::WriteLog { journal } => kill::write_log(&journal),
        Measure::Machines { address, count } => idle::machines(&address, count),
    }
}
