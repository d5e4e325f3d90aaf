//! What can be typed behind `burrow mutlog`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::godata::args::DumpArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow mutlog verify /var/maintner
  burrow mutlog cat /var/maintner --limit 5
  burrow mutlog convert /var/maintner /var/burrow/maintner --to segments
  burrow mutlog gen --scale 0.01 --seed 1 --out sample

A log is a folder of maintner-*.mutlog, as the reference's maintnerd keeps on disk, or of
NNNN.*.mutlog, as a follower's cache and Burrow's maintnerd keep.
Exit status: 0 fine, 1 something is wrong with the log that was looked at, 2 wrong arguments,
3 the work could not be done.")]
pub(crate) struct MutlogArgs {
    /// Answers as lines of JSON, an object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: MutlogCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MutlogCommand {
    /// Make a synthetic log, as big as you like; the same numbers give the same bytes everywhere
    Gen(GenArgs),
    /// Make a small log with everything odd that a log can hold
    Torture(TortureArgs),
    /// Write all that a log means as sorted lines of JSON with one SHA-256 over them (docs/maintner-dump.md)
    #[command(after_help = "\
Examples:
  burrow mutlog dump /var/maintner --out corpus.jsonl
  burrow mutlog dump sample/disk --out /dev/null      only the number of lines and the digest
  burrow mutlog dump /var/maintner --reading ours > corpus.jsonl")]
    Dump {
        /// Folder or file of the log
        #[arg(value_name = "DIR|FILE")]
        log: PathBuf,
        #[command(flatten)]
        dump: DumpArgs,
    },
    /// Make a log of another form out of one; the old one stays as it is
    #[command(after_help = "\
Examples:
  burrow mutlog convert /var/maintner /var/burrow/maintner                the reference's log becomes Burrow's
  burrow mutlog convert /var/burrow/maintner /var/maintner --to disk      and back
  burrow mutlog convert ~/.cache/golang-maintner go-log                   a follower's cache becomes a leader's log

Segments keep their cuts and every byte, so that followers go on where they were. An unfinished last
record is left out.")]
    Convert {
        /// Folder of the log
        from: PathBuf,
        /// Empty or new folder
        to: PathBuf,
        /// Form of the new log
        #[arg(long = "to", value_enum, value_name = "FORM", default_value = "segments")]
        target: ToForm,
    },
    /// Read a log to its end and name every fault with file and offset
    #[command(after_help = "\
Examples:
  burrow mutlog verify /var/maintner
  burrow mutlog verify ~/.cache/golang-maintner --json

Changes nothing and may look at a log that is being written: a record that is under way is told as
unfinished.
Exit status: 0 nothing is wrong, 1 something is.")]
    Verify {
        /// Folder of the log
        dir: PathBuf,
    },
    /// Print the records of a log as JSON, an object a line
    #[command(after_help = "\
Examples:
  burrow mutlog cat /var/maintner --limit 5
  burrow mutlog cat maintner-2023-01-31.mutlog --from 0x1f3a
  burrow mutlog cat /var/maintner | jq 'select(.mutation.github_issue.number == 7)'

--from is the offset of a record in the file, as faults are told; with a folder, in all its files
behind each other. Bytes that are no text come as U+FFFD. Exit status: 1 if a record is no mutation.")]
    Cat {
        /// File, or folder of the log
        #[arg(value_name = "FILE|DIR")]
        log: PathBuf,
        /// Begin with the record at this offset; decimal, or hexadecimal with 0x
        #[arg(long, value_name = "OFFSET", value_parser = offset, default_value = "0", hide_default_value = true)]
        from: u64,
        /// At most so many records
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
}

/// An offset as errors and record headers have it.
fn offset(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("{text:?} is no offset; give 8192 or 0x2000"))
}

/// Order of a synthetic log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GenOrder {
    /// As it would have happened.
    Time,
    /// As a first sync writes it.
    Slurp,
}

/// Files of a synthetic log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GenLayout {
    /// maintner-YYYY-MM-DD.mutlog in DIR/disk.
    Disk,
    /// NNNN.SHA224.mutlog in DIR/segments.
    Segments,
    Both,
}

/// Form of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ToForm {
    /// maintner-*.mutlog, which the reference's maintnerd reads from its data folder.
    Disk,
    /// NNNN.*.mutlog, for `burrow maintnerd`.
    Segments,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow mutlog gen --scale 0.001 --out sample        two megabytes: 60 issues, 95 changes
  burrow mutlog gen --scale 1 --seed 7 --out big      2.2 GB, as Go's at the end of 2022
  burrow godata --log sample stats                    look at what was made")]
pub(crate) struct GenArgs {
    /// How big: 1 is the Go project at the end of 2022, 2.2 GB; above 0, at most 50
    #[arg(long, value_name = "S")]
    pub(crate) scale: f64,
    /// What else is made of the same model
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,
    /// Order of the mutations
    #[arg(long, value_enum, default_value = "time")]
    pub(crate) order: GenOrder,
    /// New folder; the log is in its folders disk and segments, and manifest.json lists the files
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Files to write
    #[arg(long, value_enum, default_value = "both")]
    pub(crate) layout: GenLayout,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow mutlog torture --out odd
  burrow mutlog torture --big --out odd-big           with a segment of exactly 16 MiB and a record of 20 MiB
  burrow mutlog torture --hostile --out hostile       what ends the reference, or is no mutation at all")]
pub(crate) struct TortureArgs {
    /// New folder; the log is in its folders disk and segments, and manifest.json lists the files
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// With big records
    #[arg(long, conflicts_with = "hostile")]
    pub(crate) big: bool,
    /// What only damage or malice writes; some records cannot be decoded
    #[arg(long)]
    pub(crate) hostile: bool,
    /// Files to write
    #[arg(long, value_enum, default_value = "both")]
    pub(crate) layout: GenLayout,
}

#[cfg(test)]
mod tests {
    #[test]
    fn offsets_are_read_as_faults_and_headers_write_them() {
        for (text, value) in [("0", Some(0)), ("8192", Some(8192)), ("0x2000", Some(8192)), ("2g", None), ("-1", None), ("", None)] {
            assert_eq!(super::offset(text).ok(), value, "{text}");
        }
    }
}
