//! Events as JSON, byte for byte as the reference writes them (`spec/pubsubhelper.md` §3.4), with our keys after its own; and back.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Deserialize;

use crate::time;
use crate::{Change, Event, Gerrit, Github, Push};

/// An event as the reference's clients read it: indented with tabs, no line break at the end.
pub fn pretty(event: &Event) -> String {
    let mut out = String::with_capacity(512);
    write_event(&mut Writer { out: &mut out, pretty: true, depth: 0, first: true }, event, None);
    out
}

/// An event on one line, for streams of events.
pub fn compact(event: &Event) -> String {
    let mut out = String::with_capacity(384);
    write_event(&mut Writer { out: &mut out, pretty: false, depth: 0, first: true }, event, None);
    out
}

/// An event on one line with the name of its delivery: what the log keeps.
pub(crate) fn record(event: &Event, delivery: Option<&str>) -> String {
    let mut out = String::with_capacity(384);
    write_event(&mut Writer { out: &mut out, pretty: false, depth: 0, first: true }, event, Some(delivery.unwrap_or_default()));
    out
}

/// What is said when nothing happened: ask again after `time`, or after `id`. `time` is that of the last event, never now, so that nothing is skipped.
pub fn timeout(time: Timestamp, id: u64) -> String {
    let mut out = String::new();
    let mut w = Writer { out: &mut out, pretty: true, depth: 0, first: true };
    w.open('{');
    w.text("Time", &time::format(time));
    w.flag("LongPollTimeout");
    w.number("ID", id);
    w.close('}');
    out
}

fn write_event(w: &mut Writer<'_>, event: &Event, delivery: Option<&str>) {
    w.open('{');
    w.text("Time", &time::format(event.time));
    if let Some(gerrit) = &event.gerrit {
        w.key("Gerrit");
        w.open('{');
        w.text("URL", &gerrit.url);
        w.text("Project", &gerrit.project);
        w.text("CommitHash", &gerrit.commit_hash);
        w.number("ChangeNumber", gerrit.change_number);
        w.close('}');
    }
    if let Some(github) = &event.github {
        w.key("GitHub");
        w.open('{');
        w.text("Action", &github.action);
        w.text("RepoOwner", &github.owner);
        w.text("Repo", &github.repo);
        w.number("IssueNumber", github.issue);
        w.number("PullRequestNumber", github.pull_request);
        w.close('}');
    }
    w.number("ID", event.id);
    w.text("Source", &event.source);
    w.list("Topics", &event.topics);
    if let Some(push) = &event.push {
        w.key("Push");
        w.open('{');
        w.text("Repository", &push.repository);
        w.list("URLs", &push.urls);
        w.text("Ref", &push.reference);
        w.text("Old", &push.old);
        w.text("New", &push.new);
        w.close('}');
    }
    if let Some(change) = &event.change {
        w.key("Change");
        w.open('{');
        w.text("Forge", &change.forge);
        w.text("Kind", &change.kind);
        w.text("Action", &change.action);
        w.text("Repository", &change.repository);
        w.number("Number", change.number);
        w.text("URL", &change.url);
        w.text("Commit", &change.commit);
        w.close('}');
    }
    if let Some(delivery) = delivery.filter(|delivery| !delivery.is_empty()) {
        w.text("Delivery", delivery);
    }
    w.close('}');
}

/// Writes as Go's `json.MarshalIndent(…, "", "\t")` or `json.Marshal` does.
struct Writer<'a> {
    out: &'a mut String,
    pretty: bool,
    depth: usize,
    first: bool,
}

impl Writer<'_> {
    fn open(&mut self, bracket: char) {
        self.out.push(bracket);
        self.depth += 1;
        self.first = true;
    }

    fn close(&mut self, bracket: char) {
        self.depth = self.depth.saturating_sub(1);
        if !self.first {
            self.line();
        }
        self.out.push(bracket);
        self.first = false;
    }

    fn line(&mut self) {
        if self.pretty {
            self.out.push('\n');
            for _ in 0..self.depth {
                self.out.push('\t');
            }
        }
    }

    /// What stands before an element.
    fn next(&mut self) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        self.line();
    }

    fn key(&mut self, name: &str) {
        self.next();
        self.string(name);
        self.out.push_str(if self.pretty { ": " } else { ":" });
    }

    fn text(&mut self, name: &str, value: &str) {
        self.key(name);
        self.string(value);
    }

    /// Zero is left out.
    fn number(&mut self, name: &str, value: u64) {
        if value != 0 {
            self.key(name);
            // Writing to a string cannot fail.
            let _ = write!(self.out, "{value}");
        }
    }

    fn flag(&mut self, name: &str) {
        self.key(name);
        self.out.push_str("true");
    }

    fn list(&mut self, name: &str, values: &[String]) {
        self.key(name);
        self.open('[');
        for value in values {
            self.next();
            self.string(value);
        }
        self.close(']');
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            let short = match c {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\u{8}' => "\\b",
                '\u{c}' => "\\f",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => "",
                _ => continue,
            };
            self.out.push_str(text.get(plain..at).unwrap_or_default());
            plain = at + c.len_utf8();
            if short.is_empty() {
                let _ = write!(self.out, "\\u{:04x}", u32::from(c));
            } else {
                self.out.push_str(short);
            }
        }
        self.out.push_str(text.get(plain..).unwrap_or_default());
        self.out.push('"');
    }
}

/// What a pubsubhelper answers, or a log kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The event, or a time (and number) after which to ask again.
    pub event: Event,
    /// Nothing happened.
    pub timeout: bool,
    /// Name of the delivery; only in records of a log.
    pub(crate) delivery: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    time: Option<String>,
    #[serde(default)]
    long_poll_timeout: bool,
    gerrit: Option<Gerrit>,
    #[serde(rename = "GitHub")]
    github: Option<Github>,
    #[serde(rename = "ID", default)]
    id: u64,
    #[serde(default)]
    source: String,
    #[serde(default)]
    topics: Vec<String>,
    push: Option<Push>,
    change: Option<Change>,
    #[serde(default)]
    delivery: String,
}

/// Why an answer makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum BadEvent {
    /// It is not the JSON of an event.
    #[error("this is not the JSON of an event: {0}")]
    Json(#[from] serde_json::Error),
    /// Its time is none.
    #[error("{0:?} is not a time of RFC 3339")]
    Time(String),
}

/// Reads one event, ours or the reference's.
///
/// # Errors
/// [`BadEvent`].
pub fn parse(bytes: &[u8]) -> Result<Answer, BadEvent> {
    answer(serde_json::from_slice(bytes)?)
}

/// Reads one event or an array of them.
///
/// # Errors
/// [`BadEvent`].
pub fn parse_many(bytes: &[u8]) -> Result<Vec<Answer>, BadEvent> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        serde_json::from_slice::<Vec<Wire>>(bytes)?.into_iter().map(answer).collect()
    } else {
        Ok(vec![parse(bytes)?])
    }
}

fn answer(wire: Wire) -> Result<Answer, BadEvent> {
    // `null` is the reference's zero time.
    let time = match wire.time {
        None => Timestamp::UNIX_EPOCH,
        Some(text) => time::parse(&text).ok_or(BadEvent::Time(text))?,
    };
    let mut topics = wire.topics;
    if topics.is_empty() {
        topics.extend(wire.gerrit.as_ref().map(Gerrit::topic));
        topics.extend(wire.github.as_ref().map(Github::topic));
    }
    let event = Event { id: wire.id, time, source: wire.source, topics, gerrit: wire.gerrit, github: wire.github, push: wire.push, change: wire.change };
    Ok(Answer { event, timeout: wire.long_poll_timeout, delivery: wire.delivery })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event() -> Event {
        Event {
            id: 7,
            time: time::parse("2022-12-29T17:59:20.123456789Z").unwrap(),
            source: "hub".into(),
            topics: vec!["github:golang/go".into()],
            gerrit: None,
            github: Some(Github { action: "created".into(), owner: "golang".into(), repo: "go".into(), issue: 57000, pull_request: 0 }),
            push: None,
            change: None,
        }
    }

    #[test]
    fn the_reference_s_keys_come_first_and_look_as_in_the_reference() {
        let text = pretty(&event());
        let want = "{\n\t\"Time\": \"2022-12-29T17:59:20.123456789Z\",\n\t\"GitHub\": {\n\t\t\"Action\": \"created\",\n\t\t\"RepoOwner\": \"golang\",\n\t\t\"Repo\": \"go\",\n\t\t\"IssueNumber\": 57000\n\t},\n\t\"ID\": 7,\n\t\"Source\": \"hub\",\n\t\"Topics\": [\n\t\t\"github:golang/go\"\n\t]\n}";
        assert_eq!(text, want);
        assert_eq!(timeout(event().time, 7), "{\n\t\"Time\": \"2022-12-29T17:59:20.123456789Z\",\n\t\"LongPollTimeout\": true,\n\t\"ID\": 7\n}");
        assert_eq!(pretty(&Event { topics: Vec::new(), github: None, ..event() }).split("\"Topics\": ").nth(1), Some("[]\n}"));
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        let nasty = "<a>&\u{2028}\u{2029}\u{7f}\u{1}\u{8}\u{c}\n\r\t\"\\é\u{1f600}";
        let text = compact(&Event { source: nasty.into(), ..event() });
        assert!(text.contains(r#""Source":"\u003ca\u003e\u0026\u2028\u2029"#), "{text}");
        assert!(text.contains("\u{7f}\\u0001\\b\\f\\n\\r\\t\\\"\\\\é\u{1f600}\""), "{text}");
        assert_eq!(parse(text.as_bytes()).unwrap().event.source, nasty);
    }

    #[test]
    fn the_reference_s_events_are_read() {
        let answer = parse(br#"{"Time":"2022-12-29T17:59:20Z","Gerrit":{"URL":"https://go-review.googlesource.com/39551","Project":"go","CommitHash":"c","ChangeNumber":39551}}"#).unwrap();
        assert_eq!((answer.event.id, &answer.event.topics[..], answer.timeout), (0, &["gerrit:go.googlesource.com/go".to_owned()][..], false));
        assert!(parse(br#"{"Time":"2022-12-29T17:59:20Z","LongPollTimeout":true}"#).unwrap().timeout);
        assert!(parse(br#"{"Time":"yesterday"}"#).unwrap_err().to_string().contains("yesterday"));
        assert_eq!(parse_many(b" [{\"Time\":null}, {\"Time\":null}]").unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(id in 1..u64::MAX, ns in 0..4_000_000_000_000_000_000_i64, texts in proptest::collection::vec(any::<String>(), 12), number in any::<u64>(), parts in 0..16_u8, delivery in any::<String>()) {
            let text = |at: usize| texts[at].clone();
            let written = Event {
                id,
                time: Timestamp::from_nanosecond(i128::from(ns)).unwrap(),
                source: text(0),
                topics: vec![text(1), text(2)],
                gerrit: (parts & 1 != 0).then(|| Gerrit { url: text(3), project: text(4), commit_hash: text(5), change_number: number }),
                github: (parts & 2 != 0).then(|| Github { action: text(6), owner: text(7), repo: text(8), issue: number, pull_request: 3 }),
                push: (parts & 4 != 0).then(|| Push { repository: text(9), urls: vec![text(10)], reference: text(11), old: text(0), new: text(1) }),
                change: (parts & 8 != 0).then(|| Change { forge: text(2), kind: text(3), action: text(4), repository: text(5), number, url: text(6), commit: text(7) }),
            };
            prop_assert_eq!(&parse(pretty(&written).as_bytes()).unwrap().event, &written);
            let again = parse(record(&written, Some(&delivery)).as_bytes()).unwrap();
            prop_assert_eq!((again.event, again.delivery), (written, delivery));
        }
    }
}
