//! From a request's words to a program, a directory and an environment (spec buildlet.md §4.1, §4.3).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use protocol_buildlet::ExecRequest;
use protocol_buildlet::expand::{PathStyle, dedup_env, env_value, expand_path, is_secret_variable};
use protocol_buildlet::form::ExecForm;

use crate::platform::{self, Limits, SpawnSpec};
use crate::workdir::WorkDir;

/// Why a request names nothing that could be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("requires 'cmd' parameter")]
    NoCommand,
    #[error("invalid 'cmd' parameter: command {0:?} not found")]
    NotFound(String),
    #[error("no sys-mode command can be relative to the work directory")]
    SystemRelative,
    #[error("invalid 'cmd' parameter: {0}")]
    Command(protocol_buildlet::PathError),
    #[error("invalid 'dir' parameter: {0}")]
    Dir(protocol_buildlet::PathError),
}

impl CommandError {
    /// The classic status: 422 for a name that is not in PATH, else 400.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::NotFound(_) => 422,
            _ => 400,
        }
    }
}

/// The environment the worker was started with, cleaned once.
#[derive(Clone, Debug)]
pub(crate) struct BaseEnv {
    /// Without secrets: what `/exec` inherits.
    inherited: Vec<String>,
    /// The few that executions inherit.
    minimal: Vec<String>,
    style: PathStyle,
}

impl BaseEnv {
    pub(crate) fn new(environment: &BTreeMap<String, String>) -> Self {
        let style = PathStyle::of(platform::goos());
        let keep = |name: &str| protocol_buildlet::environment::is_inherited(name, style.fold_case);
        let pairs = environment.iter().filter(|(name, _)| !is_secret_variable(name));
        let mut minimal: Vec<String> = pairs.clone().filter(|(name, _)| keep(name)).map(|(n, v)| format!("{n}={v}")).collect();
        let mut inherited: Vec<String> = pairs.map(|(n, v)| format!("{n}={v}")).collect();
        for list in [&mut minimal, &mut inherited] {
            // A worker started by init has no PATH; nothing could be found then.
            if env_value(list, style.variable, style.fold_case).is_none() && style == PathStyle::UNIX {
                list.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
            }
        }
        Self { inherited, minimal, style }
    }

    /// The value of one inherited variable.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        env_value(&self.inherited, name, self.style.fold_case)
    }
}

/// A classic request made ready. The second value is the line of `debug`, if asked for.
pub(crate) fn classic(form: &ExecForm, base: &BaseEnv, work: &WorkDir, bootstrap: &str) -> Result<(SpawnSpec, Option<String>), CommandError> {
    if form.cmd.is_empty() {
        return Err(CommandError::NoCommand);
    }
    let program = find(&form.cmd, form.system, base, work)?;
    let dir = match form.dir.as_str() {
        "" if form.system => work.path().to_path_buf(),
        "" => program.parent().map_or_else(|| work.path().to_path_buf(), Path::to_path_buf),
        dir if Path::new(dir).is_absolute() => PathBuf::from(dir),
        dir => {
            work.check(dir).map_err(CommandError::Dir)?;
            work.path().join(dir)
        }
    };
    let mut env = base.inherited.clone();
    env.push(format!("GOROOT_BOOTSTRAP={bootstrap}"));
    env.extend(form.env.iter().cloned());
    env.extend(work.variables());
    finish_env(&mut env, &form.path, base, work, &dir);
    // Mobile systems have no working `#!`.
    let (program, args) = if matches!(platform::goos(), "android" | "ios") && form.cmd.ends_with(".bash") {
        let mut args = vec![program.display().to_string()];
        args.extend(form.args.iter().cloned());
        (find("bash", true, base, work)?, args)
    } else {
        (program, form.args.clone())
    };
    let line = form.debug.then(|| {
        // Go's argument list begins with the program itself.
        let all: Vec<String> = std::iter::once(program.display().to_string()).chain(args.iter().cloned()).collect();
        format!(":: Running {} with args {} and env {} in dir {}\n\n", program.display(), go_list(&all), go_list(&env), dir.display())
    });
    Ok((SpawnSpec { program, args, env, dir, limits: Limits::default(), cut_network: false, cookie: String::new() }, line))
}

/// An execution's request made ready.
pub(crate) fn execution(request: &ExecRequest, base: &BaseEnv, work: &WorkDir) -> Result<SpawnSpec, CommandError> {
    if request.cmd.is_empty() {
        return Err(CommandError::NoCommand);
    }
    let program = find(&request.cmd, false, base, work)?;
    let dir = if request.dir.is_empty() {
        work.path().to_path_buf()
    } else {
        work.check(&request.dir).map_err(CommandError::Dir)?;
        work.path().join(&request.dir)
    };
    let mut env = base.minimal.clone();
    env.extend(work.variables());
    env.extend(request.env.iter().cloned());
    finish_env(&mut env, &request.path, base, work, &dir);
    Ok(SpawnSpec {
        program,
        args: request.args.clone(),
        env,
        dir,
        limits: Limits { memory_bytes: request.memory_bytes, max_processes: request.max_processes },
        cut_network: request.network == protocol_buildlet::Network::None,
        cookie: String::new(),
    })
}

fn finish_env(env: &mut Vec<String>, path: &[String], base: &BaseEnv, work: &WorkDir, dir: &Path) {
    if let Some(path) = expand_path(path, env, &work.path().display().to_string(), base.style) {
        env.push(format!("{}={path}", base.style.variable));
    }
    env.push(format!("PWD={}", dir.display()));
    // A NUL would cut the entry short in the kernel.
    env.retain(|entry| !entry.contains('\0'));
    *env = dedup_env(std::mem::take(env), base.style.fold_case);
}

fn find(cmd: &str, system: bool, base: &BaseEnv, work: &WorkDir) -> Result<PathBuf, CommandError> {
    if cmd.contains('\0') {
        return Err(CommandError::Command(protocol_buildlet::PathError::Nul));
    }
    if Path::new(cmd).is_absolute() {
        return Ok(PathBuf::from(protocol_buildlet::path::clean(cmd)));
    }
    if cmd.contains('/') || (cfg!(windows) && cmd.contains('\\')) {
        if system {
            return Err(CommandError::SystemRelative);
        }
        work.check(cmd).map_err(CommandError::Command)?;
        return Ok(work.path().join(cmd));
    }
    if !system {
        let here = work.path().join(cmd);
        if platform::is_executable(&here) {
            return Ok(here);
        }
    }
    let path = base.value(base.style.variable).unwrap_or_default();
    let extensions: &[&str] = if cfg!(windows) { &["", ".exe", ".com", ".bat", ".cmd"] } else { &[""] };
    for dir in path.split(base.style.separator).filter(|d| Path::new(d).is_absolute()) {
        for extension in extensions {
            let candidate = Path::new(dir).join(format!("{cmd}{extension}"));
            if platform::is_executable(&candidate) {
                return Ok(candidate);
            }
        }
    }
    // Version 29 of the reference: systems without a usual PATH still have a shell.
    if cmd == "sh" && platform::is_executable(Path::new("/bin/sh")) {
        return Ok(PathBuf::from("/bin/sh"));
    }
    Err(CommandError::NotFound(cmd.to_owned()))
}

/// A list as Go prints it with `%q`.
fn go_list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|i| format!("{i:?}")).collect();
    format!("[{}]", quoted.join(" "))
}
