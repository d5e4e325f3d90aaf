//! Where a cache is kept if nobody says otherwise (`spec/maintner.md` §8).

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use protocol_mutlog::Sha224;
use url::Url;

use crate::Error;

/// The Go project's log.
pub const DEFAULT_SERVER: &str = "https://maintner.golang.org/logs";

/// What stands for itself in the name of a directory.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Longest name of a directory that is not shortened; file systems take 255 bytes.
const MAX_NAME: usize = 200;

/// A family of operating systems, as far as caches go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Caches are in `~/Library/Caches`.
    MacOs,
    /// Caches are in `~/.cache`.
    Other,
}

impl System {
    /// The one this program was built for.
    pub fn here() -> System {
        if cfg!(target_os = "macos") { System::MacOs } else { System::Other }
    }
}

/// The directory for the log of `server`: `golang-maintner` for [`DEFAULT_SERVER`], which the Go project's programs use too, and one directory for each other server.
/// `xdg_cache_home` is the value of `$XDG_CACHE_HOME` (empty is as if not set), `home` the user's home directory.
///
/// ```
/// use std::path::Path;
/// use burrow_godata::{DEFAULT_SERVER, System, default_dir};
/// let home = Path::new("/home/me");
/// assert_eq!(default_dir(DEFAULT_SERVER, None, home, System::Other).unwrap(), Path::new("/home/me/.cache/golang-maintner"));
/// assert_eq!(default_dir(DEFAULT_SERVER, None, home, System::MacOs).unwrap(), Path::new("/home/me/Library/Caches/golang-maintner"));
/// let other = default_dir("http://ci.example:8080/logs", Some(Path::new("/c")), home, System::Other).unwrap();
/// assert_eq!(other, Path::new("/c/burrow-godata/ci.example%3A8080%2Flogs"));
/// ```
///
/// # Errors
/// [`Error::BadServer`] for what is not an address.
pub fn default_dir(server: &str, xdg_cache_home: Option<&Path>, home: &Path, system: System) -> Result<PathBuf, Error> {
    let bad = |why: &str| Error::BadServer { server: server.to_owned(), why: why.to_owned() };
    let url = Url::parse(server).map_err(|error| bad(&error.to_string()))?;
    let caches = match (xdg_cache_home, system) {
        (Some(path), _) if !path.as_os_str().is_empty() => path.to_owned(),
        (_, System::MacOs) => home.join("Library").join("Caches"),
        (_, System::Other) => home.join(".cache"),
    };
    if url.as_str() == DEFAULT_SERVER {
        return Ok(caches.join("golang-maintner"));
    }
    let host = url.host_str().ok_or_else(|| bad("it has no host"))?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let mut name = utf8_percent_encode(&format!("{host}{port}{}", url.path()), ESCAPED).to_string();
    if name.len() > MAX_NAME {
        let whole = Sha224::of(name.as_bytes());
        // Escaped text is ASCII, so that it can be cut anywhere.
        name.truncate(MAX_NAME - 57);
        name = format!("{name}-{whole}");
    }
    Ok(caches.join("burrow-godata").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(server: &str) -> String {
        let dir = default_dir(server, None, Path::new("/h"), System::Other).unwrap();
        dir.strip_prefix("/h/.cache").unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn every_server_has_a_directory_of_its_own() {
        assert_eq!(name("https://Maintner.golang.org:443/logs"), "golang-maintner", "the same server in other words");
        assert_eq!(name("https://maintner.golang.org/other"), "burrow-godata/maintner.golang.org%2Fother");
        assert_eq!(name("http://[::1]:80/a/../b c"), "burrow-godata/%5B%3A%3A1%5D%2Fb%2520c");
        let (a, b) = (name(&format!("http://h/{}a", "x".repeat(300))), name(&format!("http://h/{}b", "x".repeat(300))));
        assert!(a != b && a.len() < 255 && b.len() < 255, "{a} {b}");
    }

    #[test]
    fn an_empty_variable_is_as_if_not_set() {
        let dir = default_dir(DEFAULT_SERVER, Some(Path::new("")), Path::new("/h"), System::Other).unwrap();
        assert_eq!(dir, Path::new("/h/.cache/golang-maintner"));
        assert!(matches!(default_dir("logs", None, Path::new("/h"), System::Other), Err(Error::BadServer { .. })));
    }
}
