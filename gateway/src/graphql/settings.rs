//! What a GraphQL route offers, from what was typed, with the files that it names.
//!
//! Not here: whether trusted documents fit the schema, which the binary brings along (`trusted.rs`).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use indexmap::IndexMap;

use super::{
    Limits,
    config::{Coding, GraphqlConfig, Mode, TrustedConfig},
    manifest::{self, Listed},
    metrics::GraphqlMetrics,
    persisted::Persisted,
    subscriptions::Subscriptions,
};
use crate::{
    door::Door,
    files::fingerprint,
    live::Live,
    mistake::{Mistake, Mistakes, below},
    units::Span,
};

/// What a GraphQL route offers.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// What one request may ask for.
    pub limits: Limits,
    /// Whether the schema may be asked for.
    pub introspection: bool,
    /// Whether browsers get GraphiQL, at the address of the route.
    pub graphiql: bool,
    /// Where clients register documents, if they may.
    pub persisted: Option<Arc<Persisted>>,
    /// The documents that are trusted, if any are.
    pub trusted: Option<Manifests>,
    /// Where it is counted.
    pub metrics: Arc<GraphqlMetrics>,
    /// Names of clients that are told apart in metrics.
    pub clients: Vec<String>,
    /// For how long answers to GET may be kept, by `Type` or `Type.field`.
    pub max_age: IndexMap<String, Span>,
    /// In which content codings clients that take one are answered, the preferred one first.
    pub compression: Vec<Coding>,
    /// What stays open, if anything may.
    pub subscriptions: Option<Arc<Subscriptions>>,
    /// To the route that all this is said of.
    pub(crate) door: Arc<Door>,
}

/// The manifests of a route.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    pub(super) mode: Mode,
    pub(super) files: Vec<PathBuf>,
    content: u64,
    /// Of each file, in their order.
    pub(super) listed: Vec<Vec<Listed>>,
}

impl Manifests {
    /// The files, and what was in them.
    pub(crate) fn made_of(&self) -> (Vec<PathBuf>, u64) {
        (self.files.clone(), self.content)
    }

    fn build(typed: &TrustedConfig, folder: &Path, at: &str, whose: &str, mistakes: &mut Mistakes) -> Self {
        let at = below(at, "manifests");
        if typed.manifests.is_empty() {
            let mistake = Mistake::new(&at, format!("{whose}: no file says which documents are trusted"));
            mistakes.add(mistake.expected("at least one"));
        }
        let files: Vec<PathBuf> = typed.manifests.iter().map(|file| folder.join(file)).collect();
        let content = fingerprint(&files); // before they are read, so that no change is missed
        let mut listed = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let said = |why| Mistake::new(format!("{at}[{index}]"), format!("{whose}: this manifest {why}"));
            let read = std::fs::read(file).map_err(|why| {
                said(format!("cannot be read: {why}"))
                    .expected("a file, beside this one unless its path is absolute")
            });
            let read = read.and_then(|json| manifest::read(&json).map_err(said));
            listed.push(mistakes.keep(read).unwrap_or_default());
        }
        Manifests { mode: typed.mode, files, content, listed }
    }
}

/// What building needs besides what was typed.
pub(crate) struct Around<'a> {
    /// Where the manifests are.
    pub(crate) folder: &'a Path,
    /// What clients have registered so far.
    pub(crate) before: Option<&'a Arc<Persisted>>,
    /// Where to count.
    pub(crate) metrics: Arc<GraphqlMetrics>,
    /// The route, for messages.
    pub(crate) whose: &'a str,
}

impl Settings {
    /// What subscriptions follow by that name; none where there are no subscriptions.
    ///
    /// # Errors
    /// A sentence for the operator when there are, and none of that name.
    pub fn watched(&self, name: &str) -> Result<Option<Arc<Live>>, String> {
        let Some(subscriptions) = &self.subscriptions else { return Ok(None) };
        let found = subscriptions.watched(name).cloned();
        found.map(Some).ok_or_else(|| {
            format!("this handler needs a watch `{name}` under `graphql.subscriptions.watches`")
        })
    }

    /// What was typed at the key path `at`.
    pub(crate) fn build(
        typed: &GraphqlConfig,
        at: &str,
        around: &Around<'_>,
        mistakes: &mut Mistakes,
    ) -> Self {
        let whose = around.whose;
        check_bounds(typed, at, whose, mistakes);
        check_clients(&typed.clients, &below(at, "clients"), whose, mistakes);
        check_codings(&typed.compression.0, &below(at, "compression"), whose, mistakes);
        let enforces = typed.trusted.as_ref().is_some_and(|trusted| trusted.mode == Mode::Enforce);
        if typed.persisted.is_some() && enforces {
            let message = format!("{whose}: clients register what only manifests may list");
            let mistake = Mistake::new(format!("{}:", below(at, "persisted")), message);
            let mistake = mistake.other(below(&below(at, "trusted"), "mode"));
            mistakes.add(mistake.help("leave `persisted` out, or write `mode: log`"));
        }
        let trusted = typed
            .trusted
            .as_ref()
            .map(|trusted| Manifests::build(trusted, around.folder, &below(at, "trusted"), whose, mistakes));
        let persisted = typed.persisted.as_ref().map(|typed| {
            let most = usize::try_from(typed.max_size.0).unwrap_or(usize::MAX);
            match around.before.filter(|before| before.most() == most) {
                Some(unchanged) => unchanged.clone(),
                None => Arc::new(Persisted::new(most, around.before.map(|before| &**before))),
            }
        });
        Settings {
            limits: limits(typed),
            introspection: typed.introspection,
            graphiql: typed.graphiql,
            persisted,
            trusted,
            metrics: around.metrics.clone(),
            clients: typed.clients.clone(),
            max_age: typed.max_age.clone(),
            compression: typed.compression.0.clone(),
            subscriptions: None,
            door: Arc::default(),
        }
    }
}

fn limits(typed: &GraphqlConfig) -> Limits {
    Limits {
        batch: typed.max_batch as usize,
        tokens: typed.max_tokens as usize,
        depth: typed.max_depth as usize,
        fields: typed.max_fields as usize,
        root_fields: typed.max_root_fields as usize,
        aliases: typed.max_aliases as usize,
        directives: typed.max_directives as usize,
        cost: typed.max_cost,
        ..Limits::default()
    }
}

/// A limit over these is none: documents are parsed and validated on a worker, in times that grow with them.
fn check_bounds(typed: &GraphqlConfig, at: &str, whose: &str, mistakes: &mut Mistakes) {
    let bounds = [
        ("max_batch", typed.max_batch, 0, 100),
        ("max_tokens", typed.max_tokens, 1, 20_000),
        ("max_depth", typed.max_depth, 1, 30),
        ("max_fields", typed.max_fields, 1, 10_000),
        ("max_root_fields", typed.max_root_fields, 1, 1_000),
        ("max_aliases", typed.max_aliases, 0, 1_000),
        ("max_directives", typed.max_directives, 0, 1_000),
        ("max_cost", typed.max_cost, 1, 10_000_000),
    ];
    for (key, value, least, most) in bounds {
        if !(least..=most).contains(&value) {
            let mistake = Mistake::new(below(at, key), format!("{whose}: `{key}` is {value}"));
            mistakes.add(mistake.expected(format!("{least} to {most}")));
        }
    }
    let Some(persisted) = &typed.persisted else { return };
    if !(64 << 10..=1 << 30).contains(&persisted.max_size.0) {
        let at = below(&below(at, "persisted"), "max_size");
        let mistake = Mistake::new(at, format!("{whose}: this is no room for documents"));
        mistakes.add(mistake.expected("64KiB to 1GiB"));
    }
}

fn check_codings(codings: &[Coding], at: &str, whose: &str, mistakes: &mut Mistakes) {
    for (index, coding) in codings.iter().enumerate() {
        if codings[..index].contains(coding) {
            let message = format!("{whose}: `{}` is preferred to itself", coding.name());
            mistakes.add(Mistake::new(format!("{at}[{index}]"), message).expected("each coding once"));
        }
    }
}

/// Each is a value of a metric's label, for every trusted operation.
fn check_clients(names: &[String], at: &str, whose: &str, mistakes: &mut Mistakes) {
    const MOST: usize = 20;
    if names.len() > MOST {
        let mistake = Mistake::new(at, format!("{whose}: {} clients are told apart", names.len()));
        mistakes.add(mistake.expected(format!("{MOST} at most")));
    }
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || names[..index].contains(name) {
            let message = format!("{whose}: `{name}` tells no client from others");
            mistakes.add(Mistake::new(format!("{at}[{index}]"), message).expected("a name, once"));
        }
    }
}
