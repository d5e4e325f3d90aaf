//! Times, topics and addresses out of a query: no panic, and a time means the same when it is written again.
#![no_main]

use burrow_events::{Topics, place_of, time};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(at) = time::parse(text) {
        assert_eq!(time::parse(&time::format(at)), Some(at));
    }
    let _ = place_of(text);
    let (pattern, topic) = text.split_once('\n').unwrap_or((text, text));
    if let Ok(topics) = Topics::parse([pattern]) {
        let topic = topic.to_owned();
        if pattern == topic {
            assert!(topics.matches(&[topic]));
        } else {
            let _ = topics.matches(&[topic]);
        }
    }
});
