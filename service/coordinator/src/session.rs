//! One attempt's dealings with one worker: prepare it, give it the source, run commands.
//!
//! A modern worker (`docs/worker-protocol.md`) is asked again after every broken connection, because its executions have ids and its output has offsets; only the
//! pool decides that it is lost, which stops the runner from outside. A classic buildlet gets one try, because its protocol allows no more.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use burrow_builders::Recipe;
use burrow_buildlet_client::{Body, Error as ClientError, ExecForm, Outcome};
use burrow_git::{Mirror, Oid};
use burrow_pool::Worker;
use futures_util::TryStreamExt as _;
use protocol_buildlet::{ExecRequest, ExecState, ExecStatus, StoppedBy, TreeState};
use tokio_util::sync::CancellationToken;

use crate::sink::Sink;

/// Pause between tries to reach a worker.
const AGAIN: Duration = Duration::from_millis(150);
/// A short command is answered in the request that starts it.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Limit of what is done for courtesy when an attempt is stopped.
const COURTESY: Duration = Duration::from_secs(2);

/// Why a worker could not do what it was asked.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The attempt was stopped from outside (cancelled, or its worker was lost).
    Stopped,
    /// The farm's fault: another attempt may succeed.
    Infrastructure(String),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandEnd {
    /// Exit status, if it exited.
    pub exit_code: Option<i64>,
    /// Signal that ended it.
    pub signal: Option<String>,
    /// It took too long (in all, or without output).
    pub timed_out: bool,
    /// As a phrase: `exit status 1`, `signal: killed`, `took longer than its limit`, …
    pub words: String,
}

impl CommandEnd {
    /// Ended with status 0.
    pub(crate) fn passed(&self) -> bool {
        self.exit_code == Some(0) && self.signal.is_none() && !self.timed_out
    }
}

/// Requests are repeated, so they must not reach another start of the worker: it would do them once more.
fn pin(worker: &mut Worker) {
    if worker.modern {
        worker.client = worker.client.pinned(&worker.instance);
    }
}

/// Whether asking again may help. Another start of the worker (412) means that this one is gone: the pool is about to say so, which stops the session.
fn passing(error: &ClientError) -> bool {
    error.is_transport() || error.refused_status() == Some(412)
}

/// What a worker that was prepared ahead of its next build answered: for which source tree, and in which states the trees are. Awaited by that build.
pub(crate) type Tidy = tokio::task::JoinHandle<Option<(Vec<String>, BTreeMap<String, TreeState>)>>;

/// Prepares a worker ahead of its next build, in the background: what was waited for between builds is then done while nothing waits.
pub(crate) fn tidy(worker: &Worker, checkouts: Vec<String>) -> Tidy {
    let mut worker = worker.clone();
    pin(&mut worker);
    let client = worker.client;
    burrow_task::spawn(async move {
        let prepared = client.prepare(&checkouts).await;
        prepared.ok().map(|reply| (checkouts, reply.trees))
    })
}

/// One worker, for one attempt.
pub(crate) struct Session {
    worker: Worker,
    stop: CancellationToken,
    trees: Mutex<BTreeMap<String, TreeState>>,
    /// The worker was or is being prepared already.
    tidy: Mutex<Option<Tidy>>,
    /// Executions to forget at the end.
    used: Mutex<Vec<String>>,
}

impl Session {
    /// A session with `worker`; everything in it ends with [`Failure::Stopped`] when `stop` is cancelled.
    pub(crate) fn new(worker: Worker, stop: CancellationToken, tidy: Option<Tidy>) -> Session {
        let mut worker = worker;
        pin(&mut worker);
        Session { worker, stop, trees: Default::default(), tidy: Mutex::new(tidy), used: Default::default() }
    }

    /// Name of the worker.
    pub(crate) fn worker(&self) -> &str {
        &self.worker.id
    }

    /// Calls until it succeeds, is refused, or the session is stopped.
    async fn patiently<T, F: Future<Output = Result<T, ClientError>>>(&self, mut call: impl FnMut() -> F) -> Result<T, Failure> {
        loop {
            let result = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Failure::Stopped),
                result = call() => result,
            };
            match result {
                Ok(value) => return Ok(value),
                Err(error) if passing(&error) && self.worker.modern => {
                    tracing::debug!(worker = %self.worker.id, %error, "The worker could not be reached; trying again.");
                    tokio::select! {
                        () = self.stop.cancelled() => return Err(Failure::Stopped),
                        () = tokio::time::sleep(AGAIN) => {}
                    }
                }
                Err(error) => return Err(Failure::Infrastructure(format!("worker {}: {error}", self.worker.id))),
            }
        }
    }

    /// Clears what earlier builds left; keeps the source trees `checkouts` if the worker can.
    ///
    /// # Errors
    /// [`Failure`]
    pub(crate) async fn prepare(&self, checkouts: &[String]) -> Result<(), Failure> {
        let tidy = self.tidy.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tidy) = tidy {
            let done = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Failure::Stopped),
                done = tidy => done,
            };
            if let Ok(Some((kept, trees))) = done
                && kept == checkouts
            {
                *self.trees.lock().unwrap_or_else(PoisonError::into_inner) = trees;
                return Ok(());
            }
        }
        if self.worker.modern {
            let client = self.worker.client.clone();
            let trees = self.patiently(|| client.prepare(checkouts)).await?.trees;
            *self.trees.lock().unwrap_or_else(PoisonError::into_inner) = trees;
            Ok(())
        } else {
            self.patiently(|| self.worker.client.remove_all(&["."])).await
        }
    }

    /// Makes the recipe's directories hold exactly the trees that belong there. Returns how it was done for the commit's own, for the log.
    ///
    /// # Errors
    /// [`Failure`]
    pub(crate) async fn sources(&self, mirror: &Mirror, commit: Oid, recipe: &Recipe) -> Result<&'static str, Failure> {
        let checkouts = recipe.checkouts();
        self.prepare(&checkouts).await?;
        if let Some(parent_checkout) = &recipe.parent_checkout {
            let unreadable = |e: burrow_git::Error| Failure::Infrastructure(format!("the parent of {commit}: {e}"));
            let parents = mirror.commit(commit).await.map_err(unreadable)?.map(|commit| commit.parents).unwrap_or_default();
            self.source(mirror, parents.first().copied().unwrap_or(commit), parent_checkout, &checkouts).await?;
        }
        self.source(mirror, commit, &recipe.checkout, &checkouts).await
    }

    /// Makes `checkout`, one of `checkouts`, hold exactly the tree of `commit`. Returns how it was done.
    async fn source(&self, mirror: &Mirror, commit: Oid, checkout: &str, checkouts: &[String]) -> Result<&'static str, Failure> {
        if !self.worker.modern {
            let tgz = Body::stream(mirror.archive_tgz(commit, "").map_err(std::io::Error::other));
            let sent = self.worker.client.write_tgz(checkout, tgz).await;
            return sent.map(|()| "sent whole").map_err(|e| Failure::Infrastructure(format!("the source could not be sent to {}: {e}", self.worker.id)));
        }
        let tree = mirror.tree_of(commit).await.map_err(|e| Failure::Infrastructure(format!("the source of {commit}: {e}")))?;
        let want = tree.to_string();
        let mut state = self.known_tree(checkout);
        for _ in 0..5 {
            if state.tree.as_deref() == Some(&want) && state.dirty.is_empty() {
                return Ok("kept");
            }
            let base: Option<Oid> = state.tree.as_deref().and_then(|t| t.parse().ok());
            let dirty = if base.is_some() { std::mem::take(&mut state.dirty) } else { Vec::new() };
            let tar = Body::stream(mirror.tree_tar(base, tree, dirty).map_err(std::io::Error::other));
            let base_text = base.map(|b| b.to_string());
            let sent = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Failure::Stopped),
                sent = self.worker.client.put_tree(checkout, base_text.as_deref(), &want, false, tar) => sent,
            };
            match sent {
                Ok(now) if now.tree.as_deref() == Some(&want) && now.dirty.is_empty() => {
                    return Ok(if base.is_some() { "updated" } else { "sent whole" });
                }
                Ok(now) => state = now,
                // The base is unknown here, or the worker's tree is not what it said: from nothing, then.
                Err(error) if !passing(&error) && base.is_some() => state = TreeState::default(),
                Err(error) if passing(&error) => {
                    tokio::select! {
                        () = self.stop.cancelled() => return Err(Failure::Stopped),
                        () = tokio::time::sleep(AGAIN) => {}
                    }
                    self.prepare(checkouts).await?;
                    state = self.known_tree(checkout);
                }
                Err(error) => return Err(Failure::Infrastructure(format!("the source could not be sent to {}: {error}", self.worker.id))),
            }
        }
        Err(Failure::Infrastructure(format!("the source could not be sent to {} in five tries", self.worker.id)))
    }

    fn known_tree(&self, checkout: &str) -> TreeState {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner).remove(checkout).unwrap_or_default()
    }

    /// The worker's work directory as it sees it.
    ///
    /// # Errors
    /// [`Failure`]
    pub(crate) async fn workdir(&self) -> Result<String, Failure> {
        self.patiently(|| self.worker.client.workdir()).await
    }

    /// Copies `paths` of the work directory to another worker.
    ///
    /// # Errors
    /// [`Failure`]
    pub(crate) async fn copy_to(&self, other: &Session, paths: &[String]) -> Result<(), Failure> {
        for path in paths {
            let broken = |e: ClientError| Failure::Infrastructure(format!("{path} could not be copied from {} to {}: {e}", self.worker(), other.worker()));
            let tgz = self.worker.client.get_tgz(path).await.map_err(broken)?;
            let body = Body::stream(tgz.into_stream().map_err(std::io::Error::other));
            other.worker.client.write_tgz(path, body).await.map_err(broken)?;
        }
        Ok(())
    }

    /// Runs a command, or finds it again by its id, and writes its output to `sink`.
    ///
    /// # Errors
    /// [`Failure`]; a command that fails is not one.
    pub(crate) async fn run(&self, id: &str, request: &ExecRequest, sink: &mut Sink<'_>) -> Result<CommandEnd, Failure> {
        let result = if self.worker.modern { self.run_modern(id, request, sink).await } else { self.run_classic(request, sink).await };
        if matches!(result, Err(Failure::Stopped)) && self.worker.modern {
            let _ = tokio::time::timeout(COURTESY, self.worker.client.kill(id, false)).await;
        }
        result
    }

    async fn run_modern(&self, id: &str, request: &ExecRequest, sink: &mut Sink<'_>) -> Result<CommandEnd, Failure> {
        let client = &self.worker.client;
        self.used.lock().unwrap_or_else(PoisonError::into_inner).push(id.to_owned());
        let mut status = self
            .patiently(|| async {
                match client.start_execution(id, request, Some(FIRST_WAIT)).await {
                    // It runs since before a restart, under limits that the configuration has changed meanwhile: as it was begun, it goes on.
                    Err(error) if error.refused_status() == Some(409) => client.execution(id, Some(FIRST_WAIT)).await,
                    other => other,
                }
            })
            .await?;
        let mut offset = 0;
        loop {
            let ended = status.state == ExecState::Exited;
            if ended && offset >= status.output_bytes {
                return end_of(&status);
            }
            let mut output = self.patiently(|| client.output(id, offset, !ended)).await?;
            loop {
                let piece = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return Err(Failure::Stopped),
                    piece = output.chunk() => piece,
                };
                // A broken stream is taken up again at the offset.
                let Ok(Some(piece)) = piece else { break };
                sink.append(&piece, &self.stop).await?;
                offset += piece.len() as u64;
            }
            status = self.patiently(|| client.execution(id, None)).await?;
        }
    }

    async fn run_classic(&self, request: &ExecRequest, sink: &mut Sink<'_>) -> Result<CommandEnd, Failure> {
        let form = ExecForm {
            cmd: request.cmd.clone(),
            dir: if request.dir.is_empty() { ".".to_owned() } else { request.dir.clone() },
            args: request.args.clone(),
            env: request.env.clone(),
            path: (!request.path.is_empty()).then(|| request.path.clone()),
            ..ExecForm::default()
        };
        let infrastructure = |e: ClientError| Failure::Infrastructure(format!("worker {}: {e}", self.worker.id));
        // A classic buildlet knows no limits, so they are kept here.
        let limit = request.timeout_ms.map_or(Duration::MAX, Duration::from_millis);
        let silence = request.idle_timeout_ms.map_or(Duration::MAX, Duration::from_millis);
        let work = async {
            let mut output = self.worker.client.exec(&form).await.map_err(infrastructure)?;
            loop {
                match tokio::time::timeout(silence, output.chunk()).await {
                    Err(_) => return Ok(timed_out()),
                    Ok(piece) => match piece.map_err(infrastructure)? {
                        Some(piece) => sink.append(&piece, &self.stop).await?,
                        None => break,
                    },
                }
            }
            Ok(match output.outcome().await.map_err(infrastructure)? {
                Outcome::Success => end_of_words("ok"),
                Outcome::Failed(words) => end_of_words(&words),
            })
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Failure::Stopped),
            result = tokio::time::timeout(limit, work) => result.unwrap_or_else(|_| Ok(timed_out())),
        }
    }

    /// Whether the worker knows an execution whose id begins so.
    ///
    /// # Errors
    /// [`Failure`]
    pub(crate) async fn knows(&self, prefix: &str) -> Result<bool, Failure> {
        if !self.worker.modern {
            return Ok(false);
        }
        let client = &self.worker.client;
        Ok(self.patiently(|| client.executions()).await?.iter().any(|execution| execution.id.starts_with(prefix)))
    }

    /// Forgets the executions of this session, in the background; nobody will ask for them again.
    pub(crate) fn forget(&self) {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        if used.is_empty() || !self.worker.modern {
            return;
        }
        let client = self.worker.client.clone();
        burrow_task::spawn(async move {
            for id in used {
                let _ = tokio::time::timeout(COURTESY, client.kill(&id, true)).await;
            }
        });
    }
}

fn timed_out() -> CommandEnd {
    CommandEnd { exit_code: None, signal: None, timed_out: true, words: "took longer than its limit".into() }
}

fn end_of(status: &ExecStatus) -> Result<CommandEnd, Failure> {
    let words = status.process_state.clone().unwrap_or_else(|| "ended in an unknown way".into());
    let plain = |words: String, timed_out| CommandEnd { exit_code: status.exit_code, signal: status.signal.clone(), timed_out, words };
    match (status.stopped_by, &status.error) {
        (Some(StoppedBy::Timeout), _) => Ok(plain("took longer than its limit".into(), true)),
        (Some(StoppedBy::IdleTimeout), _) => Ok(plain("wrote nothing for longer than its limit".into(), true)),
        (Some(StoppedBy::Memory), _) => Ok(plain("needed more memory than its limit".into(), false)),
        (Some(StoppedBy::Killed), _) => Err(Failure::Infrastructure("the worker stopped the command".into())),
        // Without any record of an end the worker itself was restarted under the command.
        (None, Some(error)) if status.process_state.is_none() => Err(Failure::Infrastructure(error.clone())),
        (None, Some(error)) if status.exit_code.is_none() && status.signal.is_none() => Ok(plain(error.clone(), false)),
        _ if status.exit_code == Some(0) && status.signal.is_none() => Ok(plain("ok".into(), false)),
        _ => Ok(plain(words, false)),
    }
}

fn end_of_words(words: &str) -> CommandEnd {
    use protocol_buildlet::process_state::{ProcessState, signal_name};
    let (exit_code, signal) = match ProcessState::parse(words) {
        Some(ProcessState::Exited(code)) => (Some(code), None),
        Some(ProcessState::Signaled { signal, .. }) => (None, Some(signal_name(signal))),
        None => (None, None),
    };
    CommandEnd { exit_code, signal, timed_out: false, words: words.to_owned() }
}
