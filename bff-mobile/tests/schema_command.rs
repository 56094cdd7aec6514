//! `bff-mobile schema`: what it prints, and how it ends.
//!
//! Not here: what counts as a break (`gateway/src/graphql/changes.rs`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    process::{Command, Output},
};

const PUBLISHED: &str = include_str!("../schema.graphql");

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bff-mobile")).arg("schema").args(arguments).output().unwrap()
}

fn against(name: &str, older: &str) -> (Option<i32>, String, String) {
    let file = std::env::temp_dir().join(format!("bff-mobile-{}-{name}.graphql", std::process::id()));
    fs::write(&file, older).unwrap();
    let file = file.to_str().unwrap();
    let output = run(&["--against", file]);
    fs::remove_file(file).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(file, "FILE");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_schema_is_printed() {
    let output = run(&[]);
    assert_eq!((output.status.code(), output.stdout), (Some(0), PUBLISHED.as_bytes().to_vec()));
}

#[test]
fn what_breaks_clients_is_listed_and_ends_in_1() {
    let (code, told, _) = against("same", PUBLISHED);
    assert_eq!((code, told.as_str()), (Some(0), "The schema breaks nothing for clients of FILE.\n"));
    let older =
        PUBLISHED.replace("\tassignedCourier: String", "\tassignedCourier: String\n\tcourier: String");
    let (code, told, _) = against("older", &older);
    let expected = "The schema breaks clients of FILE:\n  field `DeliveryInfo.courier` is gone\n";
    assert_eq!((code, told.as_str()), (Some(1), expected));
}

#[test]
fn a_file_that_is_no_schema_ends_in_2() {
    let (code, told, why) = against("none", "type {");
    assert_eq!((code, told.as_str()), (Some(2), ""));
    assert!(why.starts_with("error: FILE: the older schema cannot be read: "), "{why}");
    let output = run(&["--against", "/nowhere/to/be/found"]);
    assert_eq!(output.status.code(), Some(2));
}
