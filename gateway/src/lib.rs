//! An API gateway for backends for frontends: it routes, authenticates, limits, forwards and composes, as one YAML file says.
//!
//! | where | what |
//! |---|---|
//! | [`cli`] | The command line of every binary: run, check. |
//! | [`instance`] | A running gateway: listeners, admin, the watch over the file. |
//! | [`config`] | From YAML to what runs, with every mistake at once; reload. |
//! | [`server`], [`worker`] | Sockets, worker threads, connections, TLS, the drain. |
//! | [`admin`] | The operators' listener: health, readiness, metrics. |
//! | [`pipeline`] | The life of a request, top to bottom. Begin reading here. |
//! | [`routing`], [`route`] | From method and path to a route and its parameters. |
//! | [`rate_limit`] | How often an address, a principal, or whoever has a header field or a path parameter in common may ask. |
//! | [`redis`] | The Redis that instances share: an answer soon, or none at all. |
//! | [`overload`] | How many requests may be in flight, and who is turned away first. |
//! | [`auth`], [`guard`] | Who is calling; the policy language; who may use a route, and when that is decided. |
//! | [`browsers`] | What browsers are told with answers, and what is believed of their requests. |
//! | [`cache`] | Answers of services, kept for the next one who asks: a shared HTTP cache. |
//! | [`handler`] | What answers: the trait, and what a handler is given. |
//! | [`identity`] | What services are told about a request, and nobody else may say. |
//! | [`proxy`] | Forwards a request to a service. |
//! | [`composition`] | One answer from many services. |
//! | [`contract`] | What routes take and answer: requests are checked, and clients are told, as OpenAPI. |
//! | [`live`] | What changes, told while it does: server-sent events. |
//! | [`graphql`] | GraphQL over HTTP, for schemas that a binary brings along. |
//! | [`upstream`] | A service behind the gateway: connections, deadlines, faults. |
//! | [`observability`], [`histogram`] | The access log, metrics, the trace. |
//! | [`error`] | The one error, and its problem document. |
//! | [`body`], `files`, `gathered`, `seats`, [`deadline`], [`template`], [`tags`], [`units`], [`mistake`] | What all of the above is made of. |
//!
//! A mistake in a configuration is told with its place, and with what was probably meant:
//!
//! ```
//! let text = "
//! listen: [{ address: 127.0.0.1:8087 }]
//! upstreams: { order: { url: http://127.0.0.1:8082 } }
//! routes:
//!   - path: /orders/{orderId}
//!     auth: none
//!     foward: { to: order }
//! ";
//! let loaded = gateway::config::load::load("bff.yaml", text, &|_| None);
//! let told = loaded.render();
//! assert!(told.contains("unknown key `foward`") && told.contains("bff.yaml:7:5"), "{told}");
//! assert!(told.contains("did you mean `forward`?"), "{told}");
//! ```

pub mod admin;
pub mod auth;
pub mod body;
pub mod browsers;
pub mod cache;
pub mod cli;
pub mod composition;
pub mod config;
pub mod contract;
pub mod deadline;
mod door;
pub mod downstream;
pub mod error;
mod files;
mod gathered;
pub mod graphql;
pub mod guard;
pub mod handler;
pub mod head;
pub mod histogram;
pub mod identity;
pub mod instance;
pub mod lifecycle;
pub mod live;
pub mod loaders;
mod members;
pub mod mistake;
pub mod observability;
pub mod overload;
pub mod pipeline;
pub mod proxy;
pub mod rate_limit;
pub mod redis;
pub mod route;
pub mod routing;
mod seats;
pub mod server;
mod switch;
pub mod tags;
pub mod template;
pub mod units;
pub mod upstream;
pub mod worker;
