//! Reports of other tools as benchmark text: so that everything that is measured can be compared, stored and drawn in the same way.
//!
//! Names become benchmark names (`Group/function/key=value`), context becomes configuration lines, and every run that a report tells of becomes
//! a line of its own where the report has single runs: statistics need samples, not means.
//!
//! ```
//! use protocol_benchfmt::adapters::{Format, convert, detect};
//!
//! let report = br#"{"results": [{"command": "sort big.txt", "mean": 0.25, "times": [0.25, 0.26]}]}"#;
//! assert_eq!(detect(report), Some(Format::Hyperfine));
//! let mut out = Vec::new();
//! let converted = convert(Format::Hyperfine, report, &mut out).unwrap();
//! assert_eq!(converted.lines, 2);
//! assert_eq!(out, b"BenchmarkSort_big.txt 1 0.25 sec/op\nBenchmarkSort_big.txt 1 0.26 sec/op\n");
//! ```

mod asv;
mod criterion;
mod google;
mod hyperfine;
mod pytest;
mod sheet;
mod text;

pub use criterion::{CriterionFile, criterion_folder};

/// A format that reports come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The benchmark format itself: it is copied.
    Benchmark,
    /// What `cargo bench` with Criterion prints.
    CriterionText,
    /// One JSON message a line, as `cargo criterion --message-format=json` prints.
    CriterionMessages,
    /// JSON of Google Benchmark (`--benchmark_format=json`).
    GoogleBenchmark,
    /// JSON of pytest-benchmark (`--benchmark-json`).
    PytestBenchmark,
    /// JSON of hyperfine (`--export-json`).
    Hyperfine,
    /// A result file of asv (airspeed velocity).
    Asv,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 7] =
        [Format::Benchmark, Format::CriterionText, Format::CriterionMessages, Format::GoogleBenchmark, Format::PytestBenchmark, Format::Hyperfine, Format::Asv];

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Benchmark => "benchmark",
            Format::CriterionText => "criterion",
            Format::CriterionMessages => "criterion-json",
            Format::GoogleBenchmark => "google",
            Format::PytestBenchmark => "pytest",
            Format::Hyperfine => "hyperfine",
            Format::Asv => "asv",
        }
    }

    /// The format of a name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// What was converted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Result lines that were written.
    pub lines: usize,
    /// Entries of the report that have no result: benchmarks that failed or were skipped.
    pub left_out: usize,
}

/// Why a report cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// It is no JSON, or not what the tool writes.
    #[error("this is no {format} report: {error}")]
    Json {
        /// What it should be.
        format: &'static str,
        /// Where it is wrong.
        error: serde_json::Error,
    },
    /// It is larger than [`MAX_REPORT`].
    #[error("the {format} report is larger than {limit} bytes")]
    TooLarge {
        /// What it is.
        format: &'static str,
        /// The limit.
        limit: usize,
    },
    /// It has no result.
    #[error("the {format} report has no result")]
    Empty {
        /// What it is.
        format: &'static str,
    },
}

/// The largest report that is looked at. JSON is read as a whole; this is hundreds of thousands of results.
pub const MAX_REPORT: usize = 256 << 20;

/// The format of a report by its content. `None`: it is none that is known.
#[must_use]
pub fn detect(report: &[u8]) -> Option<Format> {
    text::detect(report)
}

/// Writes a report as benchmark text.
///
/// # Errors
/// It is not of that format, or has no result. Nothing was written then.
pub fn convert(format: Format, report: &[u8], out: &mut Vec<u8>) -> Result<Converted, AdapterError> {
    if report.len() > MAX_REPORT {
        return Err(AdapterError::TooLarge { format: format.name(), limit: MAX_REPORT });
    }
    let before = out.len();
    let converted = match format {
        Format::Benchmark => Ok(text::benchmark(report, out)),
        Format::CriterionText => Ok(criterion::text(report, out)),
        Format::CriterionMessages => criterion::messages(report, out),
        Format::GoogleBenchmark => google::convert(report, out),
        Format::PytestBenchmark => pytest::convert(report, out),
        Format::Hyperfine => hyperfine::convert(report, out),
        Format::Asv => asv::convert(report, out),
    };
    let converted = converted.and_then(|converted| if converted.lines == 0 { Err(AdapterError::Empty { format: format.name() }) } else { Ok(converted) });
    if converted.is_err() {
        out.truncate(before);
    }
    converted
}
