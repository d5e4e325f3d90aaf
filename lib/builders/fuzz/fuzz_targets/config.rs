//! Any text is a configuration or a list of errors that can be shown; a configuration answers every question.
#![no_main]

use burrow_builders::{Config, Document, Pools};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let checked = Document::parse("x.toml", text).and_then(|document| Config::from_document(&document, Pools::Any));
    match checked {
        Err(errors) => {
            assert!(!errors.is_empty());
            let _ = errors.to_string();
        }
        Ok(config) => {
            for name in config.builders.keys() {
                let resolved = config.resolve(name).expect("a builder of a checked configuration has a host and a recipe");
                let json = serde_json::to_string(&resolved).expect("it can be stored");
                assert_eq!(serde_json::from_str::<burrow_builders::ResolvedBuilder>(&json).expect("and read again").recipe, resolved.recipe);
                for branch in ["main", "release/1.2", ""] {
                    let _ = config.decide(name, "x", branch, "main");
                }
                let _ = resolved.skips_test("a", true);
            }
        }
    }
});
