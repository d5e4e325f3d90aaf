//! Any repository has a recipe that runs something, or a reason why not.
#![no_main]

use burrow_builders::{Detect, Wish, detect_for, outcomes};
use bytes::Bytes;

const FILES: [&str; 8] = ["burrow.toml", "go.mod", "Cargo.toml", "package.json", "pnpm-lock.yaml", "Makefile", "GNUmakefile", "src/all.bash"];

libfuzzer_sys::fuzz_target!(|input: (u8, bool, &[u8])| {
    let (present, race, content) = input;
    let here = |name: &str| FILES.iter().position(|file| *file == name).is_some_and(|at| present & (1 << at) != 0);
    let read = |name: &str| here(name).then(|| Bytes::copy_from_slice(content));
    let mut root: Vec<String> = FILES.iter().filter(|name| here(name) && !name.contains('/')).map(|name| (*name).to_owned()).collect();
    root.push("src/".to_owned());
    let rules = Detect { allow_file: true, checkout: String::new() };
    match detect_for(&rules, Wish { race, long: false }, &read, &root) {
        Err(none) => assert!(!none.to_string().is_empty()),
        Ok(found) => {
            assert!(found.recipe.steps.iter().all(|step| !step.run.is_empty() && !step.name.is_empty()));
            if let Some(tests) = &found.recipe.tests {
                if let Ok(names) = tests.names(content) {
                    let _ = tests.command("linux", &names);
                    let told = outcomes(&tests.output, &names, false, content);
                    assert!(told.len() == names.len() && told.iter().all(|outcome| content.get(outcome.output.clone()).is_some()));
                }
            }
        }
    }
});
