//! Tables for spreadsheets (spec §6). Warnings do not fit into them and go elsewhere, each with its place.

use std::io::{self, Write};

use protocol_benchfmt::format_float;

use super::model::{Table, Tables};
use super::text::heads;
use crate::math::number::signed_percent;

/// Columns that a column of the table takes: center, interval; and but for the first: difference, test.
const CENTER: usize = 2;
const DELTA: usize = 2;

/// Details that follow the reference or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// p-values above 1 as they are.
    pub unclamped: bool,
    /// Names of columns in warnings beyond Z as wrong as the reference's.
    pub wrong_letters: bool,
}

/// Writes all tables, and warnings as `F13: text`.
///
/// # Errors
/// Writing fails.
pub fn write(tables: &Tables, out: &mut dyn Write, warnings: &mut dyn Write, style: Style) -> io::Result<()> {
    let mut sheet = Sheet { out, warnings, line: 1, row: Vec::new(), style };
    heads(
        tables,
        &mut sheet,
        |sheet, head| {
            sheet.row.push(head.to_vec());
            sheet.end()
        },
        |sheet, table| write_table(table, sheet),
    )
}

struct Sheet<'w> {
    out: &'w mut dyn Write,
    warnings: &'w mut dyn Write,
    line: usize,
    row: Vec<Vec<u8>>,
    style: Style,
}

impl Sheet<'_> {
    fn to(&mut self, column: usize) {
        if self.row.len() < column {
            self.row.resize(column, Vec::new());
        }
    }

    fn push(&mut self, text: impl Into<Vec<u8>>) {
        self.row.push(text.into());
    }

    /// Warnings about the cell that comes next.
    fn warn(&mut self, warnings: &[String]) -> io::Result<()> {
        for warning in warnings {
            let letters = if self.style.wrong_letters { wrong_letters(self.row.len()) } else { letters(self.row.len()) };
            writeln!(self.warnings, "{letters}{}: {warning}", self.line)?;
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let mut line = Vec::new();
        for (i, field) in self.row.drain(..).enumerate() {
            if i > 0 {
                line.push(b',');
            }
            if !needs_quotes(&field) {
                line.extend_from_slice(&field);
                continue;
            }
            line.push(b'"');
            for byte in field {
                if byte == b'"' {
                    line.push(b'"');
                }
                line.push(byte);
            }
            line.push(b'"');
        }
        line.push(b'\n');
        self.line += 1;
        self.out.write_all(&line)
    }
}

/// Whether a field must be quoted, by the rules of Go's `encoding/csv`.
fn needs_quotes(field: &[u8]) -> bool {
    let first = field.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    field == b"\\." || field.iter().any(|byte| matches!(byte, b'\n' | b'\r' | b'"' | b',')) || first.is_some_and(char::is_whitespace)
}

/// A, B, … Z, AA, AB, …
fn letters(mut column: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(b'A' + (column % 26) as u8);
        match (column / 26).checked_sub(1) {
            Some(rest) => column = rest,
            None => break,
        }
    }
    letters.iter().rev().map(|&byte| char::from(byte)).collect()
}

/// A, B, … Z, BA, BB, …
fn wrong_letters(mut column: usize) -> String {
    let mut letters = Vec::new();
    while column > 0 {
        letters.push(b'A' + (column % 26) as u8);
        column /= 26;
    }
    if letters.is_empty() {
        letters.push(b'A');
    }
    letters.iter().rev().map(|&byte| char::from(byte)).collect()
}

fn start(column: usize) -> usize {
    match column {
        0 => 1,
        column => 1 + CENTER + (column - 1) * (CENTER + DELTA),
    }
}

fn write_table(table: &Table, sheet: &mut Sheet<'_>) -> io::Result<()> {
    let end = start(table.columns.len());
    let levels = table.columns.first().map_or(0, |column| column.fields.len());
    for level in 0..levels {
        for (number, column) in table.columns.iter().enumerate() {
            sheet.to(start(number));
            sheet.push(column.fields.get(level).map_or(&[][..], |field| &field.value));
        }
        sheet.to(end);
        sheet.end()?;
    }
    for number in 0..table.columns.len() {
        sheet.to(start(number));
        sheet.push(&*table.unit);
        sheet.push("CI");
        if number > 0 {
            sheet.push("vs base");
            sheet.push("P");
        }
    }
    sheet.end()?;
    for row in &table.rows {
        sheet.push(row.label());
        for (number, cell) in row.cells.iter().enumerate() {
            let Some(cell) = cell else { continue };
            sheet.to(start(number));
            sheet.warn(&cell.warnings)?;
            sheet.warn(&cell.summary.warnings)?;
            sheet.push(format_float(cell.summary.center));
            sheet.push(cell.summary.percent_range());
            if let (Some(base), Some(delta)) = (&cell.base, cell.delta()) {
                sheet.warn(&base.comparison.warnings)?;
                sheet.push(delta);
                sheet.push(base.comparison.note(sheet.style.unclamped));
            }
        }
        sheet.end()?;
    }
    sheet.push("geomean");
    for (number, summary) in table.summary.iter().enumerate() {
        sheet.to(start(number));
        sheet.warn(&summary.warnings)?;
        if let Some(center) = summary.center {
            sheet.push(format_float(center));
        }
        if number > 0 {
            sheet.to(start(number) + CENTER);
            sheet.push(summary.ratio.map_or_else(|| "?".to_owned(), |ratio| signed_percent((ratio - 1.0) * 100.0)));
        }
    }
    sheet.to(end);
    sheet.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_columns() {
        assert_eq!([0, 1, 25, 26, 51, 52, 702].map(letters), ["A", "B", "Z", "AA", "AZ", "BA", "AAA"]);
        assert_eq!([0, 1, 25, 26].map(wrong_letters), ["A", "B", "Z", "BA"]);
    }

    #[test]
    fn quoting() {
        let cases = [("", false), ("a b", false), (" a", true), ("a,b", true), ("a\"b", true), ("\\.", true), ("\u{a0}x", true), ("±", false)];
        for (text, quoted) in cases {
            assert_eq!(needs_quotes(text.as_bytes()), quoted, "{text}");
        }
    }
}
