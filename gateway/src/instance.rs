//! A running gateway: one configuration file, its listeners, its admin listener, and the watch over the file.
//!
//! Runs on the control thread (the one that starts it): reload, provider keys, admin. Requests run on the workers.
//! Not here: how a request is answered (`pipeline.rs`), how sockets are served (`server/`).

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::task::JoinHandle;

use crate::{
    admin::{self, Names},
    auth::Provider,
    config::{
        AccessLogTarget, Config,
        build::{self, Ground, Snapshot},
        load,
        watch::{Change, Watch},
    },
    handler::Handlers,
    observability::{access_log::AccessLog, metrics::Metrics},
    pipeline::Gateway,
    server::{self, Server, config::ListenerConfig, tls::LiveTls},
};

/// Why a gateway could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong; the text tells all mistakes with their lines.
    #[error("{0}")]
    Config(String),
    /// An address cannot be listened on, or a thread not started.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A gateway that runs.
pub struct Instance {
    gateway: Arc<Gateway>,
    server: Server,
    admin: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

/// Reads and builds the file, as `check` does, without binding anything.
///
/// # Errors
/// The text of all mistakes, ready to be printed.
pub fn build(
    file: &str,
    handlers: &Handlers,
    metrics: &Metrics,
    before: Option<&Snapshot>,
) -> Result<Snapshot, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("error: {file} cannot be read: {error}"))?;
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let mut loaded = load::load(file, &text, &|name| std::env::var(name).ok());
    let built = build::build(&mut loaded, &Ground { before, handlers, metrics });
    built.ok_or_else(|| loaded.render())
}

impl Instance {
    /// Starts a gateway by `file`. Must be called inside a tokio runtime, which must keep running.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(file: &str, handlers: Handlers) -> Result<Self, StartError> {
        let mut watch = Watch::new(PathBuf::from(file)); // before the file is read, so that no change is missed
        let metrics = Metrics::default();
        let snapshot = build(file, &handlers, &metrics, None).map_err(StartError::Config)?;
        let config = snapshot.config.clone();
        keep_fresh(&snapshot, None);
        let log = match config.access_log {
            AccessLogTarget::Stdout => AccessLog::to(io::stdout()),
            AccessLogTarget::Off => AccessLog::nowhere(),
        };
        watch.beside(beside(&snapshot));
        let listeners = server::bind(&config.listen, &snapshot.tls, &config.server)?;
        let operators = config.admin.as_ref().map(|typed| admin::bind(typed.address)).transpose()?;
        let names = config.admin.as_ref().map(|typed| Names::new(&typed.hosts)).unwrap_or_default();
        let gateway = Arc::new(Gateway::new(Arc::new(snapshot), log, metrics));
        let server = Server::start(gateway.clone(), listeners)?;
        gateway.metrics.tell_certificates(server.tls().expiries());
        let mut tasks =
            vec![tokio::spawn(reload(file.to_owned(), watch, gateway.clone(), server.tls(), handlers))];
        let mut admin = None;
        if let Some(listener) = operators {
            admin = Some(listener.local_addr()?);
            let serving = admin::serve(listener, names, gateway.clone());
            tasks.push(tokio::spawn(async move { drop(serving.await) }));
        }
        Ok(Instance { gateway, server, admin, tasks })
    }

    /// Where clients connect.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    /// Where operators connect.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Whether it can take requests.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.gateway.ready()
    }

    /// Waits until every provider of the configuration in use has given keys, and every upstream has an endpoint.
    pub async fn until_ready(&self) {
        let snapshot = self.gateway.snapshot();
        for provider in snapshot.providers.values() {
            provider.until_ready().await;
        }
        for upstream in snapshot.services.upstreams.values() {
            upstream.until_found().await;
        }
    }

    /// Ends: says so on `/readyz`, goes on as before for `server.drain_delay`, then what is in flight is answered and new
    /// connections are refused.
    pub async fn drain(self) {
        self.gateway.leave();
        let delay = self.gateway.snapshot().config.server.drain_delay.0;
        if !delay.is_zero() {
            tracing::info!(?delay, "not ready any more, still serving");
            tokio::time::sleep(delay).await;
        }
        tracing::info!("draining");
        self.server.drain().await;
        self.gateway.finish();
        for task in self.tasks {
            task.abort();
        }
        tracing::info!("drained");
    }
}

/// Builds the file anew whenever it changed, and takes it into use whole or not at all.
async fn reload(file: String, mut watch: Watch, gateway: Arc<Gateway>, tls: LiveTls, handlers: Handlers) {
    let running = gateway.snapshot().config.clone(); // as far as it is bound to threads and sockets
    loop {
        let change = watch.changed().await;
        if change == Change::Gone {
            gateway.metrics.process().refused_reloads.inc();
            tracing::warn!(file, "the configuration cannot be read any more, the one before stays in use");
            continue;
        }
        let before = gateway.snapshot();
        match build(&file, &handlers, &gateway.metrics, Some(&before)) {
            Ok(snapshot) => {
                told_to_restart(&running, &snapshot.config);
                told_of_certificates(&before, &snapshot);
                keep_fresh(&snapshot, Some(&before));
                watch.beside(beside(&snapshot));
                tls.replace(&snapshot.config.listen, &snapshot.tls);
                gateway.metrics.tell_certificates(tls.expiries());
                gateway.swap(Arc::new(snapshot));
                gateway.metrics.process().reloads.inc();
                tracing::info!(file, ?change, "configuration taken into use");
            }
            Err(mistakes) => {
                gateway.metrics.process().refused_reloads.inc();
                tracing::error!(
                    file,
                    ?change,
                    "configuration refused, the one before stays in use\n{mistakes}"
                );
            }
        }
    }
}

/// The files that belong to a configuration, those of certificates, descriptors and manifests, and what was in them.
fn beside(snapshot: &Snapshot) -> impl Iterator<Item = (Vec<PathBuf>, u64)> {
    let certificates = snapshot.tls.iter().flatten().map(|tls| tls.made_of());
    let descriptors = snapshot.descriptors.iter().map(|descriptors| descriptors.made_of());
    certificates.chain(descriptors).chain(snapshot.graphql.manifests.iter().cloned())
}

/// The listeners without what can be replaced while they listen: what is in their `tls`, but not whether there is any.
fn bound(config: &Config) -> Vec<(bool, ListenerConfig)> {
    let bound = |typed: &ListenerConfig| (typed.tls.is_some(), ListenerConfig { tls: None, ..typed.clone() });
    config.listen.iter().map(bound).collect()
}

/// What is bound to threads and sockets, and so waits for the next start: the keys under which `after` differs from what runs.
fn waiting(running: &Config, after: &Config) -> Vec<&'static str> {
    let (one, other) = (&running.server, &after.server);
    let differ = [
        ("`listen`", bound(running) != bound(after)),
        ("`admin`", running.admin != after.admin),
        ("`access_log`", running.access_log != after.access_log),
        ("`server.workers`", one.workers != other.workers),
        ("`server.header_timeout`", one.header_timeout != other.header_timeout),
        ("`server.min_progress`", one.min_progress != other.min_progress),
        ("`server.drain_timeout`", one.drain_timeout != other.drain_timeout),
        ("`server.max_connections`", one.max_connections != other.max_connections),
        (
            "`server.max_connections_per_address`",
            one.max_connections_per_address != other.max_connections_per_address,
        ),
    ];
    differ.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

fn told_to_restart(running: &Config, after: &Config) {
    let waiting = waiting(running, after);
    if !waiting.is_empty() {
        tracing::warn!("{} differ from what runs, and take effect at the next start", waiting.join(", "));
    }
}

/// Says which listeners have other certificates now.
fn told_of_certificates(before: &Snapshot, after: &Snapshot) {
    let address =
        |snapshot: &Snapshot, index: usize| snapshot.config.listen.get(index).map(|typed| typed.address);
    for (index, pair) in before.tls.iter().zip(&after.tls).enumerate() {
        if let (Some(old), Some(new)) = pair
            && old.made_of() != new.made_of()
            && address(before, index) == address(after, index)
        {
            tracing::info!("certificate of listen[{index}] renewed");
        }
    }
}

/// Fetches the keys of providers that are new, follows the endpoints of upstreams that are, and shares what a new store keeps.
fn keep_fresh(snapshot: &Snapshot, before: Option<&Snapshot>) {
    let known = |name: &str, provider: &Arc<Provider>| {
        before.and_then(|before| before.providers.get(name)).is_some_and(|known| Arc::ptr_eq(known, provider))
    };
    for (name, provider) in &snapshot.providers {
        if !known(name, provider) {
            tokio::spawn(provider.clone().keep_fresh());
        }
    }
    if let Some(store) = &snapshot.cache
        && let Some(shared) = store.shared()
    {
        shared.begin(store);
    }
    for (name, upstream) in &snapshot.services.upstreams {
        let known = before.and_then(|before| before.services.upstreams.get(name));
        if known.is_none_or(|known| !Arc::ptr_eq(known, upstream)) {
            upstream.follow();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(yaml: &str) -> Config {
        let loaded = load::load("bff.yaml", &format!("routes: []\n{yaml}"), &|_| None);
        assert_eq!(loaded.render(), "");
        loaded.config.unwrap()
    }

    #[test]
    fn what_waits_for_the_next_start_is_named_and_nothing_else() {
        let running = config("listen: [{ address: 127.0.0.1:80, tls: { cert: a, key: b } }]\n");
        let other = config(
            "listen: [{ address: 127.0.0.1:80, tls: { cert: c, key: d } }]\n\
             admin: { address: 127.0.0.1:81 }\nserver: { drain_timeout: 1s, max_uri: 1KiB, drain_delay: 1s }\n",
        );
        assert_eq!(waiting(&running, &other), ["`admin`", "`server.drain_timeout`"]);
        assert!(waiting(&running, &running).is_empty());
    }
}
