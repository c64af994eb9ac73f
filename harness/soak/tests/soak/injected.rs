//! Injected bugs that a soak must catch.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::PoisonError;
use std::time::Duration;

use crate::foreign::Reader;
use crate::{ALONE, SAMPLES, Soak};

/// The bugs, and a part of the complaint that each must lead to.
const BUGS: [(&str, &str); 4] = [
    ("memory that is never freed", "memory grows"),
    ("descriptors that are never closed", "descriptors, "),
    ("a foreign reader that never ends", "bytes of log"),
    ("a store that prunes no event", "no event was pruned"),
];

/// The leaks; the store itself prunes nothing if there are any.
#[derive(Default)]
pub(crate) struct Leaks {
    memory: Vec<Vec<u8>>,
    descriptors: Vec<File>,
    reader: Option<Reader>,
}

impl Leaks {
    pub(crate) fn grow(&mut self, path: &Path) {
        self.memory.push(vec![1; 4 << 20]);
        self.descriptors.push(File::open("/proc/self/exe").unwrap());
        if self.memory.len() == SAMPLES - 1 {
            self.reader = Some(Reader::begin(path));
        }
    }
}

/// Makes a process soak with the bugs.
const MAKE: &str = "KEYHASP_SOAK_INJECTED";

/// Runs in a process of its own, so that no other test's memory is measured.
#[test]
fn injected_bugs_are_caught() {
    if std::env::var_os(MAKE).is_some() {
        let (lasts, held) = (Duration::ZERO, Duration::from_millis(50));
        let leaks = Some(Leaks::default());
        let complaints = Soak { lasts, warm: Duration::ZERO, held, leaks }.run();
        complaints.iter().for_each(|complaint| println!("found: {complaint}"));
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "injected::injected_bugs_are_caught", "--nocapture"])
        .env(MAKE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<_> = said.lines().filter(|line| line.starts_with("found: ")).collect();
    println!("{}", found.join("\n"));
    for (bug, complaint) in BUGS {
        assert!(found.iter().any(|line| line.contains(complaint)), "not caught: {bug}\n{said}");
    }
}
