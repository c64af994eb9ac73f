//! Writes the models' sources: the library's own, with the model checker's atomics, locks and small
//! sizes; once as they are, and once for each injected bug.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// A source, a text in it, and the text that stands in its place.
type Change = (&'static str, &'static str, &'static str);

/// The changes that make a model of the sources. The build fails if a text isn't found, so a change
/// of the library shows here what must follow. Comments are removed first.
const MODEL: &[Change] = &[
    ("directory", "use std::sync::OnceLock;", "use crate::sync::OnceLock;"),
    ("directory", "use std::sync::atomic::{", "use crate::sync::atomic::{"),
    ("directory", "const MAX_DEPTH: u32 = 20;", "const MAX_DEPTH: u32 = 2;"),
    ("group", "use std::sync::atomic::{", "use crate::sync::atomic::{"),
    ("group", "type Unit = slot::Unit<64>;", "type Unit = slot::Unit<1>;"),
    ("group", "const MAX_UNITS: usize = 16;", "const MAX_UNITS: usize = 2;"),
    (
        "group_commit",
        "use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};",
        "use std::sync::PoisonError;\n use crate::sync::{Arc, Condvar, Mutex, MutexGuard};",
    ),
    ("group_commit", "use crate::store::types::error::Error;", "use keyhasp::Error;"),
    ("group_commit", "use crate::backend::", "use keyhasp::backend::"),
    ("interned", "use std::sync::atomic::{", "use crate::sync::atomic::{"),
    // Ids of two words, as entries of the slab have them here.
    ("interned", "use crate::id::", "use crate::stand_ins::id::"),
    ("interned", "use crate::store::types::reserved::", "use crate::stand_ins::reserved::"),
    ("lease_cell", "use std::sync::atomic::{", "use crate::sync::atomic::{"),
    ("lease_queue", "use crate::backend::", "use keyhasp::backend::"),
    ("lease_queue", "use crate::clock::", "use keyhasp::clock::"),
    ("lease_queue", "use crate::id::", "use keyhasp::id::"),
    ("lease_queue", "use crate::store::types::reserved::", "use crate::stand_ins::reserved::"),
    (
        "lease_waits",
        "use std::sync::{Arc, Mutex, MutexGuard, PoisonError};",
        "use std::sync::{Arc, PoisonError};\n use crate::sync::{Mutex, MutexGuard};",
    ),
    ("lease_waits", "use crate::backend::", "use keyhasp::backend::"),
    ("lease_waits", "use crate::clock::", "use keyhasp::clock::"),
    ("lease_waits", "use crate::process::", "use crate::stand_ins::process::"),
    ("lease_waits", "use crate::store::engine::", "use crate::stand_ins::engine::"),
    ("lease_waits", "use crate::store::types::verify_error::", "use keyhasp::store::"),
    // The same hashes in every order of a model's steps.
    (
        "owner_numbers",
        "use std::hash::{BuildHasher, RandomState};",
        "use std::hash::BuildHasher;\n type RandomState = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;",
    ),
    ("owner_numbers", "use crate::id::", "use crate::stand_ins::id::"),
    ("owner_numbers", "use crate::key::", "use keyhasp::key::"),
    ("pages", "use std::sync::OnceLock;", "use crate::sync::OnceLock;"),
    ("pages", "const PARTS: usize = 1 << 12;", "const PARTS: usize = 20;"),
    ("slab", "use std::sync::atomic::{", "use crate::sync::atomic::{"),
    // Two words show whether they belong together as well as eight do, or seven of a slot.
    ("slab", "const WORDS: usize = 8;", "const WORDS: usize = 2;"),
    // An entry that was released is acquired next.
    ("slab", "const QUARANTINE: usize = 1 << 10;", "const QUARANTINE: usize = 0;"),
    ("slot", "use std::sync::atomic::{", "use crate::sync::atomic::{"),
    ("slot", "; 7]", "; 2]"),
    ("stale", "use crate::id::", "use crate::stand_ins::id::"),
];

/// Visibilities of the library's tree, which is another one here.
const VISIBILITIES: [&str; 4] =
    ["pub(in crate::store::index)", "pub(in crate::store)", "pub(in super::super)", "pub(super)"];

/// Injected bugs, each of which a model must find.
const BUGS: &[(&str, &[Change])] = &[
    (
        "published_relaxed",
        &[(
            "slot",
            "let head = hash << HASH_AT | self.next_sequence() | probe_len;\n        self.line.head.store(head, Ordering::Release);",
            "let head = hash << HASH_AT | self.next_sequence() | probe_len;\n        self.line.head.store(head, Ordering::Relaxed);",
        )],
    ),
    ("filled_without_fence", &[("slot", "fence(Ordering::Release);", "")]),
    ("read_without_fence", &[("slot", "fence(Ordering::Acquire);", "")]),
    ("far_unchecked", &[("slot", "slot.validate(head).then_some(far)", "Some(far)")]),
    (
        "retired_before_announced",
        &[(
            "table",
            "self.directory.announce(writer.groups[number as usize].depth, hash, [number; 2]);\n            old.into_iter().for_each(Slot::retire);",
            "old.into_iter().for_each(Slot::retire);\n            self.directory.announce(writer.groups[number as usize].depth, hash, [number; 2]);",
        )],
    ),
    (
        "never_announced",
        &[(
            "table",
            "self.directory.announce(writer.groups[number as usize].depth, hash, [number; 2]);",
            "",
        )],
    ),
    (
        "looked_once",
        &[("table", "if !self.lookup.has_moved() {", "if !self.lookup.has_moved() || true {")],
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
                "old.iter().for_each(Slot::clear);\n        writer.free_units",
                "writer.free_units",
            ),
            (
                "table",
                "self.directory.announce(old_depth, hash, targets);",
                "old.iter().for_each(Slot::clear);\n        self.directory.announce(old_depth, hash, targets);",
            ),
        ],
    ),
    ("record_filled_without_fence", &[("slab", "fence(Ordering::Release);", "")]),
    (
        "given_back_unasked",
        &[("lease_cell", "while seen != 0 && is_current() {", "while seen != 0 {")],
    ),
    (
        "lease_copied",
        &[("lease_cell", "self.0.swap(0, Ordering::Release)", "self.0.load(Ordering::Acquire)")],
    ),
    (
        "rules_end_unordered",
        &[(
            "interned",
            "owner.stale.store(rules.0, Ordering::Release);",
            "owner.stale.store(rules.0, Ordering::Relaxed);",
        )],
    ),
    (
        "fetcher_thought_awake",
        &[(
            "lease_waits",
            "list.is_fetching = matches!(due, Due::Now(_));",
            "list.is_fetching = true;",
        )],
    ),
    (
        "queued_before_it_waits",
        &[(
            "lease_waits",
            "list.waiting.insert(place, Waiting { waker, subject });\n        list.queue.wait(need, place);",
            "list.queue.wait(need, place);\n        drop(list);\n        let mut list = self.waits.lock();\n        list.waiting.insert(place, Waiting { waker, subject });",
        )],
    ),
    (
        "asked_without_a_wake",
        &[("lease_waits", "let is_first = asked.len() == 1;", "let is_first = asked.len() == 2;")],
    ),
    ("woken_without_an_answer", &[("lease_waits", "self.done.insert(place, outcome);", "")]),
    ("reference_read_without_fence", &[("interned", "fence(Ordering::Acquire);", "")]),
    (
        "counted_after_the_id",
        &[(
            "interned",
            "cell.given.store(given, Ordering::Release);\n        entry.fill(id.words());",
            "entry.fill(id.words());\n        cell.given.store(given, Ordering::Release);",
        )],
    ),
    (
        "counted_relaxed",
        &[(
            "interned",
            "cell.given.store(given, Ordering::Release);",
            "cell.given.store(given, Ordering::Relaxed);",
        )],
    ),
    ("suspended_unflagged", &[("interned", "word.fetch_or(bit, Ordering::AcqRel);", "")]),
    (
        "one_is_woken",
        &[("group_commit", "self.0.released.notify_all();", "self.0.released.notify_one();")],
    ),
    ("led_by_two", &[("group_commit", "state.is_committing = true;", "")]),
    (
        "answers_swapped",
        &[("group_commit", "self.0.iter().zip(outcomes)", "self.0.iter().rev().zip(outcomes)")],
    ),
    (
        "error_answered_to_one",
        &[(
            "group_commit",
            "Err(error) => Box::new(std::iter::repeat_with(move || Err(error.clone()))),",
            "Err(error) => Box::new(std::iter::once(Err(error))),",
        )],
    ),
];

/// The rooms that the sources stand in, as far as their paths name them, and the sources. A room
/// without a name is the model's own module.
const ROOMS: &[(&str, &[(&str, &str)])] = &[
    (
        "hash_table",
        &[
            ("directory", "src/store/index/hash_table/directory.rs"),
            ("group", "src/store/index/hash_table/group.rs"),
            ("slot", "src/store/index/hash_table/slot.rs"),
            ("table", "src/store/index/hash_table/table.rs"),
        ],
    ),
    ("limits", &[("lease_cell", "src/store/index/limits/lease_cell.rs")]),
    (
        "memory",
        &[
            ("pages", "src/store/index/memory/pages.rs"),
            ("slab", "src/store/index/memory/slab.rs"),
            ("vectors", "src/store/index/memory/vectors.rs"),
        ],
    ),
    (
        "",
        &[
            ("group_commit", "src/store/engine/group_commit.rs"),
            ("interned", "src/store/index/interned.rs"),
            ("owner_numbers", "src/store/index/owner_numbers.rs"),
            ("stale", "src/store/index/stale.rs"),
            ("lease_queue", "src/store/verify/lease_queue.rs"),
            ("lease_waits", "src/store/verify/lease_waits.rs"),
        ],
    ),
];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../..");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    println!("cargo::rerun-if-changed=build.rs");
    let mut all = model(&root, "sound", &[]);
    for (name, changes) in BUGS {
        all += &model(&root, name, changes);
    }
    all += "/// The models over the sources with each injected bug.\n";
    all += "pub const BUGS: &[(&str, &[(&str, fn())])] = &[\n";
    for (name, _) in BUGS {
        writeln!(all, "    (\"{name}\", {name}::models::ALL),").unwrap();
    }
    all += "];\n";
    fs::write(out.join("models.rs"), all).unwrap();
}

/// Returns the sources as one module, with these changes.
fn model(root: &Path, name: &str, bug: &[Change]) -> String {
    let mut text = format!("/// The sources.\npub mod {name} {{\n");
    for (room, sources) in ROOMS {
        let stands_alone = room.is_empty();
        if !stands_alone {
            writeln!(text, "pub mod {room} {{").unwrap();
        }
        text += match *room {
            "limits" => "pub use crate::stand_ins::lease;\n",
            "memory" => "pub use crate::stand_ins::hints;\n",
            _ => "",
        };
        for (source, path) in *sources {
            writeln!(text, "pub mod {source} {{\n{}\n}}", changed(root, source, path, bug))
                .unwrap();
        }
        if !stands_alone {
            text += "}\n";
        }
    }
    text += "pub use crate::stand_ins::entry;\n";
    text +=
        "pub mod models { include!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/src/models.rs\")); }\n";
    text + "}\n"
}

/// Returns one source without comments and tests, with the model's changes and these.
fn changed(root: &Path, source: &str, path: &str, bug: &[Change]) -> String {
    let path = root.join(path);
    println!("cargo::rerun-if-changed={}", path.display());
    let whole = fs::read_to_string(&path).unwrap();
    let body = whole.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = body.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut body = lines.collect::<Vec<_>>().join("\n");
    for visibility in VISIBILITIES {
        body = body.replace(visibility, "pub");
    }
    let of_source = |change: &&Change| change.0 == source;
    for (_, from, to) in MODEL.iter().chain(bug).filter(of_source) {
        assert!(body.contains(from), "{source}.rs no longer has: {from}");
        body = body.replace(from, to);
    }
    body
}
