//! Credentials: where git and our own HTTP requests find them. None is ever an argument of a program.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use burrow_http_client::Request;
use burrow_site::{FileError, read_secret, read_text};
use http::header::{AUTHORIZATION, COOKIE};

use crate::child::Identity;
use crate::config::Access;

/// Credentials that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A path holds what no configuration of git can hold.
    #[error("{0:?} holds a quote, a backslash or a control character; use another path")]
    Path(PathBuf),
    /// A token with something that cannot be sent.
    #[error("{0}: the token holds a space or control character")]
    Token(PathBuf),
}

/// A name for tokens that come without one; servers that look only at the token take any.
const TOKEN_USER: &str = "x-access-token";

/// Writes the configuration that git reads for one address, and says how SSH is called. `file` is made readable for its owner alone.
///
/// A destination on this machine reads it, too. So nothing in it may change how a repository receives: its hooks and its upkeep are its own.
///
/// # Errors
/// [`AccessError`]
pub fn identity(file: &Path, url: &str, access: &Access) -> Result<Identity, AccessError> {
    let mut text = String::from(
        "# Read by git instead of a user's own settings. Written at each start.\n[safe]\n\tdirectory = *\n[fetch]\n\tshowForcedUpdates = false\n\twriteCommitGraph = false\n[init]\n\tdefaultBranch = main\n\
         [protocol \"ext\"]\n\tallow = never\n[transfer]\n\tbundleURI = false\n[submodule]\n\trecurse = false\n[push]\n\trecurseSubmodules = no\n\tfollowTags = false\n\
         [http]\n\tlowSpeedLimit = 1\n\tlowSpeedTime = 120\n",
    );
    if let Some(origin) = origin(url) {
        // Only this server is shown them, wherever it redirects to.
        if let Some(path) = &access.credential_file {
            let path = quoted(path)?;
            // `git credential-store` would also erase what a server refuses; the file is not ours to change.
            let _ =
                write!(text, "[credential \"{origin}\"]\n\thelper = \"!f() {{ test \\\"$1\\\" = get && git credential-store --file='{path}' get; }}; f\"\n");
        }
        if let Some(path) = &access.token_file {
            let user = token(path)?.0;
            let path = quoted(path)?;
            let _ = write!(
                text,
                "[credential \"{origin}\"]\n\tusername = {user}\n\thelper = \"!f() {{ test \\\"$1\\\" = get && read -r t < '{path}' && echo \\\"password=${{t#*:}}\\\"; }}; f\"\n"
            );
        }
        if let Some(path) = &access.cookie_file {
            let _ = write!(text, "[http \"{origin}\"]\n\tcookieFile = \"{}\"\n", quoted(path)?);
        }
    }
    write_private(file, text.as_bytes()).map_err(|source| FileError::File { path: file.to_owned(), source })?;
    let mut ssh = "ssh -oBatchMode=yes -oConnectTimeout=30 -oServerAliveInterval=15 -oServerAliveCountMax=4".to_owned();
    if let Some(path) = &access.key_file {
        let _ = write!(ssh, " -oIdentitiesOnly=yes -i '{}'", quoted(path)?);
    }
    if let Some(path) = &access.known_hosts {
        let _ = write!(ssh, " -oUserKnownHostsFile='{}' -oStrictHostKeyChecking=yes", quoted(path)?);
    }
    Ok(Identity { config: file.to_owned(), ssh })
}

/// Puts the credentials for `url` on a request of our own. They are read each time: files are replaced while we run.
///
/// # Errors
/// [`AccessError`]
pub fn authorize(request: Request, url: &str, access: &Access) -> Result<Request, AccessError> {
    let pair = if let Some(path) = &access.token_file {
        Some(token(path)?)
    } else if let Some(path) = &access.credential_file {
        let text = read_text(path)?;
        text.lines().find_map(|line| stored(line, url))
    } else {
        None
    };
    let bad = |path: &Option<PathBuf>| AccessError::Token(path.clone().unwrap_or_default());
    let mut request = request;
    if let Some((user, password)) = pair {
        let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")));
        request = request.secret_header(AUTHORIZATION, &value).map_err(|_| bad(&access.token_file))?;
    }
    if let Some(path) = &access.cookie_file {
        let cookies = cookies(&read_text(path)?, url);
        if !cookies.is_empty() {
            request = request.secret_header(COOKIE, &cookies).map_err(|_| bad(&access.cookie_file))?;
        }
    }
    Ok(request)
}

/// `token` or `user:token`.
fn token(path: &Path) -> Result<(String, String), AccessError> {
    let text = read_secret(path)?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(['"', '\\', '#', ';']) {
        return Err(AccessError::Token(path.to_owned()));
    }
    Ok(text.split_once(':').map_or_else(|| (TOKEN_USER.to_owned(), text.clone()), |(user, token)| (user.to_owned(), token.to_owned())))
}

/// `scheme://host[:port]`, of an HTTP address.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'_'));
    (matches!(scheme, "http" | "https") && !host.is_empty() && plain).then(|| format!("{scheme}://{host}"))
}

/// Whether two HTTP addresses are of one server.
pub fn same_server(a: &str, b: &str) -> bool {
    origin(a).is_some_and(|a| origin(b) == Some(a))
}

/// User and password of a line of a credential store, if it is for this server.
fn stored(line: &str, url: &str) -> Option<(String, String)> {
    let (scheme, rest) = line.trim().split_once("://")?;
    let (userinfo, place) = rest.rsplit_once('@')?;
    let (user, password) = userinfo.split_once(':')?;
    let host = place.split('/').next()?;
    (origin(url)? == format!("{scheme}://{host}")).then(|| (unescape(user), unescape(password)))
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = (*byte == b'%').then(|| text.get(at + 1..at + 3)).flatten().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(hex.unwrap_or(*byte));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The `Cookie` header for an address, from a file in Netscape's format.
fn cookies(text: &str, url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return String::new() };
    let (host, path) = rest.split_once('/').map_or((rest, String::from("/")), |(host, path)| (host, format!("/{path}")));
    let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let mut out: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.strip_prefix("#HttpOnly_").unwrap_or(line);
        let fields: Vec<&str> = line.split('\t').collect();
        let [domain, below, at, secure, _, name, value] = fields.as_slice() else { continue };
        let domain = domain.trim_start_matches('.').to_ascii_lowercase();
        let fits = host == domain || (*below == "TRUE" && host.ends_with(&format!(".{domain}")));
        if fits && path.starts_with(at) && (*secure != "TRUE" || scheme == "https") {
            out.push(format!("{name}={value}"));
        }
    }
    out.join("; ")
}

/// A path between quotes, for git's configuration and for a shell.
fn quoted(path: &Path) -> Result<&str, AccessError> {
    path.to_str().filter(|text| !text.contains(['\'', '"', '\\']) && !text.contains(char::is_control)).ok_or_else(|| AccessError::Path(path.to_owned()))
}

/// Replaces a file at once, readable for its owner alone.
fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    // A full disk must not keep a mirror from starting with what it has.
    let private = std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode().trailing_zeros() >= 6);
    if private && std::fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_credentials_and_cookies_go_to_their_own_server_only() {
        let url = "https://git.example.org:8443/team/x.git";
        assert_eq!(stored("https://me:p%40ss@git.example.org:8443", url), Some(("me".into(), "p@ss".into())));
        assert_eq!(stored("https://me:p@git.example.org", url), None);
        assert_eq!(stored("http://me:p@git.example.org:8443", url), None);
        let file = "# comment\n.example.org\tTRUE\t/\tTRUE\t2147483647\to\tgit-bot=secret\nother.org\tFALSE\t/\tTRUE\t0\ta\tb\n#HttpOnly_git.example.org\tFALSE\t/team\tFALSE\t0\tc\td\n";
        assert_eq!(cookies(file, url), "o=git-bot=secret; c=d");
        assert_eq!(cookies(file, "http://git.example.org/else"), "");
    }

    #[test]
    fn paths_that_would_break_out_of_quotes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let access = Access { key_file: Some("/keys/it's".into()), ..Access::default() };
        assert!(matches!(identity(&dir.path().join("c"), "git@h:x", &access), Err(AccessError::Path(_))));
    }
}
