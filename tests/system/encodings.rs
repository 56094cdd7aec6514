//! Bodies in a content coding: nothing is ever decoded, so nothing small turns into something large (RFC 9110 section 8.4).

use crate::{
    harness::Gate,
    wire::{Scripted, field},
};

/// Would be right, were it what it says.
const GZIP: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\
                    content-length: 7\r\n\r\n{\"a\":1}";
const TWICE: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: identity\r\n\
                     content-encoding: br\r\ncontent-length: 7\r\n\r\n{\"a\":1}";
const IDENTITY: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: Identity\r\n\
                        content-length: 7\r\n\r\n{\"a\":1}";

fn gate(service: &Scripted) -> Gate {
    Gate::start(&format!(
        "upstreams:\n  it: {{ url: \"http://{}\" }}\nroutes:\n  \
         - {{ path: /forwarded, auth: none, forward: {{ to: it }} }}\n  \
         - {{ path: /required, auth: none, compose: {{ it: {{ get: it/it }} }} }}\n  \
         - {{ path: /optional, auth: none, compose: {{ it: {{ get: it/it, optional: true }} }} }}\n",
        service.address
    ))
}

#[tokio::test]
async fn a_part_in_a_content_coding_is_of_the_wrong_type() {
    for service in [Scripted::start(GZIP).await, Scripted::start(TWICE).await] {
        let gate = gate(&service);
        assert_eq!(gate.get("/required").send().await.expect(502).code(), "upstream_failed");
        let answer = gate.get("/optional").header("accept-encoding", "gzip").send().await.expect(200);
        assert!(
            answer.header("composition-status").starts_with("it;s=missing;reason=wrong-type;t="),
            "{answer:?}"
        );
        assert_eq!((answer.bytes().as_ref(), answer.header("content-encoding")), (b"{}".as_slice(), ""));
        assert!(service.heads().iter().all(|head| field(head, "accept-encoding").is_empty()));
    }
}

#[tokio::test]
async fn identity_is_no_coding() {
    let service = Scripted::start(IDENTITY).await;
    let answer = gate(&service).get("/required").send().await.expect(200);
    assert_eq!(answer.bytes(), "{\"it\":{\"a\":1}}");
}

#[tokio::test]
async fn what_is_forwarded_stays_as_encoded_as_it_is() {
    let service = Scripted::start(GZIP).await;
    let answer = gate(&service).get("/forwarded").header("accept-encoding", "gzip").send().await.expect(200);
    assert_eq!(
        (answer.header("content-encoding"), answer.bytes().as_ref()),
        ("gzip", b"{\"a\":1}".as_slice())
    );
    assert_eq!(field(&service.heads()[0], "accept-encoding"), "gzip");
}
