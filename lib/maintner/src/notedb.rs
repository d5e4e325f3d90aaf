//! What Gerrit writes into the messages of a change's meta commits (`spec/maintner.md` §4.4, the table of derived values).
//!
//! Everything here is exactly as lenient as the reference, prose included: programs depend on what it finds.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memmem};

use crate::commit::{integer, trim};

/// Value of the first line that begins with `prefix` (which holds its colon), trimmed, and the text after that line. "Begins" means: at the start of the
/// text or after a line feed or carriage return, or right behind an earlier occurrence that did not.
pub(crate) fn line_value<'a>(all: &'a [u8], prefix: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    line_value_by(all, prefix.len(), |text| memmem::find(text, prefix))
}

fn line_value_by(all: &[u8], prefix: usize, find: impl Fn(&[u8]) -> Option<usize>) -> Option<(&[u8], &[u8])> {
    let mut rest = all;
    loop {
        let at = find(rest)?;
        let behind = rest.get(at + prefix..)?;
        let fits = match at.checked_sub(1).and_then(|before| rest.get(before)) {
            None => true,
            Some(before) => matches!(before, b'\n' | b'\r'),
        };
        if !fits {
            rest = behind;
            continue;
        }
        let end = memchr(b'\n', behind).map_or(behind.len(), |end| end + 1);
        let (value, rest) = behind.split_at_checked(end)?;
        return Some((trim(value), rest));
    }
}

/// What a commit's message says about its change, in bits.
pub(crate) mod says {
    /// `\nLabel: ` occurs.
    pub(crate) const LABEL: u16 = 1;
    /// `\nPrivate: true\n` occurs.
    pub(crate) const PRIVATE: u16 = 1 << 1;
    /// A line `Private: false`.
    pub(crate) const NOT_PRIVATE: u16 = 1 << 2;
    /// `Work-in-progress: true`.
    pub(crate) const WIP: u16 = 1 << 3;
    /// `Work-in-progress: false`.
    pub(crate) const NOT_WIP: u16 = 1 << 4;
    /// It has a `Branch:`.
    pub(crate) const BRANCH: u16 = 1 << 5;
    /// It holds a message.
    pub(crate) const MESSAGE: u16 = 1 << 6;
    /// The status, [`super::Status`], in three bits.
    pub(crate) const STATUS: u16 = 7 << STATUS_SHIFT;
    pub(crate) const STATUS_SHIFT: u16 = 8;
}

/// State of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Open.
    New,
    /// Open, shown to few; Gerrit no longer makes these.
    Draft,
    /// Given up.
    Abandoned,
    /// Submitted.
    Merged,
}

impl Status {
    /// Gerrit's word.
    pub fn word(self) -> &'static str {
        match self {
            Status::New => "new",
            Status::Draft => "draft",
            Status::Abandoned => "abandoned",
            Status::Merged => "merged",
        }
    }

    pub(crate) fn from_bits(bits: u16) -> Option<Status> {
        match (bits & says::STATUS) >> says::STATUS_SHIFT {
            1 => Some(Status::New),
            2 => Some(Status::Draft),
            3 => Some(Status::Abandoned),
            4 => Some(Status::Merged),
            _ => None,
        }
    }

    pub(crate) fn bits(self) -> u16 {
        (self as u16 + 1) << says::STATUS_SHIFT
    }
}

struct Finders {
    label: Finder<'static>,
    private: Finder<'static>,
    status: Finder<'static>,
    wip: Finder<'static>,
    branch: Finder<'static>,
    patch_set: Finder<'static>,
    uploaded: Finder<'static>,
}

static FINDERS: LazyLock<Finders> = LazyLock::new(|| Finders {
    label: Finder::new("\nLabel: "),
    private: Finder::new("\nPrivate: "),
    status: Finder::new("\nStatus: "),
    wip: Finder::new("Work-in-progress:"),
    branch: Finder::new("Branch:"),
    patch_set: Finder::new("\nPatch Set "),
    uploaded: Finder::new("\nUploaded patch set "),
});

/// Everything that [`says`] can say of a message.
pub(crate) fn read(message: &[u8]) -> u16 {
    let find = &*FINDERS;
    let mut bits = 0;
    if find.label.find(message).is_some() {
        bits |= says::LABEL;
    }
    for at in find.private.find_iter(message) {
        let value = message.get(at + 10..).unwrap_or(&[]);
        if value.starts_with(b"true\n") {
            bits |= says::PRIVATE;
        } else if value.starts_with(b"false") {
            bits |= says::NOT_PRIVATE;
        }
    }
    if let Some(at) = find.status.find(message) {
        let word = message.get(at + 9..).unwrap_or(&[]);
        let known = [Status::Merged, Status::Abandoned, Status::Draft, Status::New];
        bits |= known.into_iter().find(|status| word.starts_with(status.word().as_bytes())).map_or(0, Status::bits);
    }
    match line_value_by(message, 17, |text| find.wip.find(text)) {
        Some((b"true", _)) => bits |= says::WIP,
        Some((b"false", _)) => bits |= says::NOT_WIP,
        _ => {}
    }
    if line_value_by(message, 7, |text| find.branch.find(text)).is_some_and(|(value, _)| !value.is_empty()) {
        bits |= says::BRANCH;
    }
    if message_of(message).is_some() {
        bits |= says::MESSAGE;
    }
    bits
}

/// The message that a meta commit carries: its patch set and its text, from `Patch Set` or `Uploaded patch set` on up to the blank line before `Patch-set:`.
pub(crate) fn message_of(message: &[u8]) -> Option<(i32, &[u8])> {
    let find = &*FINDERS;
    let (start, phrase) = match (find.patch_set.find(message), find.uploaded.find(message)) {
        (None, None) => return None,
        (Some(set), Some(upload)) if upload < set => (upload, 20),
        (Some(set), _) => (set, 11),
        (None, Some(upload)) => (upload, 20),
    };
    let number = message.get(start + phrase..)?;
    let number = number.get(..memchr(b':', number)?)?;
    if number.iter().any(|byte| matches!(byte, b'\n' | b'.')) {
        return None;
    }
    let version = integer(number).and_then(|number| i32::try_from(number).ok())?;
    let text = message.get(start + 1..)?;
    let mut at = 0;
    loop {
        let line = text.get(at..)?;
        let end = memchr(b'\n', line)?;
        if line.starts_with(b"Patch-set:") && end >= 10 {
            return Some((version, text.get(..at.checked_sub(2)?)?));
        }
        at += end + 1;
    }
}

/// What follows the last blank line: the block of `Key: value` lines.
pub(crate) fn footer(message: &[u8]) -> &[u8] {
    memmem::rfind(message, b"\n\n").and_then(|at| message.get(at + 2..)).unwrap_or(&[])
}
