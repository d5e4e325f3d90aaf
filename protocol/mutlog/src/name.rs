//! What files and objects of a log are called (`spec/maintner.md` §2.2).

use std::fmt;
use std::str::FromStr;

use crate::Sha224;

/// Name of a segment in a bucket or in a follower's cache: `NNNN.<sha224>.mutlog`, or `NNNN.growing.mutlog`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Number, from 0.
    pub number: u32,
    /// Digest of the whole content; `None`: it still grows.
    pub sha224: Option<Sha224>,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sha224 {
            Some(digest) => write!(f, "{:04}.{digest}.mutlog", self.number),
            None => write!(f, "{:04}.growing.mutlog", self.number),
        }
    }
}

/// A name that is not one of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a segment: NNNN.<sha224>.mutlog or NNNN.growing.mutlog")]
pub struct BadName;

impl FromStr for SegmentName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<SegmentName, BadName> {
        let mut parts = text.split('.');
        let (Some(digits), Some(middle), Some("mutlog"), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else { return Err(BadName) };
        let plain = digits.len() >= 4 && digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
        // Five digits and more have no leading zero, so that a number has one name.
        if !plain || digits.len() > 4 && digits.starts_with('0') {
            return Err(BadName);
        }
        let number = digits.parse().map_err(|_| BadName)?;
        let sha224 = if middle == "growing" { None } else { Some(middle.parse().map_err(|_| BadName)?) };
        Ok(SegmentName { number, sha224 })
    }
}

/// Name of the file that a log on disk grows in on that day (UTC): `maintner-2023-01-31.mutlog`.
pub fn data_file_name(year: i32, month: u32, day: u32) -> String {
    format!("maintner-{year:04}-{month:02}-{day:02}.mutlog")
}

/// Whether a file of this name belongs to a log on disk; they are read in the order of their names.
pub fn is_data_file(name: &str) -> bool {
    name.starts_with("maintner-") && name.ends_with(".mutlog")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_and_read() {
        let digest = Sha224::of(b"x");
        for name in
            [SegmentName { number: 0, sha224: None }, SegmentName { number: 42, sha224: Some(digest) }, SegmentName { number: 12_345, sha224: Some(digest) }]
        {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        assert_eq!(SegmentName { number: 7, sha224: Some(digest) }.to_string().len(), 68, "the length by which followers know a frozen segment");
        for bad in
            ["7.growing.mutlog", "00007.growing.mutlog", "0007.growing.mutlog.tmp", "0007.mutlog", "0007.GROWING.mutlog", "tempseg123", "+007.growing.mutlog"]
        {
            assert_eq!(bad.parse::<SegmentName>(), Err(BadName), "{bad}");
        }
    }
}
