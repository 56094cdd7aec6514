//! Callers by API key. Only the hash of a key is written down: who reads the configuration cannot use it.
//!
//! Keys are long and random, made by whoever gives them out, so one round of SHA-256 is enough and the hash itself is what is
//! looked up: how long that takes says nothing about a key. A file of keys is read again whenever its content changes, whole
//! or not at all: what is wrong is refused, and the last good keys stay in use. So they do when the file goes away.
//!
//! Not here: keys in the query, where logs and histories would keep them. Giving out keys.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, HeaderName, header};
use serde::Deserialize;
use tokio::sync::watch;

use super::{
    Refusal,
    bearer::{Credential, credential},
    config::{KeyConfig, KeysConfig},
    known::{Around, Known},
    principal::Principal,
};
use crate::{
    config::{
        load::load_as,
        watch::{Change, Watch},
    },
    deadline::is_taken,
    identity::OURS,
    mistake::{Mistake, Mistakes, below},
};

/// Whose key has which hash.
type ByHash = HashMap<[u8; 32], Arc<Principal>>;

/// The keys of one provider.
pub(super) struct Keys {
    header: HeaderName,
    /// What stands before the key in `Authorization`.
    scheme: Option<String>,
    held: Arc<Held>,
}

struct Held {
    provider: String,
    file: Option<PathBuf>,
    around: Around,
    by_hash: ArcSwap<ByHash>,
}

/// A whole file of keys as typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileConfig {
    keys: Vec<KeyConfig>,
}

/// What is wrong with a file: as the rest of a sentence, and shown in the file.
struct Refused {
    first: String,
    all: String,
}

impl Keys {
    /// Keys of the provider `name`, typed at the key path `at`.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(super) fn build(
        name: &str,
        config: &KeysConfig,
        around: &Around,
        at: &str,
    ) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::default();
        let header = mistakes.keep(place(config, name, at));
        let by_hash = match (&config.file, &config.list) {
            (Some(file), None) => mistakes.keep(read(file, around).map_err(|refused| {
                Mistake::new(below(at, "file"), format!("provider `{name}`: {}", refused.first))
            })),
            (None, Some(list)) => by_hash(list, around, &below(at, "list"), &mut mistakes),
            _ => {
                let message = format!("provider `{name}` must say where its keys are, once");
                mistakes.add(Mistake::new(at, message).expected("either `file` or `list`"));
                None
            }
        };
        match (header, by_hash) {
            (Some(header), Some(by_hash)) if mistakes.is_empty() => {
                let (provider, file) = (name.to_owned(), config.file.clone());
                let held =
                    Held { provider, file, around: around.clone(), by_hash: ArcSwap::from_pointee(by_hash) };
                Ok(Keys { header, scheme: config.scheme.clone(), held: Arc::new(held) })
            }
            _ => Err(mistakes),
        }
    }

    /// The field that holds a key, which is for the gateway alone. `Authorization` never goes on anyway.
    pub(super) fn field(&self) -> Option<&HeaderName> {
        Some(&self.header).filter(|header| **header != header::AUTHORIZATION)
    }

    /// What stands before a key, for the challenge.
    pub(super) fn scheme(config: &KeysConfig) -> &str {
        config.scheme.as_deref().unwrap_or("ApiKey")
    }

    /// The key that a request brings along.
    pub(super) fn credential<'h>(&self, headers: &'h HeaderMap) -> Credential<'h> {
        if let Some(scheme) = &self.scheme {
            return credential(headers, scheme);
        }
        let mut fields = headers.get_all(&self.header).iter();
        match (fields.next(), fields.next()) {
            (None, _) => Credential::None,
            (Some(_), Some(_)) => Credential::Malformed("two keys"),
            (Some(field), None) => match field.to_str() {
                Ok(key) if !key.is_empty() => Credential::Token(key),
                _ => Credential::Malformed("a key that is no text"),
            },
        }
    }

    /// Whose key it is.
    ///
    /// # Errors
    /// When it is nobody's.
    pub(super) fn whose(&self, key: &str) -> Result<Arc<Principal>, Refusal> {
        let hash = digest(&SHA256, key.as_bytes());
        let found = self.held.by_hash.load().get(hash.as_ref()).cloned();
        found.ok_or_else(|| Refusal::Bad("it is nobody's key".to_owned()))
    }

    /// Reads the file again whenever it changes, while `alive`.
    pub(super) fn keep_fresh(
        &self,
        mut alive: watch::Receiver<()>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let held = self.held.clone();
        async move {
            let Some(file) = held.file.clone() else { return };
            let mut watch = Watch::new(file);
            // It may have changed since it was opened, while nobody was watching.
            held.read_again();
            loop {
                tokio::select! {
                    _ = alive.changed() => return,
                    change = watch.changed() => held.after(change),
                }
            }
        }
    }
}

impl Held {
    fn after(&self, change: Change) {
        match change {
            Change::Gone => tracing::warn!(
                provider = self.provider,
                "the file of keys cannot be read any more, the last keys stay in use"
            ),
            _ => {
                if self.read_again() {
                    let keys = self.by_hash.load().len();
                    tracing::info!(provider = self.provider, keys, "keys taken into use");
                }
            }
        }
    }

    /// Whether they could be read.
    fn read_again(&self) -> bool {
        let Some(file) = &self.file else { return false };
        match read(file, &self.around) {
            Ok(by_hash) => {
                self.by_hash.store(Arc::new(by_hash));
                true
            }
            Err(refused) => {
                let why = refused.all;
                tracing::error!(provider = self.provider, "keys refused, the last ones stay in use\n{why}");
                false
            }
        }
    }
}

/// Where a key stands.
fn place(config: &KeysConfig, name: &str, at: &str) -> Result<HeaderName, Mistake> {
    let typed = &config.header;
    let wrong = |why: &str| Mistake::new(below(at, "header"), format!("provider `{name}`: `{typed}` {why}"));
    let header: HeaderName = typed.parse().map_err(|_invalid| wrong("is no header field"))?;
    match &config.scheme {
        Some(scheme) if header != header::AUTHORIZATION => {
            let message =
                format!("provider `{name}`: the scheme `{scheme}` stands in no field but `Authorization`");
            Err(Mistake::new(below(at, "scheme"), message).expected("together with `header: Authorization`"))
        }
        Some(scheme) if !is_token(scheme) => {
            let message = format!("provider `{name}`: `{scheme}` is no scheme");
            Err(Mistake::new(below(at, "scheme"), message).expected("like `ApiKey` or `Bearer`"))
        }
        None if header == header::AUTHORIZATION => {
            Err(wrong("holds a scheme before the key").expected("`scheme` says which, like `ApiKey`"))
        }
        None if header.as_str().contains('_') => {
            Err(wrong("is another field to some servers, and the same as with `-` to others"))
        }
        None if is_taken(&header) || OURS.contains(&header) => Err(wrong("means something else already")),
        _ => Ok(header),
    }
}

/// The name of a scheme (RFC 9110 section 5.6.2), as far as any is called so.
fn is_token(scheme: &str) -> bool {
    !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

fn read(file: &Path, around: &Around) -> Result<ByHash, Refused> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|why| {
        let first = format!("the file `{name}` cannot be read: {why}");
        Refused { all: first.clone(), first }
    })?;
    let mut loaded = load_as::<FileConfig>(&name, &text, &|_| None);
    let mut mistakes = Mistakes::default();
    let built = loaded.config.take().and_then(|typed| by_hash(&typed.keys, around, "keys", &mut mistakes));
    loaded.join(mistakes);
    match built {
        Some(built) if loaded.mistakes.is_empty() => Ok(built),
        _ => {
            let first = loaded.mistakes.0.first().map(|first| {
                format!("the file `{name}`, line {}: {}", loaded.source.line_of(first), first.message)
            });
            Err(Refused {
                first: first.unwrap_or_else(|| format!("the file `{name}` holds no keys")),
                all: loaded.render(),
            })
        }
    }
}

fn by_hash(list: &[KeyConfig], around: &Around, at: &str, mistakes: &mut Mistakes) -> Option<ByHash> {
    let mut held = ByHash::with_capacity(list.len());
    for (index, key) in list.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let known = Known { id: &key.id, roles: &key.roles, scopes: &key.scopes, plan: key.plan.as_deref() };
        let principal = mistakes.keep(known.principal(around, &at));
        let hash = hash(&key.sha256).ok_or_else(|| {
            let message = format!("the key of `{}` is not told by its hash", key.id);
            Mistake::new(below(&at, "sha256"), message)
                .expected("64 hexadecimal digits")
                .help("printf %s \"$KEY\" | sha256sum")
        });
        let (Some(hash), Some(principal)) = (mistakes.keep(hash), principal) else { continue };
        if let Some(other) = held.insert(hash, principal) {
            let message = format!("`{}` and `{}` have the same key", other.sub, key.id);
            mistakes.add(Mistake::new(below(&at, "sha256"), message));
        }
    }
    mistakes.is_empty().then_some(held)
}

/// 32 bytes, typed in hexadecimal digits.
fn hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;

    fn around() -> Around {
        Around { plans: vec!["free".to_owned()], ..Around::default() }
    }

    fn line(key: &str, id: &str) -> String {
        let hash = digest(&SHA256, key.as_bytes());
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "- {{ sha256: \"{hex}\", id: {id}, scopes: [\"orders:read\"], roles: [partner], plan: free }}\n"
        )
    }

    fn in_file(file: &Path) -> KeysConfig {
        KeysConfig { header: "X-Api-Key".to_owned(), scheme: None, file: Some(file.to_owned()), list: None }
    }

    fn build(config: &KeysConfig) -> Result<Keys, Mistakes> {
        Keys::build("partners", config, &around(), "providers.partners.keys")
    }

    fn written(name: &str, text: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("gateway-keys-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("keys.yaml");
        std::fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn a_key_is_known_by_its_hash_alone() {
        let file = written("known", &format!("keys:\n{}", line("k-1", "acme")));
        let keys = build(&in_file(&file)).ok().unwrap();
        let acme = keys.whose("k-1").ok().unwrap();
        assert_eq!((&*acme.sub, acme.plan.as_deref()), ("acme", Some("free")));
        assert!(acme.has_role("partner") && acme.has_scope("orders:read") && acme.authorization.is_none());
        let hash = line("k-1", "acme")[12..76].to_owned();
        for wrong in ["k-2", "", "K-1", &hash] {
            assert!(keys.whose(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_taken_from_its_field_and_from_nowhere_else() {
        let file = written("field", &format!("keys:\n{}", line("k-1", "acme")));
        let headers = |fields: &[(&'static str, &'static str)]| -> HeaderMap {
            let field = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            fields.iter().map(field).collect()
        };
        let keys = build(&in_file(&file)).ok().unwrap();
        assert_eq!(keys.credential(&headers(&[("x-api-key", "k-1")])), Credential::Token("k-1"));
        assert_eq!(
            keys.credential(&headers(&[("x_api_key", "k-1"), ("authorization", "a b")])),
            Credential::None
        );
        for twice in [&[("x-api-key", "k-1"), ("x-api-key", "k-1")][..], &[("x-api-key", "")]] {
            assert!(matches!(keys.credential(&headers(twice)), Credential::Malformed(_)));
        }
        let (header, scheme) = ("Authorization".to_owned(), Some("ApiKey".to_owned()));
        let keys = build(&KeysConfig { header, scheme, ..in_file(&file) }).ok().unwrap();
        assert_eq!(keys.credential(&headers(&[("authorization", "apikey k-1")])), Credential::Token("k-1"));
        assert_eq!(keys.credential(&headers(&[("authorization", "Bearer k-1")])), Credential::Other);
        assert!(keys.field().is_none());
    }

    #[tokio::test]
    async fn a_changed_file_is_taken_whole_or_not_at_all() {
        let file = written("changed", &format!("keys:\n{}", line("old", "acme")));
        let keys = build(&in_file(&file)).ok().unwrap();
        let (_alive, alive) = watch::channel(());
        tokio::spawn(keys.keep_fresh(alive));
        let replace = |text: &str| {
            std::fs::write(file.with_extension("new"), text).unwrap();
            std::fs::rename(file.with_extension("new"), &file).unwrap();
        };
        for wrong in [format!("keys:\n{}- {{ sha256: ab, id: b }}", line("new", "acme")), String::new()] {
            replace(&wrong);
            tokio::time::sleep(Duration::from_millis(1_300)).await;
            assert!(keys.whose("old").is_ok() && keys.whose("new").is_err());
        }
        replace(&format!("keys:\n{}", line("new", "acme")));
        tokio::time::timeout(Duration::from_secs(5), async {
            while keys.whose("new").is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("it is taken up");
        assert!(keys.whose("old").is_err());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_line() {
        let told = |text: &str| {
            let file = written("told", text);
            let mistake = build(&in_file(&file)).err().unwrap().0.remove(0);
            assert_eq!(mistake.at, "providers.partners.keys.file");
            mistake.message.replace(&file.display().to_string(), "keys.yaml")
        };
        insta::assert_snapshot!(
            told(&format!("keys:\n{}- {{ sha256: ab, id: b }}", line("k", "a"))),
            @"provider `partners`: the file `keys.yaml`, line 3: the key of `b` is not told by its hash"
        );
        insta::assert_snapshot!(
            told(&format!("keys:\n{}{}", line("k", "a"), line("k", "b"))),
            @"provider `partners`: the file `keys.yaml`, line 3: `a` and `b` have the same key"
        );
        insta::assert_snapshot!(
            told(&format!("keys:\n{}", line("k", "a").replace("plan: free", "plan: fre"))),
            @"provider `partners`: the file `keys.yaml`, line 2: `a` has the unknown plan `fre`"
        );
        insta::assert_snapshot!(
            told("keys:\n- { sha256: ab, id: b, key: k }"),
            @"provider `partners`: the file `keys.yaml`, line 2: unknown key `key` in `keys[0]`"
        );
    }
}
