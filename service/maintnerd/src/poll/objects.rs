//! The repository beside the log that a poller fetches into. All of it can be had again from its server.

use std::path::{Path, PathBuf};

use burrow_gerrit::{Auth, GitError, Repository};

/// Where one source's objects are.
#[derive(Debug)]
pub(crate) struct Objects {
    name: String,
    url: String,
    auth: Auth,
    dir: PathBuf,
    repository: Option<Repository>,
    /// It was thrown away once because something in it was missing or broken. If that did not help, more of it will not.
    renewed: bool,
}

/// Folder of a source below `dir`: its name with whatever could lead elsewhere encoded.
fn folder(dir: &Path, name: &str) -> PathBuf {
    let mut encoded = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => encoded.push(char::from(byte)),
            b'.' if !encoded.is_empty() => encoded.push('.'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    dir.join("git").join(encoded)
}

impl Objects {
    /// Of the source of this name, below `dir`.
    pub(crate) fn new(dir: &Path, name: &str, url: &str, auth: &Auth) -> Objects {
        Objects { name: name.to_owned(), url: url.to_owned(), auth: auth.clone(), dir: folder(dir, name), repository: None, renewed: false }
    }

    /// The repository, made if need be.
    pub(crate) async fn open(&mut self) -> Result<Repository, GitError> {
        if let Some(repository) = &self.repository {
            return Ok(repository.clone());
        }
        let repository = match Repository::open(&self.dir, &self.url, &self.auth).await {
            // Half made when we were killed, for example.
            Err(error @ GitError::Local { .. }) if !self.renewed => {
                self.renew(&error).await;
                Repository::open(&self.dir, &self.url, &self.auth).await?
            }
            opened => opened?,
        };
        Ok(self.repository.insert(repository).clone())
    }

    /// Looks at what went wrong: if the repository may be the reason, the next round begins with a new one.
    pub(crate) async fn suspect(&mut self, error: &GitError) {
        if matches!(error, GitError::Corrupt { .. } | GitError::Missing { .. }) && !self.renewed {
            self.renew(error).await;
        }
    }

    async fn renew(&mut self, error: &GitError) {
        tracing::warn!(source = self.name, %error, "the repository beside the log is fetched anew");
        self.renewed = true;
        self.repository = None;
        let dir = self.dir.clone();
        if let Ok(Err(error)) = burrow_task::spawn_blocking(move || std::fs::remove_dir_all(dir)).await {
            tracing::warn!(source = self.name, %error, "the old one cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stay_below_theirs() {
        let below = |name: &str| folder(Path::new("d"), name).display().to_string();
        assert_eq!(below("go.googlesource.com/go"), "d/git/go.googlesource.com%2Fgo");
        assert_eq!(below("../x"), "d/git/%2E.%2Fx");
        assert_eq!(below("h:1/a%b"), "d/git/h%3A1%2Fa%25b");
    }
}
