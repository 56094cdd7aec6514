//! When to ask again: once what was found has expired, and after a failure at growing intervals.
//!
//! Not here: how to ask (`dns.rs`).

use std::{future::Future, ops::RangeInclusive, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::{Target, Targets, found::Found, publish};

/// Asks for ever. `ask` is given the set in use; finding nothing at all changes nothing. `ttl` is the least and the most
/// that an answer is good for.
pub(super) async fn follow<Asking: Future<Output = Found<Target>>>(
    upstream: &str,
    ttl: RangeInclusive<Duration>,
    sender: &watch::Sender<Targets>,
    mut ask: impl FnMut(Targets) -> Asking,
) {
    let mut failures = 0;
    loop {
        let known = sender.borrow().clone();
        let found = ask(known).await;
        failures = tell(upstream, failures, found.failed.as_deref());
        if !found.all.is_empty() {
            publish(upstream, sender, found.all);
        }
        let good = found.ttl.clamp(*ttl.start(), *ttl.end());
        sleep(if failures == 0 { good } else { backoff(failures).min(good) }).await;
    }
}

/// How many times in a row asking has failed now. Only the first failure is told, and its end.
fn tell(upstream: &str, failures: u32, failed: Option<&str>) -> u32 {
    match failed {
        Some(why) if failures == 0 => {
            tracing::warn!(upstream, why, "endpoints could not be looked up, the last known stay in use");
        }
        None if failures > 0 => tracing::info!(upstream, failures, "endpoints can be looked up again"),
        _ => {}
    }
    failed.map_or(0, |_| failures.saturating_add(1))
}

/// 1 s, then twice as long each time, 4 s at most, since new endpoints are needed most when all is well again; up to a quarter less, so that instances that failed together do not
/// ask together.
fn backoff(failures: u32) -> Duration {
    const MOST: Duration = Duration::from_secs(4);
    let doubled = Duration::from_secs(1 << failures.saturating_sub(1).min(2)).min(MOST);
    doubled.mul_f64(1.0 - 0.25 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use std::{future::ready, sync::Arc};

    use parking_lot::Mutex;
    use tokio::time::{Instant, timeout};

    use super::*;

    const TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

    fn found(address: &str, ttl: u64) -> Found<Target> {
        let all = vec![Target::new(address.parse().unwrap(), "kitchen:80")];
        Found { all, ttl: Duration::from_secs(ttl), failed: None }
    }

    fn failed() -> Found<Target> {
        Found::nothing("no answer".to_owned())
    }

    /// Follows `answer` for a time on the paused clock. Gives back when it was asked, in seconds, and the set at the end.
    async fn followed(seconds: u64, answer: impl Fn(usize) -> Found<Target>) -> (Vec<f64>, Targets) {
        let (sender, receiver) = watch::channel(Targets::default());
        let (begun, asked) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let ask = |_| {
            let mut asked = asked.lock();
            asked.push(begun.elapsed().as_secs_f64());
            ready(answer(asked.len()))
        };
        let half_more = Duration::from_millis(seconds * 1000 + 500);
        let over = timeout(half_more, follow("kitchen", TTL, &sender, ask)).await;
        assert!(over.is_err(), "it asks for ever");
        let set = receiver.borrow().clone();
        (std::mem::take(&mut asked.lock()), set)
    }

    /// The clock goes by milliseconds.
    fn rounded(times: &[f64]) -> Vec<u64> {
        times.iter().map(|time| time.round() as u64).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_again_when_the_answer_expires() {
        let (asked, set) = followed(13, |round| found(&format!("10.0.0.{round}:80"), 5)).await;
        assert_eq!(rounded(&asked), [0, 5, 10]);
        assert_eq!(set[0].address.to_string(), "10.0.0.3:80");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ttl_of_nothing_counts_as_the_least_and_a_long_one_as_the_most() {
        let (asked, _) = followed(3, |_| found("10.0.0.1:80", 0)).await;
        assert_eq!(rounded(&asked), [0, 1, 2, 3]);
        let (asked, _) = followed(130, |_| found("10.0.0.1:80", 86_400)).await;
        assert_eq!(rounded(&asked), [0, 60, 120]);
    }

    #[tokio::test(start_paused = true)]
    async fn while_asking_fails_the_last_set_stays_and_the_pauses_grow_to_a_few_seconds() {
        let (asked, set) =
            followed(300, |round| if round == 1 { found("10.0.0.1:80", 1) } else { failed() }).await;
        assert_eq!(set.len(), 1);
        let pauses: Vec<f64> = asked.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect();
        for (pause, most) in pauses.iter().zip([1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]) {
            assert!((most * 0.74..=most + 0.01).contains(pause), "{pause} of {most}");
        }
        assert!(pauses.len() >= 10, "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_answered_beside_a_failure_is_asked_again_when_it_expires() {
        let in_part = |_| Found { failed: Some("AAAA: no answer".to_owned()), ..found("10.0.0.1:80", 3) };
        let (asked, set) = followed(60, in_part).await;
        assert_eq!(set.len(), 1);
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] < 3.01), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_the_next_answer_is_taken_and_the_pauses_begin_anew() {
        let odd_ones_fail = |round: usize| if round % 2 == 1 { failed() } else { found("10.0.0.1:80", 1) };
        let (asked, set) = followed(60, odd_ones_fail).await;
        assert_eq!(set.len(), 1);
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] < 1.01), "{asked:?}");
    }
}
