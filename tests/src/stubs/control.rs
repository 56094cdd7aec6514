//! The control API of the stubs, on a listener of its own, so that it answers while a service refuses.
//!
//! It takes no faults and is not counted.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::backend::Backend;
use super::faults::Faults;
use super::fields::{Fields, parse};
use super::problem::Problem;
use super::recorder::Recorder;
use super::tokens::{Claims, Grant, Kind, Tokens};
use super::world::{Invalid, World};

/// How long a token lives if nobody says.
const LIFETIME_MS: i64 = 3_600_000;

/// What the control API turns.
pub(super) struct Controls {
    pub(super) world: World,
    pub(super) faults: Arc<Faults>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) tokens: Arc<Tokens>,
    /// The time of a saga's step at the start.
    pub(super) saga_step: Duration,
}

type Shared = State<Arc<Controls>>;
type Answer = Result<Json<Value>, Problem>;

/// The control API.
pub(super) fn router(controls: Controls) -> Router {
    Router::new()
        .route("/faults/{service}", put(set_faults).delete(heal))
        .route("/faults", axum::routing::delete(heal_all))
        .route("/requests/{service}", get(requests))
        .route("/requests", get(all_requests).delete(clear))
        .route("/tokens", post(give_token))
        .route("/seed", post(seed))
        .route("/keys/rotate", post(rotate))
        .route("/clock", put(set_clock))
        .route("/reset", post(reset))
        .route("/health", get(async || done()))
        .fallback(async || not_found("there is no such call".to_owned()))
        // A seed may be long, and whoever sends it is on this machine.
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::new(controls))
}

fn done() -> Answer {
    Ok(Json(json!({})))
}

fn not_found(detail: String) -> Problem {
    Problem { status: StatusCode::NOT_FOUND, detail, field: String::new() }
}

fn named(service: &str) -> Result<Backend, Problem> {
    Backend::by_name(service).ok_or_else(|| {
        let names: Vec<_> = Backend::all().map(Backend::name).collect();
        not_found(format!("there is no service {service:?}, but {}", names.join(", ")))
    })
}

async fn set_faults(State(controls): Shared, Path(service): Path<String>, body: Bytes) -> Answer {
    controls.faults.set(named(&service)?, parse(&body)?).await?;
    done()
}

async fn heal(State(controls): Shared, Path(service): Path<String>) -> Answer {
    controls.faults.heal(named(&service)?).await;
    done()
}

async fn heal_all(State(controls): Shared) -> Answer {
    controls.faults.heal_all().await;
    done()
}

async fn requests(State(controls): Shared, Path(service): Path<String>) -> Answer {
    Ok(Json(json!(controls.recorder.counts(named(&service)?))))
}

async fn all_requests(State(controls): Shared) -> Answer {
    let counts = |backend: Backend| (backend.name().to_owned(), json!(controls.recorder.counts(backend)));
    Ok(Json(Value::Object(Backend::all().map(counts).collect())))
}

async fn clear(State(controls): Shared) -> Answer {
    controls.recorder.clear();
    done()
}

async fn give_token(State(controls): Shared, body: Bytes) -> Answer {
    let grant = read_grant(parse(&body)?)?;
    Ok(Json(json!({"access_token": controls.tokens.give(&grant)})))
}

fn read_grant(value: Value) -> Result<Grant, Invalid> {
    let mut fields = Fields::of(value, "")?;
    let grant = Grant {
        sub: fields.required("sub")?,
        roles: fields.take("roles")?.unwrap_or_default(),
        scope: fields.take("scope")?.unwrap_or_default(),
        expires_in: fields.signed_millis("expiresIn")?.unwrap_or(LIFETIME_MS),
        kind: read_kind(&mut fields)?,
        claims: fields.take::<Claims>("claims")?.unwrap_or_default(),
    };
    fields.end()?;
    Ok(grant)
}

fn read_kind(fields: &mut Fields) -> Result<Kind, Invalid> {
    match fields.take::<String>("kind")?.as_deref() {
        None | Some("jwt") => Ok(Kind::Jwt),
        Some("reference") => Ok(Kind::Reference),
        Some(_) => Err(fields.wrong("kind", "must be \"jwt\" or \"reference\"")),
    }
}

async fn seed(State(controls): Shared, body: Bytes) -> Answer {
    controls.world.seed(&parse(&body)?)?;
    done()
}

async fn rotate(State(controls): Shared) -> Answer {
    controls.tokens.rotate();
    done()
}

async fn set_clock(State(controls): Shared, body: Bytes) -> Answer {
    let mut fields = Fields::of(parse(&body)?, "")?;
    let step = fields.duration("sagaStep")?.ok_or_else(|| fields.wrong("sagaStep", "is required"))?;
    fields.end()?;
    controls.world.set_saga_step(step);
    done()
}

async fn reset(State(controls): Shared) -> Answer {
    controls.faults.heal_all().await;
    controls.world.reset();
    controls.world.set_saga_step(controls.saga_step);
    controls.recorder.clear();
    done()
}
