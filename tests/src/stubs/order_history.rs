//! The order-history service: a consumer's orders, newest first, filtered and in pages.
//!
//! Its ids are strings, unlike everybody else's.

use axum::{Json, Router, extract::State, routing::get};
use serde_json::{Value, json};

use super::{
    problem::Refusal,
    request::{Id, Params},
    world::{Page, Search, World, time_or_date},
};

/// Its own routes.
pub(super) fn routes() -> Router<World> {
    Router::new().route("/orders", get(page)).route("/orders/{id}", get(one))
}

async fn page(State(world): State<World>, params: Params) -> Result<Json<Page>, Refusal> {
    let search = Search {
        consumer_id: params.id("consumerId")?,
        status: params.variant("status")?,
        since: params.read("since", time_or_date)?,
        keywords: params.words("keywords").into_iter().map(str::to_lowercase).collect(),
        page_size: params.page_size()?,
        after: params.start_key()?,
    };
    Ok(Json(world.state().history.page(&search)))
}

async fn one(State(world): State<World>, Id(id): Id) -> Result<Json<Value>, Refusal> {
    let state = world.state();
    state.history.get(id).map(|entry| Json(json!(entry))).ok_or(Refusal::NotFound)
}
