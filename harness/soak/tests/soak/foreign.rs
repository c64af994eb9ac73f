//! A reader of the database that isn't the store's.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rusqlite::{Connection, OpenFlags};

/// A process that holds a read transaction until it is ended. No checkpoint can shorten the log
/// meanwhile.
///
/// It is a process of its own, since closing a descriptor of a database drops all locks that the
/// process holds there.
pub(crate) struct Reader {
    process: Child,
    /// The output of the process.
    said: BufReader<ChildStdout>,
}

const PATH: &str = "KEYHASP_SOAK_READ";
const READING: &str = "it reads";

impl Reader {
    /// Starts the process, and returns when it holds its place.
    pub(crate) fn begin(path: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "foreign::other_process", "--nocapture"])
            .env(PATH, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains(READING) {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "the foreign reader failed");
        }
        Self { process, said }
    }

    /// Ends the process, and waits for it.
    pub(crate) fn end(mut self) {
        drop(self.process.stdin.take());
        let mut rest = String::new();
        let _ = self.said.read_to_string(&mut rest).unwrap();
        assert!(self.process.wait().unwrap().success(), "the foreign reader failed: {rest}");
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It has ended already, unless a check failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Does the work of the other process; nothing in this one.
#[test]
fn other_process() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(path, flags).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    let count = || connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0));
    connection.execute_batch("BEGIN").unwrap();
    let before: i64 = count().unwrap();
    println!("{READING}");
    let _ = std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    // The transaction saw no change throughout.
    assert_eq!(before, count().unwrap());
    connection.execute_batch("COMMIT").unwrap();
}
