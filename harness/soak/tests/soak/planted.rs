//! Defects that a soak must find: the test of the test.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::foreign::Reader;
use crate::{ALONE, SAMPLES, Soak};

/// Memory and descriptors that nobody gives back, events that nobody prunes, and, at last, a
/// reader that holds its place.
#[derive(Default)]
pub(crate) struct Planted {
    memory: Vec<Vec<u8>>,
    descriptors: Vec<File>,
    reader: Option<Reader>,
}

impl Planted {
    pub(crate) fn sampled(&mut self, path: &Path) {
        self.memory.push(vec![1; 4 << 20]);
        self.descriptors.push(File::open("/proc/self/exe").unwrap());
        if self.memory.len() == SAMPLES - 1 {
            self.reader = Some(Reader::begin(path));
        }
    }
}

/// Says that a process is to make the soak with defects.
const MAKE: &str = "KEYHASP_SOAK_PLANTED";

/// In a process of its own, whose memory is nobody else's.
#[test]
fn planted_defects_are_found() {
    if std::env::var_os(MAKE).is_some() {
        let (lasts, held) = (Duration::ZERO, Duration::from_millis(50));
        let planted = Some(Planted::default());
        let complaints = Soak { lasts, warm: Duration::ZERO, held, planted }.run();
        complaints.iter().for_each(|complaint| println!("found: {complaint}"));
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "planted::planted_defects_are_found", "--nocapture"])
        .env(MAKE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<_> = said.lines().filter(|line| line.starts_with("found: ")).collect();
    println!("{}", found.join("\n"));
    for defect in ["memory grows", "descriptors, ", "bytes of log", "no event was pruned"] {
        assert!(found.iter().any(|line| line.contains(defect)), "not found: {defect}\n{said}");
    }
}
