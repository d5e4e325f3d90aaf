//! `burrow mutlog cat`: records as JSON.

use std::path::Path;

use protocol_mutlog::FrameError;
use protocol_mutlog::view::Mutation;
use serde::Serialize;
use serde_json::Value;

use super::files::{self, LogFile};
use super::mutation;
use super::records::{Fault, Reader};
use crate::failure::Failure;
use crate::godata::output::{Out, Stop};

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    offset: u64,
    /// Header and payload.
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mutation: Option<Value>,
    /// Why it is no mutation.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

enum End {
    Fault(Fault),
    Stop(Stop),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> End {
        End::Fault(fault)
    }
}

/// False: a record is no mutation.
pub(super) fn run(log: &Path, from: u64, limit: Option<u64>, out: &mut Out) -> Result<bool, Stop> {
    let all = files::of(log)?;
    let total: u64 = all.iter().map(|file| file.size).sum();
    if from > total {
        return Err(Failure::usage(format!("--from {from} is behind the end of {}, which has {total} bytes", log.display())).into());
    }
    let mut skip = from;
    let mut left = limit.unwrap_or(u64::MAX);
    let mut fine = true;
    for file in &all {
        let start = skip.min(file.size);
        skip -= start;
        if left == 0 || start == file.size && file.size > 0 {
            continue;
        }
        fine &= print(file, start, &mut left, out)?;
    }
    Ok(fine)
}

fn print(log: &LogFile, start: u64, left: &mut u64, out: &mut Out) -> Result<bool, Stop> {
    let unreadable = |error| Failure::infrastructure(format!("{}: {error}", log.path.display()));
    let mut reader = Reader::open(log, start).map_err(unreadable)?;
    let name = reader.path().display().to_string();
    let mut fine = true;
    let read = reader.each(|record| {
        let (mutation, error) = match Mutation::decode(record.payload) {
            Ok(decoded) => (Some(mutation::json(&decoded)), None),
            Err(error) => (None, Some(error.to_string())),
        };
        fine &= error.is_none();
        out.object(&Line { file: &name, offset: record.offset, bytes: record.len, mutation, error }).map_err(End::Stop)?;
        *left -= 1;
        Ok(*left > 0)
    });
    let fault = match read {
        Ok(()) => return Ok(fine),
        Err(End::Stop(stop)) => return Err(stop),
        Err(End::Fault(fault)) => fault,
    };
    // What is whole is shown first.
    out.flush()?;
    let remedy =
        format!("`burrow mutlog verify {}` names every fault", log.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).display());
    Err(match fault {
        Fault::Read(error) => unreadable(error),
        Fault::Frame(error @ (FrameError::Malformed { offset } | FrameError::Misplaced { offset, .. })) if offset == start && start > 0 => {
            Failure::usage(format!("{name}: no record begins at offset {start} ({error}); `burrow mutlog cat {name}` shows where records begin"))
        }
        Fault::Frame(error) => Failure::infrastructure(format!("{name}: {error}; {remedy}")),
        Fault::TooLong { offset, missing } => {
            Failure::infrastructure(format!("{name}: the record at offset {offset} wants {missing} bytes more, as no record does; {remedy}"))
        }
    }
    .into())
}
