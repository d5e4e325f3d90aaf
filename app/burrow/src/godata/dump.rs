//! `burrow godata dump` and `burrow mutlog dump`.

use std::fs::File;
use std::io::BufWriter;

use burrow_maintner::dump::{Summary, dump};
use burrow_maintner::{Reading, View};
use serde::Serialize;

use super::args::{DumpArgs, WhichReading};
use super::output::{Out, Stop};
use crate::failure::Failure;

#[derive(Serialize)]
struct Line<'a> {
    lines: u64,
    sha256: &'a str,
}

/// Writes the lines and says how many they are and their digest.
pub(crate) fn run(view: &View, args: &DumpArgs, out: &mut Out) -> Result<(), Stop> {
    let reading = match args.reading {
        WhichReading::Reference => Reading::Reference,
        WhichReading::Ours => Reading::Ours,
    };
    let Some(path) = &args.out else {
        let summary = dump(view, reading, out.writer())?;
        eprintln!("{}", words(&summary));
        return Ok(());
    };
    let failed = |error: std::io::Error| Failure::infrastructure(format!("cannot write {}: {error}", path.display()));
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
    let summary = dump(view, reading, &mut file).map_err(failed)?;
    if out.json { out.object(&Line { lines: summary.lines, sha256: &summary.sha256 }) } else { out.line(words(&summary)) }
}

fn words(summary: &Summary) -> String {
    format!("{} lines\nsha256 {}", summary.lines, summary.sha256)
}
