//! What a person sees meanwhile: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use burrow_bench_runner::{Event, Plan, Spread};
use indicatif::{ProgressBar, ProgressStyle};

/// Progress of a session.
pub(super) struct Shown {
    labels: Vec<String>,
    until: f64,
    bar: Option<ProgressBar>,
    /// The worst interval at the last look.
    worst: String,
    runs: u64,
    /// Runs before the next line, where there is no bar.
    next_line: u64,
}

impl Shown {
    pub(super) fn new(plan: &Plan) -> Shown {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {elapsed:>4} [{bar:24}] {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            // How many rounds it takes nobody knows; the bar shows how far the budget is spent.
            let bar = ProgressBar::new(plan.budget.as_secs().max(1)).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Shown { labels: plan.sides.iter().map(|side| side.label.clone()).collect(), until: plan.until, bar, worst: String::new(), runs: 0, next_line: 0 }
    }

    pub(super) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Begins(turn) => {
                let Some(bar) = &self.bar else { return };
                bar.set_position(bar.elapsed().as_secs());
                let only = turn.only.as_ref().map_or(String::new(), |only| format!(" ({} benchmarks)", only.len()));
                bar.set_message(format!("round {}: {}{only}{}", turn.round, self.label(turn.side), self.worst));
            }
            Event::Ends { turn, took, lines, .. } => {
                self.runs += 1;
                // The first run of each side shows what there is; later ones only fill logs.
                if self.bar.is_none() && turn.round == 1 {
                    eprintln!("{}: {lines} results in {:.1} s", self.label(turn.side), took.as_secs_f64());
                }
            }
            Event::Failed { failed, .. } => self.print(&failed.to_string()),
            Event::Spreads(spreads) => {
                self.worst = worst(spreads, self.until);
                // Ever more rarely: a log of hundreds of rounds is read by nobody.
                if self.bar.is_none() && self.runs >= self.next_line {
                    self.next_line = self.runs + self.runs / 2;
                    eprintln!("{} runs{}", self.runs, self.worst);
                }
            }
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn label(&self, side: usize) -> &str {
        self.labels.get(side).map_or("", String::as_str)
    }

    fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

/// How many intervals are too wide, and the widest.
fn worst(spreads: &[Spread], until: f64) -> String {
    let wide = spreads.iter().filter(|spread| spread.half_width > until).count();
    let widest = spreads.iter().max_by(|a, b| a.half_width.total_cmp(&b.half_width));
    match widest {
        Some(spread) if wide > 0 => {
            format!("; {wide} of {} too noisy, the worst ±{:.1}% ({} {})", spreads.len(), spread.half_width * 100.0, spread.name, spread.unit)
        }
        _ => format!("; all {} are tight", spreads.len()),
    }
}
