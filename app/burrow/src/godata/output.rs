//! How answers are written: lines of JSON, or tables that fit the terminal.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::process::ExitCode;

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, presets};
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

    /// A line of text, or several; without blanks at the end.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> Result<(), Stop> {
        Ok(writeln!(self.out, "{}", text.to_string().trim_end())?)
    }

    /// A table.
    pub(crate) fn table(&mut self, mut grid: Grid) -> Result<(), Stop> {
        grid.fit();
        self.line(grid.table.trim_fmt())
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

/// How wide tables may be: as `COLUMNS` says, else as the terminal is; no limit for what goes elsewhere.
fn width() -> Option<u16> {
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || io::stdout().is_terminal().then(terminal_size::terminal_size).flatten().map(|(width, _)| width.0);
    said.or_else(terminal).map(|width: u16| width.max(40))
}

/// A table that is no wider than it may be: then texts are cut, and columns left out.
pub(crate) struct Grid {
    table: Table,
    width: Option<u16>,
    /// Columns that are never cut: names that one types again, and times.
    whole: &'static [usize],
    /// Columns that are left out where there is no room, this one first.
    spare: &'static [usize],
}

/// What is left of a column that is cut, at least, and of the last one, which says what it is all about.
const CUT: u16 = 12;
const CUT_LAST: u16 = 24;

impl Grid {
    pub(crate) fn new<const N: usize>(header: [&str; N], whole: &'static [usize], spare: &'static [usize]) -> Grid {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_truncation_indicator("…").set_header(one_high(header.map(str::to_owned)));
        Grid { table, width: width(), whole, spare }
    }

    /// A row of one line.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.table.add_row(one_high(cells));
    }

    fn fit(&mut self) {
        let Some(width) = self.width else { return };
        self.table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        let contents = self.table.column_max_content_widths();
        let mut hidden: Vec<usize> = Vec::new();
        let needed = |hidden: &[usize]| {
            let column = |(index, content): (usize, &u16)| match () {
                () if hidden.contains(&index) => 0,
                () if self.whole.contains(&index) => content.saturating_add(2),
                () if index + 1 == contents.len() => *content.min(&CUT_LAST) + 2,
                () => *content.min(&CUT) + 2,
            };
            contents.iter().enumerate().map(column).fold(0, u16::saturating_add)
        };
        for index in self.spare {
            if needed(&hidden) > width {
                hidden.push(*index);
            }
        }
        for (indices, constraint) in [(self.whole, ColumnConstraint::ContentWidth), (&hidden[..], ColumnConstraint::Hidden)] {
            for index in indices {
                if let Some(column) = self.table.column_mut(*index) {
                    column.set_constraint(constraint);
                }
            }
        }
    }
}

fn one_high<const N: usize>(cells: [String; N]) -> Row {
    let mut row = Row::from(cells.map(|cell| one_line(&cell)));
    row.max_height(1);
    row
}

/// Text of other people for one line of a terminal.
pub(crate) fn one_line(text: &str) -> String {
    printable(&text.replace(['\n', '\r'], " "))
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Says that there is more than was asked for.
pub(crate) fn say_cut(shown: usize, all: usize) {
    if shown < all {
        crate::progress::note(format_args!("{shown} of {all} are shown; --limit sets how many"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(width: u16) -> Vec<String> {
        let mut grid = Grid::new(["name", "kind", "labels", "title"], &[0], &[1, 2]);
        grid.row(["golang/go#7".into(), "pull request".into(), "NeedsFix, OS-Windows, help wanted".into(), "cmd/go: it is slow\nand \u{1b}[1mloud".into()]);
        grid.width = Some(width);
        grid.fit();
        grid.table.trim_fmt().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_table_fits_and_names_stay_whole() {
        for width in [200, 90, 70, 50, 45] {
            let lines = lines(width);
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert!(lines.iter().all(|line| line.chars().count() <= usize::from(width)), "{width}: {lines:?}");
            assert!(lines[1].contains("golang/go#7") && lines[1].contains("cmd/go"), "{width}: {lines:?}");
        }
        assert!(lines(200)[1].ends_with("cmd/go: it is slow and loud"), "{:?}", lines(200));
        assert!(lines(90)[0].contains("labels") && !lines(45)[0].contains("kind"), "{:?}", lines(45));
    }
}
