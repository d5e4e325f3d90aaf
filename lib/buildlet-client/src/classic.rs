//! The endpoints every buildlet has, Go's included (`spec/buildlet.md` §3–5, §9).

use std::time::Duration;

use burrow_revdial::BoxStream;
use burrow_task::BoxFuture;
use bytes::Bytes;
use http::header::{HeaderName, TE};
use http::{HeaderValue, Method, StatusCode};
use hyper_util::rt::TokioIo;
use protocol_buildlet::PROCESS_STATE_TRAILER;
use protocol_buildlet::form::{Fields, escape};
use protocol_buildlet::ls::{Line, MAX_LINE};
use protocol_buildlet::mode::GoMode;

use crate::body::{Body, Chunks};
use crate::connections::{Ask, Client};
use crate::error::Error;

const FORM: &str = "application/x-www-form-urlencoded";
/// `POST /halt` is best effort: nobody waits long for a machine that is let go (`spec/buildlet.md` §9).
const HALT_LIMIT: Duration = Duration::from_secs(2);
/// Connecting to the machine's SSH server, which the buildlet may have to start.
const SSH_LIMIT: Duration = Duration::from_secs(15);

/// A command for `POST /exec` (`spec/buildlet.md` §4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecForm {
    /// Absolute, relative with a separator (to the work directory), or a bare name.
    pub cmd: String,
    /// Arguments.
    pub args: Vec<String>,
    /// `K=V`, appended to the buildlet's environment.
    pub env: Vec<String>,
    /// PATH elements, in which `$PATH` and `$WORKDIR` are replaced; `None` leaves PATH as it is.
    pub path: Option<Vec<String>>,
    /// Absolute, relative to the work directory, or empty: the command's own directory, in system mode the work directory.
    pub dir: String,
    /// System mode: the command is not looked for in the work directory.
    pub system: bool,
    /// The output begins with a line that says what is run.
    pub debug: bool,
}

impl ExecForm {
    fn encode(&self) -> String {
        let mut fields = Fields::default();
        let mut put = |name: &str, value: &str| fields.0.push((name.to_owned(), value.to_owned()));
        put("cmd", &self.cmd);
        put("mode", if self.system { "sys" } else { "" });
        put("dir", &self.dir);
        self.args.iter().for_each(|arg| put("cmdArg", arg));
        self.env.iter().for_each(|pair| put("env", pair));
        match self.path.as_deref() {
            None => {}
            // A form cannot tell an empty list from none at all; this is Go's word for it.
            Some([]) => put("path", "$EMPTY"),
            Some(path) => path.iter().for_each(|element| put("path", element)),
        }
        put("debug", if self.debug { "true" } else { "false" });
        fields.encode()
    }
}

/// How a command ended that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit status 0.
    Success,
    /// It failed, or could not be started: Go's text, for example `exit status 3`.
    Failed(String),
}

/// The output of a running command. Dropping it before its end makes the buildlet kill the command.
#[derive(Debug)]
pub struct ExecOutput {
    chunks: Chunks,
}

impl ExecOutput {
    /// The next output, stdout and stderr in one; `None` when the command has ended.
    ///
    /// # Errors
    /// [`Error::Transport`] when the connection broke: what became of the command is not known.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.chunks.chunk().await
    }

    /// Reads on to the end, dropping output, and says how the command ended.
    ///
    /// # Errors
    /// [`Error::Transport`] as above; [`Error::Protocol`] when the buildlet did not say how it ended (a system failure, not the command's).
    pub async fn outcome(mut self) -> Result<Outcome, Error> {
        while self.chunks.chunk().await?.is_some() {}
        match self.chunks.trailer(PROCESS_STATE_TRAILER) {
            Some(state) if state == "ok" => Ok(Outcome::Success),
            Some(state) if !state.is_empty() => Ok(Outcome::Failed(state)),
            _ => Err(Error::Protocol(format!("missing {PROCESS_STATE_TRAILER} trailer from the buildlet"))),
        }
    }
}

/// What `GET /ls` is to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Directories below it too.
    pub recursive: bool,
    /// SHA-1 of regular files.
    pub digest: bool,
    /// Directories to leave out, relative to the listed one.
    pub skip: Vec<String>,
}

impl Client {
    /// `POST /exec`: runs a command and streams its output.
    ///
    /// # Errors
    /// [`Error::Refused`] when the form is wrong or the command was not found (422).
    pub fn exec<'a>(&'a self, form: &'a ExecForm) -> BoxFuture<'a, Result<ExecOutput, Error>> {
        Box::pin(async move {
            let mut ask = Ask::new("POST /exec", Method::POST, "/exec").content_type(FORM).once();
            // The result is in a trailer, which some servers send only to those who say that they read it.
            ask.headers.push((TE, HeaderValue::from_static("trailers")));
            let (_, chunks) = self.ask(ask, form.encode().into()).await?;
            Ok(ExecOutput { chunks })
        })
    }

    /// `GET /workdir`: the work directory's absolute path on the machine.
    ///
    /// # Errors
    /// [`Error`]
    pub fn workdir(&self) -> BoxFuture<'_, Result<String, Error>> {
        Box::pin(async move {
            let bytes = self.whole(Ask::new("GET /workdir", Method::GET, "/workdir"), Body::empty(), 64 << 10).await?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        })
    }

    /// `PUT /write`: one file with these permission bits, below the work directory.
    ///
    /// # Errors
    /// [`Error`]
    pub fn write<'a>(&'a self, path: &'a str, permissions: u32, content: Body) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            // Decimal, and Go's bits rather than POSIX's; for permissions alone they are the same (T8).
            let target = format!("/write?path={}&mode={}", escape(path), GoMode::regular(permissions).0);
            let ask = Ask::new("PUT /write", Method::PUT, target).once().unlimited();
            self.whole(ask, content, 64 << 10).await.map(drop)
        })
    }

    /// `PUT /writetgz`: extracts a tar.gz below `dir` (empty: the work directory).
    ///
    /// # Errors
    /// [`Error`]
    pub fn write_tgz<'a>(&'a self, dir: &'a str, tgz: Body) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let target = format!("/writetgz?dir={}", escape(dir));
            self.whole(Ask::new("PUT /writetgz", Method::PUT, target).once().unlimited(), tgz, 64 << 10).await.map(drop)
        })
    }

    /// `POST /writetgz`: the buildlet fetches the tar.gz itself.
    ///
    /// # Errors
    /// [`Error`]
    pub fn write_tgz_from_url<'a>(&'a self, dir: &'a str, url: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let target = format!("/writetgz?dir={}", escape(dir));
            let ask = Ask::new("POST /writetgz", Method::POST, target).content_type(FORM).once().unlimited();
            self.whole(ask, format!("url={}", escape(url)).into(), 64 << 10).await.map(drop)
        })
    }

    /// `GET /tgz`: a directory as tar.gz. A Go buildlet sends many gzip members, one per MiB (T7): use a decoder for several members.
    /// A failure in the middle is a broken connection.
    ///
    /// # Errors
    /// [`Error`]
    pub fn get_tgz<'a>(&'a self, dir: &'a str) -> BoxFuture<'a, Result<Chunks, Error>> {
        Box::pin(async move {
            // Buildlets of version 26 refuse an empty one.
            let dir = if dir.is_empty() { "." } else { dir };
            let target = format!("/tgz?dir={}", escape(dir));
            Ok(self.ask(Ask::new("GET /tgz", Method::GET, target).unlimited(), Body::empty()).await?.1)
        })
    }

    /// `GET /ls`: hands every line to `each`, as they arrive.
    ///
    /// # Errors
    /// [`Error::Protocol`] for lines that are none.
    pub async fn ls(&self, dir: &str, options: &ListOptions, mut each: impl FnMut(Line)) -> Result<(), Error> {
        let mut target = format!("/ls?dir={}&recursive={}&digest={}", escape(dir), options.recursive, options.digest);
        for skip in &options.skip {
            target.push_str(&format!("&skip={}", escape(skip)));
        }
        let (_, mut chunks) = self.ask(Ask::new("GET /ls", Method::GET, target).unlimited(), Body::empty()).await?;
        let mut unfinished: Vec<u8> = Vec::new();
        let mut take = |line: &[u8]| {
            let text = String::from_utf8_lossy(line);
            let parsed = Line::parse(&text).map_err(|e| Error::Protocol(format!("GET /ls: {e}")))?;
            each(parsed);
            Ok::<(), Error>(())
        };
        while let Some(bytes) = chunks.chunk().await? {
            let mut rest = &bytes[..];
            while let Some(end) = rest.iter().position(|&b| b == b'\n') {
                let (line, after) = rest.split_at(end);
                unfinished.extend_from_slice(line);
                take(&unfinished)?;
                unfinished.clear();
                rest = after.get(1..).unwrap_or_default();
            }
            unfinished.extend_from_slice(rest);
            if unfinished.len() > MAX_LINE {
                return Err(Error::Protocol(format!("GET /ls: a line of more than {MAX_LINE} bytes")));
            }
        }
        if unfinished.is_empty() { Ok(()) } else { take(&unfinished) }
    }

    /// `POST /removeall`: removes paths below the work directory, with all that is in them; `.` empties it.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn remove_all<S: AsRef<str>>(&self, paths: &[S]) -> Result<(), Error> {
        let fields = Fields(paths.iter().map(|p| ("path".to_owned(), p.as_ref().to_owned())).collect());
        let ask = Ask::new("POST /removeall", Method::POST, "/removeall").content_type(FORM).unlimited();
        self.whole(ask, fields.encode().into(), 64 << 10).await.map(drop)
    }

    /// `POST /halt`: the buildlet ends a second later, or halts its machine, as it was told at its start. Limit 2 s.
    ///
    /// # Errors
    /// [`Error`]; usually of no interest.
    pub fn halt(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let ask = Ask::new("POST /halt", Method::POST, "/halt").within(HALT_LIMIT);
            self.whole(ask, Body::empty(), 64 << 10).await.map(drop)
        })
    }

    /// `POST /connect-ssh`: a raw connection to the machine's SSH server, after `authorized_key` (one line) was added for `user`. Limit 15 s.
    ///
    /// # Errors
    /// [`Error::Refused`] with the buildlet's explanation.
    pub fn connect_ssh<'a>(&'a self, user: &'a str, authorized_key: &'a str) -> BoxFuture<'a, Result<BoxStream, Error>> {
        Box::pin(async move {
            let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Error::Protocol("the SSH user or key cannot be sent in a header".into()));
            let mut ask = Ask::new("POST /connect-ssh", Method::POST, "/connect-ssh").once().within(SSH_LIMIT);
            ask.headers.push((HeaderName::from_static("x-go-ssh-user"), value(user)?));
            ask.headers.push((HeaderName::from_static("x-go-authorized-key"), value(authorized_key)?));
            ask.headers.push((http::header::CONTENT_LENGTH, HeaderValue::from_static("0")));
            let (mut response, lease) = self.send(&ask, Body::empty()).await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let status = response.status().as_u16();
                let mut chunks = Chunks::new(ask.doing, response.into_body(), lease);
                let text = String::from_utf8_lossy(&chunks.beginning(4096).await).trim().to_owned();
                return Err(Error::Refused { status, text });
            }
            let upgraded = hyper::upgrade::on(&mut response).await.map_err(|e| Error::transport(ask.doing, e))?;
            Ok(Box::new(TokioIo::new(upgraded)) as BoxStream)
        })
    }
}
