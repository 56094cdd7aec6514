//! What routes of GraphQL say of themselves, from what was typed.
//!
//! Not here: what the keys mean (`graphql/settings.rs`), the handler (`handlers.rs`).

use std::{path::PathBuf, sync::Arc};

use super::{RouteConfig, build::Builder};
use crate::{
    graphql::{Around, Persisted, Settings},
    mistake::{Mistake, below},
};

/// What routes of GraphQL leave for the next configuration, and for whoever watches files.
#[derive(Default)]
pub struct Graphql {
    /// What clients have registered, by the route's path.
    pub(super) persisted: Vec<(String, Arc<Persisted>)>,
    /// The manifests that were read, and what was in them.
    pub(crate) manifests: Vec<(Vec<PathBuf>, u64)>,
}

impl Builder<'_> {
    /// What the route at `at` offers; as if nothing were typed where it says nothing.
    pub(super) fn graphql(&mut self, typed: &RouteConfig, at: &str) -> Settings {
        let before = self.ground.before.and_then(|before| {
            before.graphql.persisted.iter().find(|(path, _)| *path == typed.path).map(|(_, kept)| kept)
        });
        let whose = format!("route `{}`", typed.path);
        let metrics = self.ground.metrics.graphql(&typed.path);
        let around = Around { folder: self.loaded.source.folder(), before, metrics, whose: &whose };
        let config = typed.graphql.clone().unwrap_or_default();
        let settings = Settings::build(&config, &below(at, "graphql"), &around, &mut self.mistakes);
        self.graphql.persisted.extend(settings.persisted.clone().map(|kept| (typed.path.clone(), kept)));
        self.graphql.manifests.extend(settings.trusted.as_ref().map(|trusted| trusted.made_of()));
        settings
    }

    /// It would mean nothing where no handler reads it.
    pub(super) fn check_graphql(&mut self, typed: &RouteConfig, at: &str) {
        if typed.graphql.is_some() && typed.handle.is_none() && !self.loaded.has_erased(&below(at, "handle"))
        {
            let message = format!("route `{}` has no handler that answers GraphQL", typed.path);
            let mistake = Mistake::new(format!("{}:", below(at, "graphql")), message);
            self.mistakes.add(mistake.expected("with `handle`"));
        }
    }
}
