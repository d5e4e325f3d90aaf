//! Finds changes that want a try run: the candidates of the newest view, each asked about at Gerrit once for each of its states.
//!
//! No lock is held while Gerrit is waited for. Requests that need the same answer of Gerrit wait for one question together; if the one that asked goes away,
//! the next one asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use burrow_clock::SharedClock;
use burrow_maintner::View;
use futures_util::future::try_join_all;
use protocol_maintapi::GoFindTryWorkResponse;
use tokio::sync::{OnceCell, Semaphore};

use super::isolated;
use crate::api::Rules;
use crate::api::releases::{self, ReleasesError};
use crate::api::trywork::{Candidate, Candidates, ChangeComment, ChangeDetail, GerritApi, GerritFailure, item, still_wanted};

/// How many questions to Gerrit are open at once.
const QUESTIONS: usize = 8;

/// Why it is not known which changes want a try run.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FindError {
    /// There is nobody to ask.
    #[error("no Gerrit server is configured to be asked about changes")]
    NoGerrit,
    /// The main project or its releases are not there.
    #[error(transparent)]
    Releases(#[from] ReleasesError),
    /// Gerrit did not answer as it should.
    #[error("asking Gerrit: {0}")]
    Gerrit(#[from] GerritFailure),
    /// Gerrit took too long.
    #[error("asking Gerrit took more than {} s", .0.as_secs())]
    Slow(Duration),
    /// A fault of this program.
    #[error("a fault of this program")]
    Fault,
}

/// What Gerrit says of a change.
#[derive(Debug, Default)]
struct Asked {
    /// `None`: nothing that everybody may see.
    detail: Option<ChangeDetail>,
    comments: BTreeMap<String, Vec<ChangeComment>>,
}

#[derive(Debug)]
struct Failed {
    failure: GerritFailure,
    /// On the clock's monotonic scale.
    at_ms: u64,
}

type Answer = Arc<OnceCell<Result<Asked, Failed>>>;

#[derive(Debug, Default)]
struct State {
    candidates: Candidates,
    answers: HashMap<Candidate, Answer>,
    /// The last good answer and when it was given.
    good: Option<(u64, GoFindTryWorkResponse)>,
}

#[derive(Debug)]
pub(super) struct Finder {
    rules: Arc<Rules>,
    gerrit: Option<Arc<dyn GerritApi>>,
    clock: SharedClock,
    /// Held for moments only.
    state: Mutex<State>,
    questions: Semaphore,
}

impl Finder {
    pub(super) fn new(rules: Arc<Rules>, gerrit: Option<Arc<dyn GerritApi>>, clock: SharedClock) -> Finder {
        Finder { rules, gerrit, clock, state: Mutex::default(), questions: Semaphore::new(QUESTIONS) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The changes, sorted by commit. If Gerrit cannot be asked: those of the last time, if that was not too long ago.
    pub(super) async fn find(&self, view: View) -> Result<GoFindTryWorkResponse, FindError> {
        match self.find_now(view).await {
            Ok(found) => {
                self.state().good = Some((self.clock.monotonic_ms(), found.clone()));
                Ok(found)
            }
            Err(error @ (FindError::Gerrit(_) | FindError::Slow(_))) => {
                let good = self.state().good.clone();
                let age = |at| self.clock.monotonic_ms().saturating_sub(at) / 1_000;
                match good.filter(|(at, _)| age(*at) < u64::from(self.rules.try_work.stale_seconds)) {
                    Some((at, found)) => {
                        tracing::warn!(%error, answer.age_seconds = age(at), answer.changes = found.waiting.len(), "An earlier answer on try work is given again.");
                        Ok(found)
                    }
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn find_now(&self, view: View) -> Result<GoFindTryWorkResponse, FindError> {
        let gerrit = self.gerrit.as_ref().ok_or(FindError::NoGerrit)?;
        let rules = Arc::clone(&self.rules);
        let before = self.state().candidates.clone();
        let (view, releases, candidates) = isolated(move || {
            let releases = releases::supported(&view, &rules);
            let known = before.position == view.position();
            let candidates = if known { before } else { Candidates::find(&view, &rules, &before) };
            (view, releases, candidates)
        })
        .await
        .map_err(|_| FindError::Fault)?;
        let releases = releases?;

        let list = Arc::clone(&candidates.list);
        let answers: Vec<Answer> = {
            let mut state = self.state();
            let answers = list.iter().map(|candidate| self.answer(&mut state, candidate)).collect();
            if candidates.position >= state.candidates.position {
                let State { answers, candidates: newest, .. } = &mut *state;
                answers.retain(|known, _| candidates.list.binary_search(known).is_ok());
                *newest = candidates;
            }
            answers
        };
        let limit = Duration::from_secs(self.rules.try_work.gerrit_timeout_seconds.get().into());
        let ask = try_join_all(list.iter().zip(&answers).map(|(candidate, answer)| async move {
            match answer.get_or_init(|| self.ask(gerrit, candidate)).await {
                Ok(asked) => Ok(asked),
                Err(failed) => Err(failed.failure.clone()),
            }
        }));
        let asked = tokio::time::timeout(limit, ask).await.map_err(|_| FindError::Slow(limit))??;

        let mut waiting = Vec::new();
        for (candidate, asked) in list.iter().zip(asked) {
            let Some(detail) = asked.detail.as_ref().filter(|detail| still_wanted(detail, &self.rules.try_work)) else { continue };
            match item(&view, &self.rules, &releases, candidate, detail, &asked.comments) {
                Ok(item) => waiting.push(item),
                Err(reason) => {
                    tracing::info!(gerrit.project = candidate.project, gerrit.change = candidate.number, %reason, "A change that asks for a try run gets none.");
                }
            }
        }
        waiting.sort_by(|a, b| a.commit.cmp(&b.commit));
        Ok(GoFindTryWorkResponse { waiting })
    }

    /// The place of an answer: the known one, unless it failed some time ago.
    fn answer(&self, state: &mut State, candidate: &Candidate) -> Answer {
        let retry_ms = u64::from(self.rules.try_work.gerrit_retry_seconds) * 1_000;
        let known = state.answers.get(candidate).filter(|known| match known.get() {
            Some(Err(failed)) => self.clock.monotonic_ms().saturating_sub(failed.at_ms) < retry_ms,
            Some(Ok(_)) | None => true,
        });
        match known {
            Some(known) => Arc::clone(known),
            None => {
                let answer = Answer::default();
                state.answers.insert(candidate.clone(), Arc::clone(&answer));
                answer
            }
        }
    }

    async fn ask(&self, gerrit: &Arc<dyn GerritApi>, candidate: &Candidate) -> Result<Asked, Failed> {
        let Candidate { project, number, .. } = candidate;
        let asked = async {
            // Never closed.
            let _turn = self.questions.acquire().await;
            match gerrit.change(project, *number).await? {
                Some(detail) => Ok(Asked { detail: Some(detail), comments: gerrit.comments(project, *number).await? }),
                None => Ok(Asked::default()),
            }
        };
        asked.await.map_err(|failure| {
            tracing::warn!(%failure, "Gerrit could not be asked about a change that wants a try run.");
            Failed { failure, at_ms: self.clock.monotonic_ms() }
        })
    }
}
