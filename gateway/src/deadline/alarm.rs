//! The timers behind deadlines. A worker keeps those that have been used, and they stay set: most requests are over long before
//! their deadline, and the next one's is later, so a timer is set once in a while and not for each request.
//!
//! Not here: what a deadline is (`mod.rs`).

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    task::Context,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// The most timers that a worker keeps. One that rings too early wakes somebody for nothing.
const MOST: usize = 256;

thread_local! {
    /// Whether this thread has one runtime as long as it lives: timers belong to theirs.
    static KEEPS: Cell<bool> = const { Cell::new(false) };
    static KEPT: RefCell<Vec<Pin<Box<Sleep>>>> = const { RefCell::new(Vec::new()) };
}

/// Says that this thread is a worker's: timers may be kept.
pub fn keep_on_this_thread() {
    KEEPS.set(true);
}

/// A timer to wait with, taken when it is needed first.
#[derive(Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether it is `until`; if not, the task is woken then, or before.
    #[expect(clippy::disallowed_methods, reason = "it is what deadlines are kept by")]
    pub(super) fn rings(&mut self, until: Instant, cx: &mut Context<'_>) -> bool {
        let kept = || KEPT.with_borrow_mut(Vec::pop);
        let timer = self.0.get_or_insert_with(|| kept().unwrap_or_else(|| Box::pin(sleep_until(until))));
        loop {
            if timer.deadline() > until {
                timer.as_mut().reset(until);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            if timer.deadline() == until {
                return true;
            }
            timer.as_mut().reset(until); // it was somebody else's
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let Some(timer) = self.0.take().filter(|_| KEEPS.get()) else { return };
        KEPT.with_borrow_mut(|kept| {
            if kept.len() < MOST {
                kept.push(timer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll, time::Duration};

    use super::*;

    async fn wait(until: Instant) -> Instant {
        let mut alarm = Alarm::default();
        poll_fn(|cx| if alarm.rings(until, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_in_time_whatever_it_was_set_to_before() {
        keep_on_this_thread();
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut unused = Alarm::default();
        poll_fn(|cx| Poll::Ready(unused.rings(begun + second, cx))).await;
        drop(unused); // it stays set
        assert_eq!(wait(begun + 3 * second).await, begun + 3 * second, "later than it was set to");
        let mut unused = Alarm::default();
        poll_fn(|cx| Poll::Ready(unused.rings(begun + 9 * second, cx))).await;
        drop(unused);
        assert_eq!(wait(begun + 5 * second).await, begun + 5 * second, "sooner");
        assert_eq!(wait(begun).await, begun + 5 * second, "over already");
        assert_eq!(KEPT.with_borrow(Vec::len), 1);
        KEPT.take(); // before the runtime ends
    }
}
