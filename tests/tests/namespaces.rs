//! Machines that nobody can reach: two buildlets in network namespaces of their own, whose firewalls let nothing in, join by the connection they open. Then the
//! coordinator is killed, and what they run goes on.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use burrow_tests::{all_ended, build, builds, json, log};
use testkit_harness::git::Repository;
use testkit_harness::process::Process;
use testkit_harness::{Burrow, burrow, skip};

/// A namespace with one link to us; gone with the handle.
struct Namespace {
    name: String,
    link: String,
    /// Our end of the link.
    here: String,
    /// Its end.
    there: String,
}

fn ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).output().is_ok_and(|done| done.status.success())
}

impl Namespace {
    fn new(number: u32) -> Option<Namespace> {
        // Names of interfaces are short; the process id keeps parallel runs apart.
        let id = std::process::id() % 100_000;
        let (name, link) = (format!("burrow-{id}-{number}"), format!("bw{id}x{number}"));
        let (low, high) = (id % 250, (id / 250) % 64 * 4 + number);
        let (here, there) = (format!("10.{}.{high}.1", 180 + low % 60), format!("10.{}.{high}.2", 180 + low % 60));
        let namespace = Namespace { name, link, here, there };
        let made = ip(&["netns", "add", &namespace.name])
            && ip(&["link", "add", &namespace.link, "type", "veth", "peer", "name", "eth0", "netns", &namespace.name])
            && ip(&["addr", "add", &format!("{}/30", namespace.here), "dev", &namespace.link])
            && ip(&["link", "set", &namespace.link, "up"])
            && ip(&["-n", &namespace.name, "addr", "add", &format!("{}/30", namespace.there), "dev", "eth0"])
            && ip(&["-n", &namespace.name, "link", "set", "eth0", "up"])
            && ip(&["-n", &namespace.name, "link", "set", "lo", "up"])
            && namespace.close();
        made.then_some(namespace)
    }

    /// Lets in only answers to what was asked from inside.
    fn close(&self) -> bool {
        let rules = "add table inet f; add chain inet f in { type filter hook input priority 0; policy drop; }; add rule inet f in iif lo accept; \
                     add rule inet f in ct state established,related accept";
        Command::new("ip").args(["netns", "exec", &self.name, "nft", rules]).output().is_ok_and(|done| done.status.success())
    }

    /// A worker inside, with state in `dir`.
    fn buildlet(&self, dir: &Path, port: u16, token: &str) -> Process {
        let home = dir.join(&self.name);
        std::fs::create_dir_all(home.join("work")).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(burrow::executable("buildlet"));
        command.args(["--halt=false", "--health-addr", "127.0.0.1:0", "--reverse-type", "lent", "--hostname", &self.name, "--enroll", token]);
        command.args(["--coordinator", &format!("{}:{port}", self.here)]);
        command.arg("--workdir").arg(home.join("work")).arg("--state-dir").arg(home.join("state"));
        Process::start(command, Some(&home))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["link", "del", &self.link]);
        ip(&["netns", "del", &self.name]);
    }
}

/// A port that is free on every address.
fn free_port() -> u16 {
    std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn machines_behind_closed_doors_join_build_and_survive_their_coordinator() {
    let (Some(one), Some(two)) = (Namespace::new(1), Namespace::new(2)) else {
        skip("network namespaces with a firewall cannot be made (root, iproute2 and nftables)");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::create(dir.path().join("lent"));
    let open = dir.path().join("open");
    let script = format!("#!/bin/sh\necho \"$(ls /sys/class/net | tr '\\n' ' ')\"\nwhile [ ! -e {} ]; do sleep 0.05; done\necho through\n", open.display());
    repository.script("wait.sh", &script);
    repository.commit("first");
    repository.write("more", "");
    repository.commit("second");
    let port = free_port();
    let config = dir.path().join("farm.toml");
    std::fs::write(
        &config,
        format!(
            "schema = 1\n[site]\nworker_listen = \"0.0.0.0:{port}\"\n[pool.lent]\nkind = \"reverse\"\n[host.lent]\npool = \"lent\"\nexpect = 2\n[project.p]\nmain_branch = \"main\"\n\
             [repo.p]\nproject = \"p\"\nurl = {:?}\n[recipe.r]\nstep = [{{ name = \"wait\", run = [\"./wait.sh\"] }}]\n[builder.b]\nhost = \"lent\"\nrecipe = \"r\"\n",
            repository.arg()
        ),
    )
    .unwrap();
    let args = ["coordinator", "--config", config.to_str().unwrap(), "--data", "data", "--listen", "127.0.0.1:0"];
    let mut first = Burrow::serving(dir.path(), &args);
    let enroll = |burrow: &Burrow| {
        let url = format!("http://{}", burrow.address);
        let told = burrow::run(dir.path(), &["machine", "--coordinator", &url, "enroll", "--host-type", "lent"]).text();
        let token = told.split_whitespace().find(|word| word.len() == 97 && word.contains('.'));
        token.unwrap_or_else(|| panic!("no token in {told}")).to_owned()
    };
    let spent = enroll(&first);
    let _one = one.buildlet(dir.path(), port, &spent);
    let _two = two.buildlet(dir.path(), port, &enroll(&first));
    first.until("two running builds", |burrow| (builds(burrow, "state=running").len() == 2).then_some(()));
    let machines = json(&first, "/machines.json");
    assert_eq!(machines["host_types"][0]["connected"], 2, "{machines}");
    assert!(std::net::TcpStream::connect_timeout(&format!("{}:8080", one.there).parse().unwrap(), std::time::Duration::from_millis(300)).is_err());

    first.process.kill();
    std::mem::forget(first);
    let second = Burrow::serving(dir.path(), &args);
    second.until("both machines again", |burrow| (json(burrow, "/machines.json")["host_types"][0]["busy"] == 2).then_some(()));
    std::fs::write(&open, "").unwrap();
    for line in all_ended(&second, 2) {
        let whole = build(&second, line["id"].as_i64().unwrap());
        assert_eq!(line["state"], "passed", "{whole}");
        assert_eq!(whole["attempts_list"].as_array().unwrap().len(), 1, "the build went on: {whole}");
        let text = String::from_utf8(log(&second, &whole)).unwrap();
        assert!(text.contains("eth0") && text.matches("through").count() == 1, "{text}");
    }
    // A token is good once.
    let refused = one.buildlet(&dir.path().join("again"), port, &spent).wait();
    assert_ne!(refused.code(), 0, "{}", refused.text());
}
