//! Regressions and what is late.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use burrow_web::{Kind, Rendered, words};

use super::{Page, calibrated, framed, percent, rate, shown, signed};
use crate::board::Taken;
use crate::http::Service;
use crate::params::Params;
use crate::series::{Finding, Series, State};

/// Findings on a page at most.
const SHOWN: usize = 200;

/// One change, with its form.
#[derive(Template)]
#[template(path = "finding.html")]
pub(super) struct OneFinding<'f> {
    pub(super) series: &'f Series,
    pub(super) finding: &'f Finding,
    /// The series is named: on pages of several.
    pub(super) named: bool,
    /// Changing needs the token.
    pub(super) guarded: bool,
    pub(super) now_ms: i64,
    pub(super) url: Option<&'f str>,
}

impl OneFinding<'_> {
    fn size(&self) -> String {
        signed(self.finding.size[1])
    }

    fn interval(&self) -> String {
        format!("{} to {}", signed(self.finding.size[0]), signed(self.finding.size[2]))
    }

    fn levels(&self) -> String {
        let unit = &self.series.key.unit;
        if self.series.is_ratio() {
            return format!("ratio {:.4} → {:.4}", self.finding.before, self.finding.after);
        }
        format!("{} → {} {unit}", shown(self.finding.before, unit), shown(self.finding.after, unit))
    }

    fn commit(&self) -> String {
        commit_link(&self.finding.commit, self.url)
    }

    fn rate(&self) -> String {
        rate(self.finding.false_alarms)
    }

    fn class(&self) -> &'static str {
        match self.finding.state {
            State::Open if self.finding.worse => "ft",
            State::Open | State::Recovered => "p",
            State::Acknowledged => "run",
            State::Withdrawn => "s",
        }
    }
}

/// A commit, linked if its page is known.
pub(super) fn commit_link(commit: &str, url: Option<&str>) -> String {
    let short = words::escape(commit.get(..12).unwrap_or(commit));
    match url {
        Some(url) => format!("<a class=\"hash\" href=\"{}\">{short}</a>", words::escape(&url.replace("{commit}", commit))),
        None => format!("<span class=\"hash\" title=\"{}\">{short}</span>", words::escape(commit)),
    }
}

/// Something without new results.
pub(crate) struct Late {
    pub(crate) what: String,
    pub(crate) link: String,
    pub(crate) last_ms: i64,
}

/// Origins (builders) and series that had results and have none any more. Series of an origin that is late are not named one by one; and what has stopped while
/// everything else of its origin goes on is late too.
pub(crate) fn late(service: &Service, all: &[Arc<Series>]) -> Vec<Late> {
    let config = service.site.board.config();
    let limit = service.now_ms().div_euclid(1000) - i64::from(config.watch.late_days) * 86_400;
    let mut origins: BTreeMap<&str, i64> = BTreeMap::new();
    for series in all {
        let last = origins.entry(series.key.label(&config.labels.origin)).or_insert(i64::MIN);
        *last = (*last).max(series.last_s());
    }
    let mut late: Vec<Late> = origins
        .iter()
        .filter(|(_, last)| **last < limit)
        .map(|(origin, last)| Late {
            what: if origin.is_empty() { "all results without a builder".to_owned() } else { format!("{} {origin}", config.labels.origin) },
            link: String::new(),
            last_ms: last.saturating_mul(1000),
        })
        .collect();
    for series in all {
        let origin = origins.get(series.key.label(&config.labels.origin)).copied().unwrap_or(i64::MIN);
        if series.last_s() < limit && origin >= limit {
            late.push(Late {
                what: format!("{} {}", series.key.name, series.key.unit),
                link: format!("/series/{}", series.id),
                last_ms: series.last_s().saturating_mul(1000),
            });
        }
    }
    late
}

#[derive(Template)]
#[template(path = "regressions.html")]
struct Regressions {
    rate: String,
    measured: String,
    counts: Vec<(&'static str, usize)>,
    shown: String,
    items: Vec<String>,
    late: Vec<(String, String, i64)>,
    late_days: u32,
    failed: Vec<(String, Taken)>,
    now_ms: i64,
}

/// The list of changes.
pub(crate) fn regressions(service: &Service, params: &Params) -> Rendered {
    let board = &service.site.board;
    let all = board.all();
    let wanted = if params.text("state").is_empty() { "open" } else { params.text("state") };
    let of = |word: &str, finding: &Finding| match word {
        "improvements" => !finding.worse && finding.state != State::Withdrawn,
        word => finding.worse && finding.state.word() == word,
    };
    let findings = |word: &str| -> Vec<(&Series, &Finding)> {
        all.iter().flat_map(|series| series.findings.iter().map(move |finding| (&**series, finding))).filter(|(_, finding)| of(word, finding)).collect()
    };
    let mut chosen = findings(wanted);
    chosen.sort_by_key(|(series, finding)| {
        std::cmp::Reverse((finding.index.and_then(|at| series.commits.get(at)).map(|commit| commit.at_s), series.key.name.clone()))
    });
    let items = chosen
        .into_iter()
        .take(SHOWN)
        .map(|(series, finding)| {
            let url = board.config().repository(series.key.repository()).and_then(|one| one.commit_url.as_deref());
            let item = OneFinding { series, finding, named: true, guarded: service.site.token.is_some(), now_ms: service.now_ms(), url };
            item.render().unwrap_or_default()
        })
        .collect();
    let middle = Regressions {
        rate: rate(board.config().watch.false_alarms),
        measured: calibrated(&all),
        counts: ["open", "acknowledged", "recovered", "withdrawn", "improvements"].map(|word| (word, findings(word).len())).to_vec(),
        shown: wanted.to_owned(),
        items,
        late: late(service, &all).into_iter().map(|late| (late.what, late.link, late.last_ms)).collect(),
        late_days: board.config().watch.late_days,
        failed: board.failed(),
        now_ms: service.now_ms(),
    };
    framed(service, &Page { title: "Regressions", current: "/regressions", json: "/regressions.json", wide: false, live: false }, &middle)
}

/// The same for programs: all changes.
pub(crate) fn regressions_json(service: &Service) -> Rendered {
    let all = service.site.board.all();
    let list: Vec<serde_json::Value> = all
        .iter()
        .flat_map(|series| {
            series.findings.iter().map(move |finding| {
                let mut one = serde_json::to_value(finding).unwrap_or_default();
                if let Some(map) = one.as_object_mut() {
                    map.insert("series".into(), series.id.clone().into());
                    map.insert("name".into(), series.key.name.clone().into());
                    map.insert("unit".into(), series.key.unit.clone().into());
                    map.insert(
                        "labels".into(),
                        series
                            .key
                            .labels
                            .iter()
                            .map(|(key, value)| (key.clone(), serde_json::Value::from(value.clone())))
                            .collect::<serde_json::Map<_, _>>()
                            .into(),
                    );
                }
                one
            })
        })
        .collect();
    let late: Vec<_> = late(service, &all).into_iter().map(|late| serde_json::json!({"what": late.what, "last": words::rfc3339(late.last_ms)})).collect();
    let body = serde_json::json!({"false_alarms_accepted": service.site.board.config().watch.false_alarms, "changes": list, "late": late});
    Rendered::new(Kind::Json, body.to_string())
}

/// For tiles: what there is to know of noise.
pub(super) fn noise_note(series: &Series) -> String {
    let noise = &series.analysis.noise;
    if noise.floor_20 <= 0.0 {
        String::new()
    } else {
        format!("noise {} · finds {} after 5 commits, {} after 20", percent(noise.spread), percent(noise.floor_5), percent(noise.floor_20))
    }
}
