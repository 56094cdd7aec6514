//! Public test vectors: what others know to go wrong with signatures, asked of the keys as they are read here.
//!
//! Project Wycheproof, in the forms of RFC 7518: ECDSA signatures as two numbers side by side, PSS with a salt as long as the
//! hash, whole HMACs, and each key as its JWK. Not here: the forms that no token has, and headers and claims (`tests.rs`).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use wycheproof::{ecdsa, eddsa, mac, rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};

use super::{config::SecretAlgorithm, install_crypto, jwks::KeySet};

#[derive(Default, Debug, PartialEq, Eq)]
struct Counts {
    valid: usize,
    invalid: usize,
    /// Valid by the mathematics, and it may be refused.
    acceptable: usize,
    /// Cases whose key is refused when it is loaded, or whose code is cut.
    weak: usize,
}

fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().unwrap().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// A number as a JWK holds it: without leading zeros, or as long as its curve is.
fn number(hex: &Value, length: usize) -> String {
    let bytes = bytes(hex);
    let digits = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let padded = [vec![0; length.saturating_sub(digits.len())], digits.to_vec()].concat();
    URL_SAFE_NO_PAD.encode(padded)
}

/// The key of a group of cases, as a provider publishes it.
fn jwk(key: &Value, alg: &str) -> Value {
    match alg {
        "ES256" => {
            json!({"kty": "EC", "crv": "P-256", "x": number(&key["wx"], 32), "y": number(&key["wy"], 32)})
        }
        "ES384" => {
            json!({"kty": "EC", "crv": "P-384", "x": number(&key["wx"], 48), "y": number(&key["wy"], 48)})
        }
        "EdDSA" => {
            json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(bytes(&key["pk"]))})
        }
        _ => {
            let (n, e) = (number(&key["modulus"], 0), number(&key["publicExponent"], 0));
            json!({"kty": "RSA", "alg": alg, "n": n, "e": e})
        }
    }
}

/// Asks every case of a set, and counts. `keys` are those of a case in a group, if they may be used.
fn ask(set: &str, signature: &str, keys: impl Fn(&Value, &Value) -> Option<KeySet>) -> Counts {
    install_crypto();
    let set: Value = serde_json::from_str(set).unwrap();
    let mut counts = Counts::default();
    for group in set["testGroups"].as_array().unwrap() {
        for case in group["tests"].as_array().unwrap() {
            let Some(keys) = keys(group, case) else {
                counts.weak += 1;
                continue;
            };
            let sent = URL_SAFE_NO_PAD.encode(bytes(&case[signature]));
            let taken = keys.only().has_signed(&bytes(&case["msg"]), &sent);
            match case["result"].as_str().unwrap() {
                "valid" => {
                    assert!(taken, "a valid one was refused: {case}");
                    counts.valid += 1;
                }
                "invalid" => {
                    assert!(!taken, "an invalid one was taken: {case}");
                    counts.invalid += 1;
                }
                _ => counts.acceptable += 1,
            }
        }
    }
    counts
}

fn published(set: &str, alg: &str) -> Counts {
    ask(set, "sig", |group, _| {
        let keys = json!({"keys": [jwk(&group["publicKey"], alg)]}).to_string();
        let (keys, left_out) = KeySet::parse(keys.as_bytes(), 1).unwrap();
        assert_eq!(left_out, Vec::<String>::new());
        Some(keys)
    })
}

fn sum(all: impl IntoIterator<Item = Counts>) -> Counts {
    all.into_iter().fold(Counts::default(), |sum, one| Counts {
        valid: sum.valid + one.valid,
        invalid: sum.invalid + one.invalid,
        acceptable: sum.acceptable + one.acceptable,
        weak: sum.weak + one.weak,
    })
}

fn counts(valid: usize, invalid: usize, acceptable: usize, weak: usize) -> Counts {
    Counts { valid, invalid, acceptable, weak }
}

#[test]
fn elliptic_and_edwards_signatures_are_told_apart_from_forgeries() {
    let all = [
        published(ecdsa::TestName::EcdsaSecp256r1Sha256P1363.json_data(), "ES256"),
        published(ecdsa::TestName::EcdsaSecp384r1Sha384P1363.json_data(), "ES384"),
        published(eddsa::TestName::Ed25519.json_data(), "EdDSA"),
    ];
    assert_eq!(sum(all), counts(454, 239, 0, 0));
}

#[test]
fn rsa_signatures_are_told_apart_from_forgeries() {
    use pkcs1::TestName as Pkcs1;
    use pss::TestName as Pss;
    let sets = [
        (Pkcs1::Rsa2048Sha256.json_data(), "RS256"),
        (Pkcs1::Rsa2048Sha384.json_data(), "RS384"),
        (Pkcs1::Rsa2048Sha512.json_data(), "RS512"),
        (Pkcs1::Rsa3072Sha256.json_data(), "RS256"),
        (Pkcs1::Rsa3072Sha384.json_data(), "RS384"),
        (Pkcs1::Rsa3072Sha512.json_data(), "RS512"),
        (Pkcs1::Rsa4096Sha256.json_data(), "RS256"),
        (Pkcs1::Rsa4096Sha384.json_data(), "RS384"),
        (Pkcs1::Rsa4096Sha512.json_data(), "RS512"),
        (Pkcs1::Rsa8192Sha256.json_data(), "RS256"),
        (Pss::RsaPss2048Sha256Mgf1SaltLen32.json_data(), "PS256"),
        (Pss::RsaPss2048Sha384Mgf1SaltLen48.json_data(), "PS384"),
        (Pss::RsaPss3072Sha256Mgf1SaltLen32.json_data(), "PS256"),
        (Pss::RsaPss4096Sha256Mgf1SaltLen32.json_data(), "PS256"),
        (Pss::RsaPss4096Sha384Mgf1SaltLen48.json_data(), "PS384"),
        (Pss::RsaPss4096Sha512Mgf1SaltLen64.json_data(), "PS512"),
    ];
    assert_eq!(sum(sets.map(|(set, alg)| published(set, alg))), counts(586, 2777, 10, 0));
}

/// A secret that is too short is no key here, whatever it signed.
#[test]
fn shared_secrets_are_told_apart_from_forgeries_and_short_ones_are_none() {
    use SecretAlgorithm::{HS256, HS384, HS512};
    let secret = |set: &str, algorithm, whole| {
        ask(set, "tag", |group, case| {
            let secret = KeySet::of_secret(&bytes(&case["key"]), algorithm).ok();
            // A token has the whole of it, and nobody takes a part (RFC 7518 section 3.2).
            secret.filter(|_| group["tagSize"] == whole)
        })
    };
    let all = [
        secret(mac::TestName::HmacSha256.json_data(), HS256, 256),
        secret(mac::TestName::HmacSha384.json_data(), HS384, 384),
        secret(mac::TestName::HmacSha512.json_data(), HS512, 512),
    ];
    assert_eq!(sum(all), counts(90, 162, 0, 270));
}
