//! The restaurant service: restaurants, their menus, and which of them serve a place at an hour.
//!
//! All its reads can be cached and are answered conditionally.

use std::str::FromStr;

use axum::{
    Json, Router,
    extract::State,
    http::HeaderMap,
    response::Response,
    routing::{get, post, put},
};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{
    conditional::conditional,
    problem::Refusal,
    request::{Body, Id, Params},
    world::{Address, Hour, Menu, Restaurant, Time, World},
};

/// Its own routes.
pub(super) fn routes() -> Router<World> {
    Router::new()
        .route("/restaurants", post(create).get(list))
        .route("/restaurants/{id}", get(one))
        .route("/restaurants/{id}/menu", put(set_menu))
}

#[derive(Deserialize)]
struct NewRestaurant {
    name: String,
    address: Address,
    menu: Menu,
    #[serde(default, deserialize_with = "or_none")]
    zips: Vec<String>,
    opens: Option<Hour>,
    closes: Option<Hour>,
}

fn or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

async fn create(State(world): State<World>, Body(new): Body<NewRestaurant>) -> Json<Value> {
    let NewRestaurant { name, address, menu, zips, opens, closes } = new;
    let mut state = world.state();
    let id = state.new_restaurant_id();
    let address = Some(address);
    state.put_restaurant(Restaurant { id, name, address, menu, zips, opens, closes, modified: 0 });
    Json(json!({ "id": id }))
}

async fn set_menu(
    State(world): State<World>,
    Id(id): Id,
    Body(menu): Body<Menu>,
) -> Result<Json<Restaurant>, Refusal> {
    let mut state = world.state();
    let restaurant = state.restaurants.get(&id).cloned().ok_or(Refusal::NotFound)?;
    state.put_restaurant(Restaurant { menu, ..restaurant });
    Ok(Json(state.restaurants[&id].clone()))
}

async fn one(State(world): State<World>, Id(id): Id, headers: HeaderMap) -> Result<Response, Refusal> {
    let restaurant = world.state().restaurants.get(&id).cloned().ok_or(Refusal::NotFound)?;
    Ok(conditional(&headers, &restaurant, restaurant.modified))
}

async fn list(State(world): State<World>, params: Params, headers: HeaderMap) -> Result<Response, Refusal> {
    let modified = world.state().restaurants_modified;
    if !params.has("ids") {
        return Ok(conditional(&headers, &Search::of(&params)?.page(&world), modified));
    }
    let ids = params.ids("ids")?;
    let state = world.state();
    let found: Vec<_> = ids.iter().filter_map(|id| state.restaurants.get(id)).collect();
    Ok(conditional(&headers, &found, modified))
}

/// Which restaurants are asked for.
struct Search {
    zip: Option<String>,
    at: Option<Hour>,
    /// In lower case.
    words: Option<String>,
    page_size: usize,
    after: Option<Key>,
}

impl Search {
    fn of(params: &Params) -> Result<Search, Refusal> {
        Ok(Search {
            zip: params.text("zip").map(str::to_owned),
            at: params.read("at", hour)?,
            words: params.text("q").map(str::to_lowercase),
            page_size: params.page_size()?,
            after: params.start_key()?,
        })
    }

    fn admits(&self, restaurant: &Restaurant) -> bool {
        self.zip.as_ref().is_none_or(|zip| restaurant.zips.is_empty() || restaurant.zips.contains(zip))
            && self.at.is_none_or(|at| open(restaurant, at))
            && self.words.as_ref().is_none_or(|words| named(restaurant, words))
    }

    fn page(&self, world: &World) -> Value {
        let state = world.state();
        let after =
            self.after.as_ref().map_or(std::ops::Bound::Unbounded, |key| std::ops::Bound::Excluded(key.0));
        let rest =
            state.restaurants.range((after, std::ops::Bound::Unbounded)).map(|(_, restaurant)| restaurant);
        let mut page: Vec<_> = rest.filter(|found| self.admits(found)).take(self.page_size + 1).collect();
        let more = page.len() > self.page_size;
        page.truncate(self.page_size);
        let start_key = page.last().filter(|_| more).map(|last| format!("r{:016x}", last.id));
        json!({ "restaurants": page, "startKey": start_key })
    }
}

/// A page's last restaurant.
struct Key(i64);

impl FromStr for Key {
    type Err = &'static str;

    fn from_str(key: &str) -> Result<Key, Self::Err> {
        let digits = key.strip_prefix('r').filter(|digits| digits.len() == 16 && !digits.starts_with('+'));
        let id = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        id.map(|id| Key(id.cast_signed())).ok_or("not a key that this service gave")
    }
}

/// An hour of the day, or the hour of a time.
fn hour(text: &str) -> Result<Hour, &'static str> {
    text.parse().or_else(|wrong| text.parse().map(Time::hour).map_err(|_| wrong))
}

/// Those who close before they open are open past midnight.
fn open(restaurant: &Restaurant, at: Hour) -> bool {
    match (restaurant.opens, restaurant.closes) {
        (Some(opens), Some(closes)) if opens < closes => opens <= at && at < closes,
        (Some(opens), Some(closes)) if opens > closes => opens <= at || at < closes,
        (Some(opens), None) => opens <= at,
        (None, Some(closes)) => at < closes,
        _ => true,
    }
}

fn named(restaurant: &Restaurant, words: &str) -> bool {
    let dishes = restaurant.menu.menu_items.iter().map(|item| &item.name);
    dishes.chain([&restaurant.name]).any(|name| name.to_lowercase().contains(words))
}
