//! `--engine v1`.

use std::fs::File;
use std::io::{self, Read, Write};

use burrow_benchstat::read::Content;
use burrow_benchstat::v1::{self, Collection, Geomean};
use protocol_benchfmt::store::{Labels, Reader, Record, name_labels};

use super::args::{BenchstatArgs, Format};
use super::{Stop, output, sources};

/// Reads, computes and shows.
pub(super) fn run(args: &BenchstatArgs) -> Result<u8, Stop> {
    let format = args.format()?;
    if !args.fail_on.is_empty() {
        return Err(Stop::usage("--fail-on needs --engine v2"));
    }
    let split: Vec<&str> = args.split.split(',').filter(|label| !label.is_empty()).collect();
    let mut collection = Collection::new();
    for source in sources(&args.inputs)? {
        collection.config(source.label);
        let mut reader: Box<dyn Read> = match source.content {
            Content::Stdin => Box::new(io::stdin().lock()),
            Content::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
            Content::Path => Box::new(File::open(&source.path).map_err(|error| Stop::input(format!("open {}: {error}", source.path)))?),
        };
        let mut results = Reader::new(Labels::new());
        let mut sink = |record: Record<'_>| {
            if let Record::Result(result) = record {
                let of_name: Vec<_> = if split.is_empty() { Vec::new() } else { name_labels(result.name) };
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let labels: Vec<(String, String)> = split
                    .iter()
                    .filter_map(|label| {
                        let named = of_name.iter().find(|(key, value)| **key == *label.as_bytes() && !value.is_empty()).map(|(_, value)| text(value));
                        Some(((*label).to_owned(), named.or_else(|| result.labels.get(label.as_bytes()).map(text))?))
                    })
                    .collect();
                let group = Collection::group(&split, |label| labels.iter().find(|(name, _)| name == label).map(|(_, value)| value.as_str()));
                collection.add_line(&group, &String::from_utf8_lossy(result.line));
            }
        };
        let mut piece = vec![0; 1 << 16];
        loop {
            let length = match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Stop::input(format!("read {}: {error}", source.path))),
            };
            results.push(piece.get(..length).unwrap_or_default(), &mut sink);
        }
        results.finish(&mut sink);
    }
    let geomean = if args.geomean { Geomean::Spaced } else { Geomean::None };
    let tables = collection.tables(&v1::Options { alpha: args.alpha, geomean });
    let text = match format {
        Format::Text => v1::text::render(&tables),
        Format::Html => v1::html::render(&tables),
        _ => return Err(Stop::usage("--engine v1 knows the formats text and html")),
    };
    io::stdout().lock().write_all(text.as_bytes()).map_err(output)?;
    Ok(0)
}
