//! Clocks that a store finds wrong.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use crate::clock::Timestamp;

/// A clock whose wall time has run ahead: more than a minute further, since the store was opened,
/// than the clock that runs on in sleep. The store removes nothing by itself meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClockAhead {
    /// The time by which it is ahead.
    pub by: Duration,
}

/// A clock whose wall time lies more than a minute behind an event of the log. Keys and tokens that
/// have expired are accepted by such a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClockBehindLog {
    /// The time that the clock shows.
    pub now: Timestamp,
    /// The time of the event.
    pub newest_event: Timestamp,
}

impl Display for ClockBehindLog {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { now, newest_event } = self;
        write!(
            f,
            "the clock shows {now}, and the newest event is from {newest_event}; set the clock, or \
             open the store without `refuse_clock_behind_log`"
        )
    }
}
