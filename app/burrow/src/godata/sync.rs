//! `burrow godata sync`: fills the cache, for this program and for others.

use serde::Serialize;

use super::args::SourceArgs;
use super::output::{Out, Stop, count};
use super::source;

#[derive(Serialize)]
struct Line<'a> {
    server: &'a str,
    folder: &'a str,
    segments: usize,
    /// Segments that never change, with their final names.
    frozen: usize,
    bytes: u64,
}

pub(super) async fn run(args: &SourceArgs, out: &mut Out) -> Result<(), Stop> {
    source::refuse_files(args, "sync")?;
    let server = source::server(args)?;
    let synced = burrow_godata::sync(&server.url, &server.dir, server.options.clone()).await;
    server.arrived();
    let synced = synced.map_err(|error| source::from_source(&error))?;
    let frozen = synced.segments.iter().filter(|segment| segment.frozen).count();
    let folder = server.dir.display().to_string();
    let line = Line { server: &server.url, folder: &folder, segments: synced.segments.len(), frozen, bytes: synced.total };
    if out.json {
        return out.object(&line);
    }
    out.line(format_args!("{} of {}, {} of them frozen, {} bytes, in {}", count(line.segments, "segment"), line.server, line.frozen, line.bytes, line.folder))
}
