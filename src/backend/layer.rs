//! Backends around a backend: the only file that forwards each operation.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use super::{
    Backend, BackendError, BackupProgress, Change, CommitOutcome, EventPage, EventQuery, Finding,
    KeyFilter, KeyPage, KeyPageQuery, OwnerPage, OwnerPageQuery, Repaired, Scanned, Sharing,
    StorageHealth, UsageChange, UsageOutcome, UsageSubject,
};
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Usage,
};

/// An operation of a [`Backend`] that can fail, as [`BackendLayer::around`] sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendCall {
    /// The operation's name in errors, such as `list keys`.
    pub operation: &'static str,
    /// The group of the operation.
    pub kind: BackendCallKind,
}

/// Groups of operations that a layer may treat alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendCallKind {
    /// `close`.
    Close,
    /// `commit`.
    Commit,
    /// `prune_events`, and `repair`.
    Prune,
    /// An operation that changes nothing and doesn't wait.
    Read,
    /// `recover`.
    Recover,
    /// `record_usage`.
    Usage,
    /// `wait`.
    Wait,
    /// `check_files`, which the store calls each second.
    Watch,
}

/// Declares the layer's methods and forwards them, from one list of a backend's operations.
macro_rules! backend_layer {
    ($(
        $name:ident($($argument:ident: $type:ty),*) -> $answer:ty = $kind:ident, $operation:literal;
    )*) => {
        /// A backend around another one, which changes some operations and forwards the rest.
        ///
        /// Every layer is a [`Backend`]. Its methods have the names of the backend's operations;
        /// each defaults to the inner backend's. [`around`](Self::around) runs around every
        /// operation that can fail, whether the layer changes it or not.
        ///
        /// Import this trait only in the file that implements it. With both traits in scope, a call
        /// on the layer itself is ambiguous.
        ///
        /// ```
        /// use keyhasp::backend::{Backend, BackendCall, BackendError, BackendLayer, Memory};
        ///
        /// /// A backend that logs what fails.
        /// #[derive(Debug)]
        /// struct Logged<B>(B);
        ///
        /// impl<B: Backend> BackendLayer for Logged<B> {
        ///     fn inner(&self) -> &dyn Backend {
        ///         &self.0
        ///     }
        ///
        ///     fn around<T>(
        ///         &self,
        ///         call: BackendCall,
        ///         run: impl FnOnce() -> Result<T, BackendError>,
        ///     ) -> Result<T, BackendError> {
        ///         run().inspect_err(|error| eprintln!("{} failed: {error}", call.operation))
        ///     }
        /// }
        ///
        /// # use keyhasp::{Catalogue, Prefix, Store};
        /// # let builder = Store::builder(Catalogue::builder().build()?, [Prefix::new("acme")?]);
        /// let store = builder.open(Logged(Memory::new()))?;
        /// # let _: Store = store;
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub trait BackendLayer: Debug + Send + Sync + 'static {
            /// Returns the backend that gets the calls.
            fn inner(&self) -> &dyn Backend;

            /// Runs an operation. A layer may add work before and after it, change its error, or
            /// fail without running it.
            ///
            /// # Errors
            /// The operation's own, unless the layer changes it.
            fn around<T>(
                &self,
                call: BackendCall,
                run: impl FnOnce() -> Result<T, BackendError>,
            ) -> Result<T, BackendError> {
                let _ = call;
                run()
            }

            /// Answers [`Backend::name`].
            fn name(&self) -> &'static str {
                self.inner().name()
            }

            /// Answers [`Backend::sharing`].
            fn sharing(&self) -> Sharing {
                self.inner().sharing()
            }

            /// Answers [`Backend::is_read_only`].
            fn is_read_only(&self) -> bool {
                self.inner().is_read_only()
            }

            /// Answers [`Backend::storage`].
            fn storage(&self) -> StorageHealth {
                self.inner().storage()
            }

            /// Answers [`Backend::expected_keys`].
            fn expected_keys(&self) -> u64 {
                self.inner().expected_keys()
            }

            $(
                #[doc = concat!("Answers [`Backend::", stringify!($name), "`].")]
                ///
                /// # Errors
                /// Those of its namesake.
                fn $name(&self, $($argument: $type),*) -> Result<$answer, BackendError> {
                    self.inner().$name($($argument),*)
                }
            )*
        }

        impl<L: BackendLayer> Backend for L {
            fn name(&self) -> &'static str {
                BackendLayer::name(self)
            }

            fn sharing(&self) -> Sharing {
                BackendLayer::sharing(self)
            }

            fn is_read_only(&self) -> bool {
                BackendLayer::is_read_only(self)
            }

            fn storage(&self) -> StorageHealth {
                BackendLayer::storage(self)
            }

            fn expected_keys(&self) -> u64 {
                BackendLayer::expected_keys(self)
            }

            $(
                fn $name(&self, $($argument: $type),*) -> Result<$answer, BackendError> {
                    let kind = BackendCallKind::$kind;
                    let call = BackendCall { operation: $operation, kind };
                    self.around(call, || BackendLayer::$name(self, $($argument),*))
                }
            )*
        }
    };
}

backend_layer! {
    metadata() -> Option<StoreMetadata> = Read, "read metadata";
    scan(visit: &mut dyn FnMut(Scanned)) -> u64 = Read, "scan";
    scan_owner(owner: &OwnerId, visit: &mut dyn FnMut(Scanned)) -> () = Read, "scan owner";
    owner(id: &OwnerId) -> Option<OwnerRecord> = Read, "read owner";
    key(id: KeyId) -> Option<KeyRecord> = Read, "read key";
    key_by_numeric_id(id: NumericId) -> Option<KeyRecord> = Read, "read key";
    request(id: &RequestId) -> Option<RequestRecord> = Read, "read request";
    quarantine(id: KeyId) -> Option<Quarantine> = Read, "read key";
    commit(batch: &[Change]) -> CommitOutcome = Commit, "commit";
    page_keys(query: &KeyPageQuery) -> KeyPage = Read, "list keys";
    count_keys(filter: &KeyFilter) -> u64 = Read, "count keys";
    page_owners(query: &OwnerPageQuery) -> OwnerPage = Read, "list owners";
    events(query: &EventQuery) -> EventPage = Read, "read events";
    last_event() -> u64 = Read, "read events";
    prune_events(before: Timestamp, limit: usize) -> u64 = Prune, "prune events";
    wait(after: u64, timeout: Duration) -> u64 = Wait, "wait";
    record_usage(batch: &[UsageChange]) -> UsageOutcome = Usage, "take in usage";
    usage(of: &[UsageSubject]) -> Vec<Usage> = Read, "read usage";
    backup(to: &Path, progress: &mut dyn FnMut(BackupProgress)) -> () = Read, "back up";
    check() -> Vec<Finding> = Read, "check";
    repair(now: Timestamp) -> Repaired = Prune, "repair";
    check_files() -> () = Watch, "check files";
    recover() -> () = Recover, "recover";
    close() -> () = Close, "close";
}
