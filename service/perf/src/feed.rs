//! The feed of changes and alarms: Atom (RFC 4287), for whoever wants to be told without a webhook.
//!
//! An entry is a change of level, or something that has had no results for too long; its `id` stays the same whatever becomes of it, and its text says what is with it
//! now. Links are relative to the feed's address, so they are right behind any proxy.

use std::fmt::Write as _;

use burrow_web::words::{escape, rfc3339};

use crate::http::Service;
use crate::pages::{Late, escaped, late, shown, signed};
use crate::params::Params;
use crate::series::{Finding, Series, State};

/// Entries at most: readers keep the older ones themselves.
const ENTRIES: usize = 100;

struct Entry {
    id: String,
    title: String,
    link: String,
    updated_ms: i64,
    text: String,
}

/// The feed. `repository`, `branch` and a part of the `benchmark`'s name narrow it; `improvements=true` adds changes for the better.
pub(crate) fn feed(service: &Service, params: &Params, query: &str) -> String {
    let board = &service.site.board;
    let all = board.all();
    let wanted = |series: &Series| {
        let is = |key: &str, value: &str| params.text(key).is_empty() || params.text(key) == value;
        is("repository", series.key.repository()) && is("branch", series.key.label("branch")) && series.key.name.contains(params.text("benchmark"))
    };
    let improvements = params.text("improvements") == "true";
    let told = |finding: &Finding| finding.state != State::Withdrawn && (finding.worse || improvements);
    let mut entries: Vec<Entry> = all
        .iter()
        .filter(|series| wanted(series))
        .flat_map(|series| series.findings.iter().filter(|finding| told(finding)).map(|finding| change(series, finding)))
        .collect();
    // What is late is of no benchmark and branch: it is in the feed that is not narrowed.
    if ["repository", "branch", "benchmark"].iter().all(|key| params.text(key).is_empty()) {
        let days = i64::from(board.config().watch.late_days);
        entries.extend(late(service, &all).into_iter().map(|one| alarm(&one, days)));
    }
    entries.sort_by(|a, b| (b.updated_ms, &a.id).cmp(&(a.updated_ms, &b.id)));
    entries.truncate(ENTRIES);
    let site = &board.config().site;
    let updated = entries.first().map_or(service.started_ms, |entry| entry.updated_ms);
    let address = if query.is_empty() { "/regressions.atom".to_owned() } else { format!("/regressions.atom?{query}") };
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n<id>{}</id>\n<title>{}</title>\n<updated>{}</updated>\n\
         <author><name>{}</name></author>\n<link rel=\"self\" href=\"{}\"/>\n<link rel=\"alternate\" type=\"text/html\" href=\"/regressions\"/>\n",
        name(&["feed", site, query]),
        xml(&format!("{site}: changes of benchmarks")),
        moment(updated),
        xml(site),
        xml(&address),
    );
    for entry in entries {
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "<entry><id>{}</id><title>{}</title><updated>{}</updated><link rel=\"alternate\" type=\"text/html\" href=\"{}\"/><summary>{}</summary></entry>",
            entry.id,
            xml(&entry.title),
            moment(entry.updated_ms),
            xml(&entry.link),
            xml(&entry.text),
        );
    }
    out.push_str("</feed>\n");
    out
}

fn change(series: &Series, finding: &Finding) -> Entry {
    let unit = &series.key.unit;
    let direction = if finding.worse { "worse" } else { "better" };
    let short = finding.commit.get(..12).unwrap_or(&finding.commit);
    let level = |value: f64| if series.is_ratio() { format!("ratio {value:.4}") } else { format!("{} {unit}", shown(value, unit)) };
    let mut text = format!(
        "{} → {}, interval {} to {}. State: {}.",
        level(finding.before),
        level(finding.after),
        signed(finding.size[0]),
        signed(finding.size[2]),
        finding.state.word()
    );
    for (key, value) in &series.key.labels {
        let _ = write!(text, " {key}: {value}.");
    }
    for (what, said) in [("Looked after by", &finding.assignee), ("Note:", &finding.note)] {
        if !said.is_empty() {
            let _ = write!(text, " {what} {said}.");
        }
    }
    Entry {
        id: name(&["change", &series.id, &finding.commit]),
        title: format!("{} {unit}: {direction} by {} at {short}", series.key.name, signed(finding.size[1])),
        link: format!("/series/{}#change{}", series.id, escaped(&finding.commit)),
        updated_ms: finding.found_ms,
        text,
    }
}

fn alarm(late: &Late, days: i64) -> Entry {
    Entry {
        id: name(&["late", &late.what, &late.last_ms.to_string()]),
        title: format!("No results: {}", late.what),
        link: if late.link.is_empty() { "/regressions".to_owned() } else { late.link.clone() },
        updated_ms: late.last_ms.saturating_add(days * 86_400_000),
        text: format!("The last result is of {}; nothing came for {days} days.", rfc3339(late.last_ms)),
    }
}

/// A name that is the same in every process: a UUID (version 8) of what it stands for.
fn name(parts: &[&str]) -> String {
    let hash = xxhash_rust::xxh3::xxh3_128(parts.join("\0").as_bytes());
    let hash = hash & !(0xf << 76) & !(0b11 << 62) | (8 << 76) | (0b10 << 62);
    let hex = format!("{hash:032x}");
    let piece = |range| hex.get::<std::ops::Range<usize>>(range).unwrap_or_default();
    format!("urn:uuid:{}-{}-{}-{}-{}", piece(0..8), piece(8..12), piece(12..16), piece(16..20), piece(20..32))
}

/// A moment; of one that no calendar has, the first of all: a feed must name one.
fn moment(ms: i64) -> String {
    Some(rfc3339(ms)).filter(|text| !text.is_empty()).unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

/// Text of XML: escaped, and without the characters that XML cannot have at all.
fn xml(text: &str) -> String {
    let allowed = |c: char| !matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}');
    escape(&text.chars().filter(|c| allowed(*c)).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_uuids_that_stay_the_same() {
        let one = name(&["change", "0123", "abc"]);
        assert_eq!(one, name(&["change", "0123", "abc"]));
        assert_ne!(one, name(&["change", "0123", "abd"]));
        assert_eq!((one.len(), one.get(23..24), one.get(28..29).is_some_and(|c| "89ab".contains(c))), (45, Some("8"), true), "{one}");
    }

    #[test]
    fn what_xml_cannot_hold_is_left_out() {
        assert_eq!(xml("a<b>&\u{1}\u{7}\"é\n"), format!("{}\n", escape("a<b>&\"é")));
    }
}
