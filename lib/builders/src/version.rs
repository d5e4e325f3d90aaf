//! Release versions and ranges of them (`builders.md` §4.1, §10.1).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A release: major and minor number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second, 0 when there is none.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Version {
    /// Reads `M` or `M.N`: decimal numbers from 0 to 999 without leading zeros.
    pub fn parse(text: &str) -> Option<Version> {
        let number = |text: &str| {
            let canonical = matches!(text.len(), 1..=3) && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
            if canonical { text.parse::<u32>().ok() } else { None }
        };
        match text.split_once('.') {
            None => Some(Version { major: number(text)?, minor: 0 }),
            Some((major, minor)) => Some(Version { major: number(major)?, minor: number(minor)? }),
        }
    }

    /// The same by the rules of Go's release branches: the major number is not 0, and `.0` is never written.
    pub fn parse_go(text: &str) -> Option<Version> {
        Version::parse(text).filter(|version| version.major != 0 && !text.ends_with(".0"))
    }
}

/// What a branch is, as far as versions are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BranchVersion {
    /// A current branch: newer than every release.
    Current,
    /// A release branch.
    Release(Version),
    /// Neither: satisfies no range.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Comparison {
    Any,
    AtLeast(Version),
    AtMost(Version),
    Above(Version),
    Below(Version),
    Exactly(Version),
}

/// A range of versions: alternatives separated by `||`, conditions of one by `,`; `>=`, `<=`, `>`, `<`, `=` and a
/// version, or `*`.
///
/// ```
/// use burrow_builders::VersionRange;
/// assert!(VersionRange::parse(">=1.19, <1.21 || =2.0").is_ok());
/// assert!(VersionRange::parse("~1.19").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    text: String,
    alternatives: Vec<Vec<Comparison>>,
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl VersionRange {
    /// Reads a range.
    ///
    /// # Errors
    /// The part that is not a condition.
    pub fn parse(text: &str) -> Result<VersionRange, String> {
        let condition = |text: &str| {
            let text = text.trim();
            let version = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| Version::parse(rest.trim()));
            // The longer signs first: `>` is also the beginning of `>=`.
            let found = if text == "*" {
                Some(Comparison::Any)
            } else {
                None.or_else(|| version(">=").map(Comparison::AtLeast))
                    .or_else(|| version("<=").map(Comparison::AtMost))
                    .or_else(|| version(">").map(Comparison::Above))
                    .or_else(|| version("<").map(Comparison::Below))
                    .or_else(|| version("=").map(Comparison::Exactly))
            };
            found.ok_or_else(|| text.to_owned())
        };
        let alternatives = text.split("||").map(|part| part.split(',').map(condition).collect()).collect::<Result<_, _>>()?;
        Ok(VersionRange { text: text.to_owned(), alternatives })
    }

    /// Whether a branch satisfies the range.
    pub fn has(&self, branch: BranchVersion) -> bool {
        let one = |comparison: &Comparison| match (branch, comparison) {
            (BranchVersion::Other, _) => false,
            (_, Comparison::Any) => true,
            (BranchVersion::Current, Comparison::AtLeast(_) | Comparison::Above(_)) => true,
            (BranchVersion::Current, _) => false,
            (BranchVersion::Release(have), Comparison::AtLeast(version)) => have >= *version,
            (BranchVersion::Release(have), Comparison::AtMost(version)) => have <= *version,
            (BranchVersion::Release(have), Comparison::Above(version)) => have > *version,
            (BranchVersion::Release(have), Comparison::Below(version)) => have < *version,
            (BranchVersion::Release(have), Comparison::Exactly(version)) => have == *version,
        };
        self.alternatives.iter().any(|all| all.iter().all(one))
    }

    /// Whether no version at all satisfies the range.
    pub fn is_impossible(&self) -> bool {
        // Where the answer can change: at the versions that are named, and right beside them.
        let named = self.alternatives.iter().flatten().filter_map(|comparison| match comparison {
            Comparison::Any => None,
            Comparison::AtLeast(v) | Comparison::AtMost(v) | Comparison::Above(v) | Comparison::Below(v) | Comparison::Exactly(v) => Some(*v),
        });
        let around = |v: Version| {
            let before = match (v.major, v.minor) {
                (major, minor @ 1..) => Some(Version { major, minor: minor - 1 }),
                (major @ 1.., 0) => Some(Version { major: major - 1, minor: 999 }),
                _ => None,
            };
            [Some(v), before, Some(Version { major: v.major, minor: v.minor + 1 })]
        };
        let mut tried = named.flat_map(around).flatten().map(BranchVersion::Release).chain([BranchVersion::Current]);
        !tried.any(|version| self.has(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_branches_are_newer_than_every_release_and_others_satisfy_nothing() {
        let range = |text| VersionRange::parse(text).unwrap();
        assert!(range(">=1.20").has(BranchVersion::Current) && !range("<=1.20").has(BranchVersion::Current));
        assert!(range("*").has(BranchVersion::Current) && !range("*").has(BranchVersion::Other));
        let release = |text| BranchVersion::Release(Version::parse(text).unwrap());
        assert!(range("<1.11 || >=2").has(release("1.9")) && range("<1.11 || >=2").has(release("2")) && !range("<1.11 || >=2").has(release("1.11")));
        assert!(range(">1.10,<1.12").has(release("1.11")));
    }

    #[test]
    fn ranges_that_nothing_satisfies_are_seen() {
        for (text, impossible) in [
            (">=1.20, <1.19", true),
            (">1.19, <1.20", true),
            (">1.19, <1.21", false),
            ("<0", true),
            ("<1.0", false),
            ("*", false),
            ("=1.2, =1.3 || <=3", false),
        ] {
            assert_eq!(VersionRange::parse(text).unwrap().is_impossible(), impossible, "{text}");
        }
    }

    #[test]
    fn only_canonical_versions_are_versions() {
        for text in ["01", "1.020", "1000", "", "1.", ".1", "1.2.3", "+1", "1.2 "] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
        assert_eq!(Version::parse_go("1.0"), None);
        assert_eq!(Version::parse_go("0.5"), None);
        assert_eq!(Version::parse_go("2"), Some(Version { major: 2, minor: 0 }));
    }
}
