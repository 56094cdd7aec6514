//! The OpenID provider for tests: whoever asks, gets.
//!
//! It checks what a gateway must get right (PKCE, redirect URI, single use of codes) and not who the client is:
//! any client id and any secret will do, and nobody is asked for consent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::tokens::{Claims, Grant, Kind, Tokens, random};

/// What it answers, for the counters.
pub(super) const PATHS: &[&str] = &[
    "/.well-known/openid-configuration",
    "/jwks",
    "/token",
    "/introspect",
    "/revoke",
    "/authorize",
    "/health",
];

/// How long the tokens of `/token` live.
const LIFETIME: Duration = Duration::from_secs(3600);
/// How long a code may wait for its exchange.
const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// Who logs in when `login_hint` names nobody: John Doe.
const SOMEBODY: &str = "1511300065921";

type Params = HashMap<String, String>;
type Provider = State<Arc<Identity>>;

struct Identity {
    tokens: Arc<Tokens>,
    codes: Mutex<HashMap<String, Code>>,
}

/// A login that waits for its code to be exchanged.
struct Code {
    given: Instant,
    client: String,
    redirect: String,
    challenge: String,
    sub: String,
    scope: String,
    nonce: Option<String>,
}

/// An error of RFC 6749, section 5.2.
struct Refusal(StatusCode, &'static str, &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1, "error_description": self.2}))).into_response()
    }
}

/// The provider over these tokens.
pub(super) fn router(tokens: Arc<Tokens>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(configuration))
        .route("/jwks", get(async |State(identity): Provider| Json(identity.tokens.key_set())))
        .route("/token", post(token))
        .route("/introspect", post(introspect))
        .route("/revoke", post(revoke))
        .route("/authorize", get(authorize))
        .route("/health", get(async || Json(json!({"status": "UP"}))))
        .with_state(Arc::new(Identity { tokens, codes: Mutex::default() }))
}

/// OpenID Connect Discovery 1.0, section 3.
async fn configuration(State(identity): Provider) -> Json<Value> {
    let issuer = identity.tokens.issuer();
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "introspection_endpoint": format!("{issuer}/introspect"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "client_credentials"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "scopes_supported": [
            "openid", "orders:read", "orders:write", "consumers:read", "restaurants:write", "deliveries:write",
        ],
    }))
}

/// Logs `login_hint` in at once and sends the browser back with a code (RFC 6749, section 4.1; RFC 7636).
async fn authorize(State(identity): Provider, Query(params): Query<Params>) -> Response {
    let (Some(client), Some(redirect)) = (params.get("client_id"), params.get("redirect_uri")) else {
        let reason = "client_id and redirect_uri are required";
        return Refusal(StatusCode::BAD_REQUEST, "invalid_request", reason).into_response();
    };
    let of = |name: &str| params.get(name).map_or("", String::as_str);
    let answer = if of("response_type") != "code" {
        ("error", "unsupported_response_type".to_owned())
    } else if of("code_challenge").is_empty() || of("code_challenge_method") != "S256" {
        ("error", "invalid_request".to_owned())
    } else {
        let code = random();
        identity.codes.lock().insert(code.clone(), Code::new(client, redirect, &params));
        ("code", code)
    };
    back(redirect, answer, params.get("state"))
}

/// Sends the browser to the client with an answer and the state it gave.
fn back(redirect: &str, (name, value): (&str, String), state: Option<&String>) -> Response {
    let mark = if redirect.contains('?') { '&' } else { '?' };
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let state = state.map_or(String::new(), |state| format!("&state={}", encode(state)));
    let location = format!("{redirect}{mark}{name}={}{state}", encode(&value));
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

impl Code {
    fn new(client: &str, redirect: &str, params: &Params) -> Code {
        let of = |name: &str| params.get(name).cloned().unwrap_or_default();
        Code {
            given: Instant::now(),
            client: client.to_owned(),
            redirect: redirect.to_owned(),
            challenge: of("code_challenge"),
            sub: params.get("login_hint").cloned().unwrap_or_else(|| SOMEBODY.to_owned()),
            scope: of("scope"),
            nonce: params.get("nonce").cloned(),
        }
    }

    /// Whether the exchange comes from whoever asked for the code, in time.
    fn fits(&self, client: &str, params: &Params) -> bool {
        let of = |name: &str| params.get(name).map_or("", String::as_str);
        let hash = digest(&SHA256, of("code_verifier").as_bytes());
        self.client == client
            && self.redirect == of("redirect_uri")
            && self.challenge == URL_SAFE_NO_PAD.encode(hash)
            && self.given.elapsed() < CODE_LIFETIME
    }
}

async fn token(State(identity): Provider, headers: HeaderMap, Form(params): Form<Params>) -> Response {
    let client = client(&headers, &params);
    let answer = match params.get("grant_type").map(String::as_str) {
        Some("client_credentials") => identity.client_credentials(client, &params),
        Some("authorization_code") => identity.exchange(client.as_deref(), &params),
        _ => Err(Refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type", "see the discovery document")),
    };
    // RFC 6749, section 5.1
    answer.map(|answer| ([(header::CACHE_CONTROL, "no-store")], Json(answer))).into_response()
}

/// The client's id, by HTTP Basic or in the form.
fn client(headers: &HeaderMap, params: &Params) -> Option<String> {
    let basic =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let basic = basic.and_then(|text| String::from_utf8(STANDARD.decode(text).ok()?).ok());
    let id = basic.and_then(|pair| Some(pair.split_once(':')?.0.to_owned()));
    id.or_else(|| params.get("client_id").cloned())
}

impl Identity {
    fn client_credentials(&self, client: Option<String>, params: &Params) -> Result<Value, Refusal> {
        let refusal = Refusal(StatusCode::UNAUTHORIZED, "invalid_client", "client_id is required");
        let sub = client.ok_or(refusal)?;
        let scope = params.get("scope").cloned().unwrap_or_default();
        let access = self.tokens.give(&grant(sub, scope.clone(), Claims::new()));
        Ok(bearer(&access, &scope))
    }

    fn exchange(&self, client: Option<&str>, params: &Params) -> Result<Value, Refusal> {
        let refusal = Refusal(
            StatusCode::BAD_REQUEST,
            "invalid_grant",
            "the code is unknown, used or too old, or client_id, redirect_uri or code_verifier do not fit it",
        );
        let code = params.get("code").and_then(|code| self.codes.lock().remove(code));
        let fitting = code.filter(|code| code.fits(client.unwrap_or_default(), params));
        let code = fitting.ok_or(refusal)?;
        let access = self.tokens.give(&grant(code.sub.clone(), code.scope.clone(), Claims::new()));
        let mut answer = bearer(&access, &code.scope);
        if code.scope.split(' ').any(|scope| scope == "openid") {
            answer["id_token"] = self.id_token(code).into();
        }
        Ok(answer)
    }

    /// OpenID Connect Core 1.0, section 2: the audience is the client.
    fn id_token(&self, code: Code) -> String {
        let mut claims = Claims::new();
        claims.insert("aud".to_owned(), code.client.into());
        claims.insert("scope".to_owned(), Value::Null);
        claims.insert("nonce".to_owned(), code.nonce.map_or(Value::Null, Value::from));
        self.tokens.give(&grant(code.sub, String::new(), claims))
    }
}

fn bearer(access: &str, scope: &str) -> Value {
    json!({"access_token": access, "token_type": "Bearer", "expires_in": LIFETIME.as_secs(), "scope": scope})
}

fn grant(sub: String, scope: String, claims: Claims) -> Grant {
    let expires_in = i64::try_from(LIFETIME.as_millis()).expect("an hour fits");
    Grant { roles: roles(&sub), sub, scope, expires_in, kind: Kind::Jwt, claims }
}

/// The role a subject's name tells: a number is a consumer, `courier-7` a courier.
fn roles(sub: &str) -> Vec<String> {
    let kind = sub.split('-').next().unwrap_or_default();
    let role = match kind {
        "courier" | "restaurant" | "support" => kind,
        _ if sub.parse::<i64>().is_ok() => "consumer",
        _ => return Vec::new(),
    };
    vec![role.to_owned()]
}

/// RFC 7662. With `Accept: application/jwt` the answer is the value token itself, 204 for an inactive one: a
/// gateway exchanges a reference token so.
async fn introspect(State(identity): Provider, headers: HeaderMap, Form(params): Form<Params>) -> Response {
    let Some(token) = params.get("token") else {
        return Refusal(StatusCode::BAD_REQUEST, "invalid_request", "token is required").into_response();
    };
    let claims = identity.tokens.active(token);
    if headers.get(header::ACCEPT).is_some_and(|accept| accept == "application/jwt") {
        return match claims {
            Some(claims) => {
                ([(header::CONTENT_TYPE, "application/jwt")], identity.tokens.sign(&claims)).into_response()
            }
            None => StatusCode::NO_CONTENT.into_response(),
        };
    }
    let mut answer = json!({"active": claims.is_some()});
    if let (Some(answer), Some(claims)) = (answer.as_object_mut(), claims) {
        answer.extend(claims);
        answer.insert("token_type".to_owned(), "Bearer".into());
    }
    Json(answer).into_response()
}

/// RFC 7009: 200 for any token, known or not.
async fn revoke(State(identity): Provider, Form(params): Form<Params>) -> Response {
    match params.get("token") {
        Some(token) => {
            identity.tokens.revoke(token);
            StatusCode::OK.into_response()
        }
        None => Refusal(StatusCode::BAD_REQUEST, "invalid_request", "token is required").into_response(),
    }
}
