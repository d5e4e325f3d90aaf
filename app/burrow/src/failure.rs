//! Why a command could not do its work, and the exit status that tells scripts.

use std::fmt;
use std::process::ExitCode;

/// What kind of failure; each has its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Arguments or configuration: 2.
    Usage,
    /// This machine, a database, a network, another program: 3.
    Infrastructure,
}

/// A failure with a sentence for the person.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    text: String,
}

/// A build failed.
pub(crate) const BUILD_FAILED: u8 = 1;

impl Failure {
    pub(crate) fn usage(text: impl fmt::Display) -> Failure {
        Failure { kind: Kind::Usage, text: text.to_string() }
    }

    pub(crate) fn infrastructure(text: impl fmt::Display) -> Failure {
        Failure { kind: Kind::Infrastructure, text: text.to_string() }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::Usage => 2,
            Kind::Infrastructure => 3,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Configuration errors come rendered, with their own "error: ".
        if self.text.starts_with("error") { f.write_str(&self.text) } else { write!(f, "error: {}", self.text) }
    }
}
