//! Go's file modes (spec buildlet.md §3.5): neither octal on the wire nor the bits of POSIX `st_mode`.

use std::fmt;

/// A file mode in Go's numbering: permissions in the low nine bits, the type in the high ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GoMode(pub u32);

/// Directory.
pub const DIR: u32 = 1 << 31;
/// Symbolic link.
pub const SYMLINK: u32 = 1 << 27;
/// Device.
pub const DEVICE: u32 = 1 << 26;
/// Named pipe.
pub const FIFO: u32 = 1 << 25;
/// Socket.
pub const SOCKET: u32 = 1 << 24;
/// Set user id.
pub const SETUID: u32 = 1 << 23;
/// Set group id.
pub const SETGID: u32 = 1 << 22;
/// Character device (together with [`DEVICE`]).
pub const CHAR: u32 = 1 << 21;
/// Sticky.
pub const STICKY: u32 = 1 << 20;
/// Something else.
pub const IRREGULAR: u32 = 1 << 19;

const TYPES: u32 = DIR | SYMLINK | DEVICE | FIFO | SOCKET | CHAR | IRREGULAR;

/// The letters of bits 31…16 in Go's order; those without a meaning here still have one there.
const LETTERS: [(u32, char); 13] = [
    (1 << 31, 'd'),
    (1 << 30, 'a'),
    (1 << 29, 'l'),
    (1 << 28, 'T'),
    (1 << 27, 'L'),
    (1 << 26, 'D'),
    (1 << 25, 'p'),
    (1 << 24, 'S'),
    (1 << 23, 'u'),
    (1 << 22, 'g'),
    (1 << 21, 'c'),
    (1 << 20, 't'),
    (1 << 19, '?'),
];

impl GoMode {
    /// A regular file with these permission bits.
    #[must_use]
    pub const fn regular(permissions: u32) -> Self {
        Self(permissions & 0o777)
    }

    /// A directory with these permission bits.
    #[must_use]
    pub const fn directory(permissions: u32) -> Self {
        Self(DIR | (permissions & 0o777))
    }

    /// The nine permission bits.
    #[must_use]
    pub const fn permissions(self) -> u32 {
        self.0 & 0o777
    }

    /// Whether no type bit is set.
    #[must_use]
    pub const fn is_regular(self) -> bool {
        self.0 & TYPES == 0
    }

    /// Whether it is a directory.
    #[must_use]
    pub const fn is_dir(self) -> bool {
        self.0 & DIR != 0
    }

    /// Translates POSIX `st_mode`.
    #[must_use]
    pub const fn from_posix(st_mode: u32) -> Self {
        let mut mode = st_mode & 0o777;
        mode |= match st_mode & 0o170_000 {
            0o040_000 => DIR,
            0o120_000 => SYMLINK,
            0o060_000 => DEVICE,
            0o020_000 => DEVICE | CHAR,
            0o010_000 => FIFO,
            0o140_000 => SOCKET,
            0o100_000 => 0,
            _ => IRREGULAR,
        };
        if st_mode & 0o4000 != 0 {
            mode |= SETUID;
        }
        if st_mode & 0o2000 != 0 {
            mode |= SETGID;
        }
        if st_mode & 0o1000 != 0 {
            mode |= STICKY;
        }
        Self(mode)
    }

    /// The POSIX permission bits with setuid, setgid and sticky.
    #[must_use]
    pub const fn posix_permissions(self) -> u32 {
        let mut mode = self.0 & 0o777;
        if self.0 & SETUID != 0 {
            mode |= 0o4000;
        }
        if self.0 & SETGID != 0 {
            mode |= 0o2000;
        }
        if self.0 & STICKY != 0 {
            mode |= 0o1000;
        }
        mode
    }

    /// Parses the `mode` parameter of `/write`: decimal, no type bit. `None` is the answer `bad mode`.
    #[must_use]
    pub fn from_parameter(text: &str) -> Option<Self> {
        // Go's ParseUint takes no sign, which Rust's parser would.
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mode = Self(text.parse().ok()?);
        mode.is_regular().then_some(mode)
    }

    /// Parses the letters that [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (prefix, permissions) = bytes.split_at_checked(bytes.len().checked_sub(9)?)?;
        let mut mode = 0;
        for (i, (&b, letter)) in permissions.iter().zip(b"rwxrwxrwx").enumerate() {
            if b == *letter {
                mode |= 1 << (8 - i);
            } else if b != b'-' {
                return None;
            }
        }
        if prefix == b"-" {
            return Some(Self(mode));
        }
        if prefix.is_empty() {
            return None;
        }
        let mut last = u32::MAX;
        for &b in prefix {
            let (bit, _) = LETTERS.iter().find(|(_, l)| *l == char::from(b))?;
            // In order and each once: one text for one mode.
            if *bit >= last {
                return None;
            }
            last = *bit;
            mode |= bit;
        }
        Some(Self(mode))
    }
}

impl fmt::Display for GoMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(12);
        for (bit, letter) in LETTERS {
            if self.0 & bit != 0 {
                text.push(letter);
            }
        }
        if text.is_empty() {
            text.push('-');
        }
        for (i, letter) in "rwxrwxrwx".chars().enumerate() {
            text.push(if self.0 & (1 << (8 - i)) != 0 { letter } else { '-' });
        }
        f.pad(&text)
    }
}
