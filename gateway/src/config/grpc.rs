//! What routes call by gRPC, from what was typed.
//!
//! Not here: reading descriptors, and what a call is (`proxy/grpc/`).

use std::sync::Arc;

use super::{RouteConfig, build::Builder};
use crate::{
    handler::Services,
    mistake::{Mistake, below},
    proxy::{
        config::ForwardConfig,
        grpc::{self, Descriptors, FromPath, Grpc},
    },
    upstream::{Upstream, wire::Protocol},
};

impl Builder<'_> {
    pub(super) fn descriptors(&mut self) -> Option<Arc<Descriptors>> {
        let config = self.config;
        let folder = self.loaded.source.folder();
        let erased = self.loaded.has_erased("grpc.descriptors");
        let typed = config.grpc.as_ref().filter(|_| !erased)?;
        Descriptors::build(typed, folder, "grpc", &mut self.mistakes).map(Arc::new)
    }

    /// The method that is typed at the key path `at` of a `forward`, and the service that has it.
    pub(super) fn grpc(
        &mut self,
        method: &str,
        forward: &ForwardConfig,
        typed: &RouteConfig,
        at: &str,
        services: &Services,
    ) -> Option<(Arc<Upstream>, Grpc)> {
        let whose = format!("route `{}`", typed.path);
        self.check_beside(forward, typed, at, &whose);
        let (upstream, grpc) = self.method_of(method, &whose, &below(at, "grpc"), services);
        let grpc = grpc?;
        let (kind, names, at) = (grpc.request().clone(), &self.names, below(at, "fields"));
        let fields = FromPath::build(&forward.fields, &kind, names, &whose, &at, &mut self.mistakes);
        Some((upstream?, grpc.with(fields)))
    }

    /// The method typed at the key path `at_method` for what `whose` names, and the service that has it.
    pub(super) fn method_of(
        &mut self,
        method: &str,
        whose: &str,
        at_method: &str,
        services: &Services,
    ) -> (Option<Arc<Upstream>>, Option<Grpc>) {
        let Some([upstream, service, name]) = grpc::parts(method) else {
            let mistake = Mistake::new(at_method, format!("{whose}: `{method}` names no method"));
            self.mistakes.add(mistake.expected("UPSTREAM/PACKAGE.SERVICE/METHOD"));
            return (None, None);
        };
        let upstream = self.upstream(upstream, &format!("{whose}: it calls"), at_method, services);
        self.check_protocol(upstream.as_ref(), whose, at_method);
        let Some((descriptors, config)) = self.descriptors.clone().zip(self.config.grpc.as_ref()) else {
            if self.config.grpc.is_none() && !self.loaded.has_erased("grpc") {
                let mistake = Mistake::new(at_method, format!("{whose}: nothing describes `{service}`"));
                self.mistakes.add(mistake.help("name its descriptors: `grpc: { descriptors: [FILE] }`"));
            }
            return (upstream, None);
        };
        let built = Grpc::build(&descriptors, config, service, name, whose);
        let built = built.map_err(|wrong| Mistake { at: at_method.to_owned(), ..wrong });
        (upstream, self.mistakes.keep(built))
    }

    /// What means nothing for a call of gRPC.
    fn check_beside(&mut self, forward: &ForwardConfig, typed: &RouteConfig, at: &str, whose: &str) {
        if forward.to.is_some() {
            let mistake = Mistake::new(below(at, "to"), format!("{whose} forwards to two places"));
            self.mistakes.add(mistake.expected("exactly one of: to, grpc"));
        }
        if forward.path.is_some() {
            let mistake =
                Mistake::new(below(at, "path"), format!("{whose}: a method of gRPC has a path of its own"));
            self.mistakes.add(mistake.help("leave `path` out; `fields` are written from the route's path"));
        }
        if typed.cache.is_some() {
            let at = below(at.strip_suffix(".forward").unwrap_or(at), "cache");
            let mistake = Mistake::new(at, format!("{whose}: what is answered by gRPC is not kept"));
            self.mistakes.add(mistake.help("leave `cache` out"));
        }
    }

    fn check_protocol(&mut self, upstream: Option<&Arc<Upstream>>, whose: &str, at: &str) {
        let Some(upstream) = upstream.filter(|upstream| upstream.config().protocol != Protocol::Http2) else {
            return;
        };
        let message = format!("{whose}: gRPC needs HTTP/2, which `{}` may not speak", upstream.name());
        let help = format!("write `protocol: http2` under `upstreams.{}`", upstream.name());
        self.mistakes.add(Mistake::new(at, message).words(upstream.name()).help(help));
    }
}
