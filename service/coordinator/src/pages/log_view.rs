//! The log of an attempt on a page: all of a small one; of a big one the head, what the failed steps said last, and the end.
//!
//! Memory is bounded by what is shown, whatever the log's size. Line numbers of the end of a big log need the line breaks before it to be
//! counted; that is done up to [`COUNTED`] bytes and kept for logs that have ended. Beyond that, lines are counted from the end.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use burrow_results::model::{AttemptId, StepState};
use burrow_results::view::Attempt;
use burrow_web::{Problem, words};

use super::ansi;
use crate::control::LogReader;
use crate::http::{Site, refused};

/// Logs up to this size are shown whole, if they have no more lines than [`WHOLE_LINES`].
const WHOLE: u64 = 768 << 10;
/// See [`WHOLE`].
const WHOLE_LINES: usize = 6_000;
/// Of a big log: bytes and lines of the head, of the end of a failed step, of the end.
const HEAD: (u64, usize) = (16 << 10, 60);
const STEP: (u64, usize) = (64 << 10, 250);
const TAIL: (u64, usize) = (512 << 10, 2_000);
/// Line breaks are counted in so many bytes at most.
const COUNTED: u64 = 96 << 20;
/// Counts kept.
const KEPT: usize = 4_096;

/// Line breaks before an offset of a log that has ended.
#[derive(Default)]
pub struct LineCounts(Mutex<HashMap<(AttemptId, u64), u64>>);

/// Some lines that follow each other.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// Offset of the first byte.
    pub(crate) offset: u64,
    /// Number of the first line, counted from 1; `None`: too far into a big log to count.
    pub(crate) first: Option<u64>,
    /// The lines, without their breaks.
    pub(crate) lines: Vec<Vec<u8>>,
    /// Offset after the last byte.
    pub(crate) end: u64,
}

/// What is shown of a log.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// In order, with gaps between them.
    pub(crate) parts: Vec<Part>,
    /// Bytes of the whole, as far as known.
    pub(crate) size: u64,
}

async fn read(site: &Site, attempt: AttemptId, from: u64, most: u64) -> Result<Vec<u8>, Problem> {
    let mut reader = site.control().log(attempt, from, false).await.map_err(refused)?;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < most {
        match reader.next().await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(error = %error, attempt = attempt.0, "A log could not be read.");
                break;
            }
        }
    }
    bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    Ok(bytes)
}

/// Cuts bytes into lines; a partial last line counts.
fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// The last `most` whole lines of a window that ends at `end`.
async fn window(site: &Site, attempt: &Attempt, floor: u64, end: u64, (bytes, most): (u64, usize)) -> Result<Part, Problem> {
    let mut offset = end.saturating_sub(bytes).max(floor);
    let mut content = read(site, attempt.id, offset, end - offset).await?;
    if offset > floor
        && let Some(at) = content.iter().position(|byte| *byte == b'\n')
    {
        content.drain(..=at);
        offset += at as u64 + 1;
    }
    let breaks: Vec<usize> = content.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
    let unfinished = content.last().is_some_and(|byte| *byte != b'\n');
    let lines = breaks.len() + usize::from(unfinished);
    if lines > most
        && let Some(at) = breaks.get(lines - most - 1)
    {
        content.drain(..=*at);
        offset += *at as u64 + 1;
    }
    let first = count(site, attempt, offset).await?.map(|before| before + 1);
    Ok(Part { offset, first, end: offset + content.len() as u64, lines: split(&content) })
}

async fn count(site: &Site, attempt: &Attempt, offset: u64) -> Result<Option<u64>, Problem> {
    if offset == 0 {
        return Ok(Some(0));
    }
    if offset > COUNTED {
        return Ok(None);
    }
    let key = (attempt.id, offset);
    let known = |site: &Site| site.line_counts().0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
    if let Some(known) = known(site) {
        return Ok(Some(known));
    }
    let mut reader = site.control().log(attempt.id, 0, false).await.map_err(refused)?;
    let (mut seen, mut breaks) = (0_u64, 0_u64);
    while seen < offset {
        let Ok(Some(piece)) = reader.next().await else { return Ok(None) };
        let part = piece.get(..usize::try_from(offset - seen).unwrap_or(usize::MAX).min(piece.len())).unwrap_or(&piece);
        breaks += part.iter().filter(|byte| **byte == b'\n').count() as u64;
        seen += piece.len() as u64;
    }
    if attempt.ended_ms.is_some() {
        let mut counts = site.line_counts().0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= KEPT {
            counts.clear();
        }
        counts.insert(key, breaks);
    }
    Ok(Some(breaks))
}

/// Reads what a build's page shows of the log of `attempt`.
///
/// # Errors
/// The log cannot be opened.
pub(crate) async fn load(site: &Site, attempt: &Attempt) -> Result<Shown, Problem> {
    let known = attempt.steps.iter().map(|step| step.log_end.unwrap_or(step.log_start)).max().unwrap_or(0).max(attempt.log_bytes);
    let mut size = u64::try_from(known).unwrap_or(0);
    if size <= WHOLE {
        let bytes = read(site, attempt.id, 0, WHOLE + 1).await?;
        let lines = split(&bytes);
        if bytes.len() as u64 <= WHOLE && lines.len() <= WHOLE_LINES {
            let end = bytes.len() as u64;
            return Ok(Shown { parts: vec![Part { offset: 0, first: Some(1), lines, end }], size: end });
        }
        size = size.max(bytes.len() as u64);
    }
    if attempt.ended_ms.is_none() {
        // What was written since the last step ended: skipped over, not kept.
        let mut reader = site.control().log(attempt.id, size, false).await.map_err(refused)?;
        while let Ok(Some(piece)) = reader.next().await {
            size += piece.len() as u64;
        }
    }
    let head = read(site, attempt.id, 0, HEAD.0).await?;
    let cut = head.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).take(HEAD.1).last().unwrap_or(head.len());
    let mut parts = vec![Part { offset: 0, first: Some(1), lines: split(head.get(..cut).unwrap_or(&head)), end: cut as u64 }];
    let tail_floor = size.saturating_sub(TAIL.0);
    let failed = attempt.steps.iter().filter(|step| matches!(step.state, StepState::Failed | StepState::TimedOut));
    for end in failed.filter_map(|step| u64::try_from(step.log_end?).ok()).filter(|end| *end < tail_floor).take(3) {
        let floor = parts.last().map_or(0, |part| part.end);
        if end > floor {
            parts.push(window(site, attempt, floor, end, STEP).await?);
        }
    }
    let floor = parts.last().map_or(0, |part| part.end);
    parts.push(window(site, attempt, floor, size, TAIL).await?);
    Ok(Shown { parts, size })
}

/// Lines `from` to `to` (counted from 1) of a log.
///
/// # Errors
/// The log cannot be opened.
pub(crate) async fn lines(site: &Site, attempt: AttemptId, from: u64, to: u64) -> Result<Part, Problem> {
    Ok(lines_of(site.control().log(attempt, 0, false).await.map_err(refused)?, from, to).await)
}

/// Lines `from` to `to` of what a reader gives; a log that breaks off is shown as far as it goes.
pub(crate) async fn lines_of(mut reader: Box<dyn LogReader>, from: u64, to: u64) -> Part {
    let (mut line, mut offset, mut part) = (1_u64, 0_u64, Part { first: Some(from), ..Part::default() });
    let mut current: Vec<u8> = Vec::new();
    'pieces: while let Ok(Some(piece)) = reader.next().await {
        for chunk in piece.split_inclusive(|byte| *byte == b'\n') {
            if line >= from {
                if part.lines.is_empty() && current.is_empty() {
                    part.offset = offset;
                }
                // Of a line that never ends only its beginning is kept.
                let room = (ansi::LONGEST + 1).saturating_sub(current.len());
                current.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or(chunk));
            }
            offset += chunk.len() as u64;
            if chunk.ends_with(b"\n") {
                if line >= from {
                    if current.last() == Some(&b'\n') {
                        current.pop();
                    }
                    part.lines.push(std::mem::take(&mut current));
                }
                line += 1;
                if line > to {
                    break 'pieces;
                }
            }
        }
    }
    if !current.is_empty() {
        part.lines.push(current);
    }
    part.end = offset;
    part
}

impl Shown {
    /// All shown lines as plain text, with their part and their index in it.
    pub(super) fn plain(&self) -> Vec<(usize, usize, String)> {
        self.parts.iter().enumerate().flat_map(|(at, part)| part.lines.iter().enumerate().map(move |(index, line)| (at, index, ansi::plain(line)))).collect()
    }

    /// Number after the last shown line, for lines that follow; 0 if lines are counted from the end.
    pub(super) fn next_line(&self) -> u64 {
        self.parts.last().map_or(1, |part| part.first.map_or(0, |first| first + part.lines.len() as u64))
    }

    /// The lines as HTML. `bad` holds part and index of lines that say what failed; `log_url` leads to whole ranges.
    pub(super) fn html(&self, bad: &std::collections::HashSet<(usize, usize)>, log_url: &str) -> String {
        let mut out =
            String::with_capacity(self.parts.iter().map(|part| (part.end - part.offset) as usize + part.lines.len() * 60).sum::<usize>().min(8 << 20));
        for (at, part) in self.parts.iter().enumerate() {
            if let Some(before) = at.checked_sub(1).and_then(|before| self.parts.get(before)) {
                gap(&mut out, before, part, log_url);
            }
            part.html(&mut out, |index| bad.contains(&(at, index)));
        }
        out
    }
}

impl Part {
    /// Appends the lines as HTML.
    pub(super) fn html(&self, out: &mut String, bad: impl Fn(usize) -> bool) {
        for (index, line) in self.lines.iter().enumerate() {
            let class = if bad(index) { " class=bad" } else { "" };
            match self.first {
                Some(first) => {
                    let n = first + index as u64;
                    out.push_str(&format!("<div id=L{n}{class}><a href=#L{n} data-n={n}></a><span>"));
                }
                None => {
                    // Counted from the end: the last line is −1.
                    let n = self.lines.len() - index;
                    out.push_str(&format!("<div id=E{n}{class}><a href=#E{n} data-n=−{n}></a><span>"));
                }
            }
            ansi::line(out, line);
            out.push_str("</span></div>");
        }
    }
}

fn gap(out: &mut String, before: &Part, after: &Part, log_url: &str) {
    let bytes = after.offset.saturating_sub(before.end);
    if bytes == 0 {
        return;
    }
    out.push_str("<p class=gap>");
    match (before.first.map(|first| first + before.lines.len() as u64), after.first) {
        (Some(from), Some(to)) if to > from => {
            let hidden = to - from;
            let upto = to.min(from + 2_000) - 1;
            out.push_str(&format!(
                "{hidden} lines ({}) are not shown here. <a href=\"{log_url}?from={from}&amp;to={upto}\">Lines {from} to {upto}</a>",
                words::bytes(bytes as i64)
            ));
            if upto + 1 < to {
                let low = to.saturating_sub(2_000).max(from);
                out.push_str(&format!(" · <a href=\"{log_url}?from={low}&amp;to={}\">lines {low} to {}</a>", to - 1, to - 1));
            }
        }
        _ => out.push_str(&format!("{} are not shown here.", words::bytes(bytes as i64))),
    }
    out.push_str("</p>");
}
