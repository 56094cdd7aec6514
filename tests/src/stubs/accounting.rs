//! The accounting service: accounts, one for each consumer, and bills, one for each order.
//!
//! It has no writes: the sagas make and change bills.

use axum::{Json, Router, extract::State, routing::get};
use serde_json::{Value, json};

use super::{
    problem::Refusal,
    request::{Id, Params},
    world::{Bill, World},
};

/// Its own routes.
pub(super) fn routes() -> Router<World> {
    Router::new()
        .route("/accounts/{id}", get(account))
        .route("/bills", get(bulk))
        .route("/bills/{orderId}", get(one))
}

async fn account(State(world): State<World>, Id(id): Id) -> Result<Json<Value>, Refusal> {
    let known = world.state().consumers.contains_key(&id);
    known.then(|| Json(json!({ "accountId": id }))).ok_or(Refusal::NotFound)
}

async fn one(State(world): State<World>, Id(id): Id) -> Result<Json<Bill>, Refusal> {
    world.state().bills.get(&id).cloned().map(Json).ok_or(Refusal::NotFound)
}

async fn bulk(State(world): State<World>, params: Params) -> Result<Json<Vec<Bill>>, Refusal> {
    let ids = params.ids("orderIds")?;
    let state = world.state();
    Ok(Json(ids.iter().filter_map(|id| state.bills.get(id).cloned()).collect()))
}
