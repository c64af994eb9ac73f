//! From a change to a durable commit to a visible one.
//!
//! | room | what stands there |
//! | --- | --- |
//! | `state` | the engine: backend, index, metadata, and the commit of a batch |
//! | `group_commit` | joining the changes of concurrent callers in one durable commit |
//! | `affected` | the records that a change or an event is about |
//! | `index_sync` | loading records from the backend into the index |
//! | `pipeline` | loading on one thread, indexing on another |
//! | `refresh` | learning what other processes committed |
//! | `recovery` | finding out what became of a commit of unknown outcome |
//! | `pruning` | when old events are deleted |
//! | `availability` | whether the store can answer now |
//! | `prefixes` | the accepted prefixes, read without a lock |
//! | `worker` | background threads that end with the store |

pub(in crate::store) mod affected;
pub(in crate::store) mod availability;
pub(in crate::store) mod group_commit;
pub(in crate::store) mod index_sync;
pub(in crate::store) mod pipeline;
pub(in crate::store) mod prefixes;
pub(in crate::store) mod pruning;
pub(in crate::store) mod recovery;
pub(in crate::store) mod refresh;
pub(in crate::store) mod state;
pub(in crate::store) mod worker;
