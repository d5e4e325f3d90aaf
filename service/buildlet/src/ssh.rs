//! `/connect-ssh`: a tunnel to the machine's SSH server (spec buildlet.md §5).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::platform;
use crate::reply::{Reply, error, text};

/// A server that speaks first must not be heard before the client listens: Go's client drops what comes with the head (T11).
const HOLD_BACK: Duration = Duration::from_secs(1);

/// The tunnel's settings.
#[derive(Default)]
pub(crate) struct Ssh {
    started: Mutex<bool>,
    port: Option<u16>,
}

impl Ssh {
    /// Tunnels to this port instead of the system's usual one.
    pub(crate) fn with_port(port: Option<u16>) -> Self {
        Self { started: Mutex::new(false), port }
    }

    /// Answers `/connect-ssh`.
    pub(crate) async fn connect(&self, headers: &HeaderMap, upgrade: OnUpgrade) -> Reply {
        if headers.get(CONTENT_LENGTH).is_none_or(|l| l.as_bytes() != b"0") {
            return last(error(StatusCode::BAD_REQUEST, "requires Content-Length: 0"));
        }
        let field = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").trim().to_owned();
        let (user, key) = (field("x-go-ssh-user"), field("x-go-authorized-key"));
        if !user.is_empty()
            && !key.is_empty()
            && let Err(e) = authorize(&user, &key)
        {
            return last(error(StatusCode::BAD_REQUEST, format!("adding key: {e}")));
        }
        let port = self.port.unwrap_or_else(platform::ssh_port);
        self.start_server(port);
        let server = match dial(port).await {
            Ok(server) => server,
            Err(e) => return last(error(StatusCode::BAD_GATEWAY, format!("no SSH server answers on port {port}: {e}"))),
        };
        burrow_task::spawn(async move {
            match upgrade.await {
                Ok(client) => {
                    let _ = tunnel(TokioIo::new(client), server).await;
                }
                Err(e) => tracing::debug!(error = %e, "An SSH client left before its tunnel was open."),
            }
        });
        let mut reply = text("");
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *reply.version_mut() = Version::HTTP_11;
        reply.headers_mut().clear();
        reply.headers_mut().insert(UPGRADE, HeaderValue::from_static("ssh"));
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        reply
    }

    fn start_server(&self, port: u16) {
        let mut started = self.started.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !*started && self.port.is_none() {
            platform::start_ssh_server(port);
        }
        *started = true;
    }
}

/// Nothing can follow on this connection, whose requests are no longer looked at.
fn last(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

async fn dial(port: u16) -> io::Result<TcpStream> {
    let mut tries = 0;
    loop {
        match TcpStream::connect(("localhost", port)).await {
            Ok(stream) => return Ok(stream),
            Err(e) if tries >= 4 => return Err(e),
            Err(_) => {
                tries += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn tunnel<C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(mut client: C, mut server: TcpStream) -> io::Result<()> {
    let mut first = [0; 1024];
    if let Ok(read) = tokio::time::timeout(HOLD_BACK, client.read(&mut first)).await {
        match read? {
            0 => return Ok(()),
            n => server.write_all(first.get(..n).unwrap_or_default()).await?,
        }
    }
    // Until either side ends.
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = server.split();
    tokio::select! {
        result = tokio::io::copy(&mut from_client, &mut to_server) => result.map(drop),
        result = tokio::io::copy(&mut from_server, &mut to_client) => {
            to_client.shutdown().await?;
            result.map(drop)
        }
    }
}

/// Appends a key to a user's file, unless its text is there already.
fn authorize(user: &str, key: &str) -> io::Result<()> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    if user.contains(['/', '\\', '\0']) || user.starts_with('.') {
        return Err(invalid("the user name is not one"));
    }
    if key.contains(['\n', '\r', '\0']) {
        return Err(invalid("the key must be one line"));
    }
    let home = home_of(user).ok_or_else(|| invalid("this system has no home directories to put keys into"))?;
    append_key(&home, user, key)
}

fn append_key(home: &Path, user: &str, key: &str) -> io::Result<()> {
    use std::io::{Read as _, Write as _};
    let dir = home.join(".ssh");
    std::fs::create_dir_all(&dir)?;
    platform::make_private_dir(&dir)?;
    let file = dir.join("authorized_keys");
    let mut options = std::fs::OpenOptions::new();
    options.read(true).append(true).create(true);
    platform::private(&mut options);
    let mut open = options.open(&file)?;
    let mut there = String::new();
    open.read_to_string(&mut there)?;
    if !there.contains(key) {
        let separator = if there.is_empty() || there.ends_with('\n') { "" } else { "\n" };
        open.write_all(format!("{separator}{key}\n").as_bytes())?;
    }
    platform::give_keys_to(user, &dir, &file)
}

fn home_of(user: &str) -> Option<PathBuf> {
    let root = match platform::goos() {
        "plan9" => return None,
        "windows" => PathBuf::from("C:\\Users"),
        "darwin" => PathBuf::from("/Users"),
        _ if user == "root" => return Some(PathBuf::from("/root")),
        "freebsd" if Path::new("/usr/home").exists() => PathBuf::from("/usr/home"),
        _ => PathBuf::from("/home"),
    };
    Some(root.join(user))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_key_is_appended_once_and_the_file_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        for key in ["ssh-ed25519 A a", "ssh-ed25519 B b", "ssh-ed25519 A a"] {
            super::append_key(home.path(), "nobody", key).unwrap();
        }
        let file = home.path().join(".ssh/authorized_keys");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "ssh-ed25519 A a\nssh-ed25519 B b\n");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn names_and_keys_that_would_write_elsewhere_are_refused() {
        for (user, key) in [("../x", "k"), ("a/b", "k"), (".", "k"), ("root", "k\nk2")] {
            assert!(super::authorize(user, key).is_err(), "{user}");
        }
    }
}
