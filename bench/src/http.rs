//! HTTP as cheap as it can be, so that it is the server that is measured: one kept connection, answers of known length or in chunks.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// A server that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(120);

/// A kept connection.
pub(crate) struct Connection {
    address: String,
    stream: BufReader<TcpStream>,
    accept: &'static str,
}

/// An answer's head.
pub(crate) struct Head {
    pub(crate) status: u16,
    length: Option<usize>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub(crate) fn open(address: &str) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Connection { address: address.to_owned(), stream: BufReader::with_capacity(256 << 10, stream), accept: "" })
    }

    /// From now on answers may come compressed.
    pub(crate) fn accept_gzip(&mut self) {
        self.accept = "Accept-Encoding: gzip\r\n";
    }

    /// Sends a request and reads the head of its answer.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Head> {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{kind}{}Content-Length: {}\r\n\r\n{body}", self.address, self.accept, body.len());
        self.stream.get_mut().write_all(request.as_bytes())?;
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).with_context(|| format!("{first:?} is no answer"))?;
        let mut length = Some(0);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                return Ok(Head { status, length });
            }
            match line.split_once(':') {
                Some(("content-length", n)) => length = n.trim().parse().ok(),
                Some(("transfer-encoding", _)) => length = None,
                _ => {}
            }
        }
    }

    /// Reads the body and gives it piece by piece; returns its length.
    ///
    /// # Errors
    /// The body is cut.
    pub(crate) fn body(&mut self, head: &Head, mut piece: impl FnMut(&[u8])) -> anyhow::Result<u64> {
        if let Some(length) = head.length {
            self.take(length, &mut piece)?;
            return Ok(length as u64);
        }
        let mut total = 0;
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.trim(), 16).with_context(|| format!("{line:?} is no chunk"))?;
            self.take(size, &mut piece)?;
            total += size as u64;
            self.line()?;
            if size == 0 {
                return Ok(total);
            }
        }
    }

    fn take(&mut self, mut left: usize, piece: &mut impl FnMut(&[u8])) -> anyhow::Result<()> {
        while left > 0 {
            let have = self.stream.fill_buf()?;
            let n = have.len().min(left);
            if n == 0 {
                bail!("the answer is cut");
            }
            piece(have.get(..n).unwrap_or_default());
            self.stream.consume(n);
            left -= n;
        }
        Ok(())
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = Vec::new();
        // A head's line is short; what is longer is something else.
        (&mut self.stream).take(64 << 10).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            bail!("the connection was closed");
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// The whole body of a successful `GET`.
    ///
    /// # Errors
    /// It was refused, or the connection broke.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.whole("GET", path, "")
    }

    fn whole(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Vec<u8>> {
        let head = self.ask(method, path, body)?;
        let mut bytes = Vec::new();
        self.body(&head, |piece| bytes.extend_from_slice(piece))?;
        if head.status >= 300 {
            bail!("{method} {path}: {} {}", head.status, String::from_utf8_lossy(bytes.get(..300).unwrap_or(&bytes)));
        }
        Ok(bytes)
    }

    /// `GET` of JSON.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub(crate) fn json(&mut self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.get(path)?)?)
    }

    /// `POST` of JSON; null if the answer is empty.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let bytes = self.whole("POST", path, &body.to_string())?;
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}
