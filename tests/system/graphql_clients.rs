//! Clients of GraphQL that others have written (npm: Apollo, urql, graphql-ws, graphql-sse) against `bff-mobile`.
//!
//! `./tests/run` installs them and says where they are by `GRAPHQL_CLIENTS`.
//! Not here: what they do (`tests/clients/flow.mjs`), our own tests of the same (`mobile_subscriptions.rs`).

use std::{path::Path, process::Command, time::Duration};

use crate::{harness::JOHN, mobile::Mobile};

#[tokio::test]
#[ignore = "needs the clients that `./tests/run` installs"]
async fn all_clients_follow_an_order_through_its_flow_and_miss_nothing() {
    let folder =
        std::env::var_os("GRAPHQL_CLIENTS").expect("`./tests/run` installs the clients and runs this");
    let mobile = Mobile::edited(&|yaml| {
        yaml.replace("    graphql:\n", "    graphql:\n      persisted: {}\n")
            .replace("every: 500ms", "every: 50ms")
    })
    .await;
    mobile.stubs.world().set_saga_step(Duration::from_millis(400));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/flow.mjs");
    let (url, token) = (format!("http://{}/graphql", mobile.gate.address()), mobile.john());
    let run =
        move || Command::new("node").arg(script).arg(folder).args([&url, &token, JOHN]).output().unwrap();
    let run = tokio::task::spawn_blocking(run).await.unwrap();
    let lines = String::from_utf8(run.stdout).unwrap();
    println!("{lines}");
    assert!(run.status.success(), "{lines}{}", String::from_utf8_lossy(&run.stderr));
    let ok = lines.lines().filter(|line| line.starts_with("ok\t")).count();
    assert_eq!((ok, lines.contains("failed\t")), (5, false), "{lines}");
}
