//! Benchmarks beside the peers: what Burrow promises in numbers, measured on the real executables.
//!
//! `burrow-bench NAME` measures one thing, prints a table (measure, ours, peer, required, met?) and writes the raw runs as JSON into `bench/runs`.
//! `docs/benchmarks.md` says what each measure does and what was found. Nothing here is a test: a number below its bound is reported, not a failure.

mod archive;
mod benchfmt;
mod benchstat;
mod buildbot;
mod buildtime;
mod changepoints;
mod events;
mod farm;
mod grid;
mod http;
mod idle;
mod kill;
mod latency;
mod leaderkill;
mod livelog;
mod maintner;
mod mirror;
mod noop;
mod perfdata;
mod perfpages;
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
    /// Change points in series whose steps are known: steps found at one false alarm in 10,000 points; beside Apache Otava
    Changepoints,
    /// Archives of a revision of 1,000 files, made and from the cache; beside `git archive | gzip -6`
    Archive,
    /// Benchmark text read from memory, MB/s of one thread; beside the Go project's reader
    Benchfmt,
    /// Summaries and comparisons of 100 MB in two files; beside the Go project's benchstat
    Benchstat,
    /// The store of benchmark results: upload of a million lines, beside the Go project's store; search by three labels over 1 and 10 million
    Perfdata,
    /// gitmirror: 200 repositories with 20,000 references of which 1 % changed, until both ends are equal; lag of 50 active ones; beside git in a loop and grokmirror
    Mirror,
    /// pubsubhelper: webhooks and mails a second, an event's way to 1,000 readers
    Events,
    /// First byte of the benchmark dashboard with 60 benchmarks × 2,000 commits
    PerfDashboard,
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
        Measure::PerfDashboard => perfpages::run(&settings),
        Measure::Changepoints => changepoints::run(&settings),
        Measure::Archive => archive::run(&settings),
        Measure::Benchfmt => benchfmt::run(&settings),
        Measure::Benchstat => benchstat::run(&settings),
        Measure::Perfdata => perfdata::run(&settings),
        Measure::Mirror => mirror::run(&settings),
        Measure::Events => events::run(&settings),
        Measure::MaintnerdKill => leaderkill::run(&settings),
        Measure::MaintnerLoad { log, snapshot } => maintner::load(&log, &snapshot),
        Measure::MaintnerOpen { log, snapshot } => maintner::open(&log, &snapshot),
        Measure::WriteLog { journal } => kill::write_log(&journal),
        Measure::Machines { address, count } => idle::machines(&address, count),
    }
}
