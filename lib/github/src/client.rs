//! The client: how a question is asked, and what its answer means.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burrow_clock::SharedClock;
use burrow_http_client as http_client;
use burrow_http_client::{Request, Response};
use burrow_task::BoxFuture;
use bytes::Bytes;
use http::HeaderName;
use http::header::{ACCEPT, AUTHORIZATION, DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LINK, LOCATION, RETRY_AFTER};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::cache::{self, Cache, CacheError, CacheStats, Entry};
use crate::{Budget, Comment, Error, Event, Issue, Label, Milestone, Pages, Place, Read, RepoName, Repository, Review, Time, link};

/// Redirects in a row that are followed: a renamed repository of a renamed owner is two.
const REDIRECTS: usize = 5;
/// What is read of an error answer.
const MAX_ERROR: usize = 16 << 10;
/// What is shown of an error answer.
const MAX_MESSAGE: usize = 500;
/// GitHub's name for the limit that all of these questions count against.
const CORE: &str = "core";

/// Where and as whom to ask.
#[derive(Clone)]
pub struct Settings {
    /// Address of the interface: `https://api.github.com`, or `https://HOST/api/v3` of an own GitHub.
    pub base: String,
    /// Token, if there is one.
    pub token: Option<String>,
    /// Largest answer in bytes, uncompressed. A page of a hundred of the longest issues has about 30 MB.
    pub body_limit: usize,
    /// Bytes of validators and what they stand for that are kept.
    pub cache_limit: usize,
    /// Limits and trust of the connections.
    pub http: http_client::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { base: "https://api.github.com".to_owned(), token: None, body_limit: 64 << 20, cache_limit: 64 << 20, http: http_client::Settings::default() }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("base", &self.base).field("token", &self.token.as_ref().map(|_| "…")).finish_non_exhaustive()
    }
}

/// A client. Clones share the budget, the validators and the connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: http_client::Client,
    settings: Settings,
    base: String,
    origin: String,
    budget: Budget,
    clock: SharedClock,
    cache: Mutex<Cache>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.inner.base)
    }
}

/// One thing and when it was so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// The thing.
    pub value: T,
    /// GitHub's time of the answer; when GitHub does not say, ours before the question.
    pub date: Time,
    /// It is as it was when it was last asked for.
    pub unmodified: bool,
}

/// What a question is about: what a refusal means depends on it.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    /// A repository, or a list of it.
    Repo,
    /// The issues of a repository.
    Issues(RepoName),
    /// One issue, or a list of it.
    Issue(RepoName, i32),
}

/// A good answer.
pub(crate) struct Got<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
    pub(crate) date: Time,
    pub(crate) unmodified: bool,
}

/// Whether the answer is a list of things or one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    List,
    One,
}

/// A question.
pub(crate) struct Ask<'a> {
    pub(crate) url: &'a str,
    pub(crate) shape: Shape,
    /// Whether to say what we have already, so that GitHub may answer that nothing has changed.
    pub(crate) conditional: bool,
}

/// What came of one request, before it is known what it means for the subject.
enum Raw {
    Good(Fetched),
    Redirect(String),
    NotFound,
    Gone,
}

/// A good answer, before it is read.
struct Fetched {
    url: String,
    shape: Shape,
    conditional: bool,
    date: Time,
    content: Content,
}

enum Content {
    /// What was sent.
    New { body: Bytes, etag: Option<String>, last_modified: Option<String>, next: Option<String> },
    /// What was kept: nothing has changed.
    Kept(Entry),
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// [`Error::Settings`]
    pub fn new(settings: Settings, budget: Budget, clock: SharedClock) -> Result<Client, Error> {
        let wrong = |error: http_client::Error| Error::Settings(error.to_string());
        let base = settings.base.trim_end_matches('/').to_owned();
        let origin = http_client::resolve(&base, "/").map_err(wrong)?;
        if base.contains(['?', '#']) {
            return Err(Error::Settings("the base address has a query".to_owned()));
        }
        if let Some(token) = &settings.token
            && (token.is_empty() || token.bytes().any(|byte| !byte.is_ascii_graphic()))
        {
            return Err(Error::Settings("the token is empty or has blanks or control characters".to_owned()));
        }
        let http = http_client::Client::new(settings.http.clone()).map_err(wrong)?;
        let cache = Mutex::new(Cache::new(settings.cache_limit));
        Ok(Client { inner: Arc::new(Inner { http, settings, base, origin, budget, clock, cache }) })
    }

    /// The budget that all questions are taken from.
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// All issues and pull requests, those that changed last first.
    pub fn issues(&self, repo: &RepoName) -> Pages<Issue> {
        let url = self.repo_url(repo, "issues?state=all&sort=updated&direction=desc&per_page=100");
        // Every change moves what is on later pages; only the first is ever the same again.
        Pages::new(self.clone(), Subject::Issues(repo.clone()), url).only_first_is_conditional()
    }

    /// Issues and pull requests that changed at `since` or later, those that changed last first.
    pub fn issues_since(&self, repo: &RepoName, since: Time) -> Pages<Issue> {
        let url = self.repo_url(repo, &format!("issues?state=all&sort=updated&direction=desc&per_page=100&since={}", Time::from_seconds(since.seconds)));
        Pages::new(self.clone(), Subject::Issues(repo.clone()), url).unconditional()
    }

    /// One issue or pull request.
    ///
    /// # Errors
    /// [`Error::Moved`] when it was transferred; [`Error::Gone`], [`Error::NotFound`], [`Error::Disabled`] and all the others.
    pub async fn issue(&self, repo: &RepoName, number: i32) -> Result<Answer<Issue>, Error> {
        let url = self.repo_url(repo, &format!("issues/{number}"));
        self.one(&url, &Subject::Issue(repo.clone(), number)).await
    }

    /// Comments of an issue by ascending id; `since`: only those that changed then or later.
    pub fn comments(&self, repo: &RepoName, number: i32, since: Option<Time>) -> Pages<Comment> {
        let since = since.map(|since| format!("&since={}", Time::from_seconds(since.seconds))).unwrap_or_default();
        let url = self.repo_url(repo, &format!("issues/{number}/comments?per_page=100{since}"));
        Pages::new(self.clone(), Subject::Issue(repo.clone(), number), url)
    }

    /// Events of an issue from the beginning, a hundred a page; `first` is the first page (from 1): who has `n` of them goes on with page `1 + n / 100`.
    pub fn events(&self, repo: &RepoName, number: i32, first: u32) -> Pages<Event> {
        let url = self.repo_url(repo, &format!("issues/{number}/events?per_page=100&page={first}"));
        Pages::new(self.clone(), Subject::Issue(repo.clone(), number), url)
    }

    /// Reviews of a pull request from the beginning, as [`Client::events`].
    pub fn reviews(&self, repo: &RepoName, number: i32, first: u32) -> Pages<Review> {
        let url = self.repo_url(repo, &format!("pulls/{number}/reviews?per_page=100&page={first}"));
        Pages::new(self.clone(), Subject::Issue(repo.clone(), number), url)
    }

    /// All labels.
    pub fn labels(&self, repo: &RepoName) -> Pages<Label> {
        Pages::new(self.clone(), Subject::Repo, self.repo_url(repo, "labels?per_page=100"))
    }

    /// All milestones, open and closed.
    pub fn milestones(&self, repo: &RepoName) -> Pages<Milestone> {
        Pages::new(self.clone(), Subject::Issues(repo.clone()), self.repo_url(repo, "milestones?state=all&per_page=100"))
    }

    /// The repository itself.
    ///
    /// # Errors
    /// [`Error::NotFound`] and all the others.
    pub async fn repository(&self, repo: &RepoName) -> Result<Answer<Repository>, Error> {
        self.one(&self.repo_url(repo, ""), &Subject::Repo).await
    }

    /// How many validators are kept.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache().stats()
    }

    /// Writes the validators to a file, replacing it as a whole. Without the file nothing is lost but some of GitHub's limit.
    ///
    /// # Errors
    /// [`CacheError::Io`]
    pub async fn save(&self, path: &Path) -> Result<(), CacheError> {
        let unusable = |why: String| CacheError::Unusable { path: path.to_owned(), why };
        let bytes = self.cache().to_json(&self.inner.base).map_err(unusable)?;
        let to = path.to_owned();
        burrow_task::spawn_blocking(move || cache::write(&to, &bytes)).await.map_err(|error| unusable(error.to_string()))?
    }

    /// Takes over the validators of a file; none when there is no such file.
    ///
    /// # Errors
    /// [`CacheError`]; what was there before stays.
    pub async fn load(&self, path: &Path) -> Result<(), CacheError> {
        let bytes = match tokio::fs::read(path).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(CacheError::Io { path: path.to_owned(), error }),
        };
        self.cache().take_json(&self.inner.base, &bytes).map_err(|why| CacheError::Unusable { path: path.to_owned(), why })
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // What a panic could leave half done is a list of things that can be asked for again.
        self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn repo_url(&self, repo: &RepoName, rest: &str) -> String {
        let slash = if rest.is_empty() { "" } else { "/" };
        format!("{}/repos/{}/{}{slash}{rest}", self.inner.base, repo.owner(), repo.name())
    }

    async fn one<T: Read + Serialize + DeserializeOwned>(&self, url: &str, subject: &Subject) -> Result<Answer<T>, Error> {
        let got = Box::pin(self.ask::<T>(&Ask { url, shape: Shape::One, conditional: true }, subject)).await?;
        let value = got.items.into_iter().next().ok_or_else(|| Error::Malformed { url: url.to_owned(), what: "nothing in it".to_owned() })?;
        Ok(Answer { value, date: got.date, unmodified: got.unmodified })
    }

    /// Asks, follows redirects, and says what a refusal means for the subject.
    pub(crate) async fn ask<T: Read + Serialize + DeserializeOwned>(&self, ask: &Ask<'_>, subject: &Subject) -> Result<Got<T>, Error> {
        self.read(self.fetch(ask, subject).await?)
    }

    /// What is the same for all things that are asked for; boxed here, so that it is compiled once.
    fn fetch<'a>(&'a self, ask: &'a Ask<'a>, subject: &'a Subject) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.follow(ask, subject))
    }

    async fn follow(&self, ask: &Ask<'_>, subject: &Subject) -> Result<Fetched, Error> {
        let asked = ask.url.to_owned();
        let mut url = asked.clone();
        let mut redirected = None;
        for _ in 0..=REDIRECTS {
            match self.request(&Ask { url: &url, ..*ask }).await? {
                Raw::Redirect(location) => {
                    url = location;
                    redirected = Some(url.clone());
                }
                Raw::Good(got) => {
                    if let (Some(to), Subject::Issue(repo, number)) = (&redirected, subject)
                        && self.is_elsewhere(to, repo, *number).await?
                    {
                        return Err(Error::Moved { url: asked, to: self.place(to).await });
                    }
                    return Ok(got);
                }
                Raw::NotFound => {
                    return match (redirected, subject) {
                        (Some(to), Subject::Issue(repo, number)) if self.is_elsewhere(&to, repo, *number).await? => Err(Error::Moved { url: asked, to: None }),
                        _ => Err(Error::NotFound { url: asked }),
                    };
                }
                Raw::Gone => {
                    return match subject {
                        Subject::Repo => Err(Error::Gone { url: asked }),
                        Subject::Issues(repo) => Err(Error::Disabled { repo: repo.clone() }),
                        // The same status for an issue that was deleted and for all of them while issues are switched off.
                        Subject::Issue(repo, _) => match Box::pin(self.repository(repo)).await {
                            Ok(now) if !now.value.has_issues => Err(Error::Disabled { repo: repo.clone() }),
                            Ok(_) => Err(Error::Gone { url: asked }),
                            Err(error) => Err(error),
                        },
                    };
                }
            }
        }
        Err(Error::Malformed { url: asked, what: format!("it redirects more than {REDIRECTS} times") })
    }

    /// Whether the address that a question about an issue was redirected to is another issue, and not the same one in a renamed repository.
    async fn is_elsewhere(&self, to: &str, repo: &RepoName, number: i32) -> Result<bool, Error> {
        let path = to.strip_prefix(&self.inner.base).unwrap_or(to).split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.split('/').collect();
        let now = Box::pin(self.repository(repo)).await?.value;
        Ok(match parts.as_slice() {
            ["", "repositories", id, "issues" | "pulls", there, ..] => id.parse() != Ok(now.id) || there.parse() != Ok(number),
            ["", "repos", owner, name, "issues" | "pulls", there, ..] => {
                RepoName::new(owner, name).ok().is_none_or(|name| name != now.name) || there.parse() != Ok(number)
            }
            // Somewhere that we know nothing of.
            _ => true,
        })
    }

    /// Name and number of the issue at an address that GitHub redirected to.
    async fn place(&self, to: &str) -> Option<Place> {
        let path = to.strip_prefix(&self.inner.base)?.split('?').next()?;
        let parts: Vec<&str> = path.split('/').collect();
        let issue = match parts.as_slice() {
            ["", "repositories", id, _, number, ..] => format!("{}/repositories/{id}/issues/{number}", self.inner.base),
            ["", "repos", owner, name, _, number, ..] => format!("{}/repos/{owner}/{name}/issues/{number}", self.inner.base),
            _ => return None,
        };
        match self.request(&Ask { url: &issue, shape: Shape::One, conditional: true }).await {
            Ok(Raw::Good(got)) => {
                self.read::<Issue>(got).ok()?.items.into_iter().next().and_then(|issue| Some(Place { repo: issue.repo?, number: issue.number }))
            }
            _ => None,
        }
    }

    /// One request and the meaning of its status.
    async fn request(&self, ask: &Ask<'_>) -> Result<Raw, Error> {
        let known = if ask.conditional { self.cache().get(ask.url) } else { None };
        self.inner.budget.take(CORE).await?;
        let before = Time::from_ms(self.inner.clock.now_ms());
        let response = self.send(ask.url, known.as_ref()).await?;
        let status = response.status().as_u16();
        let date = response.header(DATE).and_then(Time::from_http).unwrap_or(before);
        let retry_after = response.header(RETRY_AFTER).map(str::to_owned);
        let headers = response.headers().clone();
        if !matches!(status, 403 | 429) {
            self.inner.budget.learn(&headers, status, false);
        }
        let url = || ask.url.to_owned();
        match status {
            200 => self.good(ask, response, date).await.map(Raw::Good),
            304 => match known {
                Some(entry) => Ok(Raw::Good(Fetched { url: url(), shape: ask.shape, conditional: ask.conditional, date, content: Content::Kept(entry) })),
                None => Err(Error::Malformed { url: url(), what: "nothing has changed, but nothing was said to be known".to_owned() }),
            },
            301 | 302 | 307 | 308 => Ok(Raw::Redirect(self.location(ask.url, response.header(LOCATION))?)),
            404 => Ok(Raw::NotFound),
            410 => Ok(Raw::Gone),
            _ => {
                let refusal = Refusal::read(response).await;
                let after = retry_after.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
                let exhausted = headers.get("x-ratelimit-remaining").is_some_and(|value| value.as_bytes() == b"0");
                let throttled = status == 429 || status == 403 && (after.is_some() || exhausted || refusal.is_limit());
                if matches!(status, 403 | 429) {
                    self.inner.budget.learn(&headers, status, throttled);
                }
                Err(match status {
                    _ if throttled => self.inner.budget.refusal(CORE),
                    401 => Error::Unauthorized { url: url(), message: refusal.message },
                    // Too early, or a request that was too slow: worth another try, as everything that is the server's fault.
                    408 | 425 | 500.. => Error::Retry { url: url(), message: format!("status {status}: {}", refusal.message), after },
                    _ => Error::Refused { url: url(), status, message: refusal.message },
                })
            }
        }
    }

    async fn send(&self, url: &str, known: Option<&Entry>) -> Result<Response, Error> {
        let inner = &self.inner;
        let request = || -> Result<Request, http_client::Error> {
            let mut request = Request::get(url)?
                .header(ACCEPT, "application/vnd.github+json")?
                .header(HeaderName::from_static("x-github-api-version"), "2022-11-28")?
                .redirects(0)
                .gzip();
            if let Some(token) = &inner.settings.token {
                request = request.secret_header(AUTHORIZATION, &format!("Bearer {token}"))?;
            }
            match known {
                Some(Entry { etag: Some(etag), .. }) => request.header(IF_NONE_MATCH, etag),
                Some(Entry { last_modified: Some(date), .. }) => request.header(IF_MODIFIED_SINCE, date),
                _ => Ok(request),
            }
        };
        let request = request().map_err(|error| Error::Settings(error.to_string()))?;
        inner.http.send(request).await.map_err(|error| transport(url, error))
    }

    async fn good(&self, ask: &Ask<'_>, response: Response, date: Time) -> Result<Fetched, Error> {
        let text = |name: HeaderName| response.header(name).map(str::to_owned);
        let (etag, last_modified) = (text(ETAG), text(LAST_MODIFIED));
        let next = match response.header(LINK).and_then(link::next) {
            Some(next) => Some(self.location(ask.url, Some(next))?),
            None => None,
        };
        let body = response.bytes(self.inner.settings.body_limit).await.map_err(|error| transport(ask.url, error))?;
        let content = Content::New { body, etag, last_modified, next };
        Ok(Fetched { url: ask.url.to_owned(), shape: ask.shape, conditional: ask.conditional, date, content })
    }

    /// What an answer says; keeps it, if it can be asked for again.
    fn read<T: Read + Serialize + DeserializeOwned>(&self, fetched: Fetched) -> Result<Got<T>, Error> {
        let Fetched { url, shape, conditional, date, content } = fetched;
        let (body, etag, last_modified, next) = match content {
            Content::New { body, etag, last_modified, next } => (body, etag, last_modified, next),
            Content::Kept(entry) => return self.unchanged(&url, entry, date),
        };
        let malformed = |what: String| Error::Malformed { url: url.clone(), what };
        // What is not UTF-8 is not JSON either; a wrong byte in one title must not hide a page of issues for ever.
        let body = String::from_utf8_lossy(&body);
        let raw: Vec<&RawValue> = match shape {
            Shape::List => serde_json::from_str(&body).map_err(|error| malformed(format!("a list was expected: {error}")))?,
            Shape::One => vec![serde_json::from_str(&body).map_err(|error| malformed(error.to_string()))?],
        };
        let items: Result<Vec<T>, Error> =
            raw.iter().enumerate().map(|(nth, item)| T::read(item.get()).map_err(|what| malformed(format!("entry {nth}: {what}")))).collect();
        let items = items?;
        if conditional && (etag.is_some() || last_modified.is_some()) {
            match serde_json::value::to_raw_value(&items) {
                Ok(kept) => self.cache().put(&url, Entry { etag, last_modified, next: next.clone(), items: kept }),
                Err(error) => tracing::debug!(%error, url, "an answer cannot be kept"),
            }
        }
        Ok(Got { items, next, date, unmodified: false })
    }

    fn unchanged<T: DeserializeOwned>(&self, url: &str, entry: Entry, date: Time) -> Result<Got<T>, Error> {
        match serde_json::from_str(entry.items.get()) {
            Ok(items) => Ok(Got { items, next: entry.next, date, unmodified: true }),
            Err(error) => {
                // A file that somebody else wrote. The next question is asked without it.
                self.cache().remove(url);
                Err(Error::Retry { url: url.to_owned(), message: format!("what was kept of it cannot be used: {error}"), after: None })
            }
        }
    }

    /// An address that an answer names. Only ours: the token goes with the question.
    fn location(&self, from: &str, location: Option<&str>) -> Result<String, Error> {
        let malformed = |what: String| Error::Malformed { url: from.to_owned(), what };
        let location = location.ok_or_else(|| malformed("a redirect to nowhere".to_owned()))?;
        let target = http_client::resolve(from, location).map_err(|error| malformed(error.to_string()))?;
        if http_client::resolve(&target, "/").ok().as_deref() != Some(&self.inner.origin) {
            return Err(malformed(format!("it leads to another server: {target}")));
        }
        Ok(target)
    }
}

/// A connection's failure in our words.
fn transport(url: &str, error: http_client::Error) -> Error {
    let url = url.to_owned();
    match error {
        error if error.is_transient() => Error::Retry { url, message: error.to_string(), after: None },
        error @ (http_client::Error::TooLarge { .. } | http_client::Error::BadEncoding { .. }) => Error::Malformed { url, what: error.to_string() },
        error => Error::Settings(error.to_string()),
    }
}

/// What GitHub writes when it refuses.
struct Refusal {
    message: String,
    documentation: String,
}

#[derive(serde::Deserialize)]
struct WireRefusal {
    #[serde(default)]
    message: String,
    documentation_url: Option<String>,
}

impl Refusal {
    async fn read(response: Response) -> Refusal {
        let body = response.beginning(MAX_ERROR).await;
        let (message, documentation) = match serde_json::from_slice::<WireRefusal>(&body) {
            Ok(wire) => (wire.message, wire.documentation_url.unwrap_or_default()),
            // A proxy's page.
            Err(_) => (String::from_utf8_lossy(&body).into_owned(), String::new()),
        };
        let message = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect();
        Refusal { message, documentation }
    }

    /// Whether a 403 is a secondary limit. GitHub has no other sign for one without `Retry-After` than the page that it points to; the sentence changes.
    fn is_limit(&self) -> bool {
        ["rate-limit", "abuse-rate", "resource-limit"].iter().any(|part| self.documentation.contains(part))
    }
}
