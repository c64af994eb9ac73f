//! Takes the library's own sources, gives them the model checker's atomics, locks and small sizes,
//! and writes them out once as they are, and once for each defect that is planted.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// A text of a source, and what stands in its place.
type Change = (&'static str, &'static str, &'static str);

/// What makes a model of the sources. Every text must be found, or nothing is built: whoever
/// changes the library sees here what to follow.
const MODEL: &[Change] = &[
    ("cells", "use std::sync::atomic::{", "use crate::sync::atomic::{"),
    // As with slots.
    ("cells", "const WORDS: usize = 8;", "const WORDS: usize = 2;"),
    // A line that was freed is taken next.
    ("cells", "const REST: usize = 1 << 10;", "const REST: usize = 0;"),
    (
        "commit",
        "use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};",
        "use std::sync::PoisonError;\n use crate::sync::{Arc, Condvar, Mutex, MutexGuard};",
    ),
    ("commit", "use super::error::Error;", "use keyhasp::Error;"),
    ("commit", "use crate::backend::", "use keyhasp::backend::"),
    ("directory", "use std::sync::OnceLock;", "use crate::sync::OnceLock;"),
    ("directory", "use std::sync::atomic::{", "use crate::sync::atomic::{"),
    ("directory", "const MAX_DEPTH: u32 = 20;", "const MAX_DEPTH: u32 = 2;"),
    ("group", "use std::sync::atomic::{", "use crate::sync::atomic::{"),
    ("group", "type Unit = slot::Unit<64>;", "type Unit = slot::Unit<1>;"),
    ("group", "const MAX_UNITS: usize = 16;", "const MAX_UNITS: usize = 2;"),
    ("interned", "use std::sync::OnceLock;", "use crate::sync::OnceLock;"),
    ("interned", "use std::sync::atomic::{", "use crate::sync::atomic::{"),
    ("interned", "use crate::clock::", "use keyhasp::clock::"),
    ("interned", "use crate::id::", "use keyhasp::id::"),
    ("interned", "use crate::permission::", "use keyhasp::permission::"),
    ("pages", "use std::sync::OnceLock;", "use crate::sync::OnceLock;"),
    ("pages", "const PARTS: usize = 1 << 12;", "const PARTS: usize = 20;"),
    ("slot", "use std::sync::atomic::{", "use crate::sync::atomic::{"),
    ("slot", "pub(in crate::store)", "pub(super)"),
    // Two words show whether they belong together as well as seven do.
    ("slot", "; 7]", "; 2]"),
];

/// Defects, each of which a model must find.
const DEFECTS: &[(&str, &[Change])] = &[
    (
        "published_relaxed",
        &[(
            "slot",
            "let head = tag << TAG_AT | self.next_sequence() | reach;\n        self.line.head.store(head, Ordering::Release);",
            "let head = tag << TAG_AT | self.next_sequence() | reach;\n        self.line.head.store(head, Ordering::Relaxed);",
        )],
    ),
    ("filled_without_fence", &[("slot", "fence(Ordering::Release);", "")]),
    ("read_without_fence", &[("slot", "fence(Ordering::Acquire);", "")]),
    ("far_unchecked", &[("slot", "slot.is_still(head).then_some(far)", "Some(far)")]),
    (
        "retired_before_announced",
        &[(
            "table",
            "self.directory.announce(writer.groups[number as usize].depth, tag, [number; 2]);\n            old.into_iter().for_each(Slot::retire);",
            "old.into_iter().for_each(Slot::retire);\n            self.directory.announce(writer.groups[number as usize].depth, tag, [number; 2]);",
        )],
    ),
    (
        "never_announced",
        &[(
            "table",
            "self.directory.announce(writer.groups[number as usize].depth, tag, [number; 2]);",
            "",
        )],
    ),
    (
        "looked_once",
        &[("table", "if !self.lead.has_moved() {", "if !self.lead.has_moved() || true {")],
    ),
    (
        "depth_not_looked_at",
        &[(
            "directory",
            "\n            || self.directory.depth.load(Ordering::Acquire) != self.depth",
            "",
        )],
    ),
    (
        "emptied_before_moved",
        &[
            (
                "table",
                "// Readers still in the old group find it emptied, and look again.\n        old.iter().for_each(Slot::clear);",
                "",
            ),
            (
                "table",
                "self.directory.announce(old_depth, tag, targets);",
                "old.iter().for_each(Slot::clear);\n        self.directory.announce(old_depth, tag, targets);",
            ),
        ],
    ),
    ("line_filled_without_fence", &[("cells", "fence(Ordering::Release);", "")]),
    ("suspended_unflagged", &[("interned", "word.fetch_or(bit, Ordering::AcqRel);", "")]),
    ("one_is_woken", &[("commit", "self.0.moved.notify_all();", "self.0.moved.notify_one();")]),
    ("led_by_two", &[("commit", "state.is_led = true;", "")]),
    (
        "answers_swapped",
        &[("commit", "self.0.iter().zip(outcomes)", "self.0.iter().rev().zip(outcomes)")],
    ),
    (
        "error_told_to_one",
        &[(
            "commit",
            "Err(error) => Box::new(std::iter::repeat_with(move || Err(error.clone()))),",
            "Err(error) => Box::new(std::iter::once(Err(error))),",
        )],
    ),
];

const SOURCES: [(&str, &str); 8] = [
    ("cells", "src/store/index/cells.rs"),
    ("commit", "src/store/commit.rs"),
    ("directory", "src/store/index/directory.rs"),
    ("group", "src/store/index/group.rs"),
    ("interned", "src/store/index/interned.rs"),
    ("pages", "src/store/index/pages.rs"),
    ("slot", "src/store/index/slot.rs"),
    ("table", "src/store/index/table.rs"),
];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../..");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    println!("cargo::rerun-if-changed=build.rs");
    let mut all = module(&root, "sound", &[]);
    for (name, changes) in DEFECTS {
        all += &module(&root, name, changes);
    }
    all += "/// The models over the sources with each defect.\n";
    all += "pub const DEFECTS: &[(&str, &[(&str, fn())])] = &[\n";
    for (name, _) in DEFECTS {
        writeln!(all, "    (\"{name}\", {name}::models::ALL),").unwrap();
    }
    all += "];\n";
    fs::write(out.join("models.rs"), all).unwrap();
}

/// The sources as one module, changed so.
fn module(root: &Path, name: &str, planted: &[Change]) -> String {
    let mut text = format!("/// The sources.\npub mod {name} {{\n");
    for (source, path) in SOURCES {
        let path = root.join(path);
        println!("cargo::rerun-if-changed={}", path.display());
        let whole = fs::read_to_string(&path).unwrap();
        let mut body = whole.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
        let of_source = |change: &&Change| change.0 == source;
        for (_, from, to) in MODEL.iter().chain(planted).filter(of_source) {
            assert!(body.contains(from), "{source}.rs no longer has: {from}");
            body = body.replace(from, to);
        }
        // Such comments belong to a file's beginning.
        let lines = body.lines().filter(|line| !line.starts_with("//!"));
        let body = lines.collect::<Vec<_>>().join("\n");
        writeln!(text, "pub mod {source} {{\n{body}\n}}").unwrap();
    }
    text += "pub use crate::stand_ins::{entry, hints};\n";
    text +=
        "pub mod models { include!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/src/models.rs\")); }\n";
    text + "}\n"
}
