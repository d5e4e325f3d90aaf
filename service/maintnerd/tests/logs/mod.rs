//! Logs for tests.
#![allow(dead_code, reason = "every test program uses a part of it")]

use std::collections::BTreeMap;
use std::path::Path;

use burrow_clock::TestClock;
use burrow_maintnerd::log::OpenError;
use burrow_maintnerd::{Log, Options};
use protocol_mutlog::{Records, SegmentName, Sha224, append_record, schema};

pub(crate) fn options() -> Options {
    Options { scrub_rate: 0, ..Options::new(std::sync::Arc::new(TestClock::at(1_700_000_000_000))) }
}

pub(crate) fn open(dir: &Path) -> Log {
    try_open(dir).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn try_open(dir: &Path) -> Result<Log, OpenError> {
    Log::open(dir, options())
}

/// A mutation that can be told from others.
pub(crate) fn mutation(number: i32) -> Vec<u8> {
    let issue =
        schema::GithubIssueMutation { owner: b"golang".to_vec(), repo: b"go".to_vec(), number, title: format!("title {number}").into(), ..Default::default() };
    schema::Mutation { github_issue: Some(issue), ..Default::default() }.encode()
}

/// Payloads of all records of the log in a folder, read from its files.
pub(crate) fn payloads(dir: &Path) -> Vec<Vec<u8>> {
    let all = files(dir).into_iter().filter(|(name, _)| name.ends_with(".mutlog"));
    all.flat_map(|(name, bytes)| {
        let records = Records::new(&bytes, 0).map(|record| record.unwrap_or_else(|error| panic!("{name}: {error}")).payload.to_vec());
        records.collect::<Vec<_>>()
    })
    .collect()
}

/// All files of a folder that are not empty, by name.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files = entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()));
    files.filter(|(_, bytes)| !bytes.is_empty()).collect()
}

/// The bytes of a segment with these payloads.
pub(crate) fn segment(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload in payloads {
        let offset = bytes.len() as u64;
        append_record(&mut bytes, offset, payload);
    }
    bytes
}

/// Name of a frozen segment.
pub(crate) fn frozen(number: u32, bytes: &[u8]) -> String {
    SegmentName { number, sha224: Some(Sha224::of(bytes)) }.to_string()
}

/// Name of a growing segment.
pub(crate) fn growing(number: u32) -> String {
    SegmentName { number, sha224: None }.to_string()
}

/// Fills a segment of the log so that the next record begins another.
pub(crate) async fn fill(log: &Log) {
    let size = log.snapshot().current().map_or(0, |current| current.size);
    let room = usize::try_from(protocol_mutlog::MAX_SEGMENT.saturating_sub(size)).unwrap();
    log.append(vec![7; room]).await.unwrap();
}
