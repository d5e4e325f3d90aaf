//! What another perfdata answers, which is not to be trusted: no panic, and points of it are finite.
#![no_main]

use burrow_perf::config::Config;
use burrow_perf::points::compute;
use burrow_perf::source::read;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(answer) = read(text) else { return };
    for placed in compute("upload", 0, &answer, &Config::default()).unwrap_or_default() {
        assert!(placed.point.value.is_none_or(|value| value.center.is_finite()));
        assert!(placed.point.ratio.is_none_or(|ratio| ratio.center.is_finite()));
    }
});
