//! The table of the compare page: the class names that its style sheet knows.

use std::fmt::Write as _;

use super::table::{Change, Table};
use crate::table::html::{escape, minus};

/// All units in one table; empty without tables.
#[must_use]
pub fn render(tables: &[Table]) -> String {
    let Some(first) = tables.first() else { return String::new() };
    let mut out = format!("<table class='benchstat{}'>\n", if first.old_new() { " oldnew" } else { "" });
    if first.configs.len() != 1 {
        out.push_str("<tr class='configs'><th>");
        first.configs.iter().for_each(|config| {
            let _ = write!(out, "<th>{}", escape(config));
        });
        out.push('\n');
    }
    for table in tables {
        out.push_str("<tbody>\n");
        let metric = escape(&table.metric);
        let _ = match table.configs.len() {
            1 => writeln!(out, "<tr><th><th>{metric}"),
            columns => writeln!(out, "<tr><th><th colspan='{columns}' class='metric'>{metric}{}", if table.old_new() { "<th>delta" } else { "" }),
        };
        let mut group = "";
        for row in &table.rows {
            if row.group != group {
                group = &row.group;
                if table.groups > 1 && !group.is_empty() {
                    let span = table.configs.len() + 1 + usize::from(table.old_new());
                    let _ = writeln!(out, "<tr class='group'><th colspan='{span}'>{}", escape(group));
                }
            }
            out.push_str(match row.change {
                _ if !table.old_new() => "<tr>",
                Change::Better => "<tr class='better'>",
                Change::Worse => "<tr class='worse'>",
                Change::Unchanged => "<tr class='unchanged'>",
            });
            let _ = write!(out, "<td>{}", escape(&row.benchmark));
            row.cells.iter().for_each(|cell| {
                let _ = write!(out, "<td>{}", escape(cell));
            });
            if table.old_new() {
                let class = if row.delta == "~" { "nodelta" } else { "delta" };
                let _ = write!(out, "<td class='{class}'>{}<td class='note'>{}", minus(&row.delta), escape(&row.note));
            }
            out.push('\n');
        }
        out.push_str("<tr><td>&nbsp;\n</tbody>\n");
    }
    out.push_str("</table>\n");
    out
}
