//! Credentials, in the forms in which people keep those for Gerrit.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;

/// As whom to ask. Does not show its secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// As nobody.
    #[default]
    None,
    /// With a user name and an HTTP password.
    Basic {
        /// User name.
        user: String,
        /// HTTP password.
        password: String,
    },
    /// With an OAuth token.
    Bearer(String),
    /// With a `Cookie` header: `o=git-robot.example.org=1//…`.
    Cookie(String),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::None => "None",
            Auth::Basic { .. } => "Basic",
            Auth::Bearer(_) => "Bearer",
            Auth::Cookie(_) => "Cookie",
        })
    }
}

/// Credentials cannot be had from a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The file cannot be read.
    #[error("the credentials' file {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// There is nothing for this host in it.
    #[error("the credentials' file {} has nothing for {host}", path.display())]
    NotThere {
        /// The file.
        path: PathBuf,
        /// The host.
        host: String,
    },
}

impl Auth {
    /// From a file of cookies as git and curl read it (`.gitcookies`): seven columns with tabs between them. Those that fit `host` and have not
    /// ended at `now` (Unix seconds) count.
    ///
    /// # Errors
    /// [`AuthError`]
    pub fn cookie_file(path: &Path, host: &str, now: i64) -> Result<Auth, AuthError> {
        cookies(&read(path)?, host, now).map(Auth::Cookie).ok_or_else(|| AuthError::NotThere { path: path.to_owned(), host: host.to_owned() })
    }

    /// From a `.netrc` file: `machine HOST login USER password SECRET`, or `default`.
    ///
    /// # Errors
    /// [`AuthError`]
    pub fn netrc(path: &Path, host: &str) -> Result<Auth, AuthError> {
        netrc(&read(path)?, host).ok_or_else(|| AuthError::NotThere { path: path.to_owned(), host: host.to_owned() })
    }

    /// Name and value of the header that carries them.
    pub(crate) fn header(&self) -> Option<(http::HeaderName, String)> {
        match self {
            Auth::None => None,
            Auth::Basic { user, password } => {
                let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                Some((http::header::AUTHORIZATION, format!("Basic {text}")))
            }
            Auth::Bearer(token) => Some((http::header::AUTHORIZATION, format!("Bearer {token}"))),
            Auth::Cookie(text) => Some((http::header::COOKIE, text.clone())),
        }
    }
}

fn read(path: &Path) -> Result<String, AuthError> {
    let bytes = std::fs::read(path).map_err(|error| AuthError::Io { path: path.to_owned(), error })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn cookies(text: &str, host: &str, now: i64) -> Option<String> {
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        // A mark for cookies that scripts may not see looks like a comment and is none.
        let line = line.strip_prefix("#HttpOnly_").unwrap_or(line);
        if line.starts_with('#') {
            continue;
        }
        let columns: Vec<&str> = line.split('\t').collect();
        let &[domain, subdomains, path, _secure, expires, name, value] = columns.as_slice() else { continue };
        let bare = domain.strip_prefix('.').unwrap_or(domain);
        let below = subdomains.eq_ignore_ascii_case("TRUE") || domain.starts_with('.');
        let same = host.eq_ignore_ascii_case(bare);
        let within = below && host.len() > bare.len() && host.to_ascii_lowercase().ends_with(&format!(".{}", bare.to_ascii_lowercase()));
        let ends: i64 = expires.trim().parse().unwrap_or(0);
        if (same || within) && (path == "/" || path.is_empty()) && (ends == 0 || ends > now) {
            found.push(format!("{name}={}", value.trim_end()));
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

fn netrc(text: &str, host: &str) -> Option<Auth> {
    let mut words = text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
    // Whether the entry that is being read is for us, and what it has said.
    let mut ours = false;
    let (mut user, mut password) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" => {
                if ours && password.is_some() {
                    break;
                }
                ours = word == "default" || words.next().is_some_and(|name| name.eq_ignore_ascii_case(host));
                (user, password) = (None, None);
            }
            "login" => user = words.next(),
            "password" => password = words.next(),
            "account" => {
                words.next();
            }
            _ => {}
        }
    }
    let password = password.filter(|_| ours)?;
    Some(Auth::Basic { user: user.unwrap_or_default().to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_chosen_by_host_and_time() {
        let text = "# a comment\n\
                    .googlesource.com\tTRUE\t/\tTRUE\t2147483647\to\tgit-me=1//abc\n\
                    #HttpOnly_review.example.org\tFALSE\t/\tTRUE\t0\tSID\txyz\n\
                    review.example.org\tFALSE\t/\tTRUE\t100\told\tgone\n\
                    review.example.org\tFALSE\t/elsewhere\tTRUE\t0\tpath\tno\n\
                    half a line\n";
        assert_eq!(cookies(text, "go-review.googlesource.com", 200).as_deref(), Some("o=git-me=1//abc"));
        assert_eq!(cookies(text, "googlesource.com", 200).as_deref(), Some("o=git-me=1//abc"));
        assert_eq!(cookies(text, "Review.example.org", 200).as_deref(), Some("SID=xyz"));
        assert_eq!(cookies(text, "Review.example.org", 50).as_deref(), Some("SID=xyz; old=gone"));
        for stranger in ["notgooglesource.com", "sub.review.example.org", "example.org"] {
            assert_eq!(cookies(text, stranger, 200), None, "{stranger}");
        }
    }

    #[test]
    fn netrc_entries_are_found() {
        let text = "# machine a.example login no password no\nmachine b.example login bob\n  password b0b account x\nmachine a.example\nlogin ada password s3cret\ndefault login any password thing";
        let basic = |user: &str, password: &str| Some(Auth::Basic { user: user.into(), password: password.into() });
        assert_eq!(netrc(text, "A.example"), basic("ada", "s3cret"));
        assert_eq!(netrc(text, "b.example"), basic("bob", "b0b"));
        assert_eq!(netrc(text, "c.example"), basic("any", "thing"));
        assert_eq!(netrc("machine a login x", "a"), None);
        assert_eq!(netrc("machine", "a"), None);
    }

    #[test]
    fn secrets_do_not_show() {
        let all = [Auth::Basic { user: "u".into(), password: "s3cret".into() }, Auth::Bearer("s3cret".into()), Auth::Cookie("s3cret".into())];
        assert!(all.iter().all(|auth| !format!("{auth:?}").contains("s3cret")));
        assert_eq!(all[0].header().unwrap().1, "Basic dTpzM2NyZXQ=");
    }
}
