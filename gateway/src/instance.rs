//! A running gateway: one configuration file, its listeners, its admin listener, and the watch over the file.
//!
//! Runs on the control thread (the one that starts it): reload, provider keys, admin. Requests run on the workers.
//! Not here: how a request is answered (`pipeline.rs`), how sockets are served (`server/`).

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::task::JoinHandle;

use crate::{
    admin,
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
        watch.beside(certificates(&snapshot));
        let listeners = server::bind(&config.listen, &snapshot.tls, &config.server)?;
        let operators = config.admin.as_ref().map(|typed| admin::bind(typed.address)).transpose()?;
        let gateway = Arc::new(Gateway::new(Arc::new(snapshot), log, metrics));
        let server = Server::start(gateway.clone(), listeners)?;
        let mut tasks =
            vec![tokio::spawn(reload(file.to_owned(), watch, gateway.clone(), server.tls(), handlers))];
        let mut admin = None;
        if let Some(listener) = operators {
            admin = Some(listener.local_addr()?);
            let serving = admin::serve(listener, gateway.clone());
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

    /// Ends: what is in flight is answered, new connections are refused.
    pub async fn drain(self) {
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
                told_to_restart(&before.config, &snapshot.config);
                keep_fresh(&snapshot, Some(&before));
                watch.beside(certificates(&snapshot));
                tls.replace(&snapshot.config.listen, &snapshot.tls);
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

/// The files of certificates, and what was in them.
fn certificates(snapshot: &Snapshot) -> impl Iterator<Item = (Vec<PathBuf>, u64)> {
    snapshot.tls.iter().flatten().map(|tls| tls.made_of())
}

/// The listeners without what can be replaced while they listen: what is in their `tls`, but not whether there is any.
fn bound(config: &Config) -> Vec<(bool, ListenerConfig)> {
    let bound = |typed: &ListenerConfig| (typed.tls.is_some(), ListenerConfig { tls: None, ..typed.clone() });
    config.listen.iter().map(bound).collect()
}

/// What is bound to threads and sockets is not changed while they run.
fn told_to_restart(before: &Config, after: &Config) {
    if bound(before) != bound(after) || before.admin != after.admin || before.access_log != after.access_log {
        tracing::warn!(
            "`listen` but for certificates, `admin` and `access_log` take effect at the next start"
        );
    }
    if before.server.workers != after.server.workers
        || before.server.header_timeout != after.server.header_timeout
        || before.server.max_connections != after.server.max_connections
        || before.server.max_connections_per_address != after.server.max_connections_per_address
    {
        tracing::warn!(
            "`server.workers`, `server.header_timeout`, `server.drain_timeout` and `server.max_connections*` take effect at the next start"
        );
    }
}

/// Fetches the keys of providers that are new, and follows the endpoints of upstreams that are.
fn keep_fresh(snapshot: &Snapshot, before: Option<&Snapshot>) {
    let known = |name: &str, provider: &Arc<Provider>| {
        before.and_then(|before| before.providers.get(name)).is_some_and(|known| Arc::ptr_eq(known, provider))
    };
    for (name, provider) in &snapshot.providers {
        if !known(name, provider) {
            tokio::spawn(provider.clone().keep_fresh());
        }
    }
    for (name, upstream) in &snapshot.services.upstreams {
        let known = before.and_then(|before| before.services.upstreams.get(name));
        if known.is_none_or(|known| !Arc::ptr_eq(known, upstream)) {
            upstream.follow();
        }
    }
}
