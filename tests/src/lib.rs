//! What black-box tests ask of a running coordinator, over its public API alone. The tests are in `tests/tests/`.

use serde_json::Value;
use testkit_harness::Burrow;

/// JSON of a page or of the API.
///
/// # Panics
/// The answer is no JSON, or no success.
pub fn json(burrow: &Burrow, path: &str) -> Value {
    let answer = burrow.get(path);
    assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("GET {path}: {error}: {}", answer.text()))
}

/// All builds that match a query such as `builder=x`, newest first.
pub fn builds(burrow: &Burrow, query: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = json(burrow, &format!("/api/v1/builds?limit=200&{query}{cursor}"));
        found.extend(page["items"].as_array().cloned().unwrap_or_default());
        match page["next"].as_i64() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// Waits until there are `count` builds and all of them have ended; returns them.
pub fn all_ended(burrow: &Burrow, count: usize) -> Vec<Value> {
    burrow.until(&format!("{count} ended builds"), |burrow| {
        let builds = builds(burrow, "");
        (builds.len() >= count && builds.iter().all(ended)).then_some(builds)
    })
}

/// Whether nothing will happen to a build any more.
pub fn ended(build: &Value) -> bool {
    !matches!(build["state"].as_str(), Some("queued" | "waiting_machine" | "running"))
}

/// A build, whole.
pub fn build(burrow: &Burrow, id: i64) -> Value {
    json(burrow, &format!("/build/{id}.json"))
}

/// The log of a build's last attempt.
pub fn log(burrow: &Burrow, build: &Value) -> Vec<u8> {
    let hash = build["attempts_list"].as_array().and_then(|attempts| attempts.last()?["log"].as_str()).unwrap_or_else(|| panic!("no log: {build}"));
    let answer = burrow.get(&format!("/log/{hash}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.body
}
