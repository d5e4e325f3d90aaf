//! The text of the trailer `Process-State` (spec buildlet.md §4.2): how a command ended, in Go's words.

use std::fmt;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// By itself, with this status.
    Exited(i64),
    /// By a signal (its POSIX number).
    Signaled {
        /// The number.
        signal: i32,
        /// Whether it left a core file.
        core: bool,
    },
}

/// Go's names of the POSIX signals, as on every Unix.
const NAMES: [(i32, &str); 15] = [
    (1, "hangup"),
    (2, "interrupt"),
    (3, "quit"),
    (4, "illegal instruction"),
    (5, "trace/breakpoint trap"),
    (6, "aborted"),
    (7, "bus error"),
    (8, "floating point exception"),
    (9, "killed"),
    (10, "user defined signal 1"),
    (11, "segmentation fault"),
    (12, "user defined signal 2"),
    (13, "broken pipe"),
    (14, "alarm clock"),
    (15, "terminated"),
];

/// Go's name of a signal: Linux numbering.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    match NAMES.iter().find(|(number, _)| *number == signal) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("signal {signal}"),
    }
}

impl ProcessState {
    /// Whether the text is `ok`, the only one that peers interpret.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }

    /// Reads a trailer. `None` for texts that tell why the command did not start.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "ok" {
            return Some(Self::Exited(0));
        }
        if let Some(code) = text.strip_prefix("exit status ") {
            if let Some(hex) = code.strip_prefix("0x") {
                return i64::from_str_radix(hex, 16).ok().map(Self::Exited);
            }
            return code.parse().ok().map(Self::Exited);
        }
        let signal = text.strip_prefix("signal: ")?;
        let (name, core) = match signal.strip_suffix(" (core dumped)") {
            Some(name) => (name, true),
            None => (signal, false),
        };
        let signal = match NAMES.iter().find(|(_, known)| *known == name) {
            Some((number, _)) => *number,
            None => name.strip_prefix("signal ")?.parse().ok()?,
        };
        Some(Self::Signaled { signal, core })
    }
}

impl fmt::Display for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(0) => f.write_str("ok"),
            // Only Windows has such codes; they are NTSTATUS values, known by their hex form.
            Self::Exited(code) if code >= 65_536 => write!(f, "exit status {code:#x}"),
            Self::Exited(code) => write!(f, "exit status {code}"),
            Self::Signaled { signal, core } => {
                write!(f, "signal: {}{}", signal_name(signal), if core { " (core dumped)" } else { "" })
            }
        }
    }
}
