//! What can be typed behind `burrow benchstat`.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::Stop;

const EXAMPLES: &str = "\
Examples:
  burrow benchstat old.txt new.txt                          each benchmark, and how it changed
  burrow benchstat before=a.txt after=b.txt                 with other names for the columns
  go test -bench . -count 10 | burrow benchstat -           from a pipe
  burrow benchstat --col /format --row .name new.txt        compare the format= part of the names
  burrow benchstat --filter '.unit:sec/op /size:(1k OR 2k)' old.txt new.txt
  burrow benchstat --ignore pkg,cpu old.txt new.txt         one table for all packages and machines
  burrow benchstat --format markdown old.txt new.txt        for a review comment
  burrow benchstat --fail-on 'regression>2% p<0.01' old.txt new.txt
  burrow benchstat old=http://perf.example.org/search?q=upload:1 new=new.txt

Flags may be written with one dash, as benchstat's are. Inputs are in the Go benchmark format.
Exit status: 0 all is well, 1 a --fail-on rule found something, 2 wrong arguments, 3 an input or the output failed, or a rule had nothing to judge.";

/// How to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Medians, order-statistic intervals, outliers kept
    V2,
    /// Means, outliers dropped: what benchstat printed before 2023
    V1,
}

/// How to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Csv,
    Json,
    Markdown,
    Html,
}

/// Summaries and comparisons of benchmark results.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchstatArgs {
    /// Files, label=file, addresses, or - for standard input; the first column is what others are compared with
    #[arg(value_name = "INPUT", required = true)]
    pub(crate) inputs: Vec<String>,
    /// What separates tables, besides the unit
    #[arg(long, value_name = "KEYS", default_value = ".config", allow_hyphen_values = true)]
    pub(crate) table: String,
    /// What separates rows
    #[arg(long, value_name = "KEYS", default_value = ".fullname", allow_hyphen_values = true)]
    pub(crate) row: String,
    /// What separates columns
    #[arg(long, value_name = "KEYS", default_value = ".file", allow_hyphen_values = true)]
    pub(crate) col: String,
    /// Keys in which results of one cell may differ without a warning
    #[arg(long, value_name = "KEYS", default_value = "", allow_hyphen_values = true)]
    pub(crate) ignore: String,
    /// Which results, and which of their measurements
    #[arg(long, value_name = "EXPRESSION", default_value = "*", allow_hyphen_values = true)]
    pub(crate) filter: String,
    /// A difference is significant if p is at most this
    #[arg(long, value_name = "P", default_value_t = 0.05, allow_negative_numbers = true)]
    pub(crate) alpha: f64,
    /// Confidence of intervals
    #[arg(long, value_name = "PART", default_value_t = 0.95, allow_negative_numbers = true)]
    pub(crate) confidence: f64,
    /// text, csv (warnings go to standard error), json, markdown or html
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: String,
    /// Fail (status 1) on this: `regression>2% p<0.01`, `improvement`, `change>5% unit:B/op`, `missing`; may be given several times
    #[arg(long, value_name = "RULE")]
    pub(crate) fail_on: Vec<String>,
    /// How --fail-on corrects p for the number of comparisons: bh (Benjamini-Hochberg), holm or none
    #[arg(long, value_name = "METHOD", default_value = "bh")]
    pub(crate) correction: String,
    /// Fail (status 3) if a line of an input cannot be read
    #[arg(long)]
    pub(crate) strict: bool,
    /// Be as golang.org/x/perf's benchstat in everything: p above 1, tables of zeros, status 0 when an input cannot be read
    #[arg(long)]
    pub(crate) compat: bool,
    /// How to compute
    #[arg(long, value_enum, default_value = "v2")]
    pub(crate) engine: Engine,
    /// (v1) Labels that split results into groups
    #[arg(long, value_name = "LABELS", default_value = "pkg,goos,goarch")]
    pub(crate) split: String,
    /// (v1) Add a row of geometric means
    #[arg(long)]
    pub(crate) geomean: bool,
}

impl BenchstatArgs {
    /// The format.
    pub(super) fn format(&self) -> Result<Format, Stop> {
        Ok(match self.format.as_str() {
            "text" => Format::Text,
            "csv" => Format::Csv,
            "json" => Format::Json,
            "markdown" | "md" => Format::Markdown,
            "html" => Format::Html,
            _ if self.compat => return Err(Stop::usage("-format must be text or csv")),
            _ => return Err(Stop::usage("-format must be text, csv, json, markdown or html")),
        })
    }
}

/// Flags that take the next word, whatever it begins with.
const WITH_VALUE: [&str; 12] = ["table", "row", "col", "ignore", "filter", "alpha", "confidence", "format", "fail-on", "correction", "engine", "split"];

/// Makes benchstat's single dashes double ones, but for values that begin with a dash (`-filter -.unit:B/op`).
pub(crate) fn single_dashes(args: Vec<OsString>) -> Vec<OsString> {
    let mut value = false;
    let double = |arg: OsString| {
        if std::mem::take(&mut value) {
            return arg;
        }
        let Some(text) = arg.to_str().filter(|text| text.len() > 2 && text.starts_with('-')) else { return arg };
        let name = text.trim_start_matches('-');
        value = WITH_VALUE.contains(&name);
        if text.starts_with("--") { arg } else { OsString::from(format!("-{text}")) }
    };
    args.into_iter().map(double).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_benchstat_are_understood() {
        let line = ["benchstat", "-filter", "-.unit:B/op", "-row=.name", "--col", "-x", "-alpha", "0.1", "-", "-h", "old.txt"];
        let expected = ["benchstat", "--filter", "-.unit:B/op", "--row=.name", "--col", "-x", "--alpha", "0.1", "-", "-h", "old.txt"];
        let done = single_dashes(line.iter().map(OsString::from).collect());
        assert_eq!(done, expected.map(OsString::from));
    }
}
