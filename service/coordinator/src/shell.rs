//! The shell around the pure step: rows first, then effects, then news.
//!
//! Events are stepped in one order under one lock, and their rows are handed to the writer under that same lock, so that the order on disk is the order of
//! the steps. What a step wants done is done only after its rows are on disk, again in order. After a crash the rows alone say what was not finished, and
//! every effect is safe to do twice: executions have ids, workers are awaited by instance.
//!
//! Rows that only readers wait for ([`Shell::write`]) linger a moment so that they share the commit of the next step: a short build then costs two commits
//! instead of six. A crash may lose that moment, as it might have lost the moment before they were written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use burrow_clock::Clock;
use burrow_store::{Db, Statement};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

use crate::control::Change;
use crate::model::{Action, Event, State};
use burrow_results::model::BuildId;

/// Rows that nobody waits for are on their way to disk after so long at the latest.
const LINGER: Duration = Duration::from_millis(10);

/// What a step answered, once it is on disk.
#[derive(Debug)]
pub struct Answer {
    /// Builds of a submission, in order.
    pub builds: Vec<BuildId>,
    /// Why it was refused.
    pub refused: Option<String>,
}

struct Done {
    durable: oneshot::Receiver<Result<(), burrow_store::Error>>,
    actions: Vec<Action>,
    changes: Vec<Change>,
    answer: Answer,
    tell: Option<oneshot::Sender<Answer>>,
}

/// Owner of the state.
pub struct Shell {
    state: Mutex<State>,
    db: Db,
    clock: Arc<dyn Clock>,
    done: mpsc::UnboundedSender<Done>,
    generation: Arc<AtomicU64>,
    news: broadcast::Sender<(u64, Change)>,
    due: Arc<Notify>,
    /// Rows and changes that wait for company. Locked only under the state's lock.
    lingering: Mutex<Vec<(Vec<Statement>, Vec<Change>)>>,
    linger: Arc<Notify>,
}

impl Shell {
    /// Starts the shell. `perform` is called for each action, in order, after its rows are on disk; it must not block.
    pub fn start(state: State, db: Db, clock: Arc<dyn Clock>, perform: impl Fn(Action) + Send + 'static) -> Arc<Shell> {
        let (done, queue) = mpsc::unbounded_channel();
        let (news, _) = broadcast::channel(4096);
        let generation = Arc::new(AtomicU64::new(1));
        let shell = Arc::new(Shell {
            state: Mutex::new(state),
            db,
            clock,
            done,
            generation: Arc::clone(&generation),
            news: news.clone(),
            due: Arc::new(Notify::new()),
            lingering: Mutex::default(),
            linger: Arc::new(Notify::new()),
        });
        burrow_task::spawn(acknowledge(queue, generation, news, perform));
        let weak = Arc::downgrade(&shell);
        let due = Arc::clone(&shell.due);
        burrow_task::spawn(async move {
            loop {
                let Some(shell) = weak.upgrade() else { return };
                let (now, next) = (shell.clock.now_ms(), shell.lock().next_due_ms());
                if next.is_some_and(|at| at <= now) {
                    shell.tell(Event::Tick);
                    continue;
                }
                drop(shell);
                // At least once a second, because a clock may be set.
                let pause = next.map_or(1000, |at| (at - now).clamp(1, 1000));
                tokio::select! {
                    () = due.notified() => {}
                    () = tokio::time::sleep(std::time::Duration::from_millis(pause as u64)) => {}
                }
            }
        });
        let weak = Arc::downgrade(&shell);
        let linger = Arc::clone(&shell.linger);
        burrow_task::spawn(async move {
            loop {
                // One waiting call is remembered, so none is lost between two rounds.
                let told = tokio::time::timeout(Duration::from_secs(60), linger.notified()).await;
                if told.is_ok() {
                    tokio::time::sleep(LINGER).await;
                }
                let Some(shell) = weak.upgrade() else { return };
                shell.flush();
            }
        });
        shell
    }

    /// The state, to look at. Never hold it across an await.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The present time, Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Steps an event; nobody waits for it.
    pub fn tell(&self, event: Event) {
        self.push(event, None);
    }

    /// Steps an event and waits until it is on disk. `None` only when the database refused or has stopped.
    pub async fn ask(&self, event: Event) -> Option<Answer> {
        let (tell, answer) = oneshot::channel();
        self.push(event, Some(tell));
        answer.await.ok()
    }

    fn push(&self, event: Event, tell: Option<oneshot::Sender<Answer>>) {
        let mut state = self.lock();
        let before = state.next_due_ms();
        let effects = state.step(self.clock.now_ms(), event);
        self.send_lingering(&state);
        let durable = self.db.submit(effects.rows);
        let answer = Answer { builds: effects.builds, refused: effects.refused };
        let _ = self.done.send(Done { durable, actions: effects.actions, changes: effects.changes, answer, tell });
        if state.next_due_ms() != before {
            self.due.notify_one();
        }
    }

    /// Writes rows that concern nobody but readers (steps, test results), and tells what changed once they are on disk. That is soon ([`LINGER`]), or
    /// together with the next step.
    pub fn write(&self, rows: Vec<Statement>, changes: Vec<Change>) {
        // The lock keeps these in order with the steps.
        let _state = self.lock();
        let mut lingering = self.lingering();
        lingering.push((rows, changes));
        if lingering.len() == 1 {
            self.linger.notify_one();
        }
    }

    /// Sends what lingers to the database.
    pub fn flush(&self) {
        self.send_lingering(&self.lock());
    }

    fn lingering(&self) -> MutexGuard<'_, Vec<(Vec<Statement>, Vec<Change>)>> {
        self.lingering.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// In batches of their own, so that a refused one takes no other with it; sent together they share a commit.
    fn send_lingering(&self, _in_order: &MutexGuard<'_, State>) {
        for (rows, changes) in std::mem::take(&mut *self.lingering()) {
            let durable = self.db.submit(rows);
            let answer = Answer { builds: Vec::new(), refused: None };
            let _ = self.done.send(Done { durable, actions: Vec::new(), changes, answer, tell: None });
        }
    }

    /// Changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<(u64, Change)> {
        self.news.subscribe()
    }

    /// Number of the newest change.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.db
    }
}

async fn acknowledge(
    mut queue: mpsc::UnboundedReceiver<Done>,
    generation: Arc<AtomicU64>,
    news: broadcast::Sender<(u64, Change)>,
    perform: impl Fn(Action) + Send,
) {
    while let Some(done) = queue.recv().await {
        match done.durable.await {
            Ok(Ok(())) => {}
            // The writer has already said what is wrong. Effects of rows that are not on disk must not happen.
            Ok(Err(_)) | Err(_) => continue,
        }
        for action in done.actions {
            perform(action);
        }
        for change in done.changes {
            let number = generation.fetch_add(1, Ordering::AcqRel) + 1;
            let _ = news.send((number, change));
        }
        if let Some(tell) = done.tell {
            let _ = tell.send(done.answer);
        }
    }
}
