//! Which machines may join: enrolment tokens and per-machine secrets (`docs/worker-protocol.md`, Reverse mode; `spec/pools.md` §11.8).
//!
//! Only SHA-256 hashes of tokens and secrets are stored. Both are random with 128 and 256 bits, so that no slow hash is needed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// SHA-256 of a token or secret.
#[derive(Clone, Copy)]
pub struct SecretHash(pub [u8; 32]);

impl SecretHash {
    /// Of a secret's text.
    pub fn of(secret: &str) -> SecretHash {
        SecretHash(Sha256::digest(secret.as_bytes()).into())
    }

    /// Compares without telling by its duration where they differ.
    pub fn matches(&self, other: &SecretHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// A token to be stored.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Of its first part, the 32 hex digits before the dot.
    pub hash: SecretHash,
    /// The only host type that may be enrolled with it; `None` for any.
    pub host_type: Option<String>,
    /// Unix milliseconds after which it opens nothing.
    pub expires_ms: i64,
}

/// A machine as it is known.
#[derive(Clone, Debug)]
pub struct Machine {
    /// `m-` and 16 hex digits.
    pub id: String,
    /// Of its secret.
    pub secret: SecretHash,
    /// As enrolled; it may register as nothing else.
    pub host_type: String,
    /// As it called itself when it was enrolled.
    pub hostname: String,
    /// Unix milliseconds.
    pub enrolled_ms: i64,
    /// Whether it was locked out.
    pub revoked: bool,
}

/// What became of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// It was good, is used up now, and the machine is stored.
    Enrolled,
    /// Unknown, used or expired. Nothing changed.
    Refused,
    /// It is for this other host type. Nothing changed.
    OtherHostType(String),
}

/// What is noted each time a machine joins.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// As it calls itself now.
    pub hostname: String,
    /// Where from.
    pub address: String,
    /// `Version` of its status.
    pub version: u32,
}

/// The store could not be read or written; the machine is told to try again.
#[derive(Debug, Error)]
#[error("machine records cannot be used: {0}")]
pub struct StoreError(pub Box<dyn std::error::Error + Send + Sync>);

/// Where tokens and machines are kept. The coordinator has one on its database; [`MemoryMachines`] forgets at exit.
pub trait MachineStore: Send + Sync + 'static {
    /// Stores a token.
    fn create_token(&self, token: NewToken) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Uses up the token and stores the machine, in one step: of two attempts at the same time one succeeds.
    fn redeem(&self, token: SecretHash, now_ms: i64, machine: Machine) -> BoxFuture<'_, Result<Redeemed, StoreError>>;
    /// The machine of that id, revoked or not.
    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Machine>, StoreError>>;
    /// Notes that a machine has joined.
    fn touch<'a>(&'a self, id: &'a str, seen: Seen) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// A store in memory, for tests and for coordinators without enrolment.
#[derive(Debug, Default)]
pub struct MemoryMachines {
    inner: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    tokens: HashMap<[u8; 32], NewToken>,
    machines: HashMap<String, (Machine, Option<Seen>)>,
}

impl MemoryMachines {
    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks a machine out (or in again); false if there is none.
    pub fn revoke(&self, id: &str, revoked: bool) -> bool {
        self.lock().machines.get_mut(id).map(|(machine, _)| machine.revoked = revoked).is_some()
    }

    /// When a machine joined last.
    pub fn seen(&self, id: &str) -> Option<Seen> {
        self.lock().machines.get(id).and_then(|(_, seen)| seen.clone())
    }
}

impl MachineStore for MemoryMachines {
    fn create_token(&self, token: NewToken) -> BoxFuture<'_, Result<(), StoreError>> {
        self.lock().tokens.insert(token.hash.0, token);
        Box::pin(async { Ok(()) })
    }

    fn redeem(&self, token: SecretHash, now_ms: i64, machine: Machine) -> BoxFuture<'_, Result<Redeemed, StoreError>> {
        let mut memory = self.lock();
        memory.tokens.retain(|_, t| t.expires_ms > now_ms);
        let result = match memory.tokens.get(&token.0) {
            None => Redeemed::Refused,
            Some(NewToken { host_type: Some(only), .. }) if *only != machine.host_type => Redeemed::OtherHostType(only.clone()),
            Some(_) => {
                memory.tokens.remove(&token.0);
                memory.machines.insert(machine.id.clone(), (machine, None));
                Redeemed::Enrolled
            }
        };
        Box::pin(async { Ok(result) })
    }

    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Machine>, StoreError>> {
        let found = self.lock().machines.get(id).map(|(machine, _)| machine.clone());
        Box::pin(async { Ok(found) })
    }

    fn touch<'a>(&'a self, id: &'a str, seen: Seen) -> BoxFuture<'a, Result<(), StoreError>> {
        if let Some((_, last)) = self.lock().machines.get_mut(id) {
            *last = Some(seen);
        }
        Box::pin(async { Ok(()) })
    }
}
