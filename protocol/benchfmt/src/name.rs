//! Names of benchmarks, taken apart (`spec/perf.md` §2.3).

use std::fmt;

/// The full name of a benchmark: everything behind `Benchmark`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name<'a>(pub &'a [u8]);

impl<'a> Name<'a> {
    /// All of it.
    #[must_use]
    pub fn full(self) -> &'a [u8] {
        self.0
    }

    /// What is before the first `/`, without the number of processors.
    #[must_use]
    pub fn base(self) -> &'a [u8] {
        match memchr::memchr(b'/', self.0) {
            Some(slash) => self.0.get(..slash).unwrap_or_default(),
            None => self.split_processors().0,
        }
    }

    /// The name, and the `-N` at its end with the dash; that part is empty if there is none.
    #[must_use]
    pub fn split_processors(self) -> (&'a [u8], &'a [u8]) {
        let digits = self.0.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let dash = (self.0.len() - digits).checked_sub(1).filter(|dash| digits > 0 && self.0.get(*dash) == Some(&b'-'));
        dash.and_then(|dash| self.0.split_at_checked(dash)).unwrap_or((self.0, &[]))
    }

    /// Base and parts: `/key=value`, `/text`, and as the last one `-N`. One behind the other they are the full name.
    #[must_use]
    pub fn parts(self) -> (&'a [u8], Parts<'a>) {
        let (name, processors) = self.split_processors();
        let slash = memchr::memchr(b'/', name).unwrap_or(name.len());
        let (base, rest) = name.split_at_checked(slash).unwrap_or((name, &[]));
        (base, Parts { rest, processors })
    }

    /// The value of a part `/key=value`, without key; `gomaxprocs` is the `-N` first. `None`: there is no such part.
    #[must_use]
    pub fn value(self, key: &[u8]) -> Option<&'a [u8]> {
        let (_, mut parts) = self.parts();
        if key == b"gomaxprocs"
            && let [b'-', digits @ ..] = parts.processors
        {
            return Some(digits);
        }
        parts.find_map(|part| part.strip_prefix(b"/")?.strip_prefix(key)?.strip_prefix(b"="))
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.0), f)
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&String::from_utf8_lossy(self.0), f)
    }
}

/// The parts of a [`Name`] behind its base.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    rest: &'a [u8],
    processors: &'a [u8],
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return Some(std::mem::take(&mut self.processors)).filter(|part| !part.is_empty());
        }
        let end = self.rest.get(1..).and_then(|rest| memchr::memchr(b'/', rest)).map_or(self.rest.len(), |at| at + 1);
        let (part, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_and_parts() {
        let cases: [(&str, &str, &[&str]); 12] = [
            ("Test/foo=123-42", "Test", &["/foo=123", "-42"]),
            ("Test/foo-1/bar", "Test", &["/foo-1", "/bar"]),
            ("Test/foo/", "Test", &["/foo", "/"]),
            ("/a/b", "", &["/a", "/b"]),
            ("Test-1", "Test", &["-1"]),
            ("Test-", "Test-", &[]),
            ("Test--8", "Test-", &["-8"]),
            ("-8", "", &["-8"]),
            ("8", "8", &[]),
            ("", "", &[]),
            ("Test//x", "Test", &["/", "/x"]),
            ("Test/a-b-3", "Test", &["/a-b", "-3"]),
        ];
        for (full, base, parts) in cases {
            let name = Name(full.as_bytes());
            let (found, rest) = name.parts();
            let rest: Vec<&[u8]> = rest.collect();
            assert_eq!((found, name.base()), (base.as_bytes(), base.as_bytes()), "{full}");
            assert_eq!(rest, parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>(), "{full}");
            assert_eq!([found, &rest.concat()].concat(), full.as_bytes());
        }
    }

    #[test]
    fn values_of_parts() {
        let name = Name(b"Sort/n=10/gomaxprocs=3/n=11-8");
        assert_eq!(name.value(b"n"), Some(&b"10"[..]));
        assert_eq!(name.value(b"gomaxprocs"), Some(&b"8"[..]));
        assert_eq!(Name(b"Sort/gomaxprocs=3").value(b"gomaxprocs"), Some(&b"3"[..]));
        assert_eq!(name.value(b"m"), None);
    }
}
