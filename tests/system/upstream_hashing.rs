//! Calls that are kept together by a parameter of the path meet the same replica, whichever route they come by.

use std::time::Duration;

use crate::{
    harness::Gate,
    replicas::{Replica, endpoints, replicas},
};

fn gate(all: &[Replica]) -> Gate {
    Gate::start(&format!(
        "upstreams:\n  it: {{ {}, balance: {{ hash: {{ path: orderId }} }} }}\nroutes:\n  \
         - {{ path: \"/orders/{{orderId}}\", auth: none, forward: {{ to: it }} }}\n  \
         - {{ path: /orders, auth: none, forward: {{ to: it }} }}\n  \
         - path: /customers/{{id}}/orders/{{orderId}}\n    auth: none\n    compose:\n      \
         order: {{ get: \"it/orders/{{orderId}}\" }}\n",
        endpoints(all)
    ))
}

/// Which of them is asked.
async fn asked(gate: &Gate, all: &[Replica], path: &str) -> usize {
    let before: Vec<_> = all.iter().map(Replica::seen).collect();
    gate.get(path).send().await.expect(200);
    let seen = all.iter().zip(before).position(|(replica, before)| replica.seen() > before);
    seen.expect("one of them is asked")
}

#[tokio::test]
async fn one_order_meets_one_replica_by_every_route_and_spelling() {
    let all: [Replica; 3] = replicas(Duration::ZERO).await;
    let gate = gate(&all);
    let mut used = [0; 3];
    for order in 0..30 {
        let of_route = asked(&gate, &all, &format!("/orders/o{order}?page={order}")).await;
        used[of_route] += 1;
        assert_eq!(asked(&gate, &all, &format!("/orders/%6f{order}")).await, of_route, "{order}");
        let no_text = asked(&gate, &all, &format!("/orders/%ff{order}")).await;
        assert_eq!(asked(&gate, &all, &format!("/orders/%FF{order}")).await, no_text, "{order}");
        assert_eq!(
            asked(&gate, &all, &format!("/customers/{order}/orders/o{order}")).await,
            of_route,
            "{order}"
        );
    }
    eprintln!("30 orders by three routes: {used:?}");
    assert!(used.iter().all(|count| *count > 0), "{used:?}");
}

#[tokio::test]
async fn a_route_without_the_parameter_is_shared_by_all() {
    let all: [Replica; 3] = replicas(Duration::ZERO).await;
    let gate = gate(&all);
    for _ in 0..60 {
        asked(&gate, &all, "/orders").await;
    }
    assert!(all.iter().all(|replica| replica.seen() > 0));
}
