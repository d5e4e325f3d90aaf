//! Tables for review comments and issues.

use std::fmt::Write as _;
use std::io::{self, Write};

use protocol_benchfmt::scale;

use super::lossy;
use super::model::{Cell, Table, Tables};
use super::text::heads;
use crate::math::number::signed_percent;
use crate::math::sample::Verdict;

/// Writes all tables.
///
/// # Errors
/// Writing fails.
pub fn write(tables: &Tables, out: &mut dyn Write) -> io::Result<()> {
    heads(
        tables,
        out,
        |out, head| {
            // Two spaces end a line.
            if head.is_empty() { out.write_all(b"\n") } else { writeln!(out, "{}  ", escape(&lossy(head))) }
        },
        |out, table| out.write_all(render(table).as_bytes()),
    )
}

fn render(table: &Table) -> String {
    let mut text = String::new();
    let marks = |warnings: &mut dyn Iterator<Item = &'_ String>, notes: &mut Vec<String>| {
        warnings.fold(String::new(), |marks, warning| {
            let number = notes.iter().position(|note| note == warning).unwrap_or_else(|| {
                notes.push(warning.clone());
                notes.len() - 1
            });
            format!("{marks} <sup>{}</sup>", number + 1)
        })
    };
    let mut notes: Vec<String> = Vec::new();
    let _ = write!(text, "\n| {} |", escape(&lossy(&table.unit)));
    let mut rule = String::from("| :--- |");
    for (number, column) in table.columns.iter().enumerate() {
        let _ = write!(text, " {} |", escape(&lossy(&column.label())));
        rule.push_str(" ---: |");
        if number > 0 {
            text.push_str(" vs base |");
            rule.push_str(" :--- |");
        }
    }
    let _ = write!(text, "\n{rule}\n");
    for row in &table.rows {
        let scaler = row.scaler(table.class);
        let _ = write!(text, "| {} |", escape(&lossy(&row.label())));
        for (number, cell) in row.cells.iter().enumerate() {
            let Some(cell) = cell else {
                text.push_str(if number > 0 { " | |" } else { " |" });
                continue;
            };
            let warnings = marks(&mut cell.warnings.iter().chain(&cell.summary.warnings), &mut notes);
            let _ = write!(text, " {} ± {}{warnings} |", scaler.format(cell.summary.center), cell.summary.percent_range());
            if number > 0 {
                let compared = compared(table, cell);
                let warnings = cell.base.as_ref().map_or_else(String::new, |base| marks(&mut base.comparison.warnings.iter(), &mut notes));
                let _ = write!(text, " {compared}{warnings} |");
            }
        }
        text.push('\n');
    }
    if table.rows.len() > 1 {
        text.push_str("| **geomean** |");
        for (number, summary) in table.summary.iter().enumerate() {
            let warnings = marks(&mut summary.warnings.iter(), &mut notes);
            let _ = write!(text, " {}{warnings} |", summary.center.map_or_else(String::new, |center| scale(center, table.class)));
            if number > 0 {
                let _ = write!(text, " {} |", summary.ratio.map_or_else(|| "?".to_owned(), |ratio| signed_percent((ratio - 1.0) * 100.0)));
            }
        }
        text.push('\n');
    }
    for (i, note) in notes.iter().enumerate() {
        let _ = writeln!(text, "{}<sup>{}</sup> {}  ", if i == 0 { "\n" } else { "" }, i + 1, escape(note));
    }
    text
}

/// Difference, meaning in a word, and test.
fn compared(table: &Table, cell: &Cell) -> String {
    let (Some(base), Some(delta)) = (&cell.base, cell.delta()) else { return String::new() };
    let note = base.comparison.note(false);
    let delta = if delta == "~" { "\\~".to_owned() } else { delta };
    match cell.verdict(table.better) {
        Some(verdict @ (Verdict::Better | Verdict::Worse)) => format!("**{delta}** {} ({note})", verdict.word()),
        _ => format!("{delta} ({note})"),
    }
}

/// So that names stay what they are.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '~' => out.extend(['\\', c]),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_table() {
        assert_eq!(escape("a|b_c<script>&\n"), "a\\|b\\_c\\<script\\>&amp; ");
    }
}
