//! What the tests need of the machine, and how to get it on Debian.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Something that tests need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    /// For people.
    pub(crate) name: &'static str,
    /// Debian's packages.
    packages: &'static [&'static str],
    there: fn() -> bool,
    /// What cannot be tested without it.
    pub(crate) without: &'static str,
}

pub(crate) const GIT: Tool = Tool { name: "git", packages: &["git"], there: || on_path("git"), without: "everything that needs a repository" };
pub(crate) const POSTGRES: Tool =
    Tool { name: "PostgreSQL", packages: &["postgresql"], there: || postgres_programs().is_some(), without: "rows on PostgreSQL" };
pub(crate) const NODE: Tool =
    Tool { name: "Node.js with npm", packages: &["nodejs", "npm"], there: || on_path("node") && on_path("npm"), without: "pages in a browser" };
pub(crate) const CHROMIUM: Tool = Tool { name: "Chromium", packages: &["chromium"], there: || on_path("chromium"), without: "pages in a browser" };
pub(crate) const CPLUSPLUS: Tool = Tool { name: "a C++ compiler", packages: &["g++"], there: || on_path("c++") || on_path("g++"), without: "fuzzing" };

pub(crate) const NETWORK: Tool = Tool {
    name: "iproute2 with nftables",
    packages: &["iproute2", "nftables"],
    there: || on_path("ip") && on_path("nft"),
    without: "machines in network namespaces",
};

pub(crate) const MAIL: Tool = Tool {
    name: "swaks and Postfix",
    // Swaks speaks TLS through the Perl module.
    packages: &["swaks", "libnet-ssleay-perl", "postfix"],
    there: || on_path("swaks") && (on_path("postfix") || Path::new("/usr/sbin/postfix").is_file()),
    without: "mail from real mail programs",
};

pub(crate) const SSHD: Tool = Tool {
    name: "the SSH server",
    packages: &["openssh-server"],
    there: || Path::new("/usr/sbin/sshd").is_file() || Path::new("/usr/bin/sshd").is_file(),
    without: "mirrors over SSH",
};

impl Tool {
    pub(crate) fn is_there(&self) -> bool {
        (self.there)()
    }
}

/// Installs what is missing, where that is possible; says what it does.
pub(crate) fn provide(tools: &[Tool]) {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !tool.is_there()).collect();
    if missing.is_empty() {
        return;
    }
    if !is_root() || !on_path("apt-get") {
        for tool in missing {
            println!(
                "xtask: {} is missing, so this is not tested: {}; as root on Debian: apt-get install {}",
                tool.name,
                tool.without,
                tool.packages.join(" ")
            );
        }
        return;
    }
    // Lists may be old or absent; without a network the install below may still find its packages in the cache.
    if !apt(&["update", "-qq"]) {
        println!("xtask: apt-get update failed (no network?); trying to install all the same");
    }
    for tool in missing {
        println!("xtask: {} is missing; installing {}", tool.name, tool.packages.join(" "));
        let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
        args.extend(tool.packages);
        if !apt(&args) || !tool.is_there() {
            println!("xtask: {} could not be installed, so this is not tested: {}", tool.name, tool.without);
        }
    }
}

fn apt(args: &[&str]) -> bool {
    let status = Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// Numbers of a user that may do nothing: PostgreSQL refuses to run as root.
pub(crate) fn nobody() -> Option<(u32, u32)> {
    let number = |flag| String::from_utf8(Command::new("id").args([flag, "nobody"]).output().ok()?.stdout).ok()?.trim().parse().ok();
    Some((number("-u")?, number("-g")?))
}

pub(crate) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Folder with `initdb` and `postgres` of the newest version; Debian keeps them off the path.
pub(crate) fn postgres_programs() -> Option<PathBuf> {
    let complete = |dir: &Path| ["initdb", "postgres"].iter().all(|name| dir.join(name).is_file());
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, dir)| complete(dir))
        .collect();
    versions.sort();
    let on_path = || std::env::var_os("PATH").and_then(|path| std::env::split_paths(&path).find(|dir| complete(dir)));
    versions.pop().map(|(_, dir)| dir).or_else(on_path)
}
