//! Which worker thread this is. State that every request touches is kept once per worker and found by this index.
//!
//! Not here: starting the workers (`server/`).

use std::{cell::Cell, time::Duration};

/// The most workers there can be; state per worker is laid out for so many at most.
pub const MOST: usize = 64;
/// How often a worker does what is to be done now and then.
pub const TICK: Duration = Duration::from_millis(100);

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(0) };
    static TICKS: Cell<u32> = const { Cell::new(0) };
}

/// The index of this thread, below [`MOST`]. Threads that are no workers share index 0: correct, only less quick.
#[must_use]
pub fn index() -> usize {
    INDEX.get()
}

/// Says that this thread is worker `index`.
pub fn name_this_thread(index: usize) {
    INDEX.set(index % MOST);
}

/// How often this worker has ticked: a clock that costs nothing to read, for what need not be exact.
#[must_use]
pub fn ticks() -> u32 {
    TICKS.get()
}

/// One [`TICK`] has passed.
pub fn tick() {
    TICKS.set(TICKS.get().wrapping_add(1));
}

/// The whole ticks that fit into `duration`, and one more: what waits for so many has waited for as long.
#[must_use]
pub fn ticks_of(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX - 1) + 1
}
