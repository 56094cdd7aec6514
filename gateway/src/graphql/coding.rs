//! Which content coding an answer is sent in: what the client says of it, and what the route offers (RFC 9110, section 12.5.3).
//!
//! Not here: the encoders (`compress.rs`).

use http::{HeaderMap, header};

use super::{config::Coding, weights::weighed};
use crate::error::{Code, Error};

/// Less than this fits into one packet anyway.
const LEAST: usize = 1_400;

/// What a client takes of what a route offers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    /// The route offers codings, so that answers depend on `Accept-Encoding`.
    pub(super) varies: bool,
    /// The one that is best for both, if there is any.
    coding: Option<Coding>,
    /// The client refuses what is not encoded, however short it is.
    never_plain: bool,
}

impl Agreed {
    /// The greatest weight wins; of those that weigh as much, the first that is `offered`. The plain answer (`identity`) is
    /// taken unless it is refused, and preferred only where it is named with a greater weight.
    ///
    /// # Errors
    /// [`Code::NotAcceptable`] when the client takes neither an offered coding nor the plain answer. Nothing must be executed
    /// then.
    pub(super) fn on(offered: &[Coding], request: &HeaderMap) -> Result<Self, Error> {
        if offered.is_empty() {
            return Ok(Agreed::default());
        }
        let taken = Taken::of(request);
        let never_plain = taken.identity.or(taken.any) == Some(0);
        let mut best = None;
        for &coding in offered {
            let weight = taken.weight(coding);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((coding, weight));
            }
        }
        let best = best.filter(|(_, weight)| *weight >= taken.identity.unwrap_or(0));
        if best.is_none() && never_plain {
            return Err(Error::new(Code::NotAcceptable, "Accept-Encoding takes nothing that is offered"));
        }
        Ok(Agreed { varies: true, coding: best.map(|(coding, _)| coding), never_plain })
    }

    /// The coding of an answer of so many bytes; none where it is not worth it.
    pub(super) fn of_length(self, length: usize) -> Option<Coding> {
        self.coding.filter(|_| length >= LEAST || self.never_plain)
    }
}

/// The weights of what is known here; `None` where the client does not name it.
#[derive(Default)]
struct Taken {
    zstd: Option<u16>,
    br: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    /// Of `*`: all that is not named.
    any: Option<u16>,
}

impl Taken {
    /// Of a coding that is named twice, the greater weight counts.
    fn of(request: &HeaderMap) -> Self {
        let mut taken = Taken::default();
        for (name, weight) in weighed(request, header::ACCEPT_ENCODING) {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            let known = match name {
                "*" => &mut taken.any,
                _ if is("zstd") => &mut taken.zstd,
                _ if is("br") => &mut taken.br,
                // RFC 9110, section 8.4.1.3: the two are the same.
                _ if is("gzip") || is("x-gzip") => &mut taken.gzip,
                _ if is("identity") => &mut taken.identity,
                _ => continue,
            };
            *known = (*known).max(Some(weight));
        }
        taken
    }

    fn weight(&self, coding: Coding) -> u16 {
        let named = match coding {
            Coding::Zstd => self.zstd,
            Coding::Br => self.br,
            Coding::Gzip => self.gzip,
        };
        named.or(self.any).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn on(offered: &[Coding], lines: &[&'static str]) -> Result<Agreed, Code> {
        let mut request = HeaderMap::new();
        for line in lines {
            request.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
        }
        Agreed::on(offered, &request).map_err(|error| error.code())
    }

    #[test]
    fn the_greatest_weight_wins_and_then_the_order_of_the_route() {
        const ALL: &[Coding] = &Coding::ALL;
        const GZIP: &[Coding] = &[Coding::Gzip];
        const BR_FIRST: &[Coding] = &[Coding::Br, Coding::Zstd];
        let (zstd, br, gzip) = (Some(Coding::Zstd), Some(Coding::Br), Some(Coding::Gzip));
        let table: [(&[Coding], &[&'static str], Option<Coding>); 33] = [
            (ALL, &[], None),
            (ALL, &[""], None),
            (ALL, &["gzip, deflate, br, zstd"], zstd),
            (ALL, &["gzip, deflate, br"], br),
            (ALL, &["gzip, deflate"], gzip),
            (ALL, &["deflate, compress, dcz"], None),
            (ALL, &["gzip", "br"], br),
            (ALL, &["gzip;q=0.5", "zstd;q=0.4, br;q=0.45"], gzip),
            (ALL, &["zstd;q=0.8, br;q=0.801"], br),
            (ALL, &["br;q=1.0, gzip;q=0.8, *;q=0.1"], br),
            (ALL, &["gzip ; q=0.9 , BR ; Q=0.9"], br),
            (ALL, &["*"], zstd),
            (ALL, &["*;q=0.5, zstd;q=0"], br),
            (ALL, &["*;q=0.5, gzip"], gzip),
            (ALL, &["*;q=0, gzip"], gzip),
            (ALL, &["zstd;q=0, br;q=0, gzip;q=0"], None),
            (ALL, &["zstd;q=0.0, br;q=0.000, gzip;q=0.001"], gzip),
            (ALL, &["gzip;q=0, gzip;q=0.5"], gzip),
            (ALL, &["x-gzip"], gzip),
            (ALL, &["identity"], None),
            (ALL, &["identity, gzip"], gzip),
            (ALL, &["identity, gzip;q=0.5"], None),
            (ALL, &["identity;q=0.5, gzip;q=0.5"], gzip),
            (ALL, &["identity;q=0.2, *;q=0.1"], None),
            (ALL, &["identity;q=0, br;q=0.1"], br),
            (ALL, &["identity;q=0, *"], zstd),
            (ALL, &["gzip;level=9;q=0.5, br;q=0.4"], gzip),
            (ALL, &[",, ;q=1, br"], br),
            (GZIP, &["gzip;q=0.1, br, zstd"], gzip),
            (GZIP, &["br, zstd"], None),
            (GZIP, &["zstd, *;q=0.1"], gzip),
            (BR_FIRST, &["zstd, br, gzip"], br),
            (BR_FIRST, &["zstd, br;q=0.9"], zstd),
        ];
        for (offered, lines, expected) in table {
            let agreed = on(offered, lines).unwrap_or_else(|code| panic!("{lines:?}: {code:?}"));
            assert_eq!(agreed.of_length(LEAST), expected, "{offered:?} {lines:?}");
            assert!(agreed.varies);
        }
    }

    #[test]
    fn who_takes_neither_a_coding_nor_the_plain_answer_is_told_so() {
        for lines in ["identity;q=0", "*;q=0", "identity;q=0, deflate", "*;q=0, zstd;q=0", "br, identity;q=0"]
        {
            assert_eq!(on(&[Coding::Gzip], &[lines]), Err(Code::NotAcceptable), "{lines}");
        }
        assert_eq!(on(&[], &["identity;q=0"]), Ok(Agreed::default()), "a route that never looks");
    }

    #[test]
    fn a_short_answer_is_encoded_only_for_those_who_refuse_it_plain() {
        let usual = on(&Coding::ALL, &["zstd"]).unwrap();
        assert_eq!(usual.of_length(LEAST - 1), None);
        for lines in ["zstd, identity;q=0", "zstd, *;q=0"] {
            assert_eq!(on(&Coding::ALL, &[lines]).unwrap().of_length(1), Some(Coding::Zstd), "{lines}");
        }
    }
}
