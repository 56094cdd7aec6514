//! The source stream of one subscription: its resolver opens it at the first event, and finds each event there.
//!
//! Not here: executing the selection for each of them (`operation.rs`).

use std::{pin::pin, sync::Arc};

use parking_lot::Mutex;

use super::super::{Refusal, handler::Call};
use crate::{
    handler::Admitted,
    live::{Event, Follower, Live, Next},
    routing::Params,
};

/// What is followed, and where it stands.
#[derive(Default)]
pub(in crate::graphql) struct Feed(Mutex<State>);

#[derive(Default)]
struct State {
    follower: Option<Follower>,
    /// What resolvers are to tell now.
    event: Option<Event>,
    /// Why nothing more comes.
    over: Option<&'static str>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Feed")
    }
}

impl Feed {
    /// Opens it, or finds what is to be told.
    pub(in crate::graphql) async fn event(
        &self,
        live: &Arc<Live>,
        key: &str,
        after: Option<&str>,
        call: &Call,
        may: impl Fn(&Event) -> Result<(), Refusal>,
    ) -> Result<Option<Event>, Refusal> {
        let told = {
            let mut state = self.0.lock();
            if state.follower.is_some() { Some(state.event.take()) } else { None }
        };
        let event = match told {
            Some(event) => event,
            None => self.open(live, key, after, call, &may).await.inspect_err(|_| self.end("refused"))?,
        };
        // Whose the thing is may have changed.
        event.as_ref().map_or(Ok(()), may).inspect_err(|_| self.end("refused"))?;
        Ok(event)
    }

    async fn open(
        &self,
        live: &Arc<Live>,
        key: &str,
        after: Option<&str>,
        call: &Call,
        may: &impl Fn(&Event) -> Result<(), Refusal>,
    ) -> Result<Option<Event>, Refusal> {
        let names: Arc<[Box<str>]> = Arc::new([KEY.into()]);
        let params = Params::of_one(&names, key).ok_or_else(Refusal::not_found)?;
        let (caller, downstream) = (call.caller.clone(), call.downstream.clone());
        let admitted =
            Admitted { caller, params, deadline: call.deadline, downstream, bill: None, asked: None };
        let following = pin!(live.follow(&admitted, after)).await;
        let (mut follower, now) = following.map_err(|error| Refusal::from(&error))?;
        if let Err(refusal) = may(&now) {
            // As long as asking takes: how soon nothing is there must not tell whether somebody else watches it.
            _ = call.deadline.bound(pin!(tokio::time::sleep(follower.took()))).await;
            return Err(refusal);
        }
        follower.settle();
        let event = follower.at_once();
        self.0.lock().follower = Some(follower);
        Ok(event)
    }

    /// Waits for what comes next; why nothing does, if so.
    pub(super) async fn advance(&self) -> Result<(), &'static str> {
        let mut follower = {
            let mut state = self.0.lock();
            if let Some(over) = state.over {
                return Err(over);
            }
            state.follower.take().ok_or("failed")?
        };
        let next = follower.next().await;
        let mut state = self.0.lock();
        state.follower = Some(follower);
        match next {
            Next::State(event) => {
                state.event = Some(event);
                Ok(())
            }
            Next::End(why) => Err(why),
        }
    }

    pub(super) fn over(&self) -> Option<&'static str> {
        self.0.lock().over
    }

    /// Whether something is followed.
    pub(super) fn is_open(&self) -> bool {
        self.0.lock().follower.is_some()
    }

    fn end(&self, why: &'static str) {
        self.0.lock().over.get_or_insert(why);
    }
}

/// What parts are asked for by, in the configuration.
pub(crate) const KEY: &str = "key";
