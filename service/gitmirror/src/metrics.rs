//! Numbers for Prometheus.

use std::fmt::Write as _;

use crate::status::Status;

/// All of them, in the text format.
pub fn text(status: &Status) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, f64)>| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    type Number<T> = fn(&T, &Status) -> Option<f64>;
    let repos = |of: Number<crate::status::RepoStatus>| -> Vec<(String, f64)> {
        status.repos.iter().filter_map(|repo| Some((format!("{{repo=\"{}\"}}", repo.name), of(repo, status)?))).collect()
    };
    let dests = |of: Number<crate::status::DestStatus>| -> Vec<(String, f64)> {
        let pairs = status.repos.iter().flat_map(|repo| repo.dests.iter().map(move |dest| (repo, dest)));
        pairs.filter_map(|(repo, dest)| Some((format!("{{repo=\"{}\",dest=\"{}\"}}", repo.name, dest.name), of(dest, status)?))).collect()
    };
    family("burrow_gitmirror_healthy", "gauge", "Whether nothing is beyond its limit.", vec![(String::new(), f64::from(u8::from(status.healthy)))]);
    family(
        "burrow_gitmirror_repo_healthy",
        "gauge",
        "Whether nothing of the repository is beyond its limit.",
        repos(|r, _| Some(f64::from(u8::from(r.unhealthy.is_empty())))),
    );
    family("burrow_gitmirror_looks_total", "counter", "Looks at the upstream.", repos(|r, _| Some(r.rounds as f64)));
    family("burrow_gitmirror_fetches_total", "counter", "Looks that changed something.", repos(|r, _| Some(r.fetches as f64)));
    family("burrow_gitmirror_look_failures", "gauge", "Failed looks since the last good one.", repos(|r, _| Some(f64::from(r.failures))));
    family("burrow_gitmirror_look_stuck_total", "counter", "Looks that were stuck and killed.", repos(|r, _| Some(r.stuck as f64)));
    family("burrow_gitmirror_look_age_seconds", "gauge", "Time since the last good look.", repos(|r, s| Some((s.now_ms - r.good_ms?) as f64 / 1000.0)));
    family("burrow_gitmirror_refs", "gauge", "References here.", repos(|r, _| Some(r.refs as f64)));
    family(
        "burrow_gitmirror_lag_seconds",
        "gauge",
        "Time for which upstream has had a value that the destination lacks.",
        dests(|d, _| Some(d.lag_ms as f64 / 1000.0)),
    );
    family(
        "burrow_gitmirror_last_lag_seconds",
        "gauge",
        "Longest time from seeing a change to its being at the destination, of the last push.",
        dests(|d, _| Some(d.last_lag_ms? as f64 / 1000.0)),
    );
    family("burrow_gitmirror_behind_refs", "gauge", "References that are behind.", dests(|d, _| Some(d.behind as f64)));
    family("burrow_gitmirror_diverged_refs", "gauge", "References that somebody else moved.", dests(|d, _| Some(d.diverged.len() as f64)));
    family("burrow_gitmirror_quarantined_refs", "gauge", "References that the destination refuses.", dests(|d, _| Some(d.quarantined.len() as f64)));
    family(
        "burrow_gitmirror_held_deletions",
        "gauge",
        "Deletions that wait for a confirmation.",
        dests(|d, _| Some(d.hold.as_ref().map_or(0, |h| h.count) as f64)),
    );
    family("burrow_gitmirror_pushed_refs_total", "counter", "References changed at the destination.", dests(|d, _| Some(d.pushed as f64)));
    family("burrow_gitmirror_push_rounds_total", "counter", "Rounds of pushing.", dests(|d, _| Some(d.rounds as f64)));
    family("burrow_gitmirror_push_failures", "gauge", "Failed rounds since the last good one.", dests(|d, _| Some(f64::from(d.failures))));
    family("burrow_gitmirror_push_stuck_total", "counter", "Rounds that were stuck and killed.", dests(|d, _| Some(d.stuck as f64)));
    out
}
