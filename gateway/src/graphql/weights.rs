//! Lists of what a client takes, each with its weight (RFC 9110, section 12.4.2): `Accept`, `Accept-Encoding`.
//!
//! Not here: what is chosen by them (`render.rs`, `coding.rs`).

use http::{HeaderMap, HeaderName};

/// What all the field lines of `name` list, with their weights in thousandths. Other parameters say nothing here.
pub(super) fn weighed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = (&str, u16)> {
    let fields = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|field| field.split(',')).filter_map(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((name, weight.map_or(1_000, thousandths)))
    })
}

/// `0.85` into 850; what is no weight counts as 1.
fn thousandths(weight: &str) -> u16 {
    let read = weight.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(1.0);
    (read * 1_000.0) as u16
}
