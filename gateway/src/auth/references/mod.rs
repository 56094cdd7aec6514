//! Callers by reference token: a text without meaning, of which only the provider knows whose it is (RFC 7662).
//!
//! What it says is remembered, never beyond the token's `exp` nor for longer than `max_age` after it was asked: that is how
//! late a revocation may be noticed. However many requests bring a token along, one question about it is under way. Without
//! an answer nobody is let in; tokens that are remembered stay good until their time is over.
//!
//! Questions are asked on the control thread, so that no connection belongs to a worker's runtime; requests wait for the
//! answer. Tokens are known by their hashes. Not here: exchanging the token for one that services could read.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use moka::sync::Cache;
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Url, header, redirect};
use serde_json::{Map, Value};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{Instant, timeout},
};

use super::{
    Refusal, config::IntrospectConfig, jwt::seconds, policy::StrictObject, principal::Principal, told::Told,
};
use crate::mistake::{Mistake, below};

/// Questions under way at a time: a provider that is slow must not be asked by everybody at once.
const MOST_ASKED: usize = 64;
/// Questions that wait for that.
const MOST_WAITING: usize = 1_024;
/// Tokens that are remembered, some kilobytes each.
const MOST_KNOWN: u64 = 50_000;
/// Tokens that are remembered as bad: made-up ones must not drive each other to the provider, nor take more memory than this.
const MOST_REFUSED: u64 = 10_000;
/// A reference is short, and even a signed token is shorter.
const LONGEST_TOKEN: usize = 8 << 10;
/// A hundred times what a provider says of a token.
const LONGEST_ANSWER: usize = 64 << 10;
/// What a client is told to wait when the provider is gone: it may be back at any time.
const SOON: Duration = Duration::from_secs(1);

type Hash = [u8; 32];

/// The reference tokens of one provider.
pub(super) struct References {
    desk: Arc<Desk>,
    /// Until somebody answers questions.
    questions: Mutex<Option<mpsc::Receiver<Question>>>,
}

/// Where requests and answers meet.
struct Desk {
    provider: String,
    config: IntrospectConfig,
    told: Vec<Told>,
    client: Client,
    url: Url,
    known: Cache<Hash, Known>,
    refused: Cache<Hash, Instant>,
    flights: Mutex<HashMap<Hash, watch::Receiver<Option<Answer>>>>,
    asking: mpsc::Sender<Question>,
}

#[derive(Clone)]
struct Known {
    principal: Arc<Principal>,
    /// `max_age` after it was asked about.
    until: Instant,
    /// Its `exp`, in seconds since 1970.
    expires: u64,
}

struct Question {
    hash: Hash,
    token: String,
    landing: watch::Sender<Option<Answer>>,
}

/// What became of a question.
#[derive(Clone)]
enum Answer {
    Good(Known),
    Bad(String),
    None,
}

impl References {
    /// Reference tokens of the provider `name`, typed at the key path `at`.
    ///
    /// # Errors
    /// [`Mistake`] for an address that cannot be asked, and for times that make no sense beside each other.
    pub(super) fn build(
        name: &str,
        config: &IntrospectConfig,
        told: &[Told],
        at: &str,
    ) -> Result<Self, Mistake> {
        let mistake =
            |key: &str, what: &str| Mistake::new(below(at, key), format!("provider `{name}` {what}"));
        let url = Url::parse(&config.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| {
            mistake("url", "is asked at an address that is none").expected("http:// or https://")
        })?;
        if config.client_id.is_empty() {
            return Err(
                mistake("client_id", "is asked by nobody").expected("the name that it knows the gateway by")
            );
        }
        if config.timeout.0.is_zero() || config.timeout.0 > config.max_age.0 {
            let what = "would answer after what it says is too old";
            return Err(mistake("timeout", what).expected("above 0, and `max_age` at most"));
        }
        let client =
            client(&url, config).map_err(|why| mistake("url", &format!("cannot be asked: {why}")))?;
        let (asking, questions) = mpsc::channel(MOST_WAITING);
        let desk = Desk {
            provider: name.to_owned(),
            config: config.clone(),
            told: told.to_vec(),
            client,
            url,
            known: Cache::new(MOST_KNOWN),
            refused: Cache::new(MOST_REFUSED),
            flights: Mutex::default(),
            asking,
        };
        Ok(References { desk: Arc::new(desk), questions: Mutex::new(Some(questions)) })
    }

    /// Answers questions while `alive`.
    pub(super) fn keep_fresh(
        &self,
        mut alive: watch::Receiver<()>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (desk, questions) = (self.desk.clone(), self.questions.lock().take());
        async move {
            let Some(mut questions) = questions else { return };
            let free = Arc::new(Semaphore::new(MOST_ASKED));
            loop {
                let permit = free.clone().acquire_owned().await;
                tokio::select! {
                    _ = alive.changed() => return,
                    Some(question) = questions.recv() => {
                        let desk = desk.clone();
                        tokio::spawn(async move {
                            desk.answer(question).await;
                            drop(permit);
                        });
                    }
                }
            }
        }
    }

    /// Whose token it is at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// When it is nobody's, or when that cannot be told.
    pub(super) async fn whose(&self, token: &str, now: u64) -> Result<Arc<Principal>, Refusal> {
        if token.len() > LONGEST_TOKEN {
            return Err(Refusal::Bad("it is too long for a reference".to_owned()));
        }
        let hash: Hash = digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes");
        if let Some(told) = self.desk.remembered(&hash, now) {
            return told;
        }
        let mut flight = self.desk.board(hash, token)?;
        let landed = flight.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        match landed.unwrap_or(Answer::None) {
            Answer::Good(known) if known.is_good(now) => Ok(known.principal),
            Answer::Good(known) if now >= known.expires => Err(Refusal::Bad("it has expired".to_owned())),
            // It may have been revoked since: whoever waited for so long does not know.
            Answer::Good(_) => Err(Refusal::Unavailable("the answer came too late to be believed", SOON)),
            Answer::Bad(why) => Err(Refusal::Bad(why)),
            Answer::None => Err(Refusal::Unavailable("the provider does not say whose token it is", SOON)),
        }
    }
}

impl Known {
    fn is_good(&self, now: u64) -> bool {
        now < self.expires && Instant::now() < self.until
    }
}

impl Desk {
    /// The hot path: a look-up and two comparisons.
    fn remembered(&self, hash: &Hash, now: u64) -> Option<Result<Arc<Principal>, Refusal>> {
        if let Some(known) = self.known.get(hash).filter(|known| known.is_good(now)) {
            return Some(Ok(known.principal));
        }
        let until = self.refused.get(hash)?;
        (Instant::now() < until).then(|| Err(Refusal::Bad("it was not good a moment ago".to_owned())))
    }

    /// The question about this token that is under way, or a new one.
    fn board(&self, hash: Hash, token: &str) -> Result<watch::Receiver<Option<Answer>>, Refusal> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&hash).filter(|flight| flight.has_changed().is_ok()) {
            return Ok(flight.clone());
        }
        let (landing, flight) = watch::channel(None);
        let question = Question { hash, token: token.to_owned(), landing };
        let asked = self.asking.try_send(question);
        asked.map_err(|_full| Refusal::Unavailable("too many tokens wait to be asked about", SOON))?;
        flights.insert(hash, flight.clone());
        Ok(flight)
    }

    async fn answer(&self, question: Question) {
        // What is said later may have been decided as early as this.
        let asked = Instant::now();
        let told = timeout(self.config.timeout.0, self.ask(&question.token)).await;
        let answer = match told.unwrap_or_else(|_elapsed| Err("it took too long".to_owned())) {
            Ok(claims) => match self.caller(claims, &question.token) {
                Ok((principal, expires)) => {
                    Answer::Good(Known { principal, until: asked + self.config.max_age.0, expires })
                }
                Err(why) => Answer::Bad(why),
            },
            Err(why) => {
                tracing::warn!(provider = self.provider, why, "a token could not be asked about");
                Answer::None
            }
        };
        match &answer {
            Answer::Good(known) => self.known.insert(question.hash, known.clone()),
            Answer::Bad(_) => {
                self.known.invalidate(&question.hash);
                self.refused.insert(question.hash, asked + self.config.refused_max_age.0);
            }
            Answer::None => {}
        }
        // Remembered first: whoever finds no question under way finds the answer.
        self.flights.lock().remove(&question.hash);
        question.landing.send_replace(Some(answer));
    }

    /// What the provider says of a token, or why it says nothing.
    async fn ask(&self, token: &str) -> Result<Map<String, Value>, String> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let (id, secret) = (encoded(&self.config.client_id), encoded(&self.config.client_secret.0));
        let request = self.client.post(self.url.clone()).basic_auth(id, Some(secret));
        let request = request
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(format!("token={}&token_type_hint=access_token", encoded(token)));
        // The address may hold a password.
        let told = |cause: reqwest::Error| format!("{:?}", cause.without_url());
        let mut answer = request.send().await.map_err(told)?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("it answered {}", answer.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(told)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LONGEST_ANSWER {
                return Err("its answer is over 64 KiB".to_owned());
            }
        }
        let claims: Result<StrictObject, _> = serde_json::from_slice(&bytes);
        let StrictObject(claims) = claims.map_err(|cause| format!("its answer cannot be read: {cause}"))?;
        match claims.get("active") {
            Some(Value::Bool(_)) => Ok(claims),
            _ => Err("its answer does not say whether the token is active".to_owned()),
        }
    }

    /// The caller that the claims make, and their `exp`.
    fn caller(&self, claims: Map<String, Value>, token: &str) -> Result<(Arc<Principal>, u64), String> {
        if claims.get("active") != Some(&Value::Bool(true)) {
            return Err("it is not active".to_owned());
        }
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        if self.config.issuer.as_deref().is_some_and(|issuer| text("iss") != Some(issuer)) {
            return Err("its `iss` is another".to_owned());
        }
        let ours = |wanted: &str| match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(|aud| aud == wanted),
            Some(aud) => aud == wanted,
            None => false,
        };
        if self.config.audience.as_deref().is_some_and(|audience| !ours(audience)) {
            return Err("its `aud` is another".to_owned());
        }
        let expires = match claims.get("exp") {
            None => u64::MAX,
            Some(exp) => seconds(exp).ok_or("its `exp` is no time")?,
        };
        let principal = Principal::from_claims(claims, Some(token), &self.config.roles_claim)?;
        Ok((Arc::new(principal.telling(&self.told)?), expires))
    }
}

/// Follows no redirect and no proxy variable: a token goes where the configuration says, or nowhere.
fn client(url: &Url, config: &IntrospectConfig) -> Result<Client, String> {
    let client = Client::builder().redirect(redirect::Policy::none()).no_proxy();
    let client = client.connect_timeout(config.timeout.0).pool_max_idle_per_host(MOST_ASKED);
    // As for keys: having no certificates is an error, and http needs none.
    let client = if url.scheme() == "http" { client.tls_certs_only([]) } else { client };
    client.build().map_err(|cause| format!("{cause:?}"))
}

#[cfg(test)]
mod tests;
