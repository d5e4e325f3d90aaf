//! The REST interface.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use burrow_http_client as http_client;
use burrow_http_client::{Request, Response};
use http::header::{ACCEPT, RETRY_AFTER};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use crate::{Auth, Branch, Change, Comment, Error, Project, Tag};

/// What is kept of an error answer.
const MAX_ERROR: usize = 4 << 10;
/// The line before all JSON.
const GUARD: &[u8] = b")]}'";
/// What stays as it is within a part of a path or a value of a query.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Where and as whom to ask.
#[derive(Clone)]
pub struct Settings {
    /// Address of the server, as in a browser.
    pub base: String,
    /// As whom.
    pub auth: Auth,
    /// Largest answer in bytes, uncompressed.
    pub body_limit: usize,
    /// Limits and trust of the connections.
    pub http: http_client::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { base: String::new(), auth: Auth::None, body_limit: 64 << 20, http: http_client::Settings::default() }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("base", &self.base).field("auth", &self.auth).finish_non_exhaustive()
    }
}

/// A client. Clones share the connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: http_client::Client,
    base: String,
    auth: Auth,
    body_limit: usize,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.inner.base)
    }
}

/// What changes to look for, in Gerrit's query language, and what to be told of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    text: String,
    options: Vec<String>,
    page: Option<u32>,
    start: u64,
}

impl Query {
    /// Changes that fit `text`, for example `label:Run-TryBot=1 status:open`.
    pub fn new(text: &str) -> Query {
        Query { text: text.to_owned(), options: Vec::new(), page: None, start: 0 }
    }

    /// Asks for more of each change: `CURRENT_REVISION`, `MESSAGES`, …
    #[must_use]
    pub fn option(mut self, name: &str) -> Query {
        self.options.push(name.to_owned());
        self
    }

    /// Most changes in one answer. The server may give fewer.
    #[must_use]
    pub fn page(mut self, size: u32) -> Query {
        self.page = Some(size);
        self
    }

    fn to_path(&self) -> String {
        let mut path = format!("/changes/?q={}", encode(&self.text));
        if let Some(page) = self.page {
            path.push_str(&format!("&n={page}"));
        }
        if self.start > 0 {
            path.push_str(&format!("&S={}", self.start));
        }
        path + &options(&self.options)
    }
}

fn options<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| format!("&o={}", encode(name.as_ref()))).collect()
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// Pages of changes, asked for one by one.
///
/// Gerrit counts from the newest change on, so that what changes meanwhile may come twice and, if something leaves the list, may be left out: for a
/// complete picture ask with a time in the query, or from the git side.
#[derive(Debug)]
pub struct Pages {
    client: Client,
    query: Option<Query>,
}

impl Pages {
    /// The next page; `None` after the last one. After an error the same page is asked for again.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn next(&mut self) -> Result<Option<Vec<Change>>, Error> {
        let Some(query) = &mut self.query else { return Ok(None) };
        let changes: Vec<Change> = self.client.get(&query.to_path()).await?;
        // A page without changes that says there are more would be asked for for ever.
        match changes.last() {
            Some(last) if last.more_changes => query.start = query.start.saturating_add(changes.len() as u64),
            _ => self.query = None,
        }
        Ok(Some(changes))
    }

    /// All pages.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn all(mut self) -> Result<Vec<Change>, Error> {
        let mut all = Vec::new();
        while let Some(page) = self.next().await? {
            all.extend(page);
        }
        Ok(all)
    }
}

/// The identifier of a change in addresses, by project and number. It stays the same when the change moves to another branch.
pub fn change_key(project: &str, number: i64) -> String {
    format!("{}~{number}", encode(project))
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// [`Error::Settings`]
    pub fn new(settings: Settings) -> Result<Client, Error> {
        let wrong = |error: http_client::Error| Error::Settings(error.to_string());
        let base = settings.base.trim_end_matches('/').to_owned();
        let probe = Request::get(&base).map_err(wrong)?;
        if base.contains(['?', '#']) {
            return Err(Error::Settings("the base address has a query".to_owned()));
        }
        if let Some((name, value)) = settings.auth.header() {
            probe.secret_header(name, &value).map_err(wrong)?;
        }
        let http = http_client::Client::new(settings.http).map_err(wrong)?;
        Ok(Client { inner: Arc::new(Inner { http, base, auth: settings.auth, body_limit: settings.body_limit }) })
    }

    /// Changes that a query finds, those that changed last first.
    pub fn changes(&self, query: Query) -> Pages {
        Pages { client: self.clone(), query: Some(query) }
    }

    /// One change; `key`: see [`change_key`], or any other of Gerrit's identifiers, encoded.
    ///
    /// # Errors
    /// [`Error::NotFound`] and all the others.
    pub async fn change(&self, key: &str, with: &[&str]) -> Result<Change, Error> {
        let query = options(with).replacen('&', "?", 1);
        self.get(&format!("/changes/{key}{query}")).await
    }

    /// One change with votes, reviewers, messages and names.
    ///
    /// # Errors
    /// As [`Client::change`].
    pub async fn change_detail(&self, key: &str, with: &[&str]) -> Result<Change, Error> {
        let query = options(with).replacen('&', "?", 1);
        self.get(&format!("/changes/{key}/detail{query}")).await
    }

    /// Inline comments of a change by file. Files are paths, or `/PATCHSET_LEVEL`, `/COMMIT_MSG`, `/MERGE_LIST`.
    ///
    /// # Errors
    /// As [`Client::change`].
    pub async fn comments(&self, key: &str) -> Result<BTreeMap<String, Vec<Comment>>, Error> {
        self.get(&format!("/changes/{key}/comments")).await
    }

    /// All projects that may be seen, by name.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn projects(&self) -> Result<Vec<Project>, Error> {
        let mut all: BTreeMap<String, Project> = BTreeMap::new();
        loop {
            let start = if all.is_empty() { String::new() } else { format!("?S={}", all.len()) };
            let page: BTreeMap<String, Project> = self.get(&format!("/projects/{start}")).await?;
            let more = page.values().any(|project| project.more_projects);
            let before = all.len();
            all.extend(page.into_iter().map(|(name, project)| (name.clone(), Project { name, ..project })));
            if !more || all.len() == before {
                return Ok(all.into_values().collect());
            }
        }
    }

    /// All branches of a project, `HEAD` among them.
    ///
    /// # Errors
    /// [`Error::NotFound`] and all the others.
    pub async fn branches(&self, project: &str) -> Result<Vec<Branch>, Error> {
        self.get(&format!("/projects/{}/branches/", encode(project))).await
    }

    /// All tags of a project.
    ///
    /// # Errors
    /// [`Error::NotFound`] and all the others.
    pub async fn tags(&self, project: &str) -> Result<Vec<Tag>, Error> {
        self.get(&format!("/projects/{}/tags/", encode(project))).await
    }

    /// Version of the server, for example `3.9.1`.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn version(&self) -> Result<String, Error> {
        self.get("/config/server/version").await
    }

    /// The address that git fetches a project from.
    pub fn git_url(&self, project: &str) -> String {
        let path: Vec<String> = project.split('/').map(encode).collect();
        format!("{}/{}", self.root(), path.join("/"))
    }

    fn root(&self) -> String {
        let inner = &self.inner;
        match inner.auth {
            Auth::None => inner.base.clone(),
            _ => format!("{}/a", inner.base),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let inner = &self.inner;
        let url = format!("{}{path}", self.root());
        let request = || -> Result<Request, http_client::Error> {
            let request = Request::get(&url)?.header(ACCEPT, "application/json")?.gzip();
            match inner.auth.header() {
                Some((name, value)) => request.secret_header(name, &value),
                None => Ok(request),
            }
        };
        let request = request().map_err(|error| Error::Settings(error.to_string()))?;
        let response = inner.http.send(request).await.map_err(|error| transport(&url, error))?;
        if response.status() != 200 {
            return Err(refusal(url, response).await);
        }
        let body = response.bytes(inner.body_limit).await.map_err(|error| transport(&url, error))?;
        let malformed = |what: String| Error::Malformed { url: url.clone(), what };
        let json = body.strip_prefix(GUARD).ok_or_else(|| malformed("it does not begin with the guard line".to_owned()))?;
        // Go's client skips one line, whatever is in it; so does this.
        let start = json.iter().position(|byte| *byte == b'\n').unwrap_or(json.len());
        serde_json::from_slice(json.get(start..).unwrap_or_default()).map_err(|error| malformed(error.to_string()))
    }
}

async fn refusal(url: String, response: Response) -> Error {
    let status = response.status().as_u16();
    let after = response.header(RETRY_AFTER).and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
    let body = String::from_utf8_lossy(&response.beginning(MAX_ERROR).await).trim().to_owned();
    match status {
        404 => Error::NotFound { url },
        401 | 403 => Error::Unauthorized { url, body },
        408 | 425 | 429 | 500.. => Error::Retry { url, message: format!("status {status}: {body}"), after },
        _ => Error::Refused { url, status, body },
    }
}

/// A connection's failure in our words.
fn transport(url: &str, error: http_client::Error) -> Error {
    let url = url.to_owned();
    match error {
        error if error.is_transient() => Error::Retry { url, message: error.to_string(), after: None },
        error @ (http_client::Error::TooLarge { .. }
        | http_client::Error::BadEncoding { .. }
        | http_client::Error::TooManyRedirects { .. }
        | http_client::Error::BadRedirect { .. }) => Error::Malformed { url, what: error.to_string() },
        error => Error::Settings(error.to_string()),
    }
}
