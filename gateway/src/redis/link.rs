//! One worker's connection to Redis: there, or gone and tried again after a pause that grows.
//!
//! Plain state, on a clock that is passed in. Not here: connecting and asking (`mod.rs`).

use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;

/// Answers in a row that may be late before Redis counts as gone. More than one, since a worker may have been held up
/// itself.
const MOST_LATE: u32 = 3;
/// The pause before the first try after a loss, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The connection of one worker.
pub(super) struct Link<C = MultiplexedConnection> {
    connection: Option<C>,
    /// Counts connections, so that who waited on an earlier one says nothing about this one.
    number: u64,
    late: u32,
    trying: bool,
    /// Whether it has been said that it is gone.
    pub(super) down: bool,
    next_try: Option<Instant>,
    pause: Duration,
}

impl<C: Clone> Link<C> {
    pub(super) fn new() -> Self {
        let pause = PAUSES.0;
        Link { connection: None, number: 0, late: 0, trying: false, down: false, next_try: None, pause }
    }

    /// The connection and its number, if there is one.
    pub(super) fn connection(&self) -> Option<(C, u64)> {
        self.connection.clone().map(|connection| (connection, self.number))
    }

    /// Whether to connect now: then somebody is to say what came of it.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let due = self.connection.is_none() && !self.trying && self.next_try.is_none_or(|next| now >= next);
        self.trying |= due;
        due
    }

    /// It was connected and answered.
    pub(super) fn connected(&mut self, connection: C) {
        self.connection = Some(connection);
        self.trying = false;
        self.late = 0;
    }

    /// It answered as it should. The pause begins anew only here: a Redis that lets one connect and does no more is not
    /// tried all the time.
    pub(super) fn answered(&mut self) {
        self.late = 0;
        self.pause = PAUSES.0;
    }

    /// An answer on that connection was late; whether that is one too many.
    pub(super) fn was_late(&mut self, number: u64) -> bool {
        self.late += u32::from(number == self.number);
        self.late >= MOST_LATE
    }

    /// That connection, or the try to make one, came to nothing. False when it was known.
    pub(super) fn lost(&mut self, number: u64, now: Instant) -> bool {
        if number != self.number {
            return false;
        }
        self.connection = None;
        self.number += 1;
        (self.late, self.trying) = (0, false);
        self.next_try = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSES.1);
        true
    }

    /// The number of the connection that is there or being made.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> Link<()> {
        let mut link = Link::new();
        assert!(link.begin(Instant::now()));
        link.connected(());
        link
    }

    #[test]
    fn three_late_answers_in_a_row_are_one_too_many_and_those_of_another_connection_do_not_count() {
        let mut link = connected();
        assert!(!link.was_late(0) && !link.was_late(0) && !link.was_late(7));
        link.answered();
        assert!(!link.was_late(0) && !link.was_late(0));
        assert!(link.was_late(0));
        assert!(link.lost(0, Instant::now()) && !link.lost(0, Instant::now()));
        assert!(link.connection().is_none());
    }

    #[test]
    fn tries_come_after_pauses_that_grow_to_a_second_and_one_at_a_time() {
        let (mut link, mut now) = (connected(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..7 {
            assert!(link.lost(link.number(), now));
            let begun = now;
            while !link.begin(now) {
                now += Duration::from_millis(10);
            }
            assert!(!link.begin(now), "one try at a time");
            pauses.push((now - begun).as_millis());
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000]);
        link.connected(());
        link.answered();
        link.lost(link.number(), now);
        assert!(link.begin(now + Duration::from_millis(50)), "the pause begins anew");
    }
}
