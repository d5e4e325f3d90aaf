//! `burrow build`: a whole farm for one commit, in the terminal.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use burrow_clock::SystemClock;
use burrow_coordinator::control::{Change, Control, ControlError, Submit};
use burrow_coordinator::farm::{Farm, Options};
use burrow_results::Results;
use burrow_results::model::{AttemptId, BuildId, BuildState, Class, StepState};
use burrow_results::view::Build;
use tokio::sync::broadcast::error::RecvError;

use crate::cli::BuildArgs;
use crate::failure::Failure;
use crate::progress::{self, Row};
use crate::serve::{Interrupts, worker_program};
use crate::settings;
use crate::summary::{self, Verdict};

/// Lines of a failed build's log that are shown.
const TAIL_LINES: usize = 40;
/// Bytes of its end that are read for them.
const TAIL_BYTES: i64 = 64 << 10;
/// What a shell expects of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Failure {
        match error {
            ControlError::NotFound(text) | ControlError::Invalid(text) => Failure::usage(text),
            ControlError::Conflict(text) | ControlError::Unavailable(text) => Failure::infrastructure(text),
        }
    }
}

pub(crate) async fn run(args: BuildArgs) -> Result<ExitCode, Failure> {
    let (dir, commit) = find_commit(&args.dir, &args.rev).await?;
    let (config, repo, builders) = settings::for_build(args.config.as_deref(), &dir, &args.builders, args.workers)?;
    note_uncommitted(&dir, &commit).await;

    let temporary = match &args.keep {
        Some(_) => None,
        None => {
            Some(tempfile::Builder::new().prefix("burrow-build-").tempdir().map_err(|error| Failure::infrastructure(format!("no temporary folder: {error}")))?)
        }
    };
    let data = args.keep.clone().or_else(|| temporary.as_ref().map(|dir| dir.path().to_owned())).unwrap_or_default();
    let options = Options {
        config,
        reload: None,
        data,
        database: None,
        worker_program: worker_program()?,
        worker_env: Options::inherited(std::env::vars_os()),
        clock: SystemClock::shared(),
        poll: false,
        mirrored: None,
        events: None,
    };
    let mut interrupts = Interrupts::new().map_err(|error| Failure::infrastructure(format!("signals cannot be received: {error}")))?;
    let farm = Farm::start(options).await?;

    let result = tokio::select! {
        result = build_all(&farm, &repo, &commit, &builders, args.json) => result,
        _ = interrupts.next() => {
            eprintln!("Stopped.");
            Ok(INTERRUPTED)
        }
    };
    // Whatever the result: no worker and no folder stays behind.
    farm.stop(true).await;
    drop(farm);
    if let Some(temporary) = temporary {
        remove(temporary);
    }
    result.map(ExitCode::from)
}

async fn build_all(farm: &Arc<Farm>, repo: &str, commit: &str, builders: &[String], json: bool) -> Result<u8, Failure> {
    let (control, results) = (farm.control(), Results::new(farm.db().clone()));
    let mut rows = progress::rows(builders).into_iter();
    let mut tasks = Vec::new();
    for builder in builders {
        let request = Submit {
            repo: repo.to_owned(),
            revision: commit.to_owned(),
            builder: builder.clone(),
            class: Class::Interactive,
            actor: "burrow build".into(),
            reason: String::new(),
        };
        let id = control.submit(request).await?;
        let Some(row) = rows.next() else { break };
        tasks.push(burrow_task::spawn(follow(Arc::clone(&control), results.clone(), id, row)));
    }
    let mut builds = Vec::new();
    for task in tasks {
        builds.push(task.await.map_err(Failure::infrastructure)??);
    }
    report(&*control, &builds, json).await;
    Ok(Verdict::of(builds.iter().map(|build| build.line.state)).exit_code())
}

/// Follows a build to its end and shows where it is.
async fn follow(control: Arc<dyn Control>, results: Results, id: BuildId, row: Row) -> Result<Build, Failure> {
    // Registered before the first look, so that no change can fall between.
    let mut changes = control.changes();
    let row = Arc::new(Mutex::new(row));
    let mut tail: Option<(AttemptId, tokio::task::JoinHandle<()>)> = None;
    loop {
        let build = results.build(id).await.map_err(Failure::infrastructure)?.ok_or_else(|| Failure::infrastructure(format!("build {id} is gone")))?;
        if build.line.state.ended() {
            if let Some((_, task)) = tail {
                task.abort();
            }
            let took = summary::run_ms(&build).map(|ms| format!(" in {}", summary::duration(ms))).unwrap_or_default();
            lock(&row).ended(&format!("{}{took}", summary::words(build.line.state, build.line.flaky)));
            return Ok(build);
        }
        lock(&row).stage(&stage(&build, &*control));
        if let Some(attempt) = build.attempts_list.last()
            && tail.as_ref().is_none_or(|(of, _)| *of != attempt.id)
        {
            let task = burrow_task::spawn(show_tail(Arc::clone(&control), attempt.id, Arc::clone(&row)));
            if let Some((_, old)) = tail.replace((attempt.id, task)) {
                old.abort();
            }
        }
        loop {
            match changes.recv().await {
                Ok((_, Change::Build { build, .. } | Change::Step { build, .. })) if build == id => break,
                Ok((_, Change::Machines)) | Err(RecvError::Lagged(_)) => break,
                Ok(_) => {}
                Err(RecvError::Closed) => return Err(Failure::infrastructure("the coordinator ended before the build did")),
            }
        }
    }
}

fn lock(row: &Mutex<Row>) -> std::sync::MutexGuard<'_, Row> {
    row.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a build is, in words.
fn stage(build: &Build, control: &dyn Control) -> String {
    let again = |number: i64| if number > 1 { format!(" (attempt {number})") } else { String::new() };
    match (build.line.state, build.attempts_list.last()) {
        (BuildState::Running, Some(attempt)) => match attempt.steps.iter().rev().find(|step| step.state == StepState::Running).or(attempt.steps.last()) {
            Some(step) => format!("{}{}", step.name, again(attempt.number)),
            None => format!("getting ready{}", again(attempt.number)),
        },
        _ => {
            let live = control.live();
            if live.host_types.iter().all(|kind| kind.connected == 0) {
                return "starting a worker".into();
            }
            let waiting = live.waiting.iter().find(|(id, _, _)| *id == build.line.id);
            waiting.map(|(_, _, waiting)| waiting.reason.clone()).filter(|reason| !reason.is_empty()).unwrap_or_else(|| "waiting".into())
        }
    }
}

async fn show_tail(control: Arc<dyn Control>, attempt: AttemptId, row: Arc<Mutex<Row>>) {
    let Ok(mut reader) = control.log(attempt, 0, true).await else { return };
    while let Ok(Some(piece)) = reader.next().await {
        let text = String::from_utf8_lossy(&piece);
        if let Some(line) = text.lines().rev().find(|line| !line.trim().is_empty()) {
            lock(&row).tail(line);
        }
    }
}

async fn report(control: &dyn Control, builds: &[Build], json: bool) {
    for build in builds.iter().filter(|build| build.line.state != BuildState::Passed) {
        let Some(attempt) = build.attempts_list.last() else { continue };
        let lines = summary::last_lines(&log_end(control, attempt.id, attempt.log_bytes).await, TAIL_LINES);
        let text = format!("--- end of the log of {}, build {} ---\n{}\n", build.line.builder, build.line.id, lines.join("\n"));
        if json { eprintln!("{text}") } else { println!("{text}") }
    }
    if json {
        println!("{}", serde_json::to_string_pretty(builds).unwrap_or_default());
    } else {
        println!("{}", summary::table(builds));
    }
}

async fn log_end(control: &dyn Control, attempt: AttemptId, bytes: i64) -> Vec<u8> {
    let offset = u64::try_from(bytes - TAIL_BYTES).unwrap_or(0);
    let mut log = Vec::new();
    match control.log(attempt, offset, false).await {
        Ok(mut reader) => {
            while let Ok(Some(piece)) = reader.next().await {
                log.extend_from_slice(&piece);
            }
        }
        Err(error) => log.extend_from_slice(error.to_string().as_bytes()),
    }
    log
}

/// The root of the repository that `dir` is in, and the full hash of what `rev` names there.
async fn find_commit(dir: &Path, rev: &str) -> Result<(PathBuf, String), Failure> {
    if !dir.is_dir() {
        return Err(Failure::usage(format!("there is no folder {}", dir.display())));
    }
    let root = match git(dir, &["rev-parse", "--show-toplevel"]).await? {
        Ok(root) => PathBuf::from(root),
        // A repository without a work tree is as good.
        Err(said) => match git(dir, &["rev-parse", "--absolute-git-dir"]).await? {
            Ok(root) => PathBuf::from(root),
            Err(_) if said.contains("not a git repository") => {
                return Err(Failure::usage(format!(
                    "{} is not in a git repository; burrow builds commits: `git init`, `git add`, `git commit`",
                    dir.display()
                )));
            }
            Err(said) => return Err(Failure::usage(said)),
        },
    };
    match git(dir, &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{rev}^{{commit}}")]).await? {
        Ok(hash) => Ok((root, hash)),
        Err(_) if rev == "HEAD" => Err(Failure::usage(format!("{} has no commit yet; burrow builds commits: `git add`, `git commit`", root.display()))),
        Err(_) => Err(Failure::usage(format!("{} has no commit, branch or tag {rev:?}", root.display()))),
    }
}

async fn note_uncommitted(dir: &Path, commit: &str) {
    let head = git(dir, &["rev-parse", "--verify", "--quiet", "HEAD"]).await;
    if !matches!(head, Ok(Ok(head)) if head == commit) {
        return;
    }
    if let Ok(Ok(changes)) = git(dir, &["status", "--porcelain"]).await {
        match changes.lines().count() {
            0 => {}
            1 => eprintln!("note: 1 file is changed and not committed; it is not part of this build"),
            n => eprintln!("note: {n} files are changed and not committed; they are not part of this build"),
        }
    }
}

/// Runs git; `Err` inside is what it said when it refused.
async fn git(dir: &Path, args: &[&str]) -> Result<Result<String, String>, Failure> {
    let output = tokio::process::Command::new("git")
        .args(args)
        .current_dir(dir)
        // Within a hook these name the repository of the hook.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| Failure::infrastructure(format!("git cannot be run ({error}); install it")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

/// Removes the folder, also where a build made parts of it read-only.
fn remove(dir: tempfile::TempDir) {
    let path = dir.keep();
    if std::fs::remove_dir_all(&path).is_err() {
        make_writable(&path);
        if let Err(error) = std::fs::remove_dir_all(&path) {
            eprintln!("note: {} could not be removed: {error}", path.display());
        }
    }
}

fn make_writable(dir: &Path) {
    let Ok(metadata) = std::fs::symlink_metadata(dir) else { return };
    if !metadata.is_dir() {
        return;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let _ = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(metadata.permissions().mode() | 0o700));
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        make_writable(&entry.path());
    }
}
