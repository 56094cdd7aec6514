//! A future that is polled only when it has been woken. A connection is polled several times for each request, and what it
//! seldom waits for, such as the drain, would be asked each time.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// Such a future.
pub(super) struct Seldom<F> {
    future: F,
    woken: Arc<Woken>,
    /// Made of `woken`.
    waker: Waker,
}

/// Wakes the task, and says that it was for this.
struct Woken {
    due: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.due.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F: Future + Unpin> Seldom<F> {
    pub(super) fn new(future: F) -> Self {
        let woken = Arc::new(Woken { due: AtomicBool::new(true), task: AtomicWaker::new() });
        Seldom { future, waker: woken.clone().into(), woken }
    }
}

impl<F: Future + Unpin> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.woken.task.register(cx.waker()); // before looking, so that no wake falls between
        if !self.woken.due.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.woken.due.store(false, Ordering::Relaxed);
        let Seldom { future, waker, .. } = &mut *self;
        Pin::new(future).poll(&mut Context::from_waker(waker))
    }
}
