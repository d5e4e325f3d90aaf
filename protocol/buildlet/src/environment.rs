//! Which variables of a worker's own environment its executions inherit: enough to find programs, homes, caches, proxies and certificates, and nothing that
//! is anybody's secret. The coordinator hands the same ones to the worker processes it starts, because a build can read its worker's environment.

/// Names that are inherited; `LC_*` are too.
pub const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    // Certificates of a network that inspects its traffic, as the usual tools know them.
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "LD_LIBRARY_PATH",
    "XDG_RUNTIME_DIR",
    // Where toolchains live and where they keep what they fetched.
    "CARGO_HOME",
    "GOFLAGS",
    "GOMODCACHE",
    "GOPATH",
    "GOPROXY",
    "GOSUMDB",
    "JAVA_HOME",
    "RUSTUP_HOME",
    // Windows cannot start most programs without these.
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "WINDIR",
    "COMSPEC",
    "PATHEXT",
    "USERPROFILE",
    "APPDATA",
    "LOCALAPPDATA",
    "PROGRAMDATA",
    "PROGRAMFILES",
    "NUMBER_OF_PROCESSORS",
    "PROCESSOR_ARCHITECTURE",
];

/// Whether a variable is inherited. `fold_case`: as on Windows, where names have no case.
#[must_use]
pub fn is_inherited(name: &str, fold_case: bool) -> bool {
    let same = |kept: &&str| if fold_case { kept.eq_ignore_ascii_case(name) } else { **kept == *name };
    name.starts_with("LC_") || INHERITED.iter().any(same)
}
