//! What a request asks for: paths, queries and revisions, as pure functions of what came over the wire.

use std::fmt;

use percent_encoding::percent_decode_str;

/// Names of repositories, revisions and paths that are longer are nobody's.
const LONGEST: usize = 4096;
/// `~N`: more steps than any history that people write by hand.
const MOST_STEPS: u32 = 100_000;

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `.tar.gz`, `.tgz`
    Gzip,
    /// `.tar.zst`
    Zstd,
    /// `.tar`
    Tar,
}

impl Format {
    /// As it stands in validators and names of cache files.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Format::Gzip => "gz",
            Format::Zstd => "zst",
            Format::Tar => "tar",
        }
    }

    /// The media type. That of gzip is the reference's.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Format::Gzip => "application/x-compressed",
            Format::Zstd => "application/zstd",
            Format::Tar => "application/x-tar",
        }
    }
}

/// What one path stands for. The repository's name is as the client wrote it: whether it exists is not known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `<name>.tar.gz` and its brothers.
    Archive {
        /// The repository.
        name: String,
        /// The packing that the ending asks for.
        format: Format,
    },
    /// `<name>/info/refs`: the begin of a clone or fetch over HTTP.
    Advertise {
        /// The repository.
        name: String,
    },
    /// `<name>/git-upload-pack`
    UploadPack {
        /// The repository.
        name: String,
    },
    /// `<name>/git-receive-pack`, which is refused.
    ReceivePack {
        /// The repository.
        name: String,
    },
    /// The files of the protocol without a server (`HEAD`, `objects/…`), which is refused.
    Dumb {
        /// The repository.
        name: String,
    },
    /// `<name>/refs.json`
    Refs {
        /// The repository.
        name: String,
    },
    /// `<name>/commits.json`
    Commits {
        /// The repository.
        name: String,
    },
    /// `<name>/commit/<hash>.json`
    Commit {
        /// The repository.
        name: String,
        /// 40 or 64 hex digits, as the client wrote them.
        hash: String,
    },
}

impl Target {
    /// Understands the path of a request (still percent-encoded, with or without the leading slash). `None`: nothing of ours.
    pub fn parse(path: &str) -> Option<Target> {
        let path = percent_decode_str(path.strip_prefix('/').unwrap_or(path)).decode_utf8().ok()?;
        if path.len() > LONGEST || path.chars().any(char::is_control) {
            return None;
        }
        let name = |text: &str| (!text.is_empty() && !text.starts_with('/') && !text.ends_with('/')).then(|| text.to_owned());
        if let Some(head) = path.strip_suffix("/info/refs") {
            return Some(Target::Advertise { name: name(head)? });
        }
        if let Some(head) = path.strip_suffix("/git-upload-pack") {
            return Some(Target::UploadPack { name: name(head)? });
        }
        if let Some(head) = path.strip_suffix("/git-receive-pack") {
            return Some(Target::ReceivePack { name: name(head)? });
        }
        if let Some(head) = path.strip_suffix("/refs.json") {
            return Some(Target::Refs { name: name(head)? });
        }
        if let Some(head) = path.strip_suffix("/commits.json") {
            return Some(Target::Commits { name: name(head)? });
        }
        if let Some((head, hash)) = path.strip_suffix(".json").and_then(|head| head.rsplit_once("/commit/"))
            && is_full_hash(hash)
        {
            return Some(Target::Commit { name: name(head)?, hash: hash.to_owned() });
        }
        for (ending, format) in [(".tar.gz", Format::Gzip), (".tgz", Format::Gzip), (".tar.zst", Format::Zstd), (".tar", Format::Tar)] {
            if let Some(head) = path.strip_suffix(ending) {
                return Some(Target::Archive { name: name(head)?, format });
            }
        }
        if let Some(head) = path.strip_suffix("/HEAD") {
            return Some(Target::Dumb { name: name(head)? });
        }
        let (head, _) = path.split_once("/objects/")?;
        Some(Target::Dumb { name: name(head)? })
    }
}

/// True for 40 or 64 hex digits.
pub(crate) fn is_full_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The fields of a query string. Of a field that is there twice the first counts; bytes that are not UTF-8 make the whole unusable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Splits and decodes (`+` is a space, as in forms).
    ///
    /// # Errors
    /// Too long, or not UTF-8.
    pub fn parse(text: &str) -> Result<Query, BadAsk> {
        if text.len() > 4 * LONGEST {
            return Err(BadAsk::TooLong);
        }
        let decode = |part: &str| match percent_decode_str(&part.replace('+', " ")).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => Err(BadAsk::NotText),
        };
        let mut fields = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            fields.push((decode(key)?, decode(value)?));
        }
        Ok(Query(fields))
    }

    /// The value of a field.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// The start of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A full hash, in lower case. It always means the object, also when a branch is called so.
    Hash(String),
    /// `HEAD`, or the short or full name of a reference that passes `check-ref-format`.
    Name(String),
}

/// One step from a commit to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `~N`: N times the first parent.
    Back(u32),
    /// `^N`: the Nth parent, 0 for the commit itself.
    Parent(u32),
}

/// A revision: a full hash or the name of a reference, and steps back from it (`HEAD~1`). Of git's other ways to name a revision none is understood:
/// some search (`HEAD^{/text}`), some look at reflogs, and all of them once became options on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rev {
    /// Where to begin.
    pub base: Base,
    /// What to do then.
    pub steps: Vec<Step>,
}

impl Rev {
    /// Understands a revision.
    ///
    /// # Errors
    /// [`BadAsk`]: it is none that is served.
    pub fn parse(text: &str) -> Result<Rev, BadAsk> {
        if text.is_empty() {
            return Err(BadAsk::NoRev);
        }
        if text.len() > LONGEST {
            return Err(BadAsk::TooLong);
        }
        let bad = || BadAsk::BadRev(text.chars().take(100).collect());
        let (head, mut tail) = match text.find(['~', '^']) {
            Some(at) => (text.get(..at).unwrap_or_default(), text.get(at..).unwrap_or_default()),
            None => (text, ""),
        };
        let base = if is_full_hash(head) {
            Base::Hash(head.to_ascii_lowercase())
        } else if !head.starts_with('-') && !head.contains("@{") && gix::validate::reference::name_partial(head.into()).is_ok() {
            Base::Name(head.to_owned())
        } else {
            return Err(bad());
        };
        let mut steps = Vec::new();
        while let Some(kind) = tail.chars().next() {
            let rest = tail.get(1..).unwrap_or_default();
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number = match rest.get(..digits).unwrap_or_default() {
                "" => 1,
                digits => digits.parse().ok().filter(|number| *number <= MOST_STEPS).ok_or_else(bad)?,
            };
            steps.push(match kind {
                '~' => Step::Back(number),
                '^' => Step::Parent(number),
                _ => return Err(bad()),
            });
            tail = rest.get(digits..).unwrap_or_default();
            if steps.len() > 64 {
                return Err(bad());
            }
        }
        Ok(Rev { base, steps })
    }

    /// True when it will always mean the same commit.
    pub fn is_fixed(&self) -> bool {
        matches!(self.base, Base::Hash(_))
    }
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.base {
            Base::Hash(text) | Base::Name(text) => f.write_str(text)?,
        }
        for step in &self.steps {
            match step {
                Step::Back(number) => write!(f, "~{number}")?,
                Step::Parent(number) => write!(f, "^{number}")?,
            }
        }
        Ok(())
    }
}

/// A directory inside a repository, as parts. The root has none.
///
/// # Errors
/// [`BadAsk::BadPath`] for `..`, empty parts and NULs.
pub fn parse_path(text: &str) -> Result<Vec<String>, BadAsk> {
    let parts: Vec<String> = text.trim_matches('/').split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    if text.len() > LONGEST || parts.iter().any(|part| part == "." || part == ".." || part.contains('\0')) {
        return Err(BadAsk::BadPath("path"));
    }
    Ok(parts)
}

/// What stands before every name in an archive, taken literally as `git archive --prefix` does; a person who unpacks it must not be surprised.
///
/// # Errors
/// [`BadAsk::BadPath`] for absolute ones, `..` and NULs.
pub fn parse_prefix(text: &str) -> Result<String, BadAsk> {
    let odd = |part: &str| part == ".." || part == ".";
    if text.len() > LONGEST || text.starts_with('/') || text.contains("//") || text.chars().any(char::is_control) || text.split('/').any(odd) {
        return Err(BadAsk::BadPath("prefix"));
    }
    Ok(text.to_owned())
}

/// A request that cannot mean anything. The text is for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAsk {
    /// `rev` is missing.
    #[error("say which revision: ?rev= with a full hash or the name of a branch or tag")]
    NoRev,
    /// `rev` is not of a form that is served.
    #[error("{0:?} is not a revision that is served here: give a full hash (40 or 64 hex digits) or the name of a branch or tag")]
    BadRev(String),
    /// `path` or `prefix` would leave its place.
    #[error("the {0} must be relative, without '.' and '..'")]
    BadPath(&'static str),
    /// A number is not one.
    #[error("{0} must be a number")]
    BadNumber(&'static str),
    /// Longer than anything meaningful.
    #[error("the request is too long")]
    TooLong,
    /// Not UTF-8.
    #[error("the request is not UTF-8 text")]
    NotText,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_searches_and_reflogs_are_no_revisions() {
        for text in [
            "--output=x",
            "-h",
            "..",
            "a..b",
            "\0",
            "HEAD^{/fix}",
            "HEAD^{tree}",
            "HEAD:file",
            "@{1}",
            "HEAD@{1}",
            ":/fix",
            "a b",
            "a\\b",
            "x.lock",
            "",
            "/a",
            "a//b",
            "a~x",
            "a^-",
            "~1",
            "a?",
            "a*",
            "[",
            "HEAD~4294967296",
        ] {
            assert!(Rev::parse(text).is_err(), "{text:?} was taken for a revision");
        }
        let hash = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(Rev::parse(&hash.to_uppercase()).unwrap().base, Base::Hash(hash.to_owned()));
        assert_eq!(Rev::parse("main~2^").unwrap(), Rev { base: Base::Name("main".to_owned()), steps: vec![Step::Back(2), Step::Parent(1)] });
        assert_eq!(Rev::parse("refs/heads/a/ü").unwrap().to_string(), "refs/heads/a/ü");
    }

    #[test]
    fn the_path_says_what_is_meant() {
        let archive = |name: &str, format| Some(Target::Archive { name: name.to_owned(), format });
        assert_eq!(Target::parse("/a/b.tar.gz"), archive("a/b", Format::Gzip));
        assert_eq!(Target::parse("/a%2Fb.tgz"), archive("a/b", Format::Gzip));
        assert_eq!(Target::parse("a.tar.zst"), archive("a", Format::Zstd));
        assert_eq!(Target::parse("/a.tar"), archive("a", Format::Tar));
        assert_eq!(Target::parse("/x/y.git/info/refs"), Some(Target::Advertise { name: "x/y.git".to_owned() }));
        assert_eq!(Target::parse("/x/objects/info/packs"), Some(Target::Dumb { name: "x".to_owned() }));
        let hash = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(Target::parse(&format!("/x/commit/{hash}.json")), Some(Target::Commit { name: "x".to_owned(), hash: hash.to_owned() }));
        for nothing in ["/", "/.tar.gz", "/a/.tar", "/x/commit/HEAD.json", "/a%00.tar", "/%ff.tar", "/info/refs", "/x"] {
            assert_eq!(Target::parse(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn queries_are_forms() {
        let query = Query::parse("rev=a%2Fb&path=x+y&rev=second&empty").unwrap();
        assert_eq!((query.get("rev"), query.get("path"), query.get("empty"), query.get("no")), (Some("a/b"), Some("x y"), Some(""), None));
        assert_eq!(Query::parse("rev=%ff"), Err(BadAsk::NotText));
    }

    #[test]
    fn prefixes_and_paths_stay_inside() {
        assert_eq!(parse_path("/a/b/"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert!(parse_path("a/../b").is_err());
        assert_eq!(parse_prefix("x-1/"), Ok("x-1/".to_owned()));
        for bad in ["/x", "../x", "a/../b", "a//", "a\n"] {
            assert!(parse_prefix(bad).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_accepted_means_the_same_when_it_is_written_again(text in "[-a-f0-9~^@{}:./ A-Zü%\\x00\\[*?]{0,48}", any in ".{0,64}") {
            for text in [&text, &any] {
                if let Ok(rev) = Rev::parse(text) {
                    let written = rev.to_string();
                    assert!(!written.starts_with('-') && !written.contains([':', '\0', ' ']) && !["..", "@{", "^{"].iter().any(|bad| written.contains(bad)), "{text:?}");
                    assert_eq!(Rev::parse(&written), Ok(rev));
                }
                if let Ok(prefix) = parse_prefix(text) {
                    assert!(!prefix.starts_with('/') && prefix.split('/').all(|part| part != ".."), "{text:?}");
                }
                let _ = (Target::parse(text), Query::parse(text), parse_path(text));
            }
        }
    }
}
