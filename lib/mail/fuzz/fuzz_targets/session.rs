//! A whole SMTP session: no panic, bounded memory, every reply is well formed, and no mail comes of it that was not judged good.
#![no_main]

use std::sync::Arc;

use burrow_mail::line::Lines;
use burrow_mail::session::Want;
use burrow_mail::{Config, Limits, Refusal, Session, letter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits { size: 2_000, header: 500, line: 200, ..Limits::default() };
    let mut config = Config { limits, ..Config::google("a@b.c", "mx") };
    config.envelope_hosts.clear();
    let config = Arc::new(config);
    let (mut session, mut lines) = (Session::new(Arc::clone(&config), true), Lines::default());
    for piece in data.chunks(64) {
        lines.make_room(piece.len());
        lines.buffer().extend_from_slice(piece);
        assert!(lines.buffer().capacity() < 4_096);
        loop {
            let range = match lines.next(config.limits.line) {
                Ok(Some(range)) => range,
                Ok(None) => break,
                Err(_) => return,
            };
            let mut out = String::new();
            let mut step = session.line(lines.get(range), &mut out);
            loop {
                step = match step.want {
                    Want::Line => break,
                    Want::Room => session.room(data.len() % 2 == 0, &mut out),
                    Want::Judgement { header, sender } => {
                        assert!(header.len() <= config.limits.header && header.ends_with(b"\r\n"));
                        session.judged(Err(letter::examine(header, &sender, &config, 0).err().unwrap_or(Refusal::NoKey)));
                        break;
                    }
                    Want::Storing(_) => panic!("nothing was judged good"),
                    Want::Handshake => {
                        session.secured();
                        break;
                    }
                    Want::Close => return,
                };
            }
            for line in out.split_terminator("\r\n") {
                assert!(line.len() > 3 && line.as_bytes()[..3].iter().all(u8::is_ascii_digit) && !line.contains(['\r', '\n']), "{line:?}");
            }
        }
    }
});
