//! One suite for both databases: what the service and the pages rely on. The cases are those of `spec/perfdata.md`, *How to check*.

use std::path::Path;
use std::sync::Arc;

use burrow_clock::TestClock;
use burrow_perfstore::{Begin, ChangeKind, Error, Limits, Options, Page, PerfStore, Printer, Query, Receipt, rebuild};
use bytes::Bytes;
use testkit_harness::postgres::Schema;

/// 2026-11-22T20:41:40Z
const NOW: i64 = 1_795_380_100_000;

fn options(dir: &Path, database: Option<&str>, clock: &TestClock) -> Options {
    let mut options = Options::folder(dir, Arc::new(clock.clone()));
    if let Some(url) = database {
        options.database = url.to_owned();
    }
    options
}

async fn upload(store: &PerfStore, files: &[(&str, &str)]) -> Receipt {
    let mut writer = store.begin(Begin::default()).await.unwrap();
    for (number, (name, text)) in files.iter().enumerate() {
        writer.file(number as u32, Some(name)).await.unwrap();
        writer.write(Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
    }
    writer.commit().await.unwrap()
}

async fn search(store: &PerfStore, query: &str) -> String {
    String::from_utf8(search_bytes(store, query).await).unwrap()
}

async fn search_bytes(store: &PerfStore, query: &str) -> Vec<u8> {
    let mut search = store.search(&Query::parse(query.as_bytes()).unwrap(), None).await.unwrap();
    let (mut printer, mut out) = (Printer::new(), Vec::new());
    while let Some(records) = search.next().await.unwrap() {
        records.iter().for_each(|(record, _)| printer.print(&record.labels, &record.part.units, &record.lines, &mut out));
    }
    out
}

/// Names of the benchmarks found.
async fn found(store: &PerfStore, query: &str) -> Vec<String> {
    search(store, query).await.lines().filter_map(|line| Some(line.strip_prefix("Benchmark")?.split(' ').next()?.to_owned())).collect()
}

async fn list(store: &PerfStore, query: &str, labels: &[&str]) -> Vec<(String, u64, Vec<(String, Bytes)>)> {
    let labels: Vec<Bytes> = labels.iter().map(|label| Bytes::copy_from_slice(label.as_bytes())).collect();
    let listed = store.uploads(&Query::parse(query.as_bytes()).unwrap(), &labels, &Page::default()).await.unwrap();
    listed.into_iter().map(|listed| (listed.name, listed.count, listed.labels)).collect()
}

/// Everything, on an empty database. `database`: not SQLite in the folder.
async fn conformance(database: Option<&str>) {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let store = PerfStore::open(options(dir.path(), database, &clock)).await.unwrap();
    the_example_of_the_specification(&store).await;
    queries_of_the_reference(&store, &clock).await;
    lists_of_the_reference(&store, &clock).await;
    odd_text_comes_back(&store).await;
    names_and_files_with_one_label(&store).await;
    keys_make_uploads_happen_once(&store).await;
    long_records_count_once(&store).await;
    values_are_numbers(&store).await;
    removed_uploads_are_gone(&store, dir.path()).await;
    many_uploads_at_once(&store).await;
    let before = search_bytes(&store, " ").await;
    let lists = list(&store, "", &["by", "j", "upload-file"]).await;
    let newest = *store.changes().borrow();
    store.close().await;
    drop(store);

    let rebuilt = rebuild::rebuild(options(dir.path(), database, &clock), &mut |_, _| {}).await.unwrap();
    assert_eq!((rebuilt.uploads, rebuilt.failed), (lists.len() as u64, Vec::new()));
    let store = PerfStore::open(options(dir.path(), database, &clock)).await.unwrap();
    assert_eq!(search_bytes(&store, " ").await, before, "rows made from files give the same answers");
    assert_eq!(list(&store, "", &["by", "j", "upload-file"]).await, lists);
    assert!(*store.changes().borrow() > newest, "a rebuild is a change");
    let again = upload(&store, &[("a", "BenchmarkA 1 1 ns/op\n")]).await;
    assert!(lists.iter().all(|(name, ..)| *name != again.upload), "names are not given out twice");
    store.close().await;
}

async fn the_example_of_the_specification(store: &PerfStore) {
    let text = "key: value\nBenchmarkOne 5 ns/op\nkey:value2\nBenchmarkTwo 10 ns/op\n";
    let receipt = upload(store, &[("dir/a.txt", text), (r"C:\b\c.txt", text)]).await;
    assert_eq!((receipt.upload.as_str(), receipt.files), ("20261122.1", vec!["20261122.1/0".to_owned(), "20261122.1/1".to_owned()]));
    assert_eq!((receipt.records, receipt.lines), (4, 4), "what is no configuration line changes no label");
    assert_eq!(
        search(store, "key:value upload:20261122.1 name:One").await,
        "key: value\nupload: 20261122.1\nupload-file: a.txt\nupload-part: 20261122.1/0\nupload-time: 2026-11-22T20:41:40Z\nBenchmarkOne 5 ns/op\n\
         upload-file: c.txt\nupload-part: 20261122.1/1\nBenchmarkOne 5 ns/op\n"
    );
    assert_eq!(found(store, "upload-part:20261122.1/1").await, ["One", "Two"]);
    assert_eq!(found(store, "upload-file:a.txt upload-time>2026-11-22T20:41:39Z upload-time<2026-11-22T21:41:41+01:00").await, ["One", "Two"]);
    assert_eq!(found(store, "upload-time>2026-11-22T20:41:40Z").await, Vec::<String>::new());
    assert_eq!(
        list(store, "", &["by", "upload-time", "nothing"]).await,
        [("20261122.1".into(), 4, vec![("upload-time".to_owned(), "2026-11-22T20:41:40Z".into())])]
    );
}

async fn queries_of_the_reference(store: &PerfStore, clock: &TestClock) {
    clock.advance_ms(86_400_000);
    let mut text = String::new();
    for record in 0..1024 {
        for label in 0..10 {
            text += &format!("label{label}: {}\n", record >> label);
        }
        text += &format!("BenchmarkName {record} ns/op\n");
    }
    let id = upload(store, &[("", &text)]).await.upload;
    for (query, expected) in [
        ("label0:0", vec![0]),
        ("label1:0", vec![0, 1]),
        ("label0:5 name:Name", vec![5]),
        ("label0:0 label0:5", vec![]),
        ("label0:1 label0:1 label0<2 label0>0", vec![1]),
        ("label0>1021 label0>1022 label1:511", vec![1023]),
        ("label1<2 label3:0", vec![0, 1, 2, 3]),
        ("label1>510 label1<52", vec![1022, 1023]),
        ("label1<510 label1>508", vec![1018, 1019]),
        ("missing>", vec![]),
        ("label0>", (0..1024).collect()),
        (&format!("upload>{id}"), vec![]),
        (&format!("upload:{id} label9:1"), (512..1024).collect()),
    ] {
        let answer = search(store, query).await;
        let numbers: Vec<i32> = answer.lines().filter_map(|line| line.strip_prefix("BenchmarkName ")?.split(' ').next()?.parse().ok()).collect();
        assert_eq!(numbers, expected, "{query}");
    }
    assert_eq!(list(store, "label1:0", &[]).await, [(id.clone(), 2, vec![])]);
    assert_eq!(store.values(b"label8", 10).await.unwrap(), ["0", "1", "2", "3"]);
    // The whole answer again, a record at a time.
    let everything = Query::parse(b"label7:3").unwrap();
    let (mut place, mut lines) = (None, Vec::new());
    loop {
        let mut search = store.search(&everything, place).await.unwrap();
        let Some(records) = search.next().await.unwrap() else { break };
        lines.push(records[0].0.lines.clone());
        place = burrow_perfstore::Place::parse(&records[0].1.token());
    }
    assert_eq!(lines.len(), 128);
    assert_eq!(lines[127], "BenchmarkName 511 ns/op\n");
}

async fn lists_of_the_reference(store: &PerfStore, clock: &TestClock) {
    clock.advance_ms(86_400_000);
    for i in 1..=9 {
        let mut text = format!("i: {i}\n");
        (0..i).for_each(|j| text += &format!("j: {}\nBenchmarkName {i}\n", j + 1));
        upload(store, &[("", &text)]).await;
    }
    let day = |seq: u64| format!("20261124.{seq}");
    let newest: Vec<_> = list(store, "i>", &[]).await;
    assert_eq!(newest, (1..=9).rev().map(|i| (day(i), i, vec![])).collect::<Vec<_>>());
    assert_eq!(list(store, "j:6", &[]).await, [9, 8, 7, 6].map(|i| (day(i), 1, vec![])));
    assert_eq!(
        list(store, "i:5", &["i", "j", "name", "i"]).await,
        [(day(5), 5, [("i", "5"), ("j", "1"), ("name", "Name")].map(|(k, v)| (k.to_owned(), v.into())).into())]
    );
    assert_eq!(list(store, "not:found", &[]).await, []);
    assert_eq!(list(store, "k:a k:b", &[]).await, []);
    // In pages.
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = store.uploads(&Query::parse(b"i>").unwrap(), &[], &Page { limit: Some(2), after }).await.unwrap();
        let Some(last) = page.last() else { break };
        after = burrow_perfstore::Cursor::parse(&last.cursor.token());
        names.extend(page.into_iter().map(|listed| listed.name));
    }
    assert_eq!(names, (1..=9).rev().map(day).collect::<Vec<_>>());
    let tenth = upload(store, &[("", "i: x\nBenchmarkName 1\n")]).await.upload;
    assert_eq!((tenth.as_str(), list(store, "", &[]).await[0].0.as_str()), ("20261124.10", "20261124.10"), "10 is newer than 9");
    assert_eq!(list(store, "upload>20261124.9", &[]).await.len(), 1);
}

async fn odd_text_comes_back(store: &PerfStore) {
    let mut text =
        b"\xc3\xa9: x  \r\nval: \xff\xfe\nBenchmarkOdd 1 ns/op\r\n\tUnit ns/op x\nUnit ns/op better=lower\nBenchmarkOdd/sub=\xff-4 2 ns/op trailing  ".to_vec();
    text.extend_from_slice(format!("\nBenchmarkLong {}\nBenchmarkEnd 1", "x".repeat(70_000)).as_bytes());
    let mut writer = store.begin(Begin { by: Some("ann@example.com".into()), key: None }).await.unwrap();
    writer.file(3, None).await.unwrap();
    // A byte at a time.
    for byte in &text {
        writer.write(Bytes::copy_from_slice(&[*byte])).await.unwrap();
    }
    let receipt = writer.commit().await.unwrap();
    assert_eq!(receipt.warnings, ["file 3: line 7 is longer than 65535 bytes and was skipped"]);
    let id = &receipt.upload;
    let expected = [
        format!("by: ann@example.com\nupload: {id}\nupload-part: {id}/3\nupload-time: 2026-11-24T20:41:40Z\n").as_bytes(),
        b"val: \xff\xfe\n\xc3\xa9: x  \nUnit ns/op better=lower\nBenchmarkOdd 1 ns/op\nBenchmarkOdd/sub=\xff-4 2 ns/op trailing  \nBenchmarkEnd 1\n",
    ]
    .concat();
    assert_eq!(search_bytes(store, &format!("upload:{id}")).await, expected);
    for query in [&b"val:\xff\xfe"[..], b"sub:\xff", b"\xc3\xa9:\"x  \" name:End"] {
        let mut search = store.search(&Query::parse(query).unwrap(), None).await.unwrap();
        assert!(search.next().await.unwrap().is_some(), "{}", String::from_utf8_lossy(query));
    }
    let raw = store.read_file(id, "3.txt", 0, 1 << 20).await.unwrap().unwrap();
    assert!(raw.ends_with(&text), "the file is kept as it came");
}

async fn names_and_files_with_one_label(store: &PerfStore) {
    let text =
        "k: file\nname: x\nby: evil\nupload: spoof\nupload-anything: 1\ngomaxprocs: 2\nBenchmarkClash/k=name-8 1 ns/op\nk:\nBenchmarkClash/k=name-8 2 ns/op\n";
    let receipt = upload(store, &[("clash", text)]).await;
    assert_eq!(receipt.warnings, ["clash: the labels by, upload, upload-anything are set by the server only and were ignored"]);
    for (query, lines) in
        [("k:file", 1), ("k:name", 1), ("/k:name", 2), ("/k:file", 0), ("name:x", 2), ("/name:Clash", 2), ("/gomaxprocs:8 gomaxprocs:2", 2), ("by:evil", 0)]
    {
        assert_eq!(found(store, &format!("{query} upload:{}", receipt.upload)).await.len(), lines, "{query}");
    }
    let answer = search(store, &format!("upload:{}", receipt.upload)).await;
    assert!(!answer.contains("evil") && !answer.contains("spoof") && !answer.contains("anything"), "{answer}");
}

async fn keys_make_uploads_happen_once(store: &PerfStore) {
    let send = async |key: &str, text: &'static str| -> Result<Receipt, Error> {
        let mut writer = store.begin(Begin { by: None, key: Some(key.to_owned()) }).await?;
        writer.file(0, Some("a")).await?;
        writer.write(text.into()).await?;
        writer.commit().await
    };
    let first = send("nightly-1", "keyed: yes\nBenchmarkK 1 ns/op\n").await.unwrap();
    assert_eq!(send("nightly-1", "keyed: yes\nBenchmarkK 1 ns/op\n").await.unwrap(), first);
    assert!(matches!(send("nightly-1", "keyed: yes\nBenchmarkK 2 ns/op\n").await, Err(Error::KeyTaken { .. })));
    assert_eq!(found(store, "keyed:yes").await.len(), 1);
    let held = store.begin(Begin { by: None, key: Some("held".into()) }).await.unwrap();
    assert!(matches!(send("held", "BenchmarkK 1\n").await, Err(Error::KeyBusy(_))));
    held.abort().await;
    // What failed has not used the key up, and has used no name.
    assert!(matches!(send("held", "no results\n").await, Err(Error::NoLines { .. })));
    let next = send("held", "BenchmarkK 1\n").await.unwrap();
    let number = |receipt: &Receipt| receipt.upload.split('.').nth(1).unwrap().parse::<u32>().unwrap();
    assert_eq!(number(&next), number(&first) + 1, "no name is burnt");
    assert_eq!(store.upload_of_key("held").await.unwrap(), Some(next.upload));
}

async fn long_records_count_once(store: &PerfStore) {
    // More than one chunk of one record, then labels that go back to what they were.
    let mut text = String::from("long: yes\n");
    (0..3_000).for_each(|n| text += &format!("BenchmarkSame {n} 1.5 ns/op 2 B/op\n"));
    text += "long: no\nlong: yes\nBenchmarkSame 1 1.5 ns/op\nlong: no\nBenchmarkSame 1 1.5 ns/op\n";
    let receipt = upload(store, &[("long", &text)]).await;
    assert_eq!((receipt.records, receipt.lines), (2, 3_002));
    assert_eq!(list(store, "long:yes", &[]).await, [(receipt.upload.clone(), 1, vec![])]);
    assert_eq!(search(store, "long:yes").await.matches("BenchmarkSame").count(), 3_001);
    let mut series = store.series(&Query::parse(b"long:yes").unwrap()).await.unwrap();
    let (mut times, mut bytes) = (0, 0);
    while let Some(samples) = series.next().await.unwrap() {
        for sample in samples {
            assert_eq!((sample.labels.text("long").unwrap().as_ref(), sample.name.as_ref()), ("yes", &b"Same"[..]));
            times += sample.columns[0].values.len();
            bytes += sample.columns.get(1).map_or(0, |column| column.values.len());
        }
    }
    assert_eq!((times, bytes), (3_001, 3_000));
}

async fn values_are_numbers(store: &PerfStore) {
    let text = "values: yes\nBenchmarkV-8 100 12.5 ns/op 0 B/op 1e3 MB/s\nBenchmarkV-8 100 NaN ns/op 3 ns/op\nBenchmarkV-8 garbage\nBenchmarkW -5 0x1p3 x/op\n";
    upload(store, &[("v", text)]).await;
    let mut series = store.series(&Query::parse(b"values:yes").unwrap()).await.unwrap();
    let samples = series.next().await.unwrap().unwrap();
    assert!(series.next().await.unwrap().is_none());
    let shown = |n: usize| -> Vec<String> {
        samples[n].columns.iter().map(|column| format!("{} {:?}", String::from_utf8_lossy(&column.unit), column.values)).collect()
    };
    assert_eq!(shown(0), ["ns/op [12.5, NaN, 3.0]", "B/op [0.0]", "MB/s [1000.0]"]);
    assert_eq!(shown(1), ["x/op [8.0]"]);
}

async fn removed_uploads_are_gone(store: &PerfStore, dir: &Path) {
    let mut changes = store.changes();
    changes.mark_unchanged();
    let before = *changes.borrow();
    let id = upload(store, &[("gone", "gone: yes\nBenchmarkGone 1 ns/op\n")]).await.upload;
    assert!(changes.has_changed().unwrap());
    assert!(dir.join("uploads").join(&id).join("0.txt").exists());
    assert!(store.remove(&id, "ann", "a mistake").await.unwrap());
    assert!(!store.remove(&id, "ann", "again").await.unwrap());
    assert_eq!((found(store, "gone:yes").await, list(store, "gone>", &[]).await), (vec![], vec![]));
    assert!(store.upload(&id).await.unwrap().is_none() && store.values(b"gone", 9).await.unwrap().is_empty());
    assert!(!dir.join("uploads").join(&id).exists(), "its files are gone, too");
    let told = store.changes_after(before, 10).await.unwrap();
    assert_eq!(
        told.iter().map(|change| (change.kind, change.upload.as_str(), change.by.as_str())).collect::<Vec<_>>(),
        [(ChangeKind::Added, id.as_str(), ""), (ChangeKind::Removed, &id, "ann")]
    );
    assert_ne!(upload(store, &[("next", "BenchmarkNext 1\n")]).await.upload, id, "a name is not used twice");
}

async fn many_uploads_at_once(store: &PerfStore) {
    let first = upload(store, &[("one", "BenchmarkMany 1\n")]).await.upload;
    let number = |name: &str| name.split('.').nth(1).unwrap().parse::<usize>().unwrap();
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { upload(&store, &[("many", &format!("many: {n}\nBenchmarkMany 1 {n} ns/op\n"))]).await.upload })
        })
        .collect();
    let mut numbers = Vec::new();
    for task in tasks {
        numbers.push(number(&task.await.unwrap()));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (number(&first) + 1..=number(&first) + 50).collect::<Vec<_>>());
    assert_eq!(found(store, "many>").await.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_does_what_is_relied_on() {
    conformance(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_does_what_is_relied_on() {
    let Some(schema) = Schema::new().await else { return };
    conformance(Some(&schema.url())).await;
}

/// A copy of a folder as a crash would leave it: everything that was written, no lock.
fn crash(dir: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let target = tempfile::tempdir().unwrap();
    copy(dir, target.path());
    target
}

fn files_below(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_all_of_an_upload_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let store = PerfStore::open(options(dir.path(), None, &clock)).await.unwrap();
    upload(&store, &[("kept", "kept: yes\nBenchmarkKept 1 ns/op\n")]).await;
    let mut writer = store.begin(Begin::default()).await.unwrap();
    writer.file(0, Some("big")).await.unwrap();
    // Random enough that rows are written ahead before the end.
    let mut seed = 1_u64;
    let mut crashed = Vec::new();
    for piece in 0..40 {
        let mut text = String::new();
        for _ in 0..4_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text += &format!("BenchmarkBig/n={} {} {}.{:019} ns/op\n", seed % 50, seed >> 40, seed >> 33, seed);
        }
        writer.write(text.into()).await.unwrap();
        if piece % 8 == 7 {
            crashed.push((crash(dir.path()), false));
        }
    }
    let receipt = writer.commit().await.unwrap();
    assert_eq!(receipt.lines, 160_000);
    crashed.push((crash(dir.path()), true));
    // The files were not yet moved to their place.
    let late = crash(dir.path());
    let (staged, placed) = (late.path().join("staging"), late.path().join("uploads").join(&receipt.upload));
    let db = burrow_store::Db::open(&format!("sqlite:{}", late.path().join("perfdata.db").display()), &[]).await;
    assert!(db.is_err(), "a program that knows no migrations does not touch newer data");
    let whole = search_bytes(&store, " ").await;
    store.close().await;
    for (copy, committed) in crashed {
        let store = PerfStore::open(options(copy.path(), None, &clock)).await.unwrap();
        assert_eq!(found(&store, "name:Big").await.len(), if committed { 160_000 } else { 0 });
        assert_eq!(found(&store, "kept:yes").await.len(), 1);
        assert_eq!((files_below(&copy.path().join("staging")), files_below(&copy.path().join("uploads"))), (0, if committed { 2 } else { 1 }));
        if committed {
            assert_eq!(search_bytes(&store, " ").await, whole);
        } else {
            assert_eq!(upload(&store, &[("next", "BenchmarkNext 1\n")]).await.upload, receipt.upload, "the name was not used");
            assert_eq!(found(&store, "upload>").await.len(), 2);
        }
        store.close().await;
    }
    // What a crash after the commit leaves staged is put in its place by the next start.
    std::fs::create_dir_all(&staged).unwrap();
    let token = token_of(late.path(), &receipt.upload).await;
    std::fs::rename(&placed, staged.join(token)).unwrap();
    let store = PerfStore::open(options(late.path(), None, &clock)).await.unwrap();
    assert!(placed.join("0.txt").exists() && files_below(&staged) == 0);
    store.close().await;
}

/// The name of the folder that an upload was staged in.
async fn token_of(dir: &Path, upload: &str) -> String {
    use sqlx::{ConnectOptions as _, Connection as _};
    let options: sqlx::sqlite::SqliteConnectOptions = format!("sqlite:{}", dir.join("perfdata.db").display()).parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let token = sqlx::query_scalar("SELECT token FROM upload WHERE name = ?").bind(upload.to_owned()).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    token
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), None, &TestClock::at(NOW));
    options.limits = Limits { bytes: 400_000, files: 2, labels: 50, label_bytes: 5_000, distinct_labels: 3_000, uploads: 2 };
    let store = PerfStore::open(options).await.unwrap();
    let try_one = async |text: String| -> Error {
        let mut writer = store.begin(Begin::default()).await.unwrap();
        let begun = writer.file(0, Some("f")).await;
        let written = match begun {
            Ok(()) => writer.write(text.into()).await,
            error => error,
        };
        match written {
            Ok(()) => writer.commit().await.unwrap_err(),
            Err(error) => error,
        }
    };
    let labels = |count: usize, value: usize| (0..count).map(|n| format!("k{n}: {}\n", "v".repeat(value))).collect::<String>() + "BenchmarkX 1\n";
    assert_eq!(
        try_one(labels(51, 1)).await.to_string(),
        "line 52 of f: more than 50 labels in force; a log with very many `word: text` lines should be filtered to its benchmark lines"
    );
    assert!(matches!(try_one(labels(40, 400)).await, Error::TooManyLabels { what: "bytes of labels in force", .. }));
    assert!(matches!(try_one((0..4_000).map(|n| format!("k: {n}\nBenchmarkX 1\n")).collect()).await, Error::TooManyLabels { what: "different labels", .. }));
    assert!(matches!(try_one("x".repeat(400_001)).await, Error::TooLarge { limit: 400_000, what: "bytes" }));
    assert_eq!(try_one("nothing\n".into()).await.to_string(), "no valid benchmark lines found in f");
    assert!(matches!(store.begin(Begin::default()).await.unwrap().commit().await, Err(Error::NoFiles)));
    // Two uploads at once, sixteen that wait; the next is told so.
    let held = [store.begin(Begin::default()).await.unwrap(), store.begin(Begin::default()).await.unwrap()];
    let wait = |store: PerfStore| async move {
        loop {
            match store.begin(Begin::default()).await {
                // The question below has the last place for a moment.
                Err(Error::Busy) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
                Ok(begun) => return begun.abort().await,
            }
        }
    };
    let waiting: Vec<_> = (0..16).map(|_| tokio::spawn(wait(store.clone()))).collect();
    loop {
        match futures_util::FutureExt::now_or_never(store.begin(Begin::default())) {
            Some(Err(Error::Busy)) => break,
            // Not all of them wait yet.
            None => tokio::task::yield_now().await,
            Some(other) => panic!("{other:?}"),
        }
    }
    drop(held);
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(upload(&store, &[("ok", "BenchmarkOk 1\n")]).await.upload, "20261122.1", "nothing that failed used a name");
    assert_eq!((files_below(&dir.path().join("staging")), files_below(&dir.path().join("uploads"))), (0, 1));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_rebuild_is_noticed_and_can_be_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let store = PerfStore::open(options(dir.path(), None, &clock)).await.unwrap();
    upload(&store, &[("a", "BenchmarkA 1 5 ns/op\n")]).await;
    store.close().await;
    drop(store);
    std::fs::write(
        dir.path().join("uploads/20261122.1/0.txt"),
        "upload: 20261122.1\nupload-part: 20261122.1/0\n\nby: spoof\nBenchmarkB 1 5 ns/op\nupload: spoof\nBenchmarkB 1 6 ns/op\n",
    )
    .unwrap();
    std::fs::create_dir_all(dir.path().join("uploads/new")).unwrap();
    std::fs::write(dir.path().join("uploads/new/0.txt"), "upload: new\n\nBenchmarkOld 1 5 ns/op\n").unwrap();
    std::fs::create_dir_all(dir.path().join("uploads/20261122.2")).unwrap();
    std::fs::write(dir.path().join("uploads/20261122.2/0.txt"), "upload: 20261122.2\n\nnothing\n").unwrap();
    let killed = options(dir.path(), None, &clock);
    let work = async move { rebuild::rebuild(killed, &mut |done, _| assert!(done < 2, "killed")).await.map(|_| ()) };
    let ended = tokio::spawn(work).await;
    assert!(ended.as_ref().is_err_and(tokio::task::JoinError::is_panic), "{ended:?}");
    let refused = loop {
        // The lock is given up when the last task of the killed rebuild has ended.
        match PerfStore::open(options(dir.path(), None, &clock)).await {
            Err(Error::Rows(burrow_store::Error::InUse(_))) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert!(matches!(refused, Err(Error::Rebuilding)));
    let rebuilt = rebuild::rebuild(options(dir.path(), None, &clock), &mut |_, _| {}).await.unwrap();
    assert_eq!((rebuilt.uploads, rebuilt.failed.len(), rebuilt.failed[0].0.as_str()), (2, 1, "20261122.2"));
    let store = PerfStore::open(options(dir.path(), None, &clock)).await.unwrap();
    assert_eq!(
        search(&store, " ").await,
        "upload: new\nBenchmarkOld 1 5 ns/op\nupload: 20261122.1\nupload-part: 20261122.1/0\nBenchmarkB 1 5 ns/op\nBenchmarkB 1 6 ns/op\n"
    );
    assert_eq!(list(&store, "", &[]).await.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["20261122.1", "new"], "names without a day come last");
    store.close().await;
}
