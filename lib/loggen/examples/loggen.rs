//! Makes synthetic logs: `cargo run --release -p burrow-loggen --example loggen -- --scale S [--seed N] [--order time|slurp] --out DIR [--layout disk|segments|both]`,
//! or `-- --torture DIR [--big]`, or `-- --hostile DIR`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use burrow_loggen::{Cuts, Kind, Layout, Manifest, Order, Plan, WriteError, torture, torture_hostile, write_log, write_payloads};

const USAGE: &str = "usage: loggen --scale S [--seed N] [--order time|slurp] --out DIR [--layout disk|segments|both]
       loggen --torture DIR [--big] [--layout disk|segments|both]
       loggen --hostile DIR [--layout disk|segments|both]";

struct Args {
    plan: Plan,
    out: Option<PathBuf>,
    torture: Option<PathBuf>,
    hostile: Option<PathBuf>,
    big: bool,
    layout: Layout,
}

fn parse() -> Option<Args> {
    let plan = Plan { scale: 0.01, seed: 1, order: Order::Time };
    let mut args = Args { plan, out: None, torture: None, hostile: None, big: false, layout: Layout::Both };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--big" {
            args.big = true;
            continue;
        }
        let value = words.next()?;
        match word.as_str() {
            "--scale" => args.plan.scale = value.parse().ok()?,
            "--seed" => args.plan.seed = value.parse().ok()?,
            "--order" if value == "time" => args.plan.order = Order::Time,
            "--order" if value == "slurp" => args.plan.order = Order::Slurp,
            "--layout" if value == "disk" => args.layout = Layout::Disk,
            "--layout" if value == "segments" => args.layout = Layout::Segments,
            "--layout" if value == "both" => args.layout = Layout::Both,
            "--out" => args.out = Some(value.into()),
            "--torture" => args.torture = Some(value.into()),
            "--hostile" => args.hostile = Some(value.into()),
            _ => return None,
        }
    }
    Some(args)
}

/// Writes what is asked for; `None` if that is not exactly one thing.
fn write(args: &Args) -> Option<Result<Manifest, WriteError>> {
    let list = |payloads: Vec<Vec<u8>>, out: &PathBuf| {
        let day = payloads.iter().map(|payload| payload.len() as u64).sum::<u64>() / 3 + 1;
        write_payloads(&mut |each| payloads.iter().try_for_each(|payload| each(payload)), out, args.layout, Cuts { day }, &mut |_| {})
    };
    match (&args.out, &args.torture, &args.hostile) {
        (Some(out), None, None) => Some(write_log(&args.plan, out, args.layout, &mut |_| {})),
        (None, Some(out), None) => Some(list(torture(args.big), out)),
        (None, None, Some(out)) => Some(list(torture_hostile(), out)),
        _ => None,
    }
}

fn main() -> ExitCode {
    let begin = Instant::now();
    let Some(result) = parse().and_then(|args| write(&args)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let manifest = match result {
        Ok(manifest) => manifest,
        Err(error) => {
            let why = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            eprintln!("loggen: {error}{why}");
            return ExitCode::FAILURE;
        }
    };
    let seconds = begin.elapsed().as_secs_f64();
    if let Some(counts) = manifest.counts {
        for kind in Kind::ALL {
            let tally = counts.of(kind);
            println!("{kind:?}\t{} records\t{} bytes of payload", tally.records, tally.bytes);
        }
    }
    let bytes = manifest.disk_bytes.max(manifest.segment_bytes);
    println!(
        "{} records, {bytes} bytes, {} files on disk, {} segments, {seconds:.1} s, {:.0} MB/s",
        manifest.records,
        manifest.disk.len(),
        manifest.segments.len(),
        bytes as f64 / 1e6 / seconds
    );
    ExitCode::SUCCESS
}
