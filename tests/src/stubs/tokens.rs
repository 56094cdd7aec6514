//! The identity provider's tokens: its keys, and what it knows of the tokens it gave out.
//!
//! Everything stays in memory and nothing expires from it: a provider for tests lives for minutes.
//! Not the endpoints (`identity.rs`).

use std::collections::{HashMap, HashSet};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::{Mutex, RwLock};
use serde_json::{Map, Value, json};

/// The audience of every token, unless its claims say otherwise.
const AUDIENCE: &str = "ftgo";
/// ES256: making a key takes a millisecond, where an RSA key takes a noticeable part of a second.
const ALGORITHM: Algorithm = Algorithm::ES256;

/// The claims of a token.
pub(super) type Claims = Map<String, Value>;

/// The keys and tokens of one provider.
pub struct Tokens {
    issuer: String,
    /// The newest last.
    keys: RwLock<Vec<Key>>,
    references: Mutex<HashMap<String, Claims>>,
    revoked: Mutex<HashSet<String>>,
}

struct Key {
    id: String,
    signing: EncodingKey,
    public: Jwk,
}

/// What a token is to say.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) sub: String,
    pub(super) roles: Vec<String>,
    pub(super) scope: String,
    /// Milliseconds from now; less than none makes a token that has expired.
    pub(super) expires_in: i64,
    pub(super) kind: Kind,
    /// Added to the usual claims or put in their place; null takes a claim away.
    pub(super) claims: Claims,
}

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A value token, signed.
    Jwt,
    /// A random string that only `/introspect` can read.
    Reference,
}

impl Tokens {
    /// A provider with a key of its own, that goes by the name `issuer`.
    pub(super) fn new(issuer: String) -> Tokens {
        // An error says that a provider is installed already, which is all that is needed.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        Tokens {
            issuer,
            keys: RwLock::new(vec![Key::generate()]),
            references: Mutex::default(),
            revoked: Mutex::default(),
        }
    }

    /// The provider's base URL.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Signs with a new key from now on. The old ones stay published.
    pub fn rotate(&self) {
        let key = Key::generate();
        self.keys.write().push(key);
    }

    /// The public keys.
    pub(super) fn key_set(&self) -> JwkSet {
        JwkSet { keys: self.keys.read().iter().map(|key| key.public.clone()).collect() }
    }

    /// A token that says what the grant says.
    pub(super) fn give(&self, grant: &Grant) -> String {
        let claims = self.claims(grant);
        match grant.kind {
            Kind::Jwt => self.sign(&claims),
            Kind::Reference => {
                let token = random();
                self.references.lock().insert(token.clone(), claims);
                token
            }
        }
    }

    fn claims(&self, grant: &Grant) -> Claims {
        let now = Utc::now().timestamp();
        let expires = now + grant.expires_in.div_euclid(1000);
        let usual = json!({
            "iss": self.issuer, "aud": AUDIENCE, "sub": grant.sub, "roles": grant.roles, "scope": grant.scope,
            "iat": now.min(expires), "exp": expires, "jti": random(),
        });
        let Value::Object(mut claims) = usual else { unreachable!("an object was written") };
        for (name, value) in &grant.claims {
            match value {
                Value::Null => claims.remove(name),
                value => claims.insert(name.clone(), value.clone()),
            };
        }
        claims
    }

    /// Signs any claims with the newest key.
    pub(super) fn sign(&self, claims: &Claims) -> String {
        let keys = self.keys.read();
        let key = keys.last().expect("there is a key from the start");
        let header = Header { kid: Some(key.id.clone()), ..Header::new(ALGORITHM) };
        jsonwebtoken::encode(&header, claims, &key.signing).expect("a key of our own signs")
    }

    /// What a token says, if it is one of ours and neither expired nor revoked.
    pub(super) fn active(&self, token: &str) -> Option<Claims> {
        if self.revoked.lock().contains(token) {
            return None;
        }
        let reference = self.references.lock().get(token).cloned();
        let claims = reference.or_else(|| self.verified(token))?;
        let now = Utc::now().timestamp();
        let has_ended = claims.get("exp").and_then(Value::as_i64).is_some_and(|exp| exp <= now);
        let has_begun = claims.get("nbf").and_then(Value::as_i64).is_none_or(|nbf| nbf <= now);
        (has_begun && !has_ended).then_some(claims)
    }

    /// The claims of a JWT that one of our keys signed.
    fn verified(&self, token: &str) -> Option<Claims> {
        let id = jsonwebtoken::decode_header(token).ok()?.kid?;
        let public = self.keys.read().iter().find(|key| key.id == id)?.public.clone();
        let key = DecodingKey::from_jwk(&public).ok()?;
        let mut validation = Validation::new(ALGORITHM);
        validation.required_spec_claims.clear();
        (validation.validate_aud, validation.validate_exp) = (false, false);
        Some(jsonwebtoken::decode::<Claims>(token, &key, &validation).ok()?.claims)
    }

    /// Takes a token back; unknown ones do no harm.
    pub(super) fn revoke(&self, token: &str) {
        self.revoked.lock().insert(token.to_owned());
    }
}

impl Key {
    fn generate() -> Key {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("keys can be made");
        let pkcs8 = pair.to_pkcs8v1().expect("a key can be written");
        let signing = EncodingKey::from_ec_der(pkcs8.as_ref());
        let mut public = Jwk::from_encoding_key(&signing, ALGORITHM).expect("the curve is known");
        let id = public.thumbprint(ThumbprintHash::SHA256).expect("a complete key has a thumbprint");
        public.common.key_id = Some(id.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Key { id, signing, public }
    }
}

/// A string nobody guesses.
pub(super) fn random() -> String {
    let mut bytes = [0; 24];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    URL_SAFE_NO_PAD.encode(bytes)
}
