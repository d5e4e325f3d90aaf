//! Tables for a browser: a page that needs nothing else, or a fragment for another page. Light and dark; a word and a sign beside every colour.

use std::fmt::Write as _;
use std::io::{self, Write};

use protocol_benchfmt::scale;

use super::lossy;
use super::model::{Cell, Table, Tables};
use super::text::runs;
use crate::math::number::{signed_percent, superscript};
use crate::math::sample::Verdict;

/// What [`fragment`] is styled with.
pub const STYLE: &str = "\
.benchstat{border-collapse:collapse;margin:0 0 1.5rem;font-variant-numeric:tabular-nums}
.benchstat caption{text-align:left;padding:.25rem 0;color:var(--bs-dim)}
.benchstat th,.benchstat td{padding:.2rem .6rem;border-bottom:1px solid var(--bs-line);text-align:right;white-space:nowrap}
.benchstat th[scope=row],.benchstat th.name{text-align:left;font-weight:normal;white-space:normal;overflow-wrap:anywhere;min-width:9rem}
.benchstat thead th{background:var(--bs-head)}
.benchstat td.delta{text-align:left}
.benchstat tr.geomean th,.benchstat tr.geomean td{font-weight:bold;border-bottom:0}
.benchstat .better{color:var(--bs-good)}
.benchstat .worse{color:var(--bs-bad)}
.benchstat .different{font-weight:bold}
.benchstat .dim{color:var(--bs-dim)}
.benchstat-notes{color:var(--bs-dim);font-size:.9em;list-style:none;padding:0}
.benchstat-scroll{overflow-x:auto}
";

/// Colours for both themes.
const COLOURS: &str = "\
:root{color-scheme:light dark;--bs-page:#fff;--bs-text:#1b1f24;--bs-dim:#5b6570;--bs-line:#d5dae0;--bs-head:#f1f3f5;--bs-good:#005ab5;--bs-bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--bs-page:#14171a;--bs-text:#e4e7ea;--bs-dim:#9aa4ae;--bs-line:#343b43;--bs-head:#1f2429;--bs-good:#6cb2ff;--bs-bad:#ff8a80}}
body{margin:0;padding:1rem;background:var(--bs-page);color:var(--bs-text);font:15px/1.45 system-ui,sans-serif}
";

/// Writes a whole page.
///
/// # Errors
/// Writing fails.
pub fn write(tables: &Tables, title: &str, out: &mut dyn Write) -> io::Result<()> {
    let title = escape(title);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{COLOURS}{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    )?;
    if tables.tables.is_empty() {
        out.write_all(b"<p>No results.</p>\n")?;
    }
    for table in &tables.tables {
        out.write_all(fragment(table).as_bytes())?;
    }
    out.write_all(b"</main>\n</body>\n</html>\n")
}

/// One table with its notes; needs [`STYLE`] and the variables `--bs-good`, `--bs-bad`, `--bs-dim`, `--bs-line`, `--bs-head`.
#[must_use]
pub fn fragment(table: &Table) -> String {
    let mut text = String::from("<div class=\"benchstat-scroll\">\n<table class=\"benchstat\">\n");
    let mut notes: Vec<String> = Vec::new();
    let config: Vec<String> = table.fields.iter().map(|field| format!("{}: {}", escape(&lossy(&field.name)), escape(&lossy(&field.value)))).collect();
    let _ = writeln!(text, "<caption>{}</caption>\n<thead>", config.join(" · "));
    head(&mut text, table);
    text.push_str("</thead>\n<tbody>\n");
    for row in &table.rows {
        let scaler = row.scaler(table.class);
        let _ = write!(text, "<tr><th scope=\"row\">{}</th>", escape(&lossy(&row.label())));
        for (number, cell) in row.cells.iter().enumerate() {
            let Some(cell) = cell else {
                text.push_str(if number > 0 { "<td></td><td></td>" } else { "<td></td>" });
                continue;
            };
            let marks = marks(cell.warnings.iter().chain(&cell.summary.warnings), &mut notes);
            let _ = write!(
                text,
                "<td>{} <span class=\"dim\">± {}</span>{marks}</td>",
                escape(&scaler.format(cell.summary.center)),
                escape(&cell.summary.percent_range())
            );
            if number > 0 {
                text.push_str(&compared(table, cell, &mut notes));
            }
        }
        text.push_str("</tr>\n");
    }
    if table.rows.len() > 1 {
        text.push_str("<tr class=\"geomean\"><th scope=\"row\">geomean</th>");
        for (number, summary) in table.summary.iter().enumerate() {
            let marks = marks(summary.warnings.iter(), &mut notes);
            let _ = write!(text, "<td>{}{marks}</td>", summary.center.map_or_else(String::new, |center| scale(center, table.class)));
            if number > 0 {
                let ratio = summary.ratio.map_or_else(|| "?".to_owned(), |ratio| minus(&signed_percent((ratio - 1.0) * 100.0)));
                let _ = write!(text, "<td class=\"delta\">{ratio}</td>");
            }
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody>\n</table>\n</div>\n");
    if !notes.is_empty() {
        text.push_str("<ul class=\"benchstat-notes\">\n");
        for (i, note) in notes.iter().enumerate() {
            let _ = writeln!(text, "<li>{} {}</li>", superscript(i + 1), escape(note));
        }
        text.push_str("</ul>\n");
    }
    text
}

fn head(text: &mut String, table: &Table) {
    let levels = table.columns.first().map_or(0, |column| column.fields.len());
    for level in 0..levels {
        text.push_str("<tr><th class=\"name\"></th>");
        for run in runs(&table.columns, level) {
            let span = (run.clone()).map(|number| if number > 0 { 2 } else { 1 }).sum::<usize>();
            let value = table.columns.get(run.start).and_then(|column| column.fields.get(level)).map(|field| lossy(&field.value)).unwrap_or_default();
            let _ = write!(text, "<th scope=\"colgroup\" colspan=\"{span}\">{}</th>", escape(&value));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("<tr><th class=\"name\"></th>");
    for number in 0..table.columns.len() {
        let _ = write!(text, "<th scope=\"col\">{}</th>", escape(&lossy(&table.unit)));
        if number > 0 {
            text.push_str("<th scope=\"col\">vs base</th>");
        }
    }
    text.push_str("</tr>\n");
}

fn compared(table: &Table, cell: &Cell, notes: &mut Vec<String>) -> String {
    let (Some(base), Some(delta), Some(verdict)) = (&cell.base, cell.delta(), cell.verdict(table.better)) else { return "<td></td>".to_owned() };
    let word = match verdict {
        Verdict::Better => " ✓ better",
        Verdict::Worse => " ✗ worse",
        Verdict::Different | Verdict::Same => "",
    };
    let marks = marks(base.comparison.warnings.iter(), notes);
    format!(
        "<td class=\"delta\"><span class=\"{}\">{}{word}</span> <span class=\"dim\">({})</span>{marks}</td>",
        verdict.word(),
        minus(&delta),
        base.comparison.note(false)
    )
}

fn marks<'w>(warnings: impl Iterator<Item = &'w String>, notes: &mut Vec<String>) -> String {
    let mut marks = String::new();
    for warning in warnings {
        let number = notes.iter().position(|note| note == warning).unwrap_or_else(|| {
            notes.push(warning.clone());
            notes.len() - 1
        });
        let _ = write!(marks, " {}", superscript(number + 1));
    }
    marks
}

/// With a minus sign instead of a hyphen.
pub(crate) fn minus(text: &str) -> String {
    text.replace('-', "\u{2212}")
}

/// Text as HTML, also within quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
