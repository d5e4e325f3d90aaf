//! How answers are written: lines of JSON, or tables that fit the terminal.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Row, Table, presets};
use serde::Serialize;

use crate::failure::Failure;
use crate::progress::printable;

/// Why an answer ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something failed.
    Failure(Failure),
    /// Whoever reads has seen enough, as `head` does.
    Closed,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failure(failure)
    }
}

/// Errors of standard output.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::Closed,
            _ => Stop::Failure(Failure::infrastructure(format!("standard output cannot be written: {error}"))),
        }
    }
}

/// What the caller's caller sees.
pub(crate) fn ended(result: Result<ExitCode, Stop>) -> Result<ExitCode, Failure> {
    match result {
        Ok(code) => Ok(code),
        Err(Stop::Closed) => Ok(ExitCode::SUCCESS),
        Err(Stop::Failure(failure)) => Err(failure),
    }
}

/// Standard output.
pub(crate) struct Out {
    /// Lines of JSON are wanted.
    pub(crate) json: bool,
    out: BufWriter<io::Stdout>,
}

impl Out {
    pub(crate) fn new(json: bool) -> Out {
        Out { json, out: BufWriter::with_capacity(1 << 16, io::stdout()) }
    }

    /// An object, in a line.
    pub(crate) fn object<T: Serialize>(&mut self, value: &T) -> Result<(), Stop> {
        serde_json::to_writer(&mut self.out, value).map_err(io::Error::from)?;
        Ok(self.out.write_all(b"\n")?)
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> Result<(), Stop> {
        Ok(writeln!(self.out, "{text}")?)
    }

    /// A table.
    pub(crate) fn table(&mut self, table: &Table) -> Result<(), Stop> {
        self.line(table.trim_fmt())
    }

    /// Somebody's text, with blanks before every line.
    pub(crate) fn text(&mut self, indent: &str, text: &str) -> Result<(), Stop> {
        for line in text.trim_end().lines() {
            let line = printable(line);
            let line = line.trim_end();
            self.line(if line.is_empty() { String::new() } else { format!("{indent}{line}") })?;
        }
        Ok(())
    }

    /// What was written so far is seen now.
    pub(crate) fn flush(&mut self) -> Result<(), Stop> {
        Ok(self.out.flush()?)
    }

    pub(crate) fn finish(mut self) -> Result<(), Stop> {
        self.flush()
    }

    /// Where bytes can be written.
    pub(crate) fn writer(&mut self) -> &mut impl Write {
        &mut self.out
    }
}

/// An empty table; on a terminal it is no wider than that.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).set_truncation_indicator("…");
    if io::stdout().is_terminal()
        && let Some((terminal_size::Width(width), _)) = terminal_size::terminal_size()
    {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.max(40));
    }
    table
}

/// A row of one line: what is too long is cut on a terminal.
pub(crate) fn row<const N: usize>(table: &mut Table, cells: [String; N]) {
    let mut row = Row::from(cells.map(|cell| one_line(&cell)));
    row.max_height(1);
    table.add_row(row);
}

/// Text of other people for one line of a terminal.
pub(crate) fn one_line(text: &str) -> String {
    printable(&text.replace(['\n', '\r'], " "))
}

/// Says that there is more than was asked for.
pub(crate) fn say_cut(shown: usize, all: usize) {
    if shown < all {
        crate::progress::note(format_args!("{shown} of {all} are shown; --limit sets how many"));
    }
}
