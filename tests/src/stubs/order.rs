//! The order service over HTTP: takes, cancels and revises orders, each write once for each idempotency key.
//!
//! Not its gRPC side, which takes orders the same way.

use axum::{
    Json, Router,
    extract::State,
    http::HeaderMap,
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{
    problem::Refusal,
    replica,
    request::{Body, Id, Params, idempotency_key},
    world::{NewOrder, Order, Revision, World},
};

/// Its own routes.
pub(super) fn routes() -> Router<World> {
    Router::new()
        .route("/orders", post(create).get(bulk))
        .route("/orders/{id}", get(one))
        .route("/orders/{id}/cancel", post(cancel))
        .route("/orders/{id}/revise", post(revise))
        .route("/restaurants/{id}", get(replica::restaurant))
}

async fn create(
    State(world): State<World>,
    headers: HeaderMap,
    Body(order): Body<NewOrder>,
) -> Result<Json<Value>, Refusal> {
    let order_id = world.create_order_once(idempotency_key(&headers), &order)?;
    Ok(Json(json!({ "orderId": order_id })))
}

async fn cancel(State(world): State<World>, Id(id): Id, headers: HeaderMap) -> Result<Json<Value>, Refusal> {
    world.cancel_order(idempotency_key(&headers), id).map(Json)
}

async fn revise(
    State(world): State<World>,
    Id(id): Id,
    headers: HeaderMap,
    Body(revision): Body<Revision>,
) -> Result<Json<Value>, Refusal> {
    world.revise_order(idempotency_key(&headers), id, &revision).map(Json)
}

async fn one(State(world): State<World>, Id(id): Id) -> Result<Json<Order>, Refusal> {
    world.state().order(id).cloned().map(Json)
}

async fn bulk(State(world): State<World>, params: Params) -> Result<Json<Vec<Order>>, Refusal> {
    let ids = params.ids("ids")?;
    let state = world.state();
    Ok(Json(ids.iter().filter_map(|id| state.orders.get(id).cloned()).collect()))
}
