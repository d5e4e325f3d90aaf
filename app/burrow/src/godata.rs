//! `burrow godata`: questions to a maintner log, answered from the corpus that is made of it. The corpus is `lib/maintner`, following a server is `lib/godata`;
//! here is what can be asked and how answers look.

pub(crate) mod args;
mod change;
mod changes;
mod commits;
pub(crate) mod dump;
mod issue;
mod issues;
pub(crate) mod output;
mod people;
pub(crate) mod source;
mod stats;
mod sync;
mod watch;
pub(crate) mod when;
mod which;

use std::process::ExitCode;

use burrow_clock::{Clock as _, SystemClock};

use crate::failure::Failure;
use args::{GodataArgs, GodataCommand};
use output::{Out, Stop};

/// What is logged: trouble, but not that the server cannot be reached, which is said in other words.
pub(crate) const LOGGED: &str = "warn,burrow_godata::source=error";

/// Answers one question.
pub(crate) async fn run(args: GodataArgs) -> Result<ExitCode, Failure> {
    output::ended(answer(args).await)
}

async fn answer(args: GodataArgs) -> Result<ExitCode, Stop> {
    let now = SystemClock::new().now_ms();
    let mut out = Out::new(args.json);
    match &args.command {
        GodataCommand::Sync => sync::run(&args.source, &mut out).await?,
        GodataCommand::Watch { limit } => watch::run(&args.source, *limit, &mut out).await?,
        command => {
            let loaded = source::load(&args.source).await?;
            match command {
                GodataCommand::Issues(wanted) => issues::run(&loaded.view, wanted, now, &mut out)?,
                GodataCommand::Issue { issue } => issue::run(&loaded.view, issue, &mut out)?,
                GodataCommand::Changes(wanted) => changes::run(&loaded.view, wanted, now, &mut out)?,
                GodataCommand::Change { change } => change::run(&loaded.view, change, &mut out)?,
                GodataCommand::Commits(wanted) => commits::run(&loaded.view, wanted, now, &mut out)?,
                GodataCommand::Stats { limit } => stats::run(&loaded, *limit, &mut out)?,
                GodataCommand::Dump(wanted) => dump::run(&loaded.view, wanted, &mut out)?,
                GodataCommand::Sync | GodataCommand::Watch { .. } => {}
            }
            out.finish()?;
            loaded.end().await;
            return Ok(ExitCode::SUCCESS);
        }
    }
    out.finish()?;
    Ok(ExitCode::SUCCESS)
}
