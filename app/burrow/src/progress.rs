//! Progress of builds on standard error: bars on a terminal, plain lines elsewhere. Also where log lines go, so that they do not tear the bars.

use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// Where log lines are written.
#[derive(Default)]
pub(crate) struct LogWriter {
    line: Vec<u8>,
}

impl std::io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let line = std::mem::take(&mut self.line);
        match BARS.get() {
            Some(bars) => bars.suspend(|| std::io::stderr().write_all(&line)),
            None => std::io::stderr().write_all(&line),
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            let _ = self.flush();
        }
    }
}

/// Progress of one build.
pub(crate) struct Row {
    builder: String,
    bar: Option<ProgressBar>,
    stage: String,
}

/// One row for each builder.
pub(crate) fn rows(builders: &[String]) -> Vec<Row> {
    let bars = std::io::stderr().is_terminal().then(|| BARS.get_or_init(MultiProgress::new));
    let width = builders.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed:>4} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let row = |builder: &String| {
        let bar = bars.map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner()).with_style(style.clone()).with_prefix(format!("{builder:width$}"));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Row { builder: builder.clone(), bar, stage: String::new() }
    };
    builders.iter().map(row).collect()
}

impl Row {
    /// The build is in another stage: waiting for something, or in a step.
    pub(crate) fn stage(&mut self, stage: &str) {
        if self.stage == stage {
            return;
        }
        self.stage = stage.to_owned();
        match &self.bar {
            Some(bar) => bar.set_message(self.stage.clone()),
            None => eprintln!("{}: {stage}", self.builder),
        }
    }

    /// The newest line of its log; only a terminal has room for it.
    pub(crate) fn tail(&self, line: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}  {}", self.stage, printable(line)));
        }
    }

    /// It has ended.
    pub(crate) fn ended(&self, verdict: &str) {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => eprintln!("{}: {verdict}", self.builder),
        }
    }
}

/// A bar for bytes that come or are read: on a terminal; elsewhere nothing is shown.
#[derive(Clone)]
pub(crate) struct Bytes(Option<ProgressBar>);

impl Bytes {
    /// Begins one; `doing` stands before the bar.
    pub(crate) fn begin(doing: &'static str) -> Bytes {
        let bars = std::io::stderr().is_terminal().then(|| BARS.get_or_init(MultiProgress::new));
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {bytes} of {total_bytes} {bytes_per_sec} {eta}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
        Bytes(bars.map(|bars| bars.add(ProgressBar::new(0)).with_style(style).with_prefix(doing)))
    }

    /// The same for work that does not say how far it is.
    pub(crate) fn waiting(doing: &'static str) -> Bytes {
        let bar = Bytes::begin(doing);
        if let Some(bar) = &bar.0 {
            bar.set_style(ProgressStyle::with_template("{prefix} {spinner} {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        bar
    }

    /// So many bytes of so many are done.
    pub(crate) fn at(&self, done: u64, total: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(total.max(done));
            bar.set_position(done);
        }
    }

    /// It is done, and goes away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Says something beside the result, on standard error, without tearing a bar.
pub(crate) fn note(text: impl std::fmt::Display) {
    match BARS.get() {
        Some(bars) => bars.suspend(|| eprintln!("note: {text}")),
        None => eprintln!("note: {text}"),
    }
}

/// A line of a log without anything that moves the cursor or changes colours.
pub(crate) fn printable(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            // A control sequence ends with a letter.
            '\u{1b}' => {
                if chars.next() == Some('[') {
                    chars.by_ref().find(|c| c.is_ascii_alphabetic());
                }
            }
            '\t' => plain.push_str("    "),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_in_a_log_moves_the_cursor() {
        assert_eq!(printable("\u{1b}[1;31merror\u{1b}[0m:\tbad\r\u{7}\u{1b}"), "error:    bad");
    }
}
