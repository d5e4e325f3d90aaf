//! Executions and trees (docs/worker-protocol.md) over a real socket.
#![cfg(unix)]

mod server;

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use server::*;
use tar::EntryType;

fn put(server: &Server, id: &str, wait: u32, request: &Value) -> (u16, Value) {
    server.json("PUT", &format!("/executions/{id}?wait_ms={wait}"), &request.to_string())
}

fn sh(script: &str) -> Value {
    json!({"cmd": "/bin/sh", "args": ["-c", script]})
}

#[test]
fn an_execution_is_started_once_and_its_end_can_be_asked_for_again() {
    let server = Server::start();
    let request = sh("echo out; echo err >&2; echo more > /dev/stderr; exit 7");
    let (status, state) = put(&server, "a.b-1_2", 60_000, &request);
    assert_eq!(status, 201);
    assert_eq!((&state["state"], &state["exit_code"], &state["process_state"]), (&json!("exited"), &json!(7), &json!("exit status 7")));
    assert_eq!(state["output_bytes"], 13);
    assert!(state["ended_ms"].as_u64() >= state["started_ms"].as_u64() && state["max_rss_bytes"].as_u64() > Some(0), "{state}");
    assert_eq!(put(&server, "a.b-1_2", 0, &request), (200, state.clone()));
    assert_eq!(put(&server, "a.b-1_2", 0, &sh("other")).0, 409);
    assert_eq!(server.json("GET", "/executions", ""), (200, json!([state])));
    let output = server.ask("GET", "/executions/a.b-1_2/output", b"");
    assert_eq!((output.text().as_str(), output.header("x-output-offset").as_deref()), ("out\nerr\nmore\n", Some("0")));
    let rest = server.ask("GET", "/executions/a.b-1_2/output?offset=8&follow=1", b"");
    assert_eq!((rest.text().as_str(), rest.header("x-output-offset").as_deref()), ("more\n", Some("8")));
    assert_eq!(server.ask("GET", "/executions/a.b-1_2/output?offset=13", b"").text(), "");
    assert_eq!(server.ask("GET", "/executions/a.b-1_2/output?offset=14", b"").status, 416);
    assert_eq!(server.json("DELETE", "/executions/a.b-1_2?purge=1", "").0, 200);
    for target in ["/executions/a.b-1_2", "/executions/a.b-1_2/output"] {
        assert_eq!(server.json("GET", target, "").0, 404);
    }
    for (id, body) in [(".x", "{}"), ("a%20b", "{}"), ("x", "{}"), ("x", "{\"cmd\":\"a\",\"shell\":true}"), ("x", "{\"cmd\":\"true\",\"dir\":\"..\"}")] {
        let (status, error) = server.json("PUT", &format!("/executions/{id}"), body);
        assert!(status == 400 && error["error"].is_string(), "{id} {body}: {status} {error}");
    }
}

#[test]
fn a_request_that_was_meant_for_another_start_of_the_worker_is_refused() {
    let server = Server::start();
    let (_, status) = server.json("GET", "/status", "");
    let own = status["Burrow"]["instance"].as_str().unwrap().to_owned();
    let start = |instance: &str| {
        let header = format!("X-Burrow-Instance: {instance}");
        server.connect().ask("PUT", "/executions/x?wait_ms=60000", &[&header], sh("echo once >> ran").to_string().as_bytes()).status
    };
    assert_eq!(start("0123456789abcdef0123456789abcdef"), 412);
    assert!(!server.work().join("ran").exists());
    assert_eq!((start(&own), start(&own)), (201, 200));
    assert_eq!(std::fs::read_to_string(server.work().join("ran")).unwrap(), "once\n");
}

#[test]
fn what_cannot_start_says_why() {
    let server = Server::start();
    for (request, words) in [
        (json!({"cmd": "nosuchprogram"}), "not found"),
        (json!({"cmd": "/etc"}), "fork/exec /etc: permission denied"),
        (json!({"cmd": "true", "dir": "missing"}), "no such file or directory"),
    ] {
        let id = words.replace([' ', '/', ':'], "-");
        let (status, state) = put(&server, &id, 0, &request);
        assert_eq!((status, &state["state"], &state["exit_code"]), (201, &json!("exited"), &Value::Null), "{state}");
        assert!(state["error"].as_str().unwrap().contains(words), "{state}");
    }
}

#[test]
fn output_is_followed_from_any_offset_while_it_is_written() {
    let server = Server::start();
    let fifo = server.work().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert_eq!(put(&server, "x", 0, &sh("echo one; while read a; do echo $a; done < fifo")).0, 201);
    let mut whole = server.connect();
    whole.send(b"GET /executions/x/output?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(whole.head().status, 200);
    assert_eq!(whole.chunk().unwrap(), b"one\n");
    // A second reader comes later, after a lost connection, and goes on where it was.
    let mut again = server.connect();
    again.send(b"GET /executions/x/output?offset=2&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(again.head().header("x-output-offset").as_deref(), Some("2"));
    assert_eq!(again.chunk().unwrap(), b"e\n");
    // Opened once: a reader that opens it anew may meet the writer of before, on its way out, and take that for the end.
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    for word in ["two\n", "last\n"] {
        pipe.write_all(word.as_bytes()).unwrap();
        assert_eq!(whole.chunk().unwrap(), word.as_bytes());
        assert_eq!(again.chunk().unwrap(), word.as_bytes());
    }
    drop(pipe);
    for client in [&mut whole, &mut again] {
        assert_eq!(client.chunk().unwrap(), b"");
    }
}

#[test]
fn a_hundred_megabytes_come_through_whole() {
    let server = Server::start();
    let state = server.execute("big", "head -c 100000000 /dev/zero | tr '\\0' x; echo end");
    assert_eq!(state["output_bytes"], 100_000_004);
    let output = server.ask("GET", "/executions/big/output?offset=99999990", b"");
    assert_eq!(output.text(), "xxxxxxxxxxend\n");
    let all = server.ask("GET", "/executions/big/output?follow=1", b"");
    assert!(all.complete && all.body.len() == 100_000_004);
}

#[test]
fn limits_of_time_and_silence_end_the_whole_tree() {
    let server = Server::start();
    let script = "setsid sleep 1000 & echo $!; sleep 1000";
    for (key, why) in [("timeout_ms", "timeout"), ("idle_timeout_ms", "idle_timeout")] {
        let mut request = sh(script);
        request[key] = json!(300);
        let (_, state) = put(&server, key, 60_000, &request);
        assert_eq!((&state["stopped_by"], &state["signal"], &state["process_state"]), (&json!(why), &json!("killed"), &json!("signal: killed")), "{state}");
        let pid = server.ask("GET", &format!("/executions/{key}/output"), b"").text();
        assert!(!alive(&pid));
    }
    // Output keeps an execution from being idle.
    let mut chatty = sh("for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 0.1; done");
    chatty["idle_timeout_ms"] = json!(800);
    assert_eq!(put(&server, "chatty", 60_000, &chatty).1["stopped_by"], Value::Null);
}

#[test]
fn killing_takes_grandchildren_that_ran_away() {
    let server = Server::start();
    put(&server, "x", 0, &sh("setsid sh -c 'sleep 1000 & echo $! > pid' & wait; exec sleep 1000"));
    let file = server.work().join("pid");
    eventually("the grandchild", || std::fs::read_to_string(&file).is_ok_and(|p| p.ends_with('\n')));
    let pid = std::fs::read_to_string(&file).unwrap();
    assert!(alive(&pid));
    let (status, state) = server.json("DELETE", "/executions/x", "");
    assert_eq!((status, &state["state"], &state["stopped_by"]), (200, &json!("exited"), &json!("killed")));
    assert!(!alive(&pid));
    assert_eq!(server.json("DELETE", "/executions/x?purge=1", "").0, 200);
    assert_eq!(server.json("DELETE", "/executions/x", "").0, 404);
}

#[test]
fn the_environment_is_small_clean_and_the_requests_own() {
    let server = Server::start();
    let mut request = sh("env; pwd");
    request["env"] = json!(["A=1", "TMPDIR=/own"]);
    request["path"] = json!(["$WORKDIR/bin", "$PATH"]);
    request["dir"] = json!("tmp");
    assert_eq!(put(&server, "x", 60_000, &request).1["exit_code"], 0);
    let output = server.ask("GET", "/executions/x/output", b"").text();
    let work = server.work().display().to_string();
    let names: Vec<&str> = output.lines().filter_map(|l| l.split_once('=')).map(|(n, _)| n).collect();
    for name in ["HOME", "LC_TEST", "GOCACHE", "WORKDIR"] {
        assert!(names.contains(&name), "{name} is missing:\n{output}");
    }
    assert!(!names.contains(&"ANDROID_HOME") && !output.contains("secret-"), "{output}");
    assert!(output.contains("A=1\n") && output.contains("TMPDIR=/own\n"), "{output}");
    assert!(output.contains(&format!("PATH={work}/bin:/usr/local/bin:/usr/bin:/bin\n")), "{output}");
    assert!(output.ends_with(&format!("{work}/tmp\n")), "{output}");
}

#[test]
fn a_restart_of_the_worker_keeps_ended_executions_and_ends_running_ones() {
    let server = Server::start();
    let ended = server.execute("ended", "echo kept");
    put(&server, "running", 0, &sh("echo started; setsid sleep 1000 >/dev/null 2>&1 & echo $! > pid; sleep 1000"));
    let file = server.work().join("pid");
    eventually("the start", || std::fs::read_to_string(&file).is_ok_and(|p| p.ends_with('\n')));
    let pid = std::fs::read_to_string(&file).unwrap();
    let dirs = server.stop();
    assert!(!alive(&pid));
    let server = Server::again(dirs);
    assert_eq!(server.json("GET", "/executions/ended", ""), (200, ended));
    assert_eq!(server.ask("GET", "/executions/ended/output", b"").text(), "kept\n");
    let (_, state) = server.json("GET", "/executions/running", "");
    assert_eq!((&state["state"], &state["stopped_by"]), (&json!("exited"), &json!("killed")), "{state}");
}

#[test]
fn one_worker_per_state_directory() {
    let server = Server::start();
    let mode = burrow_buildlet::Mode::Listen { address: burrow_buildlet::Listen::Unix(server.dirs.path().join("other")), tls: None, password: None };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let config = config(server.dirs.path(), mode);
    let error = runtime.block_on(burrow_buildlet::run(config, tokio_util::sync::CancellationToken::new())).unwrap_err();
    assert!(error.to_string().contains("another worker uses the state directory"), "{error}");
}

#[test]
fn memory_and_process_limits_hold_for_the_whole_tree() {
    let server = Server::start();
    let mut request = sh("head -c 300000000 /dev/zero | tail -c 299999999 | wc -c; echo survived");
    request["memory_bytes"] = json!(50_000_000);
    let (_, state) = put(&server, "memory", 60_000, &request);
    let groups = std::path::Path::new("/sys/fs/cgroup/memory/cgroup.procs").exists() || state["stopped_by"] == json!("memory");
    if groups {
        assert_eq!(state["stopped_by"], json!("memory"), "{state}");
    } else {
        println!("SKIPPED: the kernel lets this worker make no memory control groups; limits are per process");
    }
    let mut request = sh("for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2 & done; wait; echo done");
    request["max_processes"] = json!(4);
    let (_, state) = put(&server, "processes", 60_000, &request);
    let output = server.ask("GET", "/executions/processes/output", b"").text();
    if groups {
        assert!(output.contains("ork") && state["exit_code"] != json!(0), "{state} {output}");
    }
}

#[test]
fn a_cut_network_leaves_only_loopback() {
    let server = Server::start();
    let mut request =
        sh("cat /proc/net/dev | tail -n +3 | cut -d: -f1; cat /sys/class/net/lo/flags 2>/dev/null; ip -o addr 2>/dev/null | wc -l; exec 3<>/dev/null");
    request["network"] = json!("none");
    let (_, state) = put(&server, "cut", 60_000, &request);
    if state["error"].as_str().is_some_and(|e| e.contains("network could not be cut")) {
        println!("SKIPPED: the kernel lets this worker make no network namespaces");
        return;
    }
    let output = server.ask("GET", "/executions/cut/output", b"").text();
    assert_eq!(output.lines().next().unwrap().trim(), "lo", "{output}");
    assert!(!output.contains("eth"), "{output}");
    // Talking to oneself works.
    if std::path::Path::new("/usr/bin/python3").exists() {
        let script = "import socket\ns=socket.create_server(('127.0.0.1',0))\nc=socket.create_connection(s.getsockname())\nprint('self')\n\
            try:\n socket.create_connection(('192.0.2.1',9),1)\nexcept OSError as e: print(e.errno)\n";
        let request = json!({"cmd": "/usr/bin/python3", "args": ["-c", script], "network": "none"});
        put(&server, "self", 60_000, &request);
        // 101: network is unreachable.
        assert_eq!(server.ask("GET", "/executions/self/output", b"").text(), "self\n101\n");
    }
}

fn tree(server: &Server, base: &str, want: &str, tar: Vec<u8>) -> (u16, Value) {
    let answer = server.ask("POST", &format!("/tree?dir=src&base={base}&want={want}"), &tar);
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

fn prepare(server: &Server) -> Value {
    let (status, mut reply) = server.json("POST", "/prepare", r#"{"keep":["src"]}"#);
    assert_eq!(status, 200, "{reply}");
    reply["trees"]["src"].take()
}

fn commit() -> Tar {
    Tar::default()
        .file("go.mod", "module x\n")
        .script("all.bash", "#!/bin/sh\n")
        .file("a/one.go", "one")
        .file("a/two.go", "two")
        .file("a/b/three.go", "three")
        .link(EntryType::Symlink, "link", "a/b")
        .link(EntryType::Symlink, "nowhere", "/etc/missing")
        .link(EntryType::Link, "hard.go", "a/one.go")
        .entry("empty/", EntryType::Directory, 0o700, 0, "", b"")
}

fn listing(server: &Server) -> String {
    server.ask("GET", "/ls?dir=src&recursive=1&digest=1", b"").text()
}

#[test]
fn what_a_build_did_to_a_tree_is_found_and_undone() {
    let server = Server::start();
    assert_eq!(prepare(&server), json!({"tree": null, "dirty": []}));
    assert_eq!(tree(&server, "", "c1", commit().finish()), (200, json!({"tree": "c1", "dirty": []})));
    let clean = listing(&server);
    assert!(clean.contains("-rwxr-xr-x\tall.bash\t") && clean.contains("drwxr-xr-x\tempty/") && clean.contains("\thard.go\t3\t"), "{clean}");
    assert_eq!(prepare(&server), json!({"tree": "c1", "dirty": []}));

    let script = "cd src; rm a/two.go; touch new a/new; mkdir -p deep/er; echo x > deep/er/x
        printf ONE > a/one.go; touch -d '2001-09-09 01:46:40Z' a/one.go
        chmod 700 all.bash; touch go.mod; chmod 777 a; ln go.mod ../other-name
        rm link; ln -s a link; rm -r a/b; echo file > a/b; rmdir empty; rm nowhere; mkdir nowhere; touch nowhere/x
        mkdir ../junk; touch ../gocache/cached";
    let state = server.execute("damage", script);
    assert_eq!(state["exit_code"], 0, "{}", server.ask("GET", "/executions/damage/output", b"").text());
    let found = prepare(&server);
    // `hard.go` is the same file as `a/one.go`. Mode and time of unchanged files are put right without sending.
    assert_eq!(found, json!({"tree": "c1", "dirty": ["a/b/three.go", "a/one.go", "a/two.go", "hard.go", "link", "nowhere"]}));
    assert_eq!(prepare(&server), found, "it stays so until they are sent");
    let names: Vec<_> = std::fs::read_dir(server.work()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.contains(&"junk".to_owned()) && !server.work().join("gocache/cached").exists(), "{names:?}");

    let again = Tar::default()
        .file("a/one.go", "one")
        .file("a/two.go", "two")
        .file("a/b/three.go", "three")
        .link(EntryType::Symlink, "link", "a/b")
        .link(EntryType::Symlink, "nowhere", "/etc/missing")
        .link(EntryType::Link, "hard.go", "a/one.go");
    assert_eq!(tree(&server, "c1", "c1", again.finish()), (200, json!({"tree": "c1", "dirty": []})));
    assert_eq!(listing(&server), clean);
    assert_eq!(prepare(&server), json!({"tree": "c1", "dirty": []}));
}

#[test]
fn the_next_commit_costs_only_its_difference_and_leaves_no_empty_directories() {
    let server = Server::start();
    tree(&server, "", "c1", commit().finish());
    assert_eq!(tree(&server, "c0", "c2", Tar::default().finish()).0, 409);
    let difference = Tar::default()
        .entry(".burrow-delete", EntryType::Regular, 0o644, 0, "", b"a/b/three.go\0hard.go\0missing\0")
        .file("a/four.go", "four")
        .script("go.mod", "now a script\n");
    let answer = server.connect().ask("POST", "/tree?dir=src&base=c1&want=c2", &["Content-Encoding: gzip"], &difference.gz());
    assert_eq!(answer.text(), r#"{"tree":"c2","dirty":[]}"#);
    let now = listing(&server);
    assert!(!now.contains("a/b") && !now.contains("hard") && now.contains("empty/") && now.contains("-rwxr-xr-x\tgo.mod\t13"), "{now}");
    // A file that a build had linked elsewhere is replaced, not written into.
    server.execute("link", "ln src/a/four.go kept");
    tree(&server, "c2", "c3", Tar::default().file("a/four.go", "FOUR").file("a/one.go/now-a-dir", "x").finish());
    assert_eq!(std::fs::read_to_string(server.work().join("kept")).unwrap(), "four");
    assert_eq!(std::fs::read_to_string(server.work().join("src/a/one.go/now-a-dir")).unwrap(), "x");
    // The record survives the worker.
    let server = Server::again(server.stop());
    assert_eq!(prepare(&server), json!({"tree": "c3", "dirty": []}));
    // Another tree from nothing replaces everything.
    tree(&server, "", "other", Tar::default().file("only", "").finish());
    assert_eq!(listing(&server).lines().count(), 1);
    let (_, reply) = server.json("POST", "/prepare", "{}");
    assert_eq!(reply, json!({"trees": {}}));
    assert!(!server.work().join("src").exists());
    assert_eq!(prepare(&server), json!({"tree": null, "dirty": []}));
}

#[test]
fn a_tar_that_breaks_off_leaves_an_unknown_tree() {
    let server = Server::start();
    tree(&server, "", "c1", commit().finish());
    let mut cut = Tar::default().file("go.mod", &"x".repeat(5000)).finish();
    cut.truncate(3000);
    let (status, error) = tree(&server, "c1", "c2", cut);
    assert_eq!(status, 500, "{error}");
    assert_eq!(tree(&server, "c1", "c2", Tar::default().finish()).0, 409);
    assert_eq!(prepare(&server), json!({"tree": null, "dirty": []}));
    assert_eq!(listing(&server), "");
    for bad in [
        Tar::default().file("../x", ""),
        Tar::default().file("/x", ""),
        Tar::default().file("a/../b", ""),
        Tar::default().link(EntryType::Fifo, "f", ""),
        Tar::default().link(EntryType::Link, "l", "missing"),
    ] {
        assert_eq!(tree(&server, "", "bad", bad.finish()).0, 400);
    }
}

#[test]
fn links_in_a_tree_do_not_lead_the_next_tar_out_of_it() {
    let server = Server::start();
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    tree(&server, "", "c1", Tar::default().link(EntryType::Symlink, "out", target).file("d/x", "").finish());
    tree(&server, "c1", "c2", Tar::default().file("out/evil", "evil").finish());
    // A build puts a link where the tree has a directory.
    server.execute("plant", &format!("rm -r src/d; ln -s {target} src/d"));
    tree(&server, "c2", "c3", Tar::default().file("d/evil", "evil").finish());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(std::fs::read_to_string(server.work().join("src/d/evil")).unwrap(), "evil");
    server.execute("plant2", &format!("rm -r src; ln -s {target} src"));
    assert_eq!(prepare(&server)["dirty"].as_array().unwrap().len(), 3);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(server.work().join("src").symlink_metadata().unwrap().is_dir());
}

#[test]
fn preparing_ends_what_earlier_builds_left_running() {
    let server = Server::start();
    let (left, _) = server.sh("setsid sleep 1000 >/dev/null 2>&1 & echo $!");
    put(&server, "x", 0, &sh("echo $$ > pid; sleep 1000"));
    let file = server.work().join("pid");
    eventually("the start", || std::fs::read_to_string(&file).is_ok_and(|p| p.ends_with('\n')));
    let running = std::fs::read_to_string(&file).unwrap();
    prepare(&server);
    assert!(!alive(&left) && !alive(&running));
    assert_eq!(server.json("GET", "/executions/x", "").1["stopped_by"], "killed");
}

#[test]
fn an_idle_worker_ends_by_itself_but_not_while_something_runs() {
    let dirs = tempfile::tempdir().unwrap();
    let mode = burrow_buildlet::Mode::Listen { address: burrow_buildlet::Listen::Unix(dirs.path().join("sock")), tls: None, password: None };
    let mut config = config(dirs.path(), mode);
    config.exit_when_idle = Some(Duration::from_millis(200));
    let server = Server::with(dirs, config);
    let started = put(&server, "x", 0, &sh("sleep 1; echo done")).1;
    let (dirs, result) = server.ended();
    result.unwrap();
    let record: Value = serde_json::from_slice(&std::fs::read(dirs.path().join("s/executions/x/exit.json")).unwrap()).unwrap();
    assert_eq!((&record["exit_code"], &record["started_ms"]), (&json!(0), &started["started_ms"]));
}
