//! Routes that open WebSockets, from what was typed.
//!
//! Not here: opening them (`proxy/websocket/`), which pages may (`browsers.rs`).

use std::{sync::Arc, time::Duration};

use super::{RouteConfig, build::Builder};
use crate::{
    handler::Handler,
    mistake::{Mistake, below},
    proxy::{
        Origin, WebSocket,
        config::ForwardConfig,
        websocket::{Tunnels, WebSocketConfig},
    },
    units::Span,
    upstream::{Upstream, wire::Protocol},
};

impl Builder<'_> {
    /// What opens those of a route to `origin`. Those that are open stay so when the route is still the same.
    pub(super) fn websocket(
        &mut self,
        origin: Arc<Origin>,
        config: &WebSocketConfig,
        typed: &RouteConfig,
    ) -> Arc<dyn Handler> {
        let name: Arc<str> = format!("{} {}", typed.methods.join(","), typed.path).into();
        let unchanged = self.ground.before.filter(|before| {
            let (then, now) = (&before.config, self.config);
            // Who may open one is then the same, too.
            (&then.providers, &then.plans, &then.identity, &then.cors, &then.default_cors)
                == (&now.providers, &now.plans, &now.identity, &now.cors, &now.default_cors)
                && then.routes.contains(typed)
        });
        let tunnels = unchanged.and_then(|before| before.tunnels.get(&name)).cloned();
        let tunnels = tunnels.unwrap_or_else(|| Tunnels::new(config, self.ground.metrics.websocket(&name)));
        self.tunnels.insert(name, tunnels.clone());
        Arc::new(WebSocket::new(origin, tunnels))
    }

    /// What means nothing for WebSockets, or would let none be opened.
    pub(super) fn check_websocket(
        &mut self,
        forward: &ForwardConfig,
        upstream: Option<&Arc<Upstream>>,
        typed: &RouteConfig,
        of_route: &str,
        at: &str,
    ) {
        let Some(config) = &forward.websocket else { return };
        let place = format!("route `{}`", typed.path);
        if typed.methods != ["GET"] && !self.loaded.has_erased(&below(of_route, "methods")) {
            let mistake =
                Mistake::new(below(of_route, "methods"), format!("{place}: WebSockets are opened by GET"));
            self.mistakes.add(mistake.expected("`methods: [GET]` or none"));
        }
        for (at, given, what) in [
            (below(at, "grpc"), forward.grpc.is_some(), "a method of gRPC is called, not opened"),
            (below(at, "fallback"), forward.fallback.is_some(), "nothing stands in for a WebSocket"),
            (below(of_route, "cache"), typed.cache.is_some(), "a WebSocket is not kept"),
            (
                below(of_route, "invalidates"),
                !typed.invalidates.is_empty(),
                "a WebSocket writes nothing here",
            ),
        ] {
            if given {
                let key = at.rsplit('.').next().unwrap_or_default().to_owned();
                let mistake = Mistake::new(at, format!("{place}: {what}"));
                self.mistakes.add(mistake.help(format!("leave `{key}` out")));
            }
        }
        if let Some(upstream) = upstream.filter(|upstream| upstream.config().protocol == Protocol::Http2) {
            let name = upstream.name();
            let message = format!("{place}: WebSockets need HTTP/1.1, which `{name}` does not speak");
            let mistake = Mistake::new(below(at, "to"), message).words(name);
            self.mistakes.add(mistake.help(format!("leave `protocol: http2` out of `upstreams.{name}`")));
        }
        self.check_websocket_bounds(config, &place, &below(at, "websocket"));
    }

    fn check_websocket_bounds(&mut self, config: &WebSocketConfig, place: &str, at: &str) {
        let day = Span(Duration::from_secs(24 * 3_600));
        for (key, span) in [("idle_timeout", config.idle_timeout), ("max_age", config.max_age)] {
            if !(Span::secs(1)..=day).contains(&span) {
                let message = format!("{place}: with this `{key}` no WebSocket would be of use");
                self.mistakes.add(Mistake::new(below(at, key), message).expected("1s to 24h"));
            }
        }
        for (key, number) in [("max_clients", config.max_clients), ("max_per_client", config.max_per_client)]
        {
            if number == 0 {
                let message = format!("{place}: with this `{key}` there would be no WebSocket");
                self.mistakes.add(Mistake::new(below(at, key), message).expected("1 or more"));
            }
        }
    }
}
