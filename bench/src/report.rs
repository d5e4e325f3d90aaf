//! The table for people and the JSON for later.

use std::process::Command;

use anyhow::Context as _;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::settings::Settings;

/// A load above this at the start means that something else runs: the run is marked.
const QUIET: f64 = 0.7;

/// What is required.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    /// Ours must be at least this.
    AtLeast(f64),
    /// Ours must be at most this.
    AtMost(f64),
    /// Ours must be at least so many times the peer's.
    TimesPeer(f64),
    /// Ours must be at most this part of the peer's.
    PartOfPeer(f64),
    /// Only measured.
    None,
}

struct Line {
    measure: String,
    unit: &'static str,
    ours: f64,
    peer: Option<f64>,
    bound: Bound,
}

/// One measure's results.
pub(crate) struct Report {
    name: &'static str,
    load: f64,
    lines: Vec<Line>,
    raw: Vec<Value>,
}

impl Report {
    /// Begins: notes how busy the machine is.
    pub(crate) fn new(name: &'static str) -> Report {
        let load = load();
        if load > QUIET {
            eprintln!("The machine is not quiet (load {load:.2}); the record will say so.");
        }
        Report { name, load, lines: Vec::new(), raw: Vec::new() }
    }

    /// A raw run.
    pub(crate) fn run(&mut self, run: Value) {
        eprintln!("  {run}");
        self.raw.push(run);
    }

    /// A line of the table.
    pub(crate) fn line(&mut self, measure: impl Into<String>, unit: &'static str, ours: f64, peer: Option<f64>, bound: Bound) {
        self.lines.push(Line { measure: measure.into(), unit, ours, peer, bound });
    }

    /// Prints the table and writes the record.
    ///
    /// # Errors
    /// The record cannot be written.
    pub(crate) fn finish(self, settings: &Settings) -> anyhow::Result<()> {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_header(["measure", "ours", "peer", "required", "ok"]);
        let mut lines = Vec::new();
        for line in &self.lines {
            let (required, limit) = match line.bound {
                Bound::AtLeast(n) => (format!("≥ {} {}", figure(n), line.unit), Some((n, true))),
                Bound::AtMost(n) => (format!("≤ {} {}", figure(n), line.unit), Some((n, false))),
                Bound::TimesPeer(n) => (format!("≥ {} × peer", figure(n)), line.peer.map(|peer| (n * peer, true))),
                Bound::PartOfPeer(n) => (format!("≤ 1/{} of peer", figure(1.0 / n)), line.peer.map(|peer| (n * peer, false))),
                Bound::None => (String::new(), None),
            };
            let met = limit.map(|(limit, least)| if least { line.ours >= limit } else { line.ours <= limit });
            let word = match met {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            };
            let peer = line.peer.map(|peer| format!("{} {}", figure(peer), line.unit)).unwrap_or_default();
            table.add_row([&line.measure, &format!("{} {}", figure(line.ours), line.unit), &peer, &required, word]);
            lines.push(json!({"measure": line.measure, "unit": line.unit, "ours": line.ours, "peer": line.peer, "required": required, "met": met}));
        }
        println!("{table}");
        let now = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
        let record = json!({
            "name": self.name,
            "date": now.timestamp().to_string(),
            "machine": machine(),
            "commit": commit(),
            "load_at_start": self.load,
            "quiet": self.load <= QUIET,
            "note": settings.note,
            "lines": lines,
            "runs": self.raw,
        });
        let path = settings.out()?.join(format!("{}-{}.json", self.name, now.strftime("%Y-%m-%dT%H%M")));
        std::fs::write(&path, serde_json::to_string_pretty(&record)? + "\n").with_context(|| path.display().to_string())?;
        eprintln!("Raw runs: {}", path.display());
        Ok(())
    }
}

fn figure(n: f64) -> String {
    match n.abs() {
        0.0 => "0".to_owned(),
        a if a >= 100.0 || n.fract() == 0.0 => format!("{n:.0}"),
        a if a >= 10.0 => format!("{n:.1}"),
        a if a >= 0.1 => format!("{n:.2}"),
        _ => format!("{n:.4}"),
    }
}

/// The middle one.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this part of all values lies.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// What the numbers depend on; no names.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.split_once(':').map(|(_, v)| v.trim().to_owned()));
    json!({
        "cpu": value(&read("/proc/cpuinfo"), "model name"),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": value(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(testkit_harness::burrow::root()).output();
        output.ok().filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    if changed { format!("{head}+changes") } else { head }
}
