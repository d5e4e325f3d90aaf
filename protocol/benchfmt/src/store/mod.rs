//! Records as the store of benchmark results reads and prints them: lines as they are, with the labels in force (`spec/perfdata.md` §5).
//!
//! This is an older, looser reading than the one of [`crate::Reader`]: numbers are not looked at, everything that begins with a word in `Benchmark` is a result,
//! and some labels cannot be changed by the file.
//!
//! ```
//! use protocol_benchfmt::store::{Labels, Printer, Reader, Record};
//!
//! let mut permanent = Labels::new();
//! permanent.set(b"upload", b"20261126.1");
//! let mut reader = Reader::new(permanent);
//! let (mut printer, mut out) = (Printer::new(), Vec::new());
//! reader.push(b"upload: spoof\ngoos: linux\nBenchmarkA/n=1-8 1 5 ns/op\ngoos:\nBenchmarkB 1 7 ns/op\n", &mut |record| {
//!     if let Record::Result(result) = record {
//!         printer.print(result.labels, &[result.line], &mut out);
//!     }
//! });
//! assert_eq!(out, b"goos: linux\nupload: 20261126.1\nBenchmarkA/n=1-8 1 5 ns/op\ngoos:\nBenchmarkB 1 7 ns/op\n");
//! ```

mod labels;
mod printer;
mod reader;

pub use labels::{Label, Labels, name_labels};
pub use printer::Printer;
pub use reader::{Reader, Record, StoredResult};
