//! Logs of other forms become a leader's folder and go back, byte for byte, and every fault is named.

mod logs;

use std::path::Path;

use burrow_maintnerd::convert::{ConvertError, Progress, Target, convert};
use burrow_maintnerd::log::{OpenError, Torn};
use burrow_maintnerd::verify::{Form, Kind, Kinds, verify};
use burrow_maintnerd::{FillError, Log};
use logs::{files, frozen, growing, mutation, open, payloads, segment, try_open};
use protocol_mutlog::{Sha224, schema};

fn write(dir: &Path, content: &[(String, Vec<u8>)]) {
    std::fs::create_dir_all(dir).unwrap();
    for (name, bytes) in content {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
}

fn quiet(source: &Path, dest: &Path, target: Target) -> Result<burrow_maintnerd::convert::Converted, ConvertError> {
    convert(source, dest, target, &mut |_| {})
}

#[tokio::test]
async fn daily_files_become_segments_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dest, back) = (dir.path().join("daily"), dir.path().join("log"), dir.path().join("back"));
    let days: [&[Vec<u8>]; 3] = [&[mutation(1), vec![], vec![9; 10 << 20]], &[vec![8; 6 << 20], mutation(2)], &[vec![7; 20 << 20], mutation(3)]];
    let names = ["maintner-2016-12-31.mutlog", "maintner-2017-01-01.mutlog", "maintner-2017-01-02.mutlog"];
    write(&source, &names.iter().zip(days).map(|(name, day)| ((*name).to_owned(), segment(day))).collect::<Vec<_>>());
    let mut seen = Vec::new();
    let made = convert(&source, &dest, Target::Segments, &mut |progress| seen.push(progress)).unwrap();
    let all: Vec<Vec<u8>> = days.concat();
    assert_eq!(payloads(&dest), all);
    assert_eq!((made.from, made.files, made.records, made.truncated), (Form::DataFiles, 4, 7, None));
    assert_eq!(made.bytes, files(&dest).values().map(|bytes| bytes.len() as u64).sum::<u64>());
    let (first, second, third, last) = (segment(&all[..3]), segment(&all[3..5]), segment(&all[5..6]), segment(&all[6..]));
    let mut names: Vec<String> = files(&dest).into_keys().collect();
    names.sort();
    assert_eq!(names, [frozen(0, &first), frozen(1, &second), frozen(2, &third), growing(3)]);
    assert_eq!(std::fs::read(dest.join(growing(3))).unwrap(), last);
    let end = *seen.last().unwrap();
    let bytes = files(&source).values().map(|bytes| bytes.len() as u64).sum();
    assert_eq!(end, Progress { files: 3, files_done: 3, bytes, bytes_done: bytes, records: 7 });
    assert!(seen.len() > 5 && seen.is_sorted_by_key(|progress| progress.bytes_done), "it is told of in the course of a file");

    let log: Log = open(&dest);
    assert_eq!(log.append(mutation(4)).await.unwrap().segment, 3);
    log.close().await;

    // And back: a file for each segment, in the order of their names, before any that is named by its day.
    let made = quiet(&dest, &back, Target::DataFiles).unwrap();
    assert_eq!((made.from, made.files, made.records), (Form::Segments, 4, 8));
    let copied = files(&back);
    assert_eq!(copied.len(), 4, "nothing else is left there: {:?}", copied.keys());
    assert!(copied.keys().all(|name| protocol_mutlog::is_data_file(name) && name.as_str() < "maintner-1"));
    assert_eq!(copied.values().collect::<Vec<_>>(), files(&dest).values().collect::<Vec<_>>());
    assert!(matches!(quiet(&back, &dir.path().join("third"), Target::DataFiles), Err(ConvertError::Same { .. })));
    assert!(matches!(try_open(&back), Err(OpenError::DataFiles { .. })), "not opened in place");
    let again = dir.path().join("again");
    quiet(&back, &again, Target::Segments).unwrap();
    assert_eq!(payloads(&again), [all, vec![mutation(4)]].concat());
}

#[test]
fn a_followers_cache_keeps_its_cuts() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, dest) = (dir.path().join("cache"), dir.path().join("log"));
    let parts = [segment(&[vec![], mutation(1)]), segment(&[mutation(2)]), segment(&[mutation(3), mutation(4)])];
    // As a follower leaves it that could not tell what was frozen, with an older state of a segment and an interrupted write.
    let torn = [&parts[2][..], b"REC@"].concat();
    write(
        &cache,
        &[
            (frozen(0, &parts[0]), parts[0].clone()),
            (growing(0), parts[0][..8].to_vec()),
            (growing(1), parts[1].clone()),
            (growing(2), torn),
            ("tempseg77".into(), b"x".to_vec()),
        ],
    );
    let made = quiet(&cache, &dest, Target::Segments).unwrap();
    let torn = Torn { path: cache.join(growing(2)), offset: parts[2].len() as u64, bytes: 4 };
    assert_eq!((made.files, made.records, made.truncated), (3, 5, Some(torn)));
    let expected = [(frozen(0, &parts[0]), &parts[0]), (frozen(1, &parts[1]), &parts[1]), (growing(2), &parts[2])];
    assert_eq!(files(&dest).iter().map(|(name, bytes)| (name.clone(), bytes)).collect::<Vec<_>>(), expected);
    assert!(verify(&dest).unwrap().faults.is_empty());
    // A last segment that is frozen stays so.
    let (ended, other) = (dir.path().join("ended"), dir.path().join("other"));
    write(&ended, &[(frozen(0, &parts[0]), parts[0].clone())]);
    quiet(&ended, &other, Target::Segments).unwrap();
    assert_eq!(files(&other).into_keys().collect::<Vec<_>>(), [frozen(0, &parts[0])]);
}

#[test]
fn what_cannot_be_converted_is_named_and_leaves_no_log() {
    let good = segment(&[vec![], mutation(1)]);
    let mut wrong = good.clone();
    wrong[9] = b'x';
    let mut inside = good.clone();
    *inside.last_mut().unwrap() ^= 1;
    let day = |n: u32| format!("maintner-2020-01-0{n}.mutlog");
    type Files = Vec<(String, Vec<u8>)>;
    type Check = fn(&ConvertError) -> bool;
    let cases: Vec<(Files, Target, &str, Check)> = vec![
        (vec![], Target::Segments, "holds no log", |e| matches!(e, ConvertError::Empty { .. })),
        (vec![(day(1), good.clone()), (growing(0), good.clone())], Target::Segments, "separate them first", |e| matches!(e, ConvertError::Mixed { .. })),
        (vec![(growing(0), good.clone()), ("x.mutlog".into(), good.clone())], Target::Segments, "x.mutlog", |e| matches!(e, ConvertError::Name { .. })),
        (vec![(frozen(0, &good), good.clone()), (frozen(0, b"y"), good.clone())], Target::Segments, "same number", |e| matches!(e, ConvertError::Twice { .. })),
        (vec![(frozen(1, &good), good.clone())], Target::Segments, "segment 0 is missing", |e| matches!(e, ConvertError::Gap { missing: 0, .. })),
        (vec![(frozen(0, &good), inside)], Target::DataFiles, "the digest of its content", |e| matches!(e, ConvertError::Digest { .. })),
        (vec![(growing(0), wrong.clone())], Target::Segments, "offset 8", |e| matches!(e, ConvertError::Records { .. })),
        (vec![(day(1), good[..20].to_vec()), (day(2), good.clone())], Target::Segments, "truncated record at offset 8", |e| {
            matches!(e, ConvertError::Records { .. })
        }),
        (vec![(frozen(0, &good[..20]), good[..20].to_vec())], Target::Segments, "truncated record at offset 8", |e| matches!(e, ConvertError::Records { .. })),
        (vec![("UNFINISHED".into(), vec![1]), (day(1), good.clone())], Target::Segments, "run that again", |e| matches!(e, ConvertError::Unfinished { .. })),
    ];
    for (content, target, text, check) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
        write(&source, &content);
        let error = quiet(&source, &dest, target).expect_err(text);
        assert!(check(&error), "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
        let no_log = !dest.exists() || matches!(try_open(&dest), Err(OpenError::Unfinished { .. }));
        assert!(no_log, "{text}: what was made is not taken for a log");
        // A further attempt begins anew.
        let other = dir.path().join("other");
        write(&other, &[(growing(0), good.clone())]);
        quiet(&other, &dest, Target::Segments).unwrap();
        assert_eq!(payloads(&dest), [vec![], mutation(1)]);
        assert!(matches!(quiet(&other, &dest, Target::Segments), Err(ConvertError::Target(FillError::NotEmpty { .. }))));
    }
}

#[tokio::test]
async fn a_folder_that_a_leader_uses_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dest) = (dir.path().join("log"), dir.path().join("copy"));
    let log = open(&source);
    assert!(matches!(quiet(&source, &dest, Target::Segments), Err(ConvertError::InUse { .. })));
    assert!(matches!(quiet(&dest, &source, Target::Segments), Err(ConvertError::File { .. })), "there is no such source");
    log.close().await;
    quiet(&source, &dest, Target::Segments).unwrap();
}

#[test]
fn a_report_counts_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mutations = [
        schema::Mutation { git: Some(schema::GitMutation::default()), ..Default::default() },
        schema::Mutation { gerrit: Some(schema::GerritMutation::default()), github: Some(schema::GithubMutation::default()), ..Default::default() },
        // Field 1000, of a newer program.
        schema::Mutation { unknown: vec![0xc0, 0x3e, 1], ..Default::default() },
    ];
    let mut records = vec![vec![], mutation(1), mutation(2)];
    records.extend(mutations.iter().map(schema::Mutation::encode));
    let bytes = segment(&records);
    write(dir.path(), &[(frozen(0, &bytes), bytes.clone()), (growing(1), bytes.clone())]);
    let report = verify(dir.path()).unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!((report.form, report.files, report.records, report.bytes), (Form::Segments, 2, 12, 2 * bytes.len() as u64));
    assert_eq!(report.kinds, Kinds { issue: 4, repository: 2, git: 2, gerrit: 2, unknown: 2, empty: 2 });
}

#[test]
fn a_report_names_every_fault_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let good = segment(&[vec![], mutation(1)]);
    let no_mutation = segment(&[vec![], vec![0xff], mutation(1)]);
    let mut wrong = good.clone();
    wrong[8] = b'x';
    let torn = [&good[..], b"REC@"].concat();
    write(
        dir.path(),
        &[
            (frozen(0, &good), wrong.clone()),
            (frozen(1, &no_mutation), no_mutation.clone()),
            (growing(1), good.clone()),
            (frozen(4, b""), b"".to_vec()),
            (growing(5), torn.clone()),
            ("5.mutlog".into(), b"x".to_vec()),
        ],
    );
    let report = verify(dir.path()).unwrap();
    let found: Vec<String> = report.faults.iter().map(|fault| fault.to_string().replace(dir.path().to_str().unwrap(), "DIR")).collect();
    assert_eq!(
        found,
        [
            "DIR/5.mutlog: this is not the name of a segment".to_owned(),
            format!("DIR/{}, offset 8: malformed record header at offset 8", frozen(0, &good)),
            format!("DIR/{}: the digest of its content is {}, not that of its name", frozen(0, &good), Sha224::of(&wrong)),
            format!("DIR/{}, offset 8: the record is no mutation: the message ends within a field", frozen(1, &no_mutation)),
            "DIR/0001.growing.mutlog: another file has the same number".to_owned(),
            "DIR/0001.growing.mutlog: it still grows but is not the last segment".to_owned(),
            format!("DIR/{}: segment 2 should come here", frozen(4, b"")),
            format!("DIR/{}: it is empty", frozen(4, b"")),
            format!(
                "DIR/0005.growing.mutlog, offset {}: the last record is unfinished: truncated record at offset {}: 1 bytes or more are missing",
                good.len(),
                good.len()
            ),
        ]
    );
    assert!(matches!(report.faults.last().unwrap().kind, Kind::Torn(_)));
    // Daily files are read in the same way; looking changes nothing.
    let daily = tempfile::tempdir().unwrap();
    write(daily.path(), &[("maintner-2020-01-01.mutlog".into(), torn.clone()), ("maintner-2020-01-02.mutlog".into(), torn)]);
    let before = files(daily.path());
    let report = verify(daily.path()).unwrap();
    assert!(matches!(report.faults.iter().map(|fault| &fault.kind).collect::<Vec<_>>()[..], [Kind::Records(_), Kind::Torn(_)]), "{:?}", report.faults);
    assert_eq!((report.form, report.records), (Form::DataFiles, 4));
    assert_eq!(files(daily.path()), before);
}
