//! A file system without room, as a small one in memory.
//!
//! Mounting it takes privileges, so a plain `cargo test` leaves these out; `.ci/run` runs them.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendErrorKind as Kind};
use keyhasp::store::HealthProblem;
use keyhasp::{
    Access, AdminKeys, Catalogue, CreateKey, CreateOwner, Error, KeyStore, ListKeys, OwnerId,
    Prefix, Store, Token, Verifier,
};
use tempfile::{TempDir, tempdir};

use crate::sqlite::support::{commit, create_owner, open, owner_id};

/// A file system of 2 MiB.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let directory = tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "keyhasp-test"])
            .arg(directory.path())
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "this test mounts a file system: run it as root"
        );
        Self(directory)
    }

    fn database(&self) -> PathBuf {
        self.0.path().join("keys.db")
    }

    /// Fills the disk to its last byte.
    fn fill(&self) {
        let mut ballast = File::create(self.0.path().join("ballast")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while match ballast.write(&vec![7; size]) {
                Ok(written) => written > 0,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull);
                    false
                }
            } {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

struct Shop {
    store: Arc<Store>,
    admin: AdminKeys,
    verifier: Verifier,
}

fn shop(path: &Path) -> Shop {
    let catalogue = Catalogue::builder().read("links:read").build().unwrap();
    let backend = Sqlite::open_or_create(path, SqliteOptions::exclusive()).unwrap().0;
    let builder = Store::builder(catalogue, [Prefix::new("acme").unwrap()]);
    let store = Arc::new(builder.open(backend).unwrap());
    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    let verifier = Verifier::new(Arc::clone(&store));
    Shop { store, admin, verifier }
}

impl Shop {
    fn create(&self, owner: &str) -> Result<Token, Error> {
        let request = CreateOwner::with_key(CreateKey::new(Access::Full));
        let created = self.admin.create_owner(&OwnerId::new(owner).unwrap(), request)?;
        Ok(created.first_key.unwrap().token)
    }

    /// It verifies and lists, and refuses to write.
    fn assert_full(&self, tokens: &[Token]) {
        for token in tokens {
            self.verifier.verify(token.expose()).unwrap();
        }
        assert_eq!(self.admin.list(&ListKeys::new()).unwrap().items.len(), tokens.len());
        let refused = self.create("late").unwrap_err();
        assert!(
            matches!(&refused, Error::Backend(error) if error.kind() == Kind::Full),
            "{refused}"
        );
        assert_eq!(self.store.health().problems(), [HealthProblem::Writes(Kind::Full)]);
    }

    /// It writes again, without being opened again.
    fn assert_has_room(&self, tokens: &mut Vec<Token>) {
        tokens.push(self.create("late").unwrap());
        assert!(self.store.health().problems().is_empty());
        for token in &*tokens {
            self.verifier.verify(token.expose()).unwrap();
        }
        assert_eq!(self.admin.list(&ListKeys::new()).unwrap().items.len(), tokens.len());
    }
}

/// Takes the state of the files as a killed process leaves it.
fn kill(disk: &SmallDisk, with_index: bool) {
    let copy = tempdir().unwrap();
    let mut names = vec!["keys.db", "keys.db-wal"];
    names.extend(with_index.then_some("keys.db-shm"));
    for name in &names {
        fs::copy(disk.0.path().join(name), copy.path().join(name)).unwrap();
    }
    for entry in fs::read_dir(disk.0.path()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for name in &names {
        fs::copy(copy.path().join(name), disk.0.path().join(name)).unwrap();
    }
}

#[test]
#[ignore = "mounts a file system, as root: cargo test --all-features --test backends -- --ignored full_disk"]
fn full_disk_refuses_changes_and_loses_none() {
    let disk = SmallDisk::mount();
    let shop = shop(&disk.database());
    let mut tokens: Vec<Token> =
        (0..9).map(|n| shop.create(&format!("org-{n}")).unwrap()).collect();
    disk.fill();
    // The log's last page may still have room.
    let mut number = 9;
    while let Ok(token) = shop.create(&format!("org-{number}")) {
        tokens.push(token);
        number += 1;
    }
    shop.assert_full(&tokens);
    shop.assert_full(&tokens);
    disk.make_room();
    shop.assert_has_room(&mut tokens);
    drop(shop);
    let shop = self::shop(&disk.database());
    assert_eq!(shop.admin.list(&ListKeys::new()).unwrap().items.len(), tokens.len());
}

#[test]
#[ignore = "mounts a file system, as root: cargo test --all-features --test backends -- --ignored full_disk"]
fn full_disk_does_not_keep_a_store_from_opening() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum End {
        Closed,
        Killed,
        KilledWithoutIndex,
    }
    for end in [End::Closed, End::Killed, End::KilledWithoutIndex] {
        let disk = SmallDisk::mount();
        let first = shop(&disk.database());
        let mut tokens: Vec<Token> =
            (0..9).map(|n| first.create(&format!("org-{n}")).unwrap()).collect();
        if end == End::Closed {
            drop(first);
        } else {
            kill(&disk, end == End::Killed);
            drop(first);
            kill(&disk, end == End::Killed);
        }
        disk.fill();
        let shop = shop(&disk.database());
        let health = shop.store.health();
        assert!(health.is_ready() && health.storage.lacks_room, "{end:?}: {health:?}");
        assert_eq!(health.problems(), [HealthProblem::Writes(Kind::Full)]);
        shop.assert_full(&tokens);
        assert!(!disk.0.path().join("keys.db-wal.renewed").exists(), "{end:?}");
        disk.make_room();
        shop.assert_has_room(&mut tokens);
        drop(shop);
        let shop = self::shop(&disk.database());
        assert_eq!(shop.admin.list(&ListKeys::new()).unwrap().items.len(), tokens.len());
        // Closed without having found room, it loses nothing either.
        drop(shop);
        disk.fill();
        drop(self::shop(&disk.database()));
        disk.make_room();
        let shop = self::shop(&disk.database());
        assert_eq!(shop.admin.list(&ListKeys::new()).unwrap().items.len(), tokens.len());
    }
}

/// What isn't there yet can't be made without room.
#[test]
#[ignore = "mounts a file system, as root: cargo test --all-features --test backends -- --ignored full_disk"]
fn full_disk_makes_no_database_and_no_backup() {
    let disk = SmallDisk::mount();
    disk.fill();
    let refused = Sqlite::create(disk.database(), SqliteOptions::exclusive()).map(|_| "opened");
    assert_eq!(refused.unwrap_err().kind(), Kind::Full);
    let directory = tempdir().unwrap();
    let sqlite = open(&directory.path().join("keys.db"), SqliteOptions::exclusive());
    commit(&sqlite, create_owner("acme"));
    let backup = disk.0.path().join("backup.db");
    let refused = sqlite.backup(&backup, &mut |_| {}).unwrap_err();
    assert_eq!(refused.kind(), Kind::Full);
    assert!(!backup.exists() && sqlite.owner(&owner_id("acme")).unwrap().is_some());
}
