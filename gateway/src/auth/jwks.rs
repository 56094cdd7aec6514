//! A set of public keys as published (RFC 7517), or one shared secret, and which of them may check a token.
//!
//! What a key is good for is said by the key, never by the token: each has exactly one algorithm. That is what makes
//! `alg: none`, and `HS256` with a public key as the secret, fail without a rule of their own.
//!
//! Not here: where a set comes from (`source.rs`) and when (`keyring.rs`).

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, crypto};
use serde::Deserialize;
use serde_json::Value;

use super::config::SecretAlgorithm;

/// The keys of one fetch. Grows old, never changes.
#[derive(Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Counts the changes of the set; 0 before the first was fetched.
    pub(super) epoch: u64,
    /// Whether it is one secret of the configuration's own: then the name that a token gives its key does not matter.
    secret: bool,
}

/// A public key with the one algorithm that it is for.
pub(super) struct Key {
    kid: Option<String>,
    pub(super) algorithm: Algorithm,
    decoding: DecodingKey,
}

/// What a set says of the key that a token names.
pub(super) enum Found<'s> {
    Key(&'s Key),
    /// Not there. It may be newer than the set.
    Unknown,
    /// There, and not for this token.
    Unfit(&'static str),
}

impl KeySet {
    /// Reads a set. Keys that cannot be used here are left out, each with the reason.
    ///
    /// # Errors
    /// When it is no set of keys at all.
    pub(super) fn parse(json: &[u8], epoch: u64) -> Result<(Self, Vec<String>), String> {
        let typed: Published =
            serde_json::from_slice(json).map_err(|cause| format!("no key set: {cause}"))?;
        let mut set = KeySet { keys: Vec::new(), epoch, secret: false };
        let mut left_out = Vec::new();
        for jwk in typed.keys {
            match read(jwk) {
                Ok(key)
                    if set.keys.iter().any(|had| had.kid == key.kid && had.algorithm == key.algorithm) =>
                {
                    left_out.push(format!("key {:?}: another has the same `kid` and `alg`", key.kid));
                }
                Ok(key) => set.keys.push(key),
                Err(why) => left_out.push(why),
            }
        }
        Ok((set, left_out))
    }

    /// The set of one `secret` that the provider shares with the gateway.
    ///
    /// # Errors
    /// When it is shorter than what the hash puts out (RFC 7518 section 3.2).
    pub(super) fn of_secret(secret: &[u8], algorithm: SecretAlgorithm) -> Result<Self, String> {
        let (algorithm, bytes) = match algorithm {
            SecretAlgorithm::HS256 => (Algorithm::HS256, 32),
            SecretAlgorithm::HS384 => (Algorithm::HS384, 48),
            SecretAlgorithm::HS512 => (Algorithm::HS512, 64),
        };
        if secret.len() < bytes {
            return Err(format!("has {} bytes, and {algorithm:?} needs {bytes} at least", secret.len()));
        }
        let key = Key { kid: None, algorithm, decoding: DecodingKey::from_secret(secret) };
        Ok(KeySet { keys: vec![key], epoch: 1, secret: true })
    }

    /// The key that a token names. Without a `kid` that is the only one there is.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let goes_by = |key: &&Key| self.secret || kid.is_none() || key.kid.as_deref() == kid;
        let mut named = self.keys.iter().filter(goes_by).peekable();
        if named.peek().is_none() {
            return Found::Unknown;
        }
        if kid.is_none() && self.keys.len() > 1 {
            return Found::Unfit("it names no key, and there are several");
        }
        let fit = named.find(|key| key.algorithm == algorithm);
        fit.map_or(Found::Unfit("its algorithm is not the key's"), Found::Key)
    }

    /// The key of a set that has one.
    #[cfg(test)]
    pub(super) fn only(&self) -> &Key {
        assert_eq!(self.keys.len(), 1);
        &self.keys[0]
    }

    /// Whether the same keys are good for the same things.
    pub(super) fn same_keys(&self, other: &KeySet) -> bool {
        let holds = |set: &KeySet, key: &Key| set.keys.iter().any(|had| had.same(key));
        self.keys.len() == other.keys.len() && self.keys.iter().all(|key| holds(other, key))
    }
}

impl Key {
    /// Whether `signature`, in base64url, is this key's over `message`. With the key's algorithm, whatever a token says.
    pub(super) fn has_signed(&self, message: &[u8], signature: &str) -> bool {
        crypto::verify(signature, message, &self.decoding, self.algorithm).unwrap_or(false)
    }

    fn same(&self, other: &Key) -> bool {
        let material = match (self.decoding.kind(), other.decoding.kind()) {
            (DecodingKeyKind::SecretOrDer(a), DecodingKeyKind::SecretOrDer(b)) => a == b,
            (
                DecodingKeyKind::RsaModulusExponent { n: n1, e: e1 },
                DecodingKeyKind::RsaModulusExponent { n: n2, e: e2 },
            ) => n1 == n2 && e1 == e2,
            _ => false,
        };
        material && self.kid == other.kid && self.algorithm == other.algorithm
    }
}

#[derive(Deserialize)]
struct Published {
    /// As values: one key that cannot be read does not cost the others.
    keys: Vec<Value>,
}

/// One key as published; fields that are not needed are not looked at.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
}

fn read(jwk: Value) -> Result<Key, String> {
    let jwk: Jwk = serde_json::from_value(jwk).map_err(|cause| format!("a key cannot be read: {cause}"))?;
    let name = format!("key {:?}", jwk.kid.as_deref().unwrap_or_default());
    let (algorithm, decoding) = usable(&jwk).map_err(|why| format!("{name}: {why}"))?;
    Ok(Key { kid: jwk.kid, algorithm, decoding })
}

fn usable(jwk: &Jwk) -> Result<(Algorithm, DecodingKey), &'static str> {
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err("it is not for signatures");
    }
    if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
        return Err("it is not for verifying");
    }
    let alg = jwk.alg.as_deref();
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => rsa(jwk, alg),
        ("EC", Some("P-256")) => elliptic(jwk, alg, Algorithm::ES256, "ES256", 32),
        ("EC", Some("P-384")) => elliptic(jwk, alg, Algorithm::ES384, "ES384", 48),
        ("OKP", Some("Ed25519")) => edwards(jwk, alg),
        ("oct", _) => Err("a symmetric key has no place among public ones"),
        _ => Err("a kind of key that is not known here"),
    }
}

/// Without `alg`, an RSA key is for what nearly all of them are for, and for nothing else.
fn rsa(jwk: &Jwk, alg: Option<&str>) -> Result<(Algorithm, DecodingKey), &'static str> {
    let algorithm = match alg.unwrap_or("RS256") {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        _ => return Err("its `alg` is not for checking signatures with RSA"),
    };
    let decoding = DecodingKey::from_rsa_components(&jwk.n, &jwk.e).map_err(|_| "it cannot be decoded")?;
    match decoding.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } if bits(n) < 2_048 => {
            Err("RSA under 2048 bits is too weak")
        }
        DecodingKeyKind::RsaModulusExponent { n, .. } if bits(n) > 8_192 => {
            Err("RSA over 8192 bits is too slow")
        }
        _ => Ok((algorithm, decoding)),
    }
}

/// The length of a big-endian number without its leading zeros.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros).map_or(0, |first| (number.len() - zeros) * 8 - first.leading_zeros() as usize)
}

fn elliptic(
    jwk: &Jwk,
    alg: Option<&str>,
    algorithm: Algorithm,
    name: &str,
    bytes: usize,
) -> Result<(Algorithm, DecodingKey), &'static str> {
    if alg.is_some_and(|alg| alg != name) {
        return Err("its `alg` does not go with its curve");
    }
    let decoding = DecodingKey::from_ec_components(&jwk.x, &jwk.y).map_err(|_| "it cannot be decoded")?;
    // An uncompressed point (SEC 1 section 2.3.3): one byte, then both coordinates.
    if decoding.try_get_as_bytes().map_or(0, <[u8]>::len) != 1 + 2 * bytes {
        return Err("it is no point of its curve");
    }
    Ok((algorithm, decoding))
}

/// `Ed25519` is the newer name of the algorithm (RFC 9864).
fn edwards(jwk: &Jwk, alg: Option<&str>) -> Result<(Algorithm, DecodingKey), &'static str> {
    if alg.is_some_and(|alg| alg != "EdDSA" && alg != "Ed25519") {
        return Err("its `alg` does not go with its curve");
    }
    let decoding = DecodingKey::from_ed_components(&jwk.x).map_err(|_| "it cannot be decoded")?;
    if decoding.try_get_as_bytes().map_or(0, <[u8]>::len) != 32 {
        return Err("it is no point of its curve");
    }
    Ok((Algorithm::EdDSA, decoding))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::testing::Signer;

    fn parse(keys: &Value) -> (KeySet, Vec<String>) {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), 1).unwrap()
    }

    fn left_out(key: &Value) -> String {
        let (set, mut why) = parse(&json!([key]));
        assert!(set.keys.is_empty(), "{key} was taken");
        why.remove(0)
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[test]
    fn the_algorithm_is_the_keys_own() {
        let rsa = Signer::rsa("r").jwk();
        for (key, algorithm) in [
            (rsa.clone(), Algorithm::RS256),
            (with(rsa.clone(), "alg", Value::Null), Algorithm::RS256),
            (with(rsa, "alg", json!("PS512")), Algorithm::PS512),
            (Signer::ed25519("e", 1).jwk(), Algorithm::EdDSA),
            (Signer::es256("p").jwk(), Algorithm::ES256),
        ] {
            assert_eq!(parse(&json!([key])).0.keys[0].algorithm, algorithm, "{key}");
        }
    }

    #[test]
    fn keys_that_are_not_for_this_are_left_out() {
        let weak = "_".repeat(340); // 2040 bits
        let rsa = Signer::rsa("r").jwk();
        let ed = Signer::ed25519("e", 1).jwk();
        for (key, why) in [
            (json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}), "symmetric"),
            (json!({"kty": "RSA", "n": weak, "e": "AQAB"}), "too weak"),
            (with(rsa.clone(), "use", json!("enc")), "not for signatures"),
            (with(rsa.clone(), "key_ops", json!(["encrypt"])), "not for verifying"),
            (with(rsa.clone(), "alg", json!("HS256")), "not for checking signatures"),
            (with(rsa.clone(), "alg", json!("RSA-OAEP")), "not for checking signatures"),
            (with(rsa, "n", json!("!")), "decoded"),
            (with(ed.clone(), "alg", json!("ES256")), "does not go with"),
            (with(ed.clone(), "x", json!("AAAA")), "no point"),
            (with(ed, "crv", json!("X25519")), "not known"),
            (with(Signer::es256("p").jwk(), "alg", json!("ES384")), "does not go with"),
            (with(Signer::es256("p").jwk(), "crv", json!("P-384")), "does not go with"),
            (json!({"kty": "AKP", "alg": "ML-DSA-44"}), "not known"),
            (json!({"kid": "x"}), "cannot be read"),
        ] {
            assert!(left_out(&key).contains(why), "{key}: {}", left_out(&key));
        }
    }

    #[test]
    fn a_bad_key_does_not_cost_the_others_and_a_bad_set_is_no_set() {
        let (set, why) = parse(&json!([5, Signer::ed25519("e", 1).jwk(), {"kty": "oct"}]));
        assert_eq!((set.keys.len(), why.len()), (1, 2));
        for text in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"error":"x"}"#] {
            assert!(KeySet::parse(text.as_bytes(), 1).is_err(), "{text}");
        }
    }

    #[test]
    fn of_two_keys_with_the_same_name_and_algorithm_the_second_is_left_out() {
        let (set, why) = parse(&json!([Signer::ed25519("e", 1).jwk(), Signer::ed25519("e", 2).jwk()]));
        assert_eq!((set.keys.len(), why.len()), (1, 1));
    }

    #[test]
    fn sets_are_the_same_in_any_order() {
        let (a, b) = (Signer::ed25519("a", 1).jwk(), Signer::ed25519("b", 2).jwk());
        let both = parse(&json!([a, b])).0;
        assert!(both.same_keys(&parse(&json!([b, a])).0));
        assert!(!both.same_keys(&parse(&json!([a])).0));
        assert!(!both.same_keys(&parse(&json!([a, Signer::ed25519("b", 3).jwk()])).0));
    }
}
