#![no_main]
//! A line that is read is written the same.

use protocol_buildlet::ls::Line;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(line) = Line::parse(text) {
        let mut out = String::new();
        line.write(&mut out);
        assert_eq!(Line::parse(&out), Ok(line));
    }
});
