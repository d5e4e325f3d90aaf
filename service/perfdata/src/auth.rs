//! Who may do what: tokens, kept as digests, each with its scopes.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Searching and listing, where that is not for everybody.
    Read,
    /// Uploading.
    Upload,
    /// Removing uploads.
    Delete,
}

/// A token.
#[derive(Debug, Clone)]
pub struct Token {
    /// Value of the `by` label.
    pub name: String,
    /// Its SHA-256.
    pub digest: [u8; 32],
    /// What it is good for.
    pub scopes: Vec<Scope>,
    /// Uploads must say `commit`.
    pub require_commit: bool,
}

/// All tokens.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// All of them; none: everybody may do everything.
    pub tokens: Vec<Token>,
    /// Reading needs one, too.
    pub private: bool,
}

/// Somebody who may do what was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// Name; `None`: there are no tokens, or reading is for everybody.
    pub name: Option<String>,
    /// Uploads must say `commit`.
    pub require_commit: bool,
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No token, or an unknown one.
    #[error("this needs a token: send `Authorization: Bearer TOKEN`")]
    Unknown,
    /// A token for other things.
    #[error("this token is not good for that")]
    Scope,
}

impl Tokens {
    /// Whether the sender of these headers may do this. Takes the same time for all wrong tokens.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn allow(&self, headers: &HeaderMap, scope: Scope) -> Result<Person, Denied> {
        if self.tokens.is_empty() || (scope == Scope::Read && !self.private) {
            return Ok(Person::default());
        }
        let shown = shown(headers).ok_or(Denied::Unknown)?;
        let digest: [u8; 32] = Sha256::digest(shown.as_bytes()).into();
        let mut found = None;
        for token in &self.tokens {
            if bool::from(token.digest.ct_eq(&digest)) {
                found = Some(token);
            }
        }
        let token = found.ok_or(Denied::Unknown)?;
        if !token.scopes.contains(&scope) {
            return Err(Denied::Scope);
        }
        Ok(Person { name: Some(token.name.clone()), require_commit: token.require_commit })
    }
}

/// The token that a request shows: as `Bearer` by programs, as the password of `Basic` by browsers.
fn shown(headers: &HeaderMap) -> Option<String> {
    let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let text = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(value.trim()).ok()?).ok()?;
        return text.split_once(':').map(|(_, password)| password.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn tokens_are_good_for_their_scopes_only() {
        let token = |name: &str, secret: &str, scopes: &[Scope]| Token {
            name: name.into(),
            digest: Sha256::digest(secret).into(),
            scopes: scopes.to_vec(),
            require_commit: false,
        };
        let tokens = Tokens { tokens: vec![token("ci", "secret", &[Scope::Upload]), token("ann", "other", &[Scope::Delete])], private: false };
        let name = |value: &str, scope| tokens.allow(&headers(value), scope).map(|person| person.name);
        assert_eq!(name("Bearer secret", Scope::Upload), Ok(Some("ci".into())));
        assert_eq!(name("Basic YW55Om90aGVy", Scope::Delete), Ok(Some("ann".into())));
        assert_eq!(name("Bearer secret", Scope::Delete), Err(Denied::Scope));
        assert_eq!(name("Bearer wrong", Scope::Upload), Err(Denied::Unknown));
        assert_eq!(name("Digest secret", Scope::Upload), Err(Denied::Unknown));
        assert_eq!(tokens.allow(&HeaderMap::new(), Scope::Read), Ok(Person::default()));
        let private = Tokens { private: true, ..tokens };
        assert_eq!(private.allow(&HeaderMap::new(), Scope::Read), Err(Denied::Unknown));
        assert_eq!(Tokens::default().allow(&HeaderMap::new(), Scope::Delete), Ok(Person::default()));
    }
}
