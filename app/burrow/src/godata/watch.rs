//! `burrow godata watch`: every new mutation as it arrives.

use burrow_godata::{Tail, TailBytes};
use protocol_mutlog::view::Mutation;
use serde::Serialize;
use serde_json::Value;

use super::args::SourceArgs;
use super::output::{Out, Stop};
use super::source;
use crate::mutlog::mutation;
use crate::progress::note;

/// A new record as a line of JSON.
#[derive(Serialize)]
struct Line {
    segment: u32,
    offset: u64,
    /// The server's history changed, and this may have come before.
    repeated: bool,
    mutation: Value,
}

pub(super) async fn run(args: &SourceArgs, limit: Option<u64>, out: &mut Out) -> Result<(), Stop> {
    source::refuse_files(args, "watch")?;
    tokio::select! {
        followed = follow(args, limit.unwrap_or(u64::MAX), out) => followed,
        // Whoever wants no more has what was printed.
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow(args: &SourceArgs, limit: u64, out: &mut Out) -> Result<(), Stop> {
    let server = source::server(args)?;
    let mut tail = Tail::new(&server.url, server.options.clone()).map_err(|error| source::from_source(&error))?;
    tail.ready().await.map_err(|error| source::from_source(&error))?;
    if let Some((segment, offset)) = tail.position() {
        note(format_args!("following {} from segment {segment}, offset {offset}; Ctrl-C ends", server.url));
    }
    let mut left = limit;
    while left > 0 {
        match tail.next().await {
            Ok(new) => {
                print(&new, &mut left, out)?;
                out.flush()?;
            }
            Err(error) if error.is_transient() => note(format_args!("{error}")),
            Err(error) => return Err(source::from_source(&error).into()),
        }
    }
    Ok(())
}

fn print(new: &TailBytes, left: &mut u64, out: &mut Out) -> Result<(), Stop> {
    for record in new.records() {
        if *left == 0 {
            return Ok(());
        }
        // Whole records are what a tail hands out.
        let Ok(record) = record else { return Ok(()) };
        let decoded = match Mutation::decode(record.payload) {
            Ok(decoded) => decoded,
            Err(error) => {
                note(format_args!("segment {}, offset {}: this is no mutation: {error}", new.segment, record.offset));
                continue;
            }
        };
        if out.json {
            out.object(&Line { segment: new.segment, offset: record.offset, repeated: new.repeated, mutation: mutation::json(&decoded) })?;
        } else {
            out.line(mutation::words(&decoded))?;
        }
        *left -= 1;
    }
    Ok(())
}
