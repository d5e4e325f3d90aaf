//! Clones and fetches over HTTP: git's smart protocol, versions 0 to 2, read-only.
//!
//! `git upload-pack` makes the packs. What it must not give away is decided before it starts: unpublished references are hidden from it, and because
//! version 2 lets a client want any object by its name, the commits and tags that are wanted are checked here. Files and trees may be wanted by name
//! (partial clones need that): who knows the hash of a file knew the file.

use std::collections::HashMap;
use std::io::Read as _;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use burrow_git::program;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use gix::objs::Kind;
use gix::{ObjectId, Repository};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::ask::Query;
use crate::depot::{Miss, Open, Published, head_name, list, peel};
use crate::packetline::{self, Command};
use crate::refusal::Refusal;
use crate::repositories::Rights;
use crate::server::{Caller, Server};

/// Requests of more bytes, compressed or not, are refused: a client with a million references sends less.
const LARGEST_REQUEST: usize = 16 << 20;
/// Up to here a failing git has only explained itself.
const EXPLANATION: u64 = 64 << 10;
/// References that are named one by one because no prefix says which they are.
const MOST_NAMED: usize = 10_000;

const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";
const REQUEST: &str = "application/x-git-upload-pack-request";
const RESULT: &str = "application/x-git-upload-pack-result";

/// What version 2 says first; it depends only on the kind of hash.
#[derive(Default)]
pub(crate) struct Greetings(Mutex<HashMap<gix::hash::Kind, Bytes>>);

impl Server {
    /// `info/refs`
    pub(crate) async fn advertise(&self, caller: &Caller, method: &Method, query: &Query, headers: &HeaderMap) -> Result<Response, Refusal> {
        if method != Method::GET && method != Method::HEAD {
            return Err(Refusal::method("GET, HEAD"));
        }
        match query.get("service") {
            Some("git-upload-pack") => {}
            Some("git-receive-pack") => return Err(read_only()),
            _ => return Err(dumb()),
        }
        let version = version(headers);
        let (hash, hidden) = self.hidden(caller).await?;
        if version == 2
            && let Some(known) = self.inner.greetings.0.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned()
        {
            return Ok(answer(ADVERTISEMENT, Body::from(known)));
        }
        let permit = self.upload_permit()?;
        let running = self.upload_pack_program(caller, &hidden, version, &["--advertise-refs"], Bytes::new(), permit)?;
        if version != 2 {
            let mut banner = Vec::new();
            packetline::push(&mut banner, b"# service=git-upload-pack\n");
            banner.extend_from_slice(b"0000");
            return running.answer(ADVERTISEMENT, banner).await;
        }
        let whole = running.collect().await?;
        self.inner.greetings.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, whole.clone());
        Ok(answer(ADVERTISEMENT, Body::from(whole)))
    }

    /// `git-upload-pack`
    pub(crate) async fn upload_pack(&self, caller: &Caller, method: &Method, headers: &HeaderMap, body: Body) -> Result<Response, Refusal> {
        if method != Method::POST {
            return Err(Refusal::method("POST"));
        }
        if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != REQUEST) {
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("a request of type {REQUEST} is expected")));
        }
        let mut request = read_body(body).await?;
        match headers.get(header::CONTENT_ENCODING).map(|coding| coding.as_bytes()) {
            None | Some(b"identity") => {}
            Some(b"gzip" | b"x-gzip") => request = unzip(request).await?,
            Some(_) => return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "only gzip is understood as Content-Encoding")),
        }
        let version = version(headers);
        if version == 2 {
            let Some(command) = Command::parse(&request) else { return Err(Refusal::bad("this is not a request of git's protocol version 2")) };
            match command.name {
                b"ls-refs" => return self.ls_refs(caller, &command).await,
                b"fetch" => {
                    if let Some(unknown) = self.unpublished_want(caller, &command).await? {
                        let mut out = Vec::new();
                        packetline::push(&mut out, format!("ERR upload-pack: not our ref {unknown}").as_bytes());
                        return Ok(answer(RESULT, Body::from(out)));
                    }
                }
                _ => return Err(Refusal::bad("only ls-refs and fetch are answered here")),
            }
            // git reads no more than was looked at.
            let length = command.length;
            request.truncate(length);
        }
        let permit = self.upload_permit()?;
        let (_, hidden) = self.hidden(caller).await?;
        self.upload_pack_program(caller, &hidden, version, &[], request, permit)?.answer(RESULT, Vec::new()).await
    }

    /// Version 2's list of references, made here: it is what polling clients ask for all day.
    async fn ls_refs(&self, caller: &Caller, command: &Command<'_>) -> Result<Response, Refusal> {
        let has = |word: &[u8]| command.arguments.contains(&word);
        let (with_peeled, symrefs, unborn) = (has(b"peel"), has(b"symrefs"), has(b"unborn"));
        let prefixes: Vec<Vec<u8>> = command.arguments.iter().filter_map(|argument| argument.strip_prefix(b"ref-prefix ")).map(<[u8]>::to_vec).collect();
        let (published, all) = (caller.published.clone(), caller.rights == Rights::Everything);
        let out = self
            .reading(caller, move |_, repo| {
                let wanted = |name: &[u8]| prefixes.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix));
                let visible = |name: &[u8]| all || published.has(name);
                let mut out = Vec::new();
                let mut line = |id: &str, name: &[u8], more: &str| {
                    let text = [id.as_bytes(), b" ", name, more.as_bytes(), b"\n"].concat();
                    // Names can be longer than a line only in theory.
                    if text.len() < 65_000 {
                        packetline::push(&mut out, &text);
                    }
                };
                let head = head_name(repo).filter(|head| visible(head.as_bytes()) && wanted(b"HEAD"));
                let refs =
                    list(repo, |name| visible(name) && (wanted(name) || head.as_deref().is_some_and(|head| head.as_bytes() == name))).map_err(Miss::Broken)?;
                if let Some(head) = &head {
                    let target = if symrefs { format!(" symref-target:{head}") } else { String::new() };
                    match refs.iter().find(|reference| reference.name == head.as_bytes()) {
                        Some(reference) => line(&reference.id.to_hex().to_string(), b"HEAD", &target),
                        None if unborn && symrefs => line("unborn", b"HEAD", &target),
                        None => {}
                    }
                }
                for reference in refs.iter().filter(|reference| wanted(&reference.name)) {
                    let peeled = reference.peeled.filter(|_| with_peeled).map(|peeled| format!(" peeled:{}", peeled.to_hex())).unwrap_or_default();
                    line(&reference.id.to_hex().to_string(), &reference.name, &peeled);
                }
                out.extend_from_slice(b"0000");
                Ok(out)
            })
            .await?;
        Ok(answer(RESULT, Body::from(out)))
    }

    async fn unpublished_want(&self, caller: &Caller, command: &Command<'_>) -> Result<Option<ObjectId>, Refusal> {
        if caller.rights == Rights::Everything {
            return Ok(None);
        }
        let wants: Vec<ObjectId> =
            command.arguments.iter().filter_map(|argument| argument.strip_prefix(b"want ")).filter_map(|hex| ObjectId::from_hex(hex).ok()).collect();
        let published = caller.published.clone();
        Ok(self.reading(caller, move |open, repo| unpublished_of(open, repo, &wants, &published)).await?)
    }

    /// The kind of hash, and the settings that hide what is not published.
    async fn hidden(&self, caller: &Caller) -> Result<(gix::hash::Kind, Vec<String>), Refusal> {
        let (published, all) = (caller.published.clone(), caller.rights == Rights::Everything);
        let settings = move |_: &Open, repo: &Repository| Ok((repo.object_hash(), if all { Vec::new() } else { hiding(repo, &published)? }));
        Ok(self.reading(caller, settings).await?)
    }

    fn upload_permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.inner.uploads).try_acquire_owned().map_err(|_| {
            self.inner.counts.turned_away.fetch_add(1, Ordering::Relaxed);
            Refusal::busy("too many clones and fetches are running: try again in a few seconds", "5")
        })
    }

    fn upload_pack_program(
        &self,
        caller: &Caller,
        hidden: &[String],
        version: u8,
        more: &[&str],
        input: Bytes,
        permit: OwnedSemaphorePermit,
    ) -> Result<Running, Refusal> {
        let any = format!("uploadpack.allowAnySHA1InWant={}", caller.rights == Rights::Everything);
        let settings = ["uploadpack.allowFilter=true", "uploadpackfilter.sparse:oid.allow=false", "uploadpack.allowReachableSHA1InWant=true", &any];
        let mut args: Vec<&str> = Vec::new();
        for setting in settings.into_iter().chain(hidden.iter().map(String::as_str)) {
            args.extend(["-c", setting]);
        }
        args.extend(["upload-pack", "--strict", "--stateless-rpc"]);
        args.extend(more);
        args.push(".");
        let mut git = program::command(&caller.repository.dir, &self.inner.git_config, &args);
        git.env("GIT_NO_REPLACE_OBJECTS", "1").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match version {
            0 => git.env_remove("GIT_PROTOCOL"),
            version => git.env("GIT_PROTOCOL", format!("version={version}")),
        };
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, repository = %caller.name, "git upload-pack cannot be started.");
            Refusal::internal("git cannot be started")
        };
        let mut group = program::Group::start(git).map_err(|error| failed(&error))?;
        let child = &mut group.child;
        let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err(failed(&"it has no pipes"));
        };
        // Ends by itself when git does.
        burrow_task::spawn(async move {
            let _ = stdin.write_all(&input).await;
        });
        let name = caller.name.clone();
        burrow_task::spawn(async move {
            let mut text = Vec::new();
            let mut stderr = stderr.take(8_000);
            let _ = stderr.read_to_end(&mut text).await;
            if !text.is_empty() {
                tracing::info!(repository = %name, message = %String::from_utf8_lossy(&text).trim(), "git upload-pack has something to say.");
            }
        });
        let deadline = Instant::now() + self.inner.options.upload_limit;
        Ok(Running { group, stdout, deadline, limit: self.inner.options.upload_limit, given: 0, _permit: permit })
    }
}

/// The first wanted commit or tag that is not published.
fn unpublished_of(open: &Open, repo: &Repository, wants: &[ObjectId], published: &Published) -> Result<Option<ObjectId>, Miss> {
    // What is not here git explains best, and files and trees may be wanted by name.
    let commits: Vec<(ObjectId, ObjectId)> = wants
        .iter()
        .filter_map(|want| Some((*want, peel(repo, *want)?)))
        .filter(|(_, (_, kind))| *kind == Kind::Commit)
        .map(|(want, (id, _))| (want, id))
        .collect();
    let ids: Vec<ObjectId> = commits.iter().map(|(_, id)| *id).collect();
    let bad = open.unpublished(repo, &ids, published)?;
    Ok(bad.and_then(|bad| commits.iter().find(|(_, id)| *id == bad)).map(|(want, _)| *want))
}

/// Settings for git. It knows only prefixes of whole parts, of which the last that fits decides, as here; for other patterns it is told the names.
fn hiding(repo: &Repository, published: &Published) -> Result<Vec<String>, Miss> {
    let mut settings = vec!["transfer.hideRefs=refs".to_owned()];
    if head_name(repo).is_none_or(|head| !published.has(head.as_bytes())) {
        settings.push("transfer.hideRefs=HEAD".to_owned());
    }
    for (yes, rule) in published.rules() {
        let sign = if yes { "!" } else { "" };
        let plain = match rule {
            "*" => Some("refs"),
            _ => Some(rule.strip_suffix("/*").unwrap_or(rule)).filter(|plain| !plain.contains('*')),
        };
        match plain {
            Some(plain) => settings.push(format!("transfer.hideRefs={sign}{plain}")),
            None => {
                let one = Published::new(&[rule.to_owned()]);
                let named = list(repo, |name| one.has(name)).map_err(Miss::Broken)?;
                settings.extend(named.iter().filter_map(|reference| Some(format!("transfer.hideRefs={sign}{}", std::str::from_utf8(&reference.name).ok()?))));
            }
        }
        if settings.len() > MOST_NAMED {
            return Err(Miss::Broken(format!("the pattern {rule:?} publishes too many references one by one; use one that ends in /*")));
        }
    }
    Ok(settings)
}

pub(crate) fn read_only() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "this server is a mirror: push to the repository that it mirrors")
}

pub(crate) fn dumb() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "only git's smart protocol is spoken here: use git 1.6.6 or later")
}

/// The version that the client speaks, of those that git knows.
fn version(headers: &HeaderMap) -> u8 {
    let said = headers.get("git-protocol").and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split(':').filter_map(|part| part.strip_prefix("version=")?.parse().ok()).filter(|version| *version <= 2).max().unwrap_or(0)
}

fn answer(kind: &'static str, body: Body) -> Response {
    let headers =
        [(header::CONTENT_TYPE, HeaderValue::from_static(kind)), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0, must-revalidate"))];
    (StatusCode::OK, headers, body).into_response()
}

fn too_large() -> Refusal {
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large")
}

async fn read_body(body: Body) -> Result<Bytes, Refusal> {
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|_| Refusal::bad("the request ended too early"))?;
        if whole.len() + piece.len() > LARGEST_REQUEST {
            return Err(too_large());
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

async fn unzip(zipped: Bytes) -> Result<Bytes, Refusal> {
    let work = move || {
        let mut plain = Vec::new();
        let mut reader = flate2::read::MultiGzDecoder::new(&zipped[..]).take(LARGEST_REQUEST as u64 + 1);
        reader.read_to_end(&mut plain).map(|_| plain)
    };
    match burrow_task::spawn_blocking(work).await {
        Ok(Ok(plain)) if plain.len() <= LARGEST_REQUEST => Ok(plain.into()),
        Ok(Ok(_)) => Err(too_large()),
        _ => Err(Refusal::bad("the request is not gzip data")),
    }
}

/// A git whose output goes to a client. It is killed, with all it started, when the answer is dropped.
struct Running {
    group: program::Group,
    stdout: tokio::process::ChildStdout,
    deadline: Instant,
    limit: Duration,
    given: u64,
    _permit: OwnedSemaphorePermit,
}

impl Running {
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        let over = || std::io::Error::new(std::io::ErrorKind::TimedOut, format!("git upload-pack took longer than {} s", self.limit.as_secs()));
        // A git that always has something ready must not live for ever.
        if Instant::now() >= self.deadline {
            return Err(over());
        }
        let mut buffer = BytesMut::with_capacity(64 << 10);
        let read = tokio::time::timeout_at(self.deadline, self.stdout.read_buf(&mut buffer)).await;
        match read {
            Err(_) => Err(over()),
            Ok(Err(error)) => Err(error),
            Ok(Ok(0)) => {
                let status = tokio::time::timeout_at(self.deadline, self.group.child.wait()).await.map_err(|_| over())??;
                // What git refuses it explains inside the protocol, and the client must get that whole.
                if status.success() || self.given <= EXPLANATION {
                    Ok(None)
                } else {
                    Err(std::io::Error::other(format!("git upload-pack ended with {status}")))
                }
            }
            Ok(Ok(count)) => {
                self.given += count as u64;
                Ok(Some(buffer.freeze()))
            }
        }
    }

    async fn collect(mut self) -> Result<Bytes, Refusal> {
        let mut whole = BytesMut::new();
        loop {
            match self.next().await {
                Ok(Some(piece)) if whole.len() < LARGEST_REQUEST => whole.extend_from_slice(&piece),
                Ok(None) if !whole.is_empty() => return Ok(whole.freeze()),
                _ => return Err(Refusal::internal("git upload-pack failed")),
            }
        }
    }

    /// The answer, once there is something to say.
    async fn answer(mut self, kind: &'static str, before: Vec<u8>) -> Result<Response, Refusal> {
        let first = match self.next().await {
            Ok(Some(first)) => first,
            Ok(None) | Err(_) => return Err(Refusal::internal("git upload-pack failed")),
        };
        let begin = futures_util::stream::iter([Ok(Bytes::from(before)), Ok(first)]);
        let rest = futures_util::stream::unfold(Some(self), |running| async move {
            let mut running = running?;
            match running.next().await {
                Ok(None) => None,
                Ok(Some(piece)) => Some((Ok(piece), Some(running))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(answer(kind, Body::from_stream(begin.chain(rest))))
    }
}
