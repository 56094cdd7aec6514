//! Handshakes of TLS that failed: each is counted by its reason, and the log hears of one a second at most.
//!
//! Not here: the handshake (`server/tls.rs`).

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

/// How often it is logged, however many fail.
const TOLD: Duration = Duration::from_secs(1);

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The client says that it will not go on: it does not trust the certificate, for one.
    Alert,
    /// The client's certificate is missing where there must be one, or nobody trusted has signed it.
    ClientCertificate,
    /// There is no version, cipher suite or protocol that both sides speak.
    Incompatible,
    /// What the client sent is no TLS: plaintext HTTP, for one.
    NoTls,
    /// The client closed the connection, as port scanners and checks of load balancers do.
    Left,
    /// It took longer than `server.header_timeout`.
    TooSlow,
    /// Anything else.
    Other,
}

impl Failure {
    /// All of them, in the order of [`Handshakes`].
    const ALL: [Failure; 7] = [
        Failure::Alert,
        Failure::ClientCertificate,
        Failure::Incompatible,
        Failure::NoTls,
        Failure::Left,
        Failure::TooSlow,
        Failure::Other,
    ];

    /// What `error` is.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        use rustls::Error;
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::AlertReceived(_)) => Failure::Alert,
            Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => Failure::ClientCertificate,
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Failure::Incompatible,
            Some(Error::InvalidMessage(_)) => Failure::NoTls,
            Some(_) => Failure::Other,
            None => Failure::Left,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Failure::Alert => "alert",
            Failure::ClientCertificate => "client_certificate",
            Failure::Incompatible => "incompatible",
            Failure::NoTls => "no_tls",
            Failure::Left => "left",
            Failure::TooSlow => "too_slow",
            Failure::Other => "other",
        }
    }
}

/// Those that failed so far.
#[derive(Debug, Default)]
pub struct Handshakes {
    failed: [Counter; 7],
    told: Mutex<Option<Instant>>,
}

impl Handshakes {
    /// One more failed. That a client has left is not worth a warning.
    pub fn failed(&self, failure: Failure, peer: SocketAddr, why: &dyn std::fmt::Display) {
        self.failed[failure as usize].inc();
        if failure == Failure::Left {
            return;
        }
        let mut told = self.told.lock();
        if told.is_none_or(|told| told.elapsed() >= TOLD) {
            *told = Some(Instant::now());
            tracing::warn!(%peer, reason = failure.name(), %why, "TLS handshakes fail");
        }
    }

    /// How many failed, by reason.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Failure::ALL.iter().zip(&self.failed).map(|(failure, counter)| (failure.name(), counter.get()))
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError, Error};

    use super::*;

    #[test]
    fn reasons_are_told_apart_and_each_is_counted_at_its_own_place() {
        let of = |error: Error| Failure::of(&io::Error::new(io::ErrorKind::InvalidData, error));
        let unknown_ca = Error::AlertReceived(AlertDescription::UnknownCA);
        let unsigned = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!((of(unknown_ca), of(unsigned)), (Failure::Alert, Failure::ClientCertificate));
        assert_eq!(of(Error::NoApplicationProtocol), Failure::Incompatible);
        assert_eq!(Failure::of(&io::ErrorKind::UnexpectedEof.into()), Failure::Left);
        let handshakes = Handshakes::default();
        for failure in Failure::ALL {
            handshakes.failed(failure, "192.0.2.1:1".parse().unwrap(), &"so");
        }
        handshakes.failed(Failure::TooSlow, "192.0.2.1:1".parse().unwrap(), &"so");
        let counts: Vec<_> = handshakes.counts().filter(|(_, count)| *count == 2).collect();
        assert_eq!(counts, [("too_slow", 2)]);
    }
}
