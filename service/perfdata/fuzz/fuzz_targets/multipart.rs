//! Any bytes as a body, in pieces: never a panic, and the pieces' sizes change nothing.
#![no_main]

use burrow_perfdata::multipart::{Event, MultipartError, Parser};

/// What comes out: heads of parts with their content, and how it ended.
fn read(body: &[u8], piece: usize) -> (Vec<(String, Option<String>, Vec<u8>)>, Result<(), MultipartError>) {
    let mut parser = Parser::new(Some("multipart/form-data; boundary=XyZ")).expect("a right type");
    let mut out: Vec<(String, Option<String>, Vec<u8>)> = Vec::new();
    for bytes in body.chunks(piece) {
        parser.push(bytes);
        loop {
            match parser.next() {
                Ok(None) => break,
                Ok(Some(Event::Part { field, file })) => out.push((field, file, Vec::new())),
                Ok(Some(Event::Data(data))) => out.last_mut().expect("content is of a part").2.extend_from_slice(&data),
                Ok(Some(Event::EndOfPart)) => {}
                Err(error) => return (out, Err(error)),
            }
        }
    }
    (out, parser.finish())
}

libfuzzer_sys::fuzz_target!(|data: (u8, &[u8])| {
    let (piece, body) = data;
    // Limits on heads are looked at when more comes, so that bodies near them may end otherwise; those are long.
    if body.len() < 8_000 {
        assert_eq!(read(body, usize::from(piece).max(1)), read(body, body.len().max(1)));
    }
});
