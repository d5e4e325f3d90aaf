//! The same as numbers, in Prometheus' text form.

use std::fmt::Write as _;

use crate::hub::Hub;
use crate::silence::Hearing;

/// Counts of mail that was refused, by source: reason and count.
pub type MailCounts<'a> = &'a [(String, Vec<(&'static str, u64)>)];

/// Everything that can be counted.
pub fn text(hub: &Hub, mail: MailCounts<'_>) -> String {
    let mut out = String::with_capacity(4096);
    // Names of sources are letters, digits, `-`, `_` and `.`: nothing needs to be escaped. Writing to a string cannot fail.
    let head = |out: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(out, "# HELP burrow_pubsub_{name} {help}\n# TYPE burrow_pubsub_{name} {kind}");
    };
    head(&mut out, "deliveries_total", "counter", "Deliveries by source and what became of them.");
    for source in hub.sources.iter() {
        for (outcome, count) in source.counters.all() {
            let _ = writeln!(out, "burrow_pubsub_deliveries_total{{source=\"{}\",outcome=\"{}\"}} {count}", source.name, outcome.label());
        }
    }
    head(&mut out, "events_total", "counter", "Events by source since the start.");
    for source in hub.sources.iter() {
        let _ = writeln!(out, "burrow_pubsub_events_total{{source=\"{}\"}} {}", source.name, source.counters.events());
    }
    head(&mut out, "mail_refused_total", "counter", "Mail, commands and connections that were refused, by reason.");
    for (source, counts) in mail {
        for (reason, count) in counts {
            let _ = writeln!(out, "burrow_pubsub_mail_refused_total{{source=\"{source}\",reason=\"{reason}\"}} {count}");
        }
    }
    head(&mut out, "last_heard_timestamp_seconds", "gauge", "When the last delivery came whose sender proved itself.");
    for source in hub.sources.iter() {
        if let Some(last) = source.silence().last_ms {
            let _ = writeln!(out, "burrow_pubsub_last_heard_timestamp_seconds{{source=\"{}\"}} {}", source.name, last as f64 / 1000.0);
        }
    }
    head(&mut out, "quiet_seconds", "gauge", "Silence of a source while this process ran.");
    for source in hub.sources.iter() {
        let _ = writeln!(out, "burrow_pubsub_quiet_seconds{{source=\"{}\"}} {}", source.name, source.silence().quiet_ms / 1000);
    }
    head(&mut out, "longest_quiet_seconds", "gauge", "Longest silence of a source that ended.");
    for source in hub.sources.iter() {
        let _ = writeln!(out, "burrow_pubsub_longest_quiet_seconds{{source=\"{}\"}} {}", source.name, source.silence().longest_ms / 1000);
    }
    head(&mut out, "silent", "gauge", "1: the source is silent for longer than it ever was.");
    for source in hub.sources.iter() {
        let silent = matches!(source.hearing(), Hearing::Silent { .. });
        let _ = writeln!(out, "burrow_pubsub_silent{{source=\"{}\"}} {}", source.name, u8::from(silent));
    }
    head(&mut out, "connected", "gauge", "1: the connection that this process holds to the source stands.");
    for source in hub.sources.iter() {
        if let Some(connection) = source.connection() {
            let _ = writeln!(out, "burrow_pubsub_connected{{source=\"{}\"}} {}", source.name, u8::from(connection.up));
        }
    }
    let (kept, bytes, _) = hub.log.kept();
    let position = hub.log.position();
    let numbers: [(&str, &str, &str, f64); 6] = [
        ("kept_events", "gauge", "Events that are kept.", kept as f64),
        ("kept_bytes", "gauge", "Memory that they take.", bytes as f64),
        ("waiters", "gauge", "Readers that wait for the next event.", hub.log.waiters() as f64),
        ("last_event_id", "gauge", "Number of the last event.", position.id as f64),
        ("last_event_timestamp_seconds", "gauge", "Time of the last event.", position.time.as_millisecond() as f64 / 1000.0),
        ("log_failed", "gauge", "1: the last event could not be written.", f64::from(u8::from(hub.log.trouble().borrow().is_some()))),
    ];
    for (name, kind, help, value) in numbers {
        head(&mut out, name, kind, help);
        let _ = writeln!(out, "burrow_pubsub_{name} {value}");
    }
    out
}
