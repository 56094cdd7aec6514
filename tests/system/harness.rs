//! Gateways to ask: `bff-web` as shipped in front of the stubs, and any other configuration typed in a test.
//!
//! Not here: asking (`client.rs`, `wire.rs`).

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use ftgo::stubs::{Ports, Stubs, service::Service};
use gateway::{handler::Handlers, instance::Instance};
use serde_json::Value;

use crate::client::{Ask, ask};

/// The consumer of the fixtures: orders 99 and 100 are John Doe's.
pub(crate) const JOHN: &str = "1511300065921";
/// Another consumer: order 105 is Mary Major's.
pub(crate) const MARY: &str = "1511300065922";

/// `bff-web` in front of all stubs.
pub(crate) struct Ftgo {
    pub(crate) stubs: Stubs,
    pub(crate) gate: Gate,
}

/// A gateway of its own configuration file, which goes with it.
pub(crate) struct Gate {
    instance: Option<Instance>,
    address: SocketAddr,
    admin: SocketAddr,
    file: TempFile,
}

/// A file that is removed when nobody needs it any more.
pub(crate) struct TempFile(PathBuf);

impl Ftgo {
    /// The configuration that ships, with the addresses of fresh stubs.
    pub(crate) async fn start() -> Ftgo {
        let stubs = stubs();
        let gate = Gate::of(&web_yaml(&stubs));
        let ftgo = Ftgo { stubs, gate };
        until("the gateway has keys", || ftgo.gate.ready()).await;
        ftgo
    }

    pub(crate) fn get(&self, path: &str) -> Ask {
        self.gate.get(path)
    }

    pub(crate) fn post(&self, path: &str) -> Ask {
        self.gate.ask("POST", path)
    }

    /// A consumer's token with all that a consumer may do.
    pub(crate) fn consumer(&self, sub: &str) -> String {
        self.stubs.token(sub, &["consumer"], "consumers:read orders:read orders:write")
    }

    pub(crate) fn support(&self) -> String {
        self.stubs.token("support-1", &["support"], "consumers:read orders:read restaurants:write")
    }

    /// Breaks a service.
    pub(crate) async fn fault(&self, service: Service, rule: Value) {
        self.stubs.faults().set(service, rule).await.unwrap();
    }
}

impl Gate {
    /// A gateway on free ports that goes on with `rest`: providers, upstreams, limits, routes.
    pub(crate) fn start(rest: &str) -> Gate {
        Gate::of(&after_listen(rest))
    }

    /// A gateway of a whole configuration file.
    pub(crate) fn of(yaml: &str) -> Gate {
        Gate::with(yaml, Handlers::default())
    }

    /// The same, with handlers that the file may name.
    pub(crate) fn with(yaml: &str, handlers: Handlers) -> Gate {
        gateway::auth::install_crypto();
        let file = TempFile::new("gateway.yaml", yaml);
        let instance = Instance::start(file.name(), handlers).expect("the configuration is right");
        let admin = instance.admin().expect("it has an admin listener");
        Gate { address: instance.addresses()[0], admin, instance: Some(instance), file }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn ready(&self) -> bool {
        self.instance.as_ref().is_some_and(Instance::ready)
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> Ask {
        ask(self.address, method, path)
    }

    pub(crate) fn get(&self, path: &str) -> Ask {
        self.ask("GET", path)
    }

    /// Asks the operators' listener.
    pub(crate) fn admin(&self, path: &str) -> Ask {
        self.admin_ask("GET", path)
    }

    /// Asks it for something else than to be told.
    pub(crate) fn admin_ask(&self, method: &str, path: &str) -> Ask {
        ask(self.admin, method, path).host("127.0.0.1")
    }

    /// Edits the configuration file, as an editor does: the whole of it, at once.
    pub(crate) fn rewrite(&self, yaml: &str) {
        let edited = self.file.0.with_extension("edited");
        fs::write(&edited, yaml).unwrap();
        fs::rename(edited, &self.file.0).unwrap();
    }

    /// The name of the configuration file.
    pub(crate) fn file(&self) -> &str {
        self.file.name()
    }

    /// Takes the configuration file away.
    pub(crate) fn remove_file(&self) {
        fs::remove_file(&self.file.0).unwrap();
    }

    pub(crate) async fn drain(&mut self) {
        self.instance.take().expect("it runs").drain().await;
    }
}

impl TempFile {
    pub(crate) fn new(name: &str, text: &str) -> TempFile {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("ftgo-system-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        TempFile(path)
    }

    pub(crate) fn name(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let folder = self.0.parent().expect("it is in a folder of its own");
        drop(fs::remove_dir_all(folder));
    }
}

/// Fresh stubs on free ports whose sagas are quick.
pub(crate) fn stubs() -> Stubs {
    let stubs = Stubs::start(Ports::free()).unwrap();
    stubs.world().set_saga_step(Duration::from_millis(10));
    stubs
}

/// The listeners that every configuration typed in a test begins with.
pub(crate) fn after_listen(rest: &str) -> String {
    let listen =
        "listen: [{ address: \"127.0.0.1:0\" }]\nadmin: { address: \"127.0.0.1:0\" }\naccess_log: off\n";
    format!("{listen}{rest}")
}

/// `config/bff-web.yaml` with the stubs' addresses in the place of the reference ones.
pub(crate) fn web_yaml(stubs: &Stubs) -> String {
    let mut yaml = fs::read_to_string(config_folder().join("bff-web.yaml")).unwrap();
    for service in Service::ALL {
        let reference = format!("127.0.0.1:{} }}", service.port());
        yaml = replaced(&yaml, &reference, &format!("{} }}", stubs.address(service)));
    }
    yaml = replaced(&yaml, "127.0.0.1:50051", &stubs.grpc().to_string());
    let descriptors = config_folder().join("order.binpb");
    yaml = replaced(&yaml, "[order.binpb]", &format!("[{}]", descriptors.display()));
    yaml = replaced(&yaml, "127.0.0.1:8090", &stubs.identity().to_string());
    yaml = replaced(&yaml, "${WEB_ADDRESS:-127.0.0.1:8087}", "127.0.0.1:0");
    yaml = replaced(&yaml, "127.0.0.1:9087", "127.0.0.1:0");
    format!("{yaml}\naccess_log: off\n")
}

fn replaced(yaml: &str, from: &str, to: &str) -> String {
    assert!(yaml.contains(from), "bff-web.yaml has no {from}");
    yaml.replace(from, to)
}

pub(crate) fn config_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

/// Waits until something is so, for as long as a busy machine may need.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    assert!(waited.is_ok(), "it never came to be so: {what}");
}

/// Asks until the answer is a 200 that is as it should be.
pub(crate) async fn until_answer(asked: impl Fn() -> Ask, so: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        loop {
            let answer = asked().send().await.expect(200).json();
            if so(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the answer comes to be so")
}
