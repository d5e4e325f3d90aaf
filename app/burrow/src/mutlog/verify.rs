//! `burrow mutlog verify`.

use std::path::Path;

use burrow_maintnerd::verify::{Form, Kind, verify};
use serde::Serialize;

use super::files;
use crate::failure::Failure;
use crate::godata::output::{Out, Stop, count};
use crate::progress::Bytes;

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
enum Line {
    Fault {
        file: String,
        /// Null: it is about the whole file.
        offset: Option<u64>,
        fault: String,
    },
    Log {
        folder: String,
        form: &'static str,
        files: usize,
        bytes: u64,
        records: u64,
        issue: u64,
        repository: u64,
        git: u64,
        gerrit: u64,
        unknown: u64,
        empty: u64,
        faults: usize,
    },
}

/// False: something is wrong.
pub(super) fn run(dir: &Path, out: &mut Out) -> Result<bool, Stop> {
    let dir = files::folder(dir)?;
    let waiting = Bytes::waiting("verifying");
    let report = verify(&dir);
    waiting.end();
    let report = report.map_err(|error| Failure::infrastructure(format!("{}: {error}", dir.display())))?;
    let form = match report.form {
        Form::Segments => "segments",
        Form::DataFiles => "disk",
        Form::Mixed => "mixed",
        Form::Empty => return Err(Failure::usage(format!("{} holds no log: neither maintner-*.mutlog nor NNNN.*.mutlog is there", dir.display())).into()),
    };
    let kinds = report.kinds;
    if out.json {
        for fault in &report.faults {
            out.object(&Line::Fault { file: fault.path.display().to_string(), offset: fault.offset, fault: fault.kind.to_string() })?;
        }
        out.object(&Line::Log {
            folder: dir.display().to_string(),
            form,
            files: report.files,
            bytes: report.bytes,
            records: report.records,
            issue: kinds.issue,
            repository: kinds.repository,
            git: kinds.git,
            gerrit: kinds.gerrit,
            unknown: kinds.unknown,
            empty: kinds.empty,
            faults: report.faults.len(),
        })?;
        return Ok(report.faults.is_empty());
    }
    for fault in &report.faults {
        out.line(fault)?;
    }
    out.line(format_args!("{}, {} bytes, {} records", count(report.files, "file"), report.bytes, report.records))?;
    out.line(format_args!(
        "of issues {}, of repositories {}, of Gerrit projects {}, of plain git {}, of kinds not known here {}, empty {}",
        kinds.issue, kinds.repository, kinds.gerrit, kinds.git, kinds.unknown, kinds.empty
    ))?;
    match report.faults.len() {
        0 => out.line("nothing is wrong")?,
        faults => out.line(count(faults, "fault"))?,
    }
    if let Some(remedy) = report.faults.iter().find_map(|fault| remedy(&fault.kind)) {
        out.line(remedy)?;
    }
    Ok(report.faults.is_empty())
}

/// What to do, where there is something.
fn remedy(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Torn(_) => Some(
            "An unfinished last record is a write under way, or what a crash left: `burrow maintnerd` takes it away when it starts, and `burrow mutlog convert` leaves it out.",
        ),
        Kind::Digest(_) => Some("A damaged segment of a cache may be removed: it is downloaded again. A leader's must come from its mirror."),
        Kind::Unfinished => Some("Run the conversion or restore again, into the same folder."),
        _ => None,
    }
}
