//! For the tests of this folder: keys that sign tokens, and a provider that publishes them.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{
    Around, Provider,
    config::{JwtConfig, ProviderConfig},
    install_crypto,
};
use crate::units::Span;

/// The time of all tests, in seconds since 1970.
pub(super) const NOW: u64 = 1_800_000_000;

/// Whoever can sign tokens.
pub(super) struct Signer {
    kid: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    /// A key pair that is the same for the same seed.
    pub(super) fn ed25519(kid: &str, seed: u8) -> Self {
        // PKCS #8 around 32 bytes (RFC 8410 section 7).
        let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        der.extend([seed; 32]);
        Signer { kid: kid.to_owned(), algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_der(&der) }
    }

    /// The one RSA key pair of all tests: making one takes long.
    pub(super) fn rsa(kid: &str) -> Self {
        static KEY: LazyLock<EncodingKey> = LazyLock::new(|| {
            install_crypto();
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
            EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap()
        });
        Signer { kid: kid.to_owned(), algorithm: Algorithm::RS256, key: KEY.clone() }
    }

    /// A new key pair on P-256.
    pub(super) fn es256(kid: &str) -> Self {
        install_crypto();
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        Signer { kid: kid.to_owned(), algorithm: Algorithm::ES256, key }
    }

    /// The public key as published.
    pub(super) fn jwk(&self) -> Value {
        install_crypto();
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    pub(super) fn header(&self) -> Header {
        Header { kid: Some(self.kid.clone()), ..Header::new(self.algorithm) }
    }

    pub(super) fn token(&self, claims: &Value) -> String {
        self.token_under(&self.header(), claims)
    }

    /// The signature of these bytes, as a token has it.
    pub(super) fn sign(&self, message: &[u8]) -> String {
        install_crypto();
        jsonwebtoken::crypto::sign(message, &self.key, self.algorithm).unwrap()
    }

    pub(super) fn token_under(&self, header: &Header, claims: &Value) -> String {
        install_crypto();
        encode(header, claims, &self.key).unwrap()
    }
}

/// Claims that are good for another minute.
pub(super) fn claims() -> Value {
    json!({"iss": "https://id.example", "aud": "ftgo", "sub": "7", "roles": ["consumer"],
           "scope": "orders:read", "exp": NOW + 60})
}

/// [`claims`] with one of them other than it should be; `null` takes it away.
pub(super) fn claims_but(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

pub(super) fn config(jwks: &str) -> ProviderConfig {
    ProviderConfig {
        jwt: Some(JwtConfig {
            issuer: "https://id.example".to_owned(),
            audience: "ftgo".to_owned(),
            jwks: Some(jwks.to_owned()),
            secret: None,
            refresh: Span::secs(300),
            cooldown: Span::secs(5),
            leeway: Span::secs(0),
            roles_claim: "roles".to_owned(),
        }),
        ..ProviderConfig::default()
    }
}

/// Lets the cool-down pass, and nothing else.
pub(super) async fn cool_down() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
}

/// A provider that counts how often it is asked.
pub(super) struct Publisher {
    pub(super) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// What is answered: a status and a body.
    answer: Mutex<(u16, String)>,
    fetches: AtomicUsize,
    /// Nothing is answered while false.
    open: watch::Sender<bool>,
}

impl Publisher {
    pub(super) async fn of(signers: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            answer: Mutex::default(),
            fetches: AtomicUsize::new(0),
            open: watch::channel(true).0,
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        let publisher = Publisher { url, shared };
        publisher.publish(signers);
        publisher
    }

    pub(super) fn publish(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        self.answer(200, &json!({ "keys": keys }).to_string());
    }

    pub(super) fn answer(&self, status: u16, body: &str) {
        *self.shared.answer.lock() = (status, body.to_owned());
    }

    pub(super) fn hold(&self, held: bool) {
        self.shared.open.send_replace(!held);
    }

    pub(super) fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    pub(super) fn provider(&self) -> Arc<Provider> {
        Provider::build("ftgo", &config(&self.url), &Around::default(), "providers.ftgo").unwrap()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    shared.fetches.fetch_add(1, Ordering::SeqCst);
    shared.open.subscribe().wait_for(|open| *open).await.unwrap();
    let (status, body) = shared.answer.lock().clone();
    let head =
        format!("HTTP/1.1 {status} X\r\nlocation: /elsewhere\r\ncontent-length: {}\r\n\r\n", body.len());
    _ = stream.write_all((head + &body).as_bytes()).await;
}
