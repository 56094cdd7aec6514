//! Several replicas, one of which is bad: the others carry the load, and clients do not notice.

use std::time::{Duration, Instant};

use crate::{
    harness::{Gate, TempFile, until},
    replicas::{Load, Replica, Sample, Then, endpoints, failed, quantile, replicas, yaml},
};

const MS: Duration = Duration::from_millis(1);

fn after(samples: &[Sample], from: Duration) -> Vec<Sample> {
    samples.iter().filter(|sample| sample.at - sample.took.min(sample.at) >= from).copied().collect()
}

#[tokio::test]
async fn one_of_three_that_fails_quickly_gets_next_to_nothing() {
    let all: [Replica; 3] = replicas(5 * MS).await;
    all[0].does(Then::Answer(500), MS);
    let gate =
        Gate::start(&yaml(&format!("{}, retry: {{ statuses: [500, 502, 503, 504] }}", endpoints(&all))));
    let load = Load::new(gate.address(), 8);
    let first = load.lasting(Duration::from_secs(2)).await;
    let before = all.each_ref().map(Replica::seen);
    let second = load.lasting(Duration::from_secs(2)).await;
    let seen: Vec<_> = all.iter().zip(before).map(|(replica, before)| replica.seen() - before).collect();
    let total: usize = seen.iter().sum();
    eprintln!(
        "one of three fails: first 2 s {} of {} failed, it saw {before:?}; then {} of {} failed, it saw {seen:?} = {:.2} %",
        failed(&first),
        first.len(),
        failed(&second),
        second.len(),
        seen[0] as f64 * 100.0 / total as f64
    );
    assert!(seen[0] * 100 < 5 * total, "{seen:?}");
    let (failures, asked) = (failed(&first) + failed(&second), first.len() + second.len());
    assert!(failures * 500 <= asked, "{failures} of {asked}, with those before anything was known");
    assert!(failed(&second) * 1_000 <= second.len(), "{}", failed(&second));
}

/// Its heads are good, and quicker than those of the others. Nothing can make up for the answers that are cut.
#[tokio::test]
async fn one_of_three_whose_answers_break_off_gets_next_to_nothing() {
    for cut in [Then::CutByLength, Then::CutChunked, Then::ResetChunked] {
        let all: [Replica; 3] = replicas(5 * MS).await;
        let gate = Gate::start(&yaml(&endpoints(&all)));
        let load = Load::new(gate.address(), 4);
        assert_eq!(failed(&load.times(200).await), 0);
        all[0].does(cut, Duration::ZERO);
        let first = load.lasting(Duration::from_secs(1)).await;
        let before = all[0].seen();
        let second = load.lasting(Duration::from_secs(1)).await;
        let seen = all[0].seen() - before;
        let (cuts, asked) = (failed(&first), first.len());
        eprintln!("one of three, {cut:?}: {cuts} of {asked} cut, then it saw {seen} of {}", second.len());
        assert!(cuts <= 20, "{cut:?}: {cuts} of {asked}");
        assert!(seen * 100 < 5 * second.len(), "{cut:?}: {seen} of {}", second.len());
        assert!(failed(&second) * 1_000 <= second.len(), "{cut:?}: {}", failed(&second));
    }
}

/// It is out for half a second only, so that it comes back, and fails, again and again.
#[tokio::test]
async fn one_of_three_that_fails_whenever_it_is_let_in_is_hardly_noticed() {
    let all: [Replica; 3] = replicas(5 * MS).await;
    all[0].does(Then::Answer(500), MS);
    let rest = "retry: { statuses: [500, 502, 503, 504] }, circuit_breaker: { open_for: 500ms }, \
                ejection: { base_time: 500ms, max_time: 500ms }";
    let gate = Gate::start(&yaml(&format!("{}, {rest}", endpoints(&all))));
    let load = Load::new(gate.address(), 8);
    load.lasting(2_000 * MS).await;
    let before = all.each_ref().map(Replica::seen);
    let samples = load.lasting(3_000 * MS).await;
    let seen: Vec<_> = all.iter().zip(before).map(|(replica, before)| replica.seen() - before).collect();
    let total: usize = seen.iter().sum();
    let share = seen[0] as f64 * 100.0 / total as f64;
    eprintln!(
        "one of three fails and is let in twice a second: {} of {} failed, it saw {seen:?} = {share:.2} %",
        failed(&samples),
        samples.len()
    );
    assert!(share < 5.0, "{seen:?}");
    assert!(failed(&samples) * 1_000 <= samples.len(), "{}", failed(&samples));

    all[0].does(Then::Answer(200), 5 * MS);
    let (healed, before) = (Instant::now(), all[0].seen());
    let mut again = 0;
    while again < 50 && healed.elapsed() < 20_000 * MS {
        assert_eq!(failed(&load.times(300).await), 0);
        again = all[0].seen() - before;
    }
    eprintln!("one of three fails: healed, it got {again} calls within {:?}", healed.elapsed());
    assert!(again >= 50, "{again}");
}

#[tokio::test]
async fn one_of_three_that_hangs_and_is_never_taken_out_costs_no_more_than_one_attempt() {
    let all: [Replica; 3] = replicas(5 * MS).await;
    all[0].does(Then::Hang, MS);
    let rest = "attempt_timeout: 200ms, circuit_breaker: { min_calls: 10000 }, \
                ejection: { consecutive_failures: 0, least_calls: 0 }";
    let gate = Gate::start(&yaml(&format!("{}, {rest}", endpoints(&all))));
    let samples = Load::new(gate.address(), 8).lasting(3_000 * MS).await;
    let p99 = quantile(&samples, 990);
    eprintln!(
        "one of three hangs and stays in: {} asked, {} failed, p99 {p99:?}, it saw {}",
        samples.len(),
        failed(&samples),
        all[0].seen()
    );
    assert!(failed(&samples) * 1_000 <= samples.len(), "{}", failed(&samples));
    assert!(p99 < 300 * MS, "{p99:?}");
}

#[tokio::test]
async fn one_of_three_that_hangs_costs_no_more_than_one_attempt() {
    let all: [Replica; 3] = replicas(5 * MS).await;
    all[0].does(Then::Hang, MS);
    let gate = Gate::start(&yaml(&format!("{}, attempt_timeout: 200ms", endpoints(&all))));
    let samples = Load::new(gate.address(), 8).lasting(Duration::from_secs(3)).await;
    let (p99, most) = (quantile(&samples, 990), quantile(&samples, 1_000));
    let later = failed(&after(&samples, Duration::from_secs(1)));
    eprintln!(
        "one of three hangs: {} asked, {} failed ({later} after 1 s), p99 {p99:?}, longest {most:?}, it saw {}",
        samples.len(),
        failed(&samples),
        all[0].seen()
    );
    assert!(p99 < 300 * MS, "{p99:?}");
    assert!(most < 600 * MS, "{most:?}");
    assert!(later * 1_000 <= samples.len(), "{later}");
}

#[tokio::test]
async fn a_replica_leaves_and_another_joins_under_load_and_nobody_notices() {
    let all: [Replica; 4] = replicas(2 * MS).await;
    let file = TempFile::new("endpoints.yaml", &endpoints(&all[..3]));
    let gate = Gate::start(&yaml(&format!("file: {}", file.name())));
    let load = Load::new(gate.address(), 8);
    let with_three = load.lasting(Duration::from_millis(500)).await;
    assert!(all[..3].iter().all(|replica| replica.seen() > 0));

    let rewrite = |text: String| {
        let edited = format!("{}.edited", file.name());
        std::fs::write(&edited, text).unwrap();
        std::fs::rename(edited, file.name()).unwrap();
    };
    rewrite(endpoints(&all[1..3]));
    let leaving = load.lasting(Duration::from_millis(1_500)).await;
    let left_with = all[0].seen();
    let without = load.lasting(Duration::from_secs(1)).await;
    let late = all[0].seen() - left_with;
    rewrite(endpoints(&all[1..]));
    let joining = load.lasting(Duration::from_millis(2_000)).await;
    let failures: Vec<_> = [&with_three, &leaving, &without, &joining].map(|samples| failed(samples)).into();
    let asked = with_three.len() + leaving.len() + without.len() + joining.len();
    eprintln!(
        "leave and join: {asked} asked, failed {failures:?}; {late} at the one that left, {} at the one that joined",
        all[3].seen()
    );
    assert_eq!(failures, [0; 4]);
    assert_eq!(late, 0);
    assert!(all[3].seen() > 0);
    until("its connections are closed", || all[0].connections() == 0).await;
}

#[tokio::test]
async fn an_unhealthy_replica_gets_no_traffic_until_it_is_well_again() {
    let all: [Replica; 3] = replicas(2 * MS).await;
    let health =
        "health: { path: /health, interval: 250ms, timeout: 250ms, healthy_after: 2, unhealthy_after: 2 }";
    let gate = Gate::start(&yaml(&format!("{}, slow_start: 0s, {health}", endpoints(&all))));
    let load = Load::new(gate.address(), 4);
    let mut samples = load.lasting(Duration::from_millis(300)).await;
    assert!(all.iter().all(|replica| replica.seen() > 0));
    all[0].healthy(false);
    samples.extend(load.lasting(Duration::from_millis(800)).await);
    let left_with = all[0].seen();
    samples.extend(load.lasting(Duration::from_millis(800)).await);
    let late = all[0].seen() - left_with;
    all[0].healthy(true);
    samples.extend(load.lasting(Duration::from_millis(1_200)).await);
    let again = all[0].seen() - left_with;
    eprintln!(
        "health: {} asked, {} failed; {late} while unhealthy, {again} after",
        samples.len(),
        failed(&samples)
    );
    assert_eq!(failed(&samples), 0);
    assert_eq!(late, 0);
    assert!(again > 0);
}
