//! A database on a network file system, as `statfs` tells it.

#![cfg(target_os = "linux")]

use crate::backend::file_system::injected;
use crate::backend::sqlite::{Sqlite, SqliteOptions};
use crate::backend::{BackendError, BackendErrorKind};

const NFS: u32 = 0x6969;
const FUSE: u32 = 0x6573_5546;

#[test]
fn a_network_file_system_is_refused_unless_an_option_allows_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let exclusive = SqliteOptions::exclusive();
    let shared = SqliteOptions::shared(SqliteOptions::MIN_STALENESS).unwrap();
    let refused = |opened: Result<Sqlite, BackendError>| {
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::NetworkFileSystem, "{error}");
        let text = error.to_string();
        for part in ["local disk", "NFS at /", "allow_network_file_system"] {
            assert!(text.contains(part), "{text}");
        }
    };
    injected::with(NFS, || {
        for options in [exclusive, shared] {
            refused(Sqlite::create(&path, options));
            refused(Sqlite::open(&path, options));
            refused(Sqlite::open_or_create(&path, options).map(|(sqlite, _)| sqlite));
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        Sqlite::create(&path, exclusive.allow_network_file_system()).unwrap();
        refused(Sqlite::open_read_only(&path, SqliteOptions::MIN_STALENESS));
    });
    injected::with(FUSE, || Sqlite::open_or_create(&path, exclusive).unwrap());
}
