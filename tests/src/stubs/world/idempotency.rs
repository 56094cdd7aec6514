//! Writes that are sent twice and done once: the first answer to a key is the answer to it.
//!
//! Refusals are kept too, as the same key asks for the same answer. Nothing is forgotten before a reset.

use std::collections::HashMap;

use serde_json::Value;

use super::{State, World};
use crate::stubs::problem::Refusal;

/// What a write comes to.
pub(crate) type Outcome = Result<Value, Refusal>;

/// What was asked and answered, by route and key.
pub(crate) type Answers = HashMap<(String, String), (Value, Outcome)>;

impl World {
    /// Does `act` unless this key was seen on this route. The state stays locked, so that two at once are one.
    pub(crate) fn once(
        &self,
        route: &str,
        key: Option<&str>,
        asked: Value,
        act: impl FnOnce(&mut State) -> Outcome,
    ) -> Outcome {
        let mut state = self.state();
        let Some(key) = key else { return act(&mut state) };
        let at = (route.to_owned(), key.to_owned());
        match state.answers.get(&at) {
            Some((before, outcome)) if *before == asked => return outcome.clone(),
            Some(_) => return Err(Refusal::KeyReused),
            None => {}
        }
        let outcome = act(&mut state);
        state.answers.insert(at, (asked, outcome.clone()));
        outcome
    }
}
