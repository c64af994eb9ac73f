//! What is used of keys: noted beside the path that every request takes, written in batches.
//!
//! A verification notes what became of it in a log of its own thread. Where uses aren't counted,
//! a table of recent uses is asked first, so that a key in steady use is noted once in the
//! resolution and otherwise nothing is written, neither to a disk nor to memory. A thread of the
//! store gathers the logs and hands sums to the backend.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `settings` | [`UsageSettings`]: what a service wants |
//! | `recent` | which keys were noted lately |
//! | `logs` | a log for each thread, and the queue of full ones |
//! | `waiting` | sums that are not written yet |
//! | `collector` | from a verification's answer to the sums |
//! | `writer` | from the sums to the backend: when, in what batches, and at the end |
//! | `sweep` | addresses that were kept long enough, of keys that are used no more |
//! | `answer` | [`KeyUsage`]: what is answered, what isn't written yet included |

mod collector;
mod dedup;
mod read;
mod thread_logs;

mod address_expiry;
mod pending;
mod writer;

pub(super) use collector::Collector;
