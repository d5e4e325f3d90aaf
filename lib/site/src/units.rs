//! Durations and sizes as people write them.

use std::time::Duration;

/// Reads `20m`, `1h30m`, `1.5s`, `250ms`, `2d`: numbers with units, the larger unit first, each unit once.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(burrow_site::parse_duration("1h30m"), Some(Duration::from_secs(5400)));
/// assert_eq!(burrow_site::parse_duration("20"), None);
/// assert_eq!(burrow_site::parse_duration("30m1h"), None);
/// ```
pub fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: &[(&str, f64)] = &[("d", 86_400_000.0), ("h", 3_600_000.0), ("m", 60_000.0), ("s", 1_000.0), ("ms", 1.0)];
    let mut rest = text.trim();
    let mut total = 0.0;
    let mut smaller_than = usize::MIN;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let (unit, tail) = tail.split_at_checked(tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len()))?;
        let place = UNITS.iter().position(|(name, _)| *name == unit)?;
        let (_, ms) = UNITS.get(place)?;
        if place < smaller_than {
            return None;
        }
        smaller_than = place + 1;
        total += number.parse::<f64>().ok()? * ms;
        rest = tail;
    }
    // A century is long enough for everybody and far from any overflow.
    (total <= 3_155_760_000_000.0).then(|| Duration::from_millis(total.round() as u64))
}

/// Writes a duration so that [`parse_duration`] reads the same; precise to a millisecond.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(burrow_site::show_duration(Duration::from_secs(5400)), "1h30m");
/// assert_eq!(burrow_site::show_duration(Duration::ZERO), "0s");
/// ```
pub fn show_duration(duration: Duration) -> String {
    let mut left = duration.as_millis();
    let mut text = String::new();
    for (unit, ms) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if left >= ms {
            text.push_str(&format!("{}{unit}", left / ms));
            left %= ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads `512`, `64KiB`, `1.5GiB`, `2GB` as a number of bytes. `KiB`, `MiB`, `GiB`, `TiB` are powers of 1024; `kB`,
/// `MB`, `GB`, `TB` powers of 1000.
///
/// ```
/// assert_eq!(burrow_site::parse_size("2GiB"), Some(2 << 30));
/// assert_eq!(burrow_site::parse_size("2G"), None);
/// ```
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let factor = match unit.trim() {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "TiB" => 1_099_511_627_776.0,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    (bytes <= 9e18).then_some(bytes.round() as u64)
}
