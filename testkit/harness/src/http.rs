//! The smallest HTTP client that a test needs: one request, one connection, the whole answer.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Head as sent, without the status line.
    pub head: String,
    /// Body, with chunks put together.
    pub body: Vec<u8>,
}

impl Answer {
    /// Body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `GET http://{address}{path}`.
///
/// # Errors
/// Nobody listens, or the answer is cut.
pub fn get(address: &str, path: &str) -> std::io::Result<Answer> {
    request(address, "GET", path, "", &[])
}

/// `POST http://{address}{path}` with a JSON body.
///
/// # Errors
/// Nobody listens, or the answer is cut.
pub fn post(address: &str, path: &str, json: &str) -> std::io::Result<Answer> {
    request(address, "POST", path, json, &[])
}

/// The same with further headers.
///
/// # Errors
/// Nobody listens, or the answer is cut.
pub fn post_with(address: &str, path: &str, headers: &[(&str, &str)], json: &str) -> std::io::Result<Answer> {
    request(address, "POST", path, json, headers)
}

fn request(address: &str, method: &str, path: &str, json: &str, headers: &[(&str, &str)]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(crate::HANG))?;
    let body = if method == "GET" { String::new() } else { format!("Content-Type: application/json\r\nContent-Length: {}\r\n", json.len()) };
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}{body}\r\n{json}").as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let cut = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the answer is cut");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(cut)?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let (first, head) = head.split_once("\r\n").unwrap_or((&head, ""));
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(cut)?;
    let mut body = bytes[end + 4..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunk(&body).ok_or_else(cut)?;
    }
    Ok(Answer { status, head: head.to_owned(), body })
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(bytes.get(..line)?).ok()?.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(bytes.get(line + 2..line + 2 + size)?);
        bytes = bytes.get(line + 2 + size + 2..)?;
    }
}

/// The coordinator's stream of changes.
#[derive(Debug)]
pub struct Events(std::io::BufReader<TcpStream>);

impl Events {
    /// Subscribes; changes after this returned are not missed.
    ///
    /// # Errors
    /// Nobody listens, or there is no such stream.
    pub fn open(address: &str) -> std::io::Result<Events> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(crate::HANG))?;
        stream.write_all(format!("GET /events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n").as_bytes())?;
        let mut events = Events(std::io::BufReader::new(stream));
        let first = events.line()?;
        if first.split(' ').nth(1) != Some("200") {
            return Err(std::io::Error::other(first));
        }
        while !events.line()?.is_empty() {}
        Ok(events)
    }

    /// Waits for the next change (or sign of life).
    ///
    /// # Errors
    /// The stream ended or was silent for [`crate::HANG`].
    pub fn wait(&mut self) -> std::io::Result<()> {
        // An event ends with an empty line; a chunk's size line and the lines of the event come before it.
        while !self.line()?.is_empty() {}
        Ok(())
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if std::io::BufRead::read_line(&mut self.0, &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
