//! A series with what is found in it: changes, noise, and what people said about them.

use std::collections::BTreeMap;

use burrow_changepoint::{Analysis, Calibration, ChangePoint, Options, Series as Detector, calibrate};
use serde::{Deserialize, Serialize};

use crate::points::{Key, Level, Point};

/// Points of an A/A calibration of one series.
const CALIBRATED: usize = 1_000;
/// A new change is told only if it is among the last so many commits: what is older was there before anybody watched.
const RECENT: usize = 30;

/// What is with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has looked.
    Open,
    /// Somebody knows.
    Acknowledged,
    /// The level came back.
    Recovered,
    /// Later values showed that it was noise.
    Withdrawn,
}

impl State {
    /// As a word.
    pub fn word(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Acknowledged => "acknowledged",
            State::Recovered => "recovered",
            State::Withdrawn => "withdrawn",
        }
    }

    /// From that word.
    pub fn parse(word: &str) -> Option<State> {
        [State::Open, State::Acknowledged, State::Recovered, State::Withdrawn].into_iter().find(|state| state.word() == word)
    }
}

/// A change as people see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The first commit of the new level. It names the finding.
    pub commit: String,
    /// When it was found, Unix milliseconds.
    pub found_ms: i64,
    /// What is with it.
    pub state: State,
    /// Who looks after it.
    pub assignee: String,
    /// What people wrote.
    pub note: String,
    /// Who said so last.
    pub by: String,
    /// Whether it was told to the webhook, or need not be.
    pub told: bool,
    /// Worse (or better).
    pub worse: bool,
    /// The place among the series' commits; `None` for one that was withdrawn.
    pub index: Option<usize>,
    /// Level before.
    pub before: f64,
    /// Level after.
    pub after: f64,
    /// Size and its interval, as part of the level before.
    pub size: [f64; 3],
    /// How many such changes noise alone makes per point.
    pub false_alarms: f64,
}

/// A commit of a series: of several points the median counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The commit.
    pub hash: String,
    /// When it was made, Unix seconds.
    pub at_s: i64,
    /// What is looked at: measured values, or ratios where there are no values.
    pub value: f64,
    /// Index of its first point.
    pub point: usize,
}

/// A series.
#[derive(Debug, Clone)]
pub struct Series {
    /// Name in addresses.
    pub id: String,
    /// What it is of.
    pub key: Key,
    /// Larger is better.
    pub higher: bool,
    /// Points, by time of the commit.
    pub points: Vec<Point>,
    /// Its commits, in order.
    pub commits: Vec<Commit>,
    /// What was found.
    pub analysis: Analysis,
    /// What is reported where nothing changed.
    pub calibration: Calibration,
    /// How many commits there were when that was measured.
    calibrated: usize,
    /// What looks at the values, so that one more costs little.
    detector: Detector,
    /// Changes, newest first.
    pub findings: Vec<Finding>,
}

/// What a series is of, and what is better.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Name in addresses.
    pub id: String,
    /// What it is of.
    pub key: Key,
    /// Larger is better.
    pub higher: bool,
}

impl Series {
    /// From its points. `known`: findings of before; `old`: the series of before, whose work is taken over as far as its values are the same.
    pub fn new(identity: Identity, mut points: Vec<Point>, known: &[Finding], old: Option<&Series>, options: &Options, now_ms: i64) -> Series {
        let Identity { id, key, higher } = identity;
        points.sort_by(|a, b| (a.at_s, &a.commit, &a.upload).cmp(&(b.at_s, &b.commit, &b.upload)));
        let commits = commits(&points);
        let values: Vec<f64> = commits.iter().map(|commit| commit.value).collect();
        let begins_alike = |old: &&Series| old.commits.len() <= values.len() && old.commits.iter().zip(&values).all(|(commit, value)| commit.value == *value);
        let old = old.filter(begins_alike);
        let mut detector = old.map_or_else(|| Detector::new(*options), |old| old.detector.clone());
        detector.extend(values.iter().skip(detector.len()).copied());
        let analysis = detector.analysis();
        // Noise does not change its nature by a few more commits.
        let (calibration, calibrated) = match old {
            Some(old) if values.len() <= old.calibrated + old.calibrated / 10 => (old.calibration, old.calibrated),
            _ => (calibrate(&values, options, (CALIBRATED / values.len().max(1)).clamp(1, 20), 1), values.len()),
        };
        let mut series = Series { id, key, higher, points, commits, analysis, calibration, calibrated, detector, findings: Vec::new() };
        series.findings = series.match_findings(known, now_ms);
        series
    }

    /// Points as they would be drawn: ratio to the baseline if all have one, else what was measured.
    pub fn is_ratio(&self) -> bool {
        self.points.iter().all(|point| point.value.is_none())
    }

    /// The last moment with a result, Unix seconds.
    pub fn last_s(&self) -> i64 {
        self.points.last().map_or(0, |point| point.at_s)
    }

    /// The level to draw of a point.
    pub fn level(&self, point: &Point) -> Option<Level> {
        if self.is_ratio() { point.ratio } else { point.value }
    }

    fn match_findings(&self, known: &[Finding], now_ms: i64) -> Vec<Finding> {
        let place: BTreeMap<&str, usize> = self.commits.iter().enumerate().map(|(at, commit)| (commit.hash.as_str(), at)).collect();
        let mut open: Vec<&Finding> = known.iter().collect();
        let mut findings = Vec::new();
        for change in &self.analysis.change_points {
            let Some(commit) = self.commits.get(change.index) else { continue };
            // New values may move a change by some places: it is the same one then, and keeps what people said. Its name is kept, too.
            let near = |finding: &Finding| {
                let at = place.get(finding.commit.as_str()).copied();
                at.is_some_and(|at| (change.earliest.saturating_sub(2)..=change.latest + 2).contains(&at))
            };
            let old = open.iter().position(|finding| finding.commit == commit.hash).or_else(|| open.iter().position(|finding| near(finding)));
            let old = old.map(|at| open.remove(at));
            findings.push(self.finding(change, commit, old, now_ms));
        }
        // What is no change any more: kept for the record, without a place.
        findings.extend(open.into_iter().map(|finding| Finding { state: State::Withdrawn, index: None, told: true, ..finding.clone() }));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.index));
        findings
    }

    fn finding(&self, change: &ChangePoint, commit: &Commit, old: Option<&Finding>, now_ms: i64) -> Finding {
        let up = change.after > change.before;
        let state = match old.map(|old| old.state) {
            _ if change.recovered.is_some() => State::Recovered,
            Some(State::Acknowledged) => State::Acknowledged,
            _ => State::Open,
        };
        let recent = self.commits.len() - change.index <= RECENT;
        let worse = up != self.higher;
        Finding {
            commit: commit.hash.clone(),
            found_ms: old.map_or(now_ms, |old| old.found_ms),
            state,
            assignee: old.map(|old| old.assignee.clone()).unwrap_or_default(),
            note: old.map(|old| old.note.clone()).unwrap_or_default(),
            by: old.map(|old| old.by.clone()).unwrap_or_default(),
            told: old.map_or(!(recent && worse && change.recovered.is_none()), |old| old.told),
            worse,
            index: Some(change.index),
            before: change.before,
            after: change.after,
            size: [change.size.low, change.size.center, change.size.high],
            false_alarms: change.false_alarms,
        }
    }

    /// Whether the newest level is worse than it was at some change that nobody closed.
    pub fn worst_open(&self) -> Option<&Finding> {
        let open = self.findings.iter().filter(|finding| finding.worse && finding.state == State::Open);
        open.max_by(|a, b| a.size[1].abs().total_cmp(&b.size[1].abs()))
    }
}

fn commits(points: &[Point]) -> Vec<Commit> {
    let mut commits: Vec<(Commit, Vec<f64>)> = Vec::new();
    let ratio = points.iter().all(|point| point.value.is_none());
    for (number, point) in points.iter().enumerate() {
        let Some(level) = (if ratio { point.ratio } else { point.value }) else { continue };
        match commits.last_mut() {
            Some((commit, values)) if commit.hash == point.commit => values.push(level.center),
            _ => commits.push((Commit { hash: point.commit.clone(), at_s: point.at_s, value: level.center, point: number }, vec![level.center])),
        }
    }
    commits
        .into_iter()
        .map(|(mut commit, mut values)| {
            values.sort_by(f64::total_cmp);
            commit.value = burrow_benchstat::math::ratio::median(&values);
            commit
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burrow_changepoint::simulate::{Kind, stepped};

    fn points(values: &[f64]) -> Vec<Point> {
        let level = |value: f64| Some(Level { low: None, center: value, high: None });
        let point = |(at, value): (usize, &f64)| Point {
            commit: format!("{at:04}"),
            at_s: at as i64 * 60,
            upload: format!("u{at}"),
            baseline: String::new(),
            benchmarks: String::new(),
            value: level(*value),
            base: None,
            ratio: None,
            runs: 10,
        };
        values.iter().enumerate().map(point).collect()
    }

    fn series(values: &[f64], known: &[Finding]) -> Series {
        let key = Key { name: "A".into(), unit: "sec/op".into(), labels: Vec::new() };
        Series::new(Identity { id: "id".into(), key, higher: false }, points(values), known, None, &Options::default(), 5)
    }

    #[test]
    fn a_finding_keeps_what_people_said_and_closes_when_the_level_comes_back() {
        let values = stepped(Kind::Gaussian, 4, 160, 100.0, 0.01, &[(100, 0.06), (130, -0.0566)]);
        let first = series(&values[..115], &[]);
        assert_eq!(first.findings.len(), 1);
        let mut finding = first.findings[0].clone();
        assert!(finding.worse && !finding.told && finding.state == State::Open && finding.index.unwrap().abs_diff(100) <= 1);
        (finding.state, finding.assignee, finding.told) = (State::Acknowledged, "ada".into(), true);
        let second = series(&values[..125], std::slice::from_ref(&finding));
        assert_eq!(
            (second.findings.len(), second.findings[0].state, second.findings[0].assignee.as_str(), second.findings[0].told),
            (1, State::Acknowledged, "ada", true)
        );
        let third = series(&values, &second.findings);
        let old = third.findings.iter().find(|one| one.worse).unwrap();
        assert_eq!((third.findings.len(), old.state, old.assignee.as_str()), (2, State::Recovered, "ada"));
        assert!(third.worst_open().is_none());
    }

    #[test]
    fn what_turns_out_to_be_noise_is_withdrawn_and_old_changes_are_not_told() {
        let values = stepped(Kind::Gaussian, 4, 200, 100.0, 0.01, &[(100, 0.06)]);
        let found = series(&values, &[]);
        assert!(found.findings[0].told, "a hundred commits ago");
        let quiet = series(&values[..90], &[Finding { commit: "0050".into(), ..found.findings[0].clone() }]);
        assert_eq!((quiet.findings[0].state, quiet.findings[0].index), (State::Withdrawn, None));
    }

    #[test]
    fn work_that_is_taken_over_does_not_change_the_answer() {
        let values = stepped(Kind::HeavyTailed, 6, 700, 100.0, 0.01, &[(300, 0.06), (640, 0.06)]);
        let whole = series(&values, &[]);
        let mut growing = series(&values[..600], &[]);
        for len in [650, 651, 700] {
            let identity = Identity { id: "id".into(), key: growing.key.clone(), higher: false };
            growing = Series::new(identity, points(&values[..len]), &[], Some(&growing), &Options::default(), 5);
        }
        assert_eq!((&growing.analysis, &growing.findings), (&whole.analysis, &whole.findings));
        // A value of the past that changed is noticed.
        let mut other = values.clone();
        other[100] = 50.0;
        let identity = Identity { id: "id".into(), key: growing.key.clone(), higher: false };
        assert_eq!(Series::new(identity, points(&other), &[], Some(&growing), &Options::default(), 5).analysis, series(&other, &[]).analysis);
    }

    #[test]
    fn several_uploads_of_a_commit_are_one_value() {
        let mut all = points(&[1.0, 2.0, 3.0]);
        all.push(Point { upload: "again".into(), ..points(&[9.0])[0].clone() });
        let found = commits(&{
            let mut sorted = all;
            sorted.sort_by_key(|point| point.at_s);
            sorted
        });
        assert_eq!(found.iter().map(|commit| commit.value).collect::<Vec<_>>(), [5.0, 2.0, 3.0]);
    }
}
