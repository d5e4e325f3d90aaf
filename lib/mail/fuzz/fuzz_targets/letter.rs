//! Rules for a header block: no panic, and a mail that passes them has fields that can be used as they are.
#![no_main]

use burrow_mail::{Config, letter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(candidate) = letter::examine(data.to_vec(), "a@b.c", &Config::google("a@b.c", "mx"), 0) else { return };
    assert!(candidate.key.ends_with("google.com.") && candidate.key.len() < 250, "{candidate:?}");
    let mail = candidate.mail();
    assert!(mail.url.starts_with("http") && !mail.url.contains(|c: char| c.is_whitespace() || c.is_control()));
    assert!(!mail.project.chars().any(char::is_control) && !mail.message_id.is_empty());
});
