//! The configuration files that ship are right, and what is wrong with another is said with its place.

use std::fs;

use gateway::{handler::Handlers, instance, observability::metrics::Metrics};

use crate::harness::{TempFile, after_listen, config_folder};

fn mistakes(file: &str, handlers: &Handlers) -> Option<String> {
    gateway::auth::install_crypto();
    instance::build(file, handlers, &Metrics::default(), None).err()
}

/// The names of the YAML files in `config/`.
fn shipped() -> Vec<String> {
    let entries = fs::read_dir(config_folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".yaml"));
    names.sort_unstable();
    names
}

fn check(name: &str, handlers: &Handlers) {
    let file = config_folder().join(name);
    assert_eq!(mistakes(file.to_str().unwrap(), handlers), None);
}

#[tokio::test]
async fn the_web_configuration_is_right() {
    check("bff-web.yaml", &bff_web::program().handlers);
}

#[tokio::test]
async fn the_mobile_configuration_is_right() {
    check("bff-mobile.yaml", &bff_mobile::program().handlers);
}

#[tokio::test]
async fn the_public_configuration_is_right() {
    check("public-api.yaml", &Handlers::default());
}

#[test]
fn every_shipped_configuration_has_a_test_here() {
    assert_eq!(shipped(), ["bff-mobile.yaml", "bff-web.yaml", "public-api.yaml"]);
}

#[tokio::test]
async fn a_wrong_configuration_is_told_with_file_and_line() {
    let yaml = after_listen("routes:\n  - path: /orders\n    auth: none\n    forward: { to: ordr }\n");
    let file = TempFile::new("wrong.yaml", &yaml);
    let told = mistakes(file.name(), &Handlers::default()).expect("it is wrong");
    assert!(told.contains("unknown upstream `ordr`"), "{told}");
    assert!(told.contains("wrong.yaml:7:20"), "{told}");
}

#[tokio::test]
async fn a_configuration_that_is_not_there_is_told() {
    let told = mistakes("/nowhere/gateway.yaml", &Handlers::default()).expect("it is not there");
    assert!(told.starts_with("error: /nowhere/gateway.yaml cannot be read: "), "{told}");
}

#[tokio::test]
async fn a_mobile_configuration_without_a_limit_on_registrations_is_a_mistake() {
    let shipped = fs::read_to_string(config_folder().join("bff-mobile.yaml")).unwrap();
    let lines = shipped.lines().filter(|line| !line.trim_start().starts_with("registration:"));
    let file = TempFile::new("mobile.yaml", &lines.collect::<Vec<_>>().join("\n"));
    let told = mistakes(file.name(), &bff_mobile::program().handlers).expect("it is wrong");
    let first = "error: route `/graphql`: this handler needs a limit `registration` under `limits`\n";
    assert!(told.starts_with(first) && told.contains("handle: graphql\n"), "{told}");
}
