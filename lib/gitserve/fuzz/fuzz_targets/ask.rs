//! What a client writes into addresses and headers: no panic; a revision that was accepted cannot be an option or a search, and means the same when it is
//! written again; a range lies inside.
#![no_main]

use burrow_gitserve::ask::{Query, Rev, Target, parse_path, parse_prefix};
use burrow_gitserve::range::{self, Range};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Target::parse(text);
    if let Ok(query) = Query::parse(text) {
        for key in ["rev", "path", "prefix"] {
            let value = query.get(key).unwrap_or_default();
            check(value);
        }
    }
    check(text);
    for length in [0, 1, 1000, u64::MAX] {
        if let Range::Part { start, end } = range::parse(text, length) {
            assert!(start < end && end <= length);
        }
    }
});

fn check(text: &str) {
    if let Ok(rev) = Rev::parse(text) {
        let written = rev.to_string();
        assert!(!written.starts_with('-') && !written.contains([':', '\0', ' ']) && !["..", "@{", "^{"].iter().any(|bad| written.contains(bad)));
        assert_eq!(Rev::parse(&written).as_ref(), Ok(&rev));
    }
    if let Ok(parts) = parse_path(text) {
        assert!(parts.iter().all(|part| !part.is_empty() && part != ".." && !part.contains('/')));
    }
    if let Ok(prefix) = parse_prefix(text) {
        assert!(!prefix.starts_with('/') && prefix.split('/').all(|part| part != ".."));
    }
}
