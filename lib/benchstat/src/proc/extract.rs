//! Taking parts out of a result.

use std::borrow::Cow;

use protocol_benchfmt::Name;

use super::Subject;

/// A part of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extract {
    /// `.name`.
    Base,
    /// `.fullname`.
    Full,
    /// `/key`, without the slash.
    Part(Vec<u8>),
    /// Anything else: a key of the configuration; what is not set is empty.
    Config(Vec<u8>),
}

impl Extract {
    /// By key; `None` if it is empty.
    pub(super) fn of(key: &[u8]) -> Option<Extract> {
        Some(match key {
            b"" => return None,
            b".name" => Extract::Base,
            b".fullname" => Extract::Full,
            [b'/', part @ ..] => Extract::Part(part.to_vec()),
            _ => Extract::Config(key.to_vec()),
        })
    }

    pub(super) fn from<'a>(&self, subject: &Subject<'a>) -> &'a [u8] {
        let name = Name(subject.name);
        match self {
            Extract::Base => name.base(),
            Extract::Full => subject.name,
            Extract::Part(key) => name.value(key).unwrap_or_default(),
            Extract::Config(key) => subject.config.iter().find(|setting| *setting.key == **key).map_or(&[], |setting| &setting.value),
        }
    }
}

/// The full name without the parts that other projections name.
#[derive(Debug, Default)]
pub(super) struct Remainder {
    base: bool,
    processors: bool,
    /// `/key=`.
    parts: Vec<Vec<u8>>,
}

impl Remainder {
    /// Without this key, if it is one of the name's.
    pub(super) fn exclude(&mut self, key: &[u8]) {
        self.base |= key == b".name";
        if key.first() == Some(&b'/') {
            self.processors |= key == b"/gomaxprocs";
            self.parts.push([key, b"="].concat());
        }
    }

    pub(super) fn of<'a>(&self, name: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.base && self.parts.is_empty() {
            return Cow::Borrowed(name);
        }
        let (base, parts) = Name(name).parts();
        let mut rest = if self.base { b"*".to_vec() } else { base.to_vec() };
        for part in parts {
            let named = self.parts.iter().any(|key| part.starts_with(key)) || self.processors && part.first() == Some(&b'-');
            if !named {
                rest.extend_from_slice(part);
            }
        }
        Cow::Owned(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_out() {
        let without = |keys: &[&str], name: &'static str| {
            let mut remainder = Remainder::default();
            keys.iter().for_each(|key| remainder.exclude(key.as_bytes()));
            String::from_utf8(remainder.of(name.as_bytes()).into_owned()).unwrap()
        };
        assert_eq!(without(&[], "Test/a=1/b=2-4"), "Test/a=1/b=2-4");
        assert_eq!(without(&["/a"], "Test/a=1/b=2/a=3-4"), "Test/b=2-4");
        assert_eq!(without(&["/gomaxprocs", ".name"], "Test/a=1/gomaxprocs=3-4"), "*/a=1");
        assert_eq!(without(&["goos"], "Test-4"), "Test-4");
    }
}
