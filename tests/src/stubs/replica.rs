//! What the order and kitchen services keep of a restaurant: that it is there.
//!
//! Not the restaurant itself, which its own service shows.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{problem::Refusal, request::Id, world::World};

/// Answers the id of a restaurant that is known.
pub(super) async fn restaurant(State(world): State<World>, Id(id): Id) -> Result<Json<Value>, Refusal> {
    let known = world.state().restaurants.contains_key(&id);
    known.then(|| Json(json!({ "restaurantId": id }))).ok_or(Refusal::NotFound)
}
