//! What is served: the table that the owner of the repositories hands in.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

/// A boxed future, so that [`Repositories`] can be a trait object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The repositories that a [`crate::Server`] answers for.
///
/// The table may change while the server runs: every request asks anew.
pub trait Repositories: Send + Sync + 'static {
    /// The repository of that name (which may contain slashes), or `None` when there is none. Called for every request: it must not block.
    fn find(&self, name: &str) -> Option<Repository>;

    /// All names, in the order in which people should see them.
    fn names(&self) -> Vec<String>;

    /// Fetches `rev` (a full hash, or the name of a reference) of the repository `name` from upstream, because it is not here. It returns when a look
    /// would now find it, or when there is no such revision; the server looks again whatever the answer is, asks once for any number of waiting requests, and gives up after
    /// [`crate::Options::want_limit`] (the future is then dropped).
    ///
    /// # Errors
    /// A sentence for the log: whether there is such a revision could not be found out. If it is not here then, the client is told to come again, not that
    /// there is none.
    fn want<'a>(&'a self, name: &'a str, rev: &'a str) -> Boxed<'a, Result<(), String>>;

    /// What the bearer of `token` may see of the repository `name`. The token is what came with the request, compare it in constant time.
    ///
    /// By default tokens give nothing.
    fn rights(&self, name: &str, token: &str) -> Rights {
        let _ = (name, token);
        Rights::Nothing
    }
}

/// How much of a repository somebody may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Not more than anybody: what is published of public repositories.
    Nothing,
    /// What is reachable from the published references.
    Published,
    /// Every object of the repository.
    Everything,
}

/// Who may read a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Visibility {
    /// Anybody, as far as it is published.
    #[default]
    Public,
    /// Only those whose token gives [`Rights::Published`] or more. Others are asked for a token, as they are for names that do not exist.
    Private,
}

/// One repository.
#[derive(Debug, Clone)]
pub struct Repository {
    /// The bare repository. The server only reads there.
    pub dir: PathBuf,
    /// Who may read it.
    pub visibility: Visibility,
    /// The references that are published, as full names in which `*` stands for any characters, also slashes: `refs/heads/*`. A leading `!` takes away
    /// again; the last one that matches decides. Everything that is reachable from a published reference is published; nothing else is.
    pub published: Vec<String>,
    /// Archives of more than so many bytes (before compression) are refused. `None`: any size.
    pub max_archive_bytes: Option<u64>,
}

impl Repository {
    /// A public repository with all branches and tags published.
    pub fn public(dir: impl Into<PathBuf>) -> Repository {
        Repository {
            dir: dir.into(),
            visibility: Visibility::Public,
            published: vec!["refs/heads/*".to_owned(), "refs/tags/*".to_owned()],
            max_archive_bytes: None,
        }
    }
}
