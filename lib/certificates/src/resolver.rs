//! Which certificate a connection is shown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The protocol in which an authority looks for its challenge (RFC 8737).
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// The certificate of the moment, and answers to challenges.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    current: RwLock<Option<Arc<CertifiedKey>>>,
    /// By host name.
    tls_challenges: Mutex<HashMap<String, Arc<CertifiedKey>>>,
    /// By token.
    http_challenges: Mutex<HashMap<String, String>>,
}

impl Resolver {
    pub(crate) fn set(&self, key: Arc<CertifiedKey>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    pub(crate) fn set_tls_challenge(&self, name: &str, key: Arc<CertifiedKey>) {
        self.tls_challenges.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_ascii_lowercase(), key);
    }

    pub(crate) fn set_http_challenge(&self, token: &str, answer: &str) {
        self.http_challenges.lock().unwrap_or_else(PoisonError::into_inner).insert(token.to_owned(), answer.to_owned());
    }

    pub(crate) fn http_challenge(&self, token: &str) -> Option<String> {
        self.http_challenges.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    pub(crate) fn forget_challenges(&self) {
        self.tls_challenges.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.http_challenges.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // A challenge offers this protocol and no other.
        let is_challenge = hello.alpn().is_some_and(|mut protocols| protocols.next() == Some(ACME_TLS) && protocols.next().is_none());
        if is_challenge {
            let challenges = self.tls_challenges.lock().unwrap_or_else(PoisonError::into_inner);
            return challenges.get(&hello.server_name()?.to_ascii_lowercase()).cloned();
        }
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
