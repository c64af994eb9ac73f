//! Imports inside `src` run one way. The layers are the table in `src/lib.rs`, which is read here;
//! `rules.rs` has the other rules.
//!
//! An import is a path that begins with `crate`, `$crate`, `self` or `super`, wherever it stands:
//! in `use` trees, expressions, types and macros. Code behind a `cfg` counts. A path in a string of
//! an attribute is a fault, as the test can't read it. Doc comments and calls of methods don't
//! count.

#![allow(clippy::unwrap_used)] // It is a test.

mod imports;
mod rules;

use std::path::Path;
use std::{fs, io};

use imports::Source;
use rules::Tree;

fn load(folder: &Path, module: &str, sources: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{module}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            load(&entry.path(), &name, sources)?;
        } else if name.ends_with(".rs") {
            sources.push(Source::new(&name, &fs::read_to_string(entry.path())?));
        }
    }
    Ok(())
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "src", &mut sources).unwrap();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn layers() -> Vec<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    rules::layers(&fs::read_to_string(root).unwrap())
}

#[test]
fn every_file_keeps_to_its_layer() {
    let (sources, layers) = (sources(), layers());
    let faults = Tree::new(&sources, &layers).faults();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn no_rooms_import_each_other() {
    let (sources, layers) = (sources(), layers());
    let circles = Tree::new(&sources, &layers).circles();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

/// Adds an import from the crate's root to every file: a file that is overlooked has no fault.
#[test]
fn no_file_is_overlooked() {
    let (mut sources, layers) = (sources(), layers());
    let mut expected = Vec::new();
    for source in sources.iter_mut().filter(|source| source.path != "src/lib.rs") {
        let text = format!("{}\nuse crate::Injected;\n", source.text);
        *source = Source::new(&source.path, &text);
        expected.push(format!("{}:{}", source.path, text.lines().count()));
    }
    assert!(expected.len() > 30, "only {} files under src", expected.len());
    let faults = Tree::new(&sources, &layers).faults();
    let root: Vec<_> =
        faults.iter().filter(|fault| fault.contains("from the crate's root")).collect();
    assert_eq!(root.len(), expected.len(), "{root:#?}");
    assert!(root.iter().zip(&expected).all(|(fault, place)| fault.starts_with(place)));
}

/// Sources without a fault: a path and a text each.
const SOURCES: &str = r#"
src/lib.rs | pub mod key; pub use key::Key;
src/key/mod.rs | mod state; #[cfg(test)] mod tests; pub use state::State;
src/key/state.rs | use crate::clock::Timestamp;
src/key/tests.rs | use super::State; use crate::testing::Failing;
src/backend/mod.rs | mod memory; mod rules; mod sled; pub use memory::Memory;
src/backend/memory.rs | use std::fmt;
src/backend/rules.rs | use crate::key::State;
src/backend/sled/mod.rs | mod engine;
src/backend/sled/engine.rs | use crate::backend::rules::R; use super::engine::E;
src/store/mod.rs | mod a; mod b; use a::sub::{Thing as Other};
src/store/a/mod.rs | pub(super) mod sub; mod more;
src/store/a/more.rs | use super::sub::Thing;
src/store/a/sub.rs | mod m { use super::*; } #[cfg(test)] mod n { use crate::store::b::sub::f; }
src/store/b/mod.rs | mod sub;
src/store/b/sub.rs | pub(super) fn f(_: &crate::store::Other) {}
src/key/a.rs | //! [`T`](crate::token::T)
src/key/b.rs | fn f() { self.token::<u8>(); "crate::token"; }
src/key/c.rs | pub(in crate::token) struct S(pub(super) u8);
src/key/d.rs | #[cfg(all(test, unix))] mod m { use super::*; use crate::testing::T; }"#;

/// Sources with a fault: a path, a text, and the only fault that is found.
const INJECTED: &str = r#"
src/key/x.rs | use crate::token::{self as t, Token}; | `key` imports `token`
src/key/x.rs | use {std::fmt, crate::{clock, token::Token}}; | `key` imports `token`
src/key/x.rs | fn f() -> super::super::token::Token {} | `key` imports `token`
src/key/x.rs | mod m { fn f() { g!(super::super::super::token::T) } } | `key` imports `token`
src/key/x.rs | macro_rules! m { () => { $crate::token::T } } | `key` imports `token`
src/key/x.rs | macro_rules! m { ($n:ident) => { mod $n { use crate::token; } } } | imports `token`
src/key/x.rs | pub use crate::token::Token; | src/key/x.rs:1: `key` imports `token`
src/key/x.rs | #[cfg(not(test))] mod m { use crate::testing::T; } | `key` imports `testing`
src/key/x.rs | #[cfg(test)] mod m { use crate::store::T; } | `key` imports `store`
src/key/x.rs | #[serde(with = "crate::token")] struct S; | a path in a string
src/key/x.rs | #[path = "../token/mint.rs"] mod mint; | a path in a string
src/key/x.rs | use crate::Key; | imports `Key` from the crate's root
src/key/x.rs | use crate::*; | imports all from the crate's root
src/secret.rs | use crate::clock::Clock; | `secret` imports `clock`
src/backend/rules.rs | use crate::token::Token; | never sees a plaintext token
src/backend/rules.rs | use crate::secret::Secret; | never sees a plaintext token
src/backend/rules.rs | use super::memory::Memory; | a backend is its own
src/backend/rules.rs | use crate::backend::Memory; | a backend is its own
src/backend/sled/engine.rs | use super::super::memory::M; | a backend is its own
src/other.rs |  | no layer
src/key.rs |  | stands beside
src/key/mod.rs | #[cfg(test)] mod tests; use state::State; pub struct S; | holds logic
src/key/mod.rs | #[cfg(test)] mod tests; use state::State; mod state {} | holds logic
src/lib.rs | fn f() {} | holds logic
src/store/b/sub.rs | use crate::store::missing::T; | leads to no file
src/store/a/sub.rs | use super::more::T; | store/a: more sub
src/store/a/sub.rs | use crate::store::b::sub::f; | store: a b"#;

#[test]
fn injected_faults_are_found() {
    let layers: Vec<_> = ["clock secret", "key", "token", "backend", "store", "testing"]
        .map(|row| row.split(' ').map(str::to_owned).collect())
        .into();
    let lines = |text: &'static str| text.lines().skip(1).map(|line| line.split(" | "));
    let found = |path: &str, text: &str| {
        let mut sources = vec![Source::new(path, text)];
        for mut line in lines(SOURCES) {
            let [other, text] = [(); 2].map(|()| line.next().unwrap());
            if other != path {
                sources.push(Source::new(other, text));
            }
        }
        let tree = Tree::new(&sources, &layers);
        [tree.faults(), tree.circles()].concat()
    };
    assert_eq!(found("src/clock.rs", ""), [""; 0]);
    for mut line in lines(INJECTED) {
        let [path, text, expected] = [(); 3].map(|()| line.next().unwrap());
        let faults = found(path, text);
        assert!(faults.len() == 1 && faults[0].contains(expected), "{faults:#?}\n{path}: {text}");
    }
}
