//! What is asked.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use crate::Error;

/// Redirects that are followed when a request does not say otherwise.
const REDIRECTS: usize = 10;

/// One request. Clones share the body.
#[derive(Clone)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) head_limit: Option<Duration>,
    pub(crate) redirects: usize,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, shown(&self.url))
    }
}

impl Request {
    /// Asks for what is at `url`. A fragment is dropped; a user name and password within the address are refused, because they would end in logs.
    ///
    /// # Errors
    /// [`Error::BadUrl`]
    pub fn get(url: &str) -> Result<Request, Error> {
        Request::new(Method::GET, url)
    }

    /// Sends `body` to `url`.
    ///
    /// # Errors
    /// [`Error::BadUrl`], [`Error::BadHeader`] for a content type that cannot be sent.
    pub fn post(url: &str, content_type: &str, body: impl Into<Bytes>) -> Result<Request, Error> {
        Request::new(Method::POST, url)?.body(content_type, body)
    }

    /// With any method.
    ///
    /// # Errors
    /// [`Error::BadUrl`]
    pub fn new(method: Method, url: &str) -> Result<Request, Error> {
        Ok(Request { method, url: parse(url)?, headers: HeaderMap::new(), body: Bytes::new(), head_limit: None, redirects: REDIRECTS })
    }

    /// Sets the body.
    ///
    /// # Errors
    /// [`Error::BadHeader`] for a content type that cannot be sent.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Result<Request, Error> {
        self.body = body.into();
        self.header(CONTENT_TYPE, content_type)
    }

    /// Sets a header.
    ///
    /// # Errors
    /// [`Error::BadHeader`]
    pub fn header(mut self, name: HeaderName, value: &str) -> Result<Request, Error> {
        let value = HeaderValue::from_str(value).map_err(|_| Error::BadHeader { name: name.to_string() })?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Sets a header that is not sent on when a redirect leaves the origin. (`Authorization` and `Cookie` never are.)
    ///
    /// # Errors
    /// [`Error::BadHeader`]
    pub fn secret_header(mut self, name: HeaderName, value: &str) -> Result<Request, Error> {
        let mut value = HeaderValue::from_str(value).map_err(|_| Error::BadHeader { name: name.to_string() })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Limit for the head of the answer instead of [`crate::Settings::head_limit`]: for questions that the server holds back on purpose.
    #[must_use]
    pub fn head_limit(mut self, limit: Duration) -> Request {
        self.head_limit = Some(limit);
        self
    }

    /// Redirects that are followed; 0: a redirect is returned as the answer that it is.
    #[must_use]
    pub fn redirects(mut self, max: usize) -> Request {
        self.redirects = max;
        self
    }

    /// Asks for a compressed body. [`crate::Response::bytes`] undoes it; [`crate::Response::chunk`] does not.
    #[must_use]
    pub fn gzip(mut self) -> Request {
        self.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        self
    }

    /// The address.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Whether doing it twice is the same as doing it once.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.method.is_idempotent()
    }

    /// The request that a redirect asks for.
    pub(crate) fn redirected(mut self, status: u16, location: &str) -> Result<Request, Error> {
        let bad = |why| Error::BadRedirect { url: shown(&self.url), location: location.chars().take(500).collect(), why };
        let mut target = self.url.join(location).map_err(|_| bad("not an address"))?;
        if !matches!(target.scheme(), "http" | "https") || target.host_str().is_none() {
            return Err(bad("not an http address"));
        }
        if self.url.scheme() == "https" && target.scheme() == "http" {
            return Err(bad("it leaves TLS"));
        }
        if !target.username().is_empty() || target.password().is_some() {
            return Err(bad("it names a user"));
        }
        target.set_fragment(None);
        let same = self.url.origin() == target.origin();
        // Every client in use turns a POST into a GET for these three, and servers count on it.
        let becomes_get = self.method == Method::POST && matches!(status, 301..=303) || status == 303 && self.method != Method::HEAD;
        if becomes_get {
            self.method = Method::GET;
            self.body = Bytes::new();
            self.headers.remove(CONTENT_TYPE);
        } else if !same && !self.method.is_safe() {
            return Err(bad("it would send the request's body to another server"));
        }
        if !same {
            let secret: Vec<HeaderName> = self.headers.iter().filter(|(_, value)| value.is_sensitive()).map(|(name, _)| name.clone()).collect();
            for name in secret.into_iter().chain([AUTHORIZATION, COOKIE]) {
                self.headers.remove(name);
            }
        }
        self.url = target;
        Ok(self)
    }
}

fn parse(text: &str) -> Result<Url, Error> {
    let bad = |why: &str| {
        // What cannot be read cannot be cleaned of a password either; one that can is.
        let url = Url::parse(text).map_or_else(|_| text.chars().take(200).collect(), |url| shown(&url));
        Error::BadUrl { url, why: why.to_owned() }
    };
    let mut url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("another scheme"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("a user name or password belongs into a header"));
    }
    url.set_fragment(None);
    Ok(url)
}

/// An address for messages: queries may hold tokens.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.into()
}

/// What `reference` means in a document at `base` (RFC 3986, section 5).
///
/// ```
/// assert_eq!(burrow_http_client::resolve("http://host/logs?x=1", "/logs/3").unwrap(), "http://host/logs/3");
/// ```
///
/// # Errors
/// [`Error::BadUrl`] when either is not an address, or the result is not http or https.
pub fn resolve(base: &str, reference: &str) -> Result<String, Error> {
    let joined = parse(base)?.join(reference).map_err(|error| Error::BadUrl { url: reference.chars().take(200).collect(), why: error.to_string() })?;
    parse(joined.as_str()).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request::get("https://a.example/x")
            .and_then(|r| r.header(AUTHORIZATION, "Bearer t"))
            .and_then(|r| r.secret_header(HeaderName::from_static("x-key"), "k"))
            .and_then(|r| r.header(HeaderName::from_static("x-plain"), "p"))
            .unwrap()
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        let same = request().redirected(301, "/y").unwrap();
        assert_eq!((same.url(), same.headers.len()), ("https://a.example/y", 3));
        for elsewhere in ["https://b.example/", "https://a.example:444/", "//b.example/z"] {
            let other = request().redirected(302, elsewhere).unwrap();
            assert_eq!(other.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-plain"], "{elsewhere}");
        }
    }

    #[test]
    fn redirects_that_must_not_be_followed_are_errors() {
        for bad in ["http://a.example/", "ftp://a.example/", "https://u:p@a.example/", "https://"] {
            assert!(matches!(request().redirected(302, bad), Err(Error::BadRedirect { .. })), "{bad}");
        }
        let post = || Request::post("https://a.example/x", "text/plain", "body").unwrap();
        assert!(matches!(post().redirected(307, "https://b.example/"), Err(Error::BadRedirect { .. })));
        let kept = post().redirected(308, "/y").unwrap();
        assert_eq!((&kept.method, kept.body.len()), (&Method::POST, 4));
        let changed = post().redirected(302, "https://b.example/").unwrap();
        assert_eq!((&changed.method, changed.body.len(), changed.headers.len()), (&Method::GET, 0, 0));
    }

    #[test]
    fn addresses_in_messages_have_no_secrets() {
        let error = Request::get("https://me:secret@host/?token=hidden").unwrap_err().to_string();
        assert!(!error.contains("secret") && !error.contains("hidden"), "{error}");
        assert_eq!(format!("{:?}", Request::get("https://host/p?token=hidden#f").unwrap()), "GET https://host/p");
    }

    #[test]
    fn references_are_resolved() {
        for (reference, want) in [("3", "http://h:8/logs/3"), ("?a", "http://h:8/logs/x?a"), ("//o/p", "http://o/p"), ("https://o/p#q", "https://o/p")] {
            assert_eq!(resolve("http://h:8/logs/x", reference).unwrap(), want);
        }
        assert!(resolve("http://h/", "mailto:a@b").is_err());
    }
}
