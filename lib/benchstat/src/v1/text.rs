//! The text reply: columns aligned over all tables.

use std::fmt::Write as _;

use super::table::Table;

/// All tables as text.
#[must_use]
pub fn render(tables: &[Table]) -> String {
    let sheets: Vec<Vec<Vec<String>>> = tables.iter().map(sheet).collect();
    let mut widths: Vec<usize> = Vec::new();
    // A row of one text is a heading and may be as wide as it likes.
    for row in sheets.iter().flatten().filter(|row| row.len() != 1) {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let width = |i: usize| widths.get(i).copied().unwrap_or(0);
    let mut out = String::new();
    for (number, sheet) in sheets.iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        let mut rows = sheet.iter();
        let head = rows.next().map_or(&[][..], Vec::as_slice);
        for (i, text) in head.iter().enumerate() {
            let _ = match i {
                0 => write!(out, "{text:<0$}", width(i)),
                i if i + 1 == head.len() => writeln!(out, "  {text}"),
                i => write!(out, "  {text:<0$}", width(i)),
            };
        }
        for row in rows {
            for (i, text) in row.iter().enumerate() {
                let last = i + 1 == row.len();
                let _ = match i {
                    0 if row.len() == 1 => write!(out, "{text}"),
                    0 => write!(out, "{text:<0$}", width(i)),
                    _ if last && text.starts_with('(') => write!(out, "  {text}"),
                    _ => write!(out, "  {text:>0$}", width(i)),
                };
            }
            out.push('\n');
        }
    }
    out
}

/// Rows of texts, the head first, empty texts at their ends dropped.
fn sheet(table: &Table) -> Vec<Vec<String>> {
    let metric = &table.metric;
    let head = match table.configs.as_slice() {
        [_] => vec!["name".to_owned(), metric.clone()],
        [_, _] => vec!["name".to_owned(), format!("old {metric}"), format!("new {metric}"), "delta".to_owned()],
        configs => std::iter::once(format!("name \\ {metric}")).chain(configs.iter().cloned()).collect(),
    };
    let mut sheet = vec![head];
    let mut group = "";
    for row in &table.rows {
        if row.group != group {
            group = &row.group;
            sheet.push(vec![group.to_owned()]);
        }
        let mut texts = vec![row.benchmark.clone()];
        texts.extend(row.cells.iter().cloned());
        if table.old_new() {
            texts.push(if row.delta == "~" { "~   ".to_owned() } else { row.delta.clone() });
            texts.push(row.note.clone());
        }
        sheet.push(texts);
    }
    for row in &mut sheet {
        while row.last().is_some_and(String::is_empty) {
            row.pop();
        }
    }
    sheet
}
