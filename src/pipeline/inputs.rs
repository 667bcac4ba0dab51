//! What roles run with, and how others take its place while they run: the generation in progress drains and commits, the next one
//! begins with what is new. So nothing is read by both, and every hop is judged by one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::explainer::{Explainer, Model};
use super::{Error, Roles};
use crate::classify::Classify;
use crate::config::{Config, ExplainConfig, TextMode};
use crate::enrich::Watchlist;
use crate::metrics::Metrics;
use crate::privacy::texts::Texts;

#[derive(Clone)]
pub struct Inputs {
    pub config: Arc<Config>,
    pub watchlist: Arc<Watchlist>,
    /// Of a process that classifies.
    pub classify: Option<Arc<dyn Classify>>,
    pub texts: Arc<Texts>,
    pub(super) explainer: Option<Arc<Explainer>>,
}

impl Inputs {
    /// # Errors
    /// [`Error::Texts`] where the keys cannot be read.
    pub fn new(
        config: Arc<Config>,
        watchlist: Arc<Watchlist>,
        classify: Option<Arc<dyn Classify>>,
        roles: Roles,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Error> {
        let texts = Arc::new(Texts::open(&config.privacy)?);
        let classify = classify.filter(|_| roles.classifies());
        // Only headlines that this process can read are explained.
        let readable = matches!(config.privacy.text, TextMode::Masked | TextMode::Full);
        let explain = ExplainConfig { headlines: if readable { config.explain.headlines } else { 0 }, ..config.explain };
        let explainer = Explainer::start(explain, Model::of(&config, classify.as_ref()), metrics.clone()).map(Arc::new);
        Ok(Self { config, watchlist, classify, texts, explainer })
    }
}

/// The inputs in force.
pub struct Swap {
    stop: CancellationToken,
    state: Mutex<State>,
}

struct State {
    inputs: Inputs,
    /// Ends the generations that run with them.
    turn: CancellationToken,
}

impl Swap {
    pub(super) fn new(inputs: Inputs, stop: &CancellationToken) -> Self {
        Self { stop: stop.clone(), state: Mutex::new(State { inputs, turn: stop.child_token() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn inputs(&self) -> Inputs {
        self.state().inputs.clone()
    }

    /// What the next generation runs with, and what ends it.
    pub(super) fn begin(&self) -> (Inputs, CancellationToken) {
        let state = self.state();
        (state.inputs.clone(), state.turn.child_token())
    }

    /// Puts others in their place: every role drains, commits, and goes on with them.
    pub fn replace(&self, inputs: Inputs) {
        let before = std::mem::replace(&mut *self.state(), State { inputs, turn: self.stop.child_token() });
        before.turn.cancel();
    }
}
