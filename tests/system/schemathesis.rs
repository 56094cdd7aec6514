//! The public fuzzer schemathesis against `bff-web` as shipped, by the document that it serves: what is right is accepted, what
//! is wrong is refused, and every answer is one that the document tells of.
//!
//! `./tests/run` installs it and says where it is by `SCHEMATHESIS`. What it is told not to expect stands in
//! `../schemathesis/schemathesis.toml`, each with its reason.
//! Not here: our own tests of the contract (`openapi.rs`, `gateway/src/contract/`).

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{Ftgo, JOHN};

/// All that anybody may do.
const SCOPES: &str = "consumers:read orders:read orders:write restaurants:write deliveries:write";

/// Whose requests are sent, and how many examples each operation gets of each kind.
struct Run {
    sub: &'static str,
    roles: &'static [&'static str],
    groups: &'static [&'static str],
}

/// Nobody may do everything: each group is asked for by one who may.
const RUNS: [Run; 3] = [
    Run { sub: JOHN, roles: &["consumer", "support"], groups: &["consumers", "restaurants", "orders"] },
    Run { sub: "restaurant-1", roles: &["restaurant"], groups: &["kitchen"] },
    Run { sub: "courier-1", roles: &["courier"], groups: &["deliveries"] },
];

fn schemathesis(ftgo: &Ftgo, run: &Run, binary: &Path) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis");
    let token = ftgo.stubs.token(run.sub, run.roles, SCOPES);
    let mut command = Command::new(binary);
    command.arg("--config-file").arg(folder.join("schemathesis.toml"));
    command.args(["--no-color", "run", &format!("http://{}/openapi.json", ftgo.gate.address())]);
    command.args(["--header", &format!("Authorization: Bearer {token}")]);
    command.args(run.groups.iter().flat_map(|group| ["--include-tag", group]));
    command
        .env("PYTHONPATH", &folder)
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("CONTROL", ftgo.stubs.control().to_string());
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the fuzzer that `./tests/run` installs"]
async fn everything_that_the_document_says_is_so() {
    let told = std::env::var_os("SCHEMATHESIS").expect("`./tests/run` installs it and runs this");
    let binary = PathBuf::from(told);
    let ftgo = Ftgo::start().await;
    for run in &RUNS {
        let mut command = schemathesis(&ftgo, run, &binary);
        let status = tokio::task::spawn_blocking(move || command.status()).await.unwrap().unwrap();
        assert!(status.success(), "{:?}: see above", run.groups);
    }
}
