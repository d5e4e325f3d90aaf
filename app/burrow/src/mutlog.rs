//! `burrow mutlog`: tools for mutation logs on this disk. Making them is `lib/loggen`, converting and verifying them `service/maintnerd`, reading them
//! `protocol/mutlog`.

mod args;
mod cat;
mod convert;
pub(crate) mod files;
mod make;
pub(crate) mod mutation;
mod records;
mod verify;

use std::process::ExitCode;

use crate::failure::Failure;
use crate::godata::dump;
use crate::godata::output::{self, Out, Stop};
use crate::godata::source;
pub(crate) use args::MutlogArgs;
use args::MutlogCommand;

/// Something is wrong with a log that was to be looked at.
const FINDING: u8 = 1;

/// Does one thing.
pub(crate) fn run(args: MutlogArgs) -> Result<ExitCode, Failure> {
    output::ended(work(&args))
}

fn work(args: &MutlogArgs) -> Result<ExitCode, Stop> {
    let mut out = Out::new(args.json);
    let fine = match &args.command {
        MutlogCommand::Gen(wanted) => make::generated(wanted, &mut out).map(|()| true)?,
        MutlogCommand::Torture(wanted) => make::torture(wanted, &mut out).map(|()| true)?,
        MutlogCommand::Dump { log, dump: wanted } => {
            let loaded = source::from_files(std::slice::from_ref(log))?;
            dump::run(&loaded.view, wanted, &mut out)?;
            true
        }
        MutlogCommand::Convert { from, to, target } => convert::run(from, to, *target, &mut out).map(|()| true)?,
        MutlogCommand::Verify { dir } => verify::run(dir, &mut out)?,
        MutlogCommand::Cat { log, from, limit } => cat::run(log, *from, *limit, &mut out)?,
    };
    out.finish()?;
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(FINDING) })
}
