//! The delivery service: deliveries, and couriers who start and end work.
//!
//! That a courier has the food is told to the kitchen, which hands it out.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;

use super::{
    problem::Refusal,
    request::{Body, Id, Params},
    world::{Delivery, World},
};

/// Its own routes.
pub(super) fn routes() -> Router<World> {
    Router::new()
        .route("/deliveries", get(bulk))
        .route("/deliveries/{id}", get(one))
        .route("/deliveries/{id}/dropoff", post(drop_off))
        .route("/couriers/{id}/availability", post(set_available))
}

#[derive(Deserialize)]
struct Availability {
    available: bool,
}

async fn one(State(world): State<World>, Id(id): Id) -> Result<Json<Delivery>, Refusal> {
    world.state().deliveries.all().get(&id).cloned().map(Json).ok_or(Refusal::NotFound)
}

async fn bulk(State(world): State<World>, params: Params) -> Result<Json<Vec<Delivery>>, Refusal> {
    let ids = params.ids("orderIds")?;
    let state = world.state();
    Ok(Json(ids.iter().filter_map(|id| state.deliveries.all().get(id).cloned()).collect()))
}

async fn drop_off(State(world): State<World>, Id(id): Id) -> Result<Json<Delivery>, Refusal> {
    world.state().deliveries.drop_off(id).map(Json)
}

async fn set_available(
    State(world): State<World>,
    Id(id): Id,
    Body(Availability { available }): Body<Availability>,
) -> StatusCode {
    world.state().deliveries.set_available(id, available);
    StatusCode::OK
}
