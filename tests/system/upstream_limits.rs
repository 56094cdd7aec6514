//! No more calls are under way than may be, and who finds no room is told so at once.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::{
    harness::Gate,
    replicas::{Replica, yaml},
};

#[tokio::test]
async fn five_are_served_and_the_others_hear_at_once_that_there_is_no_room() {
    let slow = Duration::from_millis(500);
    let replica = Replica::start(slow).await;
    let upstream = format!("url: \"http://{}\", in_flight: {{ limit: 5, max_wait: 20ms }}", replica.address);
    let gate = Gate::start(&yaml(&upstream));
    let timed = || async {
        let begun = Instant::now();
        (gate.get("/it").send().await, begun.elapsed())
    };
    let answers = join_all((0..50).map(|_| timed())).await;
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(answer, _)| answer.status == 200);
    let longest = refused.iter().map(|(_, took)| *took).max().unwrap();
    eprintln!(
        "limit of 5, 50 at once: {} served, {} refused within {longest:?}",
        served.len(),
        refused.len()
    );
    assert_eq!((served.len(), replica.seen()), (5, 5));
    assert!(longest < slow / 2, "{longest:?}");
    for (answer, _) in refused {
        assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"));
        assert!(!answer.header("retry-after").is_empty());
    }
    let again = join_all((0..5).map(|_| timed())).await;
    assert!(again.iter().all(|(answer, _)| answer.status == 200));
}
