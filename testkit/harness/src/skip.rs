//! Tests that cannot run here say so by name.

use std::io::Write as _;

/// File that `cargo xtask test` collects the names from.
pub const FILE: &str = "BURROW_TEST_SKIPPED";

/// Records that the running test cannot run here, and why. Return from the test afterwards.
///
/// # Panics
/// Under `CI=true` with nobody to collect the name: a skipped test would look like a passed one.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let module = std::env::current_exe().ok().and_then(|exe| exe.file_stem().map(|stem| stem.to_string_lossy().into_owned())).unwrap_or_default();
    // The file name of a test program ends in a hash of sixteen digits.
    let program = module.rsplit_once('-').map_or(module.as_str(), |(name, _)| name);
    let line = format!("{program}::{}: {reason}", thread.name().unwrap_or("unnamed test"));
    eprintln!("SKIPPED {line}");
    match std::env::var_os(FILE) {
        Some(path) => {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
            let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
            assert!(written.is_ok(), "cannot record the skipped test in {}: {written:?}", path.display());
        }
        None => assert!(std::env::var_os("CI").is_none(), "{line} (use `cargo xtask test`, which provides what tests need)"),
    }
}
