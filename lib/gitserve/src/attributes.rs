//! `.gitattributes` as far as archives depend on them: what is left out, and what is changed on its way out.

use std::path::{Path, PathBuf};

use gix::bstr::{BStr, ByteSlice};
use gix_attributes::search::{MetadataCollection, Outcome};
use gix_attributes::{Search, StateRef};

const NAMES: [&str; 8] = ["export-ignore", "export-subst", "text", "crlf", "eol", "ident", "filter", "working-tree-encoding"];

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Treatment {
    /// It is not in the archive.
    pub(crate) ignored: bool,
    /// Lines end in CR LF.
    pub(crate) crlf: Crlf,
    /// `$Format:…$` is replaced.
    pub(crate) substituted: bool,
    /// `$Id$` is replaced.
    pub(crate) ident: bool,
    /// It is written in another encoding.
    pub(crate) encoded: bool,
}

/// Whether line ends are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Crlf {
    /// They are not.
    #[default]
    Never,
    /// Always.
    Text,
    /// When the file looks like a text that has only LF.
    Auto,
}

/// The attribute files of the directories from the root to the current one.
pub(crate) struct Attributes {
    search: Search,
    names: MetadataCollection,
    outcome: Outcome,
}

impl Attributes {
    /// None yet, but for git's built-in macro.
    pub(crate) fn new() -> Attributes {
        let mut names = MetadataCollection::default();
        // Only files are read with errors, and none is given.
        let search = Search::new_globals(std::iter::empty::<PathBuf>(), &mut Vec::new(), &mut names).unwrap_or_default();
        Attributes { search, names, outcome: Outcome::default() }
    }

    /// Enters a directory (`""` or `dir/sub`) that has an attribute file. False: it cannot be understood here.
    pub(crate) fn push(&mut self, directory: &[u8], file: &[u8]) -> bool {
        let Ok(directory) = directory.to_path() else { return false };
        let root = directory.as_os_str().is_empty();
        let pushed = self.search.add_patterns_buffer(file, directory.join(".gitattributes"), Some(Path::new("")), &mut self.names, root);
        self.outcome.initialize_with_selection(&self.names, NAMES);
        pushed.is_ok()
    }

    /// Leaves the last directory that was entered.
    pub(crate) fn pop(&mut self) {
        self.search.pop_pattern_list();
    }

    /// What the attributes say of a path (without a slash at its end).
    pub(crate) fn of(&mut self, path: &[u8], directory: bool) -> Treatment {
        self.outcome.reset();
        if !self.search.pattern_matching_relative_path(BStr::new(path), gix::glob::pattern::Case::Sensitive, Some(directory), &mut self.outcome) {
            return Treatment::default();
        }
        let mut treatment = Treatment::default();
        let (mut text, mut old_text, mut eol_crlf) = (Text::Unsaid, Text::Unsaid, false);
        for found in self.outcome.iter_selected() {
            let state = found.assignment.state;
            let set = state == StateRef::Set;
            match found.assignment.name.as_str() {
                "export-ignore" => treatment.ignored = set,
                "export-subst" => treatment.substituted = set,
                "ident" => treatment.ident = set,
                "text" => text = Text::of(state),
                "crlf" => old_text = Text::of(state),
                "eol" => eol_crlf = matches!(state, StateRef::Value(value) if value.as_bstr() == "crlf"),
                // Also the values that mean nothing to git make it complain; it may do that itself.
                "working-tree-encoding" => treatment.encoded = matches!(state, StateRef::Set | StateRef::Value(_)),
                // A filter does something only when the repository's configuration says what, and then git is asked anyway.
                _ => {}
            }
        }
        if text == Text::Unsaid {
            text = old_text;
        }
        treatment.crlf = match text {
            _ if !eol_crlf => Crlf::Never,
            Text::No => Crlf::Never,
            Text::Auto => Crlf::Auto,
            Text::Yes | Text::Unsaid => Crlf::Text,
        };
        treatment
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Unsaid,
    Yes,
    No,
    Auto,
}

impl Text {
    fn of(state: StateRef<'_>) -> Text {
        match state {
            StateRef::Set => Text::Yes,
            StateRef::Unset => Text::No,
            StateRef::Unspecified => Text::Unsaid,
            StateRef::Value(value) if value.as_bstr() == "auto" => Text::Auto,
            StateRef::Value(value) if value.as_bstr() == "input" => Text::Yes,
            StateRef::Value(_) => Text::Unsaid,
        }
    }
}

/// The bytes with CR LF at the ends of lines, or `None` when git would leave them alone.
pub(crate) fn to_crlf(bytes: &[u8], how: Crlf) -> Option<Vec<u8>> {
    if how == Crlf::Never {
        return None;
    }
    let (mut lf, mut cr_lf, mut cr, mut nul, mut printable, mut other) = (0u64, 0u64, 0u64, 0u64, 0u64, 0u64);
    let mut rest = bytes.iter().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'\r' if rest.peek() == Some(&&b'\n') => {
                rest.next();
                cr_lf += 1;
            }
            b'\r' => cr += 1,
            b'\n' => lf += 1,
            8 | b'\t' | 27 | 12 => printable += 1,
            0 => {
                nul += 1;
                other += 1;
            }
            127 | 1..=31 => other += 1,
            _ => printable += 1,
        }
    }
    if lf == 0 {
        return None;
    }
    // An end-of-file mark of old systems is no sign of a binary file.
    if bytes.last() == Some(&26) {
        other = other.saturating_sub(1);
    }
    if how == Crlf::Auto && (cr > 0 || cr_lf > 0 || nul > 0 || (printable >> 7) < other) {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len() + usize::try_from(lf).unwrap_or(0));
    let mut before = 0;
    for &byte in bytes {
        if byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        before = byte;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeper_files_win_and_are_left_again() {
        let mut attributes = Attributes::new();
        assert!(attributes.push(b"", b"*.txt text eol=crlf\nsecret export-ignore\n[attr]gone export-ignore\nold/ gone\n"));
        assert_eq!(attributes.of(b"a/b.txt", false).crlf, Crlf::Text);
        assert!(attributes.of(b"a/secret", false).ignored);
        assert!(attributes.of(b"old", true).ignored && !attributes.of(b"old", false).ignored);
        assert!(attributes.push(b"a", b"*.txt -text\nsecret -export-ignore\n"));
        assert_eq!(attributes.of(b"a/b.txt", false).crlf, Crlf::Never);
        assert!(!attributes.of(b"a/secret", false).ignored);
        assert_eq!(attributes.of(b"b.txt", false).crlf, Crlf::Text);
        attributes.pop();
        assert_eq!(attributes.of(b"a/b.txt", false).crlf, Crlf::Text);
    }

    #[test]
    fn automatic_conversion_leaves_binaries_and_mixed_files_alone() {
        assert_eq!(to_crlf(b"a\nb\r\nc", Crlf::Text).as_deref(), Some(&b"a\r\nb\r\nc"[..]));
        assert_eq!(to_crlf(b"a\nb\n", Crlf::Auto).as_deref(), Some(&b"a\r\nb\r\n"[..]));
        for kept in [&b"a\nb\r\n"[..], b"a\n\0", b"a\r\nb", b"\x01\n", b"plain"] {
            assert_eq!(to_crlf(kept, Crlf::Auto), None, "{kept:?}");
        }
    }
}
