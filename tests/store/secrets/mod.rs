//! After a run of all calls, no token in plaintext, no part of its secret, no pepper and no sealing
//! key is found: not in the files, their write-ahead log included, not in any answer, error,
//! handle, store or event in any of the ways in which they are shown or sent on.
#![cfg(all(feature = "recoverable", any(feature = "sled", feature = "sqlite")))]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

mod ear;
#[cfg(all(feature = "sqlite", feature = "testing"))]
mod kinds;
mod scan;
mod story;

use std::path::Path;
use std::sync::Arc;

use keyhasp::backend::Memory;
use keyhasp::store::StoreBuilder;
use keyhasp::token::{Inspection, inspect};
use keyhasp::{Error, KeyStore, Store};

use ear::Ear;
use scan::{Scanner, files, forms, secret_of};
use story::{World, key_bytes};

/// Bytes that must be found nowhere: secrets of tokens, peppers, recovery keys.
fn secrets(ear: &Ear) -> Vec<Vec<u8>> {
    assert!(ear.tokens.len() > 15, "{} tokens", ear.tokens.len());
    let tokens = ear.tokens.iter().map(|token| secret_of(token).as_bytes().to_vec());
    tokens.chain((1..=9).flat_map(|number| forms(&key_bytes(number)))).collect()
}

/// The digests of all tokens, as the scheme makes them; they are the files' business alone.
fn digests(ear: &Ear) -> Vec<[u8; 32]> {
    let digest = |token: &String| {
        let Inspection::WellFormed { id, .. } = inspect(token.as_bytes()) else {
            panic!("{token} is not a token")
        };
        let tail = &token.as_bytes()[token.len() - 48..];
        let input = [&id.to_bytes()[..], tail].concat();
        *blake3::keyed_hash(&key_bytes(1), &input).as_bytes()
    };
    ear.tokens.iter().map(digest).collect()
}

/// Looks through everything that was said.
fn check_texts(ear: &Ear) {
    let digests: Vec<Vec<u8>> = digests(ear).iter().flat_map(forms).collect();
    let secrets = secrets(ear);
    let scanner = Scanner::of(secrets.iter().chain(&digests).map(Vec::as_slice));
    assert!(ear.texts.len() > 300, "{} texts", ear.texts.len());
    for text in &ear.texts {
        let short: String = text.chars().take(2_000).collect();
        assert!(!scanner.is_in(text), "in {} characters: {short}", text.len());
    }
}

/// The same for panics: few texts, and few tokens.
#[cfg(all(feature = "sqlite", feature = "testing"))]
fn check_panics(ear: &Ear) {
    let tokens = ear.tokens.iter().map(|token| secret_of(token).as_bytes().to_vec());
    let keys = (1..=9).flat_map(|number| forms(&key_bytes(number)));
    let digests = digests(ear).into_iter().flat_map(|digest| forms(&digest));
    let secrets: Vec<_> = tokens.chain(keys).chain(digests).collect();
    let scanner = Scanner::of(secrets.iter().map(Vec::as_slice));
    for text in &ear.texts {
        assert!(!scanner.is_in(text), "{text}");
    }
}

/// Looks through all files; the owner's id, and the digest of a token that is kept, show that it
/// looks in the right ones.
fn check_files(dir: &Path, ear: &Ear) {
    let secrets = secrets(ear);
    let secrets = Scanner::of(secrets.iter().map(Vec::as_slice));
    let digests = digests(ear);
    let last = Scanner::of([&digests[digests.len() - 1][..]]);
    let (mut has_owner, mut has_digest) = (false, false);
    for (name, bytes) in files(dir) {
        if let Some(at) = secrets.find(&bytes) {
            panic!("a secret at byte {at} of {name}");
        }
        has_owner |= bytes.windows(6).any(|window| window == b"globex");
        has_digest |= last.find(&bytes).is_some();
    }
    assert!(has_owner && has_digest, "looked in the wrong files: {:?}", dir);
}

/// The run on files: looked through while they are open (with the write-ahead `log`, if there is
/// one), and after closing.
fn run_on_files(
    dir: &Path,
    log: Option<&str>,
    open: &dyn Fn(StoreBuilder) -> Result<Store, Error>,
) {
    let mut world = World::new();
    let builder = world.builder();
    let store: Arc<dyn KeyStore> = Arc::new(open(builder).unwrap());
    world.run(&store);
    let is_log =
        |log: &str| files(dir).iter().any(|(name, bytes)| name.ends_with(log) && !bytes.is_empty());
    assert!(log.is_none_or(is_log), "{log:?} is missing");
    check_files(dir, &world.ear);
    world.close(&store);
    drop(store);
    check_files(dir, &world.ear);
    world.open_wrongly(open);
    check_files(dir, &world.ear);
    check_texts(&world.ear);
}

#[test]
fn nothing_is_said() {
    let mut world = World::new();
    let builder = world.builder();
    let store: Arc<dyn KeyStore> = Arc::new(builder.open(Memory::new()).unwrap());
    world.run(&store);
    world.close(&store);
    check_texts(&world.ear);
}

#[cfg(feature = "sqlite")]
#[test]
fn nothing_is_found_in_sqlite() {
    use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.db");
    let open = |builder: StoreBuilder| {
        builder.open(Sqlite::open_or_create(&path, SqliteOptions::exclusive())?.0)
    };
    run_on_files(dir.path(), Some("keys.db-wal"), &open);
}

#[cfg(feature = "sled")]
#[test]
fn nothing_is_found_in_sled() {
    use keyhasp::backend::sled::{Sled, SledOptions};

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let open = |builder: StoreBuilder| {
        builder.open(Sled::open_or_create(&path, SledOptions::default())?.0)
    };
    run_on_files(dir.path(), None, &open);
}

/// Errors of every kind, with their sources.
#[cfg(all(feature = "sqlite", feature = "testing"))]
#[test]
fn no_kind_of_error_says_it() {
    use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.db");
    let open = |builder: StoreBuilder| {
        builder.open(Sqlite::open_or_create(&path, SqliteOptions::exclusive())?.0)
    };
    let mut world = World::new();
    let builder = world.builder();
    let store: Arc<dyn KeyStore> = Arc::new(open(builder).unwrap());
    world.run(&store);
    world.close(&store);
    world.open_wrongly(&open);
    world.provoke();
    let bad = tempfile::tempdir().unwrap();
    world.bad_files(bad.path());
    let changed = tempfile::tempdir().unwrap();
    world.changed_files(changed.path());
    check_texts(&world.ear);
    let all = kinds::all();
    assert_eq!(world.ear.kinds, all, "not heard: {:?}", all.difference(&world.ear.kinds));
    // Shown with `--nocapture`.
    eprintln!("{} kinds of error", all.len());
}
