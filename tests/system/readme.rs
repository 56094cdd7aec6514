//! What the README tells new users to do, done: the endpoint that they add to a running gateway.
//!
//! Not here: every key that is documented (`gateway/src/config/documented.rs`).

use crate::harness::{Ftgo, JOHN, MARY, until_answer, web_yaml};

const README: &str = include_str!("../../README.md");

/// The first block of this kind in the section so called.
fn block(section: &str, kind: &str) -> &'static str {
    let section = README.split("\n## ").find(|found| found.starts_with(section)).unwrap();
    section.split(&format!("```{kind}\n")).nth(1).and_then(|rest| rest.split("```").next()).unwrap()
}

#[tokio::test]
async fn a_new_endpoint_is_a_dozen_lines_and_no_restart() {
    let ftgo = Ftgo::start().await;
    let (yaml, command) = (block("A new endpoint", "yaml"), block("A new endpoint", "sh"));
    assert!(yaml.lines().count() < 15, "{yaml}");
    let target = command.split("http://127.0.0.1:8087").nth(1).unwrap().split(' ').next().unwrap();
    let token = ftgo.consumer(JOHN);
    ftgo.get(target).token(&token).send().await.expect(404);
    let shipped = web_yaml(&ftgo.stubs);
    ftgo.gate.rewrite(&shipped.replacen("\nroutes:\n", &format!("\nroutes:\n{yaml}"), 1));
    let asked = || ftgo.get(target).token(&token);
    while asked().begin().await.status() == 404 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let told = until_answer(asked, |_| true).await;
    assert_eq!((&told["state"], &told["paid"]), (&"APPROVED".into(), &"AUTHORIZED".into()));
    let latest = told["latest"].as_array().unwrap();
    assert_eq!(latest.len(), 3);
    for order in latest {
        assert_eq!(order["restaurant"]["name"], order["restaurantName"], "{order}");
    }
    let parts = asked().send().await.header("composition-status").to_owned();
    assert!(parts.contains("order;s=ok") && parts.contains("restaurants;s=ok"), "{parts}");
    ftgo.get(target).token(&ftgo.consumer(MARY)).send().await.expect(404);
    ftgo.get(target).send().await.expect(401);
}
