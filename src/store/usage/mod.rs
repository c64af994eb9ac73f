//! What is used of keys: noted beside the path that every request takes, written in batches.
//!
//! A verification notes what became of it in a log of its own thread. Where uses aren't counted,
//! a table of recent uses is asked first, so that a key in steady use is noted once in the
//! resolution and otherwise nothing is written, neither to a disk nor to memory. A thread of the
//! store gathers the logs and hands sums to the backend.
//!
//! | room | what stands there |
//! | --- | --- |
//! | `collector` | from a verification's answer to the sums |
//! | `dedup` | the keys that were noted lately |
//! | `thread_logs` | a log for each thread, and the queue of full ones |
//! | `pending` | sums that are not written yet |
//! | `writer` | from the sums to the backend: when, in what batches, and at the end |
//! | `address_expiry` | removing addresses that were kept long enough |
//! | `read` | usage as it is answered, pending sums included |
//!
//! `verify` holds the collector alone; the engine's commits and the writer take turns.

mod address_expiry;
mod collector;
mod dedup;
mod pending;
mod read;
mod thread_logs;
mod writer;

pub(super) use collector::Collector;
pub(super) use writer::UsageRecorder;
