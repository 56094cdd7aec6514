//! Callers by client certificate: the listener has checked who signed it, here is who that is.
//!
//! A certificate has names: `dns:` and `uri:` from its alternative names, `cn:` from its subject. The configuration says which
//! caller goes by which of them. They are read once for each connection.
//!
//! Not here: the handshake (`server/tls.rs`), revocation. A certificate is good until it expires.

use std::{collections::HashMap, sync::Arc, time::UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{
    Claim, Refusal,
    config::CertificateConfig,
    known::{Around, Known},
    principal::Principal,
};
use crate::{
    downstream::Downstream,
    mistake::{Mistake, Mistakes, below},
};

/// The kinds of names, as they are typed.
const KINDS: [&str; 3] = ["dns:", "uri:", "cn:"];

/// Whose certificate has which name.
pub(super) struct Certificates(HashMap<Box<str>, Arc<Principal>>);

impl Certificates {
    /// The callers of the provider `name`, typed at the key path `at`.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(super) fn build(
        name: &str,
        config: &CertificateConfig,
        around: &Around,
        at: &str,
    ) -> Result<Self, Mistakes> {
        let (mut mistakes, mut callers) = (Mistakes::default(), HashMap::new());
        let at = below(at, "callers");
        if config.callers.is_empty() {
            mistakes
                .add(Mistake::new(&at, format!("provider `{name}` knows nobody")).expected("at least one"));
        }
        for (index, caller) in config.callers.iter().enumerate() {
            let at = format!("{at}[{index}]");
            let known =
                KINDS.iter().any(|kind| caller.name.len() > kind.len() && caller.name.starts_with(kind));
            if !known {
                let message = format!("`{}` is no name in a certificate", caller.name);
                let expected = "like `dns:partner.example`, `uri:spiffe://example/partner` or `cn:Partner`";
                mistakes.add(Mistake::new(below(&at, "name"), message).expected(expected));
            }
            let (id, roles, scopes) = (&*caller.id, &*caller.roles, &*caller.scopes);
            let known = Known { id, roles, scopes, plan: caller.plan.as_deref() };
            let Some(principal) = mistakes.keep(known.principal(around, &at)) else { continue };
            if callers.insert(Box::from(caller.name.as_str()), principal).is_some() {
                let message = format!("`{}` is the name of two callers", caller.name);
                mistakes.add(Mistake::new(below(&at, "name"), message));
            }
        }
        if mistakes.is_empty() { Ok(Certificates(callers)) } else { Err(mistakes) }
    }

    /// Whose certificate came with the connection.
    ///
    /// # Errors
    /// When it is nobody's, or has the names of two callers: nobody can say which was meant.
    pub(super) fn whose(&self, from: &Downstream) -> Result<Claim, Refusal> {
        let Some(names) = from.certificate() else { return Ok(Claim::Nothing) };
        let mut known = names.iter().filter_map(|name| self.0.get(name));
        let Some(caller) = known.next() else {
            return Err(Refusal::Bad("nobody goes by a name in its certificate".to_owned()));
        };
        if known.any(|other| other.sub != caller.sub) {
            return Err(Refusal::Bad("its certificate has the names of two callers".to_owned()));
        }
        Ok(Claim::By(caller.clone()))
    }
}

/// The names in a certificate that has been checked.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Vec<Box<str>> {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    let named = |kind: &str, name: &str| format!("{kind}{name}").into();
    let dns = parsed.valid_dns_names().map(|name| named("dns:", name));
    let uris = parsed.valid_uri_names().map(|name| named("uri:", name));
    dns.chain(uris).chain(common_name(certificate).map(|name| named("cn:", name))).collect()
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]` before the version of a certificate.
const VERSION: u8 = 0xa0;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The one common name of the subject (RFC 5280 section 4.1.2.6). None when there are several: which would be meant?
fn common_name(certificate: &[u8]) -> Option<&str> {
    let (_, whole, _) = element(certificate)?;
    let (_, fields, _) = element(whole)?;
    let (tag, _, after_version) = element(fields)?;
    // Then come serial number, algorithm, issuer and validity; the version may be left out.
    let mut rest = if tag == VERSION { after_version } else { fields };
    for _ in 0..4 {
        rest = element(rest)?.2;
    }
    let (SEQUENCE, mut parts, _) = element(rest)? else { return None };
    let mut found = None;
    while !parts.is_empty() {
        let (SET, mut part, after) = element(parts)? else { return None };
        while !part.is_empty() {
            let (SEQUENCE, pair, next) = element(part)? else { return None };
            let (OBJECT_ID, kind, value) = element(pair)? else { return None };
            if kind == COMMON_NAME {
                let (UTF8_STRING | PRINTABLE_STRING, text, _) = element(value)? else { return None };
                if found.replace(std::str::from_utf8(text).ok()?).is_some() {
                    return None;
                }
            }
            part = next;
        }
        parts = after;
    }
    found
}

/// When a certificate expires: seconds of Unix time (RFC 5280 section 4.1.2.5).
pub(crate) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, whole, _) = element(certificate)?;
    let (_, fields, _) = element(whole)?;
    let (tag, _, after_version) = element(fields)?;
    // Then come serial number, algorithm and issuer; the version may be left out.
    let mut rest = if tag == VERSION { after_version } else { fields };
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (SEQUENCE, validity, _) = element(rest)? else { return None };
    let (_, _, not_after) = element(validity)?;
    let (kind, digits, _) = element(not_after)?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.is_ascii())?;
    let (year, rest) = match kind {
        // Two digits of the year: those of 1950 to 2049.
        UTC_TIME if digits.get(..2)? < "50" => (format!("20{}", digits.get(..2)?), digits.get(2..)?),
        UTC_TIME => (format!("19{}", digits.get(..2)?), digits.get(2..)?),
        GENERALIZED_TIME => (digits.get(..4)?.to_owned(), digits.get(4..)?),
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2);
    let (month, day, hour, minute, second) = (two(0)?, two(2)?, two(4)?, two(6)?, two(8)?);
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    let at = humantime::parse_rfc3339(&text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(at.as_secs()).ok()
}

/// The first element of some DER (X.690 section 8.1): its tag, what is in it, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (inside, after) = rest.split_at_checked(length)?;
    Some((tag, inside, after))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(common_names: &[&str]) -> CertificateDer<'static> {
        super::super::install_crypto();
        let mut params = CertificateParams::new(vec!["partner.example".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://example/partner".try_into().unwrap()));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        for name in common_names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_has_its_alternative_names_and_its_common_name() {
        let all = ["dns:partner.example", "uri:spiffe://example/partner", "cn:Partner Inc."];
        assert_eq!(names(&certificate(&["Partner Inc."])), all.map(Box::from));
        assert_eq!(
            names(&certificate(&[])),
            all[..2].iter().map(|name| Box::from(*name)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_certificate_says_when_it_expires() {
        super::super::install_crypto();
        // 2050 is the first year that is written as another type.
        for (year, at) in [(2030, 1_893_456_000), (2049, 2_493_072_000), (2050, 2_524_608_000)] {
            let mut params = CertificateParams::new(vec!["partner.example".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(not_after(made.der()), Some(at), "{year}");
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_name() {
        let good = certificate(&["Partner"]);
        for end in 0..good.len() {
            assert_eq!(names(&CertificateDer::from(good[..end].to_vec())), Vec::<Box<str>>::new(), "{end}");
        }
        for at in 0..good.len() {
            let mut bytes = good.to_vec();
            bytes[at] ^= 0xff;
            _ = (common_name(&bytes), not_after(&bytes));
        }
    }
}
