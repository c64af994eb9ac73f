//! Dependencies inside `src` run one way, lowest layer first. This test reads every file there and
//! holds it to `table.rs`.
//!
//! What it sees: each path that begins with `crate`, `$crate`, `self` or `super`, wherever it
//! stands: in `use` trees (nested, renamed, globs, re-exports), expressions, types, patterns,
//! attributes (`#[serde(with = "...")]` too), arguments of macros and bodies of `macro_rules`, files
//! taken in by `include!`.
//! Code behind a `cfg` counts like any other. Relative paths are resolved by the module in which
//! they stand. A path from the crate's root is told from a module's: inside `src` nothing uses the
//! root's re-exports.
//!
//! What it leaves alone: doc comments (a link upwards is no dependency), and names without such a
//! beginning, which lead into the file's own children, into another crate, or to something that
//! was imported, and was seen then.
//!
//! Tests inside `src` (a module under `#[cfg(test)]`, inline or a file) may also import what is on
//! their own layer, and `testing`. What `BARRED` and `ISOLATED` say holds for them too. A single
//! item under `#[cfg(test)]` is code like any other.
//!
//! `planted.rs` gives the same check sources with faults and sees each found.

mod check;
mod paths;
mod planted;
mod shape;
mod source;
mod table;

use std::io;
use std::path::Path;

use check::check;
use source::{Source, load};

fn tree() -> io::Result<Vec<Source>> {
    load(Path::new(env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn every_file_keeps_to_its_layer() {
    let faults = check(&tree().unwrap());
    let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), lines.join("\n"));
}

/// An import from the crate's root, which no module may have, added to every file, is found in each:
/// no file of the tree escapes the check.
#[test]
fn no_file_is_overlooked() {
    let mut sources = tree().unwrap();
    let mut planted = Vec::new();
    for source in sources.iter_mut().filter(|source| source.is_rust() && !source.is_root()) {
        source.text.push_str("\nuse crate::Planted;\n");
        planted.push((source.path.clone(), source.text.lines().count()));
    }
    assert!(planted.len() > 30, "only {} files were found under src", planted.len());
    let faults = check(&sources);
    assert!(faults.iter().all(|fault| fault.message.contains("the crate's root (layer 9)")));
    let found: Vec<_> = faults.into_iter().map(|fault| (fault.file, fault.line)).collect();
    assert_eq!(found, planted);
}
