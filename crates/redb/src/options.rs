//! The options of an opening.

/// The options of an opening. The default reads the whole file at each open, to check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedbOptions {
    pub(crate) checks_at_open: bool,
    pub(crate) cache_bytes: Option<usize>,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self { checks_at_open: true, cache_bytes: None }
    }
}

impl RedbOptions {
    /// Opens a file that was closed without a check of its pages, which takes no time. redb may then
    /// panic where another program has changed the file. After a crash it is checked all the same.
    #[must_use]
    pub fn without_check_at_open(self) -> Self {
        Self { checks_at_open: false, ..self }
    }

    /// Sets the greatest size of redb's cache, in bytes. Defaults to redb's own, 1 GiB.
    #[must_use]
    pub fn with_cache(self, bytes: usize) -> Self {
        Self { cache_bytes: Some(bytes), ..self }
    }
}
