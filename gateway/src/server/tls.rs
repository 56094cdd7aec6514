//! TLS of a listener, from the files of its certificates. Those of services are read alike.
//!
//! Which certificate a client gets is decided by the name that it asks for (SNI, RFC 6066 section 3): one that has this name, else
//! one with a wildcard for it (RFC 9525 section 6.3), else the first. All of it can be replaced while the listener listens: new
//! handshakes then go by the new files, and connections that are open stay as they are.
//!
//! Not here: TLS to services (`upstream/tls.rs`), who a client with a certificate is (`auth/`), and noticing that the files
//! have changed (`config/watch.rs`).

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs::Ticketer},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsAcceptor;

use super::config::{ClientsConfig, ListenerConfig, TlsConfig, TlsVersion};
use crate::{
    auth::{certificate_names as names, certificate_not_after as not_after, install_crypto},
    files::fingerprint,
    observability::metrics::Expiry,
};

/// HTTP/2 in a TLS handshake (RFC 9113 section 3.1).
pub(crate) const HTTP2: &[u8] = b"h2";
/// HTTP/1.1 in a TLS handshake (RFC 7301 section 6).
pub(crate) const HTTP1: &[u8] = b"http/1.1";

/// A name in each certificate, and the second at which it expires (Unix time).
type Expiries = Vec<(Box<str>, i64)>;

/// TLS as one listener speaks it, made of files as they were.
pub struct Tls {
    typed: TlsConfig,
    /// What was in the files.
    fingerprint: u64,
    config: Arc<ServerConfig>,
    expiries: Expiries,
}

/// The TLS of a listener that listens.
pub(super) struct Live(ArcSwap<Tls>);

/// The TLS of all listeners of a server that runs, each with its address as it was typed.
#[derive(Clone, Default)]
pub struct LiveTls(pub(super) Arc<[(SocketAddr, Option<Arc<Live>>)]>);

/// Certificates by the names in them.
#[derive(Debug)]
struct ByName {
    /// In lower case; with `*.` before it where it stands for all names of one more label.
    named: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// For clients that ask for no name, or for none of these.
    first: Arc<CertifiedKey>,
}

impl Tls {
    /// TLS with the certificates of `config`; `before` once more if nothing has changed, so that clients can come back with the
    /// session tickets that they have.
    ///
    /// # Errors
    /// A sentence that names the file: it cannot be read, holds no certificate or key, or the key is of another certificate.
    pub fn build(config: &TlsConfig, before: Option<&Arc<Tls>>) -> Result<Arc<Tls>, String> {
        let fingerprint = fingerprint(&files(config)); // before they are read: a change in between is noticed later
        let unchanged = |before: &&Arc<Tls>| before.typed == *config && before.fingerprint == fingerprint;
        if let Some(before) = before.filter(unchanged) {
            return Ok(before.clone());
        }
        let (made, expiries) = server_config(config)?;
        Ok(Arc::new(Tls { typed: config.clone(), fingerprint, config: made, expiries }))
    }

    /// The files that it was made of, and what was in them.
    #[must_use]
    pub fn made_of(&self) -> (Vec<PathBuf>, u64) {
        (files(&self.typed), self.fingerprint)
    }
}

impl Live {
    pub(super) fn new(tls: &Arc<Tls>) -> Self {
        Live(ArcSwap::new(tls.clone()))
    }

    /// For the next handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load().config.clone())
    }
}

impl LiveTls {
    /// From now on handshakes go by `tls`, one for each of `listen`. What listens elsewhere, or without TLS, waits for the next
    /// start.
    pub fn replace(&self, listen: &[ListenerConfig], tls: &[Option<Arc<Tls>>]) {
        for ((address, live), (typed, tls)) in self.0.iter().zip(listen.iter().zip(tls)) {
            if let (Some(live), Some(tls)) = (live, tls)
                && *address == typed.address
            {
                live.0.store(tls.clone());
            }
        }
    }

    /// When the certificates that are in use expire.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        let live = self.0.iter().filter_map(|(address, live)| Some((address, live.as_ref()?)));
        let told = live.flat_map(|(address, live)| {
            let expiries = live.0.load().expiries.clone();
            expiries.into_iter().map(move |(name, at)| (*address, name, at))
        });
        told.collect()
    }
}

impl ByName {
    fn of(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let found = name.map(str::to_ascii_lowercase).and_then(|name| {
            let wildcard = || self.named.get(&*format!("*{}", &name[name.find('.')?..]));
            self.named.get(&*name).or_else(wildcard)
        });
        found.unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.of(hello.server_name()).clone())
    }
}

fn server_config(config: &TlsConfig) -> Result<(Arc<ServerConfig>, Expiries), String> {
    const SINCE_12: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    const SINCE_13: &[&SupportedProtocolVersion] = &[&TLS13];
    install_crypto();
    let versions = if config.min_version == TlsVersion::Tls13 { SINCE_13 } else { SINCE_12 };
    let builder = ServerConfig::builder_with_protocol_versions(versions);
    let (by_name, expiries) = by_name(config, builder.crypto_provider())?;
    let builder = match &config.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(verifier(clients)?),
    };
    let mut tls = builder.with_cert_resolver(Arc::new(by_name));
    tls.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    // Clients of TLS 1.2 and 1.3 come back with one round trip less, whichever worker they come to.
    tls.ticketer = Ticketer::new().map_err(|why| format!("cannot make keys for session tickets: {why}"))?;
    Ok((Arc::new(tls), expiries))
}

/// All certificates, each name in one of them only: nobody could say which was meant.
fn by_name(config: &TlsConfig, provider: &CryptoProvider) -> Result<(ByName, Expiries), String> {
    let (mut named, mut files, mut expiries) = (HashMap::new(), HashMap::new(), Vec::new());
    let others = config.sni.iter().map(|other| (&other.cert, &other.key));
    let first = Arc::new(certified(&config.cert, &config.key, provider)?);
    for (at, (file, key)) in std::iter::once((&config.cert, &config.key)).chain(others).enumerate() {
        let certified = if at == 0 { first.clone() } else { Arc::new(certified(file, key, provider)?) };
        expiries.extend(expiry(&certified));
        let mut names = dns_names(&certified);
        names.sort_unstable();
        names.dedup();
        if at > 0 && names.is_empty() {
            return Err(format!(
                "the certificate in {} names no host that a client could ask for",
                name(file)
            ));
        }
        for host in names {
            if let Some(other) = files.insert(host.clone(), file) {
                let (one, other) = (name(other), name(file));
                return Err(format!("`{host}` is a name in two certificates, in {one} and in {other}"));
            }
            named.insert(host, certified.clone());
        }
    }
    Ok((ByName { named, first }, expiries))
}

fn certified(cert: &Path, file: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    CertifiedKey::from_der(chain(cert)?, key(file)?, provider).map_err(|why| {
        format!("the key in {} does not fit the certificate in {}: {why}", name(file), name(cert))
    })
}

/// The first name in a certificate, and when it expires.
fn expiry(certified: &CertifiedKey) -> Option<(Box<str>, i64)> {
    let certificate = certified.cert.first()?;
    let named = names(certificate).into_iter().next().unwrap_or_default();
    let name = named.split_once(':').map_or(&*named, |(_kind, name)| name);
    Some((name.into(), not_after(certificate)?))
}

/// The alternative names of a certificate that are names of hosts (RFC 5280 section 4.2.1.6).
fn dns_names(certified: &CertifiedKey) -> Vec<Box<str>> {
    let names = certified.cert.first().map(names).unwrap_or_default();
    names.iter().filter_map(|name| Some(name.strip_prefix("dns:")?.to_ascii_lowercase().into())).collect()
}

fn files(config: &TlsConfig) -> Vec<PathBuf> {
    let others = config.sni.iter().flat_map(|other| [&other.cert, &other.key]);
    let clients = config.clients.iter().map(|clients| &clients.ca);
    [&config.cert, &config.key].into_iter().chain(others).chain(clients).cloned().collect()
}

/// Checks who signed the certificates of clients.
fn verifier(clients: &ClientsConfig) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(&clients.ca)? {
        let added = roots.add(certificate);
        added.map_err(|why| format!("the certificate in {} can sign no others: {why}", name(&clients.ca)))?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
    let verifier = if clients.required { verifier } else { verifier.allow_unauthenticated() };
    verifier.build().map_err(|why| format!("nobody could be checked by {}: {why}", name(&clients.ca)))
}

/// The names in the certificate of the client, if it sent one.
pub(super) fn client_names(connection: &ServerConnection) -> Option<Vec<Box<str>>> {
    connection.peer_certificates()?.first().map(names)
}

/// Whether client and server agreed on HTTP/2. A client that names no protocol speaks HTTP/1.1.
pub(super) fn chose_http2(connection: &ServerConnection) -> bool {
    connection.alpn_protocol() == Some(HTTP2)
}

/// The certificates in `file`, at least one.
///
/// # Errors
/// A sentence that names the file.
pub(crate) fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |why| unreadable("certificate", file, &why);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).map_err(unreadable)?.collect();
    let chain = chain.map_err(unreadable)?;
    if chain.is_empty() { Err(unreadable(pem::Error::NoItemsFound)) } else { Ok(chain) }
}

/// The private key in `file`.
///
/// # Errors
/// A sentence that names the file.
pub(crate) fn key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(file).map_err(|why| unreadable("private key", file, &why))
}

fn unreadable(what: &str, file: &Path, why: &pem::Error) -> String {
    let file = name(file);
    match why {
        pem::Error::NoItemsFound => format!("there is no {what} in {file}: it must be in PEM form"),
        pem::Error::Io(why) => format!("the {what} in {file} cannot be read: {why}"),
        why => format!("the {what} in {file} is damaged: {why}"),
    }
}

/// A file as messages call it.
pub(crate) fn name(file: &Path) -> String {
    format!("`{}`", file.display())
}

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;
    use rustls::{ClientConfig, pki_types::ServerName};
    use tokio::net::TcpStream;
    use tokio_rustls::{TlsConnector, client::TlsStream};

    use super::*;
    use crate::server::{
        Server,
        config::SniConfig,
        testing::{Http1, Stub, asked, bound, http2, settings},
    };

    /// Files that are gone after the test.
    struct Files(PathBuf);

    impl Drop for Files {
        fn drop(&mut self) {
            _ = std::fs::remove_dir_all(&self.0);
        }
    }

    impl Files {
        fn new() -> Self {
            let folder = format!("gateway-tls-{}-{:x}", std::process::id(), fastrand::u64(..));
            let folder = std::env::temp_dir().join(folder);
            std::fs::create_dir(&folder).unwrap();
            Files(folder)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let file = self.0.join(name);
            std::fs::write(&file, text).unwrap();
            file
        }

        /// A certificate for `localhost`, and what a client trusts then.
        fn certificate(&self) -> (TlsConfig, RootCertStore) {
            let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let cert = self.write("cert.pem", &made.cert.pem());
            let key = self.write("key.pem", &made.signing_key.serialize_pem());
            let mut roots = RootCertStore::empty();
            roots.add(made.cert.der().clone()).unwrap();
            (of(&cert, &key), roots)
        }
    }

    fn of(cert: &Path, key: &Path) -> TlsConfig {
        let (cert, key) = (cert.to_owned(), key.to_owned());
        TlsConfig { cert, key, sni: Vec::new(), min_version: TlsVersion::default(), clients: None }
    }

    async fn connect(
        address: std::net::SocketAddr,
        roots: &RootCertStore,
        protocols: &[&[u8]],
    ) -> TlsStream<TcpStream> {
        let mut config = ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    #[tokio::test]
    async fn the_handshake_decides_which_http_is_spoken() {
        let files = Files::new();
        let (tls, roots) = files.certificate();
        let (address, listeners) = bound(&settings(), Some(tls));
        let server = Server::start(Stub::new(), listeners).unwrap();

        let both = connect(address, &roots, &[HTTP2, HTTP1]).await;
        assert_eq!(both.get_ref().1.alpn_protocol(), Some(HTTP2));
        assert_eq!(asked(http2(both).await, "/").await, "HTTP/2.0 tls=true");

        let only_http1: [&[&[u8]]; 2] = [&[HTTP1], &[]];
        for protocols in only_http1 {
            let mut client = Http1(connect(address, &roots, protocols).await);
            client.ask("/").await;
            assert!(client.answer().await.ends_with("HTTP/1.1 tls=true"));
        }
        server.drain().await;
    }

    #[test]
    fn wrong_files_are_called_by_their_names() {
        let files = Files::new();
        let (tls, _) = files.certificate();
        let refused = |cert: &PathBuf, key: &PathBuf| {
            let refused = Tls::build(&of(cert, key), None);
            refused.err().expect("refused").replace(&*files.0.to_string_lossy(), "")
        };
        let missing = files.0.join("missing.pem");
        let why = refused(&missing, &tls.key);
        assert!(why.starts_with("the certificate in `/missing.pem` cannot be read: No such file"), "{why}");
        assert_eq!(
            refused(&tls.key, &tls.key),
            "there is no certificate in `/key.pem`: it must be in PEM form"
        );
        assert_eq!(
            refused(&tls.cert, &tls.cert),
            "there is no private key in `/cert.pem`: it must be in PEM form"
        );
        let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = files.write("other.pem", &other.signing_key.serialize_pem());
        let why = refused(&tls.cert, &other);
        let unfit = "the key in `/other.pem` does not fit the certificate in `/cert.pem`";
        assert!(why.starts_with(unfit), "{why}");
    }

    /// A listener's certificate for `localhost` and `*.ftgo.example`, and others for these names.
    fn several(files: &Files, others: &[&[&str]]) -> Result<ByName, String> {
        install_crypto();
        let mut pairs = std::iter::once(&["localhost", "*.ftgo.example"][..]).chain(others.iter().copied());
        let mut pair = |at: usize| {
            let names: Vec<String> = pairs.next()?.iter().map(ToString::to_string).collect();
            let made = generate_simple_self_signed(names).unwrap();
            let cert = files.write(&format!("{at}.pem"), &made.cert.pem());
            let key = files.write(&format!("{at}-key.pem"), &made.signing_key.serialize_pem());
            Some(SniConfig { cert, key })
        };
        let first = pair(0).unwrap();
        let sni = (1..).map_while(pair).collect();
        let config = TlsConfig { sni, ..of(&first.cert, &first.key) };
        by_name(&config, &rustls::crypto::aws_lc_rs::default_provider()).map(|(by_name, _)| by_name)
    }

    #[test]
    fn a_client_gets_the_certificate_of_the_name_it_asks_for_and_else_the_first() {
        let files = Files::new();
        let all = several(&files, &[&["api.ftgo.example"], &["*.shop.example", "shop.example"]]).unwrap();
        let number = |name: Option<&str>| {
            let certificate = all.of(name).cert[0].clone();
            (0..3).find(|at| chain(&files.0.join(format!("{at}.pem"))).unwrap()[0] == certificate).unwrap()
        };
        for (name, expected) in [
            (None, 0),
            (Some("localhost"), 0),
            (Some("other.example"), 0),
            (Some("www.ftgo.example"), 0),
            (Some("api.ftgo.example"), 1),
            (Some("API.ftgo.example"), 1),
            (Some("shop.example"), 2),
            (Some("a.shop.example"), 2),
            (Some("a.b.shop.example"), 0),
            (Some("example"), 0),
        ] {
            assert_eq!(number(name), expected, "{name:?}");
        }
    }

    #[test]
    fn a_name_in_two_certificates_and_a_certificate_without_one_are_mistakes() {
        let files = Files::new();
        let refused = |others: &[&[&str]]| {
            let why = several(&files, others).expect_err("refused");
            why.replace(&*files.0.to_string_lossy(), "")
        };
        assert_eq!(
            refused(&[&["a.example"], &["b.example", "A.example"]]),
            "`a.example` is a name in two certificates, in `/1.pem` and in `/2.pem`"
        );
        let first = "`*.ftgo.example` is a name in two certificates, in `/0.pem` and in `/1.pem`";
        assert_eq!(refused(&[&["*.ftgo.example"]]), first);
        let none = "the certificate in `/1.pem` names no host that a client could ask for";
        assert_eq!(refused(&[&["192.0.2.1"]]), none);
    }

    #[tokio::test]
    async fn an_older_version_than_the_least_is_not_spoken() {
        let files = Files::new();
        let (tls, roots) = files.certificate();
        for (min_version, spoken) in [(TlsVersion::Tls12, true), (TlsVersion::Tls13, false)] {
            let (address, listeners) = bound(&settings(), Some(TlsConfig { min_version, ..tls.clone() }));
            let server = Server::start(Stub::new(), listeners).unwrap();
            let old = ClientConfig::builder_with_protocol_versions(&[&TLS12]);
            let old = old.with_root_certificates(roots.clone()).with_no_client_auth();
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            assert_eq!(TlsConnector::from(Arc::new(old)).connect(name, stream).await.is_ok(), spoken);
            server.drain().await;
        }
    }

    #[test]
    fn what_has_not_changed_is_taken_over_and_what_has_is_not() {
        let files = Files::new();
        let (tls, _) = files.certificate();
        let first = Tls::build(&tls, None).unwrap();
        assert!(Arc::ptr_eq(&first, &Tls::build(&tls, Some(&first)).unwrap()));
        let only_13 = TlsConfig { min_version: TlsVersion::Tls13, ..tls.clone() };
        assert!(!Arc::ptr_eq(&first, &Tls::build(&only_13, Some(&first)).unwrap()));
        files.certificate(); // others, in the same files
        assert!(!Arc::ptr_eq(&first, &Tls::build(&tls, Some(&first)).unwrap()));
    }
}
