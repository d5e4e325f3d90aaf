//! The lines of `GET /ls` (spec buildlet.md §3.6). `gomote push` of every Go release parses them.

use std::fmt::Write as _;

use crate::mode::GoMode;

/// The longest line a Go client reads, bytes.
pub const MAX_LINE: usize = 64 * 1024;

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Type and permissions.
    pub mode: GoMode,
    /// Relative name with `/`, without the `/` that marks a directory on the wire.
    pub name: String,
    /// Only regular files have it.
    pub file: Option<FileInfo>,
}

/// What a line says of a regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Bytes.
    pub size: u64,
    /// Unix seconds.
    pub modified: i64,
    /// Lower-case hex SHA-1, when the client asked for it.
    pub sha1: Option<String>,
}

/// Why a line could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Too few or too many fields.
    #[error("the line has not the fields mode, name, size, time, digest")]
    Fields,
    /// The mode's letters.
    #[error("the mode cannot be read")]
    Mode,
    /// The size.
    #[error("the size is not a number")]
    Size,
    /// The time.
    #[error("the time is not RFC 3339 in UTC")]
    Time,
    /// The digest.
    #[error("the digest is not 40 lower-case hex digits")]
    Digest,
}

impl Line {
    /// Appends the line with its line feed.
    pub fn write(&self, out: &mut String) {
        let _ = write!(out, "{}\t{}", self.mode, self.name);
        if self.mode.is_dir() {
            out.push('/');
        }
        if let Some(file) = &self.file {
            let _ = write!(out, "\t{}\t", file.size);
            write_time(out, file.modified);
            if let Some(sha1) = &file.sha1 {
                let _ = write!(out, "\t{sha1}");
            }
        }
        out.push('\n');
    }

    /// Reads one line, with or without its line feed.
    ///
    /// # Errors
    /// [`LineError`] names the field.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        // A name may contain tabs, so the outer fields are taken from both ends.
        let (mode, rest) = line.split_once('\t').ok_or(LineError::Fields)?;
        let mode = GoMode::parse(mode).ok_or(LineError::Mode)?;
        if !mode.is_regular() {
            let name = if mode.is_dir() { rest.strip_suffix('/').ok_or(LineError::Fields)? } else { rest };
            return Ok(Self { mode, name: name.to_owned(), file: None });
        }
        let mut fields = rest.rsplitn(4, '\t');
        let last = fields.next().ok_or(LineError::Fields)?;
        let second = fields.next().ok_or(LineError::Fields)?;
        let third = fields.next().ok_or(LineError::Fields)?;
        let fourth = fields.next();
        // name, size, time — or name, size, time, digest. A time ends in `Z`, which no digest does.
        let (name, size, time, sha1) = if let Some(modified) = parse_time(last) {
            let name = match fourth {
                Some(head) => format!("{head}\t{third}"),
                None => third.to_owned(),
            };
            (name, second, modified, None)
        } else {
            let modified = parse_time(second).ok_or(LineError::Time)?;
            if last.len() != 40 || !last.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(LineError::Digest);
            }
            (fourth.ok_or(LineError::Fields)?.to_owned(), third, modified, Some(last.to_owned()))
        };
        if size.is_empty() || !size.bytes().all(|b| b.is_ascii_digit()) {
            return Err(LineError::Size);
        }
        let size = size.parse().map_err(|_| LineError::Size)?;
        Ok(Self { mode, name, file: Some(FileInfo { size, modified: time, sha1 }) })
    }
}

/// Appends RFC 3339 in UTC with seconds. Years outside 0–9999 are cut to that range, because Go reads four digits.
pub fn write_time(out: &mut String, unix_seconds: i64) {
    let (year, month, day) = civil(unix_seconds.div_euclid(86_400));
    let of_day = unix_seconds.rem_euclid(86_400);
    let year = year.clamp(0, 9999);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60);
}

/// Reads what [`write_time`] writes.
#[must_use]
pub fn parse_time(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    if b.len() != 20 || !text.is_ascii() {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        if digits.bytes().all(|d| d.is_ascii_digit()) { digits.parse().ok() } else { None }
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')];
    if marks.iter().any(|&(at, mark)| b.get(at) != Some(&mark)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_from_civil(year, month, day);
    // Refuses 31 April and 29 February of common years.
    if civil(days) != (year, month, day) {
        return None;
    }
    days.checked_mul(86_400)?.checked_add(hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 to a date of the proleptic Gregorian calendar (Hinnant's algorithm, shifted to years that begin in March).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days.saturating_add(719_468);
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`], for years 0–9999.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (month + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}
