//! Notices that a source has fallen silent: for longer than it ever was while this process ran.
//!
//! A hook that somebody deleted, a mailbox that bounces, a key that expired: all look like peace. What is usual is learned from the source itself, kept over
//! restarts, and never called unusual below a floor. Only time in which we could have heard counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is known of one source's silences.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Silence {
    /// Milliseconds of our life since it was last heard.
    pub quiet_ms: u64,
    /// Longest time between two signs of life.
    pub longest_ms: u64,
    /// Signs of life.
    pub heard: u64,
    /// When the last one was, Unix milliseconds.
    pub last_ms: Option<i64>,
    /// Somebody was told that it is silent.
    pub told: bool,
}

/// How a source sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// Nothing has ever come.
    Never,
    /// As usual.
    Usual,
    /// Silent for longer than ever before.
    Silent {
        /// For so long.
        quiet: Duration,
        /// The longest time before.
        longest: Duration,
    },
}

impl Silence {
    /// Time passes in which nothing came.
    pub fn pass(&mut self, ms: u64) {
        self.quiet_ms = self.quiet_ms.saturating_add(ms);
    }

    /// A sign of life, at Unix milliseconds.
    pub fn hear(&mut self, now_ms: i64) {
        if self.heard > 0 {
            self.longest_ms = self.longest_ms.max(self.quiet_ms);
        }
        self.heard = self.heard.saturating_add(1);
        self.quiet_ms = 0;
        self.last_ms = Some(now_ms);
    }

    /// How it sounds, if silence up to `floor` is never unusual; `None`: no silence is.
    pub fn hearing(&self, floor: Option<Duration>) -> Hearing {
        if self.heard == 0 {
            return Hearing::Never;
        }
        let (quiet, longest) = (Duration::from_millis(self.quiet_ms), Duration::from_millis(self.longest_ms));
        match floor {
            Some(floor) if quiet > floor.max(longest) => Hearing::Silent { quiet, longest },
            _ => Hearing::Usual,
        }
    }

    /// Whether somebody must be told now; each change is told once. `Some(true)`: it has fallen silent.
    pub fn turn(&mut self, floor: Option<Duration>) -> Option<bool> {
        let silent = matches!(self.hearing(floor), Hearing::Silent { .. });
        (silent != self.told).then(|| {
            self.told = silent;
            silent
        })
    }
}

/// Where what was learned is kept.
#[derive(Debug, Clone)]
pub struct Memory(PathBuf);

impl Memory {
    /// In this folder.
    pub fn in_folder(folder: &Path) -> Memory {
        Memory(folder.join("silence.json"))
    }

    /// What was learned. A file that cannot be read is told of and begun anew: nothing else hangs on it.
    pub fn load(&self) -> BTreeMap<String, Silence> {
        match std::fs::read(&self.0) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %self.0.display(), %error, "What was learned of the sources' silences cannot be read; it is learned anew.");
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        }
    }

    /// Keeps it. A crash leaves the old file or the new one.
    ///
    /// # Errors
    /// The system's word.
    pub fn save(&self, learned: &BTreeMap<String, Silence>) -> std::io::Result<()> {
        let new = self.0.with_extension("new");
        std::fs::write(&new, serde_json::to_vec_pretty(learned)?)?;
        std::fs::rename(&new, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const FLOOR: Option<Duration> = Some(Duration::from_secs(2 * 3600));

    #[test]
    fn silence_is_measured_against_the_longest_one_and_the_floor_and_told_once() {
        let mut silence = Silence::default();
        silence.pass(1_000 * HOUR);
        assert_eq!((silence.hearing(FLOOR), silence.turn(FLOOR)), (Hearing::Never, None), "what never spoke has not fallen silent");
        silence.hear(1);
        silence.pass(2 * HOUR);
        assert_eq!(silence.hearing(FLOOR), Hearing::Usual);
        silence.pass(1);
        assert!(matches!(silence.hearing(FLOOR), Hearing::Silent { longest: Duration::ZERO, .. }));
        assert_eq!((silence.turn(FLOOR), silence.turn(FLOOR)), (Some(true), None));
        silence.pass(10 * HOUR);
        silence.hear(2);
        assert_eq!((silence.turn(FLOOR), silence.turn(FLOOR)), (Some(false), None));
        // A weekend was learned.
        silence.pass(12 * HOUR);
        assert_eq!(silence.hearing(FLOOR), Hearing::Usual);
        silence.pass(HOUR);
        assert!(matches!(silence.hearing(FLOOR), Hearing::Silent { quiet, longest } if quiet > longest));
        assert_eq!(silence.hearing(None), Hearing::Usual);
    }

    #[test]
    fn what_was_learned_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::in_folder(dir.path());
        assert!(memory.load().is_empty());
        let learned = BTreeMap::from([("hub".to_owned(), Silence { quiet_ms: 1, longest_ms: 2, heard: 3, last_ms: Some(4), told: true })]);
        memory.save(&learned).unwrap();
        assert_eq!(memory.load(), learned);
        std::fs::write(dir.path().join("silence.json"), "{").unwrap();
        assert!(memory.load().is_empty());
    }
}
