//! Real mail programs: swaks, and a Postfix that relays to us.

mod world;

use std::path::Path;
use std::process::Command;

use burrow_mail::{Refusal, Taken};
use testkit_harness::{Process, skip};
use testkit_mail::{Letter, RCPT, SENDER};
use world::{Setting, World, acceptor};

fn found(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|dir| dir.join(program)).find(|file| file.is_file())
}

async fn swaks(world: &World, mail: &[u8], more: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("mail");
    std::fs::write(&file, mail).expect("write the mail");
    let mut command = Command::new("swaks");
    command.args(["--server", &world.address.to_string(), "--from", SENDER, "--to", RCPT, "--ehlo", "mail.google.com"]);
    command.arg("--data").arg(format!("@{}", file.display())).args(more);
    tokio::task::spawn_blocking(move || Process::start(command, None).wait().text()).await.expect("swaks ends")
}

#[tokio::test]
async fn swaks_delivers() {
    if found("swaks").is_none() {
        return skip("swaks is not installed");
    }
    let world = World::with(Setting { tls: Some(acceptor()), ..Setting::default() }).await;
    let mail = world.signer.sign(&Letter::new(39_551));
    for more in [&[][..], &["--pipeline"], &["--tls"]] {
        let said = swaks(&world, &mail, more).await;
        assert!(said.contains("250 2.0.0 Ok: stored"), "{more:?}\n{said}");
    }
    assert_eq!(world.mails().len(), 3);
    let altered = String::from_utf8(mail).expect("ASCII").replace("X-Gerrit-Project: build", "X-Gerrit-Project: go");
    let said = swaks(&world, altered.as_bytes(), &[]).await;
    assert!(said.contains(Refusal::BadSignature.reply()), "{said}");
    world.stop().await;
}

/// A Postfix with everything in `dir`, which relays to `port`.
struct Postfix<'a> {
    dir: &'a Path,
    process: Process,
}

impl Postfix<'_> {
    fn start(dir: &Path, port: u16) -> Postfix<'_> {
        let at = dir.display();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {at}/spool\ndata_directory = {at}/data\nmail_owner = postfix\nsetgid_group = postdrop\n\
             command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\nmeta_directory = /etc/postfix\nshlib_directory = /usr/lib/postfix\n\
             maillog_file = {at}/log\nmaillog_file_prefixes = {at}\ninet_interfaces = loopback-only\ninet_protocols = ipv4\n\
             myhostname = mail.example.org\nmydestination =\nlocal_recipient_maps =\nalias_maps =\nalias_database =\nbiff = no\n\
             default_transport = smtp:[127.0.0.1]:{port}\nsmtp_tls_security_level = may\nnotify_classes =\nminimal_backoff_time = 1s\nmaximal_backoff_time = 1s\nqueue_run_delay = 1s\n"
        );
        let master: String = [
            "pickup unix n - n 60 1 pickup",
            "cleanup unix n - n - 0 cleanup",
            "qmgr unix n - n 1 1 qmgr",
            "tlsmgr unix - - n 1000? 1 tlsmgr",
            "rewrite unix - - n - - trivial-rewrite",
            "bounce unix - - n - 0 discard",
            "defer unix - - n - 0 bounce",
            "trace unix - - n - 0 bounce",
            "flush unix n - n 1000? 0 flush",
            "smtp unix - - n - - smtp",
            "error unix - - n - - error",
            "retry unix - - n - - error",
            "discard unix - - n - - discard",
            "scache unix - - n - 1 scache",
            "postlog unix-dgram n - n - 1 postlogd",
        ]
        .map(|line| format!("{line}\n"))
        .concat();
        let master = master.replace("bounce unix - - n - 0 discard", "bounce unix - - n - 0 bounce");
        for (name, content) in [("main.cf", main), ("master.cf", master)] {
            std::fs::write(dir.join(name), content).expect("write the configuration");
        }
        std::fs::create_dir(dir.join("spool")).expect("a folder");
        std::fs::create_dir(dir.join("data")).expect("a folder");
        let owned = Command::new("chown").args(["postfix"]).arg(dir.join("data")).status().expect("chown");
        assert!(owned.success());
        let mut command = Command::new(found("postfix").expect("looked for before"));
        command.arg("-c").arg(dir).arg("start-fg").current_dir(dir);
        Postfix { dir, process: Process::start(command, Some(dir)) }
    }

    fn send(&self, mail: &[u8]) {
        let file = self.dir.join("mail");
        // What is local has no CR.
        std::fs::write(&file, String::from_utf8_lossy(mail).replace("\r\n", "\n")).expect("write the mail");
        let status = Command::new(found("sendmail").expect("part of Postfix"))
            .args(["-C"])
            .arg(self.dir)
            .args(["-i", "-f", SENDER, RCPT])
            .stdin(std::fs::File::open(&file).expect("the mail"))
            .status()
            .expect("sendmail");
        assert!(status.success());
    }

    /// Waits until its log says so.
    async fn says(&self, what: &str) {
        let start = std::time::Instant::now();
        loop {
            let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            if log.contains(what) {
                return;
            }
            assert!(start.elapsed() < testkit_harness::HANG, "Postfix never said {what:?}:\n{log}\n{}", self.process.text());
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Postfix<'_> {
    fn drop(&mut self) {
        let _ = Command::new(found("postfix").unwrap_or_default()).arg("-c").arg(self.dir).arg("abort").output();
    }
}

#[tokio::test]
async fn a_postfix_relays_keeps_and_bounces() {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    if !root || found("postfix").is_none() || found("postlog").is_none() {
        return skip("a Postfix of one's own needs Debian's package postfix, and root");
    }
    let dir = tempfile::tempdir().expect("a folder");
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("let postfix in");
    }
    let busy = World::with(Setting { says: Taken::NotNow("disk full".into()), ..Setting::default() }).await;
    let mail = busy.signer.sign(&Letter::new(39_551));
    {
        let postfix = Postfix::start(dir.path(), busy.address.port());
        postfix.says("daemon started").await;
        postfix.send(&mail);
        postfix.says("status=deferred (host 127.0.0.1[127.0.0.1] said: 451 4.3.0").await;
        postfix.says("status=deferred").await;
    }
    assert!(!busy.mails().is_empty());
    let dir = tempfile::tempdir().expect("a folder");
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("let postfix in");
    }
    let world = World::with(Setting { tls: Some(acceptor()), ..Setting::default() }).await;
    let postfix = Postfix::start(dir.path(), world.address.port());
    postfix.says("daemon started").await;
    postfix.send(&mail);
    postfix.says("status=sent (250 2.0.0 Ok: stored)").await;
    assert_eq!(world.mails().remove(0).change_number, 39_551);
    postfix.send(Letter::new(8).text().as_bytes());
    postfix.says("status=bounced (host 127.0.0.1[127.0.0.1] said: 550 5.7.20 Unsigned").await;
}
