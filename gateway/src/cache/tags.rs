//! The tags that an answer carries, by which it can be purged: `Cache-Tag`, with commas, and `Surrogate-Key`, with blanks.
//!
//! Not here: what a purge does (`store.rs`).

use http::{HeaderMap, HeaderName};

/// The tags of an answer, separated by commas.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// The same, separated by blanks.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// Of one answer. Each is looked at for every answer that is given out.
const MOST: usize = 64;

/// All of them, up to 64.
#[must_use]
pub fn of(headers: &HeaderMap) -> Vec<&str> {
    let text = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let tags = text(CACHE_TAG).flat_map(|line| line.split(',')).map(str::trim);
    let keys = text(SURROGATE_KEY).flat_map(str::split_ascii_whitespace);
    tags.chain(keys).filter(|tag| !tag.is_empty()).take(MOST).collect()
}
