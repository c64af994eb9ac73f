//! One test on each backend.

#![allow(clippy::unwrap_used)]

use keyhasp::store::StoreBuilder;

use crate::common::World;

/// Runs a test on a store of each backend.
pub(crate) fn on_each(test: impl Fn(&World)) {
    on_each_with(|builder| builder, test);
}

/// Runs a test on a store of each backend, opened with some settings.
pub(crate) fn on_each_with(
    configure: impl Fn(StoreBuilder) -> StoreBuilder,
    test: impl Fn(&World),
) {
    test(&World::with(&configure, keyhasp::backend::Memory::new()));
    #[cfg(feature = "sqlite")]
    {
        use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.db");
        test(&World::with(
            &configure,
            Sqlite::open_or_create(path, SqliteOptions::exclusive()).unwrap().0,
        ));
    }
    #[cfg(feature = "sled")]
    {
        use keyhasp::backend::sled::{Sled, SledOptions};
        let dir = tempfile::tempdir().unwrap();
        test(&World::with(
            &configure,
            Sled::open_or_create(dir.path(), SledOptions::default()).unwrap().0,
        ));
    }
}
