//! TLS to a service: whom we trust, who we say we are, by which name the service must be known.
//!
//! There is no way to leave verification out. Not here: connecting (`pool.rs`), which HTTP is spoken (`wire.rs`).

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::PathBuf,
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::wire::Protocol;
use crate::{
    auth::install_crypto,
    mistake::{Mistake, Mistakes, below},
    server::tls::{HTTP1, HTTP2, chain, key, name},
};

/// How a service proves who it is, and we to it, as typed under `upstreams.NAME.tls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceTlsConfig {
    /// The certificates of those who vouch for the service, PEM: those that the system trusts unless given.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Our certificate chain for services that ask for one, PEM, leaf first.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// What the service's certificate must be for: the host of the URL unless given.
    #[serde(default)]
    pub server_name: Option<String>,
}

/// TLS to one service. Sessions are resumed by all workers and all endpoints.
pub(super) struct Tls {
    connector: TlsConnector,
    name: Option<ServerName<'static>>,
    /// What was in the files, so that a reload can tell whether it is still the same.
    read: u64,
}

/// What the files hold.
struct Files {
    ca: Vec<CertificateDer<'static>>,
    own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Tls {
    /// What was typed at the key path `at` for the upstream `whose`.
    ///
    /// # Errors
    /// All that is wrong: files that cannot be read or do not fit each other, a name that is none.
    pub(super) fn build(
        config: &ServiceTlsConfig,
        protocol: Protocol,
        whose: &str,
        at: &str,
    ) -> Result<Self, Mistakes> {
        install_crypto();
        let mut mistakes = Mistakes::default();
        let wrong = |key: &str, why: &str| {
            let at = if key.is_empty() { at.to_owned() } else { below(at, key) };
            Mistake::new(at, format!("upstream `{whose}`: {why}"))
        };
        let name = config.server_name.as_ref().and_then(|typed| {
            let read = ServerName::try_from(typed.clone());
            mistakes.keep(read.map_err(|_invalid| {
                wrong("server_name", &format!("`{typed}` is no name that a certificate could be for"))
            }))
        });
        let files = Files::read(config);
        if let Err(all) = &files {
            mistakes.0.extend(all.iter().map(|(key, why)| wrong(key, why)));
        }
        let Some(files) = files.ok().filter(|_| mistakes.is_empty()) else { return Err(mistakes) };
        let read = files.hash();
        match files.client(config) {
            Ok(mut client) => {
                client.alpn_protocols = protocol.offered().map(<[u8]>::to_vec).collect();
                Ok(Tls { connector: TlsConnector::from(Arc::new(client)), name, read })
            }
            Err((key, why)) => Err(Mistakes(vec![wrong(key, &why)])),
        }
    }

    /// Whether the files still hold what they held.
    pub(super) fn is_unchanged(&self, config: &ServiceTlsConfig) -> bool {
        Files::read(config).is_ok_and(|files| files.hash() == self.read)
    }

    /// Whether it is made of the same files with the same content.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.read == other.read && self.name == other.name
    }

    /// What the certificate of `host`, a name or address with a port, must be for. Nothing if it can be for nothing: then
    /// there is no connection.
    pub(super) fn name_of(&self, host: &str) -> Option<ServerName<'static>> {
        self.name.clone().or_else(|| {
            let host = host.rsplit_once(':').map_or(host, |(host, _port)| host);
            let host = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
            ServerName::try_from(host.to_owned()).ok()
        })
    }

    /// Shakes hands for HTTP/1.1 and nothing else: what switches protocols does so there (RFC 9113 section 8.6).
    pub(super) async fn connect_http1(
        &self,
        name: Option<&ServerName<'static>>,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = name.ok_or_else(|| io::Error::other("TLS: no certificate could be for this host"))?;
        let connector = self.connector.with_alpn(vec![HTTP1.to_vec()]);
        let connected = connector.connect(name.clone(), stream).await;
        connected.map_err(|why| io::Error::new(why.kind(), format!("TLS: {why}")))
    }

    /// Shakes hands. Whether HTTP/2 was agreed on is known then.
    pub(super) async fn connect(
        &self,
        name: Option<&ServerName<'static>>,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, bool)> {
        let name = name.ok_or_else(|| io::Error::other("TLS: no certificate could be for this host"))?;
        let connected = self.connector.connect(name.clone(), stream).await;
        let stream = connected.map_err(|why| io::Error::new(why.kind(), format!("TLS: {why}")))?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        Ok((stream, http2))
    }
}

/// The key that is wrong, and why.
type Wrong = (&'static str, String);

impl Files {
    fn read(config: &ServiceTlsConfig) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let own = match (&config.cert, &config.key) {
            (None, None) => None,
            (Some(cert), Some(private)) => {
                let cert = chain(cert).map_err(|why| wrong.push(("cert", why)));
                let private = key(private).map_err(|why| wrong.push(("key", why)));
                cert.ok().zip(private.ok())
            }
            (cert, _) => {
                wrong.push(match cert {
                    Some(_) => ("cert", "a certificate without its `key`".to_owned()),
                    None => ("key", "a private key without its `cert`".to_owned()),
                });
                None
            }
        };
        let ca = match &config.ca {
            Some(file) => chain(file).map_err(|why| ("ca", why)),
            None => trusted_by_the_system().map_err(|why| ("", why)),
        };
        match ca {
            Ok(ca) if wrong.is_empty() => Ok(Files { ca, own }),
            Ok(_) => Err(wrong),
            Err(why) => {
                wrong.push(why);
                Err(wrong)
            }
        }
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.ca.iter().for_each(|one| one.as_ref().hash(&mut hasher));
        if let Some((chain, key)) = &self.own {
            chain.iter().for_each(|one| one.as_ref().hash(&mut hasher));
            key.secret_der().hash(&mut hasher);
        }
        hasher.finish()
    }

    fn client(self, config: &ServiceTlsConfig) -> Result<ClientConfig, Wrong> {
        let mut roots = RootCertStore::empty();
        match &config.ca {
            Some(file) => {
                for one in self.ca {
                    let wrong = |why| ("ca", format!("a certificate in {} is damaged: {why}", name(file)));
                    roots.add(one).map_err(wrong)?;
                }
            }
            // Systems carry some that nobody can read; the others are good all the same.
            None => _ = roots.add_parsable_certificates(self.ca),
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        match (self.own, &config.cert, &config.key) {
            (Some((chain, private)), Some(cert), Some(key)) => {
                builder.with_client_auth_cert(chain, private).map_err(|why| {
                    (
                        "key",
                        format!(
                            "the key in {} does not fit the certificate in {}: {why}",
                            name(key),
                            name(cert)
                        ),
                    )
                })
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }
}

fn trusted_by_the_system() -> Result<Vec<CertificateDer<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    match found.errors.first() {
        _ if !found.certs.is_empty() => Ok(found.certs),
        Some(why) => Err(format!("the certificates that this system trusts cannot be read: {why}")),
        None => Err("this system trusts no certificate: name a `ca`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::generate_simple_self_signed;

    use super::*;

    /// A folder that is gone after the test.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    impl Folder {
        fn new() -> Self {
            let folder = format!("gateway-service-tls-{}-{:x}", std::process::id(), fastrand::u64(..));
            let folder = std::env::temp_dir().join(folder);
            fs::create_dir(&folder).unwrap();
            Folder(folder)
        }

        /// `NAME.pem` and `NAME-key.pem`.
        fn certified(&self, name: &str) -> ServiceTlsConfig {
            let made = generate_simple_self_signed([name.to_owned()]).unwrap();
            let (cert, key) = (self.0.join(format!("{name}.pem")), self.0.join(format!("{name}-key.pem")));
            fs::write(&cert, made.cert.pem()).unwrap();
            fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            ServiceTlsConfig { ca: Some(cert.clone()), cert: Some(cert), key: Some(key), server_name: None }
        }

        fn told(&self, config: &ServiceTlsConfig) -> Vec<String> {
            let built = Tls::build(config, Protocol::Auto, "kitchen", "tls");
            let told = |mistake: &Mistake| format!("{}: {}", mistake.at, mistake.message);
            let told: Vec<String> = built.err().expect("it is wrong").0.iter().map(told).collect();
            told.into_iter().map(|told| told.replace(&*self.0.to_string_lossy(), "")).collect()
        }
    }

    #[test]
    fn files_that_do_not_fit_are_called_by_their_names_and_keys() {
        let folder = Folder::new();
        let (one, other) = (folder.certified("one"), folder.certified("other"));
        assert!(Tls::build(&one, Protocol::Auto, "kitchen", "tls").is_ok());
        let told = folder.told(&ServiceTlsConfig { key: other.key.clone(), ..one.clone() });
        let unfit = "tls.key: upstream `kitchen`: the key in `/other-key.pem` does not fit the certificate in `/one.pem`";
        assert!(told[0].starts_with(unfit), "{told:?}");
        let told =
            folder.told(&ServiceTlsConfig { ca: one.key.clone(), key: one.cert.clone(), ..one.clone() });
        assert_eq!(
            told,
            [
                "tls.key: upstream `kitchen`: there is no private key in `/one.pem`: it must be in PEM form",
                "tls.ca: upstream `kitchen`: there is no certificate in `/one-key.pem`: it must be in PEM form",
            ]
        );
        fs::write(
            other.ca.as_ref().unwrap(),
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        let told = folder.told(&ServiceTlsConfig { ca: other.ca, ..one });
        assert!(
            told[0].starts_with("tls.ca: upstream `kitchen`: a certificate in `/other.pem` is damaged"),
            "{told:?}"
        );
    }

    #[test]
    fn only_another_content_of_the_files_is_a_change() {
        let folder = Folder::new();
        let config = folder.certified("one");
        let build = || Tls::build(&config, Protocol::Auto, "kitchen", "tls").ok().unwrap();
        let tls = build();
        assert!(tls.is_unchanged(&config) && tls.is_same(&build()));
        folder.certified("one");
        assert!(!tls.is_unchanged(&config) && !tls.is_same(&build()));
        fs::remove_file(config.ca.as_ref().unwrap()).unwrap();
        assert!(!tls.is_unchanged(&config));
    }

    #[test]
    fn a_certificate_must_be_for_the_host_unless_a_name_is_typed() {
        let folder = Folder::new();
        let config = folder.certified("one");
        let name_of = |config: &ServiceTlsConfig, host: &str| {
            let tls = Tls::build(config, Protocol::Auto, "kitchen", "tls").ok().unwrap();
            tls.name_of(host).map(|name| name.to_str().into_owned())
        };
        for (host, name) in [
            ("kitchen.internal:443", Some("kitchen.internal")),
            ("10.0.0.1:443", Some("10.0.0.1")),
            ("[::1]:443", Some("::1")),
            ("kit chen:443", None),
        ] {
            assert_eq!(name_of(&config, host).as_deref(), name);
        }
        let named = ServiceTlsConfig { server_name: Some("other".to_owned()), ..config };
        assert_eq!(name_of(&named, "10.0.0.1:443").as_deref(), Some("other"));
    }
}
