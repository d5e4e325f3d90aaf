#![no_main]
//! Elements of PATH and environments of any shape.

use protocol_buildlet::expand::{PathStyle, dedup_env, env_value, expand_path};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let items: Vec<String> = text.split('\n').map(str::to_owned).collect();
    for style in [PathStyle::UNIX, PathStyle::WINDOWS, PathStyle::PLAN9] {
        let _ = expand_path(&items, &items, "/w", style);
        let once = dedup_env(items.clone(), style.fold_case);
        assert_eq!(env_value(&once, "PATH", false).is_some(), once.iter().any(|e| e.starts_with("PATH=")));
        assert_eq!(dedup_env(once.clone(), style.fold_case), once);
    }
});
