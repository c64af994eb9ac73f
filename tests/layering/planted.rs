//! The check, tested: sources with faults on purpose go through it, and each fault is found where
//! it stands; sources that look alike but are in order pass.

use crate::check::check;
use crate::source::Source;

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

/// The faults of one file, as text.
fn faults_of(path: &str, text: &str) -> Vec<String> {
    check(&[source(path, text)]).iter().map(ToString::to_string).collect()
}

/// A fault planted in `path`, found at `line` and nowhere else, in these words.
#[track_caller]
fn caught(path: &str, text: &str, line: usize, words: &[&str]) {
    let faults = faults_of(path, text);
    assert_eq!(faults.len(), 1, "{faults:#?} in\n{text}");
    let fault = &faults[0];
    assert!(fault.starts_with(&format!("{path}:{line}: ")), "{fault}");
    for word in words {
        assert!(fault.contains(word), "`{word}` is missing in: {fault}");
    }
}

#[track_caller]
fn passes(path: &str, text: &str) {
    assert_eq!(faults_of(path, text), [""; 0], "{text}");
}

const KEY_TOKEN: &[&str] = &["`key` (layer 3)", "`token` (layer 4)"];

#[test]
fn a_wrong_import_is_caught_in_every_form() {
    for import in [
        "use crate::token::Token;",
        "use crate::token::{self, Token as Text};",
        "use crate::token::{self};",
        "use crate::token;",
        "use crate::token as t;",
        "use crate::token::*;",
        "pub use crate::token::Token;",
        "pub(crate) use crate::token::Token;",
        "use crate::{clock::{Clock, Timestamp}, token::{mint::{Token}}};",
        "use {std::fmt, crate::{token::Token}};",
        "use crate::{{id::KeyId, token::Token}, clock};",
        "use super::super::token::Token;",
        "use self::super::super::token::Token;",
        "use super::{super::token::Token, Kind};",
        "use {super::super::{token::Token}};",
        "#[cfg(feature = \"sealed\")] use crate::token::Token;",
        "#[doc(hidden)] pub use crate::token::Token;",
        "#[cfg(any(test, feature = \"testing\"))] use crate::token::Token;",
        "#[cfg(test)] use crate::token::Token;",
    ] {
        caught("src/key/state.rs", &format!("//! A state.\n\n{import}\n"), 3, KEY_TOKEN);
    }
}

#[test]
fn a_fault_in_a_long_import_is_named_by_its_own_line() {
    let import = "use crate::{\n    clock::Timestamp,\n    token::{\n        Token,\n    },\n};\n";
    caught("src/key/state.rs", import, 4, KEY_TOKEN);
}

#[test]
fn a_wrong_path_is_caught_wherever_it_stands() {
    for code in [
        "fn f() { let _ = crate::token::mint(); }",
        "fn f() { let _ = super::super::token::mint(); }",
        "fn f() { use crate::token::Token; }",
        "fn f(_: &crate::token::Token) {}",
        "fn f() -> impl Into<crate::token::Token> { todo!() }",
        "fn f(s: State) { match s { crate::token::NONE => {} _ => {} } }",
        "fn f(s: State) { if let crate::token::Found { id, .. } = s {} }",
        "fn f() { let _ = <u8 as crate::token::Named>::name(); }",
        "fn f() { let _ = size_of::<crate::token::Token>(); }",
        "fn f() { let _ = || async move { crate::token::mint() }; }",
        "struct S(pub (crate::token::Token));",
        "struct S { token: Box<dyn crate::token::RandomSource> }",
        "impl crate::token::RandomSource for State {}",
        "impl<T: crate::token::RandomSource> State<T> where T: Clone {}",
        "const LENGTH: [u8; crate::token::MAX_TOKEN_LEN] = [0; 1];",
        "type T = crate::token::Token;",
        "#[derive(crate::token::Derived)] struct S;",
        "#[serde(with = \"crate::token\")] struct S;",
        "struct S { #[serde(serialize_with = \"crate::token::write\")] s: u8 }",
        "mod inner { pub fn f() { super::super::super::token::mint(); } }",
        "mod inner { mod more { use super::super::super::super::token; } }",
        "#[cfg(windows)] mod inner { use crate::token::Token; }",
        "#[cfg(not(test))] mod inner { use crate::token::Token; }",
    ] {
        caught("src/key/state.rs", &format!("//! A state.\n{code}\n"), 2, KEY_TOKEN);
    }
}

#[test]
fn a_wrong_path_in_a_macro_is_caught() {
    for code in [
        "fn f() { println!(\"{}\", crate::token::MAX_TOKEN_LEN); }",
        "fn f() { assert!(matches!(x, crate::token::Found { .. })); }",
        "fn f() { println!(\"{}\", vec![super::super::token::LEN][0]); }",
        "bounded! { use crate::{clock::Clock, token::Token}; }",
        "bounded! { mod inner { use super::super::super::token::Token; } }",
        "macro_rules! m { () => { crate::token::mint() }; }",
        "macro_rules! m { () => { $crate::token::mint() }; }",
        "macro_rules! m { ($name:ident) => { $crate::token::$name }; }",
        "macro_rules! m { ($($x:expr),*) => { $( f($crate::token::LEN, $x); )* }; }",
        "macro_rules! m { () => { #[cfg(feature = \"sealed\")] mod x { use $crate::token; } }; }",
    ] {
        caught("src/key/state.rs", &format!("//! A state.\n{code}\n"), 2, KEY_TOKEN);
    }
}

#[test]
fn what_cannot_be_judged_is_a_fault() {
    let super_in_macro = "macro_rules! m { () => { super::super::clock::now() }; }";
    caught("src/key/state.rs", super_in_macro, 1, &["who expands the macro"]);
    let in_module = "macro_rules! m { ($n:ident) => { mod $n { use super::super::x; } }; }";
    caught("src/key/state.rs", in_module, 1, &["who expands the macro"]);
    let argument = "macro_rules! m { ($m:ident) => { $crate::$m::mint() }; }";
    caught("src/key/state.rs", argument, 1, &["argument decides"]);
    let handed_in = "macro_rules! m { ($c:tt) => { $c::token::mint() }; }\nm!(crate);";
    caught("src/key/state.rs", handed_in, 2, &["root"]);
    caught("src/key/state.rs", "#[path = \"../token/mint.rs\"]\nmod mint;", 1, &["#[path]"]);
    let moved = "#[cfg_attr(windows, path = \"../token/mint.rs\")]\nmod mint;";
    caught("src/key/state.rs", moved, 1, &["#[path]"]);
    caught("src/key/state.rs", "include!(\"../token/mint.rs\");", 1, &["include!"]);
    caught("src/key/state.rs", "include!(concat!(\"a\", \".rs\"));", 1, &["include!"]);
    caught("src/key/state.rs", "extern crate self as keyhasp;", 1, &["another name"]);
    assert!(faults_of("src/key/state.rs", "fn f( {")[0].starts_with("src/key/state.rs:1: "));
}

/// A file that is taken in by `include!` is read like the others; what merely lies there isn't
/// (`include_str!` takes in text, not code).
#[test]
fn included_files_are_read() {
    let check_with = |code: &str, path: &str, text: &str| {
        let faults = check(&[source("src/key/state.rs", code), source(path, text)]);
        faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let code = "mod inner { const CASES: &[u8] = &include!(\"cases.in\"); }";
    let faults = check_with(code, "src/key/cases.in", "[\n    crate::token::LEN,\n]\n");
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(faults[0].starts_with("src/key/cases.in:2: "), "{}", faults[0]);
    assert!(KEY_TOKEN.iter().all(|word| faults[0].contains(word)), "{}", faults[0]);
    let clean = "[(\"crate::token\", 7)]\n";
    assert_eq!(check_with(code, "src/key/cases.in", clean), [""; 0]);

    let code = "const SQL: &str = include_str!(\"schema.sql\");";
    let sql = "-- isn't Rust: crate::token::LEN\n";
    assert_eq!(check_with(code, "src/key/schema.sql", sql), [""; 0]);
}

#[test]
fn relative_paths_are_resolved_by_the_place_of_the_file() {
    let one_up = "use super::token::Token;\n";
    caught("src/id.rs", one_up, 1, &["`id` (layer 1)", "`token` (layer 4)"]);
    caught("src/key/mod.rs", one_up, 1, KEY_TOKEN);
    // In a file of the folder this is the folder's own `token`.
    passes("src/key/state.rs", one_up);
    let two_up = "use super::super::token::Token;\n";
    caught("src/key/state.rs", two_up, 1, KEY_TOKEN);
    caught("src/key/deep/mod.rs", two_up, 1, KEY_TOKEN);
    passes("src/key/deep/state.rs", two_up);
}

#[test]
fn the_root_is_not_imported_from() {
    let words = &["`key` (layer 3)", "the crate's root (layer 9)"];
    for code in [
        "use crate::Timestamp;",
        "use crate::{Timestamp};",
        "use crate::*;",
        "use crate::{self as root};",
        "use crate as root;",
        "use super::super::Timestamp;",
        "use super::super::*;",
        "use super::super as root;",
        "fn f() { crate::open(); }",
        "fn f() { vec![crate::MAX]; }",
        "fn f() { crate::shout!(); }",
    ] {
        caught("src/key/state.rs", &format!("//! A state.\n{code}\n"), 2, words);
    }
    caught("src/clock.rs", "use super::*;", 1, &["`clock` (layer 0)", "(layer 9)"]);
}

#[test]
fn modules_on_one_row_stay_apart() {
    let words = &["`event` (layer 4)", "`verified_key` (layer 4)"];
    caught("src/event.rs", "use crate::verified_key::VerifiedKey;", 1, words);
    let words = &["`clock` (layer 0)", "`text` (layer 0)"];
    caught("src/clock.rs", "use crate::text::check;", 1, words);
    passes("src/text.rs", "use crate::invalid::Invalid;");
    let words = &["`invalid` (layer 0)", "`text` (layer 0)"];
    caught("src/invalid.rs", "use crate::text::check;", 1, words);
}

#[test]
fn storing_code_sees_no_plaintext() {
    for (import, module) in [
        ("use crate::token::Token;", "`token` (layer 4)"),
        ("use crate::verified_key::VerifiedKey;", "`verified_key` (layer 4)"),
        ("use crate::secret::Secret;", "`secret` (layer 0)"),
    ] {
        let words = &["`backend` (layer 5)", module, "never"];
        caught("src/backend/apply.rs", import, 1, words);
        let in_test = format!("#[cfg(test)]\nmod tests {{\n    {import}\n}}\n");
        caught("src/backend/apply.rs", &in_test, 3, words);
    }
    // Nor in a parcel from below.
    let parcel = "pub use crate::secret::Secret;";
    caught("src/key/state.rs", parcel, 1, &["`secret` (layer 0)", "`backend` (layer 5)"]);
    passes("src/key/state.rs", "use crate::secret::Secret;");
    passes("src/key/state.rs", "pub use crate::id::KeyId;\nfn f(_: &crate::secret::Secret<32>) {}");
    passes("src/store/open.rs", "pub use crate::secret::Secret;");
}

#[test]
fn backends_never_import_each_other() {
    let tree = |path: &str, text: &str| {
        let mod_rs = "mod apply;\nmod memory;\npub mod sled;\npub mod sqlite;\n\
            pub use apply::apply;\npub use memory::Memory;\n\
            pub use crate::backend::sqlite::{Sqlite as Lite};\nuse sled::Sled as Private;\n";
        let mut sources = vec![source("src/backend/mod.rs", mod_rs)];
        sources.push(source(path, text));
        check(&sources).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (path, text, words) in [
        ("src/backend/memory.rs", "use super::sqlite::open;", ["`memory`", "`sqlite`"]),
        ("src/backend/memory.rs", "use crate::backend::Lite;", ["`memory`", "`sqlite`"]),
        ("src/backend/sqlite/mod.rs", "use super::Memory;", ["`sqlite`", "`memory`"]),
        ("src/backend/sqlite/rows.rs", "use crate::backend::Memory;", ["`sqlite`", "`memory`"]),
        ("src/backend/sqlite/rows.rs", "use super::super::sled;", ["`sqlite`", "`sled`"]),
        ("src/backend/sled/codec.rs", "type T = super::super::sqlite::T;", ["`sled`", "`sqlite`"]),
        ("src/backend/sled/mod.rs", "use super::*;", ["`sled`", "parts"]),
        ("src/backend/sled/mod.rs", "use crate::backend as b;", ["`sled`", "parts"]),
        ("src/backend/sled/mod.rs", "use crate::backend::{self};", ["`sled`", "parts"]),
        ("src/backend/sled/mod.rs", "use super as all;", ["`sled`", "parts"]),
        (
            "src/backend/sled/mod.rs",
            "#[cfg(test)] mod tests; use super::super::backend::memory::Memory;",
            ["`sled`", "`memory`"],
        ),
        ("src/backend/apply.rs", "use super::Memory;", ["`apply`", "`memory`"]),
        ("src/backend/apply.rs", "use super::sqlite;", ["`apply`", "`sqlite`"]),
        ("src/backend/apply.rs", "use super::*;", ["`apply`", "parts"]),
        ("src/backend/apply.rs", "use super::Private;", ["`apply`", "`sled`"]),
        ("src/backend/rows/mod.rs", "use super::Memory;", ["`rows`", "`memory`"]),
    ] {
        let faults = tree(path, text);
        assert_eq!(faults.len(), 1, "{faults:#?} in {text}");
        let fault = &faults[0];
        assert!(fault.starts_with(&format!("{path}:1: ")), "{fault}");
        assert!(words.iter().all(|word| fault.contains(word)), "{fault}");
        assert!(fault.contains("`backend` (layer 5)"), "{fault}");
    }
    for (path, text) in [
        ("src/backend/sqlite/rows.rs", "use super::{open, tables::*}; use crate::backend::apply;"),
        ("src/backend/sqlite/mod.rs", "use super::{Backend, apply};"),
        ("src/backend/sqlite/rows.rs", "use crate::backend::sqlite::Sqlite;"),
        ("src/backend/sqlite/rows.rs", "use crate::backend::Lite;"),
        ("src/backend/memory.rs", "#[cfg(test)] mod tests { use super::*; }"),
        (
            "src/backend/apply.rs",
            "#[cfg(test)] mod tests { use super::*; use super::super::Memory; }",
        ),
        ("src/store/open.rs", "use crate::backend::{Memory, sqlite::Sqlite};"),
    ] {
        assert_eq!(tree(path, text), [""; 0], "{path}: {text}");
    }
    let glob = "mod memory;\npub use memory::*;\n";
    caught("src/backend/mod.rs", glob, 2, &["`memory`", "names"]);
}

#[test]
fn tests_may_look_sideways_and_use_the_suite() {
    for code in [
        "use crate::event::Event;",
        "use crate::testing::Failing;",
        "fn f() { assert!(crate::verified_key::VerifiedKey::new()); }",
        "mod deeper { use crate::testing::Failing; }",
    ] {
        let inline = format!("#[cfg(test)]\nmod tests {{ use super::*; {code} }}\n");
        passes("src/token/mint.rs", &inline);
        let behind_a_feature = inline.replace("(test)", "(all(test, feature = \"testing\"))");
        passes("src/token/mint.rs", &behind_a_feature);
        // The same is a fault outside of tests.
        assert_eq!(faults_of("src/token/mint.rs", code).len(), 1, "{code}");
        let not_a_test = inline.replace("(test)", "(not(test))");
        assert_eq!(faults_of("src/token/mint.rs", &not_a_test).len(), 1, "{code}");
    }
    let upwards = "#[cfg(test)]\nmod tests {\n    use crate::store::Store;\n}\n";
    caught("src/token/mint.rs", upwards, 3, &["`token` (layer 4)", "`store` (layer 6)"]);

    let declared = |attribute: &str| {
        check(&[
            source("src/token/mod.rs", &format!("{attribute} mod tests;\n")),
            source("src/token/tests/mod.rs", "mod mint;\nuse crate::event::Event;\n"),
            source("src/token/tests/mint.rs", "use crate::testing::Failing;\n"),
        ])
        .len()
    };
    assert_eq!(declared("#[cfg(test)]"), 0);
    assert_eq!(declared("#[cfg(feature = \"sealed\")]"), 2);
}

#[test]
fn files_that_declare_hold_no_logic() {
    for item in [
        "fn f() {}",
        "pub struct S;",
        "const N: usize = 1;",
        "mod inner { pub struct S; }",
        "#[cfg(test)] mod tests {}",
        "macro_rules! m { () => {} }",
        "impl Clone for State {}",
        "extern crate alloc;",
        "thread_local!(static X: u8 = 0);",
    ] {
        let text = format!("//! What is here.\n\nmod state;\n{item}\npub use state::State;\n");
        caught("src/key/mod.rs", &text, 4, &["holds logic"]);
        caught("src/lib.rs", &text, 4, &["holds logic"]);
        passes("src/key/state.rs", &text);
    }
    let declares = "//! What is here.\n#![doc = include_str!(\"../README.md\")]\n\
        #![cfg_attr(docsrs, feature(doc_cfg))]\n#[doc(hidden)]\npub mod key;\nmod text;\n\
        #[cfg(feature = \"sqlite\")]\npub use backend::Sqlite as Lite;\n\
        pub use crate::key::{Key, State};\npub use testing::*;\n";
    passes("src/lib.rs", declares);
}

#[test]
fn a_file_without_a_place_is_a_fault() {
    caught("src/util.rs", "pub fn f() {}", 1, &["no place"]);
    caught("src/util/mod.rs", "use crate::key::Key;", 1, &["no place"]);
    caught("src/main.rs", "fn main() {}", 1, &["no place"]);
    let two = [source("src/key.rs", "mod state;"), source("src/key/state.rs", "")];
    let faults = check(&two);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].to_string().starts_with("src/key.rs:1: stands beside src/key/"));
}

#[test]
fn what_only_looks_like_a_path_passes() {
    for code in [
        "//! See [`mint`](crate::token::mint) and `crate::Token`.",
        "/// [`Token`](crate::token::Token)\npub(crate) struct S;",
        "#[doc = \"crate::token::Token\"] pub(super) struct S;",
        "#[deprecated(note = \"crate::token is the place\")] pub(in crate::key) struct S;",
        "fn f() { println!(\"crate::token::mint\"); }",
        "// use crate::token::Token;\n/* crate::token */ use crate::key::Kind;",
        "fn f(&self) -> u8 { self.token::<u8>() + Self::token::X }",
        "use std::{self, fmt::{self, token}};\nuse ::token::crate_name;",
        "mod inner { use super::*; use self::super::Kind; pub(super) fn f() {} }",
        "macro_rules! m { ($n:ident) => { mod $n { use super::*; } $crate::key::f() }; }",
        "use super::{Kind, rules::*, super::clock::Timestamp};",
        "struct S(pub(crate) crate::id::KeyId, pub(super) u8);",
        "fn f() -> u32 { crate::id::LIMIT * 2 + crate::clock::now::<u8>() }",
    ] {
        passes("src/key/state.rs", code);
    }
}
