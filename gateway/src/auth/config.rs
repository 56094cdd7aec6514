//! What one types under `providers:` and a route's `auth:`.

use std::{fmt, path::PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, de};

use crate::units::Span;

/// Who vouches for callers, as typed under `providers:`.
/// Exactly one key says how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// By JSON Web Tokens signed by the provider (RFC 7519, RFC 9068).
    #[serde(default)]
    pub jwt: Option<JwtConfig>,
    /// By API keys.
    #[serde(default)]
    pub keys: Option<KeysConfig>,
    /// By client certificates, on listeners that ask for them.
    #[serde(default)]
    pub certificate: Option<CertificateConfig>,
    /// By reference tokens, which the provider is asked about (RFC 7662).
    #[serde(default)]
    pub introspect: Option<IntrospectConfig>,
    /// By reference tokens, which a token store exchanges for value tokens (JWT).
    #[serde(default)]
    pub token_store: Option<TokenStoreConfig>,
}

/// A Redis in which reference tokens stand for value tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenStoreConfig {
    /// `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`.
    pub url: Secret,
    /// What the keys begin with; the SHA-256 of the reference token follows.
    #[serde(default = "token_prefix")]
    pub prefix: String,
    /// How value tokens are checked.
    pub jwt: JwtConfig,
    /// How long a token lives after it was last used.
    #[serde(default = "idle")]
    pub idle: Span,
    /// How long it lives at most, from its value token's `iat`.
    #[serde(default = "max_life")]
    pub max_life: Span,
    /// How long what the store says of a good token is remembered: how late a revocation may be noticed.
    #[serde(default = "stored_max_age")]
    pub max_age: Span,
    /// How long a token that is not there is remembered as such.
    #[serde(default = "stored_refused_max_age")]
    pub refused_max_age: Span,
    /// How long the store may take to answer.
    #[serde(default = "store_timeout")]
    pub timeout: Span,
}

fn token_prefix() -> String {
    "token:".to_owned()
}

/// As long as somebody may be at lunch.
fn idle() -> Span {
    Span::secs(30 * 60)
}

/// A working day, and somewhat more.
fn max_life() -> Span {
    Span::secs(12 * 3_600)
}

/// A store bears a question in five seconds for each token that is in use.
fn stored_max_age() -> Span {
    Span::secs(5)
}

/// Who has just logged in is not kept waiting.
fn stored_refused_max_age() -> Span {
    Span::secs(1)
}

/// A hundred times what a Redis in the same place needs; nobody is let in without it, so it is worth waiting for.
fn store_timeout() -> Span {
    Span::millis(500)
}

/// How a provider is asked about reference tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntrospectConfig {
    /// Where it is asked: `http://` or `https://`.
    pub url: String,
    /// The name that it knows the gateway by.
    pub client_id: String,
    /// The password that goes with it, from a variable.
    pub client_secret: Secret,
    /// The `iss` that it must give; not looked at unless given.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The `aud` that it must name; not looked at unless given.
    #[serde(default)]
    pub audience: Option<String>,
    /// How long what it says of a good token is remembered: how late a revocation may be noticed.
    #[serde(default = "max_age")]
    pub max_age: Span,
    /// How long a token that is not good is remembered as such.
    #[serde(default = "refused_max_age")]
    pub refused_max_age: Span,
    /// How long it may take to answer.
    #[serde(default = "answer_timeout")]
    pub timeout: Span,
    /// The claim that lists a caller's roles: an array of strings.
    #[serde(default = "roles_claim")]
    pub roles_claim: String,
}

/// A person who was locked out may go on for so long. Providers bear two questions a minute and token.
fn max_age() -> Span {
    Span::secs(30)
}

/// A client that goes on with a bad token does not become load; a token that becomes good is not kept waiting.
fn refused_max_age() -> Span {
    Span::secs(5)
}

/// A provider that is slower than this is down.
fn answer_timeout() -> Span {
    Span::secs(2)
}

/// Callers by the names in their certificates.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// At least one.
    pub callers: Vec<CallerConfig>,
}

/// A name in a certificate, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerConfig {
    /// `dns:`, `uri:` or `cn:`, and the name.
    pub name: String,
    /// Who the caller is then: its `sub`.
    pub id: String,
    /// The caller's roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The caller's scopes.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// A name under `plans:`.
    #[serde(default)]
    pub plan: Option<String>,
}

/// API keys: either `file` or `list`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysConfig {
    /// The header field that holds the key.
    #[serde(default = "key_header")]
    pub header: String,
    /// What stands before the key, where the field is `Authorization`.
    #[serde(default)]
    pub scheme: Option<String>,
    /// A YAML file with `keys:`, which may change at any time.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The keys themselves.
    #[serde(default)]
    pub list: Option<Vec<KeyConfig>>,
}

/// One API key and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// The SHA-256 of the key, in hexadecimal digits.
    pub sha256: String,
    /// Who the caller is then: its `sub`.
    pub id: String,
    /// The caller's roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The caller's scopes.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// A name under `plans:`; every route that its scopes allow, and no limits of its own, unless given.
    #[serde(default)]
    pub plan: Option<String>,
}

/// What services are told of a caller besides who it is, as typed under `identity:`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// Header fields, each with the claim that it says.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
}

/// What callers of one plan may use, and how often, as typed under `plans:`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    /// Names under `limits:` that every request of such a caller counts against.
    #[serde(default)]
    pub limits: Vec<String>,
    /// The paths that it offers, as routes have them; all unless given.
    #[serde(default)]
    pub routes: Option<Vec<String>>,
}

/// What most clients know.
fn key_header() -> String {
    "X-Api-Key".to_owned()
}

/// How tokens of a provider are checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// The `iss` that a token must have.
    pub issuer: String,
    /// The `aud` that a token must hold.
    pub audience: String,
    /// Where the provider publishes its keys: `http://`, `https://` or `file://`.
    #[serde(default)]
    pub jwks: Option<String>,
    /// The secret that it shares with the gateway, instead of published keys.
    #[serde(default)]
    pub secret: Option<SecretConfig>,
    /// How often the keys are fetched again.
    #[serde(default = "refresh")]
    pub refresh: Span,
    /// How long after a fetch an unknown `kid` may cause another one.
    #[serde(default = "cooldown")]
    pub cooldown: Span,
    /// How far clocks may differ when `exp` and `nbf` are checked.
    #[serde(default = "leeway")]
    pub leeway: Span,
    /// The claim that lists a caller's roles: an array of strings.
    #[serde(default = "roles_claim")]
    pub roles_claim: String,
}

/// A secret that signs tokens (HMAC): either `value` or `file`. Whoever can check such a token can also make one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretConfig {
    /// The secret itself, from a variable.
    #[serde(default)]
    pub value: Option<Secret>,
    /// A file that holds it; a line break at its end is not part of it.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// What it signs with. Fixed here: a token has no say in it.
    #[serde(default)]
    pub algorithm: SecretAlgorithm,
}

/// What a shared secret signs with (RFC 7518 section 3.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum SecretAlgorithm {
    /// HMAC with SHA-256: what nearly everybody uses.
    #[default]
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Often enough that a withdrawn key dies within minutes, seldom enough not to be felt.
fn refresh() -> Span {
    Span::secs(300)
}

/// A flood of made-up `kid`s must not become a flood of fetches; a new key is used within 5 s of its first token.
fn cooldown() -> Span {
    Span::secs(3)
}

/// Nothing: an expired token is expired. Raise it where clocks are known to drift.
fn leeway() -> Span {
    Span::secs(0)
}

fn roles_claim() -> String {
    "roles".to_owned()
}

/// Who may use a route, as typed under `auth:`. There is no default: `auth: none` is written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthConfig {
    /// `auth: none`: anyone; tokens are not looked at.
    None,
    /// `auth: { provider: ... }`.
    By(AuthRule),
}

/// The long form of `auth:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthRule {
    /// A name under `providers:`: the short form of one under `providers`.
    #[serde(default)]
    pub provider: Option<String>,
    /// Names under `providers:`. The first whose credential a request brings along decides.
    #[serde(default)]
    pub providers: Vec<String>,
    /// Scopes that the token must all have.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Whether a caller without any token is let in as nobody. A bad token is refused all the same.
    #[serde(default)]
    pub optional: bool,
    /// A rule in the policy language, e.g. `claims.sub == path.consumerId`.
    #[serde(default)]
    pub allow: Option<String>,
}

impl<'de> Deserialize<'de> for AuthConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AuthVisitor)
    }
}

struct AuthVisitor;

impl<'de> de::Visitor<'de> for AuthVisitor {
    type Value = AuthConfig;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("`none`, or a mapping like { provider: NAME, scopes: [...] }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<AuthConfig, E> {
        if text == "none" {
            Ok(AuthConfig::None)
        } else {
            Err(E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<AuthConfig, A::Error> {
        AuthRule::deserialize(de::value::MapAccessDeserializer::new(map)).map(AuthConfig::By)
    }
}
