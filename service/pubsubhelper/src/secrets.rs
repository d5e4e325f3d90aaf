//! Secrets in files: several at a time, read again when a file changes, compared in constant time.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use burrow_events::Topics;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Largest file of secrets, bytes.
const LARGEST: u64 = 64 << 10;

/// Why secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// There is no secret in it.
    #[error("{}: there is no secret in it; every line that is not empty is one", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// It is no file of secrets.
    #[error("{}: is larger than {LARGEST} bytes or no text", path.display())]
    NotText {
        /// Which file.
        path: PathBuf,
    },
}

/// One secret.
#[derive(Clone)]
struct Key {
    /// Repositories (`owner/*`) for which it counts; `None`: all.
    repos: Option<Arc<Topics>>,
    sha256: Hmac<Sha256>,
    sha1: Hmac<Sha1>,
    /// For tokens: equal lengths are compared whatever was sent.
    digest: [u8; 32],
}

struct File {
    path: PathBuf,
    repos: Option<Arc<Topics>>,
    seen: Option<(SystemTime, u64)>,
    keys: Vec<Key>,
}

/// Secrets of one source or reader.
pub struct Secrets {
    files: RwLock<Vec<File>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the secrets themselves.
        f.write_str("Secrets")
    }
}

/// What a secret that fits may speak for.
#[derive(Debug, Clone, Default)]
pub struct Speaks(Option<Arc<Topics>>);

impl Speaks {
    /// For everything.
    pub fn for_all() -> Speaks {
        Speaks(None)
    }

    /// Whether it may speak for this repository (`owner/name`).
    pub fn may(&self, repository: &str) -> bool {
        self.0.as_ref().is_none_or(|repos| repos.matches(&[repository.to_owned()]))
    }
}

impl Secrets {
    /// Reads files; those with patterns count for matching repositories only.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn load(files: impl IntoIterator<Item = (PathBuf, Option<Topics>)>) -> Result<Secrets, SecretError> {
        let mut loaded = Vec::new();
        for (path, repos) in files {
            let mut file = File { path, repos: repos.map(Arc::new), seen: None, keys: Vec::new() };
            file.read()?;
            loaded.push(file);
        }
        Ok(Secrets { files: RwLock::new(loaded) })
    }

    /// Reads files again that have changed. A file that cannot be used any more leaves the secrets as they were. Says whether anything changed.
    ///
    /// # Errors
    /// The first [`SecretError`]; the other files are read all the same.
    pub fn reload(&self) -> Result<bool, SecretError> {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let (mut changed, mut failed) = (false, None);
        for file in files.iter_mut() {
            let now = stamp(&file.path);
            if now.is_some() && now == file.seen {
                continue;
            }
            match file.read() {
                Ok(()) => changed = true,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(changed), Err)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.files.read().unwrap_or_else(PoisonError::into_inner).iter().map(|file| file.keys.len()).sum()
    }

    /// Begins to check a signature: every secret is tried.
    pub fn check(&self, kind: SignatureKind) -> Check {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let keys = files.iter().flat_map(|file| &file.keys);
        match kind {
            SignatureKind::Sha256 => Check { sha256: keys.map(|key| (key.sha256.clone(), key.repos.clone())).collect(), sha1: Vec::new() },
            SignatureKind::Sha1 => Check { sha256: Vec::new(), sha1: keys.map(|key| (key.sha1.clone(), key.repos.clone())).collect() },
        }
    }

    /// Whether a token is one of them.
    pub fn knows(&self, token: &[u8]) -> Option<Speaks> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        // All are compared, so that the time says nothing of which.
        files.iter().flat_map(|file| &file.keys).fold(None, |found, key| if key.digest.ct_eq(&digest).into() { Some(Speaks(key.repos.clone())) } else { found })
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

impl File {
    fn read(&mut self) -> Result<(), SecretError> {
        // Looked at before it is read: a change in between is seen the next time.
        let seen = stamp(&self.path);
        if seen.is_some_and(|(_, size)| size > LARGEST) {
            return Err(SecretError::NotText { path: self.path.clone() });
        }
        let bytes = std::fs::read(&self.path).map_err(|source| SecretError::File { path: self.path.clone(), source })?;
        let text = String::from_utf8(bytes).map_err(|_| SecretError::NotText { path: self.path.clone() })?;
        let mut keys = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            // Both take keys of any length.
            let (Ok(sha256), Ok(sha1)) = (Hmac::new_from_slice(line.as_bytes()), Hmac::new_from_slice(line.as_bytes())) else { continue };
            keys.push(Key { repos: self.repos.clone(), sha256, sha1, digest: Sha256::digest(line.as_bytes()).into() });
        }
        if keys.is_empty() {
            return Err(SecretError::Empty { path: self.path.clone() });
        }
        (self.keys, self.seen) = (keys, seen);
        Ok(())
    }
}

/// With what a body is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureKind {
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-1: only for old hooks.
    Sha1,
}

/// A check under way: fed with the body as it comes.
pub struct Check {
    sha256: Vec<(Hmac<Sha256>, Option<Arc<Topics>>)>,
    sha1: Vec<(Hmac<Sha1>, Option<Arc<Topics>>)>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Check")
    }
}

impl Check {
    /// A part of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.iter_mut().for_each(|(mac, _)| mac.update(bytes));
        self.sha1.iter_mut().for_each(|(mac, _)| mac.update(bytes));
    }

    /// Whether the body was signed with one of the secrets, and for what that one may speak.
    pub fn finish(self, signature: &[u8]) -> Option<Speaks> {
        let sha256 = self.sha256.into_iter().map(|(mac, repos)| (mac.verify_slice(signature).is_ok(), repos));
        let sha1 = self.sha1.into_iter().map(|(mac, repos)| (mac.verify_slice(signature).is_ok(), repos));
        sha256.chain(sha1).fold(None, |found, (fits, repos)| if fits { Some(Speaks(repos)) } else { found })
    }
}

/// Bytes of hex digits, either case; `None` if they are none or too many.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = text.as_bytes();
    if bytes.len() > 128 || !bytes.len().is_multiple_of(2) {
        return None;
    }
    bytes.chunks_exact(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(secret: &str, body: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body);
        mac.finalize().into_bytes().to_vec()
    }

    #[test]
    fn secrets_change_without_a_restart_and_two_count_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "old\n").unwrap();
        let secrets = Secrets::load([(path.clone(), None)]).unwrap();
        let fits = |secret: &str| {
            let mut check = secrets.check(SignatureKind::Sha256);
            check.update(b"bo");
            check.update(b"dy");
            check.finish(&signed(secret, b"body")).is_some()
        };
        assert!(fits("old") && !fits("new"));
        assert!(!secrets.reload().unwrap(), "nothing has changed");
        std::fs::write(&path, "\nnew \r\nold\n").unwrap();
        assert!(secrets.reload().unwrap());
        assert!(fits("old") && fits("new") && secrets.knows(b"new").is_some() && secrets.knows(b"ne").is_none());
        std::fs::write(&path, "\n \n").unwrap();
        assert!(matches!(secrets.reload(), Err(SecretError::Empty { .. })));
        assert!(fits("new"), "a broken file leaves the secrets as they were");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(secrets.reload(), Err(SecretError::File { .. })) && fits("old"));
        assert!(Secrets::load([(path, None)]).unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn a_secret_speaks_for_its_repositories() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "s").unwrap();
        let secrets = Secrets::load([(path, Some(Topics::parse(["team/*"]).unwrap()))]).unwrap();
        let mut check = secrets.check(SignatureKind::Sha256);
        check.update(b"x");
        let speaks = check.finish(&signed("s", b"x")).unwrap();
        assert!(speaks.may("team/a") && !speaks.may("other/a") && Speaks::for_all().may("other/a"));
    }

    #[test]
    fn hex_is_read() {
        assert_eq!(unhex("00fF7a"), Some(vec![0, 255, 0x7a]));
        assert!(unhex("0").is_none() && unhex("zz").is_none() && unhex(&"0".repeat(130)).is_none() && unhex("+1").is_none());
    }
}
