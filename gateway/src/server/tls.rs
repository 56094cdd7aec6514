//! TLS of a listener, from the files of its certificate. Those of services are read alike.
//!
//! Not here: TLS to services (`upstream/tls.rs`), who a client with a certificate is (`auth/`), and noticing that the files
//! have changed.

use std::{path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection,
    crypto::aws_lc_rs::Ticketer,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio_rustls::TlsAcceptor;

use super::config::{ClientsConfig, TlsConfig};
use crate::auth::{certificate_names as names, install_crypto};

/// HTTP/2 in a TLS handshake (RFC 9113 section 3.1).
pub(crate) const HTTP2: &[u8] = b"h2";
/// HTTP/1.1 in a TLS handshake (RFC 7301 section 6).
pub(crate) const HTTP1: &[u8] = b"http/1.1";

/// TLS 1.2 and 1.3 with the certificate and key of `config`.
///
/// # Errors
/// A sentence that names the file: it cannot be read, holds no certificate or key, or the key is of another certificate.
pub fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor, String> {
    install_crypto();
    let (chain, key) = (chain(&config.cert)?, key(&config.key)?);
    let builder = match &config.clients {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(clients) => ServerConfig::builder().with_client_cert_verifier(verifier(clients)?),
    };
    let mut tls = builder.with_single_cert(chain, key).map_err(|why| {
        format!(
            "the key in {} does not fit the certificate in {}: {why}",
            name(&config.key),
            name(&config.cert)
        )
    })?;
    tls.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    // Clients of TLS 1.2 and 1.3 come back with one round trip less, whichever worker they come to.
    tls.ticketer = Ticketer::new().map_err(|why| format!("cannot make keys for session tickets: {why}"))?;
    Ok(TlsAcceptor::from(Arc::new(tls)))
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
    use std::path::PathBuf;

    use rcgen::generate_simple_self_signed;
    use rustls::{ClientConfig, pki_types::ServerName};
    use tokio::net::TcpStream;
    use tokio_rustls::{TlsConnector, client::TlsStream};

    use super::*;
    use crate::server::{
        Server,
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
            (TlsConfig { cert, key, clients: None }, roots)
        }
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
            let refused = acceptor(&TlsConfig { cert: cert.clone(), key: key.clone(), clients: None });
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
}
