//! Who may read what.

use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use burrow_events::Topics;

use crate::config::Config;
use crate::secrets::{SecretError, Secrets};

/// One who may read.
#[derive(Debug)]
struct Reader {
    tokens: Secrets,
    topics: Topics,
}

/// Everybody who may read. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readers {
    readers: Arc<[Reader]>,
    /// What may be read without a token, if there are readers; `None`: nothing.
    public: Option<Topics>,
}

/// Why somebody may not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRight {
    /// There is no token.
    Missing,
    /// The token is nobody's.
    Unknown,
}

impl Readers {
    /// Everybody reads everything.
    pub fn everybody() -> Readers {
        Readers::default()
    }

    /// As configured.
    ///
    /// # Errors
    /// [`SecretError`]: a token cannot be read.
    pub fn load(config: &Config) -> Result<Readers, SecretError> {
        let mut readers = Vec::new();
        for reader in &config.reader {
            let tokens = Secrets::load([(reader.token_file.clone(), None)])?;
            // Looked at by `Config::check`; a pattern that is none must not become the right to everything.
            let topics = Topics::parse(&reader.topics).unwrap_or_else(|_| nothing());
            readers.push(Reader { tokens, topics: if reader.topics.is_empty() { nothing() } else { topics } });
        }
        let public = (!config.public_topics.is_empty()).then(|| Topics::parse(&config.public_topics).unwrap_or_else(|_| nothing()));
        Ok(Readers { readers: readers.into(), public })
    }

    /// Whether a token is needed for anything.
    pub fn are_named(&self) -> bool {
        !self.readers.is_empty()
    }

    /// What a request may read. A token comes as bearer token, or from a browser as password.
    ///
    /// # Errors
    /// [`NoRight`]. A token that is nobody's is an error even where something may be read without one: who shows it would wonder why much is missing.
    pub fn rights(&self, headers: &HeaderMap) -> Result<Topics, NoRight> {
        if self.readers.is_empty() {
            return Ok(Topics::all());
        }
        let Some(shown) = headers.get(AUTHORIZATION) else { return self.public.clone().ok_or(NoRight::Missing) };
        let token = token(shown).ok_or(NoRight::Unknown)?;
        self.readers.iter().fold(None, |found, reader| reader.tokens.knows(&token).map(|_| reader.topics.clone()).or(found)).ok_or(NoRight::Unknown)
    }

    /// Reads token files again that have changed.
    ///
    /// # Errors
    /// [`SecretError`]: one cannot be used; its tokens stay as they were.
    pub fn reload(&self) -> Result<(), SecretError> {
        let results: Vec<_> = self.readers.iter().map(|reader| reader.tokens.reload()).collect();
        results.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
    }
}

fn nothing() -> Topics {
    // No topic is this.
    Topics::parse([":"]).unwrap_or_default()
}

fn token(value: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
    let colon = plain.iter().position(|byte| *byte == b':')?;
    plain.get(colon + 1..).map(<[u8]>::to_vec)
}

impl NoRight {
    /// What the request is told.
    pub fn answer(self) -> Response {
        let text = match self {
            NoRight::Missing => "a token is needed: send it as \"Authorization: Bearer TOKEN\", or in a browser as the password\n",
            NoRight::Unknown => "this token is nobody's\n",
        };
        let mut answer = (StatusCode::UNAUTHORIZED, text).into_response();
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"events\", charset=\"UTF-8\""));
        answer
    }
}
