//! A PostgreSQL for the length of a test run: data in a temporary folder, a free port of the loopback address, gone afterwards.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::tools;

/// Ends the server and removes its data when standard input closes: also when xtask was killed and could not.
const WATCHDOG: &str = r#"
programs=$1 dir=$2 port=$3
"$programs/postgres" -D "$dir/data" -k "$dir" -p "$port" -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off \
  -c synchronous_commit=off -c shared_buffers=32MB -c max_connections=200 -c logging_collector=off </dev/null &
server=$!
read -r _
kill -INT "$server" 2>/dev/null
wait "$server"
rm -rf "$dir/data"
"#;

/// A running server.
pub(crate) struct Postgres {
    watchdog: Child,
    /// Closing it ends the server.
    alive: Option<ChildStdin>,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Postgres {
    pub(crate) fn start() -> Result<Postgres> {
        let programs = tools::postgres_programs().context("PostgreSQL is not installed")?;
        let dir = tempfile::Builder::new().prefix("burrow-postgres-").tempdir()?;
        let user = if tools::is_root() { Some(tools::nobody().context("there is no user \"nobody\" to run PostgreSQL as")?) } else { None };
        if let Some((user, group)) = user {
            chown(dir.path(), Some(user), Some(group)).context("give the folder to an unprivileged user")?;
        }
        let as_user = |mut command: Command| {
            if let Some((user, group)) = user {
                command.uid(user).gid(group);
            }
            // The locale and the place of the caller are no matter of the server.
            command.current_dir(dir.path()).env("LC_ALL", "C.UTF-8");
            command
        };
        let mut initdb = as_user(Command::new(programs.join("initdb")));
        initdb.args(["--username=burrow", "--auth=trust", "--encoding=UTF8", "--no-sync", "-D"]).arg(dir.path().join("data"));
        let made = initdb.output().context("initdb")?;
        if !made.status.success() {
            bail!("initdb: {}", String::from_utf8_lossy(&made.stderr));
        }
        // Between finding a free port and using it another program may take it; then the next one is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let mut watchdog = as_user(Command::new("sh"));
            // A group of its own, so that Ctrl-C reaches it only through the closed pipe.
            watchdog.args(["-c", WATCHDOG, "sh"]).arg(&programs).arg(dir.path()).arg(port.to_string()).process_group(0);
            let mut watchdog = watchdog.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
            let alive = watchdog.stdin.take();
            let mut said = String::new();
            let mut lines = BufReader::new(watchdog.stderr.take().context("a piped stderr")?);
            let ready = loop {
                let start = said.len();
                if lines.read_line(&mut said)? == 0 {
                    break false;
                }
                if said[start..].contains("ready to accept connections") {
                    break true;
                }
                if said[start..].contains("Address already in use") {
                    break false;
                }
            };
            if ready {
                // Read on, or the server would stop at a full pipe.
                std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
                return Ok(Postgres { watchdog, alive, port, _dir: dir });
            }
            drop(alive);
            let _ = lines.read_to_string(&mut said);
            watchdog.wait()?;
            if !said.contains("Address already in use") {
                bail!("PostgreSQL does not start:\n{said}");
            }
        }
        bail!("no free port for PostgreSQL")
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://burrow@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.alive.take();
        let _ = self.watchdog.wait();
    }
}
