//! Tests that go on in a process of another user.

#![allow(clippy::unwrap_used)] // It is a part of tests.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use tempfile::tempdir;

/// The user without rights, on every system that has one.
pub(crate) const UNPRIVILEGED: u32 = 65_534;

/// Makes a file or a directory accessible so.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs a test of this program again, with a variable, and returns what it printed. Root may open
/// all files, so another user runs it then.
pub(crate) fn run_again(test: &str, variable: (&str, String)) -> String {
    let program = tempdir().unwrap();
    set_mode(program.path(), 0o755);
    let copy = program.path().join("test");
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.args(["--exact", test, "--nocapture"]).current_dir("/").env(variable.0, variable.1);
    if is_root() {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns whether permissions don't bind this process.
pub(crate) fn is_root() -> bool {
    let directory = tempdir().unwrap();
    set_mode(directory.path(), 0o555);
    fs::File::create(directory.path().join("x")).is_ok()
}
