//! The services of FTGO as stateful stubs in memory, with faults and counters turned from outside.
//!
//! ```text
//! server (sockets) -> answer (counts, faults) -> world (the domain) | identity | grpc
//!                     control (turns faults, world, recorder, tokens)
//! ```

mod accounting;
mod answer;
pub mod backend;
mod broken;
mod conditional;
mod consumer;
mod control;
mod delivery;
pub mod faults;
mod fields;
pub mod grpc;
mod identity;
mod kitchen;
mod openapi;
mod order;
mod order_history;
pub mod problem;
pub mod recorder;
mod replica;
mod request;
mod restaurant;
mod rule;
mod server;
pub mod service;
pub mod tokens;
pub mod world;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinSet;

use self::answer::{Dialect, Stub};
use self::backend::Backend;
use self::control::Controls;
use self::faults::Faults;
use self::recorder::Recorder;
use self::server::{Door, Listener};
use self::service::Service;
use self::tokens::{Claims, Grant, Kind, Tokens};
use self::world::World;

/// What a saga's step takes at the start, and again after a reset.
const SAGA_STEP: Duration = Duration::from_millis(100);
/// How long the tokens of [`Stubs::token`] live.
const LIFETIME_MS: i64 = 3_600_000;

/// The ports of all listeners on 127.0.0.1; 0 stands for any free one.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// In the order of [`Service::ALL`].
    pub services: [u16; Service::ALL.len()],
    /// The order service's gRPC side.
    pub grpc: u16,
    /// The OpenID provider.
    pub identity: u16,
    /// The control API.
    pub control: u16,
}

impl Ports {
    /// Those of the reference set-up.
    pub fn reference() -> Ports {
        Ports { services: Service::ALL.map(Service::port), grpc: 50051, identity: 8090, control: 8091 }
    }

    /// Any that are free.
    pub fn free() -> Ports {
        Ports { services: [0; Service::ALL.len()], grpc: 0, identity: 0, control: 0 }
    }
}

/// All stubs, running. Dropping them ends them at once.
pub struct Stubs {
    addresses: Addresses,
    world: World,
    faults: Arc<Faults>,
    recorder: Arc<Recorder>,
    tokens: Arc<Tokens>,
    control_door: Door,
    tasks: JoinSet<()>,
}

struct Addresses {
    services: [SocketAddr; Service::ALL.len()],
    grpc: SocketAddr,
    identity: SocketAddr,
    control: SocketAddr,
}

/// The sockets of all stubs, listening.
struct Listeners {
    services: Vec<(Service, Listener)>,
    grpc: Listener,
    identity: Listener,
    control: Listener,
}

impl Stubs {
    /// Starts all stubs with the seeded state. Needs a Tokio runtime.
    ///
    /// # Errors
    /// If a port cannot be had; the error names the service and the address.
    pub fn start(ports: Ports) -> io::Result<Stubs> {
        let listeners = Listeners::bind(ports)?;
        let addresses = listeners.addresses();
        let world = World::seeded();
        world.set_saga_step(SAGA_STEP);
        let faults = Arc::new(Faults::new());
        let recorder = Arc::new(Recorder::new());
        let tokens = Arc::new(Tokens::new(format!("http://{}", addresses.identity)));
        let controls = Controls {
            world: world.clone(),
            faults: Arc::clone(&faults),
            recorder: Arc::clone(&recorder),
            tokens: Arc::clone(&tokens),
            saga_step: SAGA_STEP,
        };
        let mut tasks = JoinSet::new();
        let (control_door, doors) = listeners.serve(controls, &mut tasks);
        faults.install(doors);
        Ok(Stubs { addresses, world, faults, recorder, tokens, control_door, tasks })
    }

    /// Where a service listens.
    pub fn address(&self, service: Service) -> SocketAddr {
        let place = Service::ALL.into_iter().position(|other| other == service);
        self.addresses.services[place.expect("ALL holds every service")]
    }

    /// Where the order service's gRPC side listens.
    pub fn grpc(&self) -> SocketAddr {
        self.addresses.grpc
    }

    /// Where the OpenID provider listens; `http://` and this is the issuer.
    pub fn identity(&self) -> SocketAddr {
        self.addresses.identity
    }

    /// Where the control API listens.
    pub fn control(&self) -> SocketAddr {
        self.addresses.control
    }

    /// A value token that lives for an hour.
    pub fn token(&self, sub: &str, roles: &[&str], scope: &str) -> String {
        self.tokens.give(&Grant {
            sub: sub.to_owned(),
            roles: roles.iter().map(ToString::to_string).collect(),
            scope: scope.to_owned(),
            expires_in: LIFETIME_MS,
            kind: Kind::Jwt,
            claims: Claims::new(),
        })
    }

    /// The domain behind the services.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What arrived.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The faults in force.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The tokens of the OpenID provider.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Stops listening, lets answers under way end (for a second at most) and returns when all is closed.
    pub async fn stop(mut self) {
        tokio::join!(self.faults.stop(), self.control_door.turn(server::State::Stopped));
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Listeners {
    fn bind(ports: Ports) -> io::Result<Listeners> {
        let listen =
            |name, port| Listener::bind(name, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        let services = Service::ALL.into_iter().zip(ports.services);
        let listening = services.map(|(service, port)| Ok((service, listen(service.name(), port)?)));
        Ok(Listeners {
            services: listening.collect::<io::Result<_>>()?,
            grpc: listen("order (gRPC)", ports.grpc)?,
            identity: listen("identity", ports.identity)?,
            control: listen("control", ports.control)?,
        })
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            services: std::array::from_fn(|place| self.services[place].1.address()),
            grpc: self.grpc.address(),
            identity: self.identity.address(),
            control: self.control.address(),
        }
    }

    /// Serves all; returns the door of the control API and those of the backends.
    fn serve(self, controls: Controls, tasks: &mut JoinSet<()>) -> (Door, Vec<(Backend, Door)>) {
        let (faults, recorder) = (&controls.faults, &controls.recorder);
        let stub = |backend, dialect, router: Router| Stub::new(backend, dialect, router, faults, recorder);
        let mut doors = Vec::new();
        for (service, listener) in self.services {
            let backend = Backend::Service(service);
            let handler = stub(backend, Dialect::Rest, controls.world.router(service));
            doors.push((backend, listener.serve(handler, tasks)));
        }
        let order = Backend::Service(Service::Order);
        let handler = stub(order, Dialect::Grpc, grpc::router(controls.world.clone()));
        doors.push((order, self.grpc.serve(handler, tasks)));
        let identity = identity::router(Arc::clone(&controls.tokens));
        let handler = stub(Backend::Identity, Dialect::Rest, identity);
        doors.push((Backend::Identity, self.identity.serve(handler, tasks)));
        (self.control.serve(control::router(controls), tasks), doors)
    }
}
