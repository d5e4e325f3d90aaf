//! Texts of pages: escaping, durations, ages, times.

use std::borrow::Borrow;
use std::fmt::Write as _;

/// Appends `text` with the five characters escaped that mean something in HTML.
pub fn escape_into(out: &mut String, text: &str) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let entity = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            _ => continue,
        };
        out.push_str(&text[from..at]);
        out.push_str(entity);
        from = at + 1;
    }
    out.push_str(&text[from..]);
}

/// `text` escaped for HTML.
///
/// ```
/// assert_eq!(burrow_web::words::escape("a<b>&'\""), "a&lt;b&gt;&amp;&#39;&quot;");
/// ```
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    escape_into(&mut out, text);
    out
}

/// A duration of so many milliseconds, to two units.
///
/// ```
/// use burrow_web::words::duration;
/// assert_eq!(duration(85), "85 ms");
/// assert_eq!(duration(4_250), "4.2 s");
/// assert_eq!(duration(12_340), "12 s");
/// assert_eq!(duration(185_000), "3 min 5 s");
/// assert_eq!(duration(7_260_000), "2 h 1 min");
/// assert_eq!(duration(200_000_000), "2 d 7 h");
/// ```
pub fn duration(ms: i64) -> String {
    let ms = ms.max(0);
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..10 => format!("{:.1} s", ms as f64 / 1000.0),
        10..60 => format!("{s} s"),
        60..3_600 => two(s / 60, "min", s % 60, "s"),
        3_600..86_400 => two(s / 3_600, "h", s % 3_600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3_600, "h"),
    }
}

fn two(a: i64, a_unit: &str, b: i64, b_unit: &str) -> String {
    if b == 0 { format!("{a} {a_unit}") } else { format!("{a} {a_unit} {b} {b_unit}") }
}

/// How long ago, in one unit.
///
/// ```
/// use burrow_web::words::ago;
/// assert_eq!(ago(3_000), "just now");
/// assert_eq!(ago(150_000), "2 min ago");
/// assert_eq!(ago(-60_000), "in 1 min");
/// ```
pub fn ago(ms: i64) -> String {
    let s = ms.abs() / 1000;
    let text = match s {
        0..10 => return "just now".to_owned(),
        10..60 => format!("{s} s"),
        60..3_600 => format!("{} min", s / 60),
        3_600..172_800 => format!("{} h", s / 3_600),
        172_800..5_184_000 => format!("{} d", s / 86_400),
        5_184_000..63_072_000 => format!("{} months", s / 2_592_000),
        _ => format!("{} years", s / 31_536_000),
    };
    if ms < 0 { format!("in {text}") } else { format!("{text} ago") }
}

/// A moment as RFC 3339 in UTC, to the second; empty for moments no calendar has.
///
/// ```
/// assert_eq!(burrow_web::words::rfc3339(1_700_000_000_123), "2023-11-14T22:13:20Z");
/// ```
pub fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000)).map(|at| at.to_string()).unwrap_or_default()
}

/// A moment for people: `22 Nov 2026 21:59 UTC`.
pub fn calendar(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000)).map(|at| at.strftime("%-d %b %Y %H:%M UTC").to_string()).unwrap_or_default()
}

/// The time of day for people: `21:59:03 UTC`.
pub fn clock(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000)).map(|at| at.strftime("%H:%M:%S UTC").to_string()).unwrap_or_default()
}

/// A `<time>` element that reads as an age, with the moment as its tooltip; the script keeps it up to date.
pub fn time_html(at_ms: impl Borrow<i64>, now_ms: impl Borrow<i64>) -> String {
    let (at_ms, now_ms) = (*at_ms.borrow(), *now_ms.borrow());
    let mut out = String::with_capacity(96);
    let _ = write!(out, "<time data-ago datetime=\"{}\" title=\"{}\">{}</time>", rfc3339(at_ms), calendar(at_ms), ago(now_ms - at_ms));
    out
}

/// Bytes for people.
///
/// ```
/// use burrow_web::words::bytes;
/// assert_eq!(bytes(900), "900 B");
/// assert_eq!(bytes(1_500_000), "1.4 MiB");
/// ```
pub fn bytes(n: impl Borrow<i64>) -> String {
    let n = (*n.borrow()).max(0) as f64;
    match n {
        n if n < 1024.0 => format!("{n} B"),
        n if n < 1024.0 * 1024.0 => format!("{:.1} KiB", n / 1024.0),
        n if n < 1024.0 * 1024.0 * 1024.0 => format!("{:.1} MiB", n / 1024.0 / 1024.0),
        n => format!("{:.1} GiB", n / 1024.0 / 1024.0 / 1024.0),
    }
}
