//! Filters, projections and gate rules as anybody may type them into a page: no panic, no endless recursion; and an error points into the expression.
#![no_main]

use burrow_benchstat::gate::Rule;
use burrow_benchstat::{Filter, Layout, Projections};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = Filter::new(text) {
        assert!(error.offset <= text.len());
        let _ = error.to_string();
    }
    let Ok(mut filter) = Filter::new("*") else { return };
    if let Err(error) = Layout::new(&Projections { col: text, ..Projections::default() }, &mut filter) {
        let _ = error.to_string();
    }
    if let Ok(rule) = text.parse::<Rule>() {
        assert_eq!(rule.to_string().parse(), Ok(rule));
    }
});
