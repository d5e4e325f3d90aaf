//! What `git ls-remote` and `git push --porcelain` print, as far as servers decide it; and patterns, which must agree with themselves.
#![no_main]

use burrow_gitmirror::refs::{Advertised, parse_push};
use burrow_gitmirror::rules::{Pattern, well_formed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let found = Advertised::parse(data);
    assert!(found.refs.keys().all(|name| well_formed(name)) && found.heads() <= found.refs.len());
    let _ = parse_push(data);
    if let Some((pattern, name)) = std::str::from_utf8(data).ok().and_then(|text| text.split_once('\n')) {
        let literal = Pattern::new(name.replace('*', ""));
        assert!(literal.matches(&name.replace('*', "")) && Pattern::everything().matches(name));
        let _ = Pattern::new(pattern).matches(name);
    }
});
