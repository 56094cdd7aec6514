//! Tokens that are not what they say, in every place where one may stand.

use std::{sync::LazyLock, time::SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};

use super::{Case, http1};

static KEY: LazyLock<EncodingKey> = LazyLock::new(new_key);
static FORGER: LazyLock<EncodingKey> = LazyLock::new(new_key);

fn new_key() -> EncodingKey {
    gateway::auth::install_crypto();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap()
}

fn public(key: &EncodingKey) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, Algorithm::ES256).unwrap()).unwrap();
    jwk["kid"] = json!("k1");
    jwk
}

/// What the provider publishes.
pub(super) fn key_set() -> String {
    json!({"keys": [public(&KEY)]}).to_string()
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({"iss": "https://id.example", "aud": "ftgo", "sub": "7", "roles": ["consumer"], "exp": now() + 3_600})
}

/// Signed rightly, over claims of which one is other than it should be.
fn but(name: &str, value: Value) -> String {
    let mut claims = claims();
    claims[name] = value;
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    signed(&json!({"alg": "ES256", "kid": "k1", "typ": "JWT"}), &claims.to_string(), &KEY)
}

/// Any header and any claims under a true signature of `key`.
fn signed(header: &Value, claims: &str, key: &EncodingKey) -> String {
    let message = format!("{}.{}", part(&header.to_string()), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, Algorithm::ES256).unwrap();
    format!("{message}.{signature}")
}

fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn good() -> String {
    but("sub", json!("7"))
}

/// A true token whose header says this too.
fn header(name: &str, value: Value) -> String {
    let mut header = json!({"alg": "ES256", "kid": "k1"});
    header[name] = value;
    signed(&header, &claims().to_string(), &KEY)
}

/// A forger's token, whose header says this.
fn forged(name: &str, value: Value) -> String {
    let mut header = json!({"alg": "ES256", "kid": "k1"});
    header[name] = value;
    signed(&header, &claims().to_string(), &FORGER)
}

fn unsigned(algorithm: &str) -> String {
    format!("{}.{}.", part(&json!({"alg": algorithm}).to_string()), part(&claims().to_string()))
}

fn get(field: &str) -> String {
    format!("GET /mine HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n")
}

fn bearer(token: &str) -> String {
    get(&format!("authorization: Bearer {token}"))
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = forgeries();
    cases.extend(claims_that_do_not_hold());
    cases.extend(places());
    cases.extend(legal());
    cases
}

fn forgeries() -> Vec<Case> {
    let bad = |name, source, token: String| http1(name, source, bearer(&token)).refused(401);
    let (good, by_secret) = (good(), {
        // The published key, taken for a secret.
        let secret = EncodingKey::from_secret(public(&KEY)["x"].as_str().unwrap().as_bytes());
        encode(&Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::HS256) }, &claims(), &secret)
            .unwrap()
    });
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, _) = message.split_once('.').unwrap();
    let mut other = claims();
    other["sub"] = json!("8");
    vec![
        bad("a token without a signature", "RFC 8725 section 2.1", unsigned("none")),
        bad("none in other letters", "RFC 8725 section 3.1", unsigned("nOnE")),
        bad("a token whose signature was cut off", "RFC 8725 section 3.3", format!("{message}.")),
        bad("a token signed with the public key as a secret", "CVE-2015-9235", by_secret),
        bad(
            "a signature of zeros",
            "CVE-2022-21449",
            format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
        ),
        bad("another key under the right name", "RFC 8725 section 3.3", forged("kid", json!("k1"))),
        bad("a key that comes with the token", "CVE-2018-0114", forged("jwk", public(&FORGER))),
        bad(
            "a key that is to be fetched",
            "RFC 8725 section 3.10",
            forged("jku", json!("http://127.0.0.1:1/keys")),
        ),
        bad(
            "a certificate that is to be fetched",
            "RFC 8725 section 3.10",
            forged("x5u", json!("http://127.0.0.1:1/x")),
        ),
        bad("a key name that is a path", "RFC 8725 section 3.10", forged("kid", json!("../../dev/null"))),
        bad("a key name that is a query", "RFC 8725 section 3.10", forged("kid", json!("' OR 1=1 --"))),
        bad("a key name that nobody has", "RFC 7515 section 4.1.4", header("kid", json!("k2"))),
        bad(
            "claims under another token's signature",
            "RFC 8725 section 3.3",
            format!("{head}.{}.{signature}", part(&other.to_string())),
        ),
        bad(
            "an extension that must be understood",
            "RFC 7515 section 4.1.11",
            header("crit", json!(["exp"])),
        ),
        bad("a token of another kind", "RFC 8725 section 3.11", header("typ", json!("logout+jwt"))),
        bad("an encrypted token", "RFC 7516 section 3.1", format!("{message}.{signature}.x.y")),
        bad("a token in one part", "RFC 7519 section 7.2", "abc".to_owned()),
        bad(
            "a claim that is there twice",
            "RFC 8725 section 2.4",
            signed(
                &json!({"alg": "ES256", "kid": "k1"}),
                &claims().to_string().replacen('{', "{\"sub\":\"8\",", 1),
                &KEY,
            ),
        ),
        bad(
            "claims that are no object",
            "RFC 7519 section 7.2",
            signed(&json!({"alg": "ES256", "kid": "k1"}), "[]", &KEY),
        ),
        bad("a true token and something after it", "RFC 7515 section 2", format!("{good}=")),
    ]
}

fn claims_that_do_not_hold() -> Vec<Case> {
    let bad = |name, source, token: String| http1(name, source, bearer(&token)).refused(401);
    vec![
        bad("a token of another issuer", "RFC 8725 section 3.8", but("iss", json!("https://evil.example"))),
        bad("a token of no issuer", "RFC 9068 section 4", but("iss", Value::Null)),
        bad("a token for somebody else", "RFC 8725 section 3.9", but("aud", json!("others"))),
        bad("a token for nobody", "RFC 9068 section 4", but("aud", Value::Null)),
        bad("a token that has expired", "RFC 7519 section 4.1.4", but("exp", json!(now() - 1))),
        bad("a token that never expires", "RFC 9068 section 2.2", but("exp", Value::Null)),
        bad("an expiry that is a text", "RFC 7519 section 2", but("exp", json!("9999999999"))),
        bad("a token that is not valid yet", "RFC 7519 section 4.1.5", but("nbf", json!(now() + 600))),
        bad("a token of nobody", "RFC 9068 section 2.2", but("sub", Value::Null)),
    ]
}

fn places() -> Vec<Case> {
    let (good, field) = (good(), |text: &str| get(&format!("authorization: {text}")));
    vec![
        http1("no token", "RFC 6750 section 3", get("x: 1")).refused(401),
        http1("two tokens", "RFC 9110 section 11.6.2", get(&format!("authorization: Bearer {good}\r\nauthorization: Bearer {good}"))).refused(401),
        http1("two tokens in one field", "RFC 6750 section 2.1", field(&format!("Bearer {good}, Bearer {good}"))).refused(401),
        http1("a token of another scheme", "RFC 6750 section 2.1", field(&format!("Basic {good}"))).refused(401),
        http1("a token without a scheme", "RFC 6750 section 2.1", field(&good)).refused(401),
        http1("a token in the query", "RFC 6750 section 5.3", format!("GET /mine?access_token={good} HTTP/1.1\r\nhost: a\r\n\r\n")).refused(401),
        http1("a token in a cookie", "RFC 6750 section 5.3", get(&format!("cookie: access_token={good}"))).refused(401),
        http1("a token in Proxy-Authorization", "RFC 9110 section 11.7.2", get(&format!("proxy-authorization: Bearer {good}"))).refused(401),
        http1("a token in Authorization with an underscore", "RFC 3875 section 4.1.18", get(&format!("author_ization: Bearer {good}"))).refused(401),
        http1("a token in a form", "RFC 6750 section 2.2",
            format!("POST /mine HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n\
                     access_token={good}", 13 + good.len())).refused(401),
    ]
}

fn legal() -> Vec<Case> {
    let told = |name, source, sent: String| {
        http1(name, source, sent)
            .passes(&["GET /mine ", "x-user-id: 7\r\n", "x-user-roles: consumer\r\n"])
            .lacks(&["authorization", "earer", "31337"])
    };
    let good = good();
    vec![
        told("a good token, which stays here", "RFC 6750 section 2.1", bearer(&good)),
        told(
            "a scheme in another case and more blanks",
            "RFC 9110 section 11.1",
            get(&format!("authorization: bEARER   {good}")),
        ),
        told("a token for several", "RFC 7519 section 4.1.3", bearer(&but("aud", json!(["others", "ftgo"])))),
        told(
            "an expiry with a fraction",
            "RFC 7519 section 2",
            bearer(&but("exp", json!(now() as f64 + 3_600.5))),
        ),
        told(
            "a kind of token that is meant for this",
            "RFC 9068 section 2.1",
            bearer(&header("typ", json!("at+jwt"))),
        ),
        told(
            "a good token beside somebody else's identity",
            "RFC 7239 section 8.1",
            get(&format!(
                "authorization: Bearer {good}\r\nx-user-id: 31337\r\nx-user-roles: 31337\r\nconnection: x-user-id"
            )),
        ),
    ]
}
