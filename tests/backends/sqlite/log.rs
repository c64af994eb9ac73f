//! The write-ahead log beside a reader who is not the store.

use std::fs::metadata;

use rusqlite::{Connection, OpenFlags};
use tempfile::tempdir;

use crate::sqlite::support::{commit, create_owner, open, quick, shared};

const LIMIT: u64 = 8 << 20;

/// The log can't restart while another program reads. Afterwards it is cut.
#[test]
fn it_is_short_again_when_a_foreign_reader_has_gone() {
    for options in [quick(), shared()] {
        let directory = tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let sqlite = open(&path, options);
        commit(&sqlite, create_owner("first"));
        let length = || metadata(directory.path().join("keys.db-wal")).unwrap().len();
        // With the very SQLite that the store uses, whose locks they share.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let reader = Connection::open_with_flags(&path, flags).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM owners").unwrap();
        let mut created = 0;
        while length() <= LIMIT {
            created += 1;
            commit(&sqlite, create_owner(&format!("owner-{created}")));
        }
        reader.execute_batch("COMMIT").unwrap();
        // The first commit copies the log, the second restarts it.
        for last in ["last", "very last"] {
            commit(&sqlite, create_owner(last));
        }
        assert!(length() <= LIMIT, "{} bytes after {created} commits", length());
    }
}
