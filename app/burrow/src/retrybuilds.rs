//! `burrow retrybuilds`: reads the list of failures, chooses, and asks for new builds (`dashboard.md` §6).

use std::process::ExitCode;
use std::sync::Mutex;

use burrow_results::retry::{Failure as Failed, FlakyRules, Selector, failures};
use serde_json::json;

use crate::cli::RetrybuildsArgs;
use crate::client::{Client, Trouble, escape, read_secret};
use crate::failure::Failure;

/// Logs that are read at a time.
const READERS: usize = 16;
/// Tries at a dashboard that says its store is busy, and the text by which it says so (`dashboard.md` §4.5).
const TRIES: u32 = 10;
const BUSY: &str = "datastore: concurrent transaction";

/// How a dashboard is asked to forget a result.
enum Way {
    /// Our own API: the old build is kept and marked superseded.
    Retry,
    /// The classic `/clear-results`, with a key.
    Clear(Key),
}

enum Key {
    Same(String),
    FromMaster(String),
}

pub(crate) fn run(args: RetrybuildsArgs) -> Result<ExitCode, Failure> {
    let selector = Selector::from_flags(&args.loghash, &args.substr, args.redo_flaky, &args.builder, &args.hash).map_err(Failure::usage)?;
    let rules = rules(args.rules.as_deref())?;
    let way = match (&args.key, &args.masterkey) {
        (Some(key), _) => Way::Clear(Key::Same(read_secret(key)?)),
        (None, Some(master)) if args.sendmaster => Way::Clear(Key::Same(read_secret(master)?)),
        (None, Some(master)) => Way::Clear(Key::FromMaster(read_secret(master)?)),
        (None, None) => Way::Retry,
    };
    let client = Client::new(&args.builder_prefix, args.token_file.as_deref())?;
    let list = client.get(&format!("/?mode=failures&branch={}&repo={}", escape(&args.branch), escape(&args.repo)))?;
    let list = failures(&list);
    let chosen = choose(&client, &selector, &rules, &list)?;

    for (failed, reason) in &chosen {
        println!("{} {} {}{}", short(&failed.hash), failed.builder, failed.log_url, if reason.is_empty() { String::new() } else { format!(" ({reason})") });
    }
    let counted = format!("{} of {} failures on branch {}", chosen.len(), list.len(), args.branch);
    if args.dry_run {
        println!("{counted} would be built again; give --dry-run=false to do it");
        return Ok(ExitCode::SUCCESS);
    }
    let mut refused = 0;
    for (failed, _) in &chosen {
        if let Err(trouble) = again(&client, &way, failed, &args.reason) {
            refused += 1;
            eprintln!("{} {}: {}", short(&failed.hash), failed.builder, Failure::from(trouble));
        }
    }
    if refused > 0 {
        return Err(Failure::infrastructure(format!("{refused} of {} were refused", chosen.len())));
    }
    println!("{counted} are built again");
    Ok(ExitCode::SUCCESS)
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn rules(path: Option<&std::path::Path>) -> Result<FlakyRules, Failure> {
    let (name, text) = match path {
        Some(path) => (path.display().to_string(), std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?),
        None => ("built-in rules".into(), include_str!("../../../env/flaky.toml").to_owned()),
    };
    toml::from_str(&text).map_err(|error| Failure::usage(format!("{name}: {error}")))
}

/// Those of the list that are meant, with the reason where there is one; logs are read several at a time.
fn choose<'f>(client: &Client, selector: &Selector, rules: &FlakyRules, list: &'f [Failed]) -> Result<Vec<(&'f Failed, String)>, Failure> {
    let candidates: Vec<&Failed> = list.iter().filter(|failed| selector.may_match(failed)).collect();
    if !selector.needs_log() {
        return Ok(candidates.into_iter().map(|failed| (failed, String::new())).collect());
    }
    let next = Mutex::new(candidates.iter().enumerate());
    let chosen = Mutex::new(Vec::new());
    let trouble = Mutex::new(None);
    let lock = |error: std::sync::PoisonError<_>| error.into_inner();
    std::thread::scope(|scope| {
        for _ in 0..READERS.min(candidates.len()) {
            scope.spawn(|| {
                loop {
                    let Some((at, failed)) = next.lock().unwrap_or_else(|error| error.into_inner()).next() else { return };
                    match client.get(&format!("/log/{}", failed.log_hash())) {
                        Ok(log) if selector.log_matches(&log, rules) => {
                            let reason = if matches!(selector, Selector::Flaky { .. }) { rules.reason(&log).unwrap_or_default() } else { String::new() };
                            chosen.lock().unwrap_or_else(|error| error.into_inner()).push((at, *failed, reason));
                        }
                        Ok(_) => {}
                        Err(error) => *trouble.lock().unwrap_or_else(|error| error.into_inner()) = Some(error),
                    }
                }
            });
        }
    });
    if let Some(trouble) = trouble.into_inner().unwrap_or_else(lock) {
        return Err(trouble.into());
    }
    let mut chosen = chosen.into_inner().unwrap_or_else(|error| error.into_inner());
    chosen.sort_by_key(|(at, _, _)| *at);
    Ok(chosen.into_iter().map(|(_, failed, reason)| (failed, reason)).collect())
}

fn again(client: &Client, way: &Way, failed: &Failed, reason: &str) -> Result<(), Trouble> {
    let key = match way {
        Way::Retry => {
            let filter = json!({"builder": failed.builder, "commit": failed.hash, "state": "failed"});
            let answer = client.post_json("/api/v1/retry", &json!({"filter": filter, "dry_run": false, "actor": "retrybuilds", "reason": reason}))?;
            let refused = answer.get("refused").and_then(|refused| refused.get(0)?.get("error")?.as_str());
            return match refused {
                Some(why) => Err(Trouble::Refused(409, why.to_owned())),
                None => Ok(()),
            };
        }
        Way::Clear(Key::Same(key)) => key.clone(),
        Way::Clear(Key::FromMaster(master)) => {
            protocol_revdial::builder_key(master, &failed.builder).map_err(|error| Trouble::Refused(400, error.to_string()))?
        }
    };
    let path = format!("/clear-results?builder={}&hash={}&key={}", escape(&failed.builder), escape(&failed.hash), escape(&key));
    let mut tries = 1;
    loop {
        let text = client.post_empty(&path)?;
        let error = serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|answer| answer.get("Error")?.as_str().map(str::to_owned));
        match error.as_deref() {
            Some("") => return Ok(()),
            Some(BUSY) if tries < TRIES => {
                // The dashboard's own clients wait a second, too.
                std::thread::park_timeout(std::time::Duration::from_secs(1));
                tries += 1;
            }
            Some(error) => return Err(Trouble::Refused(400, error.replace(&key, "…"))),
            None => return Err(Trouble::Unreachable(format!("{} answered, but it is no dashboard", client.base()))),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_built_in_rules_are_read() {
        let rules = super::rules(None).unwrap();
        assert!(rules.reason("a\nb\nc\nmake: *** Killed\n").is_some());
        assert!(rules.reason("a\nb\nc\n--- FAIL: TestX\n").is_none());
    }
}
