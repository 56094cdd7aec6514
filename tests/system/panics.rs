//! A bug in a handler: it fails its own request and nothing else.
//!
//! Not here: panics outside of requests (`gateway/src/server/tests.rs`).

use std::sync::Arc;

use gateway::{
    body::Request,
    handler::{Admitted, Answer, Handler, Handlers},
};

use crate::{
    client::connect,
    harness::{Gate, after_listen},
};

struct Buggy;

impl Handler for Buggy {
    fn answer<'a>(&'a self, _request: &'a mut Request, _admitted: &'a Admitted) -> Answer<'a> {
        Box::pin(async { panic!("a secret that no client may read") })
    }
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_nothing_and_the_connection_goes_on() {
    let yaml = after_listen("routes:\n  - { path: /buggy, methods: [GET], auth: none, handle: buggy }\n");
    let gate = Gate::with(&yaml, Handlers::default().with("buggy", |_services| Ok(Arc::new(Buggy))));
    let mut connection = connect(gate.address()).await;
    for _ in 0..3 {
        let request = http::Request::get("/buggy").header("host", "a").body(axum::body::Body::empty());
        let response = connection.send_request(request.unwrap()).await.expect("the connection is still open");
        let answer = crate::client::whole(response).await;
        assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
        assert!(!String::from_utf8_lossy(answer.bytes()).contains("secret"));
    }
}
