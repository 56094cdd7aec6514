//! `check` as a script sees it: what it exits with, and which stream says why.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use rcgen::generate_simple_self_signed;

const RIGHT: &str = "listen: [{ address: \"127.0.0.1:0\" }]\nroutes: []\n";

/// `gateway check` of a file with this text.
fn check(name: &str, yaml: &str) -> Output {
    let file = std::env::temp_dir().join(format!("gateway-check-{}-{name}.yaml", std::process::id()));
    fs::write(&file, yaml).expect("the folder can be written to");
    let command =
        Command::new(env!("CARGO_BIN_EXE_gateway")).arg("check").arg("--config").arg(&file).output();
    fs::remove_file(file).expect("the file is there");
    command.expect("the binary runs")
}

#[test]
fn a_right_file_exits_with_0_and_says_so() {
    let output = check("right", RIGHT);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.ends_with("is fine: 0 routes, 0 upstreams\n"), "{said}");
}

#[test]
fn a_wrong_file_exits_with_78_and_shows_the_mistake_in_its_line() {
    let output = check("wrong", &format!("{RIGHT}limit: {{}}\n"));
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("`limit`") && said.contains("wrong.yaml:3:1"), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_wrong_file_is_not_run_either() {
    let file = std::env::temp_dir().join(format!("gateway-run-{}.yaml", std::process::id()));
    fs::write(&file, "listen: []\nroutes: []\n").expect("the folder can be written to");
    let output = Command::new(env!("CARGO_BIN_EXE_gateway")).arg("--config").arg(&file).output();
    fs::remove_file(file).expect("the file is there");
    assert_eq!(output.expect("the binary runs").status.code(), Some(78));
}

#[test]
fn no_file_at_all_exits_with_2() {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway")).arg("check").output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
}

/// A file beside those that are checked.
fn beside(name: &str, text: &str) -> PathBuf {
    let file = std::env::temp_dir().join(format!("gateway-check-{}-{name}.pem", std::process::id()));
    fs::write(&file, text).expect("the folder can be written to");
    file
}

#[test]
fn certificates_are_looked_at_without_listening() {
    let made = || generate_simple_self_signed(["localhost".to_owned()]).expect("keys can be made");
    let (one, other) = (made(), made());
    let cert = beside("cert", &one.cert.pem());
    let key = beside("key", &one.signing_key.serialize_pem());
    let wrong = beside("wrong", &other.signing_key.serialize_pem());
    let checked = |name: &str, cert: &str, key: &PathBuf| {
        let tls = format!("{{ cert: \"{cert}\", key: \"{}\" }}", key.display());
        let output = check(name, &format!("listen:\n  - address: 127.0.0.1:0\n    tls: {tls}\nroutes: []\n"));
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let cert = cert.display().to_string();
    assert_eq!(checked("tls-right", &cert, &key).0, Some(0));
    let (code, said) = checked("tls-other-key", &cert, &wrong);
    assert!(code == Some(78) && said.contains("does not fit the certificate in"), "{said}");
    assert!(said.contains("tls-other-key.yaml:3:"), "{said}");
    let (code, said) = checked("tls-missing", "/nowhere/cert.pem", &key);
    assert!(code == Some(78) && said.contains("`/nowhere/cert.pem` cannot be read"), "{said}");
    for file in [PathBuf::from(cert), key, wrong] {
        fs::remove_file(file).expect("the file is there");
    }
}
