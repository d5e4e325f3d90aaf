//! The shell around the pure step: rows first, then effects. As the coordinator's (`service/coordinator/src/shell.rs`), smaller.

use std::sync::{Arc, Mutex, MutexGuard};

use burrow_clock::SharedClock;
use burrow_store::Db;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::model::{Action, Event, State};

struct Done {
    durable: oneshot::Receiver<Result<(), burrow_store::Error>>,
    actions: Vec<Action>,
    round: i64,
    tell: Option<oneshot::Sender<i64>>,
}

/// Owner of the state.
pub struct Shell {
    state: Mutex<State>,
    db: Db,
    clock: SharedClock,
    done: mpsc::UnboundedSender<Done>,
    due: Arc<Notify>,
    generation: watch::Sender<u64>,
}

impl Shell {
    /// Starts it. `perform` is called for each action, in order, after its rows are on disk; it must not block.
    pub fn start(state: State, db: Db, clock: SharedClock, stop: CancellationToken, perform: impl Fn(Action) + Send + 'static) -> Arc<Shell> {
        let (done, mut queue) = mpsc::unbounded_channel::<Done>();
        let shell = Arc::new(Shell { state: Mutex::new(state), db, clock, done, due: Arc::new(Notify::new()), generation: watch::Sender::new(0) });
        burrow_task::spawn(async move {
            while let Some(done) = queue.recv().await {
                // What is not on disk must not happen; the writer has said what is wrong.
                let Ok(Ok(())) = done.durable.await else { continue };
                done.actions.into_iter().for_each(&perform);
                if let Some(tell) = done.tell {
                    let _ = tell.send(done.round);
                }
            }
        });
        let weak = Arc::downgrade(&shell);
        let due = Arc::clone(&shell.due);
        burrow_task::spawn(async move {
            loop {
                let Some(shell) = weak.upgrade().filter(|_| !stop.is_cancelled()) else { return };
                let now = shell.clock.now_ms();
                let next = shell.lock().next_due_ms();
                if next.is_some_and(|at| at <= now) {
                    shell.tell(Event::Tick);
                }
                // Not longer than a second, because clocks are set; not shorter than a moment, because what is due may have to wait for a place.
                let pause = next.map_or(1_000, |at| (at - now).clamp(5, 1_000));
                drop(shell);
                tokio::select! {
                    () = due.notified() => {}
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(std::time::Duration::from_millis(pause as u64)) => {}
                }
            }
        });
        shell
    }

    /// The state, to look at. Never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Steps an event; nobody waits for it.
    pub fn tell(&self, event: Event) {
        self.push(event, None);
    }

    /// Steps an event and waits until it is on disk; says the number of its round in the journal. `None` when the database refused or has stopped.
    pub async fn ask(&self, event: Event) -> Option<i64> {
        let (tell, answer) = oneshot::channel();
        self.push(event, Some(tell));
        answer.await.ok()
    }

    /// Hears of every step.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    fn push(&self, event: Event, tell: Option<oneshot::Sender<i64>>) {
        let mut state = self.lock();
        let before = state.next_due_ms();
        let effects = state.step(self.clock.now_ms(), event);
        // Under the lock: the order on disk is that of the steps.
        let durable = self.db.submit(effects.rows);
        let _ = self.done.send(Done { durable, actions: effects.actions, round: effects.round, tell });
        let after = state.next_due_ms();
        drop(state);
        self.generation.send_modify(|generation| *generation += 1);
        if after != before {
            self.due.notify_one();
        }
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.db
    }
}
