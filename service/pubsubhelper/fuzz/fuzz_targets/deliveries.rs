//! Bodies of every adapter, as a sender with the secret could send them; queries; and cut-up lines of a stream: no panic, and events of bounded size.
#![no_main]

use burrow_pubsubhelper::http::Asked;
use burrow_pubsubhelper::secrets::unhex;
use burrow_pubsubhelper::sources::generic::About;
use burrow_pubsubhelper::sources::{Envelope, Verdict, generic, gerrit, gitea, github, gitlab};
use burrow_pubsubhelper::stream::Lines;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    let events = [None, Some("push"), Some("create"), Some("issues")];
    let envelope = Envelope {
        source: "fuzz",
        event: events[usize::from(choice % 4)],
        delivery: Some("delivery"),
        form: choice & 4 != 0,
        text: choice & 8 != 0,
        ..Envelope::default()
    };
    let about = About { topics: vec!["team:*".into(), "git:host/app".into()], url: "https://host/app.git".into() };
    let verdict = match choice >> 5 {
        0 => github::read(&envelope, body),
        1 => gitlab::read(&envelope, body),
        2 => gitea::read(&envelope, body),
        3 => gerrit::read(&envelope, "https://review.example.org", body),
        4 => generic::read(&envelope, &about, body),
        5 => {
            let text = String::from_utf8_lossy(body);
            let _ = Asked::parse(&text);
            let _ = unhex(&text);
            return;
        }
        _ => {
            // However a stream is cut, its lines are the same.
            let (mut whole, mut parts) = (Lines::default(), Lines::default());
            let expected = whole.take(body);
            let cut: Vec<_> = body.chunks(usize::from(choice % 32) + 1).flat_map(|part| parts.take(part)).collect();
            assert_eq!(cut, expected);
            return;
        }
    };
    if let Ok(Verdict::Events(drafts)) = verdict {
        assert!(!drafts.is_empty() && drafts.len() <= 101);
        assert!(drafts.iter().all(|draft| draft.source == "fuzz" && !draft.topics.is_empty()));
    }
});
