//! The OpenID provider and the tokens of the control API.

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation};
use serde_json::json;

use super::*;

/// Checks a token as a gateway would: issuer, audience, times, and a key of the published set.
async fn verified(stubs: &Stubs, token: &str) -> jsonwebtoken::errors::Result<TokenData<Value>> {
    let keys: JwkSet = serde_json::from_value(get(stubs.identity(), "/jwks").await.json()).unwrap();
    let id = jsonwebtoken::decode_header(token)?.kid.unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["ftgo"]);
    validation.set_issuer(&[format!("http://{}", stubs.identity())]);
    jsonwebtoken::decode(token, &DecodingKey::from_jwk(keys.find(&id).unwrap())?, &validation)
}

async fn token(stubs: &Stubs, body: Value) -> String {
    let answer = call(stubs.control(), Method::POST, "/tokens", body).await.json();
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn introspected(stubs: &Stubs, token: &str) -> Value {
    form(stubs.identity(), "/introspect", &format!("token={token}")).await.json()
}

#[tokio::test]
async fn a_token_says_what_was_asked_for_and_holds_against_the_published_keys() {
    let stubs = stubs();
    let body = json!({"sub": "7", "roles": ["consumer"], "scope": "orders:read", "claims": {"tier": "gold"}});
    let claims = verified(&stubs, &token(&stubs, body).await).await.unwrap().claims;
    assert_eq!((&claims["sub"], &claims["roles"]), (&json!("7"), &json!(["consumer"])));
    assert_eq!((&claims["scope"], &claims["tier"]), (&json!("orders:read"), &json!("gold")));
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(lifetime, 3600);
    assert!(verified(&stubs, &stubs.token("7", &["consumer"], "")).await.is_ok());
}

#[tokio::test]
async fn wrong_tokens_can_be_made_on_purpose() {
    let stubs = stubs();
    for wrong in [
        json!({"sub": "7", "expiresIn": "-5m"}),
        json!({"sub": "7", "claims": {"iss": "http://elsewhere"}}),
        json!({"sub": "7", "claims": {"aud": "other"}}),
        json!({"sub": "7", "claims": {"exp": 1}}),
        json!({"sub": "7", "claims": {"exp": null}}),
    ] {
        assert!(verified(&stubs, &token(&stubs, wrong.clone()).await).await.is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn after_a_rotation_new_tokens_have_a_new_key_and_old_ones_still_hold() {
    let stubs = stubs();
    let old = stubs.token("7", &[], "");
    call(stubs.control(), Method::POST, "/keys/rotate", json!(null)).await;
    let new = stubs.token("7", &[], "");
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid;
    assert_ne!(kid(&old), kid(&new));
    assert!(verified(&stubs, &old).await.is_ok() && verified(&stubs, &new).await.is_ok());
}

#[tokio::test]
async fn a_reference_token_is_known_to_introspection_until_it_is_revoked() {
    let stubs = stubs();
    let reference = token(&stubs, json!({"sub": "7", "kind": "reference", "roles": ["consumer"]})).await;
    assert!(!reference.contains('.'));
    let answer = introspected(&stubs, &reference).await;
    assert_eq!((&answer["active"], &answer["sub"]), (&json!(true), &json!("7")));
    let revoked = form(stubs.identity(), "/revoke", &format!("token={reference}")).await;
    assert_eq!(revoked.status, StatusCode::OK);
    assert_eq!(introspected(&stubs, &reference).await, json!({"active": false}));
}

#[tokio::test]
async fn introspection_knows_value_tokens_and_sees_through_expired_and_foreign_ones() {
    let (stubs, stranger) = (stubs(), self::stubs());
    assert_eq!(introspected(&stubs, &stubs.token("7", &[], "")).await["active"], true);
    assert_eq!(introspected(&stubs, &stranger.token("7", &[], "")).await["active"], false);
    for kind in ["jwt", "reference"] {
        let expired = token(&stubs, json!({"sub": "7", "kind": kind, "expiresIn": "-1s"})).await;
        assert_eq!(introspected(&stubs, &expired).await["active"], false, "{kind}");
    }
    assert_eq!(introspected(&stubs, "nonsense").await["active"], false);
}

#[tokio::test]
async fn introspection_exchanges_a_reference_for_a_value_token_if_asked_for_one() {
    let stubs = stubs();
    let reference = token(&stubs, json!({"sub": "7", "kind": "reference"})).await;
    let mut ask = request(Method::POST, "/introspect", format!("token={reference}"));
    let headers = ask.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/jwt"));
    let seen = send(stubs.identity(), ask).await.unwrap();
    assert_eq!(seen.headers[header::CONTENT_TYPE], "application/jwt");
    let value = String::from_utf8(seen.bytes().to_vec()).unwrap();
    assert_eq!(verified(&stubs, &value).await.unwrap().claims["sub"], "7");
}

#[tokio::test]
async fn discovery_names_endpoints_that_exist() {
    let stubs = stubs();
    let found = get(stubs.identity(), "/.well-known/openid-configuration").await.json();
    let issuer = format!("http://{}", stubs.identity());
    assert_eq!(found["issuer"], issuer);
    for name in ["jwks_uri", "token_endpoint", "introspection_endpoint", "revocation_endpoint"] {
        let path = found[name].as_str().unwrap().strip_prefix(&issuer).unwrap().to_owned();
        assert_ne!(get(stubs.identity(), &path).await.status, StatusCode::NOT_FOUND, "{name}");
    }
}

#[tokio::test]
async fn client_credentials_give_a_token_for_the_client() {
    let stubs = stubs();
    let body = "grant_type=client_credentials&client_id=support&scope=orders%3Aread";
    let answer = form(stubs.identity(), "/token", body).await.json();
    let claims = verified(&stubs, answer["access_token"].as_str().unwrap()).await.unwrap().claims;
    assert_eq!((&claims["sub"], &claims["scope"]), (&json!("support"), &json!("orders:read")));
    let refused = form(stubs.identity(), "/token", "grant_type=password").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.json()["error"], "unsupported_grant_type");
}

/// Logs courier 7 in; the code that the browser brings back.
async fn code(stubs: &Stubs, verifier: &str) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    let path = format!(
        "/authorize?response_type=code&client_id=web&redirect_uri=http%3A%2F%2Fapp%2Fback&scope=openid\
         &state=a%26b&code_challenge={challenge}&code_challenge_method=S256&login_hint=courier-7&nonce=n1"
    );
    let seen = get(stubs.identity(), &path).await;
    assert_eq!(seen.status, StatusCode::FOUND);
    let location = seen.headers[header::LOCATION].to_str().unwrap().to_owned();
    let rest = location.strip_prefix("http://app/back?code=").unwrap();
    rest.strip_suffix("&state=a%26b").unwrap().to_owned()
}

fn exchange(code: &str, verifier: &str) -> String {
    format!(
        "grant_type=authorization_code&client_id=web&redirect_uri=http%3A%2F%2Fapp%2Fback&code={code}\
         &code_verifier={verifier}"
    )
}

#[tokio::test]
async fn a_login_hint_becomes_a_token_by_code_and_verifier_once() {
    let stubs = stubs();
    let code = code(&stubs, "secret").await;
    let answer = form(stubs.identity(), "/token", &exchange(&code, "secret")).await.json();
    let claims = verified(&stubs, answer["access_token"].as_str().unwrap()).await.unwrap().claims;
    assert_eq!((&claims["sub"], &claims["roles"]), (&json!("courier-7"), &json!(["courier"])));
    assert!(answer["id_token"].is_string());
    let again = form(stubs.identity(), "/token", &exchange(&code, "secret")).await;
    assert_eq!(again.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn a_code_is_worth_nothing_without_its_verifier() {
    let stubs = stubs();
    let code = code(&stubs, "secret").await;
    let refused = form(stubs.identity(), "/token", &exchange(&code, "guess")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn a_login_without_pkce_is_sent_back_with_an_error() {
    let stubs = stubs();
    let path = "/authorize?response_type=code&client_id=web&redirect_uri=http%3A%2F%2Fapp%2Fback&state=s";
    let seen = get(stubs.identity(), path).await;
    assert_eq!(seen.headers[header::LOCATION], "http://app/back?error=invalid%5Frequest&state=s");
}
