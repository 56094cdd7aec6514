//! Loaders, from what was typed; those that did not change are taken over with all that they are doing.
//!
//! Not here: what a loader's own keys must be (`loaders/build.rs`).

use std::sync::Arc;

use indexmap::IndexMap;

use super::build::Builder;
use crate::{
    cache::config::By,
    handler::Services,
    loaders::{Around, Loader, build::Reading},
    mistake::below,
};

impl Builder<'_> {
    pub(super) fn loaders(&mut self, services: &Services) -> IndexMap<String, Arc<Loader>> {
        let mut built = IndexMap::new();
        for (name, typed) in &self.config.loaders {
            let at = below("loaders", name);
            let upstream = typed.get.split_once('/').and_then(|(upstream, _)| {
                self.upstream(upstream, &format!("loader `{name}` calls"), &below(&at, "get"), services)
            });
            let reading = Reading::of(name, typed, &at, &mut self.mistakes);
            let (Some(upstream), Some(reading)) = (upstream, reading) else { continue };
            let around = Around {
                upstream,
                store: self.store.clone().filter(|_| typed.cache.is_some()),
                unkeyed: self.unkeyed(By::Everyone),
                metrics: self.ground.metrics.loader(name),
            };
            let before = self.ground.before.and_then(|before| before.services.loaders.get(name));
            let loader = match before.filter(|before| before.is_still(typed, &around)) {
                Some(unchanged) => unchanged.clone(),
                None => reading.build(name, typed, around),
            };
            built.insert(name.clone(), loader);
        }
        built
    }
}
