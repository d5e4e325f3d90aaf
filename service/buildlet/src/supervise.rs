//! Follows one process tree from start to end: output into a sink, limits of time and silence, orders to stop, and the end.
//!
//! One thread per running command does all of it and mostly sleeps in one system call. An async task would need the same thread for the disk.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol_buildlet::StoppedBy;

use crate::platform::{Child, Event, ExitInfo, Tree, Waker};

/// How long the output of processes that outlive the main one is waited for (spec buildlet.md §11).
const GRACE: Duration = Duration::from_secs(5);

/// How long the end of a killed main process is waited for; only one in an uninterruptible wait takes longer.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// Where output goes.
pub(crate) trait Sink {
    /// Takes what waits in the pipe. `false` ends everything: whoever wanted the output is gone.
    fn take(&mut self, child: &mut Child) -> io::Result<bool>;
}

/// Time limits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TimeLimits {
    pub(crate) total: Option<Duration>,
    pub(crate) silence: Option<Duration>,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// None when even killing did not end the main process.
    pub(crate) exit: Option<ExitInfo>,
    pub(crate) stopped_by: Option<StoppedBy>,
}

/// Stops a running command from anywhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stopper(Arc<Mutex<StopState>>);

#[derive(Debug, Default)]
struct StopState {
    order: Option<StoppedBy>,
    waker: Option<Waker>,
}

impl Stopper {
    /// Asks for the end of the whole tree; the first reason stays.
    pub(crate) fn stop(&self, why: StoppedBy) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.order.get_or_insert(why);
        if let Some(waker) = &state.waker {
            waker.wake();
        }
    }

    fn attach(&self, waker: Waker) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).waker = Some(waker);
    }

    /// Later orders find nobody.
    fn detach(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).waker = None;
    }

    fn order(&self) -> Option<StoppedBy> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).order
    }
}

/// Follows `child` to its end. Blocks.
pub(crate) fn supervise(mut child: Child, sink: &mut dyn Sink, stopper: &Stopper, limits: TimeLimits) -> (Outcome, Arc<Tree>) {
    let tree = child.tree();
    stopper.attach(child.waker());
    let start = Instant::now();
    let mut last_output = start;
    let mut exit: Option<ExitInfo> = None;
    let mut eof = false;
    let mut stopped_by: Option<StoppedBy> = None;
    // After the exit: the end of the grace. After a kill: the end of our patience.
    let mut give_up: Option<Instant> = None;
    let stop = |why: StoppedBy, stopped_by: &mut Option<StoppedBy>, give_up: &mut Option<Instant>| {
        if stopped_by.is_none() {
            *stopped_by = Some(why);
            tree.kill();
            *give_up = Some(Instant::now() + KILL_WAIT);
        }
    };
    loop {
        if exit.is_some() && eof {
            break;
        }
        if stopped_by.is_none()
            && let Some(why) = stopper.order()
        {
            stop(why, &mut stopped_by, &mut give_up);
            continue;
        }
        let now = Instant::now();
        let total = limits.total.and_then(|t| start.checked_add(t)).filter(|_| stopped_by.is_none() && exit.is_none());
        let silence = limits.silence.and_then(|t| last_output.checked_add(t)).filter(|_| stopped_by.is_none() && exit.is_none());
        let wait = [total, silence, give_up].into_iter().flatten().min().map(|at| at.saturating_duration_since(now));
        let event = match child.next(wait) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(error = %error, "The worker cannot wait for a command any more and kills it.");
                stop(StoppedBy::Killed, &mut stopped_by, &mut give_up);
                break;
            }
        };
        match event {
            Event::Readable => {
                match sink.take(&mut child) {
                    Ok(true) => {}
                    Ok(false) => {
                        stop(StoppedBy::Killed, &mut stopped_by, &mut give_up);
                        child.close_output();
                        eof = true;
                    }
                    // A read error of the pipe: nothing more will come out of it.
                    Err(error) => {
                        tracing::warn!(error = %error, "The output of a command can no longer be read.");
                        child.close_output();
                        eof = true;
                    }
                }
                last_output = Instant::now();
            }
            Event::Eof => eof = true,
            Event::Exited(info) => {
                exit = Some(info);
                give_up = Some(Instant::now() + GRACE);
            }
            Event::Woken => {}
            Event::TimedOut => {
                let now = Instant::now();
                if give_up.is_some_and(|at| at <= now) {
                    if exit.is_some() && stopped_by.is_none() {
                        tracing::info!("A process left behind still holds the output of a command that has ended; the output is closed.");
                    }
                    child.close_output();
                    break;
                }
                if total.is_some_and(|at| at <= now) {
                    stop(StoppedBy::Timeout, &mut stopped_by, &mut give_up);
                } else if silence.is_some_and(|at| at <= now) {
                    stop(StoppedBy::IdleTimeout, &mut stopped_by, &mut give_up);
                }
            }
        }
    }
    stopper.detach();
    let stopped_by = match exit {
        Some(info) if info.usage.memory_limit_hit && stopped_by.is_none() => Some(StoppedBy::Memory),
        _ => stopped_by,
    };
    // The kernel kills single processes for the memory limit; the verdict is about the tree.
    if stopped_by == Some(StoppedBy::Memory) {
        tree.kill();
    }
    (Outcome { exit, stopped_by }, tree)
}
