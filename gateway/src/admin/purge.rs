//! `DELETE /cache?url=...&tag=...`: what operators, and services that know what has changed, make invalid.
//!
//! A method that no page of another site can send without asking first. Nothing is looked for: it takes the same short time
//! however much is kept.
//! Not here: how answers become invalid (`cache/store.rs`).

use http::{StatusCode, Uri};

use crate::{
    cache::{Store, store::Purge},
    routing::path::decode,
};

/// What is to be made invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// An absolute URL, of which host, path and query count.
    Url(Uri),
    /// What carries this tag.
    Tag(String),
    /// Everything.
    All,
}

/// A purge as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purging {
    what: Vec<What>,
    how: Purge,
}

impl Purging {
    /// What a query asks for: `url`, `tag`, each as often as needed, or `all`; with `soft`, it is no longer good and may
    /// still stand in.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut purging = Purging { what: Vec::new(), how: Purge::Hard };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value).ok_or_else(|| format!("`{key}` is no UTF-8"))?;
            match key {
                "url" => purging.what.push(What::Url(url(&value)?)),
                "tag" if !value.is_empty() => purging.what.push(What::Tag(value.into_owned())),
                "all" if value.is_empty() => purging.what.push(What::All),
                "soft" if value.is_empty() => purging.how = Purge::Soft,
                _ => return Err(format!("`{pair}` is none of: url=URL, tag=TAG, all, soft")),
            }
        }
        if purging.what.is_empty() {
            return Err("nothing is named: url=URL, tag=TAG, or all".to_owned());
        }
        Ok(purging)
    }

    /// Does it.
    pub fn apply(&self, store: &Store) {
        for what in &self.what {
            match what {
                What::Url(url) => {
                    let host = url.authority().map_or("", |authority| authority.as_str());
                    let target = url.path_and_query().map_or("/", |target| target.as_str());
                    store.purge_url(host.as_bytes(), target, self.how);
                }
                What::Tag(tag) => store.purge_tag(tag, self.how),
                What::All => store.purge_all(self.how),
            }
        }
        tracing::info!(what = ?self.what, how = ?self.how, "kept answers were purged");
    }
}

fn url(text: &str) -> Result<Uri, String> {
    let web = |url: &Uri| matches!(url.scheme_str(), Some("http" | "https"));
    let absolute = text.parse::<Uri>().ok().filter(|url| web(url) && url.authority().is_some());
    absolute
        .ok_or_else(|| format!("`{text}` is no URL with a host, such as https://api.example/menu?lang=en"))
}

/// What an operator is told of what was done; `shared` is whether other instances know it, where they share.
pub(super) fn done(shared: Option<bool>) -> &'static str {
    match shared {
        None => r#"{"status":"purged"}"#,
        Some(true) => r#"{"status":"purged","shared":true}"#,
        Some(false) => r#"{"status":"purged","shared":false}"#,
    }
}

/// Does what a query asks for.
///
/// # Errors
/// What an operator is told when nothing was done.
pub(super) fn purge(query: &str, purge: impl FnOnce(&Purging) -> bool) -> Result<(), (StatusCode, String)> {
    let purging = Purging::parse(query)
        .map_err(|why| (StatusCode::BAD_REQUEST, serde_json::json!({ "error": why }).to_string()))?;
    let none = || (StatusCode::NOT_FOUND, r#"{"error":"no route keeps answers"}"#.to_owned());
    purge(&purging).then_some(()).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_purged_is_named() {
        let one = |text: &str| What::Url(text.parse().unwrap());
        for (query, what, how) in [
            ("url=https://a.example/x%3Fy=1%26z", vec![one("https://a.example/x?y=1&z")], Purge::Hard),
            ("tag=menu&tag=a%20b&soft", vec![What::Tag("menu".into()), What::Tag("a b".into())], Purge::Soft),
            ("all", vec![What::All], Purge::Hard),
        ] {
            assert_eq!(Purging::parse(query), Ok(Purging { what, how }), "{query}");
        }
        for wrong in [
            "",
            "soft",
            "tag=",
            "url=/menu",
            "url=menu",
            "url=api.example",
            "url=",
            "everything",
            "all=1",
            "tag=%ff",
        ] {
            assert!(Purging::parse(wrong).is_err(), "{wrong}");
        }
    }
}
