//! The consumer service: who orders.
//!
//! It knows names only; whether a card can be charged is accounting's.

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    problem::Refusal,
    request::{Body, Id, Params},
    world::{Card, Consumer, Name, World},
};

/// Its own routes.
pub(super) fn routes() -> Router<World> {
    Router::new().route("/consumers", post(create).get(bulk)).route("/consumers/{id}", get(one))
}

#[derive(Deserialize)]
struct NewConsumer {
    name: Name,
}

async fn create(State(world): State<World>, Body(NewConsumer { name }): Body<NewConsumer>) -> Json<Value> {
    let mut state = world.state();
    let consumer_id = state.new_consumer_id();
    state.consumers.insert(consumer_id, Consumer { consumer_id, name, card: Card::Valid });
    Json(json!({ "consumerId": consumer_id }))
}

async fn one(State(world): State<World>, Id(id): Id) -> Result<Json<Consumer>, Refusal> {
    world.state().consumers.get(&id).cloned().map(Json).ok_or(Refusal::NotFound)
}

async fn bulk(State(world): State<World>, params: Params) -> Result<Json<Vec<Consumer>>, Refusal> {
    let ids = params.ids("ids")?;
    let state = world.state();
    Ok(Json(ids.iter().filter_map(|id| state.consumers.get(id).cloned()).collect()))
}
