//! Requests of git's protocol: no panic; a command ends inside the request and with a flush.
#![no_main]

use burrow_gitserve::packetline::Command;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(command) = Command::parse(data) {
        assert!(data[..command.length].ends_with(b"0000"));
        assert_eq!(Command::parse(&data[..command.length]).as_ref(), Some(&command));
    }
});
