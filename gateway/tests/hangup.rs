//! SIGHUP asks for another look at the configuration. In a process of its own, because a signal reaches all tests in one.

use std::process::Command;

use gateway::config::watch::{Change, Watch};

#[tokio::test]
async fn a_hangup_asks_for_another_look_even_if_the_file_is_the_same() {
    let mut watch = Watch::new(env!("CARGO_MANIFEST_PATH").into());
    let sent = Command::new("kill").args(["-HUP", &std::process::id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()));
    assert_eq!(watch.changed().await, Change::Signal);
}
