//! Logs in files: as maintner's leader keeps them on disk, and as frozen segments like those of its bucket or a follower's cache.
//!
//! `DIR/disk/maintner-YYYY-MM-DD.mutlog` can be given to the reference as `-data-dir`, `DIR/segments/NNNN.<sha224>.mutlog` is what a follower's cache holds,
//! and `DIR/manifest.json` lists both. Files are flushed, not synced: what a crash loses can be made again.

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::{fs, mem};

use protocol_mutlog::{Digest, SegmentName, append_record, data_file_name, starts_new_segment};
use serde::{Deserialize, Serialize};

use crate::{Counts, Order, Plan, generate};

/// Which files to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A log on disk, one file a day.
    Disk,
    /// Numbered segments, all of them frozen.
    Segments,
    /// Both, of the same records.
    Both,
}

/// Where the files of a log on disk end. Segments have their own rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    /// A day ends with the record that brings its file to this many bytes.
    pub day: u64,
}

/// A file of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// Name in its folder.
    pub name: String,
    /// Place in its row, from 0.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// Records.
    pub records: u64,
    /// SHA-224 of all bytes, in hex.
    pub sha224: String,
}

/// What was written: the content of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What made the log: version of the package.
    pub version: String,
    /// Scale, seed and order; absent for logs that have none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub plan: Option<(f64, u64, Order)>,
    /// Records by kind, with the bytes of their payloads; absent like the plan.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub counts: Option<Counts>,
    /// Records.
    pub records: u64,
    /// Bytes of all payloads, without headers.
    pub payload_bytes: u64,
    /// Bytes of all files on disk.
    pub disk_bytes: u64,
    /// Bytes of all segments.
    pub segment_bytes: u64,
    /// The files in `disk`, in order.
    pub disk: Vec<LogFile>,
    /// The files in `segments`, in order.
    pub segments: Vec<LogFile>,
}

/// Why a log could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is a log already.
    #[error("{} is there already; a log is written to a new folder", path.display())]
    Exists {
        /// The folder in the way.
        path: PathBuf,
    },
    /// A file or folder could not be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The records could not be made.
    #[error("cannot make the log")]
    Source(#[source] io::Error),
}

/// A row of files that is being written.
struct Row {
    folder: PathBuf,
    /// Whether files are segments; else days.
    segments: bool,
    day: u64,
    done: Vec<LogFile>,
    open: Option<(PathBuf, BufWriter<fs::File>)>,
    size: u64,
    records: u64,
    digest: Digest,
    /// Reused for every record.
    frame: Vec<u8>,
}

impl Row {
    fn new(folder: PathBuf, segments: bool, cuts: Cuts) -> Result<Row, WriteError> {
        fs::create_dir(&folder).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => WriteError::Exists { path: folder.clone() },
            _ => WriteError::Io { path: folder.clone(), source },
        })?;
        Ok(Row { folder, segments, day: cuts.day, done: Vec::new(), open: None, size: 0, records: 0, digest: Digest::default(), frame: Vec::new() })
    }

    fn name(&self) -> String {
        let number = self.done.len() as u32;
        if self.segments {
            return SegmentName { number, sha224: None }.to_string();
        }
        // Days of 28 are enough for a month; order is what counts.
        data_file_name(2022 + (number / 28 / 12) as i32, 1 + number / 28 % 12, 1 + number % 28)
    }

    /// Appends a record; returns its bytes.
    fn append(&mut self, payload: &[u8]) -> Result<u64, WriteError> {
        let full = if self.segments { starts_new_segment(self.size, payload.len()) } else { self.size >= self.day };
        if full {
            self.close()?;
        }
        let failed = |path: &Path, source| WriteError::Io { path: path.to_owned(), source };
        let (path, file) = match &mut self.open {
            Some(open) => open,
            None => {
                let path = self.folder.join(self.name());
                let file = fs::File::create_new(&path).map_err(|source| failed(&path, source))?;
                self.open.insert((path, BufWriter::with_capacity(1 << 20, file)))
            }
        };
        self.frame.clear();
        append_record(&mut self.frame, self.size, payload);
        file.write_all(&self.frame).map_err(|source| failed(path, source))?;
        self.digest.update(&self.frame);
        self.size += self.frame.len() as u64;
        self.records += 1;
        Ok(self.frame.len() as u64)
    }

    fn close(&mut self) -> Result<(), WriteError> {
        let Some((path, mut file)) = self.open.take() else { return Ok(()) };
        let failed = |source| WriteError::Io { path: path.clone(), source };
        file.flush().map_err(failed)?;
        let number = self.done.len() as u32;
        let digest = mem::take(&mut self.digest).finish();
        let mut name = self.name();
        if self.segments {
            name = SegmentName { number, sha224: Some(digest) }.to_string();
            fs::rename(&path, self.folder.join(&name)).map_err(failed)?;
        }
        self.done.push(LogFile { name, number, size: mem::take(&mut self.size), records: mem::take(&mut self.records), sha224: digest.to_string() });
        Ok(())
    }
}

/// Where [`write_payloads`] asks for the records: it is handed what takes one payload.
pub type Source<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;

/// Writes the payloads that `source` makes to files below `out_dir`, which is made if need be. `progress` hears the bytes of each record.
///
/// # Errors
/// [`WriteError`]. What was written until then stays.
pub fn write_payloads(source: Source<'_>, out_dir: &Path, layout: Layout, cuts: Cuts, progress: &mut dyn FnMut(u64)) -> Result<Manifest, WriteError> {
    fs::create_dir_all(out_dir).map_err(|source| WriteError::Io { path: out_dir.to_owned(), source })?;
    let mut rows = Vec::new();
    for (name, segments, wanted) in [("disk", false, layout != Layout::Segments), ("segments", true, layout != Layout::Disk)] {
        if wanted {
            rows.push(Row::new(out_dir.join(name), segments, cuts)?);
        }
    }
    let (mut records, mut payload_bytes) = (0, 0);
    let mut failure = None;
    let made = source(&mut |payload| {
        records += 1;
        payload_bytes += payload.len() as u64;
        let mut written = 0;
        for row in &mut rows {
            match row.append(payload) {
                Ok(bytes) => written = bytes,
                Err(error) => {
                    failure = Some(error);
                    return Err(io::Error::other("the log cannot be written"));
                }
            }
        }
        progress(written);
        Ok(())
    });
    if let Some(error) = failure {
        return Err(error);
    }
    made.map_err(WriteError::Source)?;
    let (mut disk, mut segments) = (Vec::new(), Vec::new());
    for mut row in rows {
        row.close()?;
        *if row.segments { &mut segments } else { &mut disk } = row.done;
    }
    let bytes = |files: &[LogFile]| files.iter().map(|file| file.size).sum();
    let manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        plan: None,
        counts: None,
        records,
        payload_bytes,
        disk_bytes: bytes(&disk),
        segment_bytes: bytes(&segments),
        disk,
        segments,
    };
    write_manifest(out_dir, &manifest)?;
    Ok(manifest)
}

fn write_manifest(out_dir: &Path, manifest: &Manifest) -> Result<(), WriteError> {
    let path = out_dir.join("manifest.json");
    let written = serde_json::to_vec_pretty(manifest).map_err(io::Error::from).and_then(|text| fs::write(&path, text));
    written.map_err(|source| WriteError::Io { path, source })
}

/// Makes a log and writes it below `out_dir`. A log in order of time is spread over about four days, one as of a first sync is written in a day. `progress` hears
/// the bytes of each record.
///
/// # Errors
/// [`WriteError`]. What was written until then stays.
pub fn write_log(plan: &Plan, out_dir: &Path, layout: Layout, progress: &mut dyn FnMut(u64)) -> Result<Manifest, WriteError> {
    let day = match plan.order {
        Order::Time => (plan.scale * 560e6) as u64,
        Order::Slurp => u64::MAX,
    };
    let mut counts = None;
    let mut manifest = write_payloads(
        &mut |each| {
            counts = Some(generate(plan, each)?);
            Ok(())
        },
        out_dir,
        layout,
        Cuts { day },
        progress,
    )?;
    manifest.plan = Some((plan.scale, plan.seed, plan.order));
    manifest.counts = counts;
    write_manifest(out_dir, &manifest)?;
    Ok(manifest)
}
