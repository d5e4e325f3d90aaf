//! The command line: Go's flag syntax, because supervisors and images in the field were written for it (spec buildlet.md §2.1).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::{Config, Listen, Mode, Secret};
use crate::metadata::Metadata;
use crate::platform;

const HELP: &str = "\
The worker of a Burrow build farm.

It waits for a coordinator (listen mode) or dials one (reverse mode, when --reverse-type is given).

Usage: buildlet [FLAGS]

  --listen ADDR          HOST:PORT, :PORT or unix:PATH; AUTO is localhost:5936, on a cloud :80, or :443 with a certificate   (AUTO)
  --coordinator ADDR     the coordinator to dial, HOST:PORT   (localhost:8119)
  --reverse-type TYPE    dial the coordinator as a machine of this type
  --enroll TOKEN         become a known machine with a token from the coordinator; once
  --hostname NAME        name to advertise   ($HOSTNAME, else the system's)
  --workdir DIR          where builds happen; must exist. Without it a fresh directory below the temporary one
  --state-dir DIR        where records of executions and trees and the machine's key are kept
  --ca FILE              certificates to trust besides the web's, PEM
  --halt=BOOL            /halt powers this machine off   (true)
  --reboot=BOOL          /halt restarts this machine   (false)
  --exit-when-idle DUR   end after so long without requests and executions, e.g. 10m
  --health-addr ADDR     reverse mode: where /healthz is served, empty for nowhere   (0.0.0.0:8080)
  --ssh-port PORT        where /connect-ssh finds the SSH server   (the system's usual port)
  --dev=BOOL             reverse mode: join a Go coordinator in dev mode; its certificate is not checked   (false)
  --debug=BOOL           serve /debug/x and /debug/goroutines   (false)
  --version              print the version
  --help                 print this

Examples:
  buildlet --halt=false --workdir /tmp/w --listen unix:/run/buildlet.sock
  buildlet --halt=false --coordinator farm.example.com:443 --reverse-type linux-arm64 --enroll 1f0c….9a2b…
  META_tls_cert=@cert.pem META_tls_key=@key.pem META_password=@password buildlet --listen :443

Flags take one or two dashes, and values after a space or an equals sign.
";

/// Runs the worker with command-line arguments (without the program's name) to its end.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let environment: BTreeMap<String, String> = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
    let config = match parse(args, environment) {
        Ok(Parsed::Run(config)) => *config,
        Ok(Parsed::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("buildlet: {message}");
            return ExitCode::from(2);
        }
    };
    let level = std::env::var("RUST_LOG").ok().and_then(|l| l.parse::<tracing_subscriber::filter::LevelFilter>().ok());
    tracing_subscriber::fmt().with_max_level(level.unwrap_or(tracing_subscriber::filter::LevelFilter::INFO)).with_writer(std::io::stderr).init();
    platform::prepare_process();
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("buildlet: the runtime cannot start: {e}");
            return ExitCode::FAILURE;
        }
    };
    let result = burrow_task::block_on(&runtime, async {
        let shutdown = CancellationToken::new();
        burrow_task::spawn(platform::stop_signals(shutdown.clone()));
        crate::run(config, shutdown).await
    });
    // Blocking threads may sit in a system call that never ends; the process does.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("buildlet: {e}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug)]
enum Parsed {
    Run(Box<Config>),
    Print(String),
}

const TEXT_FLAGS: [&str; 12] = [
    "listen",
    "coordinator",
    "reverse-type",
    "enroll",
    "hostname",
    "workdir",
    "state-dir",
    "ca",
    "exit-when-idle",
    "health-addr",
    "gomote-server-addr",
    "ssh-port",
];
const BOOL_FLAGS: [&str; 7] = ["halt", "reboot", "debug", "dev", "swarming-bot", "version", "help"];

/// Splits arguments into names and values.
fn flags(args: impl IntoIterator<Item = OsString>) -> Result<BTreeMap<String, String>, String> {
    let mut out = BTreeMap::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let arg = arg.into_string().map_err(|a| format!("the argument {} is not UTF-8", a.to_string_lossy()))?;
        let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).filter(|f| !f.is_empty()) else {
            return Err(format!("unexpected argument {arg:?}; see --help"));
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let name = if name == "h" { "help" } else { name };
        let value = if BOOL_FLAGS.contains(&name) {
            let value = value.unwrap_or_else(|| "true".to_owned());
            protocol_buildlet::parse_bool(&value).ok_or_else(|| format!("--{name}={value}: give true or false"))?.to_string()
        } else if TEXT_FLAGS.contains(&name) {
            match value {
                Some(value) => value,
                None => args.next().and_then(|v| v.into_string().ok()).ok_or_else(|| format!("--{name} needs a value"))?,
            }
        } else {
            return Err(format!("unknown flag --{name}; see --help"));
        };
        out.insert(name.to_owned(), value);
    }
    Ok(out)
}

fn parse(args: impl IntoIterator<Item = OsString>, environment: BTreeMap<String, String>) -> Result<Parsed, String> {
    let flags = flags(args)?;
    let on = |name: &str| flags.get(name).is_some_and(|v| v == "true");
    let text = |name: &str| flags.get(name).map(String::as_str).unwrap_or_default();
    if on("help") {
        return Ok(Parsed::Print(HELP.to_owned()));
    }
    if on("version") {
        return Ok(Parsed::Print(format!(
            "buildlet {} (protocol {}, Burrow protocol {})\n{}-{}\n",
            env!("CARGO_PKG_VERSION"),
            protocol_buildlet::VERSION,
            protocol_buildlet::BURROW_PROTOCOL,
            platform::goos(),
            platform::goarch()
        )));
    }
    if on("swarming-bot") {
        return Err("--swarming-bot is not supported; let the machine join a coordinator with --reverse-type".to_owned());
    }
    let reverse_type = text("reverse-type").to_owned();
    let exit_when_idle = match text("exit-when-idle") {
        "" => None,
        duration => Some(parse_duration(duration).ok_or_else(|| format!("--exit-when-idle {duration}: give a duration like 90s, 10m or 1h30m"))?),
    };
    let mode = if reverse_type.is_empty() {
        let instance = Metadata::find(&environment)?;
        let metadata = |key: &str| instance.value(key);
        let tls = match (metadata("tls-cert")?, metadata("tls-key")?) {
            (Some(certificate), Some(key)) => Some((certificate, Secret::new(key))),
            (None, None) => None,
            _ => return Err("tls-cert and tls-key must be given both or not at all".to_owned()),
        };
        let address = match text("listen") {
            "" | "AUTO" => Listen::Tcp(auto_address(instance.on_cloud(), tls.is_some()).to_owned()),
            address => match address.strip_prefix("unix:") {
                Some("") => return Err("--listen unix: needs a path".to_owned()),
                Some(path) => Listen::Unix(PathBuf::from(path)),
                None => Listen::Tcp(address.to_owned()),
            },
        };
        Mode::Listen { address, tls, password: metadata("password")?.filter(|p| !p.is_empty()).map(Secret::new) }
    } else {
        let coordinator = match text("coordinator") {
            "" => "localhost:8119".to_owned(),
            "farmer.golang.org" => "farmer.golang.org:443".to_owned(),
            address => address.to_owned(),
        };
        let hostname = [text("hostname"), environment.get("HOSTNAME").map(String::as_str).unwrap_or_default()]
            .into_iter()
            .find(|n| !n.is_empty())
            .map(str::to_owned)
            .or_else(platform::hostname)
            .unwrap_or_else(|| "buildlet".to_owned());
        let health = flags.get("health-addr").map_or("0.0.0.0:8080", String::as_str);
        Mode::Reverse {
            build_key: build_key(&reverse_type, &environment)?,
            host_type: reverse_type.clone(),
            coordinator,
            hostname,
            health: (!health.is_empty()).then(|| health.to_owned()),
            enroll: flags.get("enroll").filter(|t| !t.is_empty()).cloned().map(Secret::new),
            proxy: ["HTTPS_PROXY", "https_proxy"].iter().find_map(|n| environment.get(*n)).filter(|p| !p.is_empty()).cloned(),
            dev: on("dev"),
        }
    };
    let work_dir = work_dir(text("workdir"), &reverse_type)?;
    let state_dir = match text("state-dir") {
        "" => default_state_dir(&work_dir, &environment),
        dir => PathBuf::from(dir),
    };
    Ok(Parsed::Run(Box::new(Config {
        mode,
        work_dir,
        state_dir,
        halt: flags.get("halt").is_none_or(|v| v == "true"),
        reboot: on("reboot"),
        ca: flags.get("ca").map(PathBuf::from),
        exit_when_idle,
        debug: on("debug"),
        owns_process: true,
        ssh_port: match text("ssh-port") {
            "" => None,
            port => Some(port.parse().map_err(|_| format!("--ssh-port {port}: give a port number"))?),
        },
        ready: None,
        environment,
    })))
}

fn auto_address(on_cloud: bool, tls: bool) -> &'static str {
    if cfg!(target_os = "macos") {
        ":5936"
    } else if !on_cloud {
        "localhost:5936"
    } else if tls {
        ":443"
    } else {
        ":80"
    }
}

/// The legacy key of a host type (spec buildlet.md §6.2); a missing default file is no key.
fn build_key(host_type: &str, environment: &BTreeMap<String, String>) -> Result<Option<Secret>, String> {
    let named = environment.get("GO_BUILD_KEY_PATH").filter(|p| !p.is_empty()).map(PathBuf::from);
    let home = environment.get("HOME").map(|h| Path::new(h).join(format!(".gobuildkey-{host_type}")));
    let Some(file) = named.clone().or(home) else { return Ok(None) };
    let key = match std::fs::read_to_string(&file) {
        Ok(key) => key.trim().to_owned(),
        Err(_) if named.is_none() => return Ok(None),
        Err(e) => return Err(format!("the build key {} cannot be read: {e}", file.display())),
    };
    if environment.get("GO_BUILD_KEY_DELETE_AFTER_READ").and_then(|v| protocol_buildlet::parse_bool(v)) == Some(true) {
        std::fs::remove_file(&file).map_err(|e| format!("the build key {} cannot be removed after reading: {e}", file.display()))?;
    }
    if key.is_empty() {
        return Err(format!("the build key {} is empty", file.display()));
    }
    Ok(Some(Secret::new(key)))
}

/// Spec buildlet.md §2.5.
fn work_dir(flag: &str, reverse_type: &str) -> Result<PathBuf, String> {
    if !flag.is_empty() {
        let path = PathBuf::from(flag);
        return match std::fs::symlink_metadata(&path) {
            Ok(_) => Ok(path),
            Err(e) => Err(format!("--workdir {flag}: {e}; create it first")),
        };
    }
    if let Some(given) = platform::system_work_dir() {
        return Ok(given);
    }
    let name = if reverse_type.is_empty() { "workdir".to_owned() } else { format!("workdir-{reverse_type}") };
    if name.contains(['/', '\\']) {
        return Err(format!("--reverse-type {reverse_type:?} is not a name"));
    }
    let path = std::env::temp_dir().join(name);
    let fresh = || -> std::io::Result<()> {
        if path.is_dir() {
            crate::workdir::WorkDir::new(&path)?.remove(".")?;
        }
        std::fs::create_dir_all(&path)
    };
    fresh().map_err(|e| format!("the work directory {} cannot be made fresh: {e}; give another with --workdir", path.display()))?;
    Ok(path)
}

/// Outside the work directory, one for each.
fn default_state_dir(work_dir: &Path, environment: &BTreeMap<String, String>) -> PathBuf {
    let base = match (environment.get("XDG_STATE_HOME"), environment.get("HOME")) {
        (Some(state), _) if Path::new(state).is_absolute() => PathBuf::from(state),
        (_, Some(home)) if Path::new(home).is_absolute() && home != "/" => Path::new(home).join(".local/state"),
        _ => std::env::temp_dir(),
    };
    base.join("burrow-buildlet").join(crate::worker::short_hash(work_dir.as_os_str().as_encoded_bytes()))
}

/// Go's durations, as far as people write them: `90s`, `10m`, `1h30m`, `250ms`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let unit_length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}
