//! The pages for people: status and journal.

use askama::Template;
use burrow_web::{Layout, NavItem, Rendered, words};

use crate::status::{DestStatus, RepoStatus, Status};
use crate::store::{Entry, Wanted};

const NAV: [(&str, &str); 2] = [("/status", "Status"), ("/journal", "Journal")];

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage<'a> {
    status: &'a Status,
}

impl StatusPage<'_> {
    fn count(&self, wanted: impl Fn(&RepoStatus) -> bool) -> usize {
        self.status.repos.iter().filter(|repo| wanted(repo)).count()
    }

    fn bad(&self) -> usize {
        self.count(|repo| repo.first_error().is_some())
    }

    /// Class and word of a repository's badge.
    fn badge(&self, repo: &RepoStatus) -> String {
        let (class, word) = match () {
            () if repo.first_error().is_some() => ("ft", "failing"),
            () if repo.good_ms.is_none() => ("w", "starting"),
            () if repo.doing != "waiting" => ("run", repo.doing),
            () if repo.line != "ok" && !repo.line.starts_with("ok; recent") => ("inf", "attention"),
            () => ("p", "ok"),
        };
        format!("<span class=\"st {class}\">{word}</span>")
    }

    fn dest_badge(&self, dest: &DestStatus) -> String {
        let attention = dest.hold.is_some() || !dest.diverged.is_empty() || !dest.quarantined.is_empty() || !dest.undone.is_empty();
        let (class, word) = match () {
            () if dest.failures > 0 => ("ft", "failing"),
            () if dest.doing != "waiting" => ("run", dest.doing),
            () if attention => ("inf", "attention"),
            () if dest.good_ms.is_none() => ("w", "not yet"),
            () if dest.behind > 0 => ("q", "behind"),
            () => ("p", "equal"),
        };
        format!("<span class=\"st {class}\">{word}</span>")
    }

    fn span(&self, ms: impl std::borrow::Borrow<i64>) -> String {
        words::duration(*ms.borrow())
    }

    fn when(&self, at: &Option<i64>) -> String {
        at.map_or_else(|| "<span class=\"dim\">not yet</span>".to_owned(), |at| words::time_html(at, self.status.now_ms))
    }

    fn short<'s>(&self, hash: &'s str) -> &'s str {
        short(hash)
    }
}

fn short(hash: &str) -> &str {
    if hash.is_empty() { "–" } else { hash.get(..10).unwrap_or(hash) }
}

/// How all repositories are.
pub(crate) fn status(status: &Status) -> Rendered {
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = StatusPage { status }.render_into(&mut body);
    frame("Status", "/status", "/status.json", &status.trouble, status.now_ms, &body)
}

#[derive(Template)]
#[template(path = "journal.html")]
struct JournalPage<'a> {
    entries: &'a [Entry],
    wanted: &'a Wanted,
    now_ms: i64,
}

impl JournalPage<'_> {
    fn short<'s>(&self, hash: &'s str) -> &'s str {
        short(hash)
    }

    fn class(&self, state: &str) -> &'static str {
        match state {
            "done" => "p",
            "refused" => "ft",
            "planned" => "run",
            _ => "s",
        }
    }

    /// Where the next page begins; entries of one push stay together only if it fits.
    fn older(&self) -> Option<String> {
        let last = self.entries.last().filter(|_| self.entries.len() >= 200)?;
        let part = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("&amp;{name}={}", words::escape(value))).unwrap_or_default();
        Some(format!("/journal?before={}{}{}", last.round, part("repo", &self.wanted.repo), part("dest", &self.wanted.dest)))
    }
}

/// What was changed where.
pub(crate) fn journal(entries: &[Entry], wanted: &Wanted, now_ms: i64) -> Rendered {
    let mut body = String::new();
    let _ = JournalPage { entries, wanted, now_ms }.render_into(&mut body);
    frame("Journal", "/journal", "/journal.json", &[], now_ms, &body)
}

fn frame(title: &str, current: &str, json: &str, trouble: &[String], now_ms: i64, body: &str) -> Rendered {
    let nav = NAV.map(|(href, label)| NavItem { href, label, count: String::new() });
    let layout = Layout {
        title,
        site: "gitmirror",
        version: env!("CARGO_PKG_VERSION"),
        nav: &nav,
        current,
        events: "",
        generation: 0,
        trouble,
        json,
        now_ms,
        class: "wide",
        body,
    };
    layout.finish().not_kept()
}
