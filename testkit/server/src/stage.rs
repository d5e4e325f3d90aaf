//! What every modelled world has beside its own rules: a test's script of what goes wrong, what was asked, and which rules a client broke.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A question as a world sees it.
pub trait Question {
    /// Its path, as [`Stage::fail`] compares it.
    fn path(&self) -> &str;
}

type Matcher<Q> = Box<dyn Fn(&Q) -> bool + Send>;
type Hook<W, Q> = Box<dyn FnMut(&Q, &mut W) + Send>;

/// The world and the script, while somebody has them.
pub struct Scene<W, Q, F> {
    /// What there is.
    pub world: W,
    /// Rules that clients broke.
    pub violations: Vec<String>,
    asked: Vec<Q>,
    faults: Vec<(Matcher<Q>, F, u32)>,
    hook: Option<Hook<W, Q>>,
}

impl<W, Q: Clone, F: Clone> Scene<W, Q, F> {
    /// Lets the test change the world before the answer.
    pub fn before(&mut self, asked: &Q) {
        if let Some(mut hook) = self.hook.take() {
            hook(asked, &mut self.world);
            self.hook = Some(hook);
        }
    }

    /// What is to go wrong with this question, if anything; it is then used up once.
    pub fn fault(&mut self, asked: &Q) -> Option<F> {
        let (_, fault, times) = self.faults.iter_mut().find(|(matches, _, times)| *times > 0 && matches(asked))?;
        *times -= 1;
        Some(fault.clone())
    }

    /// Notes a question.
    pub fn note(&mut self, asked: Q) {
        self.asked.push(asked);
    }
}

impl<W, Q, F> fmt::Debug for Scene<W, Q, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("violations", &self.violations).finish_non_exhaustive()
    }
}

/// A scene that a server plays and a test directs. Clones share it; when the test's handle (the one from [`Stage::new`]) is dropped, it fails the test if a
/// client broke a rule, or a fault was met by nobody.
pub struct Stage<W, Q, F: fmt::Debug> {
    whose: &'static str,
    scene: Arc<Mutex<Scene<W, Q, F>>>,
    directs: bool,
}

impl<W, Q, F: fmt::Debug> Stage<W, Q, F> {
    /// `whose` rules they are, for the message.
    pub fn new(whose: &'static str, world: W) -> Self {
        let scene = Scene { world, violations: Vec::new(), asked: Vec::new(), faults: Vec::new(), hook: None };
        Stage { whose, scene: Arc::new(Mutex::new(scene)), directs: true }
    }

    /// For the server that plays it.
    #[must_use]
    pub fn player(&self) -> Self {
        Stage { whose: self.whose, scene: Arc::clone(&self.scene), directs: false }
    }

    /// The scene; nobody else has it meanwhile.
    pub fn scene(&self) -> MutexGuard<'_, Scene<W, Q, F>> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is. Questions wait while it is held.
    pub fn world(&self) -> WorldGuard<'_, W, Q, F> {
        WorldGuard(self.scene())
    }

    /// The next `times` questions with this path (a prefix) go wrong.
    pub fn fail(&self, path: &str, fault: F, times: u32)
    where
        Q: Question,
    {
        let path = path.to_owned();
        self.fail_if(move |asked| asked.path().starts_with(&path), fault, times);
    }

    /// The next `times` questions for which `matches` says true go wrong.
    pub fn fail_if(&self, matches: impl Fn(&Q) -> bool + Send + 'static, fault: F, times: u32) {
        self.scene().faults.push((Box::new(matches), fault, times));
    }

    /// What happens just before each answer: how a test changes the world while it is being read.
    pub fn before_each(&self, hook: impl FnMut(&Q, &mut W) + Send + 'static) {
        self.scene().hook = Some(Box::new(hook));
    }

    /// What was asked since the last call.
    pub fn take_asked(&self) -> Vec<Q> {
        std::mem::take(&mut self.scene().asked)
    }

    /// Rules that clients broke since the last call. Whoever takes them has expected them.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.scene().violations)
    }
}

impl<W, Q, F: fmt::Debug> Drop for Stage<W, Q, F> {
    fn drop(&mut self) {
        if !self.directs {
            return;
        }
        let violations = self.take_violations();
        let unused: Vec<String> = self.scene().faults.iter().filter(|(_, _, times)| *times > 0).map(|(_, fault, _)| format!("{fault:?}")).collect();
        if !std::thread::panicking() {
            assert!(violations.is_empty(), "the client broke rules of {}'s:\n{}", self.whose, violations.join("\n"));
            assert!(unused.is_empty(), "faults that nobody met, so the test shows less than it says: {unused:?}");
        }
    }
}

/// Access to the world; nobody else has it meanwhile.
#[derive(Debug)]
pub struct WorldGuard<'a, W, Q, F>(MutexGuard<'a, Scene<W, Q, F>>);

impl<W, Q, F> Deref for WorldGuard<'_, W, Q, F> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.0.world
    }
}

impl<W, Q, F> DerefMut for WorldGuard<'_, W, Q, F> {
    fn deref_mut(&mut self) -> &mut W {
        &mut self.0.world
    }
}
