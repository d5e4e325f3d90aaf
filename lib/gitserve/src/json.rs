//! References and commits for programs.

use std::collections::BinaryHeap;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gix::bstr::ByteSlice as _;
use gix::hashtable::HashSet;
use gix::objs::Kind;
use gix::{ObjectId, Repository};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::ask::{BadAsk, Query, Rev, is_full_hash};
use crate::depot::{Miss, head_name, list};
use crate::refusal::Refusal;
use crate::repositories::Rights;
use crate::server::{Caller, Server};

const USUAL: usize = 50;
const MOST: usize = 1_000;

#[derive(Serialize)]
struct RefsPage<'a> {
    repository: &'a str,
    /// The full name of the default branch.
    head: Option<String>,
    refs: Vec<RefRow>,
}

#[derive(Serialize)]
struct RefRow {
    name: String,
    id: String,
    /// Of an annotated tag: what it is a tag of.
    #[serde(skip_serializing_if = "Option::is_none")]
    peeled: Option<String>,
}

#[derive(Serialize)]
struct CommitsPage<'a> {
    repository: &'a str,
    rev: String,
    commits: Vec<CommitRow>,
    /// For `after=`; none when this is the end.
    next: Option<String>,
}

#[derive(Serialize)]
struct CommitRow {
    id: String,
    tree: String,
    parents: Vec<String>,
    author: Person,
    committer: Person,
    subject: String,
    body: String,
}

#[derive(Serialize)]
struct Person {
    name: String,
    email: String,
    /// Unix seconds, 0 when the commit does not say.
    time: i64,
}

impl Server {
    /// `refs.json`
    pub(crate) async fn refs(&self, caller: &Caller, method: &Method, headers: &HeaderMap) -> Result<Response, Refusal> {
        let (published, all) = (caller.published.clone(), caller.rights == Rights::Everything);
        let work = move |_: &_, repo: &Repository| {
            let visible = |name: &[u8]| all || published.has(name);
            let head = head_name(repo).filter(|head| visible(head.as_bytes()));
            let refs = list(repo, visible).map_err(Miss::Broken)?;
            let row = |reference: &crate::depot::Ref| RefRow {
                name: reference.name.to_str_lossy().into_owned(),
                id: reference.id.to_hex().to_string(),
                peeled: reference.peeled.map(|peeled| peeled.to_hex().to_string()),
            };
            Ok((head, refs.iter().map(row).collect()))
        };
        let (head, refs) = self.reading(caller, work).await?;
        page(method, headers, "no-cache", &RefsPage { repository: &caller.name, head, refs })
    }

    /// `commits.json`
    pub(crate) async fn commits(&self, caller: &Caller, method: &Method, query: &Query, headers: &HeaderMap) -> Result<Response, Refusal> {
        let rev = Rev::parse(query.get("rev").unwrap_or("HEAD"))?;
        let limit = match query.get("limit") {
            None => USUAL,
            Some(text) => text.parse::<usize>().map_err(|_| BadAsk::BadNumber("limit"))?.clamp(1, MOST),
        };
        let after = match query.get("after") {
            None => None,
            Some(text) if is_full_hash(text) => ObjectId::from_hex(text.to_ascii_lowercase().as_bytes()).ok(),
            Some(text) => return Err(BadAsk::BadRev(text.chars().take(100).collect()).into()),
        };
        let found = self.find_revision(caller, &rev).await?;
        let Some(tip) = found.commit else { return Err(Refusal::not_found("this revision is not a commit")) };
        let commits = self.reading(caller, move |_, repo| history(repo, tip, after, limit + 1)).await?;
        let next = commits.get(limit).and(commits.get(limit - 1)).map(|commit| commit.id.clone());
        let page_of = CommitsPage { repository: &caller.name, rev: rev.to_string(), commits: commits.into_iter().take(limit).collect(), next };
        page(method, headers, "no-cache", &page_of)
    }

    /// `commit/<hash>.json`
    pub(crate) async fn commit(&self, caller: &Caller, method: &Method, hash: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
        let found = self.find_revision(caller, &Rev::parse(hash)?).await?;
        let Some(id) = found.commit else { return Err(Refusal::not_found("this is not a commit")) };
        let row = self.reading(caller, move |_, repo| Ok(read(repo, id)?.map(|(_, _, row)| row))).await?;
        // What a hash means never changes, but whether it is published may.
        page(method, headers, "no-cache", &row.ok_or_else(|| Refusal::not_found("this is not a commit"))?)
    }
}

fn page(method: &Method, headers: &HeaderMap, control: &'static str, content: &impl Serialize) -> Result<Response, Refusal> {
    if method != Method::GET && method != Method::HEAD {
        return Err(Refusal::method("GET, HEAD"));
    }
    let mut text = serde_json::to_vec(content).map_err(|_| Refusal::internal("the answer could not be written"))?;
    text.push(b'\n');
    let tag: String = Sha256::digest(&text).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Refusal::internal("the answer could not be written"));
    let fixed = [(header::ETAG, value(&tag)?), (header::CACHE_CONTROL, HeaderValue::from_static(control))];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, fixed).into_response());
    }
    let length = HeaderValue::from(text.len());
    let more = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (header::CONTENT_LENGTH, length)];
    Ok((fixed, more, if method == Method::HEAD { Body::empty() } else { Body::from(text) }).into_response())
}

/// A commit with its time and parents, or `None` when it is not one that is here. Old histories have every mistake in names, times and encodings; none
/// of them is a reason not to show the commit.
fn read(repo: &Repository, id: ObjectId) -> Result<Option<(i64, Vec<ObjectId>, CommitRow)>, Miss> {
    let found = match repo.try_find_object(id) {
        Ok(Some(found)) if found.kind == Kind::Commit => found,
        Ok(_) => return Ok(None),
        Err(error) => return Err(Miss::Broken(error.to_string())),
    };
    let (head, message) = found.data.split_once_str("\n\n").unwrap_or((&found.data, b""));
    let (mut tree, mut parents, mut author, mut committer) = (String::new(), Vec::new(), &b""[..], &b""[..]);
    for line in head.lines() {
        // Continued lines (signatures, merged tags) begin with a space.
        match line.split_once_str(" ") {
            Some((b"tree", hex)) => tree = hex.to_str_lossy().into_owned(),
            Some((b"parent", hex)) => parents.extend(ObjectId::from_hex(hex).ok()),
            Some((b"author", rest)) => author = rest,
            Some((b"committer", rest)) => committer = rest,
            _ => {}
        }
    }
    let message = message.to_str_lossy();
    let mut lines = message.trim_start_matches('\n').lines();
    let subject: Vec<&str> = lines.by_ref().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let body: Vec<&str> = lines.collect();
    let committer = person(committer);
    let row = CommitRow {
        id: id.to_hex().to_string(),
        tree,
        parents: parents.iter().map(|parent| parent.to_hex().to_string()).collect(),
        author: person(author),
        subject: subject.join(" "),
        body: body.join("\n").trim().to_owned(),
        committer,
    };
    Ok(Some((row.committer.time, parents, row)))
}

/// `name <email> seconds zone`, with whatever of it is there.
fn person(line: &[u8]) -> Person {
    let (name, rest) = line.split_once_str("<").unwrap_or((line, b""));
    let (email, rest) = rest.rsplit_once_str(">").unwrap_or((rest, b""));
    let time = rest.fields().next().and_then(|word| word.to_str().ok()).and_then(|word| word.parse().ok()).unwrap_or(0);
    Person { name: name.trim().to_str_lossy().into_owned(), email: email.trim().to_str_lossy().into_owned(), time }
}

/// The newest `count` commits that lead to `tip`, those after `after` in that same order.
fn history(repo: &Repository, tip: ObjectId, after: Option<ObjectId>, count: usize) -> Result<Vec<CommitRow>, Miss> {
    let mut met = HashSet::default();
    let mut next = BinaryHeap::new();
    let mut found = Vec::new();
    let mut begun = after.is_none();
    met.insert(tip);
    next.extend(read(repo, tip)?.map(|(time, _, _)| (time, tip)));
    while let Some((_, id)) = next.pop() {
        let Some((_, parents, row)) = read(repo, id)? else { continue };
        for parent in parents {
            if met.insert(parent) {
                // Not here: a shallow history ends.
                next.extend(read(repo, parent)?.map(|(time, _, _)| (time, parent)));
            }
        }
        if begun {
            found.push(row);
            if found.len() >= count {
                break;
            }
        }
        begun |= after == Some(id);
    }
    if begun { Ok(found) } else { Err(Miss::Never("the commit of after= is not part of this history")) }
}
