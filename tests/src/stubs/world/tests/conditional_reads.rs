//! Restaurants, asked for again.

use super::*;
use Service::Restaurant;

async fn get_if(world: &World, path: &str, conditions: &[(&str, &str)]) -> Answer {
    let request =
        conditions.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    world.send(Restaurant, request.body(Body::empty()).unwrap()).await
}

async fn change_menu(world: &World) {
    let menu = json!({ "menuItems": [{ "id": "1", "name": "Chicken Vindaloo", "price": "12.99" }] });
    let request = Request::put("/restaurants/1/menu").body(menu.to_string().into()).unwrap();
    let changed = world.send(Restaurant, request).await.json();
    assert_eq!(changed["menu"], menu);
}

const READS: [&str; 3] = ["/restaurants/1", "/restaurants?ids=1,2", "/restaurants?q=vindaloo"];

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let world = World::seeded();
    for path in READS {
        let first = world.get(Restaurant, path).await;
        assert_eq!(first.header("cache-control"), "public, max-age=60");
        let (etag, modified) = (first.header("etag"), first.header("last-modified"));
        let listed = format!("\"other\", W/{etag}");
        for condition in [
            ("if-none-match", etag),
            ("if-none-match", &listed),
            ("if-none-match", "*"),
            ("if-modified-since", modified),
        ] {
            let again = get_if(&world, path, &[condition]).await;
            assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{path} {condition:?}");
            assert_eq!(again.header("etag"), etag);
        }
    }
}

#[tokio::test]
async fn a_tag_that_does_not_match_overrules_a_date_that_would() {
    let world = World::seeded();
    let modified = world.get(Restaurant, READS[0]).await.header("last-modified").to_owned();
    let conditions = [("if-none-match", "\"other\""), ("if-modified-since", modified.as_str())];
    assert_eq!(get_if(&world, READS[0], &conditions).await.status, 200);
}

#[tokio::test]
async fn a_change_shows_at_once_by_tag_and_by_date() {
    let world = World::seeded();
    for path in READS {
        for _ in 0..2 {
            let before = world.get(Restaurant, path).await;
            let other = get_if(&world, path, &[("if-modified-since", before.header("last-modified"))]).await;
            assert_eq!(other.status, 304);
            change_menu(&world).await;
            let by_date =
                get_if(&world, path, &[("if-modified-since", before.header("last-modified"))]).await;
            assert_eq!(by_date.status, 200);
            world.reset();
            let by_date =
                get_if(&world, path, &[("if-modified-since", by_date.header("last-modified"))]).await;
            assert_eq!(by_date.status, 200);
        }
    }
}

#[tokio::test]
async fn the_menu_of_an_unknown_restaurant_is_a_404_and_a_wrong_one_a_400() {
    let world = World::seeded();
    let put = |path: &str, menu: Value| Request::put(path).body(Body::from(menu.to_string())).unwrap();
    let unknown = world.send(Restaurant, put("/restaurants/999/menu", json!({ "menuItems": [] }))).await;
    assert_eq!(unknown.status, 404);
    let menu = json!({ "menuItems": [{ "id": "1", "name": "x", "price": 12.5 }] });
    let wrong = world.send(Restaurant, put("/restaurants/1/menu", menu)).await;
    assert_eq!(wrong.wrong_field(), "menuItems[0].price");
}
