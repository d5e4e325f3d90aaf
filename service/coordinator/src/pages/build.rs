//! The page of a build: how it ended and why, what it did, what it said.

use std::collections::HashSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use burrow_results::model::{BuildId, BuildState};
use burrow_results::view::{Attempt, Build};
use burrow_web::{Problem, words};
use serde::Deserialize;

use super::log_view::{self, Shown};
use super::{Page, failures, middle, state};
use crate::http::{Site, database, json, json_ending, nothing};

/// Something that failed, as the page lists it.
struct Failure {
    name: String,
    /// It passed when it was run again.
    passed_later: bool,
    runs: String,
    excerpt: String,
    /// Anchor of the line that says so; empty if it is not on the page.
    anchor: String,
}

#[derive(Template)]
#[template(path = "build.html")]
struct View<'a> {
    build: &'a Build,
    project: &'a str,
    last: Option<&'a Attempt>,
    earlier: Vec<&'a Attempt>,
    failures: Vec<Failure>,
    /// A comparison of benchmarks that the log holds; empty if it holds none.
    benchmarks: String,
    /// Tests that are counted as failed, though the log blames others of the same command.
    beside: String,
    log: String,
    log_size: i64,
    next_line: u64,
    log_note: String,
    spec: String,
    now: i64,
}

impl View<'_> {
    fn open(&self) -> bool {
        !self.build.line.state.ended()
    }

    fn timeline(&self, attempt: &Attempt) -> String {
        timeline(attempt, self.now)
    }

    fn waited(&self) -> String {
        let line = &self.build.line;
        state::took_since(line.created_ms, line.started_ms.or(line.ended_ms), self.now)
    }

    /// Bytes of finished log already on the page; the growing rest follows from there.
    fn tail(&self) -> String {
        match self.last {
            Some(attempt) if !attempt.state.ended() && self.next_line > 0 => format!("/attempt/{}/tail?offset={}", attempt.id, self.log_size),
            _ => String::new(),
        }
    }

    fn raw(&self) -> String {
        match self.last {
            Some(Attempt { log: Some(hash), .. }) => format!("/log/{hash}"),
            Some(attempt) => format!("/attempt/{}/log", attempt.id),
            None => String::new(),
        }
    }
}

fn id(text: &str) -> Result<BuildId, Problem> {
    text.parse().map(BuildId).map_err(|_| nothing(format!("{text:?} is not the number of a build."), "Builds are numbered; follow a link of a grid."))
}

/// A build with why it waits.
pub(crate) async fn build_view(site: &Site, id: BuildId) -> Result<Build, Problem> {
    let Some(mut build) = site.results().build(id).await.map_err(database)? else {
        return Err(nothing(format!("There is no build {id}."), "It may belong to another installation."));
    };
    if !build.line.state.ended() {
        build.waiting = site.control().live().waiting.iter().find(|(waiting, _, _)| *waiting == id).map(|(_, _, why)| why.clone());
    }
    Ok(build)
}

/// `GET /build/{id}`.
pub(crate) async fn build(State(site): State<Arc<Site>>, Path(name): Path<String>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let (name, data) = json_ending(&name, &headers);
    let id = id(name)?;
    site.cached(&uri, &headers, async |stamp| {
        let build = build_view(&site, id).await?;
        if data {
            return json(&build);
        }
        let project =
            site.results().repos().await.map_err(database)?.into_iter().find(|repo| repo.name == build.line.repo).map_or(String::new(), |repo| repo.project);
        let last = build.attempts_list.last();
        let (shown, log_note) = match last {
            None => (Shown::default(), String::new()),
            Some(attempt) => match log_view::load(&site, attempt).await {
                Ok(shown) => (shown, String::new()),
                Err(problem) => (Shown::default(), problem.detail),
            },
        };
        let (failures, beside, bad) = failed(&build, &shown);
        // A log that is still written has no whole comparison yet, and would be searched again at every look.
        let lines: Vec<String> = if build.line.state.ended() { shown.plain().into_iter().map(|(_, _, text)| text).collect() } else { Vec::new() };
        let benchmarks = protocol_benchfmt::section::find(&lines).map_or(String::new(), |lines| lines.join("\n"));
        let log_url = format!("/build/{id}/log");
        let body = middle(&View {
            project: &project,
            last,
            earlier: build.attempts_list.iter().rev().skip(1).collect(),
            log: shown.html(&bad, &log_url),
            log_size: i64::try_from(shown.size).unwrap_or(i64::MAX),
            next_line: shown.next_line(),
            log_note,
            failures,
            benchmarks,
            beside,
            spec: serde_json::to_string_pretty(&build.spec).unwrap_or_default(),
            now: site.now_ms(),
            build: &build,
        })?;
        let title = format!("{} {} {}", state::long(build.line.state, build.line.flaky), build.line.builder, state::abbreviated(&build.line.hash));
        let events = if build.line.state.ended() && build.newer.is_none() { String::new() } else { format!("/events?build={id}") };
        let page = Page { title: &title, events: &events, json: &format!("/build/{id}.json"), ..Page::default() }.finish(&site, Some(stamp), &body);
        Ok(if last.is_some_and(|attempt| !attempt.state.ended()) { page.not_kept() } else { page })
    })
    .await
}

/// What failed, from the test results and from the log, and which log lines say so.
fn failed(build: &Build, shown: &Shown) -> (Vec<Failure>, String, HashSet<(usize, usize)>) {
    let verdict = build.line.state;
    if !verdict.failed() && verdict != BuildState::InfraFailed && !build.line.flaky && build.failures.is_empty() {
        return (Vec::new(), String::new(), HashSet::new());
    }
    let lines = shown.plain();
    let texts: Vec<&str> = lines.iter().map(|(_, _, text)| text.as_str()).collect();
    let mut found = failures::find(&texts);
    let bad = found.iter().filter_map(|finding| lines.get(finding.at)).map(|(part, index, _)| (*part, *index)).collect();
    let show = |name: String, finding: Option<&failures::Finding>, passed_later: bool, runs: String| {
        let anchor = finding
            .and_then(|finding| lines.get(finding.at))
            .and_then(|(part, index, _)| Some(format!("#L{}", shown.parts.get(*part)?.first? + *index as u64)))
            .unwrap_or_default();
        let excerpt =
            finding.and_then(|finding| texts.get(finding.lines.clone())).map(|lines| lines.join("\n")).filter(|text| *text != name).unwrap_or_default();
        Failure { name, passed_later, runs, excerpt, anchor }
    };
    let (mut list, mut unsaid) = (Vec::new(), Vec::new());
    for failure in &build.failures {
        // Runners name a test with or without the package before it.
        let at = found.iter().position(|finding| {
            finding.test
                && (finding.name == failure.test
                    || failure.test.ends_with(&format!("/{}", finding.name))
                    || failure.test.ends_with(&format!("::{}", finding.name)))
        });
        let finding = at.map(|at| found.remove(at));
        let runs = if failure.failed_runs + failure.passed_runs > 1 {
            format!("failed {} of {} runs", failure.failed_runs, failure.failed_runs + failure.passed_runs)
        } else {
            String::new()
        };
        if finding.is_none() && failure.passed_runs == 0 {
            unsaid.push(failure.test.clone());
        } else {
            list.push(show(failure.test.clone(), finding.as_ref(), failure.passed_runs > 0, runs));
        }
    }
    // A command runs several tests: when the log names the culprits, the others only ran beside them.
    let beside = list.iter().any(|failure| !failure.passed_later && !failure.excerpt.is_empty()) && !unsaid.is_empty();
    let beside = if beside { std::mem::take(&mut unsaid).join(", ") } else { String::new() };
    list.extend(unsaid.into_iter().map(|name| show(name, None, false, String::new())));
    if verdict != BuildState::Passed {
        list.extend(found.iter().map(|finding| show(finding.name.clone(), Some(finding), false, String::new())));
    }
    (list, beside, bad)
}

/// The steps of an attempt as rows with bars; the bars are SVG, because the security policy allows no inline style.
fn timeline(attempt: &Attempt, now: i64) -> String {
    let begin = attempt.assigned_ms;
    let end = attempt.ended_ms.unwrap_or(now).max(begin + 1);
    let scale = |at: i64| ((at - begin).clamp(0, end - begin) * 1000 / (end - begin)).max(0);
    let mut out = String::from("<div class=scroll><table class=steps><tbody>");
    for step in &attempt.steps {
        let (class, word) = state::of_step(step.state);
        out.push_str("<tr><td class=name title=\"");
        words::escape_into(&mut out, &step.name);
        out.push_str("\">");
        words::escape_into(&mut out, &step.name);
        let tests = if step.kind == burrow_results::model::StepKind::Shard { step.detail.lines().count() } else { 0 };
        if tests > 0 {
            out.push_str(&format!(" <span class=dim>{tests} tests</span>"));
        }
        out.push_str(&format!("<td><span class=\"g {class}\">{word}</span>"));
        if let Some(code) = step.exit_code.filter(|code| *code != 0) {
            out.push_str(&format!(" <span class=dim>status {code}</span>"));
        }
        if let Some(signal) = &step.signal {
            out.push_str(" <span class=dim>");
            words::escape_into(&mut out, signal);
            out.push_str("</span>");
        }
        // A word or two stand beside the state, a sentence below it.
        let aside = tests == 0 && step.detail.len() <= 40;
        if aside && !step.detail.is_empty() {
            out.push_str(" <span class=dim>");
            words::escape_into(&mut out, &step.detail);
            out.push_str("</span>");
        }
        out.push_str("<td class=track><svg viewBox=\"0 0 1000 14\" preserveAspectRatio=none aria-hidden=true><rect class=rail width=1000 height=14 rx=3 />");
        if let Some(from) = step.started_ms {
            let (from, to) = (scale(from), scale(step.ended_ms.unwrap_or(end)));
            out.push_str(&format!("<rect class={class} x={from} width={} height=14 rx=3 />", (to - from).max(4)));
        }
        out.push_str("</svg><td class=\"num right\">");
        out.push_str(&state::took(step.started_ms, step.ended_ms.or(attempt.ended_ms), now));
        if !step.detail.is_empty() && tests == 0 && !aside {
            out.push_str("<tr><td colspan=4 class=dim>");
            words::escape_into(&mut out, &step.detail);
        }
    }
    out.push_str("</tbody></table></div>");
    out
}

/// A range of lines.
#[derive(Debug, Deserialize)]
pub(crate) struct Range {
    from: Option<u64>,
    to: Option<u64>,
}

/// Lines of a range at most.
const RANGE: u64 = 5_000;

#[derive(Template)]
#[template(path = "log_lines.html")]
struct LinesView {
    id: BuildId,
    builder: String,
    from: u64,
    to: u64,
    earlier: Option<(u64, u64)>,
    later: Option<(u64, u64)>,
    raw: String,
    log: String,
}

/// `GET /build/{id}/log?from=&to=`: a range of lines of the last attempt's log.
pub(crate) async fn log_lines(
    State(site): State<Arc<Site>>,
    Path(name): Path<String>,
    Query(range): Query<Range>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = id(&name)?;
    let from = range.from.unwrap_or(1).max(1);
    let to = range.to.unwrap_or(from + 1_999).clamp(from, from + RANGE - 1);
    site.cached(&uri, &headers, async |stamp| {
        let build = build_view(&site, id).await?;
        let Some(attempt) = build.attempts_list.last() else {
            return Err(nothing(format!("Build {id} has no log: it has not begun."), "Its page says why."));
        };
        let part = log_view::lines(&site, attempt.id, from, to).await?;
        let shown_to = from + part.lines.len() as u64;
        let mut log = String::new();
        part.html(&mut log, |_| false);
        let width = to - from + 1;
        let body = middle(&LinesView {
            id,
            builder: build.line.builder.clone(),
            from,
            to: shown_to.saturating_sub(1),
            earlier: (from > 1).then(|| (from.saturating_sub(width).max(1), from - 1)),
            later: (shown_to > to).then_some((to + 1, to + width)),
            raw: attempt.log.as_ref().map_or_else(|| format!("/attempt/{}/log", attempt.id), |hash| format!("/log/{hash}")),
            log,
        })?;
        Ok(Page { title: &format!("Lines {from} to {to} of build {id}"), ..Page::default() }.finish(&site, Some(stamp), &body))
    })
    .await
}
