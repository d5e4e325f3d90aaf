//! What a pubsubhelper elsewhere answers: no panic, and what was understood means the same when it is written again.
#![no_main]

use burrow_events::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(answers) = json::parse_many(data) else { return };
    for answer in answers {
        let mut event = answer.event;
        // Of none, the reference's are made.
        if event.topics.is_empty() {
            event.topics.push("x".into());
        }
        for text in [json::pretty(&event), json::compact(&event)] {
            assert_eq!(json::parse(text.as_bytes()).expect("what is written can be read").event, event);
        }
        let _ = event.places();
    }
});
