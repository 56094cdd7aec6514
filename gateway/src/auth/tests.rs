//! Tokens, good and forged, and a provider that rotates its keys, is slow, or is down.

mod compact_tokens;
mod keys_of_tokens;

use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderValue, header};
use indexmap::IndexMap;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{
    config::AuthRule,
    testing::{NOW, Publisher, Signer, claims, claims_but, config, cool_down},
    *,
};
use crate::{mistake::Mistakes, units::Span};

fn bearing(token: &str) -> HeaderMap {
    [(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap())].into_iter().collect()
}

fn peer() -> Downstream {
    Downstream::new("127.0.0.1:1".parse().unwrap(), false)
}

/// Who that is at [`NOW`] and later.
async fn identify(provider: &Provider, token: &str, later: u64) -> Result<Arc<Principal>, Error> {
    match provider.identify_at(&bearing(token), &peer(), NOW + later).await? {
        Claim::By(principal) => Ok(principal),
        Claim::Foreign(why) => Err(provider.refused_foreign(why)),
        Claim::Nothing => panic!("a token was sent"),
    }
}

#[track_caller]
fn refused(found: Result<Arc<Principal>, Error>, cause: &str) {
    let error = found.unwrap_err();
    assert!(error.cause().contains(cause), "{} instead of {cause}", error.cause());
    assert_eq!(error.client_detail(), "A valid access token is needed.");
    let response = error.into_response("r");
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], r#"Bearer realm="ftgo", error="invalid_token""#);
}

fn keyring(provider: &Provider) -> &Arc<keyring::Keyring> {
    let Kind::Jwt(tokens) = &provider.kind else { panic!("it is of tokens") };
    &tokens.keyring
}

/// Where a test needs only one key: its holder and the provider.
async fn one_key() -> (Signer, Publisher, Arc<Provider>) {
    let signer = Signer::ed25519("a", 1);
    let publisher = Publisher::of(&[&signer]).await;
    let provider = publisher.provider();
    (signer, publisher, provider)
}

#[tokio::test]
async fn a_good_token_of_every_kind_of_key_is_taken() {
    let signers = [Signer::rsa("r"), Signer::es256("p"), Signer::ed25519("e", 1)];
    let provider = Publisher::of(&signers.each_ref()).await.provider();
    for signer in &signers {
        let ann = identify(&provider, &signer.token(&claims()), 0).await.unwrap();
        assert_eq!((&*ann.sub, ann.has_role("consumer"), ann.has_scope("orders:read")), ("7", true, true));
    }
}

#[tokio::test]
async fn a_token_is_checked_once_and_remembered() {
    let (signer, publisher, provider) = one_key().await;
    let token = signer.token(&claims());
    let first = identify(&provider, &token, 0).await.unwrap();
    assert!(Arc::ptr_eq(&first, &identify(&provider, &token, 59).await.unwrap()));
    assert_eq!(publisher.fetches(), 1);
}

#[tokio::test]
async fn a_remembered_token_dies_with_its_last_second() {
    let (signer, _publisher, provider) = one_key().await;
    let token = signer.token(&claims());
    assert!(identify(&provider, &token, 59).await.is_ok());
    refused(identify(&provider, &token, 60).await, "expired");
}

#[tokio::test]
async fn leeway_is_given_on_both_ends() {
    let signer = Signer::ed25519("a", 1);
    let publisher = Publisher::of(&[&signer]).await;
    let mut lenient = config(&publisher.url);
    lenient.jwt.as_mut().unwrap().leeway = Span::secs(10);
    let provider = Provider::build("ftgo", &lenient, &Around::default(), "").unwrap();
    let token = signer.token(&claims_but("nbf", json!(NOW + 10)));
    assert!(identify(&provider, &token, 0).await.is_ok() && identify(&provider, &token, 69).await.is_ok());
    refused(identify(&provider, &token, 70).await, "expired");
    refused(
        identify(&provider, &signer.token(&claims_but("nbf", json!(NOW + 11))), 0).await,
        "not valid yet",
    );
}

#[tokio::test]
async fn claims_must_say_what_they_must() {
    let (signer, _publisher, provider) = one_key().await;
    for (name, value, cause) in [
        ("iss", json!("https://evil.example"), "iss"),
        ("iss", json!(["https://id.example"]), "iss"),
        ("iss", Value::Null, "iss"),
        ("aud", json!("other"), "aud"),
        ("aud", json!(["other"]), "aud"),
        ("aud", Value::Null, "aud"),
        ("exp", Value::Null, "exp"),
        ("exp", json!("2100"), "exp"),
        ("exp", json!(-1), "exp"),
        ("exp", json!(NOW), "expired"),
        ("nbf", json!(NOW + 1), "not valid yet"),
        ("nbf", json!("now"), "nbf"),
        ("sub", Value::Null, "sub"),
        ("sub", json!("7\r\nX-User-Roles: support"), "sub"),
        ("roles", json!(["a,support"]), "role"),
    ] {
        refused(identify(&provider, &signer.token(&claims_but(name, value)), 0).await, cause);
    }
    for (name, value) in
        [("aud", json!(["x", "ftgo"])), ("exp", json!(NOW as f64 + 1.5)), ("nbf", json!(NOW))]
    {
        assert!(identify(&provider, &signer.token(&claims_but(name, value)), 0).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn a_token_is_never_asked_for_its_algorithm() {
    let (rsa, ed) = (Signer::rsa("r"), Signer::ed25519("e", 1));
    let provider = Publisher::of(&[&rsa, &ed]).await.provider();
    let signed_with = |secret: &str| {
        let header = Header { kid: Some("r".to_owned()), ..Header::new(Algorithm::HS256) };
        encode(&header, &claims(), &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    let public = rsa.jwk()["n"].as_str().unwrap().to_owned();
    refused(identify(&provider, &signed_with(&public), 0).await, "algorithm is not the key's");
    refused(identify(&provider, &signed_with(""), 0).await, "algorithm is not the key's");

    let good = rsa.token(&claims());
    let body = good.split('.').nth(1).unwrap();
    // {"alg":"none"} and {"alg":"none","typ":"JWT"}
    for unsigned in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"] {
        refused(identify(&provider, &format!("{unsigned}.{body}."), 0).await, "header cannot be read");
    }
    let other_alg = Header { alg: Algorithm::RS512, ..rsa.header() };
    refused(
        identify(&provider, &rsa.token_under(&other_alg, &claims()), 0).await,
        "algorithm is not the key's",
    );
}

#[tokio::test]
async fn a_key_signs_only_under_its_own_name() {
    let (a, b) = (Signer::ed25519("a", 1), Signer::ed25519("b", 2));
    let provider = Publisher::of(&[&a, &b]).await.provider();
    assert!(identify(&provider, &a.token(&claims()), 0).await.is_ok());
    refused(
        identify(&provider, &a.token_under(&b.header(), &claims()), 0).await,
        "signature is not that of key \"b\"",
    );
    let nameless = Header { kid: None, ..a.header() };
    refused(identify(&provider, &a.token_under(&nameless, &claims()), 0).await, "names no key");
}

#[tokio::test]
async fn a_token_may_leave_out_the_name_of_the_only_key() {
    let (signer, _publisher, provider) = one_key().await;
    let nameless = Header { kid: None, ..signer.header() };
    assert!(identify(&provider, &signer.token_under(&nameless, &claims()), 0).await.is_ok());
    let forger = Signer::ed25519("a", 9);
    refused(identify(&provider, &forger.token_under(&nameless, &claims()), 0).await, "signature");
}

#[tokio::test]
async fn headers_that_ask_for_more_are_refused() {
    let (signer, _publisher, provider) = one_key().await;
    let crit = Header { crit: Some(vec!["exp".to_owned()]), ..signer.header() };
    refused(identify(&provider, &signer.token_under(&crit, &claims()), 0).await, "crit");
    let typed = |typ: Option<&str>| Header { typ: typ.map(str::to_owned), ..signer.header() };
    for typ in ["dpop+jwt", "logout+jwt", "JWE", ""] {
        refused(identify(&provider, &signer.token_under(&typed(Some(typ)), &claims()), 0).await, "typ");
    }
    for typ in [None, Some("JWT"), Some("at+jwt"), Some("application/AT+JWT")] {
        assert!(identify(&provider, &signer.token_under(&typed(typ), &claims()), 0).await.is_ok(), "{typ:?}");
    }
}

#[tokio::test]
async fn a_token_that_was_touched_is_another_one() {
    let (signer, _publisher, provider) = one_key().await;
    let good = signer.token(&claims());
    assert!(identify(&provider, &good, 0).await.is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let support = signer.token(&claims_but("roles", json!(["support"])));
    let swapped = format!("{}.{}.{}", parts[0], support.split('.').nth(1).unwrap(), parts[2]);
    refused(identify(&provider, &swapped, 0).await, "signature");
    for touched in
        ["", "a", "a.b", "..", "a.b.c.d", &format!("{good}."), &format!("{good}A"), &good[..good.len() - 1]]
    {
        assert!(identify(&provider, touched, 0).await.is_err(), "{touched}");
    }
}

#[tokio::test]
async fn a_new_key_is_found_when_first_used_and_a_withdrawn_one_dies_with_its_remembered_tokens() {
    let (old, new) = (Signer::ed25519("old", 1), Signer::ed25519("new", 2));
    let publisher = Publisher::of(&[&old]).await;
    let provider = publisher.provider();
    let (of_old, of_new) = (old.token(&claims()), new.token(&claims()));
    assert!(identify(&provider, &of_old, 0).await.is_ok());
    publisher.publish(&[&old, &new]);
    cool_down().await;
    assert!(identify(&provider, &of_new, 0).await.is_ok());
    assert!(identify(&provider, &of_old, 0).await.is_ok(), "still published");
    publisher.publish(&[&new]);
    cool_down().await;
    keyring(&provider).fetch().await;
    refused(identify(&provider, &of_old, 0).await, "no key \"old\"");
    assert!(identify(&provider, &of_new, 0).await.is_ok());
}

#[tokio::test]
async fn a_fetch_that_says_nothing_new_keeps_what_is_remembered() {
    let (signer, publisher, provider) = one_key().await;
    let token = signer.token(&claims());
    let first = identify(&provider, &token, 0).await.unwrap();
    cool_down().await;
    keyring(&provider).fetch().await;
    assert_eq!(publisher.fetches(), 2);
    assert!(Arc::ptr_eq(&first, &identify(&provider, &token, 0).await.unwrap()));
}

#[tokio::test]
async fn a_flood_of_made_up_keys_is_one_fetch_a_cool_down() {
    let (signer, publisher, provider) = one_key().await;
    assert!(identify(&provider, &signer.token(&claims()), 0).await.is_ok());
    let flood = || async {
        let tokens: Vec<String> =
            (0..200).map(|n| Signer::ed25519(&format!("x{n}"), 9).token(&claims())).collect();
        for found in join_all(tokens.iter().map(|token| identify(&provider, token, 0))).await {
            refused(found, "no key");
        }
    };
    flood().await;
    assert_eq!(publisher.fetches(), 1, "cooling down after the first fetch");
    cool_down().await;
    flood().await;
    flood().await;
    assert_eq!(publisher.fetches(), 2);
}

#[tokio::test]
async fn all_who_come_during_a_fetch_wait_for_it_and_one_who_leaves_does_not_end_it() {
    let (signer, publisher, provider) = one_key().await;
    publisher.hold(true);
    let token = signer.token(&claims());
    let impatient = tokio::time::timeout(Duration::from_millis(20), identify(&provider, &token, 0)).await;
    assert!(impatient.is_err(), "nothing was answered yet");
    let waiting = join_all((0..50).map(|_| identify(&provider, &token, 0)));
    let (found, ()) = tokio::join!(waiting, async { publisher.hold(false) });
    assert!(found.into_iter().all(|found| found.is_ok()));
    assert_eq!(publisher.fetches(), 1);
}

#[tokio::test]
async fn without_any_keys_a_provider_that_is_down_is_a_503_and_bad_tokens_stay_401() {
    let (signer, publisher, provider) = one_key().await;
    publisher.answer(500, "");
    for _ in 0..3 {
        let error = identify(&provider, &signer.token(&claims()), 0).await.unwrap_err();
        assert_eq!(error.code(), Code::AuthUnavailable);
        assert!(
            error.pause().unwrap() > Duration::from_secs(3)
                && error.pause().unwrap() <= Duration::from_secs(5)
        );
    }
    assert_eq!((publisher.fetches(), provider.ready()), (1, false));
    refused(identify(&provider, "not.a.token", 0).await, "header");
    publisher.publish(&[&signer]);
    cool_down().await;
    assert!(identify(&provider, &signer.token(&claims()), 0).await.is_ok() && provider.ready());
}

#[tokio::test]
async fn keys_stay_while_the_provider_is_down_or_talks_nonsense() {
    let (signer, publisher, provider) = one_key().await;
    assert!(identify(&provider, &signer.token(&claims()), 0).await.is_ok());
    let too_large = format!("{{\"keys\":[]}}{}", " ".repeat(1 << 20));
    for (status, body) in [(500, ""), (302, ""), (200, "<html>"), (200, "{}"), (200, too_large.as_str())] {
        publisher.answer(status, body);
        cool_down().await;
        keyring(&provider).fetch().await;
        let sub = format!("{status}-{}", body.len());
        let new_token = signer.token(&claims_but("sub", json!(sub)));
        assert!(identify(&provider, &new_token, 0).await.is_ok(), "{status}");
    }
    assert_eq!(publisher.fetches(), 6);
    publisher.answer(200, r#"{"keys":[]}"#);
    cool_down().await;
    keyring(&provider).fetch().await;
    refused(identify(&provider, &signer.token(&claims()), 0).await, "no key");
}

#[tokio::test]
async fn keys_may_come_from_a_file() {
    let signer = Signer::ed25519("a", 1);
    let path = std::env::temp_dir().join(format!("gateway-jwks-{}.json", std::process::id()));
    std::fs::write(&path, json!({"keys": [signer.jwk()]}).to_string()).unwrap();
    let provider =
        Provider::build("ftgo", &config(&format!("file://{}", path.display())), &Around::default(), "")
            .unwrap();
    let found = identify(&provider, &signer.token(&claims()), 0).await;
    std::fs::remove_file(&path).unwrap();
    assert!(found.is_ok());
}

#[tokio::test]
async fn keeping_fresh_makes_ready_and_ends_with_the_provider() {
    let (_signer, publisher, provider) = one_key().await;
    let task = tokio::spawn(Arc::clone(&provider).keep_fresh());
    keyring(&provider).fetch().await;
    assert!(provider.ready());
    drop(provider);
    tokio::time::timeout(Duration::from_secs(5), task).await.expect("it ends").unwrap();
    assert_eq!(publisher.fetches(), 1);
}

fn rule(provider: &Arc<Provider>, scopes: &[&str], optional: bool) -> Rule {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    let config =
        AuthRule { provider: Some("ftgo".to_owned()), providers: Vec::new(), scopes, optional, allow: None };
    let providers = IndexMap::from([("ftgo".to_owned(), Arc::clone(provider))]);
    Rule::build(&config, &providers, "routes[0].auth", &mut Mistakes::default()).unwrap()
}

fn challenge(error: Error) -> (u16, String) {
    let response = error.into_response("r");
    let said = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    (response.status().as_u16(), said)
}

#[tokio::test]
async fn nobody_is_let_in_where_that_is_optional_and_a_bad_credential_nowhere() {
    let (_signer, publisher, provider) = one_key().await;
    let (strict, optional) = (rule(&provider, &[], false), rule(&provider, &[], true));
    let error = strict.authenticate(&HeaderMap::new(), &peer()).await.unwrap_err();
    assert_eq!(challenge(error), (401, r#"Bearer realm="ftgo""#.to_owned()));
    assert!(optional.authenticate(&HeaderMap::new(), &peer()).await.unwrap().is_none());
    let basic = [(header::AUTHORIZATION, HeaderValue::from_static("Basic YTpi"))].into_iter().collect();
    for rule in [&strict, &optional] {
        assert_eq!(rule.authenticate(&basic, &peer()).await.unwrap_err().code(), Code::Unauthenticated);
        let error = rule.authenticate(&bearing("x y"), &peer()).await.unwrap_err();
        assert_eq!(challenge(error), (401, r#"Bearer realm="ftgo", error="invalid_token""#.to_owned()));
    }
    assert_eq!(publisher.fetches(), 0);
}

#[tokio::test]
async fn every_scope_of_a_rule_is_needed() {
    let (signer, _publisher, provider) = one_key().await;
    let ann = identify(&provider, &signer.token(&claims()), 0).await.unwrap();
    assert!(rule(&provider, &[], false).check_scopes(None).is_ok());
    let one = rule(&provider, &["orders:read"], false);
    assert!(one.check_scopes(Some(&ann)).is_ok());
    assert_eq!(challenge(one.check_scopes(None).unwrap_err()), (401, r#"Bearer realm="ftgo""#.to_owned()));
    let both = rule(&provider, &["orders:read", "orders:write"], false);
    let said = r#"Bearer realm="ftgo", error="insufficient_scope", scope="orders:read orders:write""#;
    assert_eq!(challenge(both.check_scopes(Some(&ann)).unwrap_err()), (403, said.to_owned()));
}

#[test]
fn a_rule_reports_all_its_mistakes_where_they_are() {
    let provider =
        Provider::build("ftgo", &config("http://127.0.0.1:9/jwks"), &Around::default(), "").unwrap();
    let providers = IndexMap::from([("ftgo".to_owned(), provider)]);
    let mistakes_of = |name: &str, scopes: &[&str], optional: bool, allow: &str| {
        let scopes = scopes.iter().map(ToString::to_string).collect();
        let config = AuthRule {
            provider: Some(name.to_owned()),
            providers: Vec::new(),
            scopes,
            optional,
            allow: Some(allow.to_owned()),
        };
        let mut mistakes = Mistakes::default();
        assert!(Rule::build(&config, &providers, "r.auth", &mut mistakes).is_none() || !mistakes.is_empty());
        mistakes.0
    };
    let places = |mistakes: &[Mistake]| mistakes.iter().map(|mistake| mistake.at.clone()).collect::<Vec<_>>();
    let found = mistakes_of("ftgoo", &["a"], true, "claims.sub = 5");
    assert_eq!(places(&found), ["r.auth.allow", "r.auth.optional", "r.auth.provider"]);
    assert_eq!(found[0].words.as_deref(), Some("="));
    assert_eq!(found[2].help.as_deref(), Some("did you mean `ftgo`?"));
    assert_eq!(places(&mistakes_of("ftgo", &["a b"], false, "1 == 1")), ["r.auth.scopes"]);
}

#[test]
fn a_provider_that_cannot_be_is_a_mistake() {
    let at = |change: &dyn Fn(&mut ProviderConfig)| {
        let mut config = config("http://127.0.0.1:9/jwks");
        change(&mut config);
        Provider::build("ftgo", &config, &Around::default(), "providers.ftgo").err().unwrap().0.remove(0).at
    };
    for jwks in ["", "jwks.json", "ftp://x/jwks", "file://relative.json", "http://"] {
        assert_eq!(
            at(&|config| config.jwt.as_mut().unwrap().jwks = Some(jwks.to_owned())),
            "providers.ftgo.jwt.jwks",
            "{jwks}"
        );
    }
    assert_eq!(at(&|config| config.jwt.as_mut().unwrap().issuer.clear()), "providers.ftgo.jwt.issuer");
    assert_eq!(at(&|config| config.jwt.as_mut().unwrap().audience.clear()), "providers.ftgo.jwt.audience");
    assert_eq!(
        at(&|config| config.jwt.as_mut().unwrap().refresh = Span::secs(0)),
        "providers.ftgo.jwt.refresh"
    );
    assert_eq!(
        at(&|config| config.jwt.as_mut().unwrap().cooldown = Span::secs(0)),
        "providers.ftgo.jwt.cooldown"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_keys_are_asked_for_less_and_less_often() {
    let file = std::env::temp_dir().join(format!("gateway-first-keys-{}.json", std::process::id()));
    let mut published = config(&format!("file://{}", file.display()));
    published.jwt.as_mut().unwrap().cooldown = Span(Duration::from_millis(1));
    let provider = Provider::build("ftgo", &published, &Around::default(), "").unwrap();
    tokio::spawn(Arc::clone(&provider).keep_fresh());
    // Asked for at 0 s, 1 s, 3 s, 7 s and 15 s, each pause give or take a tenth.
    tokio::time::sleep(Duration::from_secs(10)).await;
    std::fs::write(&file, json!({"keys": [Signer::ed25519("a", 1).jwk()]}).to_string()).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let early = provider.ready();
    tokio::time::sleep(Duration::from_secs(4)).await;
    std::fs::remove_file(file).unwrap();
    assert!(!early && provider.ready());
}

#[tokio::test]
async fn whoever_waits_for_the_first_keys_goes_on_with_them() {
    let (_signer, publisher, provider) = one_key().await;
    publisher.hold(true);
    let mut waiting = tokio::spawn({
        let provider = Arc::clone(&provider);
        async move { provider.until_ready().await }
    });
    tokio::spawn(Arc::clone(&provider).keep_fresh());
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
    publisher.hold(false);
    tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("they came").unwrap();
    assert!(provider.ready());
    provider.until_ready().await;
}
