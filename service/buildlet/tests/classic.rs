//! The endpoints every Go peer uses, by raw bytes over a real socket (spec buildlet.md §3, §4, §13).
#![cfg(unix)]

mod server;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use burrow_buildlet::{Listen, Mode, Secret};
use server::*;
use tar::EntryType;

#[test]
fn every_endpoint_answers_with_the_known_status_and_body() {
    let server = Server::start();
    let work = server.work().display().to_string();
    std::fs::write(server.work().join("plain"), "x").unwrap();
    let table: &[(&str, &str, u16, &str)] = &[
        ("GET", "/", 200, "buildlet running on linux-amd64\n"),
        ("POST", "/healthz", 200, "ok\n"),
        ("GET", "/nothing", 404, "404 page not found\n"),
        ("GET", "/debug/x?n=3", 404, "404 page not found\n"),
        ("POST", "/status", 400, "requires GET method\n"),
        ("GET", "/workdir", 200, &work),
        ("PUT", "/workdir", 400, "requires GET method\n"),
        ("POST", "/write?path=a&mode=420", 400, "requires POST method\n"),
        ("PUT", "/write?mode=420", 400, "path not provided\n"),
        ("PUT", "/write?path=a", 400, "bad mode\n"),
        ("PUT", "/write?path=a&mode=2147484068", 400, "bad mode\n"),
        ("PUT", "/write?path=../a&mode=420", 400, "invalid path: it leaves the work directory\n"),
        ("PUT", "/write?path=/a&mode=420", 400, "invalid path: it must be relative to the work directory\n"),
        ("PUT", "/write?path=n/e/w&mode=420", 200, "OK"),
        ("GET", "/writetgz", 400, "requires PUT or POST method\n"),
        ("POST", "/writetgz", 400, "missing url POST param\n"),
        ("PUT", "/writetgz", 400, "requires gzip-compressed body: gzip: invalid header\n"),
        ("PUT", "/writetgz?dir=../x", 400, "invalid 'dir' parameter: invalid path: it leaves the work directory\n"),
        ("PUT", "/tgz", 400, "requires GET method\n"),
        ("POST", "/ls", 400, "requires GET method\n"),
        ("GET", "/ls?dir=missing", 500, "Walk error: No such file or directory (os error 2)\n"),
        ("GET", "/ls?dir=..", 400, "invalid 'dir' parameter: invalid path: it leaves the work directory\n"),
        ("GET", "/removeall", 400, "requires POST method\n"),
        ("POST", "/removeall", 400, "requires 'path' parameter\n"),
        ("POST", "/removeall?path=plain&path=/etc", 400, "invalid 'path' parameter: invalid path: it must be relative to the work directory\n"),
        ("POST", "/removeall?path=missing/x", 200, ""),
        ("GET", "/exec", 400, "requires POST method\n"),
        ("POST", "/exec", 400, "requires 'cmd' parameter\n"),
        ("POST", "/exec?cmd=nosuchprogram", 422, "invalid 'cmd' parameter: command \"nosuchprogram\" not found\n"),
        ("POST", "/exec?cmd=bin/x&mode=sys", 400, "no sys-mode command can be relative to the work directory\n"),
        ("GET", "/halt", 400, "requires POST method\n"),
    ];
    let mut client = server.connect();
    for (method, target, status, body) in table {
        let answer = client.ask(method, target, &[], b"");
        assert_eq!((answer.status, answer.text().as_str()), (*status, *body), "{method} {target}");
        if *status >= 400 && *status != 404 {
            assert_eq!(answer.header("content-type").as_deref(), Some("text/plain; charset=utf-8"), "{target}");
            assert_eq!(answer.header("x-content-type-options").as_deref(), Some("nosniff"), "{target}");
        }
    }
    assert!(server.work().join("plain").exists(), "a refused removal must remove nothing");
    let status = server.json("GET", "/status", "").1;
    assert_eq!(status["Version"], 29);
    assert_eq!(status["Burrow"]["instance"].as_str().unwrap().len(), 32);
}

#[test]
fn only_the_password_counts_and_probes_need_none() {
    let dirs = tempfile::tempdir().unwrap();
    let listen = Mode::Listen { address: Listen::Tcp("127.0.0.1:0".into()), tls: None, password: Some(Secret::new("geheim".into())) };
    let config = config(dirs.path(), listen);
    let server = Server::with(dirs, config);
    let ask = |target: &str, header: &str| {
        let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        (text.split(' ').nth(1).unwrap().to_owned(), text.split("\r\n\r\n").nth(1).unwrap().to_owned())
    };
    // gomote:geheim, :geheim, gomote:wrong
    for good in ["Authorization: Basic Z29tb3RlOmdlaGVpbQ==\r\n", "Authorization: Basic OmdlaGVpbQ==\r\n"] {
        assert_eq!(ask("/workdir", good).0, "200");
    }
    for bad in ["", "Authorization: Basic Z29tb3RlOndyb25n\r\n", "Authorization: Basic ???\r\n", "Authorization: Bearer geheim\r\n"] {
        assert_eq!(ask("/workdir", bad), ("403".to_owned(), "invalid password\n".to_owned()), "{bad}");
        assert_eq!(ask("/nothing", bad).0, "403");
    }
    assert_eq!(ask("/", "").0, "200");
    assert_eq!(ask("/healthz", "").0, "200");
}

#[test]
fn tls_with_a_self_signed_certificate_works() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let dirs = tempfile::tempdir().unwrap();
    let tls = Some((made.cert.pem(), Secret::new(made.signing_key.serialize_pem())));
    let config = config(dirs.path(), Mode::Listen { address: Listen::Tcp("127.0.0.1:0".into()), tls, password: None });
    let server = Server::with(dirs, config);
    let pin = burrow_revdial::Trust::Pin(burrow_revdial::certificate_fingerprint(made.cert.der()));
    let config = std::sync::Arc::new(burrow_revdial::client_config(&pin).unwrap());
    let mut connection = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
    let mut tls = rustls::Stream::new(&mut connection, &mut stream);
    tls.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    let _ = tls.read_to_string(&mut text);
    assert!(text.ends_with("buildlet running on linux-amd64\n"), "{text}");
}

#[test]
fn written_files_have_the_mode_that_was_asked_for_even_when_they_existed() {
    let server = Server::start();
    let file = server.work().join("a/b");
    for (mode, want) in [(0o600, 0o600), (0o755, 0o755), (0o100_644, 0o644), (0o222, 0o222)] {
        assert_eq!(server.ask("PUT", &format!("/write?path=a/x/../b&mode={mode}"), format!("mode {mode}").as_bytes()).text(), "OK");
        let meta = file.metadata().unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, want);
        assert_eq!(meta.len(), format!("mode {mode}").len() as u64);
    }
}

#[test]
fn listings_have_the_bytes_gomote_parses() {
    let server = Server::start();
    assert_eq!(server.ask("POST", "/removeall?path=tmp&path=gocache&path=goplscache", b"").status, 200);
    let tar = Tar::default()
        .file("b.txt", "abc")
        .script("a/run", "#!/bin/sh\n")
        .file("a-b/deep/x", "")
        .link(EntryType::Symlink, "l", "a/run")
        .file("skipped/inner", "");
    assert_eq!(server.ask("PUT", "/writetgz", &tar.gz()).text(), "OK");
    std::fs::set_permissions(server.work().join("a-b"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let all = server.ask("GET", "/ls?dir=.&recursive=true&digest=1&skip=skipped", b"").text();
    let want = "drwxr-xr-x\ta/\n-rwxr-xr-x\ta/run\t10\t2001-09-09T01:46:40Z\ta96ca4d0b23c40a1f8c9a0b0ff6e5ef5b6df8d9e\n\
        dtrwxrwxrwx\ta-b/\ndrwxr-xr-x\ta-b/deep/\n-rw-r--r--\ta-b/deep/x\t0\t2001-09-09T01:46:40Z\tda39a3ee5e6b4b0d3255bfef95601890afd80709\n\
        -rw-r--r--\tb.txt\t3\t2001-09-09T01:46:40Z\ta9993e364706816aba3e25717850c26c9cd0d89d\nLrwxrwxrwx\tl\n";
    let sha1_run = all.lines().find(|l| l.contains("a/run")).unwrap().rsplit('\t').next().unwrap().to_owned();
    assert_eq!(all, want.replace("a96ca4d0b23c40a1f8c9a0b0ff6e5ef5b6df8d9e", &sha1_run));
    let (sum, _) = server.sh("sha1sum \"$WORKDIR/a/run\"");
    assert!(sum.starts_with(&sha1_run), "{sum}");
    assert_eq!(server.ask("GET", "/ls?dir=a", b"").text(), "-rwxr-xr-x\trun\t10\t2001-09-09T01:46:40Z\n");
    assert_eq!(server.ask("GET", "/ls?dir=b.txt", b"").text(), "-rw-r--r--\t\t3\t2001-09-09T01:46:40Z\n");
    assert!(server.ask("GET", "/ls", b"").text().starts_with("drwxr-xr-x\ta/\ndtrwxrwxrwx\ta-b/\n-rw-r--r--\tb.txt"));
}

#[test]
fn a_tgz_brings_back_what_was_sent_in_many_members() {
    let server = Server::start();
    let big: String = (0..400_000).map(|i| format!("{i}\n")).collect();
    let tar = Tar::default().entry("d/big", EntryType::Regular, 0o640, 1_000_000_000, "", big.as_bytes()).link(EntryType::Symlink, "d/l", "big");
    assert_eq!(server.ask("PUT", "/writetgz?dir=in", &tar.gz()).text(), "OK");
    let answer = server.ask("GET", "/tgz?dir=in", b"");
    assert_eq!(answer.header("content-type").as_deref(), Some("application/x-gzip"));
    assert!(answer.complete && answer.header("content-encoding").is_none());
    // The first member alone is not everything (T7).
    let mut first = Vec::new();
    flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_end(&mut first).unwrap();
    assert_eq!(first.len(), 1 << 20);
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(answer.body.as_slice()));
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let header = entry.header();
        seen.push((entry.path().unwrap().display().to_string(), header.mode().unwrap(), header.username().unwrap().unwrap_or("").to_owned(), content == big));
        if header.entry_type() == EntryType::Symlink {
            assert_eq!(entry.link_name().unwrap().unwrap().display().to_string(), "big");
        }
    }
    let user = String::from_utf8(std::process::Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_owned();
    let row = |name: &str, mode: u32, same: bool| (name.to_owned(), mode, user.clone(), same);
    assert_eq!(seen, [row("d/", 0o755, false), row("d/big", 0o640, true), row("d/l", 0o777, false)]);
    assert_eq!(server.ask("GET", "/tgz?dir=missing", b"").status, 404);
}

#[test]
fn the_trailer_tells_how_commands_end_to_a_client_that_does_not_ask_for_trailers() {
    let server = Server::start();
    let table = [
        ("true", "ok"),
        ("exit 3", "exit status 3"),
        ("kill -9 $$", "signal: killed"),
        ("kill -TERM $$", "signal: terminated"),
        ("kill -34 $$", "signal: signal 34"),
    ];
    let mut client = server.connect();
    for (script, want) in table {
        client.exec(&format!("cmd=/bin/sh&mode=sys&dir=&cmdArg=-c&cmdArg={}&debug=false", escape(script)));
        let answer = client.answer();
        assert_eq!(answer.header("trailer").as_deref(), Some("Process-State"));
        assert_eq!(answer.trailer("process-state").as_deref(), Some(want), "{script}");
    }
    // Could not start: still 200, and the system's words.
    for (form, want) in [("cmd=/etc", "fork/exec /etc: permission denied"), ("cmd=/bin/true&dir=nowhere", "chdir ")] {
        client.exec(form);
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        let state = answer.trailer("process-state").unwrap();
        assert!(state.starts_with(want), "{state}");
    }
}

#[test]
fn the_head_is_there_before_the_command_says_anything_and_output_is_not_held_back() {
    let server = Server::start();
    // One pipe for each line: a second reading of the same pipe would find the first writer still there, and then its end.
    let pipes = ["first", "second"].map(|name| server.work().join(name));
    assert!(std::process::Command::new("mkfifo").args(&pipes).status().unwrap().success());
    let mut client = server.connect();
    client.exec(&format!("cmd=/bin/sh&mode=sys&cmdArg=-c&cmdArg={}", escape("read a < first; echo $a; read b < second; echo $b >&2")));
    assert_eq!(client.head().status, 200);
    std::fs::write(&pipes[0], "one\n").unwrap();
    assert_eq!(client.chunk().unwrap(), b"one\n");
    std::fs::write(&pipes[1], "two\n").unwrap();
    assert_eq!(client.chunk().unwrap(), b"two\n");
}

#[test]
fn pipelined_requests_are_answered_in_order_and_a_plain_one_survives_a_half_close() {
    let server = Server::start();
    let mut client = server.connect();
    client.exec("cmd=/bin/echo&cmdArg=1");
    client.exec("cmd=/bin/echo&cmdArg=2");
    client.send(b"GET /workdir HTTP/1.1\r\nHost: x\r\n\r\n");
    for want in ["1\n", "2\n"] {
        let answer = client.answer();
        assert_eq!((answer.text().as_str(), answer.trailer("process-state").as_deref()), (want, Some("ok")));
    }
    assert_eq!(client.answer().status, 200);
    client.send(b"GET /ls HTTP/1.1\r\nHost: x\r\n\r\n");
    client.close_write();
    assert!(client.answer().complete);
}

#[test]
fn http_1_0_cannot_carry_trailers() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(b"POST /exec HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (400, "HTTP/1.1 or higher required\n"));
}

#[test]
fn environment_and_directory_are_those_of_the_reference_without_the_secrets() {
    let server = Server::start();
    let work = server.work().display().to_string();
    let (env, _) = server.sh("env");
    for line in [
        format!("TMPDIR={work}/tmp"),
        format!("GOCACHE={work}/gocache"),
        format!("GOPLSCACHE={work}/goplscache"),
        format!("GOROOT_BOOTSTRAP={work}/go1.4"),
        format!("WORKDIR={work}"),
        format!("PWD={work}"),
        "LC_TEST=kept".to_owned(),
        "ANDROID_HOME=/android".to_owned(),
    ] {
        assert!(env.lines().any(|l| l == line), "{line} is missing in\n{env}");
    }
    assert!(!env.contains("secret-"), "{env}");
    let mut client = server.connect();
    let form = format!("cmd=env&env=A%3D1&env=A%3D2&env=TMPDIR%3D%2Fevil&path={}&path=%24PATH&path=%24EMPTY", escape("$WORKDIR/bin"));
    client.exec(&form);
    let env = client.answer().text();
    assert!(env.contains("A=2\n") && !env.contains("A=1\n") && !env.contains("/evil"), "{env}");
    assert!(env.contains(&format!("PATH={work}/bin:/usr/local/bin:/usr/bin:/bin\n")), "{env}");
    // A bare command without a directory runs where it was found.
    assert!(env.contains("PWD=/usr/bin\n"), "{env}");
    // The work directory's own program wins, except in system mode; a debug line tells what is run.
    assert_eq!(server.ask("PUT", "/write?path=env&mode=493", b"#!/bin/sh\necho mine\n").status, 200);
    client.exec("cmd=env&debug=1");
    let text = client.answer().text();
    assert!(
        text.starts_with(&format!(":: Running {work}/env with args [\"{work}/env\"] and env [\"")) && text.ends_with(&format!("in dir {work}\n\nmine\n")),
        "{text}"
    );
    client.exec("cmd=env&mode=sys");
    assert!(client.answer().text().contains("PATH="));
}

#[test]
fn the_whole_tree_dies_with_its_client() {
    let server = Server::start();
    // A pipeline, a background child, and one in a session of its own.
    let script = "setsid sh -c 'echo $$ > p1; exec sleep 1000' & sleep 1000 & echo $! > p2; sh -c 'echo $$ > p3; exec sleep 1000' | cat";
    for half in [false, true] {
        let mut client = server.connect();
        client.exec(&format!("cmd=/bin/sh&mode=sys&cmdArg=-c&cmdArg={}", escape(script)));
        assert_eq!(client.head().status, 200);
        let pids = ["p1", "p2", "p3"].map(|name| {
            let file = server.work().join(name);
            eventually("the start of the processes", || std::fs::read_to_string(&file).is_ok_and(|p| p.ends_with('\n')));
            let pid = std::fs::read_to_string(&file).unwrap();
            std::fs::remove_file(&file).unwrap();
            pid
        });
        assert!(pids.iter().all(|p| alive(p)));
        if half {
            // More requests behind it do not hide the end of the stream.
            client.send(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n");
            client.close_write();
        } else {
            drop(client);
        }
        for pid in &pids {
            eventually("the end of the tree", || !alive(pid));
        }
    }
}

#[test]
fn a_process_left_behind_with_the_output_does_not_hold_the_answer_for_ever() {
    let server = Server::start();
    let (output, state) = server.sh("sleep 1000 & echo $!");
    assert_eq!(state, "ok");
    // It may go on, as a server started for a later step does; it ends with the worker.
    assert!(alive(&output));
    drop(server);
    assert!(!alive(&output));
}

#[test]
fn the_tar_corpus() {
    let server = Server::start();
    let put = |tar: Vec<u8>| {
        let answer = server.ask("PUT", "/writetgz?dir=x", &tar);
        (answer.status, answer.text())
    };
    let file = |name: &str| std::fs::read_to_string(server.work().join("x").join(name)).ok();
    let ok = (200, "OK".to_owned());
    assert_eq!(put(Tar::default().entry("pax_global_header", EntryType::XGlobalHeader, 0, 0, "", b"11 comment=").file("f", "1").gz()), ok);
    assert_eq!(file("f").as_deref(), Some("1"));
    for bad in ["../x", "/abs", "a/../../x"] {
        let (status, text) = put(Tar::default().file("before", "1").file(bad, "evil").gz());
        assert_eq!(status, 400, "{bad}: {text}");
    }
    assert_eq!(file("before").as_deref(), Some("1"), "earlier entries stay");
    assert_eq!(put(Tar::default().file("a/../b", "b").entry(".", EntryType::Directory, 0o700, 0, "", b"").gz()), ok);
    assert_eq!(file("b").as_deref(), Some("b"));
    assert_eq!(put(Tar::default().file("t", "hard").link(EntryType::Link, "h", "t").link(EntryType::Symlink, "s/l", "../t").gz()), ok);
    assert_eq!((file("h").as_deref(), file("s/l").as_deref()), (Some("hard"), Some("hard")));
    assert_eq!(server.work().join("x/h").metadata().unwrap().ino(), server.work().join("x/t").metadata().unwrap().ino());
    for (kind, target) in [(EntryType::Symlink, "/etc/passwd"), (EntryType::Symlink, "../../y"), (EntryType::Link, "../../y"), (EntryType::Link, "missing")] {
        let (status, text) = put(Tar::default().link(kind, "out", target).gz());
        assert_eq!(status, 400, "{target}: {text}");
        assert!(text.contains("out"), "{text}");
    }
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        assert_eq!(put(Tar::default().link(kind, "dev", "").gz()).0, 400);
    }
    let future = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 100_000;
    assert_eq!(put(Tar::default().entry("future", EntryType::Regular, 0o4777, future, "", b"").gz()), ok);
    let meta = server.work().join("x/future").metadata().unwrap();
    assert!(meta.modified().unwrap() <= std::time::SystemTime::now() && meta.permissions().mode() & 0o7000 == 0);
    let mut cut = Tar::default().entry("cut", EntryType::Regular, 0o644, 0, "", &[7; 100_000]).finish();
    cut.truncate(50_000);
    assert_eq!(put(gzip(&cut)).0, 500, "a file cut short");
    let whole = Tar::default().file("trunc", &(0..9999).map(|i| format!("{i} ")).collect::<String>()).gz();
    assert_ne!(put(whole[..whole.len() / 2].to_vec()).0, 200, "a member cut short");
    assert_eq!(put(gzip(b"")), ok, "an empty stream");
    let tar = Tar::default().file("m1", "1").file("m2", "2").finish();
    let members = [gzip(&tar[..700]), gzip(&tar[700..])].concat();
    assert_eq!(put(members), ok);
    assert_eq!(file("m2").as_deref(), Some("2"));
    assert_eq!(put(b"PK\x03\x04".to_vec()).1, "requires gzip-compressed body: gzip: invalid header\n");
    assert_eq!(put(gzip(&[b'x'; 1024])).0, 400, "no tar at all");
    // An existing file keeps its mode; one that is a link inside is written through.
    assert_eq!(put(Tar::default().script("f", "2").gz()), ok);
    assert_eq!(server.work().join("x/f").metadata().unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn links_planted_by_a_build_lead_nowhere() {
    let server = Server::start();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("keep"), "precious").unwrap();
    std::os::unix::fs::symlink(outside.path(), server.work().join("out")).unwrap();
    std::os::unix::fs::symlink("../../../../../../../etc", server.work().join("up")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("keep"), server.work().join("file")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("new"), server.work().join("dangling")).unwrap();
    let attacks: &[(&str, &str, Vec<u8>)] = &[
        ("PUT", "/write?path=out/evil&mode=420", b"evil".to_vec()),
        ("PUT", "/write?path=out/keep&mode=420", b"evil".to_vec()),
        ("PUT", "/write?path=file&mode=420", b"evil".to_vec()),
        ("PUT", "/write?path=dangling&mode=420", b"evil".to_vec()),
        ("PUT", "/write?path=up/evil&mode=420", b"evil".to_vec()),
        ("PUT", "/writetgz?dir=out", Tar::default().file("evil", "").gz()),
        ("PUT", "/writetgz", Tar::default().file("out/evil", "").gz()),
        ("PUT", "/writetgz", Tar::default().file("file", "evil").gz()),
        ("PUT", "/writetgz", Tar::default().link(EntryType::Link, "stolen", "out/keep").gz()),
        ("POST", "/removeall?path=out/keep", vec![]),
        ("GET", "/tgz?dir=out", vec![]),
        ("GET", "/ls?dir=out&digest=1", vec![]),
        ("GET", "/ls?dir=up", vec![]),
        ("POST", "/removeall?path=out/", vec![]),
    ];
    for (method, target, body) in attacks {
        let answer = server.ask(method, target, body);
        let harmless_removal = target.ends_with("out/") && answer.status == 200;
        assert!(answer.status == 400 || harmless_removal, "{method} {target}: {} {}", answer.status, answer.text());
    }
    let left: Vec<_> = std::fs::read_dir(outside.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["keep"]);
    assert_eq!(std::fs::read_to_string(outside.path().join("keep")).unwrap(), "precious");
    // A named pipe in the place of a file must not hold the worker.
    assert!(std::process::Command::new("mkfifo").arg(server.work().join("pipe")).status().unwrap().success());
    assert_eq!(server.ask("PUT", "/write?path=pipe&mode=420", b"x").status, 500);
}

#[test]
fn everything_can_be_removed() {
    let server = Server::start();
    server.sh("mkdir -p ro/sub && touch ro/sub/f ro/g && ln -s / ro/root && chmod 000 ro/sub && chmod 555 ro");
    // Deeper than a path may be long.
    server.sh("i=0; while [ $i -lt 1500 ]; do mkdir dddddddd && cd dddddddd || exit 1; i=$((i+1)); done; touch bottom");
    assert_eq!(server.ask("POST", "/removeall?path=ro&path=dddddddd", b"").text(), "");
    assert!(!server.work().join("ro").exists() && !server.work().join("dddddddd").exists());
    assert_eq!(server.ask("POST", "/removeall?path=.", b"").status, 200);
    assert!(!server.dirs.path().join("w").exists(), "the directory itself goes, too");
    let (output, state) = server.sh("pwd; ls");
    assert_eq!((output.ends_with("/w\ngocache\ngoplscache\ntmp\n"), state.as_str()), (true, "ok"), "and comes back: {output}");
}

#[test]
fn an_archive_is_fetched_by_url_through_redirects() {
    let archive = Tar::default().file("f", "fetched").gz();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let web = std::thread::spawn(move || {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let n = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..n]).into_owned();
            match head.split(' ').nth(1).unwrap() {
                "/a/old?x=1" => write!(stream, "HTTP/1.1 302 Found\r\nLocation: new.tgz\r\nContent-Length: 0\r\n\r\n").unwrap(),
                "/a/new.tgz" => {
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", archive.len()).unwrap();
                    stream.write_all(&archive).unwrap();
                }
                _ => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap(),
            }
        }
    });
    let server = Server::start();
    let post = |dir: &str, path: &str| {
        let form = format!("url={}", escape(&format!("{origin}{path}")));
        server.connect().ask("POST", &format!("/writetgz?dir={dir}"), &["Content-Type: application/x-www-form-urlencoded"], form.as_bytes())
    };
    assert_eq!(post("go1.4", "/a/old?x=1").text(), "OK");
    assert_eq!(std::fs::read_to_string(server.work().join("go1.4/f")).unwrap(), "fetched");
    assert_eq!(post("go1.4", "/never-asked").text(), "SKIP");
    assert_eq!(post("other", "/missing").status, 500);
    web.join().unwrap();
}

#[test]
fn ssh_waits_for_the_client_to_speak_and_leaves_nothing_behind() {
    let listener = std::net::TcpListener::bind("localhost:0").unwrap();
    let dirs = tempfile::tempdir().unwrap();
    let mut config = config(dirs.path(), Mode::Listen { address: Listen::Unix(dirs.path().join("sock")), tls: None, password: None });
    config.ssh_port = Some(listener.local_addr().unwrap().port());
    let server = Server::with(dirs, config);
    let sshd = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"SSH-2.0-test\r\n").unwrap();
        let mut got = [0; 4];
        stream.read_exact(&mut got).unwrap();
        stream.write_all(&got).unwrap();
    });
    let mut client = server.connect();
    client.send(b"POST /connect-ssh HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    let want = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: ssh\r\nConnection: Upgrade\r\n\r\n";
    let mut head = vec![0; want.len()];
    client.0.read_exact(&mut head).unwrap();
    assert_eq!(String::from_utf8_lossy(&head), want);
    client.send(b"ping");
    let mut rest = String::new();
    client.0.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "SSH-2.0-test\r\nping");
    sshd.join().unwrap();
    assert_eq!(server.ask("POST", "/connect-ssh", b"x").status, 400);
}

#[test]
fn halt_answers_first_and_then_ends_the_worker_with_everything_it_started() {
    let server = Server::start();
    let (pid, _) = server.sh("setsid sleep 1000 >/dev/null 2>&1 & echo $!");
    assert!(alive(&pid));
    let answer = server.ask("POST", "/halt", b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    server.ended().1.unwrap();
    assert!(!alive(&pid));
}
