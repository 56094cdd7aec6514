//! Reading the bytes of a key set from where the provider publishes them.
//!
//! On the control plane only: a connection of its own for each fetch, so that no worker's runtime is tied to another's.
//! Not here: what the bytes mean (`jwks.rs`), when they are read (`keyring.rs`).

use std::{path::PathBuf, time::Duration};

use reqwest::{Client, Url, redirect};
use tokio::io::AsyncReadExt;

/// A provider that is slower than this is down.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A thousand times what a provider publishes.
const MOST_BYTES: usize = 1 << 20;

/// Where keys are published.
pub(super) enum Source {
    Web { client: Client, url: Url },
    File(PathBuf),
}

impl Source {
    /// A source as typed: `http://`, `https://`, or `file://` with an absolute path.
    ///
    /// # Errors
    /// What is wrong with the text, as one clause.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("file://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Source::File(path))
            } else {
                Err("is no absolute path".to_owned())
            };
        }
        let url = Url::parse(text).map_err(|cause| format!("is no URL: {cause}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("has the scheme `{}`", url.scheme()));
        }
        let client = client(&url).map_err(|cause| format!("cannot be asked: {cause:?}"))?;
        Ok(Source::Web { client, url })
    }

    /// All bytes, at most 1 MiB, within 5 seconds.
    ///
    /// # Errors
    /// Why there are none, for the log.
    pub(super) async fn read(&self) -> Result<Vec<u8>, String> {
        let read = async {
            match self {
                Source::Web { client, url } => fetch(client, url.clone()).await,
                Source::File(path) => load(path).await,
            }
        };
        tokio::time::timeout(TIMEOUT, read).await.unwrap_or_else(|_| Err("it took too long".to_owned()))
    }
}

/// Follows no redirect and no proxy variable: keys come from where the configuration says, or not at all.
fn client(url: &Url) -> reqwest::Result<Client> {
    let client = Client::builder().redirect(redirect::Policy::none()).no_proxy();
    let client = client.connect_timeout(TIMEOUT).timeout(TIMEOUT).pool_max_idle_per_host(0);
    // The system's certificates are loaded here, and having none is an error: a bare container needs none for http.
    let client = if url.scheme() == "http" { client.tls_certs_only([]) } else { client };
    client.build()
}

async fn fetch(client: &Client, url: Url) -> Result<Vec<u8>, String> {
    // The address may hold a password.
    let told = |cause: reqwest::Error| format!("{:?}", cause.without_url());
    let mut answer = client.get(url).send().await.map_err(told)?;
    if answer.status() != http::StatusCode::OK {
        return Err(format!("it answered {}", answer.status()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(told)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MOST_BYTES {
            return Err("it is over 1 MiB".to_owned());
        }
    }
    Ok(bytes)
}

async fn load(path: &PathBuf) -> Result<Vec<u8>, String> {
    let file = tokio::fs::File::open(path).await.map_err(|cause| cause.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes).await;
    match read.map_err(|cause| cause.to_string())? {
        read if read > MOST_BYTES => Err("it is over 1 MiB".to_owned()),
        _ => Ok(bytes),
    }
}
