//! `burrow mutlog convert`.

use std::path::Path;

use burrow_maintnerd::convert::{ConvertError, Target, convert};
use serde::Serialize;

use super::args::ToForm;
use super::files;
use crate::failure::Failure;
use crate::godata::output::{Out, Stop, count};
use crate::progress::{Bytes, note};

#[derive(Serialize)]
struct Line {
    from: String,
    to: String,
    files: usize,
    records: u64,
    bytes: u64,
}

pub(super) fn run(from: &Path, to: &Path, target: ToForm, out: &mut Out) -> Result<(), Stop> {
    let from = files::folder(from)?;
    let target = match target {
        ToForm::Disk => Target::DataFiles,
        ToForm::Segments => Target::Segments,
    };
    let bar = Bytes::begin("converting");
    let made = convert(&from, to, target, &mut |progress| bar.at(progress.bytes_done, progress.bytes));
    bar.end();
    let made = made.map_err(|error| failure(&error, &from))?;
    if let Some(torn) = &made.truncated {
        note(format_args!("{} ends within a record: {} bytes from offset {} on are left out", torn.path.display(), torn.bytes, torn.offset));
    }
    let line = Line { from: from.display().to_string(), to: to.display().to_string(), files: made.files, records: made.records, bytes: made.bytes };
    if out.json {
        return out.object(&line);
    }
    out.line(format_args!("{} records, {} bytes: {} in {}", line.records, line.bytes, count(line.files, "file"), line.to))
}

fn failure(error: &ConvertError, from: &Path) -> Failure {
    match error {
        ConvertError::Target(_) | ConvertError::Empty { .. } | ConvertError::Mixed { .. } | ConvertError::Same { .. } | ConvertError::Unfinished { .. } => {
            Failure::usage(error)
        }
        ConvertError::Records { .. } | ConvertError::Digest { .. } | ConvertError::Gap { .. } | ConvertError::Twice { .. } | ConvertError::Name { .. } => {
            Failure::infrastructure(format!("{error}; `burrow mutlog verify {}` names every fault", from.display()))
        }
        _ => Failure::infrastructure(error),
    }
}
