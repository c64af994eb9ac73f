//! One owner's change beside other owners' commits: an owner of a million keys, on SQLite.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::{
    Access, AdminKeys, Clock, CreateKey, CreateOwner, Issued, KeyStore, OwnerId, OwnerKeys, Store,
    SystemClock, UpdateKey, UpdateOwner,
};
use tempfile::TempDir;

use crate::filled::{KEYS, fill_as, owner_of_many};
use crate::measure::figure;
use crate::synthetic::builder;

/// The time for which other owners' commits are measured without a change beside them.
const ALONE: Duration = Duration::from_secs(15);
/// The least time for which they are measured beside a change, for the work after its call.
const BESIDE: Duration = Duration::from_secs(5);

pub fn run(wanted: &dyn Fn(&str) -> bool) {
    if !["owner_max_access_1m", "owner_valid_from_1m", "owner_revoke_all_1m", "owner_purge_1m"]
        .into_iter()
        .any(wanted)
    {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("one_owner.db");
    let of_many = owner_of_many();
    fill_as(KEYS, || backend(&path), |_| of_many);
    let store = Arc::new(builder().open(backend(&path)).unwrap());
    let admin = AdminKeys::new(Arc::clone(&store), "bench").unwrap();
    let request = CreateOwner::with_key(CreateKey::new(Access::Full));
    let another = OwnerId::new("another").unwrap();
    let beside = admin.create_owner(&another, request).unwrap().first_key.unwrap();
    let others =
        Others { keys: OwnerKeys::new(Arc::clone(&store), another, "bench").unwrap(), key: beside };
    let read_only = UpdateOwner::new().max_access(Access::ReadOnly);
    others.measure(
        "owner_max_access_1m",
        || _ = admin.update_owner(&of_many, read_only).unwrap(),
        || (),
    );
    let now = SystemClock::new().now();
    others.measure(
        "owner_valid_from_1m",
        || _ = admin.invalidate_owner_tokens_issued_before(&of_many, now).unwrap(),
        || (),
    );
    others.measure(
        "owner_revoke_all_1m",
        || assert_eq!(admin.revoke_all(&of_many, None).unwrap().revoked as u64, KEYS),
        || written(&store),
    );
    let _ = admin.suspend_owner(&of_many).unwrap();
    others.measure("owner_purge_1m", || admin.purge_owner(&of_many).unwrap(), || written(&store));
    store.close().unwrap();
}

/// Waits until the pieces are written, which its own thread writes too.
fn written(store: &Store) {
    let _ = store.finish_sweeps().unwrap();
}

/// Another owner, whose key is renamed all the time.
struct Others {
    keys: OwnerKeys,
    key: Issued,
}

impl Others {
    /// Prints how long the call of a change takes, how much longer the slowest thousandth of other
    /// owners' commits takes beside the change and what follows from it, and the memory that it takes.
    fn measure(&self, name: &str, change: impl FnOnce(), rest: impl FnOnce()) {
        let mut alone = self.rename_beside(|| std::thread::sleep(ALONE));
        let before = resident("VmRSS");
        reset_peak();
        let mut took = Duration::ZERO;
        let mut beside = self.rename_beside(|| {
            let started = Instant::now();
            change();
            took = started.elapsed();
            rest();
            std::thread::sleep(BESIDE.saturating_sub(started.elapsed()));
        });
        let memory = resident("VmHWM") - before;
        figure(name, millis(took), "ms");
        let (alone, beside) = (percentile(&mut alone, 0.999), percentile(&mut beside, 0.999));
        figure(&format!("{name}_others_alone"), alone, "ms");
        figure(&format!("{name}_others"), beside, "ms");
        figure(&format!("{name}_memory"), memory, "MiB");
    }

    /// Renames the key until the work is done; returns how long each took, in milliseconds.
    fn rename_beside(&self, work: impl FnOnce()) -> Vec<f64> {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let renames = scope.spawn(|| {
                let mut times = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let name = UpdateKey::new().name(format!("name {}", times.len()));
                    let started = Instant::now();
                    let _ = self.keys.update(self.key.key.id, name).unwrap();
                    times.push(millis(started.elapsed()));
                }
                times
            });
            work();
            done.store(true, Ordering::Relaxed);
            renames.join().unwrap()
        })
    }
}

fn backend(path: &Path) -> Sqlite {
    Sqlite::open_or_create(path, SqliteOptions::exclusive()).unwrap().0
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part) as usize]
}

/// A field of the kernel's account of this process's memory, in MiB.
fn resident(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    let kib: f64 = line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    kib / 1024.0
}

/// Lets the greatest resident memory begin again.
fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}
