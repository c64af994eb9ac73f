//! The options of opening.

use crate::backend::file_system::Network;

/// The options of opening a sled database.
#[derive(Clone, Debug)]
pub struct SledOptions {
    pub(super) cache_capacity: u64,
    pub(super) sync: bool,
    pub(super) network: Network,
}

impl SledOptions {
    /// The default size of the cache: 64 MiB.
    pub const DEFAULT_CACHE_CAPACITY: u64 = 64 << 20;
    /// The least that a cache is cut to: 1 MiB.
    pub const MIN_CACHE_CAPACITY: u64 = 1 << 20;

    /// About how many bytes of pages sled keeps in memory. Defaults to 64 MiB; a value below
    /// [`MIN_CACHE_CAPACITY`](Self::MIN_CACHE_CAPACITY) is raised to it.
    #[must_use]
    pub fn cache_capacity(mut self, bytes: u64) -> Self {
        self.cache_capacity = bytes.max(Self::MIN_CACHE_CAPACITY);
        self
    }

    /// Opens a database on a network file system too: NFS, SMB, 9p, AFS, Ceph, Lustre. There the lock
    /// may not keep a process of another host out, and a sync may not be one: both lose commits.
    #[must_use]
    pub fn allow_network_file_system(mut self) -> Self {
        self.network = Network::Allowed;
        self
    }

    /// Leaves out the syncs that make a commit durable: for tests, which lose nothing when the
    /// power fails.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn sync_off_for_tests(mut self) -> Self {
        self.sync = false;
        self
    }
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_capacity: Self::DEFAULT_CACHE_CAPACITY, sync: true, network: Network::Refused }
    }
}
