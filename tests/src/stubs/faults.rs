//! The fault rules in force, of every backend, and the doors that the fault `refuse` shuts.
//!
//! Not what a rule says (`rule.rs`) nor what it does to an answer (`answer.rs`).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::Method;
use parking_lot::RwLock;
use serde_json::Value;

use super::backend::Backend;
use super::rule::{Fault, Rule};
use super::server::{Door, State};
use super::world::Invalid;

/// The faults of all backends.
pub struct Faults {
    rules: [RwLock<Arc<[Rule]>>; Backend::COUNT],
    doors: OnceLock<Vec<(Backend, Door)>>,
    /// Two callers who turn the same door would wait for each other's states.
    turning: tokio::sync::Mutex<()>,
}

/// What one request has to go through.
pub(super) struct Hit {
    pub(super) wait: Duration,
    pub(super) fault: Option<Fault>,
}

impl Faults {
    /// No faults, and no doors yet.
    pub(super) fn new() -> Faults {
        Faults {
            rules: std::array::from_fn(|_| RwLock::new(Arc::default())),
            doors: OnceLock::new(),
            turning: tokio::sync::Mutex::new(()),
        }
    }

    /// Gives the faults the doors of all listeners, once.
    pub(super) fn install(&self, doors: Vec<(Backend, Door)>) {
        assert!(self.doors.set(doors).is_ok(), "the doors are installed once");
    }

    /// Puts the rules of `PUT /faults/{service}` in force: one object or a list, the first match wins.
    /// When this returns, a `refuse` has closed listener and connections, or its end has opened them.
    ///
    /// # Errors
    /// The first wrong field, by name; the rules before stay in force then.
    pub async fn set(&self, backend: impl Into<Backend>, rules: Value) -> Result<(), Invalid> {
        self.replace(backend.into(), Rule::read_all(rules)?).await;
        Ok(())
    }

    /// Heals one backend.
    pub async fn heal(&self, backend: impl Into<Backend>) {
        self.replace(backend.into(), Vec::new()).await;
    }

    /// Heals all.
    pub async fn heal_all(&self) {
        for backend in Backend::all() {
            self.replace(backend, Vec::new()).await;
        }
    }

    /// Stops all listeners for good.
    pub(super) async fn stop(&self) {
        let _turning = self.turning.lock().await;
        let doors = self.doors.get().into_iter().flatten();
        futures_util::future::join_all(doors.map(|(_, door)| door.turn(State::Stopped))).await;
    }

    /// The first rule that meets the request, if any.
    pub(super) fn pick(&self, backend: Backend, method: &Method, path: &str) -> Option<Hit> {
        let rules = Arc::clone(&self.rules[backend.index()].read());
        let rule = rules.iter().find(|rule| !rule.refuses() && rule.meets(method, path))?;
        Some(Hit { wait: rule.wait(), fault: rule.fault.clone() })
    }

    async fn replace(&self, backend: Backend, rules: Vec<Rule>) {
        let _turning = self.turning.lock().await;
        let state = if rules.iter().any(Rule::refuses) { State::Shut } else { State::Open };
        *self.rules[backend.index()].write() = rules.into();
        let doors = self.doors.get().into_iter().flatten();
        for (_, door) in doors.filter(|(of, _)| *of == backend) {
            door.turn(state).await;
        }
    }
}
