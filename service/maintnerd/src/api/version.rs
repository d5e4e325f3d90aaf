//! Versions, and names with a version in them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A released version. Numbers that are not written count as zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// First number; at least 1.
    pub major: i32,
    /// Second number.
    pub minor: i32,
    /// Third number.
    pub patch: i32,
}

impl Version {
    /// Reads `X`, `X.Y` or `X.Y.Z`: numbers up to 999 as they are usually written, without leading zeros.
    ///
    /// A version that ends in `.0` has a shorter name, `1.2.0` that of `1.2`; whether the longer one is a version too is up to `zero_end`.
    pub fn parse(text: &str, zero_end: bool) -> Option<Version> {
        if !zero_end && text.ends_with(".0") {
            return None;
        }
        let mut numbers = [0; 3];
        let mut parts = text.split('.');
        for number in &mut numbers {
            match parts.next() {
                Some(part) => *number = small_number(part)?,
                None => break,
            }
        }
        let [major, minor, patch] = numbers;
        (parts.next().is_none() && major > 0).then_some(Version { major, minor, patch })
    }

    /// Reads `X` or `X.Y`, as names of branches hold it; never with a superfluous `.0`.
    pub fn parse_short(text: &str) -> Option<Version> {
        Version::parse(text, false).filter(|_| text.split('.').count() < 3)
    }
}

/// A number from 0 to 999, as it is usually written.
fn small_number(text: &str) -> Option<i32> {
    let usual = matches!(text.as_bytes(), [b'0'] | [b'1'..=b'9'] | [b'1'..=b'9', b'0'..=b'9'] | [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']);
    if usual { text.parse().ok() } else { None }
}

/// A name with a version in it, written with `*` in the version's place: `release-branch.go*`. A second `*`, at the end, is any text that is not empty:
/// `internal-branch.go*-*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionPattern {
    before: String,
    after: String,
    /// Whether `after` is followed by any text.
    open: bool,
}

/// A pattern for names with a version that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} does not say where the version stands: write one `*` for it, and at the end `*` behind something else for any text")]
pub struct BadPattern {
    /// What was given.
    pub pattern: String,
}

impl VersionPattern {
    /// Reads one.
    ///
    /// # Errors
    /// There is no `*`, or one too many.
    pub fn new(pattern: &str) -> Result<VersionPattern, BadPattern> {
        let bad = || BadPattern { pattern: pattern.to_owned() };
        let (before, rest) = pattern.split_once('*').ok_or_else(bad)?;
        let (after, open) = match rest.strip_suffix('*') {
            Some(after) => (after, true),
            None => (rest, false),
        };
        if after.contains('*') || (open && after.is_empty()) {
            return Err(bad());
        }
        Ok(VersionPattern::between(before, after, open))
    }

    /// Names that are a version between two texts; `open`: and then any text.
    pub(crate) fn between(before: &str, after: &str, open: bool) -> VersionPattern {
        VersionPattern { before: before.to_owned(), after: after.to_owned(), open }
    }

    /// The text that stands in the version's place, if `name` is of this form; it need not be a version.
    pub fn version_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        let rest = name.strip_prefix(self.before.as_str())?;
        if !self.open {
            return rest.strip_suffix(self.after.as_str());
        }
        rest.split_once(self.after.as_str()).filter(|(_, any)| !any.is_empty()).map(|(version, _)| version)
    }

    /// The name with this version.
    pub fn with(&self, version: Version) -> String {
        let Version { major, minor, .. } = version;
        format!("{}{major}.{minor}{}", self.before, self.after)
    }
}

impl fmt::Display for VersionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*{}{}", self.before, self.after, if self.open { "*" } else { "" })
    }
}

impl TryFrom<String> for VersionPattern {
    type Error = BadPattern;

    fn try_from(pattern: String) -> Result<Self, BadPattern> {
        VersionPattern::new(&pattern)
    }
}

impl From<VersionPattern> for String {
    fn from(pattern: VersionPattern) -> String {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(version: Option<Version>) -> Option<(i32, i32, i32)> {
        version.map(|version| (version.major, version.minor, version.patch))
    }

    /// The same facts as the reference's `version_test.go`, 2022 and 2026.
    #[test]
    fn tags_have_up_to_three_numbers() {
        let tags = VersionPattern::new("go*").unwrap();
        for (tag, strict, zero_end) in [
            ("go1", Some((1, 0, 0)), Some((1, 0, 0))),
            ("go1.2", Some((1, 2, 0)), Some((1, 2, 0))),
            ("go1.2.3", Some((1, 2, 3)), Some((1, 2, 3))),
            ("go23.45.67", Some((23, 45, 67)), Some((23, 45, 67))),
            ("go999.999.999", Some((999, 999, 999)), Some((999, 999, 999))),
            ("go1.10", Some((1, 10, 0)), Some((1, 10, 0))),
            ("go1.0.1", Some((1, 0, 1)), Some((1, 0, 1))),
            ("go1.2.0", None, Some((1, 2, 0))),
            ("go1.0", None, Some((1, 0, 0))),
            ("go1.0.0", None, Some((1, 0, 0))),
        ] {
            let version = tags.version_of(tag).unwrap();
            assert_eq!(numbers(Version::parse(version, false)), strict, "{tag}");
            assert_eq!(numbers(Version::parse(version, true)), zero_end, "{tag}");
        }
        for tag in [
            "go",
            "go.",
            "go1.",
            "go1-bad",
            "go1.2.",
            "go1.2-bad",
            "go1.2.3.",
            "go1.2.3-bad",
            "go1.2.3.4",
            "go0.0.0",
            "go0",
            "go-1",
            "go1.-2",
            "go1.2.-3",
            "go+1",
            "go01",
            "go001",
            "go1000",
            "go1.1000",
            "go00",
            "go00.2",
            "go00.2.3",
            "go1.00",
            "go1.00.0",
            "go1.00.3",
            "go1.2.00",
            "go1.2beta3",
            "go1.2rc1",
            "go1..2",
            "go 1",
            "go1 ",
            "go١",
        ] {
            for zero_end in [false, true] {
                assert_eq!(Version::parse(tags.version_of(tag).unwrap(), zero_end), None, "{tag}");
            }
        }
        assert_eq!(tags.version_of("not-go"), None);
    }

    #[test]
    fn release_branches_have_up_to_two_numbers() {
        let branches = VersionPattern::new("release-branch.go*").unwrap();
        for (branch, version) in [
            ("release-branch.go1", Some((1, 0, 0))),
            ("release-branch.go1.2", Some((1, 2, 0))),
            ("release-branch.go23.45", Some((23, 45, 0))),
            ("release-branch.go", None),
            ("release-branch.go.", None),
            ("release-branch.go1.", None),
            ("release-branch.go1-bad", None),
            ("release-branch.go1.2.", None),
            ("release-branch.go1.2-bad", None),
            ("release-branch.go1.2.3", None),
            ("release-branch.go0.0", None),
            ("release-branch.go-1", None),
            ("release-branch.go1.-2", None),
            ("release-branch.go+1", None),
            ("release-branch.go01", None),
            ("release-branch.go001", None),
            ("release-branch.go1000", None),
            ("release-branch.go1.0", None),
            ("release-branch.go00", None),
            ("release-branch.go00.2", None),
            ("release-branch.go1.00", None),
        ] {
            assert_eq!(numbers(branches.version_of(branch).and_then(Version::parse_short)), version, "{branch}");
        }
        assert_eq!(branches.version_of("not-release-branch"), None);
    }

    #[test]
    fn all_numbers_up_to_999_and_no_other_text() {
        for number in 0..=1_001 {
            assert_eq!(small_number(&number.to_string()), (number <= 999).then_some(number));
        }
    }

    #[test]
    fn a_pattern_says_where_the_version_stands() {
        let internal = VersionPattern::new("internal-branch.go*-*").unwrap();
        for (name, version) in [
            ("internal-branch.go1.16-vendor", Some("1.16")),
            ("internal-branch.go1.16-vendor-2", Some("1.16")),
            ("internal-branch.go1.16-", None),
            ("internal-branch.go1.16", None),
            ("internal-branch.go-x", Some("")),
            ("not-internal-branch", None),
        ] {
            assert_eq!(internal.version_of(name), version, "{name}");
        }
        assert_eq!(internal.to_string(), "internal-branch.go*-*");
        let bundle = VersionPattern::new("release-branch.go*-bundle").unwrap();
        assert_eq!(bundle.version_of("release-branch.go1.15-bundle"), Some("1.15"));
        assert_eq!(bundle.version_of("release-branch.go1.15-other"), None);
        assert_eq!(bundle.with(Version { major: 1, minor: 15, patch: 7 }), "release-branch.go1.15-bundle");
        for bad in ["", "go", "go**", "*a*b*", "a*b*c"] {
            assert_eq!(VersionPattern::new(bad), Err(BadPattern { pattern: bad.to_owned() }), "{bad}");
        }
    }
}
