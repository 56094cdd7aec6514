//! The public audits of GraphQL over HTTP (npm `graphql-http`) against `bff-mobile`.
//!
//! `./tests/run` installs them and says where they are by `GRAPHQL_HTTP`. Some ask for the schema, so introspection is on.
//! Not here: our own tests of the same (`mobile_http.rs`).

use std::{collections::BTreeMap, path::Path, process::Command};

use crate::mobile::Mobile;

#[tokio::test]
#[ignore = "needs the audits that `./tests/run` installs"]
async fn all_audits_pass() {
    let folder = std::env::var_os("GRAPHQL_HTTP").expect("`./tests/run` installs the audits and runs this");
    let mobile = Mobile::offering("{ introspection: true }").await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("system/graphql_over_http/audits.mjs");
    let url = format!("http://{}/graphql", mobile.gate.address());
    let run = move || Command::new("node").arg(script).arg(folder).arg(url).output().unwrap();
    let run = tokio::task::spawn_blocking(run).await.unwrap();
    let lines = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{lines}{}", String::from_utf8_lossy(&run.stderr));
    let mut counts = BTreeMap::<&str, u32>::new();
    for line in lines.lines() {
        *counts.entry(line.split('\t').next().unwrap()).or_default() += 1;
    }
    println!("{counts:?}");
    assert_eq!(counts, BTreeMap::from([("ok", ALL)]), "{lines}");
}

/// Those of MUST, SHOULD and MAY.
const ALL: u32 = 60;
