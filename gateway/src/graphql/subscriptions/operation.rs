//! One operation over a transport that stays open: executed once, or for a subscription once for each of its events
//! (GraphQL section 6.2.3.2, `MapSourceToResponseEvent`).
//!
//! Not here: how results are framed (`stream.rs`, `socket.rs`).

use std::{sync::Arc, time::Duration};

use async_graphql::{ObjectType, Response as Executed, SubscriptionType, parser::types::OperationType};
use futures_util::{StreamExt, future::BoxFuture, stream};

use super::{
    super::{
        Refusal,
        engine::{Engine, Sender, cost, kind},
        failure,
        handler::Call,
        lookup::Found,
        read::Asked,
        render,
    },
    Execute, Feed, Out, Outs, Sent, Subscriptions,
    metrics::Counted,
};
use crate::{deadline::Deadline, error::Error, handler::Admitted, observability::trace::Trace, seats::Seat};

/// What is executed for a subscription, and where it stands.
pub(in crate::graphql) struct Operation<Q, M, S, T> {
    engine: Arc<Engine<Q, M, S, T>>,
    asked: Asked,
    found: Found,
    first: Sender,
    /// How long each event may take.
    timeout: Duration,
    feed: Arc<Feed>,
    begun: bool,
    over: bool,
    counted: Counted,
    _seat: Seat,
}

/// An engine, and what it has open.
pub(in crate::graphql) struct Open<Q, M, S, T> {
    pub(in crate::graphql) engine: Arc<Engine<Q, M, S, T>>,
    pub(in crate::graphql) shared: Arc<Subscriptions>,
}

impl<Q, M, S, T> Execute for Open<Q, M, S, T>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
    T: Clone + Send + Sync + 'static,
{
    fn run(self: Arc<Self>, sent: Sent) -> BoxFuture<'static, Result<Outs, Error>> {
        Box::pin(async move {
            let Sent { asked, admitted, client, idempotency_key, transport } = sent;
            let feed = Arc::<Feed>::default();
            let call = Call::over(&admitted, idempotency_key, Some(feed.clone()));
            let sender = self.engine.sender(call, &admitted, client, false);
            let ready = self.engine.ready(asked, &sender);
            if let Some(bill) = &admitted.bill {
                bill.pay(cost(&ready)).await?;
            }
            let subscribes = kind(&ready) == Some(OperationType::Subscription);
            let (asked, found) = match ready {
                Ok(ready) if subscribes => ready,
                other => {
                    let engine = self.engine.clone();
                    return Ok(stream::once(async move {
                        let shared = engine.shared(&sender);
                        out(&engine.execute(other, &sender, shared).await)
                    })
                    .boxed());
                }
            };
            let seat = self.shared.seat(&admitted)?;
            let operation = found.name.and_then(|index| self.engine.operation(index));
            let counted = self.shared.metrics.open(operation, transport);
            let timeout = admitted.deadline.remaining();
            let operation = Operation {
                engine: self.engine.clone(),
                asked,
                found,
                first: sender,
                timeout,
                feed,
                begun: false,
                over: false,
                counted,
                _seat: seat,
            };
            Ok(stream::unfold(operation, |mut operation| async {
                let out = operation.next().await?;
                Some((out, operation))
            })
            .boxed())
        })
    }
}

impl<Q, M, S, T> Operation<Q, M, S, T>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
    T: Clone + Send + Sync + 'static,
{
    async fn next(&mut self) -> Option<Out> {
        while !self.over {
            if std::mem::replace(&mut self.begun, true)
                && let Err(why) = self.feed.advance().await
            {
                return self.end(why);
            }
            let Some(executed) = self.execute().await else { continue };
            if self.feed.over().is_none() && self.feed.is_open() {
                self.counted.event();
                return Some(out(&executed));
            }
            // There is no source stream, or none for this client any more: an error of the request (GraphQL section 6.2.3.1).
            (self.over, self.counted.ended) = (true, "refused");
            return Some(refused(&executed));
        }
        None
    }

    /// The selection for what is to be told now; nothing when there is nothing yet.
    async fn execute(&self) -> Option<Executed> {
        let mut call = self.first.call.again(Deadline::after(self.timeout));
        call.caller.trace = Trace::of(&http::HeaderMap::new()); // that of the subscription would never end
        let sender = Sender { call: Arc::new(call), ..self.first };
        self.engine.tell(&self.asked, &self.found, &sender).await
    }

    /// The last word, where there is one.
    fn end(&mut self, why: &'static str) -> Option<Out> {
        (self.over, self.counted.ended) = (true, why);
        match why {
            "done" => None,
            "failed" => Some(Out::Refused(errors(Refusal::unavailable(), self.first.request_id()))),
            "gone" => Some(Out::Refused(errors(Refusal::not_found(), self.first.request_id()))),
            _ => Some(Out::Away(away(self.first.request_id()))),
        }
    }
}

fn out(executed: &Executed) -> Out {
    match failure::before_execution(executed) {
        true => refused(executed),
        false => Out::Next(render::json(executed)),
    }
}

fn refused(executed: &Executed) -> Out {
    Out::Refused(serde_json::to_vec(&executed.errors).expect("values of GraphQL are JSON"))
}

/// One error as a list, as JSON.
pub(super) fn errors(refusal: Refusal, request_id: &str) -> Vec<u8> {
    let mut executed = Executed::from_errors(vec![refusal.into_server_error()]);
    failure::classify(&mut executed, "", request_id);
    serde_json::to_vec(&executed.errors).expect("values of GraphQL are JSON")
}

/// The errors of what ends here and goes on elsewhere.
pub(super) fn away(request_id: &str) -> Vec<u8> {
    let message = "It goes on over another connection.".into();
    errors(Refusal { code: "SUBSCRIPTION_MOVED", message }, request_id)
}

impl Call {
    /// What resolvers may know that work for `admitted`.
    pub(in crate::graphql) fn over(
        admitted: &Admitted,
        idempotency_key: Option<http::HeaderValue>,
        feed: Option<Arc<Feed>>,
    ) -> Call {
        let (caller, downstream) = (admitted.caller.clone(), admitted.downstream.clone());
        let (deadline, faults) = (admitted.deadline, Default::default());
        Call { caller, deadline, downstream, idempotency_key, faults, feed }
    }

    fn again(&self, deadline: Deadline) -> Call {
        let (caller, downstream) = (self.caller.clone(), self.downstream.clone());
        let (idempotency_key, feed) = (self.idempotency_key.clone(), self.feed.clone());
        Call { caller, deadline, downstream, idempotency_key, faults: Default::default(), feed }
    }
}
