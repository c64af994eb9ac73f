//! The engine: makes a change durable, and then visible to `verify`.
//!
//! | room | contents |
//! | --- | --- |
//! | `records` | the backend that holds the records, the index that shows them, the metadata |
//! | `engine` | committing a batch, publishing it, pruning events |
//! | `group_commit` | joining the changes of concurrent callers in one durable commit |
//! | `affected` | ids of the records that a change or an event is about |
//! | `reloading` | loading records from the backend: all of them, or those that changed |
//! | `index_sync` | putting owners and keys into the index |
//! | `details`, `details_loading` | the details of keys in memory, if the service wants them; reading them |
//! | `loading` | records on their way from a scan into the index |
//! | `pipeline` | loading on one thread, indexing on another |
//! | `refresh` | reading what other processes committed; `builder` starts the thread that polls |
//! | `readings` | how far the keys of large owners that changed were read |
//! | `settling` | putting the keys of large owners again, and the thread that does |
//! | `recovery` | finding out what became of a commit of unknown outcome |
//! | `pruning` | the retention of events and keys: when something is due |
//! | `key_purging` | the purging of keys that ended long ago |
//! | `graces` | graces of previous tokens that were reckoned ahead |
//! | `clock_watch` | whether wall time runs ahead, or lies behind the log |
//! | `watching` | whether the database is as this process left it; the thread that looks
//! | `availability` | whether the store can answer now |
//! | `prefixes` | the accepted prefixes, read without a lock |
//! | `damages` | damaged records, which are in no index |
//! | `worker`, `outcomes` | background threads that end with the store; the last results of their work |
//! | `noting` | how writes end |
//! | `shown` | the records as pending sweeps say that they are |
//! | `sweeps` | the pieces that write a sweep into the keys' records |
//! | `health` | the health of a store, and the thread that tells of changes |
//!
//! A change enters through `Engine::commit`, and waits in `group_commit` until its batch is
//! durable. It is published in the index before any caller of the batch gets its answer. If the
//! outcome is unknown, the records of the batch are indeterminate until `recovery` has loaded them
//! again.

mod affected;
mod availability;
mod clock_watch;
mod damages;
mod details;
mod details_loading;
// The engine's own file is named for what it holds, as each file is.
#[allow(clippy::module_inception)]
mod engine;
mod graces;
mod group_commit;
mod health;
mod index_sync;
mod key_purging;
mod loading;
mod noting;
mod outcomes;
mod pipeline;
mod prefixes;
mod pruning;
mod readings;
mod records;
mod recovery;
mod refresh;
mod reloading;
mod settling;
mod shown;
mod sweeps;
mod watching;
mod worker;

pub(super) use affected::AffectedRecords;
pub(super) use engine::Engine;
pub(super) use graces::is_ahead;
pub(super) use health::{HealthHook, HealthWatch};
pub(super) use pruning::Retention;
pub(super) use records::{KeyObserver, MetadataState, Records, RecordsParts, stored_metadata};
pub(super) use recovery::{FIRST_PAUSE, next_attempt};
pub(super) use settling::start_settling;
pub(super) use sweeps::start_sweeps;
pub(super) use watching::start_watch;
pub(super) use worker::{Next, Signal, Threads, Worked, Workers};
