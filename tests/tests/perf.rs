//! Benchmark results from the command that measures to the page that shows them, over the real executables: what is stored is whole or not there at all, and every
//! reader of the store finds it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use burrow_tests::json;
use serde_json::Value;
use testkit_harness::burrow::run;
use testkit_harness::http::{self, Answer};
use testkit_harness::{Burrow, HANG};

const TOKEN: &str = "open sesame";
/// `printf %s 'open sesame' | sha256sum`
const DIGEST: &str = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";

/// A store with one token, in `dir`.
fn store(dir: &Path) -> Burrow {
    let text = format!(
        "listen = \"127.0.0.1:0\"\ndata = \"results\"\n[[token]]\nname = \"ada\"\nsha256 = \"{DIGEST}\"\nscopes = [\"read\", \"upload\", \"delete\"]\nrequire_commit = true\n"
    );
    std::fs::write(dir.join("perfdata.toml"), text).unwrap();
    std::fs::write(dir.join("token"), format!("{TOKEN}\n")).unwrap();
    Burrow::serving(dir, &["perfdata", "--config", "perfdata.toml"])
}

/// A request with the token, its body as it is.
fn send(store: &Burrow, method: &str, path: &str, kind: &str, body: &str) -> Answer {
    ask(
        &store.address,
        &format!("{method} {path} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n", body.len()),
        body,
    )
}

fn ask(address: &str, head: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream.write_all(format!("{head}Host: {address}\r\nConnection: close\r\n\r\n{body}").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.as_bytes().to_vec() }
}

const MULTIPART: &str = "multipart/form-data; boundary=B";

/// One part of a body; what follows is the next part or the end.
fn part(name: &str, content: &str) -> String {
    format!("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n{content}\r\n")
}

const COMMIT: &str = "--B\r\nContent-Disposition: form-data; name=\"commit\"\r\n\r\n1\r\n--B--\r\n";

/// Ten runs of two benchmarks around this level.
fn results(commit: &str, level: u32) -> String {
    let mut text = format!("commit: {commit}\ngoos: linux\n");
    for run in 0..10 {
        text.push_str(&format!("BenchmarkSort/n=10-8 1000 {} ns/op\nBenchmarkParse-8 1000 {} ns/op\n", level + run, 2 * level + run));
    }
    text
}

/// Everything the store has, as `/search` prints it.
fn everything(store: &Burrow) -> String {
    let answer = store.get("/search?q=+");
    assert_eq!(answer.status, 200);
    answer.text()
}

/// Uploads, newest first.
fn uploads(store: &Burrow) -> Vec<String> {
    let answer = store.get("/uploads");
    assert_eq!(answer.status, 200);
    answer.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["UploadID"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_upload_is_stored_whole_or_not_at_all_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    let body = part("old.txt", &results("aaa", 100)) + &part("new.txt", &results("bbb", 90)) + COMMIT;
    let refused = ask(&store.address, &format!("POST /upload HTTP/1.1\r\nContent-Type: {MULTIPART}\r\nContent-Length: {}\r\n", body.len()), &body);
    assert_eq!(refused.status, 401, "without the token: {}", refused.text());
    let receipt: Value = serde_json::from_slice(&send(&store, "POST", "/upload", MULTIPART, &body).body).unwrap();
    let first = receipt["uploadid"].as_str().unwrap().to_owned();
    assert_eq!(receipt["fileids"].as_array().unwrap().len(), 2);
    let before = everything(&store);
    assert!(before.contains("by: ada") && before.contains("upload-file: new.txt") && before.matches("\nBenchmark").count() == 40, "{before}");

    // Killed in the middle: a megabyte has been taken, and no end was sent.
    let mut cut = TcpStream::connect(&store.address).unwrap();
    let piece = results("cut", 50).repeat(200);
    cut.write_all(
        format!(
            "POST /upload HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {MULTIPART}\r\nContent-Length: 100000000\r\n\r\n",
            store.address
        )
        .as_bytes(),
    )
    .unwrap();
    cut.write_all(b"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"cut.txt\"\r\n\r\n").unwrap();
    let start = Instant::now();
    let staged = || std::fs::read_dir(dir.path().join("results/staging")).is_ok_and(|mut entries| entries.next().is_some());
    while !staged() {
        cut.write_all(piece.as_bytes()).unwrap();
        assert!(start.elapsed() < HANG, "nothing is staged: {}", store.process.text());
    }
    // Rows are written ahead, too, once there are enough of them.
    for _ in 0..20 {
        cut.write_all(piece.as_bytes()).unwrap();
    }
    store.process.kill();
    drop(store);
    let store = self::store(dir.path());
    assert_eq!(everything(&store), before, "nothing of what was cut off, and all of what was answered");
    assert_eq!(uploads(&store), [first.as_str()]);
    assert!(!staged(), "what was received in part is swept");
    assert_eq!(std::fs::read_dir(dir.path().join("results/uploads")).unwrap().count(), 1);

    // By a key of the sender's: sent again, it is the same upload; with other content it is refused.
    let put = |text: &str| send(&store, "PUT", "/uploads/nightly-7?file=n.txt", "text/plain", text);
    let (once, twice) = (put(&results("ccc", 80)), put(&results("ccc", 80)));
    assert_eq!((once.status, twice.status, once.text() == twice.text()), (200, 200, true), "{} {}", once.text(), twice.text());
    assert_eq!(put(&results("ddd", 80)).status, 409);
    let second = uploads(&store)[0].clone();
    assert_eq!(uploads(&store), [second.as_str(), first.as_str()]);

    // Labels of files, names and the server, together.
    let found = store.get("/search?q=name:Sort+n:10+commit:bbb+by:ada").text();
    assert_eq!(
        (found.matches("\nBenchmarkSort/n=10-8").count(), found.contains("BenchmarkParse"), found.contains("commit: aaa")),
        (10, false, false),
        "{found}"
    );
    assert_eq!(store.get("/search?q=commit:cut").text(), "");
    assert_eq!(store.get("/search?q=nonsense").status, 400);

    // Taken away, for good.
    assert_eq!(ask(&store.address, &format!("DELETE /uploads/{second} HTTP/1.1\r\n"), "").status, 401);
    assert_eq!(send(&store, "DELETE", &format!("/uploads/{second}?reason=wrong+machine"), "text/plain", "").status / 100, 2);
    assert_eq!((uploads(&store), everything(&store)), (vec![first.clone()], before));
    let log = store.get("/log").text();
    assert!(log.contains("wrong machine"), "{log}");
}

#[test]
fn what_is_measured_is_shown_and_compared_by_address() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let url = format!("http://{}", store.address);
    // A command that takes a while to do nothing is noisy; one that only prints is not what is tested. Both sides print what they are told, so the outcome is known.
    std::fs::write(dir.path().join("bench.sh"), "i=0; while [ $i -lt 5 ]; do echo \"BenchmarkWork-8 1000 $1$i ns/op\"; i=$((i+1)); done\n").unwrap();
    let args = ["bench", "run", "--a", "sh bench.sh 20", "--b", "sh bench.sh 10", "--min-rounds", "2", "--max-rounds", "2", "--seed", "1", "--out", "out.txt"];
    let ran = run(dir.path(), &[&args[..], &["--upload", &url, "--token-file", "token"]].concat());
    assert_eq!(ran.code(), 0, "{}", ran.text());
    assert!(ran.text().contains("Work-8") && ran.text().contains("p=0.000"), "{}", ran.text());
    let id = uploads(&store)[0].clone();
    let stored = store.get(&format!("/search?q=upload:{id}")).text();
    assert_eq!(stored.matches("\nBenchmarkWork-8").count(), 20, "two sides, two rounds of five: {stored}");

    // The same through the store's own client, and a second upload to compare with.
    std::fs::write(dir.path().join("later.txt"), results("eee", 100)).unwrap();
    let sent = run(dir.path(), &["perfdata", "upload", "--server", &url, "--token-file", "token", "later.txt"]);
    assert_eq!(sent.code(), 0, "{}", sent.text());
    std::fs::write(dir.path().join("latest.txt"), results("fff", 90)).unwrap();
    let sent = run(dir.path(), &["perfdata", "upload", "--server", &url, "--token-file", "token", "latest.txt"]);
    assert_eq!(sent.code(), 0, "{}", sent.text());

    // benchstat reads both by their addresses, under labels or its own words.
    let by_address = |side: &str| format!("{side}={url}/search?q=commit:{}", if side == "old" { "eee" } else { "fff" });
    let (old, new) = (by_address("old"), by_address("new"));
    let projections = ["-ignore", "commit,upload,upload-part,upload-file,upload-time"];
    let table = run(dir.path(), &[&["benchstat"][..], &projections, &[&old, &new]].concat());
    assert_eq!(table.code(), 0, "{}", table.text());
    let line = table.lines.iter().find(|line| line.starts_with("Sort/n=10-8")).unwrap_or_else(|| panic!("{}", table.text()));
    assert!(line.contains("104.50n") && line.contains("94.50n") && line.contains("-9.57%") && line.contains("p=0.000 n=10"), "{line}");
    // A file of the store by its own address, and one that is not there.
    let plain = run(dir.path(), &["benchstat", "-col", "", &format!("{url}/uploads/{}/0.txt", uploads(&store)[0])]);
    assert!(plain.code() == 0 && plain.text().contains("Parse-8"), "{}", plain.text());
    let missing = run(dir.path(), &["benchstat", &format!("{url}/uploads/20200101.1/0.txt"), &new]);
    assert!(missing.code() == 3 && missing.text().contains("404"), "{}", missing.text());

    // Another process draws what this one stores.
    std::fs::write(dir.path().join("perf.toml"), format!("listen = \"127.0.0.1:0\"\nperfdata = \"{url}\"\ncomputed = \"perf\"\ntoken_file = \"token\"\n"))
        .unwrap();
    let perf = Burrow::serving(dir.path(), &["perf", "--config", "perf.toml"]);
    let page = perf.get("/compare?q=commit:eee+vs+commit:fff");
    assert!(page.status == 200 && page.text().contains("104.50n") && page.text().contains("9.57%"), "{}", page.text());
    let compared = json(&perf, "/compare.json?q=name:Parse+|+commit:eee+vs+commit:fff").to_string();
    assert!(compared.contains("Parse-8") && !compared.contains("Sort"), "{compared}");
    let search = http::get(&perf.address, &format!("/search?q=upload:{id}")).unwrap();
    assert!(search.status == 200 && search.text().contains("Work-8"), "{}", search.text());
    let rescan = || ask(&perf.address, &format!("POST /rescan HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n"), "");
    assert_eq!(rescan().status, 200, "{}", perf.process.text());
    let status = json(&perf, "/status.json");
    assert_eq!(status["uploads"]["done"], 3, "{status}");
    let named = |perf: &Burrow| -> Vec<String> {
        let listed = json(perf, "/dashboard/benchmarks.json?benchmark=all");
        listed["Benchmarks"].as_array().unwrap().iter().map(|one| one["Name"].as_str().unwrap().to_owned()).collect()
    };
    // What the machine did meanwhile is a result, too.
    assert_eq!(named(&perf), ["Machine", "Parse-8", "Sort/n=10-8", "Work-8"]);
    let dashboard = perf.get("/dashboard/");
    assert!(dashboard.status == 200 && dashboard.text().contains("Sort/n=10-8") && dashboard.text().contains("<svg"), "{}", dashboard.text());
    let data = json(&perf, "/dashboard/data.json?benchmark=Sort/n=10-8&unit=sec/op");
    let values = data["Benchmarks"][0]["Values"].as_array().unwrap();
    assert_eq!(values.iter().map(|one| one["CommitHash"].as_str().unwrap()).collect::<Vec<_>>(), ["eee", "fff"], "{data}");
    assert!((values[1]["Center"].as_f64().unwrap() + 0.0957).abs() < 0.0001, "{data}");

    // An upload that is taken away is gone from the pages, too.
    let gone = uploads(&store)[0].clone();
    assert_eq!(send(&store, "DELETE", &format!("/uploads/{gone}?reason=test"), "text/plain", "").status / 100, 2);
    assert_eq!(perf.get("/compare.json?q=commit:fff").status, 400, "nothing is found");
}
