//! The corpus against dumps that the reference made of the same logs, and its promises: views that never change, snapshots that are right or refused, and
//! nothing half applied.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burrow_loggen::{Order, Plan, generate, torture, torture_hostile};
use burrow_maintner::{Corpus, Covered, LoadError, Part, Reading, Snapshot, SnapshotError, View, dump};
use protocol_mutlog::{Sha224, append_record, schema};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The files of a log in a folder, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "mutlog")).collect();
    files.sort();
    files
}

fn load(dir: &Path, threads: usize) -> Corpus {
    let parts: Vec<Part> = files(dir).iter().map(|path| Part::file(path, 0, std::fs::metadata(path).unwrap().len())).collect();
    Corpus::load(&parts, threads, &|_| {}).unwrap()
}

/// Records in a segment of memory.
fn framed<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload in payloads {
        let offset = bytes.len() as u64;
        append_record(&mut bytes, offset, payload);
    }
    bytes
}

fn of_memory(payloads: &[Vec<u8>]) -> Corpus {
    Corpus::load(&[Part::memory("memory", 0, framed(payloads.iter().map(Vec::as_slice)))], 2, &|_| {}).unwrap()
}

fn lines(view: &View, reading: Reading) -> String {
    let mut out = Vec::new();
    dump::dump(view, reading, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The lines but for the counter of votes, which depends on how often a history was walked.
fn stable(view: &View) -> String {
    let all = lines(view, Reading::Ours);
    all.lines().filter(|line| !line.contains("\"t\":\"gproject\"")).fold(String::new(), |text, line| text + line + "\n")
}

fn model(scale: f64, order: Order) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    generate(&Plan { scale, seed: 3, order }, &mut |payload| {
        payloads.push(payload.to_vec());
        Ok(())
    })
    .unwrap();
    payloads
}

#[track_caller]
fn assert_same(ours: &str, theirs: &str) {
    let (a, b): (BTreeSet<&str>, BTreeSet<&str>) = (ours.lines().collect(), theirs.lines().collect());
    let more: Vec<_> = a.difference(&b).take(3).collect();
    let less: Vec<_> = b.difference(&a).take(3).collect();
    assert!(ours == theirs, "only ours:\n{more:#?}\nonly theirs:\n{less:#?}");
}

#[test]
fn dumps_equal_those_of_the_reference() {
    for name in ["small", "edge"] {
        let view = load(&fixture(name), 2).view();
        let recorded = std::fs::read_to_string(fixture(&format!("{name}.jsonl"))).unwrap();
        assert_same(&lines(&view, Reading::Reference), &recorded);
    }
}

#[test]
fn the_torture_log_means_what_the_reference_says() {
    // Digests that the reference printed for the same bytes.
    for (big, sha256, count) in [
        (false, "4e6e95960b5f6fe5fc3f746ab1f92dfcab677d28c072ccd5687f157f72714944", 1115),
        (true, "6861e71b93d7ec7d45b944c38411c54583c952cc276b64aa4eb6792a0579cd46", 1118),
    ] {
        let view = of_memory(&torture(big)).view();
        let summary = dump::dump(&view, Reading::Reference, &mut std::io::sink()).unwrap();
        assert_eq!((summary.sha256.as_str(), summary.lines), (sha256, count));
    }
}

#[test]
fn our_reading_differs_only_where_the_reference_is_known_to_be_wrong() {
    let view = of_memory(&torture(false)).view();
    let (ours, theirs) = (lines(&view, Reading::Ours), lines(&view, Reading::Reference));
    let (a, b): (BTreeSet<&str>, BTreeSet<&str>) = (ours.lines().collect(), theirs.lines().collect());
    let kinds: BTreeSet<&str> = a.symmetric_difference(&b).map(|line| line.split('"').nth(3).unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["gcl"]));
}

#[test]
fn the_number_of_threads_and_the_way_in_make_no_difference() {
    for order in [Order::Time, Order::Slurp] {
        let payloads = model(0.001, order);
        let bytes = framed(payloads.iter().map(Vec::as_slice));
        let expected = stable(&of_memory(&payloads).view());
        // Cut into many segments, read by one and by many.
        let cuts: Vec<Part> =
            payloads.chunks(97).enumerate().map(|(number, chunk)| Part::memory(&number.to_string(), 0, framed(chunk.iter().map(Vec::as_slice)))).collect();
        for threads in [1, 5] {
            assert_same(&stable(&Corpus::load(&cuts, threads, &|_| {}).unwrap().view()), &expected);
        }
        // One record after the other.
        let mut corpus = Corpus::new();
        let mut offset = 0;
        for payload in &payloads {
            let mut record = Vec::new();
            append_record(&mut record, offset, payload);
            let len = record.len() as u64;
            corpus.append(&Part::memory("live", offset, record)).unwrap();
            offset += len;
        }
        assert_eq!(offset, bytes.len() as u64);
        assert_eq!(corpus.view().records(), payloads.len() as u64);
        assert_same(&stable(&corpus.view()), &expected);
    }
}

#[test]
fn a_view_never_changes_and_subscribers_hear_of_every_newer_one() {
    let payloads = model(0.0005, Order::Time);
    let (first, second) = payloads.split_at(payloads.len() / 2);
    let mut corpus = of_memory(first);
    let mut news = corpus.subscribe();
    let before = corpus.view();
    let said = lines(&before, Reading::Ours);
    let start = framed(first.iter().map(Vec::as_slice)).len() as u64;
    let rest = framed(payloads.iter().map(Vec::as_slice)).split_off(start as usize);
    assert!(!news.has_changed().unwrap());
    corpus.append(&Part::memory("memory", start, rest)).unwrap();
    assert!(news.has_changed().unwrap());
    let after = news.borrow_and_update().clone();
    assert_eq!((before.records(), after.records()), (first.len() as u64, payloads.len() as u64));
    assert!(second.len() > 100 && after.position() > before.position());
    assert_eq!(lines(&before, Reading::Ours), said);
    assert_same(&stable(&after), &stable(&of_memory(&payloads).view()));
}

#[test]
fn hostile_records_are_refused_whole_or_do_no_harm() {
    let mut corpus = of_memory(&torture(false));
    let mut offset = corpus.view().position();
    let mut taken = torture(false);
    let (before, mut refused) = (taken.len(), 0);
    for payload in torture_hostile() {
        let mut record = Vec::new();
        append_record(&mut record, offset, &payload);
        let (len, position) = (record.len() as u64, corpus.view().position());
        match corpus.append(&Part::memory("hostile", offset, record)) {
            Ok(()) => {
                offset += len;
                taken.push(payload);
            }
            Err(error) => {
                let LoadError::Record { name, error } = error else { panic!("{error}") };
                assert_eq!((name.as_str(), error.offset()), ("hostile", offset));
                assert_eq!(corpus.view().position(), position);
                refused += 1;
            }
        }
    }
    assert!(taken.len() - before > 100 && refused > 10, "{} taken, {refused} refused", taken.len() - before);
    // What was refused left no trace: a corpus that never saw it is the same.
    let mut other = of_memory(&torture(false));
    let mut offset = other.view().position();
    for payload in taken.iter().skip(before) {
        let mut record = Vec::new();
        append_record(&mut record, offset, payload);
        let len = record.len() as u64;
        other.append(&Part::memory("hostile", offset, record)).unwrap();
        offset += len;
    }
    assert_same(&lines(&corpus.view(), Reading::Ours), &lines(&other.view(), Reading::Ours));
    lines(&corpus.view(), Reading::Reference);
}

#[test]
fn damage_in_a_log_is_named_with_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(files(&fixture("small")).first().unwrap()).unwrap();
    let path = dir.path().join("0000.growing.mutlog");
    let second = bytes.windows(4).skip(1).position(|window| window == b"REC@").unwrap() + 1;
    for (damaged, what) in [
        ([&bytes[..second], b"X", &bytes[second + 1..]].concat(), "malformed record header"),
        (bytes[..bytes.len() - 1].to_vec(), "truncated record"),
        ([&bytes[..second], &bytes[second + 20..]].concat(), "malformed record header"),
    ] {
        std::fs::write(&path, &damaged).unwrap();
        let error = Corpus::load(&[Part::file(&path, 0, damaged.len() as u64)], 2, &|_| {}).unwrap_err().to_string();
        assert!(error.contains("0000.growing.mutlog") && error.contains(what) && error.contains("offset"), "{error}");
    }
    let missing = Corpus::load(&[Part::file(&dir.path().join("0001.mutlog"), 0, 10)], 2, &|_| {}).unwrap_err().to_string();
    assert!(missing.contains("0001.mutlog"), "{missing}");
    let short = Corpus::load(&[Part::file(&path, 0, 1 << 30)], 2, &|_| {}).unwrap_err().to_string();
    assert!(short.contains("less than"), "{short}");
}

/// A log of two segments in a folder.
fn two_segments(dir: &Path) -> Vec<(Covered, PathBuf)> {
    let payloads = [model(0.0005, Order::Time), torture(false)];
    let segments = payloads.iter().enumerate().map(|(number, payloads)| {
        let bytes = framed(payloads.iter().map(Vec::as_slice));
        let path = dir.join(format!("{number:04}.mutlog"));
        std::fs::write(&path, &bytes).unwrap();
        (Covered { number: number as u32, size: bytes.len() as u64, sha224: Sha224::of(&bytes).to_string() }, path)
    });
    segments.collect()
}

fn digest(path: &Path, size: u64) -> std::io::Result<String> {
    Ok(Sha224::of(&std::fs::read(path)?[..size as usize]).to_string())
}

fn covered(segments: &[(Covered, PathBuf)]) -> Vec<Covered> {
    segments.iter().map(|(covered, _)| covered.clone()).collect()
}

#[test]
fn a_snapshot_is_the_corpus_and_is_extended_by_the_logs_tail() {
    let dir = tempfile::tempdir().unwrap();
    let segments = two_segments(dir.path());
    let snapshot = dir.path().join("corpus.snap");
    let corpus = load(dir.path(), 2);
    Snapshot::write(&corpus.view(), &covered(&segments), &snapshot).unwrap();
    let opened = Snapshot::open(&snapshot, &segments).unwrap().0;
    assert_same(&lines(&opened.view(), Reading::Reference), &lines(&corpus.view(), Reading::Reference));
    assert_eq!(opened.view().records(), corpus.view().records());

    // A snapshot of the first segment and a part of the second: the rest is taken in from the log.
    let second = std::fs::read(&segments[1].1).unwrap();
    let half = protocol_mutlog::Records::new(&second, 0).map(|record| record.unwrap()).take(400).map(|record| record.len).sum::<u64>();
    let parts = [Part::file(&segments[0].1, 0, segments[0].0.size), Part::file(&segments[1].1, 0, half)];
    let early = Corpus::load(&parts, 2, &|_| {}).unwrap();
    let mut known = covered(&segments);
    known[1] = Covered { number: 1, size: half, sha224: digest(&segments[1].1, half).unwrap() };
    Snapshot::write(&early.view(), &known, &snapshot).unwrap();
    let extended = Snapshot::open(&snapshot, &segments).unwrap().0;
    assert_eq!(extended.view().position(), corpus.view().position());
    // Changes that were walked twice differ in the torture log, as they do in the reference; everything else may not.
    let without = |view: &View| stable(view).lines().filter(|line| !line.contains("\"t\":\"gcl\"")).collect::<Vec<_>>().join("\n");
    assert_same(&without(&extended.view()), &without(&corpus.view()));

    // What is opened can be written to and written down again.
    let again = dir.path().join("again.snap");
    Snapshot::write(&extended.view(), &covered(&segments), &again).unwrap();
    assert_same(&lines(&Snapshot::open(&again, &segments).unwrap().0.view(), Reading::Ours), &lines(&extended.view(), Reading::Ours));
}

#[test]
fn a_snapshot_of_another_log_or_with_damage_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let segments = two_segments(dir.path());
    let snapshot = dir.path().join("corpus.snap");
    let corpus = load(dir.path(), 2);
    Snapshot::write(&corpus.view(), &covered(&segments), &snapshot).unwrap();
    let expected = lines(&corpus.view(), Reading::Ours);

    let mut other = segments.clone();
    other[0].0.sha224 = Sha224::of(b"other").to_string();
    assert!(matches!(Snapshot::open(&snapshot, &other), Err(SnapshotError::OtherLog { number: 0, .. })));
    assert!(matches!(Snapshot::open(&snapshot, &segments[..1]), Err(SnapshotError::OtherLog { number: 1, .. })), "a log that went back in time");
    assert!(matches!(Snapshot::open(&dir.path().join("none"), &segments), Err(SnapshotError::File { .. })));

    let whole = std::fs::read(&snapshot).unwrap();
    let damaged = dir.path().join("damaged.snap");
    for end in [0, 10, 30, 1000, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&damaged, &whole[..end]).unwrap();
        let error = Snapshot::open(&damaged, &segments).unwrap_err();
        assert!(matches!(error, SnapshotError::Unusable { .. } | SnapshotError::File { .. }), "cut at {end}: {error}");
    }
    let mut noticed = 0;
    for place in (0..whole.len()).step_by(whole.len() / 211) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        std::fs::write(&damaged, &bytes).unwrap();
        match Snapshot::open(&damaged, &segments) {
            Err(_) => noticed += 1,
            // Only what nobody reads (the room between tables) may be damaged unnoticed.
            Ok((opened, _)) => assert!(lines(&opened.view(), Reading::Ours) == expected, "a flipped bit at {place} went unnoticed"),
        }
    }
    assert!(noticed > 150, "{noticed}");
}

#[test]
fn memory_of_the_tail_is_exchanged_for_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let segments = two_segments(dir.path());
    let mut corpus = Corpus::load(&[Part::file(&segments[0].1, 0, segments[0].0.size)], 2, &|_| {}).unwrap();
    let mut offset = 0;
    let second = std::fs::read(&segments[1].1).unwrap();
    for record in protocol_mutlog::Records::new(&second, 0) {
        let record = record.unwrap();
        corpus.append(&Part::memory("0001", offset, &second[offset as usize..(offset + record.len) as usize])).unwrap();
        offset += record.len;
    }
    let before = lines(&corpus.view(), Reading::Ours);
    let half = protocol_mutlog::Records::new(&second, 0).map(|record| record.unwrap().len).take(100).sum();
    assert!(!corpus.settle(segments[0].0.size + 1, offset - 1, &segments[1].1).unwrap(), "no boundary there");
    assert!(corpus.settle(segments[0].0.size, half, &segments[1].1).unwrap());
    assert_eq!(lines(&corpus.view(), Reading::Ours), before);
    assert!(corpus.settle(segments[0].0.size, offset, &segments[1].1).unwrap());
    assert_eq!(lines(&corpus.view(), Reading::Ours), before);
}

#[test]
fn the_last_word_says_who_reviews() {
    let commit = |hash: u8, parent: Option<u8>, message: &str| {
        let parent = parent.map_or_else(String::new, |parent| format!("parent {parent:040x}\n"));
        let raw = format!("tree {:040x}\n{parent}author A <1@s> 1700000000 +0000\ncommitter G <g@s> 1700000000 +0000\n\n{message}", 0);
        schema::GitCommit { sha1: format!("{hash:040x}").into_bytes(), raw: raw.into_bytes(), ..Default::default() }
    };
    let reference = |name: &str, hash: u8| schema::GitRef { ref_name: name.into(), sha1: format!("{hash:040x}").into_bytes(), ..Default::default() };
    let metas = [
        "Create change\n\nPatch-set: 1\nReviewer: Ada <2@s>\nReviewer: Bob <3@s>\nCC: Cy <4@s>\n",
        "Update\n\nPatch-set: 1\nRemoved: Ada <2@s>\nReviewer: Cy <4@s>\nCC: Bob <3@s>\nCC: Dee <5@s>\n",
        "Update\n\nReviewer: Nobody <9@s>\n\nPatch-set: 1\nReviewer: Ada L <2@s>\n",
    ];
    let mut commits: Vec<schema::GitCommit> = (10..).zip(metas).map(|(hash, message)| commit(hash, (hash > 10).then(|| hash - 1), message)).collect();
    commits.push(commit(1, None, "change\n"));
    let refs = vec![reference("refs/changes/07/7/1", 1), reference("refs/changes/07/7/meta", 12)];
    let gerrit = schema::GerritMutation { project: b"s/p".to_vec(), commits, refs, ..Default::default() };
    let view = of_memory(&[schema::Mutation { gerrit: Some(gerrit), ..Default::default() }.encode()]).view();
    let found = view.gerrit().project("s", "p").unwrap().change(7).unwrap().reviewers();
    let names = |people: &[burrow_maintner::Person<'_>]| people.iter().map(|who| who.name().to_string()).collect::<Vec<_>>();
    assert_eq!((names(&found.reviewers), names(&found.cc)), (vec!["Cy".to_owned(), "Ada L".to_owned()], vec!["Bob".to_owned(), "Dee".to_owned()]));
}
