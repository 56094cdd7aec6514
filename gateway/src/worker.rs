//! Which worker thread this is. State that every request touches is kept once per worker and found by this index.
//!
//! Not here: starting the workers (`server/`).

use std::cell::Cell;

/// The most workers there can be; state per worker is laid out for so many at most.
pub const MOST: usize = 64;

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(0) };
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
