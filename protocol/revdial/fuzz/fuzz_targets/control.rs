//! Control lines from a hostile peer, in pieces: no panic, bounded memory, and what was understood can be said again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol_revdial::{LineBuffer, MAX_LINE_SENT, Message};

fuzz_target!(|data: &[u8]| {
    let (&step, data) = data.split_first().unwrap_or((&0, data));
    let mut lines = LineBuffer::default();
    for piece in data.chunks(usize::from(step) + 1) {
        if lines.push(piece).is_err() {
            return;
        }
        while let Some(message) = lines.next_message() {
            let Ok(message) = message else { return };
            if let Ok(line) = message.encode() {
                assert!(line.len() <= MAX_LINE_SENT);
                Message::decode(&line).expect("what is sent can be read");
            }
        }
    }
});
