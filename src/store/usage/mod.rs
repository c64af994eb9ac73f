//! Usage of keys: noted by each verification, and written in batches by a background thread.
//!
//! A verification notes its answer in a log of its own thread. Where uses aren't counted, it first
//! asks the dedup filter. A key in steady use is then noted once in each interval of the
//! resolution, and its other uses write nothing, neither to a disk nor to memory. A thread of the
//! store adds the logs to sums, and writes these to the backend.
//!
//! | room | contents |
//! | --- | --- |
//! | `collector` | from a verification's answer to the sums |
//! | `dedup` | the dedup filter: the keys that were noted in the present interval |
//! | `thread_logs` | a log for each thread, and the queue of full logs |
//! | `pending` | the sums that aren't written yet |
//! | `writer` | writing the sums to the backend: at intervals, in batches, and at the end |
//! | `sweep` | deleting addresses that were kept long enough |
//! | `read` | the usage in an answer, pending sums included |
//!
//! `verify` holds only the collector. The writer acquires the engine's commit guard, as a commit does.

mod collector;
mod dedup;
mod pending;
mod read;
mod sweep;
mod thread_logs;
mod writer;

pub(super) use collector::Collector;
pub(super) use writer::UsageRecorder;
