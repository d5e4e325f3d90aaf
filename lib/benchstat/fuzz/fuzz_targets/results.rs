//! Any bytes as results: tables in every form, without a panic.
#![no_main]

use burrow_benchstat::read::{self, Content, Source};
use burrow_benchstat::{Builder, Filter, Layout, Projections, table};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut filter) = Filter::new("*") else { return };
    let Ok(layout) = Layout::new(&Projections { col: "goos", ..Projections::default() }, &mut filter) else { return };
    let mut builder = Builder::new(layout, filter);
    let source = Source { label: String::new(), path: "x".to_owned(), content: Content::Bytes(bytes.to_vec()) };
    let Ok(units) = read::read(&[source], &mut builder, &read::Options::default(), &mut |_| {}) else { return };
    let tables = builder.tables(&units, &table::Options::default());
    let mut out = Vec::new();
    let written = [
        table::text::write(&tables, &mut out, false),
        table::csv::write(&tables, &mut out, &mut Vec::new(), table::csv::Style::default()),
        table::json::write(&tables, None, &mut out),
        table::markdown::write(&tables, &mut out),
        table::html::write(&tables, "x", &mut out),
    ];
    assert!(written.iter().all(Result::is_ok));
});
