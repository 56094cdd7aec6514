//! The streams of an HTTP/2 connection, each a task: one whose client takes nothing of its answer ends, whatever it does with
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
    /// For how many ticks an answer may wait for its client.
    longest: u32,
}

pin_project! {
    /// One stream.
    struct Stream<F> {
        #[pin]
        stream: Option<F>,
        streams: Streams,
        // The tick since which its answer has waited for its client, if it does.
        since: Option<u32>,
        // Set up only when an answer waits: most fit into the window.
        alarm: Option<Pin<Box<Sleep>>>,
    }
}

impl Streams {
    pub(super) fn new(activity: Arc<Activity>, longest: Duration) -> Self {
        Streams { activity, longest: worker::ticks_of(longest) }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::spawn(Stream { stream: Some(stream), streams: self.clone(), since: None, alarm: None });
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Streams { activity, longest } = this.streams;
        let Some(stream) = this.stream.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        let before = activity.gave();
        if stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match activity.gave().since(before, this.since.is_some()) {
            (true, true) => *this.since = Some(worker::ticks()),
            (true, false) => {}
            (false, _) => *this.since = None,
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
            activity.given();
            sleep(every).await;
            activity.wanted();
        }
        activity.given();
        std::future::pending::<()>().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_once_nothing_of_it_is_taken_and_not_before() {
        let activity = Arc::<Activity>::default();
        let mut ticking = tokio::time::interval(TICK);
        let streams = Streams::new(activity.clone(), Duration::from_secs(3));
        let stream = answer(activity.clone(), Duration::from_secs(2), 5);
        let stream = Stream { stream: Some(stream), streams, since: None, alarm: None };
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
        let took = begun.elapsed();
        assert!((Duration::from_secs(13)..Duration::from_millis(13_400)).contains(&took), "{took:?}");
    }
}
