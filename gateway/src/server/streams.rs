//! The streams of an HTTP/2 connection, each a task: one whose client takes too little of its answer ends, whatever it does with
//! the others. What the answer held is free then: its connection to a service, its places among the requests in flight.
//!
//! hyper asks a body for more only once the client has taken what it was given, so that no timer within the body would be
//! looked at. Not here: a connection of which nothing at all is taken (`connection.rs`), and HTTP/1.1, which has one answer at a
//! time (`watched.rs`).

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use crate::{
    downstream::Activity,
    worker::{self, TICK},
};

/// Runs the streams of one connection.
#[derive(Clone)]
pub(super) struct Streams {
    activity: Arc<Activity>,
    /// For how many ticks an answer may wait for its client, which takes this many bytes of it by then.
    longest: u32,
    least: u32,
}

pin_project! {
    /// One stream.
    struct Stream<F> {
        #[pin]
        stream: Option<F>,
        streams: Streams,
        // The tick since which its answer has waited for its client, if it does.
        since: Option<u32>,
        // What was taken of it since then, and what it was given last.
        taken: u32,
        given: u32,
        // Set up only when an answer waits: most fit into the window.
        alarm: Option<Pin<Box<Sleep>>>,
    }
}

impl Streams {
    pub(super) fn new(activity: Arc<Activity>, longest: Duration, least: usize) -> Self {
        let least = u32::try_from(least).unwrap_or(u32::MAX);
        Streams { activity, longest: worker::ticks_of(longest), least }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::spawn(Stream::new(stream, self.clone()));
    }
}

impl<F> Stream<F> {
    fn new(stream: F, streams: Streams) -> Self {
        Stream { stream: Some(stream), streams, since: None, taken: 0, given: 0, alarm: None }
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Streams { activity, longest, least } = this.streams;
        let Some(stream) = this.stream.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        let before = activity.gave();
        if stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match activity.gave().since(before, this.since.is_some()) {
            (true, 0) => {}
            (true, given) => {
                // It is asked for more once the client has taken what it was given before.
                *this.taken = this.taken.saturating_add(std::mem::replace(this.given, given));
                if this.since.is_none() || *this.taken >= *least {
                    (*this.since, *this.taken) = (Some(worker::ticks()), 0);
                }
            }
            (false, _) => (*this.since, *this.taken, *this.given) = (None, 0, 0),
        }
        while let Some(since) = *this.since {
            let left = longest.saturating_sub(worker::ticks().wrapping_sub(since));
            if left == 0 {
                activity.ending(|| this.stream.set(None)); // hyper resets it: CANCEL
                return Poll::Ready(());
            }
            let alarm = this.alarm.get_or_insert_with(|| Box::pin(sleep(TICK * left)));
            ready!(alarm.as_mut().poll(cx));
            *this.alarm = None; // it was set for what has been taken meanwhile
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its client something every so often, and is asked for more at once `taken` times.
    async fn answer(activity: Arc<Activity>, every: Duration, taken: u32) {
        for _ in 0..taken {
            activity.given(100);
            sleep(every).await;
            activity.wanted();
        }
        activity.given(100);
        std::future::pending::<()>().await;
    }

    /// How long an answer lives of which something is taken every two seconds, five times, if `least` is to be in three.
    async fn lives(least: usize) -> Duration {
        let activity = Arc::<Activity>::default();
        let mut ticking = tokio::time::interval(TICK);
        let streams = Streams::new(activity.clone(), Duration::from_secs(3), least);
        let stream = answer(activity.clone(), Duration::from_secs(2), 5);
        let stream = Stream::new(stream, streams);
        let begun = tokio::time::Instant::now();
        let ticks = async {
            loop {
                ticking.tick().await;
                worker::tick();
            }
        };
        tokio::select! {
            () = stream => {}
            () = ticks => {}
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_once_too_little_of_it_is_taken_and_not_before() {
        for (least, seconds) in [(0, 13), (100, 13), (101, 3)] {
            let (took, expected) = (lives(least).await, Duration::from_secs(seconds));
            assert!((expected..expected + 4 * TICK).contains(&took), "{least}: {took:?}");
        }
    }
}
