//! Checking one JSON Web Token (RFC 7519, RFC 8725, RFC 9068).
//!
//! Every refusal is a sentence for the log. It holds nothing of the token but the name of its key: tokens are secrets,
//! and what a forger writes does not belong in a log.
//!
//! Not here: remembering what was checked (`mod.rs`). Encrypted and unsigned tokens are not taken.

use jsonwebtoken::{Algorithm, dangerous::insecure_decode_claims, decode_header};
use serde_json::{Map, Value};

use super::{
    config::JwtConfig,
    jwks::{Found, KeySet},
    policy::StrictObject,
};

/// Whether a text has the form of a signed token: three parts (RFC 7515 section 3.1).
pub(super) fn is_one(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// A token whose header has been read, and nothing else.
pub(super) struct Unverified<'t> {
    token: &'t str,
    message: &'t str,
    signature: &'t str,
    kid: Option<String>,
    algorithm: Algorithm,
}

impl<'t> Unverified<'t> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is not three parts, or its header asks for what is not done here.
    pub(super) fn read(token: &'t str) -> Result<Self, String> {
        let (message, signature) = token.rsplit_once('.').ok_or("it is no JWT")?;
        let header = decode_header(token).map_err(|_| "its header cannot be read")?;
        // RFC 7515 section 4.1.11: extensions that must be understood, and none is.
        if header.crit.is_some() {
            return Err("its header has `crit`".to_owned());
        }
        if header.typ.as_deref().is_some_and(|typ| !is_access_token(typ)) {
            return Err("its `typ` is not that of an access token".to_owned());
        }
        Ok(Unverified { token, message, signature, kid: header.kid, algorithm: header.alg })
    }

    /// Whether a newer key set might hold the key that this token names.
    pub(super) fn is_unknown_to(&self, keys: &KeySet) -> bool {
        matches!(keys.find(self.kid.as_deref(), self.algorithm), Found::Unknown)
    }

    /// The claims, once the signature is good.
    ///
    /// # Errors
    /// When there is no key for it, the signature is not that key's, or the claims are no object.
    pub(super) fn verify(&self, keys: &KeySet) -> Result<Map<String, Value>, String> {
        let key = match keys.find(self.kid.as_deref(), self.algorithm) {
            Found::Key(key) => key,
            Found::Unknown => return Err(format!("there is no key {:?}", self.named())),
            Found::Unfit(why) => return Err(format!("key {:?}: {why}", self.named())),
        };
        if !key.has_signed(self.message.as_bytes(), self.signature) {
            return Err(format!("its signature is not that of key {:?}", self.named()));
        }
        let claims = insecure_decode_claims::<StrictObject>(self.token);
        claims.map(|StrictObject(claims)| claims).map_err(|_| "its claims cannot be read".to_owned())
    }

    /// The key's name, cut to what a log line bears.
    fn named(&self) -> String {
        self.kid.as_deref().unwrap_or_default().chars().take(64).collect()
    }
}

/// RFC 9068 section 2.1; plain `JWT` is what most providers write. Prefix and case as in RFC 7515 section 4.1.9.
fn is_access_token(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
}

/// What the claims must say.
pub(super) struct Checks<'c>(pub(super) &'c JwtConfig);

impl Checks<'_> {
    /// Checks `iss`, `aud`, `exp` and `nbf` (RFC 7519 section 4.1) at `now`, in seconds since 1970. Returns the second
    /// from which the token is of no more use.
    ///
    /// # Errors
    /// Which claim is not as it must be.
    pub(super) fn expiry(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, &'static str> {
        let leeway = self.0.leeway.0.as_secs();
        if claims.get("iss").and_then(Value::as_str) != Some(&self.0.issuer) {
            return Err("its `iss` is another");
        }
        if !claims.get("aud").is_some_and(|aud| self.is_for_us(aud)) {
            return Err("its `aud` is another");
        }
        if let Some(from) = claims.get("nbf") {
            let from = seconds(from).ok_or("its `nbf` is no time")?;
            if from > now.saturating_add(leeway) {
                return Err("it is not valid yet");
            }
        }
        let expires =
            claims.get("exp").and_then(seconds).ok_or("its `exp` is no time")?.saturating_add(leeway);
        if now >= expires { Err("it has expired") } else { Ok(expires) }
    }

    fn is_for_us(&self, aud: &Value) -> bool {
        let ours = |aud: &Value| aud.as_str() == Some(&self.0.audience);
        aud.as_array().map_or_else(|| ours(aud), |audiences| audiences.iter().any(ours))
    }
}

/// A NumericDate (RFC 7519 section 2), which may have decimals; never one before 1970.
pub(super) fn seconds(value: &Value) -> Option<u64> {
    let decimal = || value.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64);
    value.as_u64().or_else(decimal)
}
