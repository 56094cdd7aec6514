//! TLS of a listener, from the files of its certificate.
//!
//! Not here: certificates of clients, and noticing that the files have changed.

use std::{path::Path, sync::Arc};

use rustls::{
    ServerConfig, ServerConnection,
    crypto::aws_lc_rs::Ticketer,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use tokio_rustls::TlsAcceptor;

use super::config::TlsConfig;
use crate::auth::install_crypto;

/// HTTP/2 in a TLS handshake (RFC 9113 section 3.1).
const HTTP2: &[u8] = b"h2";
/// HTTP/1.1 in a TLS handshake (RFC 7301 section 6).
const HTTP1: &[u8] = b"http/1.1";

/// TLS 1.2 and 1.3 with the certificate and key of `config`.
///
/// # Errors
/// A sentence that names the file: it cannot be read, holds no certificate or key, or the key is of another certificate.
pub fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor, String> {
    install_crypto();
    let (chain, key) = (chain(&config.cert)?, key(&config.key)?);
    let mut tls =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).map_err(|why| {
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

/// Whether client and server agreed on HTTP/2. A client that names no protocol speaks HTTP/1.1.
pub(super) fn chose_http2(connection: &ServerConnection) -> bool {
    connection.alpn_protocol() == Some(HTTP2)
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |why| unreadable("certificate", file, &why);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).map_err(unreadable)?.collect();
    let chain = chain.map_err(unreadable)?;
    if chain.is_empty() { Err(unreadable(pem::Error::NoItemsFound)) } else { Ok(chain) }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
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

fn name(file: &Path) -> String {
    format!("`{}`", file.display())
}
