//! `burrow mutlog gen` and `burrow mutlog torture`: logs that nobody's project wrote.

use std::error::Error as _;
use std::path::Path;

use burrow_loggen::{Cuts, Kind, Layout, Manifest, Order, Plan, WriteError, torture as odd, torture_hostile, write_log, write_payloads};

use super::args::{GenArgs, GenLayout, GenOrder, TortureArgs};
use crate::failure::Failure;
use crate::godata::output::{Out, Stop, count};
use crate::progress::Bytes;

fn layout(layout: GenLayout) -> Layout {
    match layout {
        GenLayout::Disk => Layout::Disk,
        GenLayout::Segments => Layout::Segments,
        GenLayout::Both => Layout::Both,
    }
}

/// A synthetic log.
pub(super) fn generated(args: &GenArgs, out: &mut Out) -> Result<(), Stop> {
    if !(args.scale > 0.0 && args.scale <= 50.0) {
        return Err(Failure::usage(format!("--scale {} is not above 0 and at most 50; 1 makes 2.2 GB", args.scale)).into());
    }
    // What the model comes to at scale 1 (see burrow_loggen); nearly so at others.
    let (order, bytes) = match args.order {
        GenOrder::Time => (Order::Time, 2.21e9),
        GenOrder::Slurp => (Order::Slurp, 1.873e9),
    };
    let expected = (bytes * args.scale) as u64;
    let plan = Plan { scale: args.scale, seed: args.seed, order };
    let bar = Bytes::begin("writing");
    let mut done = 0;
    let made = write_log(&plan, &args.out, layout(args.layout), &mut |bytes| {
        // The bar is drawn a few times a second, but asking it costs something for each of millions of records.
        let before = done;
        done += bytes;
        if before >> 20 != done >> 20 {
            bar.at(done, expected);
        }
    });
    bar.end();
    say(&made.map_err(|error| failure(&error))?, &args.out, out)
}

/// A log of everything odd.
pub(super) fn torture(args: &TortureArgs, out: &mut Out) -> Result<(), Stop> {
    let payloads = if args.hostile { torture_hostile() } else { odd(args.big) };
    // Three days or four: files must end somewhere.
    let day = payloads.iter().map(|payload| payload.len() as u64).sum::<u64>() / 3 + 1;
    let made = write_payloads(&mut |each| payloads.iter().try_for_each(|payload| each(payload)), &args.out, layout(args.layout), Cuts { day }, &mut |_| {});
    say(&made.map_err(|error| failure(&error))?, &args.out, out)
}

fn say(made: &Manifest, folder: &Path, out: &mut Out) -> Result<(), Stop> {
    if out.json {
        return out.object(made);
    }
    if let Some(counts) = made.counts {
        for kind in Kind::ALL {
            let tally = counts.of(kind);
            out.line(format_args!("{:<10} {:>9} records {:>13} bytes", words(kind), tally.records, tally.bytes))?;
        }
    }
    let bytes = made.disk_bytes.max(made.segment_bytes);
    out.line(format_args!(
        "{} records, {bytes} bytes: {}, {} in {}",
        made.records,
        count(made.disk.len(), "daily file"),
        count(made.segments.len(), "segment"),
        folder.display()
    ))
}

fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Lists => "labels",
        Kind::Issue => "issues",
        Kind::Comments => "comments",
        Kind::Events => "events",
        Kind::History => "history",
        Kind::PatchSet => "patch sets",
        Kind::Meta => "metadata",
        Kind::Refs => "references",
    }
}

fn failure(error: &WriteError) -> Failure {
    let why = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    match error {
        WriteError::Exists { .. } => Failure::usage(error),
        _ => Failure::infrastructure(format!("{error}{why}")),
    }
}
