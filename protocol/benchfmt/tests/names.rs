//! A name does not depend on the lines before it.

use proptest::prelude::*;
use protocol_benchfmt::{Reader, Record};

/// What is found in a text: names, and how often something was wrong.
fn found(text: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let mut reader = Reader::new(text, "");
    let (mut names, mut wrong) = (Vec::new(), 0);
    while let Some(record) = reader.next() {
        match record {
            Record::Result(result) => names.push(result.name.full().to_vec()),
            _ => wrong += 1,
        }
    }
    (names, wrong)
}

proptest! {
    /// Letters, white space of one and three bytes, and pieces of it.
    #[test]
    fn lines_together_and_alone(names in prop::collection::vec(prop::collection::vec(prop::sample::select(vec![b'a', b'a', b' ', 0xe2, 0x80, 0xa8, 0xc2]), 0..5), 1..8)) {
        let lines: Vec<Vec<u8>> = names.iter().map(|name| [&b"Benchmark"[..], name, b" 1 2 ns/op\n"].concat()).collect();
        let together = found(&lines.concat());
        let mut alone = (Vec::new(), 0);
        for line in &lines {
            let (names, wrong) = found(line);
            alone.0.extend(names);
            alone.1 += wrong;
        }
        prop_assert_eq!(together, alone);
    }
}
