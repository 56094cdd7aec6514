//! A provider that is asked about tokens over HTTP (RFC 7662).
//!
//! Not here: when it is asked, and what becomes of its answer (`mod.rs`).

use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Url, header, redirect};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::Said;
use crate::{
    auth::{config::IntrospectConfig, jwt::seconds, policy::StrictObject, principal::Principal, told::Told},
    mistake::{Mistake, below},
};

/// Questions under way at a time: a provider that is slow must not be asked by everybody at once.
pub(super) const MOST_ASKED: usize = 64;
/// A hundred times what a provider says of a token.
const LONGEST_ANSWER: usize = 64 << 10;

/// The provider's introspection endpoint.
pub(super) struct Introspection {
    config: IntrospectConfig,
    told: Vec<Told>,
    client: Client,
    url: Url,
}

impl Introspection {
    /// That of the provider `name`, typed at the key path `at`.
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
        let client =
            client(&url, config).map_err(|why| mistake("url", &format!("cannot be asked: {why}")))?;
        Ok(Introspection { config: config.clone(), told: told.to_vec(), client, url })
    }

    /// What the provider says of a token.
    ///
    /// # Errors
    /// Why it says nothing.
    pub(super) async fn ask(&self, token: &str) -> Result<Said, String> {
        let told = timeout(self.config.timeout.0, self.claims(token)).await;
        let claims = told.unwrap_or_else(|_elapsed| Err("it took too long".to_owned()))?;
        Ok(match self.caller(claims, token) {
            Ok((principal, expires)) => Said::Good { principal, expires },
            Err(why) => Said::Bad(why),
        })
    }

    async fn claims(&self, token: &str) -> Result<Map<String, Value>, String> {
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
        let mut principal = Principal::from_claims(claims, Some(token), &self.config.roles_claim)?;
        principal.expires = Some(expires);
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
