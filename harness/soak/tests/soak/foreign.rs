//! A reader that isn't the store's.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

/// Holds a read transaction for a while, during which no commit can be taken out of the log, and
/// looks at something meanwhile.
///
/// It is a process of its own: one that closes a descriptor of a database lets go of all locks
/// that its process holds there.
pub(crate) fn foreign_reader(path: &Path, held: Duration, mut look: impl FnMut()) {
    let mut other = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "foreign::other_process", "--nocapture"])
        .env(PATH, path)
        .env(HELD, held.as_millis().to_string())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while other.try_wait().unwrap().is_none() {
        look();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(other.wait().unwrap().success(), "the foreign reader failed");
    look();
}

const PATH: &str = "KEYHASP_SOAK_READ";
const HELD: &str = "KEYHASP_SOAK_HELD";

/// What the other process does; nothing in this one.
#[test]
fn other_process() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let held: u64 = std::env::var(HELD).unwrap().parse().unwrap();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(path, flags).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    let count = || connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0));
    connection.execute_batch("BEGIN").unwrap();
    let before: i64 = count().unwrap();
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(held));
    // Its place was held throughout.
    assert_eq!(before, count().unwrap(), "after {:?}", began.elapsed());
    connection.execute_batch("COMMIT").unwrap();
}
