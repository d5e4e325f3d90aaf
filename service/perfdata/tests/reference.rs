//! The same requests, answered by the Go project's `localperfdata` (recorded in `reference.json.gz`) and by us. Bodies must be equal to the byte; where we differ on
//! purpose, the difference is written down here.
//!
//! In the record days are 19991231 and times 1999-12-31T23:59:59Z, which is when this test's clock stands. The reference uses up a name for an upload that fails;
//! names are compared by their order.

use std::io::Read as _;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use burrow_clock::TestClock;
use burrow_perfdata::http::{Site, router};
use burrow_perfstore::{Options, PerfStore};
use serde_json::Value;
use tower::ServiceExt as _;

/// 1999-12-31T23:59:59Z
const NOW: i64 = 946_684_799_000;

fn bytes(value: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// The reference's names as ours: what failed has none.
fn renamed(text: &[u8], names: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let digits = rest.strip_prefix(b"19991231.").map(|rest| rest.iter().take_while(|byte| byte.is_ascii_digit()).count()).unwrap_or(0);
        match names.iter().find(|(theirs, _)| digits > 0 && theirs.as_bytes() == &rest[..9 + digits]) {
            Some((theirs, ours)) => {
                out.extend_from_slice(ours.as_bytes());
                at += theirs.len();
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

/// Labels and a line.
type Line = (Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>);

/// Lines with all labels in force at them, in any order: the reference's order is that of whichever index its database used.
fn unordered(text: &[u8]) -> Vec<Line> {
    let mut out = Vec::new();
    let mut reader = protocol_benchfmt::store::Reader::new(Default::default());
    let mut sink = |record: protocol_benchfmt::store::Record<'_>| {
        if let protocol_benchfmt::store::Record::Result(result) = record {
            out.push((result.labels.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect(), result.line.to_vec()));
        }
    };
    reader.push(text, &mut sink);
    reader.finish(&mut sink);
    out.sort();
    out
}

async fn answer(service: &axum::Router, request: Request<Body>) -> (u16, String, Vec<u8>) {
    let answer = service.clone().oneshot(request).await.unwrap();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
    let status = answer.status().as_u16();
    (status, kind, axum::body::to_bytes(answer.into_body(), 1 << 24).await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_references_to_the_byte() {
    let mut text = String::new();
    flate2::read::GzDecoder::new(&include_bytes!("reference.json.gz")[..]).read_to_string(&mut text).unwrap();
    let recorded: Value = serde_json::from_str(&text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let store = PerfStore::open(Options::folder(dir.path(), Arc::new(clock.clone()))).await.unwrap();
    let view_url_base = Some("https://perf.example/search?q=upload:".to_owned());
    let service = router(Site { store: store.clone(), tokens: Default::default(), view_url_base, only_host: None, clock: Arc::new(clock) });

    let mut names: Vec<(String, String)> = Vec::new();
    for (number, upload) in recorded["uploads"].as_array().unwrap().iter().enumerate() {
        let request = Request::post("/upload").header("content-type", "multipart/form-data; boundary=B").body(bytes(&upload["body"]).into()).unwrap();
        let (status, kind, body) = answer(&service, request).await;
        let theirs = upload["answer"].as_str().unwrap();
        if upload["status"] == 200 {
            let name = |text: &str| text.split('"').nth(3).unwrap().to_owned();
            names.push((name(theirs), name(std::str::from_utf8(&body).unwrap())));
            assert_eq!((status, kind.as_str()), (200, upload["type"].as_str().unwrap()), "upload {number}");
            assert_eq!(String::from_utf8_lossy(&body), String::from_utf8_lossy(&renamed(theirs.as_bytes(), &names)), "upload {number}");
        } else {
            // 500 whatever it is; here the status says whose fault it is, and the text begins as theirs.
            assert!((400..500).contains(&status), "upload {number}");
            let ours = String::from_utf8_lossy(&body).into_owned();
            assert!(ours.starts_with(theirs.trim_end()), "upload {number}: {ours} {theirs}");
        }
    }

    let mut reordered = Vec::new();
    for question in recorded["questions"].as_array().unwrap() {
        let path = question["path"].as_str().unwrap();
        let (status, kind, body) = answer(&service, Request::get(path).body(Body::empty()).unwrap()).await;
        let theirs = renamed(&bytes(&question["answer"]), &names);
        let shown = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        if path.contains("q=b%3C2") {
            // As texts `10` is less than `2`.
            assert!(shown(&theirs).contains("b: 10") || !path.starts_with("/search"));
            assert!(!shown(&body).contains("b: 10") && (shown(&body).contains("b: 1\n") || !path.starts_with("/search")), "{path}: {}", shown(&body));
        } else if theirs == b"EOF\n" {
            // A contradiction is an empty answer and no failure.
            assert_eq!((status, body.as_slice()), (200, &b""[..]), "{path}");
        } else if question["status"] == 500 {
            assert_eq!((status, shown(&body)), (400, shown(&theirs)), "{path}");
        } else {
            assert_eq!((status, kind.as_str()), (u16::try_from(question["status"].as_i64().unwrap()).unwrap(), question["type"].as_str().unwrap()), "{path}");
            if body != theirs {
                assert!(path.starts_with("/search"), "{path}: {} {}", shown(&body), shown(&theirs));
                assert_eq!(unordered(&body), unordered(&theirs), "{path}: {}\n\n{}", shown(&body), shown(&theirs));
                reordered.push(path.to_owned());
            }
        }
    }
    // Theirs come in the order of an index (ranges), or of names as texts, where `.10` is before `.9`; ours have one order always.
    let without_range: Vec<_> = reordered.iter().filter(|path| !path.contains("%3E") && !path.contains("%3C")).collect();
    assert_eq!(without_range, ["/search?q=+", "/search?q=j%3A5"]);
    store.close().await;
}
