//! The kitchen service: tickets, and the steps of cooking them.
//!
//! It makes no tickets itself: the sagas do.

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use serde::Deserialize;

use super::{
    problem::Refusal,
    replica,
    request::{Body, Id, Params},
    world::{Action, Invalid, Ticket, Time, World},
};

type Answer = Result<Json<Ticket>, Refusal>;

/// Its own routes.
pub(super) fn routes() -> Router<World> {
    Router::new()
        .route("/tickets", get(bulk))
        .route("/tickets/{id}", get(one))
        .route("/tickets/{id}/accept", post(accept))
        .route("/tickets/{id}/preparing", post(preparing))
        .route("/tickets/{id}/ready", post(ready))
        .route("/tickets/{id}/pickup", post(pickup))
        .route("/restaurants/{id}", get(replica::restaurant))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Acceptance {
    ready_by: Time,
}

async fn accept(State(world): State<World>, Id(id): Id, Body(acceptance): Body<Acceptance>) -> Answer {
    let ready_by = acceptance.ready_by;
    if ready_by <= Time::now() {
        return Err(Invalid::new("readyBy", "a time in the future is expected").into());
    }
    act(&world, id, Action::Accept(ready_by))
}

async fn preparing(State(world): State<World>, Id(id): Id) -> Answer {
    act(&world, id, Action::Preparing)
}

async fn ready(State(world): State<World>, Id(id): Id) -> Answer {
    act(&world, id, Action::Ready)
}

async fn pickup(State(world): State<World>, Id(id): Id) -> Answer {
    act(&world, id, Action::Pickup)
}

fn act(world: &World, id: i64, action: Action) -> Answer {
    world.state().act_on_ticket(id, action).map(Json)
}

async fn one(State(world): State<World>, Id(id): Id) -> Answer {
    world.state().tickets.get(&id).cloned().map(Json).ok_or(Refusal::NotFound)
}

async fn bulk(State(world): State<World>, params: Params) -> Result<Json<Vec<Ticket>>, Refusal> {
    let ids = params.ids("orderIds")?;
    let state = world.state();
    Ok(Json(ids.iter().filter_map(|id| state.tickets.get(id).cloned()).collect()))
}
