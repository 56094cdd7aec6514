//! Answers in a content coding that the client takes (RFC 9110, section 12.5.3): gzip, for those worth it.
//!
//! Not here: answers of services, which pass through in the coding that they came in.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, header};

/// Less than this fits into one packet anyway.
const LEAST: usize = 1_400;

/// `body` in gzip, if it is worth it and the client takes that.
pub(super) fn gzip(body: &[u8], request: &HeaderMap) -> Option<Vec<u8>> {
    if body.len() < LEAST || !takes_gzip(request) {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// By its weight, or by that of `*` where it is not named.
fn takes_gzip(request: &HeaderMap) -> bool {
    let fields = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let (mut named, mut any) = (None, false);
    for coding in fields.flat_map(|field| field.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let taken = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0));
        match name {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                named = Some(taken)
            }
            "*" => any = taken,
            _ => {}
        }
    }
    named.unwrap_or(any)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn takes(accepted: &'static str) -> bool {
        takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted))]))
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for accepted in ["gzip", "br, GZIP;q=0.5", "*", "br;q=1, *;q=0.1", "x-gzip"] {
            assert!(takes(accepted), "{accepted}");
        }
        for accepted in ["", "br", "gzip;q=0", "gzip;q=0.0, *", "*;q=0", "identity"] {
            assert!(!takes(accepted), "{accepted}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
