//! The service over real sockets: what the reference's clients send and read, byte for byte where they are programs (`spec/perfdata.md`, *How to check*).

use std::sync::Arc;

use burrow_clock::TestClock;
use burrow_perfdata::auth::{Scope, Token, Tokens};
use burrow_perfdata::http::{Site, router};
use burrow_perfstore::{Options, PerfStore};
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// 2026-11-22T20:41:40Z
const NOW: i64 = 1_795_380_100_000;

struct Server {
    address: String,
    store: PerfStore,
    clock: TestClock,
    task: tokio::task::JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start(tokens: Tokens) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let mut options = Options::folder(dir.path(), Arc::new(clock.clone()));
    options.limits.bytes = 8 << 20;
    let store = PerfStore::open(options).await.unwrap();
    let site = Site {
        store: store.clone(),
        tokens,
        view_url_base: Some("https://perf.example/search?q=upload:".into()),
        only_host: Some(String::new()),
        clock: Arc::new(clock.clone()),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move { axum::serve(listener, router(site)).await.unwrap() });
    Server { address, store, clock, task, dir }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// It ended as it should have.
    whole: bool,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.split_once(": ").filter(|(known, _)| known.eq_ignore_ascii_case(name))).map(|(_, value)| value)
    }
}

impl Server {
    /// Sends bytes, closes its side if `close`, and reads the answer.
    async fn raw(&self, request: &[u8], close: bool) -> Answer {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        // The server may answer and close before it has read all.
        let _ = stream.write_all(request).await;
        if close {
            let _ = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let cut = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        let head = String::from_utf8(answer[..cut].to_vec()).unwrap();
        let mut body = answer[cut..].to_vec();
        let mut whole = true;
        if head.to_lowercase().contains("transfer-encoding: chunked") {
            (body, whole) = unchunk(&body);
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head, body, whole }
    }

    async fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", self.address, body.len()).into_bytes();
        request.extend_from_slice(body);
        self.raw(&request, false).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "", b"").await
    }

    /// As Go's client sends: chunked, without a length.
    async fn post(&self, body: &[u8]) -> Answer {
        self.raw(&chunked(&self.address, body, ""), false).await
    }
}

const TYPE: &str = "Content-Type: multipart/form-data; boundary=B\r\n";

fn chunked(address: &str, body: &[u8], headers: &str) -> Vec<u8> {
    let mut request =
        format!("POST /upload HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nUser-Agent: golang.org/x/build/perfdata\r\n{TYPE}{headers}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for piece in body.chunks(60_000) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

/// The content of a chunked body, and whether its end was there.
fn unchunk(mut body: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    loop {
        let Some(line) = body.windows(2).position(|two| two == b"\r\n") else { return (out, false) };
        let Ok(size) = usize::from_str_radix(std::str::from_utf8(&body[..line]).unwrap(), 16) else { return (out, false) };
        if size == 0 {
            return (out, true);
        }
        let Some(data) = body.get(line + 2..line + 2 + size) else { return (out, false) };
        out.extend_from_slice(data);
        body = body.get(line + 4 + size..).unwrap_or_default();
    }
}

fn file(name: &str, text: &str) -> String {
    format!("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n{text}\r\n")
}

fn field(name: &str) -> String {
    format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n1\r\n")
}

const END: &str = "--B--\r\n";
const TEXT: &str = "key: value\nBenchmarkOne 5 ns/op\nkey:value2\nBenchmarkTwo 10 ns/op\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_answered_and_found_as_the_references_clients_expect() {
    let server = start(Tokens::default()).await;
    let answer = server.post([file("a.txt", TEXT), file("dir/c.txt", TEXT), field("commit"), END.into()].concat().as_bytes()).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(
        answer.text(),
        "{\"uploadid\":\"20261122.1\",\"fileids\":[\"20261122.1/0\",\"20261122.1/1\"],\"viewurl\":\"https://perf.example/search?q=upload:20261122.1\"}\n"
    );

    let answer = server.get("/search?q=key%3Avalue+upload%3A20261122.1+name%3AOne").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert_eq!(
        answer.text(),
        "key: value\nupload: 20261122.1\nupload-file: a.txt\nupload-part: 20261122.1/0\nupload-time: 2026-11-22T20:41:40Z\nBenchmarkOne 5 ns/op\n\
         upload-file: c.txt\nupload-part: 20261122.1/1\nBenchmarkOne 5 ns/op\n"
    );
    // A form, whose values win over those of the address; any method.
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(server.request("POST", "/search?q=name:None", form, b"q=name%3ATwo").await.text().matches("BenchmarkTwo").count(), 2);

    server.clock.advance_ms(1_000);
    server.post([file("", "i: 5\nj: <1>\nBenchmarkName 1\ni: 5\nj: 2\nBenchmarkName 2\n"), END.into()].concat().as_bytes()).await;
    let answer = server.get("/uploads?extra_label=i&extra_label=upload-time&extra_label=by&limit=1&q=").await;
    assert_eq!(
        (answer.text().as_str(), answer.header("content-type")),
        ("{\"Count\":2,\"UploadID\":\"20261122.2\",\"LabelValues\":{\"i\":\"5\",\"upload-time\":\"2026-11-22T20:41:41Z\"}}\n", Some("application/json"))
    );
    let next = answer.header("next-page-token").unwrap().to_owned();
    assert_eq!(server.get(&format!("/uploads?limit=1&page_token={next}")).await.text(), "{\"Count\":4,\"UploadID\":\"20261122.1\"}\n");
    assert_eq!(
        server.get("/uploads?q=i:5&extra_label=j").await.text(),
        "{\"Count\":2,\"UploadID\":\"20261122.2\",\"LabelValues\":{\"j\":\"\\u003c1\\u003e\"}}\n"
    );
    for (path, status, text) in [
        ("/uploads?q=not:found", 200, ""),
        ("/uploads?q=k:a+k:b", 200, ""),
        ("/uploads?limit=x", 400, "invalid limit parameter\n"),
        ("/uploads?q=bogus", 400, "query part \"bogus\" is missing operator\n"),
        ("/uploads?limit=-1&q=name:Name", 200, "{\"Count\":2,\"UploadID\":\"20261122.2\"}\n"),
        ("/search", 400, "missing q parameter\n"),
        ("/search?q=", 400, "missing q parameter\n"),
        ("/search?q=k:a+k:b", 200, ""),
        ("/search?q=bogus+query", 400, "query part \"bogus\" is missing operator\n"),
        ("/search?q=%22open", 400, "query part \"open\" is missing operator\n"),
        ("/search?q=%zz", 400, "invalid URL escape in the parameters\n"),
        ("/search?q=a:b&page_token=x", 400, "invalid page_token parameter\n"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{path}");
        if status != 200 {
            assert_eq!(
                (answer.header("content-type"), answer.header("x-content-type-options")),
                (Some("text/plain; charset=utf-8"), Some("nosniff")),
                "{path}"
            );
        }
    }
    assert_eq!(server.get("/search?q=+").await.text().matches("Benchmark").count(), 6, "a blank query asks for everything");
    server.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_every_kind_get_their_answer() {
    let server = start(Tokens::default()).await;
    let cases: &[(&str, Vec<String>, u16, &str)] = &[
        ("no commit", vec![file("a", TEXT), END.into()], 200, "20261122.1/0"),
        ("commit first", vec![field("commit"), file("a", TEXT), END.into()], 200, "20261122.2/1"),
        ("abort", vec![file("a", TEXT), field("abort"), END.into()], 409, "unexpected field \"abort\""),
        ("unknown field", vec![file("a", TEXT), field("other"), END.into()], 400, "unexpected field \"other\""),
        ("no files", vec![field("commit"), END.into()], 400, "no files processed\n"),
        ("nothing", vec![END.into()], 400, "no files processed\n"),
        ("no results", vec![file("a", "nothing\n"), END.into()], 400, "no valid benchmark lines found in a\n"),
        (
            "second file bad",
            vec![file("a", "marker: x\nBenchmarkBad 1\n"), file("b", ""), field("commit"), END.into()],
            400,
            "no valid benchmark lines found in b\n",
        ),
        ("too large", vec![file("a", &"BenchmarkLarge 1 1 ns/op\n".repeat(400_000)), END.into()], 413, "the upload has more than 8388608 bytes"),
        ("one more", vec![file("a", TEXT), END.into()], 200, "20261122.3/0"),
    ];
    for (what, body, status, text) in cases {
        let answer = server.post(body.concat().as_bytes()).await;
        assert_eq!(answer.status, *status, "{what}: {}", answer.text());
        assert!(answer.text().contains(text), "{what}: {}", answer.text());
    }
    assert_eq!(server.get("/search?q=marker:x").await.text(), "", "nothing of an upload with a bad file is visible");
    let other = server.request("POST", "/upload", "Content-Type: text/plain\r\n", b"BenchmarkX 1\n").await;
    assert_eq!((other.status, other.text().as_str()), (415, "request Content-Type isn't multipart/form-data\n"));
    let put = server.request("PUT", "/upload", TYPE, b"").await;
    assert_eq!((put.status, put.text().as_str()), (405, "/upload must be called as a POST request\n"));
    // A form of another site, and a name that was made to mean this machine.
    let forged = server.request("POST", "/upload", &format!("{TYPE}Origin: http://evil.example\r\n"), [file("a", TEXT), END.into()].concat().as_bytes()).await;
    assert_eq!(forged.status, 403);
    let rebound = server.raw(b"GET /search?q=a:b HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", false).await;
    assert_eq!(rebound.status, 421);
    assert_eq!(std::fs::read_dir(server.dir.path().join("uploads")).unwrap().count(), 3);
    assert_eq!(std::fs::read_dir(server.dir.path().join("staging")).unwrap().count(), 0);
    server.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_anywhere_commits_nothing() {
    let server = start(Tokens::default()).await;
    let body = [file("a.txt", TEXT), file("b.txt", "BenchmarkB 1 1 ns/op\n"), field("commit"), END.into()].concat();
    let whole = body.rfind("--B--").unwrap() + "--B--".len();
    for end in 0..whole {
        // The stream ends in good order after these bytes, as a proxy would end it.
        let answer = server.post(&body.as_bytes()[..end]).await;
        assert_eq!(answer.status, 400, "{end}: {}", answer.text());
    }
    assert_eq!(server.get("/search?q=+").await.text(), "");
    let answer = server.post(body.as_bytes()).await;
    assert!(answer.text().contains("20261122.1/1"), "no name was used: {}", answer.text());
    for end in (0..whole).step_by(7) {
        // The connection breaks.
        let request = chunked(&server.address, body.as_bytes(), "");
        let cut = request.len() - (whole - end) - 16;
        server.raw(&request[..cut], true).await;
    }
    assert_eq!(server.get("/uploads").await.text(), "{\"Count\":3,\"UploadID\":\"20261122.1\"}\n");
    server.store.close().await;
}

fn token(name: &str, secret: &str, scopes: &[Scope], require_commit: bool) -> Token {
    Token { name: name.into(), digest: sha2::Sha256::digest(secret).into(), scopes: scopes.to_vec(), require_commit }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_decide_who_may_do_what() {
    let tokens = vec![token("ci@example.org", "ci", &[Scope::Upload], true), token("ann", "ann", &[Scope::Upload, Scope::Delete], false)];
    let server = start(Tokens { tokens, private: false }).await;
    let send = async |authorization: &str, body: &str| server.raw(&chunked(&server.address, body.as_bytes(), authorization), false).await;
    let committed = [file("a", TEXT), field("commit"), END.into()].concat();
    let plain = [file("a", TEXT), END.into()].concat();
    let refused = send("", &committed).await;
    assert_eq!((refused.status, refused.text().as_str()), (401, "this needs a token: send `Authorization: Bearer TOKEN`\n"));
    assert_eq!(send("Authorization: Bearer no\r\n", &committed).await.status, 401);
    assert_eq!(send("Authorization: Bearer ci\r\n", &plain).await.status, 400, "this token's uploads must say commit");
    assert_eq!(send("Authorization: Bearer ci\r\n", &committed).await.status, 200);
    assert_eq!(send("Authorization: Basic eDphbm4=\r\n", &plain).await.status, 200);
    assert_eq!(
        server.get("/uploads?extra_label=by").await.text(),
        "{\"Count\":2,\"UploadID\":\"20261122.2\",\"LabelValues\":{\"by\":\"ann\"}}\n{\"Count\":2,\"UploadID\":\"20261122.1\",\"LabelValues\":{\"by\":\"ci@example.org\"}}\n"
    );
    assert_eq!(server.request("DELETE", "/uploads/20261122.1", "Authorization: Bearer ci\r\n", b"").await.status, 403);
    assert_eq!(server.request("DELETE", "/uploads/20261122.1", "", b"").await.status, 401);
    assert_eq!(server.request("DELETE", "/uploads/20261122.1?reason=leaked", "Authorization: Bearer ann\r\n", b"").await.status, 204);
    assert_eq!(server.request("DELETE", "/uploads/20261122.1", "Authorization: Bearer ann\r\n", b"").await.status, 404);
    let log = server.get("/log.json").await.text();
    assert!(log.contains("\"removed\"") && log.contains("leaked") && log.contains("\"by\":\"ann\""), "{log}");
    server.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_an_upload_happen_once() {
    let server = start(Tokens::default()).await;
    let body = [file("a", TEXT), END.into()].concat();
    let first = server.request("PUT", "/uploads/nightly-7", TYPE, body.as_bytes()).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let again = server.request("PUT", "/uploads/nightly-7", TYPE, body.as_bytes()).await;
    assert_eq!((again.status, again.text()), (200, first.text()));
    let other = server.request("PUT", "/uploads/nightly-7", TYPE, [file("a", "BenchmarkOther 1\n"), END.into()].concat().as_bytes()).await;
    assert_eq!(other.status, 409);
    assert_eq!(server.get("/uploads").await.text().lines().count(), 1);
    let plain = server.request("PUT", "/uploads/plain?file=x%20y.txt", "Content-Type: text/plain\r\n", b"BenchmarkPlain 1 2 ns/op\n").await;
    assert_eq!(plain.status, 200, "{}", plain.text());
    assert!(server.get("/search?q=name:Plain").await.text().contains("upload-file: x y.txt\n"));
    assert_eq!(server.request("PUT", "/uploads/a%20b", TYPE, body.as_bytes()).await.status, 400);
    server.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_pages_compressed_and_only_when_they_are_new() {
    let server = start(Tokens::default()).await;
    let text: String = (0..5_000).map(|n| format!("n: {n}\nBenchmarkMany/size={} {n} 1.5 ns/op\n", n % 7)).collect();
    server.post([file("a", &text), END.into()].concat().as_bytes()).await;
    let whole = server.get("/search?q=name:Many").await;
    assert_eq!((whole.text().matches("Benchmark").count(), whole.whole), (5_000, true));
    let tag = whole.header("etag").unwrap().to_owned();
    let again = server.request("GET", "/search?q=name:Many", &format!("If-None-Match: {tag}\r\n"), b"").await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let packed = server.request("GET", "/search?q=name:Many", "Accept-Encoding: gzip\r\n", b"").await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let mut unpacked = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed.body.as_slice()), &mut unpacked).unwrap();
    assert!(unpacked == whole.text() && packed.body.len() * 3 < unpacked.len());
    let (mut results, mut path) = (Vec::new(), "/search?q=name:Many&limit=1500".to_owned());
    loop {
        let page = server.get(&path).await;
        results.extend(page.text().lines().filter(|line| line.starts_with("Bench")).map(str::to_owned).collect::<Vec<_>>());
        let Some(link) = page.header("link") else { break };
        path = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
    }
    assert_eq!(results, whole.text().lines().filter(|line| line.starts_with("Bench")).map(str::to_owned).collect::<Vec<_>>());
    server.post([file("a", "n: 1\nBenchmarkMany 1\n"), END.into()].concat().as_bytes()).await;
    let changed = server.request("GET", "/search?q=name:Many", &format!("If-None-Match: {tag}\r\n"), b"").await;
    assert_eq!(changed.text().matches("Benchmark").count(), 5_001);
    server.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_failure_cuts_the_answer_off_and_a_slow_reader_stops_nobody() {
    let server = start(Tokens::default()).await;
    let text: String = (0..60_000).map(|n| format!("BenchmarkSlow/n={n} {n} 1.5 ns/op\n")).collect();
    server.post([file("a", &text), END.into()].concat().as_bytes()).await;
    // This reader takes the first bytes and no more.
    let mut slow = TcpStream::connect(&server.address).await.unwrap();
    slow.write_all(b"GET /search?q=name:Slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
    slow.read_exact(&mut [0; 100]).await.unwrap();
    let answer = server.post([file("b", "BenchmarkQuick 1\n"), END.into()].concat().as_bytes()).await;
    assert_eq!(answer.status, 200);
    drop(slow);
    // Rows of the middle are damaged behind its back.
    let mut database = sqlx::ConnectOptions::connect(
        &format!("sqlite:{}", server.dir.path().join("perfdata.db").display()).parse::<sqlx::sqlite::SqliteConnectOptions>().unwrap(),
    )
    .await
    .unwrap();
    sqlx::query("UPDATE chunk SET body = x'00' WHERE number = 40").execute(&mut database).await.unwrap();
    let answer = server.get("/search?q=name:Slow").await;
    assert_eq!(answer.status, 200);
    assert!(!answer.whole && !answer.body.is_empty(), "half an answer must not look whole");
    sqlx::query("UPDATE chunk SET body = x'00' WHERE number = 0").execute(&mut database).await.unwrap();
    let answer = server.get("/search?q=name:Slow").await;
    assert!(answer.status == 500 && answer.text().contains("burrow perfdata reindex"), "{}", answer.text());
    server.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_of_other_tools_become_results() {
    let server = start(Tokens::default()).await;
    let hyperfine = r#"{"results": [{"command": "sort big.txt", "mean": 0.25, "stddev": 0.007, "median": 0.255, "user": 0.1, "system": 0.1, "min": 0.25, "max": 0.26, "times": [0.25, 0.26]}]}"#;
    let answer = server.post([file("h.json", hyperfine), file("a.txt", TEXT), END.into()].concat().as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = server.get("/search?q=upload-file:h.json").await.text();
    assert_eq!(text.matches("Benchmark").count(), 2, "{text}");
    let original = server.get("/uploads/20261122.1/0.json").await;
    assert_eq!((original.status, original.text().as_str()), (200, hyperfine));
    let broken = server.post([file("h.json", r#"{"results": [{"command": 5}]}"#), END.into()].concat().as_bytes()).await;
    assert_eq!(broken.status, 400, "{}", broken.text());
    server.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_numbers_are_there() {
    let server = start(Tokens::default()).await;
    let empty = server.get("/").await;
    assert!(empty.status == 200 && empty.text().contains("Nothing was uploaded yet"));
    let text = "goos: <b>linux</b>\nUnit ns/op better=lower\nBenchmarkPage-8 100 12.5 ns/op 3 B/op\nBenchmarkPage-8 100 13.5 ns/op 3 B/op\nBenchmarkOdd garbage here\n";
    server.post([file("a.txt", text), END.into()].concat().as_bytes()).await;
    let start_page = server.get("/").await.text();
    assert!(start_page.contains("20261122.1") && start_page.contains("a.txt"));
    let page = server.get("/uploads/20261122.1").await.text();
    assert!(page.contains("Page-8") && page.contains("&#60;b&#62;linux") && page.contains("Unit ns/op better=lower") && !page.contains("<b>linux"), "{page}");
    assert!(server.get("/upload").await.text().contains("multipart/form-data"));
    assert_eq!(server.get("/uploads/20261122.9").await.status, 404);
    assert_eq!(server.get("/nothing").await.status, 404);
    assert_eq!(server.get("/uploads/20261122.1/..%2f..%2fperfdata.db").await.status, 404);
    let file = server.get("/uploads/20261122.1/0.txt").await.text();
    assert!(file.starts_with("upload: 20261122.1\nupload-file: a.txt\n") && file.ends_with(&format!("\n\n{text}")));
    assert_eq!(
        server.get("/v1/series?q=name:Page&format=csv&label=goos").await.text(),
        "upload,name,unit,value,goos\n20261122.1,Page-8,ns/op,12.5,<b>linux</b>\n20261122.1,Page-8,ns/op,13.5,<b>linux</b>\n20261122.1,Page-8,B/op,3,<b>linux</b>\n20261122.1,Page-8,B/op,3,<b>linux</b>\n"
    );
    let line: serde_json::Value = serde_json::from_str(server.get("/v1/series?q=name:Page").await.text().trim()).unwrap();
    assert_eq!(line["values"][0]["values"], serde_json::json!([12.5, 13.5]));
    let changes: serde_json::Value = serde_json::from_str(&server.get("/v1/changes?after=0").await.text()).unwrap();
    assert_eq!((&changes["newest"], &changes["changes"][0]["upload"]), (&1.into(), &"20261122.1".into()));
    let waiting = server.get("/v1/changes?after=1&wait=50");
    let upload = [self::file("b", TEXT), END.into()].concat();
    let (changes, _) = tokio::join!(waiting, server.post(upload.as_bytes()));
    assert!(changes.text().contains("20261122.2"), "it waits until there is a change");
    assert!(server.get("/metrics").await.text().contains("burrow_perfdata_uploads 2\n"));
    assert_eq!(server.get("/healthz").await.text(), "ok\n");
    let status: serde_json::Value = serde_json::from_str(&server.get("/status.json").await.text()).unwrap();
    assert_eq!((&status["totals"]["lines"], &status["health"]), (&5.into(), &"good".into()));
    server.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_remove_what_is_old_enough() {
    let server = start(Tokens::default()).await;
    let send = async |text: &str| server.post([file("a", text), END.into()].concat().as_bytes()).await;
    send("post-submit: false\nBenchmarkA 1\n").await;
    send("post-submit: true\nBenchmarkA 1\n").await;
    server.clock.advance_ms(40 * 86_400_000);
    send("post-submit: false\nBenchmarkA 1\n").await;
    let rule = |query: &str, days| burrow_perfdata::config::Keep { query: query.into(), days };
    let apply = async |rules: &[burrow_perfdata::config::Keep]| {
        burrow_perfdata::retention::apply(&server.store, rules, burrow_clock::Clock::now_ms(&server.clock)).await.unwrap()
    };
    assert_eq!(apply(&[rule("post-submit:false", 60)]).await, 0);
    assert_eq!(apply(&[rule("post-submit:false", 30)]).await, 1);
    assert_eq!(server.get("/uploads").await.text().lines().count(), 2);
    assert_eq!(apply(&[rule("", 30)]).await, 1);
    assert_eq!(server.get("/uploads").await.text(), "{\"Count\":1,\"UploadID\":\"20270101.1\"}\n");
    server.store.close().await;
}
