#![no_main]
//! No accepted path leaves the work directory.

use protocol_buildlet::path::{check_path, check_path_windows, clean};

libfuzzer_sys::fuzz_target!(|path: &str| {
    if check_path(path).is_ok() {
        let cleaned = clean(path);
        assert!(!cleaned.starts_with('/') && cleaned != ".." && !cleaned.starts_with("../"), "{cleaned}");
    }
    if check_path_windows(path).is_ok() {
        let cleaned = clean(&path.replace('\\', "/"));
        assert!(cleaned != ".." && !cleaned.starts_with("../"), "{cleaned}");
    }
});
