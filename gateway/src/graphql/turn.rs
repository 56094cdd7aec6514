//! Waits until the executor has come round once.
//!
//! Not `yield_now` itself: that is over at its second poll, and a future that many wait for is polled by each of them
//! within one turn. This one is over only once it was woken.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Ready in the executor's next turn.
#[derive(Default)]
pub(super) struct Turn(Option<Arc<Bell>>);

struct Bell {
    rung: AtomicBool,
    waiting: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.waiting.wake_by_ref();
    }
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(bell) = &self.0 else {
            let bell = Arc::new(Bell { rung: AtomicBool::new(false), waiting: context.waker().clone() });
            // tokio rings it when all that is ready in this turn has been polled.
            let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&Waker::from(bell.clone())));
            self.0 = Some(bell);
            return Poll::Pending;
        };
        if bell.rung.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}
