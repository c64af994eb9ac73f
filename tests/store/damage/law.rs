//! The law of damage, on real files: bits that flip, pages of zeros, edits by SQL.
//!
//! Whatever happens to the file, a token's answer stays what it was, or becomes `Unavailable` or
//! `Unrecognized`, or the store refuses to open and says what to do. Where it opens, each token whose
//! answer changed is of a key that `health` names. A repair lets no other token in; a check tells
//! what it left. And every key can be revoked or blocked. `KEYHASP_SEED` chooses other damage, and
//! `--nocapture` shows what it did.

use std::fs;
use std::path::{Path, PathBuf};

use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendErrorKind, DamagedRecord, Finding};
use keyhasp::store::{HealthProblem, Unavailable, VerifyError};
use keyhasp::{Error, KeyId};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rusqlite::Connection;

use super::world::{Answer, Opened, Written, await_unlocked, open, write, write_with};

/// The number of databases that are damaged in each way.
const RUNS: u64 = 60;

fn seed() -> u64 {
    let seed = std::env::var("KEYHASP_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or(0);
    // Shown when the test fails.
    eprintln!("KEYHASP_SEED={seed}");
    seed
}

fn below(random: &mut ChaCha20Rng, end: usize) -> usize {
    usize::try_from(random.next_u64() % end as u64).unwrap()
}

/// Counts of what damage of one kind led to, over all runs. `--nocapture` shows them.
#[derive(Debug, Default)]
struct Tally {
    refused: u32,
    opened: u32,
    changed: u32,
    ended: u32,
}

fn copied(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copied(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// Copies a database with its lock file and, if there is one, its log.
fn copied_with_others(from: &Path, to: &Path) {
    copied(from, to);
    for end in [".lock", "-wal"] {
        let beside = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        if beside(from).exists() {
            copied(&beside(from), &beside(to));
        }
    }
}

/// Damages copies of a database, and holds each against the law.
fn hold<B: Backend>(
    kind: &str,
    written: &Written,
    source: &Path,
    open_backend: impl Fn(&Path) -> Result<B, Error>,
    damage: impl Fn(&Path, &mut ChaCha20Rng) -> String,
    is_told: impl Fn(&str) -> bool,
) -> Tally {
    let seed = seed();
    let mut tally = Tally::default();
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("keys");
    copied_with_others(source, &whole);
    let opened = open(open_backend(&whole).unwrap(), &written.clock).unwrap();
    assert_eq!(judge(written, &opened, "a whole copy"), []);
    opened.store.close().unwrap();
    for run in 0..RUNS {
        let mut random = ChaCha20Rng::seed_from_u64(seed ^ run);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        copied_with_others(source, &path);
        let what = format!("run {run}: {}", damage(&path, &mut random));
        let open = || open_backend(&path).and_then(|backend| open(backend, &written.clock));
        let opened = match open() {
            Ok(opened) => opened,
            Err(error) => {
                assert!(matches!(error, Error::Backend(_)), "{what}: {error:?}");
                tally.refused += 1;
                let shown = error.to_string();
                assert!(is_told(&shown), "{what}: {shown}");
                continue;
            }
        };
        tally.opened += 1;
        let changed = judge(written, &opened, &what);
        tally.changed += u32::try_from(changed.len()).unwrap();
        mended(written, opened, &changed, &what);
        let opened = open().unwrap_or_else(|error| panic!("{what}: repaired: {error:?}"));
        let what = format!("{what}, repaired");
        let changed = judge(written, &opened, &what);
        tally.ended += end(written, &opened, &changed, &what);
        let _ = opened.store.close();
    }
    eprintln!("{kind}: {tally:?}");
    tally
}

/// Checks and repairs the database. The check finds what damaged each key whose answer changed; what is
/// left after the repair can't be mended.
fn mended(written: &Written, opened: Opened, changed: &[KeyId], what: &str) {
    let found = opened.concrete.check().unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert!(changed.is_empty() || !found.is_empty(), "{what}: the check finds nothing");
    match opened.concrete.repair() {
        Ok(repaired) => {
            let is_left = repaired.left.iter().any(Finding::is_mendable);
            assert!(
                !is_left || repaired.left.iter().all(|left| is_excused(left, &repaired.left)),
                "{what}: {:?}",
                repaired.left
            );
            assert_eq!(repaired.left, opened.concrete.check().unwrap(), "{what}");
            let mended = &repaired.mended;
            assert!(mended.is_empty() || mended.iter().any(Finding::is_mendable), "{mended:?}");
        }
        Err(error) => panic!("{what}: {error:?}"),
    }
    judge(written, &opened, &format!("{what}, repaired while open"));
    let _ = opened.store.close();
}

/// The tables of which a check finds pages that can't be read.
fn lost_tables(found: &[Finding]) -> Vec<&str> {
    let tables = found.iter().filter_map(|finding| match finding {
        Finding::Structure(what) => what.strip_prefix("table ")?.split_once(','),
        _ => None,
    });
    tables.map(|(name, _)| name).collect()
}

/// Whether a finding can't be mended: what follows from a table of which a page is lost can't be made
/// again, nor can a row on such a page.
fn is_excused(left: &Finding, all: &[Finding]) -> bool {
    match left {
        Finding::Usage(damage) => damage.column == "page",
        Finding::Derived(what) => {
            let index = what.strip_prefix("index ").unwrap_or_default();
            lost_tables(all).iter().any(|table| index.starts_with(&format!("{table}_by")))
        }
        _ => true,
    }
}

/// Compares all answers with those of the whole database; returns the keys whose answers changed.
fn judge(written: &Written, opened: &Opened, what: &str) -> Vec<KeyId> {
    let mut changed = Vec::new();
    for (token, was) in written.tokens.iter().zip(&written.answers) {
        let is = opened.answer(token);
        if is != *was {
            let is_closed = |answer: &Answer| {
                let closed = [VerifyError::Unrecognized];
                matches!(answer, Err(VerifyError::Unavailable(_)))
                    || answer.as_ref().is_err_and(|error| closed.contains(error))
            };
            assert!(is_closed(&is), "{what}: {was:?} became {is:?}");
            changed.push(token.key);
        }
    }
    let damaged = opened.store.health().damaged;
    let records = |record| damaged.places.iter().any(|place| place.record == record);
    let is_named = |key: &KeyId| records(DamagedRecord::Key(*key));
    let mut unnamed: Vec<_> = changed.iter().filter(|key| !is_named(key)).collect();
    unnamed.dedup();
    // Each record whose id can't be read, or is that of no token, stands for one key, and so does each
    // that `health` counts beyond those that it shows.
    let is_strange = |record: &DamagedRecord| match record {
        DamagedRecord::Unknown => true,
        DamagedRecord::Key(id) => written.tokens.iter().all(|token| token.key != *id),
        _ => false,
    };
    let strange = damaged.places.iter().filter(|place| is_strange(&place.record)).count();
    let unseen = strange + (damaged.records - damaged.places.len());
    if unnamed.len() > unseen {
        // A table of quotas that can't be read keeps the keys out that have one.
        let lost = opened.concrete.check().unwrap();
        let has_quota = |key: &&&KeyId| written.limited.contains(key);
        let is_lost = lost.iter().any(|finding| match finding {
            Finding::Usage(damage) => damage.column == "page",
            Finding::Structure(what) => what.starts_with("read usage fails"),
            _ => false,
        }) || lost_tables(&lost).contains(&"key_usage");
        // So does a list of tables that keeps leases from being written. Health then shows that error,
        // and the way out.
        let health = opened.store.health();
        let is_failing =
            health.problems().contains(&HealthProblem::Writes(BackendErrorKind::Corrupt));
        let writes_fail = is_failing
            && health
                .writes
                .last_error
                .is_some_and(|error| error.text.contains("docs/operations.md"));
        let is_lost = is_lost || writes_fail;
        let is_excused = is_lost && unnamed.iter().all(|key| has_quota(&key));
        assert!(is_excused, "{what}: {unnamed:?} are not named as damaged: {damaged:?}, {lost:?}");
    }
    changed
}

/// Waits until the thread that recovers has failed, and returns its error.
fn await_recovery(opened: &Opened) -> String {
    loop {
        let threads = opened.store.health().threads;
        let recovers = threads.into_iter().find(|thread| thread.name == "keyhasp-recover");
        match recovers.and_then(|thread| thread.work.last_error) {
            Some(error) => return error.text,
            None => std::thread::yield_now(),
        }
    }
}

/// Revokes or blocks the changed keys and some others: from then on none is accepted.
fn end(written: &Written, opened: &Opened, changed: &[KeyId], what: &str) -> u32 {
    let mut keys: Vec<KeyId> = written.tokens.iter().map(|token| token.key).collect();
    keys.dedup();
    let some = keys.iter().step_by(9).copied();
    let mut ended = 0;
    for (number, key) in changed.iter().copied().chain(some).enumerate() {
        let (call, end): (_, &dyn Fn() -> Result<(), Error>) = match number % 2 {
            0 => ("revoke", &|| opened.admin.revoke(key).map(drop)),
            _ => ("block", &|| opened.admin.block(key).map(drop)),
        };
        let (mut done, mut lost) = (end(), String::new());
        let is_recovering = |done: &Result<(), Error>| {
            matches!(done, Err(Error::Unavailable(Unavailable::Recovering)))
        };
        if is_recovering(&done) && is_recovering(&opened.store.recover()) {
            lost = await_recovery(opened);
        } else if is_recovering(&done) {
            done = end();
        }
        // Of a revoked key the block fails as it does of a whole one. A row without its id is no
        // key's any more: nothing is left to end.
        let is_final = matches!(done, Err(Error::State(_) | Error::NotFound(_)));
        if done.is_ok() || is_final {
            ended += 1;
            for token in written.tokens.iter().filter(|token| token.key == key) {
                let answer = opened.answer(token);
                assert!(answer.is_err(), "{what}: {call} of {key}: {answer:?}");
            }
        } else {
            // Each change writes an event. Without its table none can.
            let found = opened.concrete.check().unwrap();
            // Nor can a store that can't recover, since its tables can't be read: health says so, and
            // what to do.
            let is_told = lost.contains("docs/operations.md");
            let is_excused = lost_tables(&found).contains(&"events") || is_told;
            assert!(is_excused, "{what}: {call} of {key}: {done:?}, {lost}, {found:?}");
        }
    }
    ended
}

fn flip(file: &Path, random: &mut ChaCha20Rng) -> String {
    let mut bytes = fs::read(file).unwrap();
    let (at, bit) = (below(random, bytes.len()), below(random, 8));
    bytes[at] ^= 1 << bit;
    fs::write(file, bytes).unwrap();
    format!("bit {bit} of byte {at}")
}

fn zero(file: &Path, random: &mut ChaCha20Rng) -> String {
    const PAGE: usize = 4_096;
    let mut bytes = fs::read(file).unwrap();
    let page = below(random, bytes.len().div_ceil(PAGE));
    let end = bytes.len().min((page + 1) * PAGE);
    bytes[page * PAGE..end].fill(0);
    fs::write(file, bytes).unwrap();
    format!("page {}", page + 1)
}

fn open_sqlite(path: &Path) -> Result<Sqlite, Error> {
    Ok(Sqlite::open(path, SqliteOptions::exclusive())?)
}

fn sqlite() -> (tempfile::TempDir, PathBuf, Written) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("source");
    let written = write(Sqlite::create(&path, SqliteOptions::exclusive()).unwrap());
    (dir, path, written)
}

fn page_is_named(text: &str) -> bool {
    let is_named = text.contains("page ") || text.contains("sqlite_schema");
    // Without the list of tables there is nothing that sqlite3 could dump.
    let has_way = text.contains("sqlite3 FILE .dump") || text.contains("page 1 of the file");
    is_named && text.contains("put back a backup") && has_way
}

#[test]
fn bits_that_flip_in_sqlite() {
    let (_dir, source, written) = sqlite();
    let tally =
        hold("bits that flip in sqlite", &written, &source, open_sqlite, flip, page_is_named);
    assert!(tally.opened >= 30 && tally.ended > 100, "{tally:?}");
}

#[test]
fn pages_of_zeros_in_sqlite() {
    let (_dir, source, written) = sqlite();
    let tally =
        hold("pages of zeros in sqlite", &written, &source, open_sqlite, zero, page_is_named);
    assert!(tally.opened >= 20 && tally.changed > 20, "{tally:?}");
}

/// Changes one value of one row, past all checks of the table.
fn edit(path: &Path, random: &mut ChaCha20Rng) -> String {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    let tables = ["keys", "keys", "keys", "previous_tokens", "owners", "key_usage"];
    for _ in 0..1_000 {
        let table = tables[below(random, tables.len())];
        let columns: Vec<String> = connection
            .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let column = &columns[below(random, columns.len())];
        let values = [
            format!("{column} + 1"),
            format!("{column} - 1"),
            format!("{column} || 'a'"),
            "NULL".into(),
            "0".into(),
            "9223372036854775807".into(),
            "'full'".into(),
            "'standard'".into(),
            "'acme'".into(),
            "zeroblob(32)".into(),
            "randomblob(16)".into(),
        ];
        let value = &values[below(random, values.len())];
        let rows: i64 = connection
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
            .unwrap();
        let Ok(rows) = usize::try_from(rows) else { continue };
        if rows == 0 {
            continue;
        }
        let key = &columns[0];
        let row = below(random, rows);
        let sql = format!(
            "UPDATE {table} SET {column} = {value} WHERE {column} IS NOT {value} AND {key} = \
             (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {row})"
        );
        if connection.execute(&sql, []).is_ok_and(|changed| changed > 0) {
            return sql;
        }
    }
    panic!("no edit was possible");
}

#[test]
fn edits_by_sql() {
    let (_dir, source, written) = sqlite();
    // Edits damage no structure: what changed is named, and each key can be ended.
    let tally = hold("edits by sql", &written, &source, open_sqlite, edit, |_| false);
    assert!(tally.refused == 0 && tally.opened == 60 && tally.changed > 10, "{tally:?}");
}

fn open_sled(path: &Path) -> Result<Sled, Error> {
    Ok(Sled::open(path, SledOptions::default())?)
}

/// Bytes that make a log of sled's several segments long.
const LONG: usize = 8_000;

/// A database as a killed process leaves it.
fn killed<B: Backend>(
    filler: usize,
    create: impl Fn(&Path) -> B,
) -> (tempfile::TempDir, PathBuf, Written) {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("source"), dir.path().join("copy"));
    let written = write_with(create(&path), filler, &|| copied_with_others(&path, &copy));
    (dir, copy, written)
}

/// In the log that a killed process left, every commit lies that wasn't copied into the file.
#[test]
fn bits_that_flip_in_a_log_that_was_left_behind() {
    let (_dir, source, written) =
        killed(0, |path| Sqlite::create(path, SqliteOptions::exclusive()).unwrap());
    let log = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    let damage = |path: &Path, random: &mut ChaCha20Rng| flip(&log(path), random);
    let tally = hold(
        "bits that flip in a log that was left behind",
        &written,
        &source,
        open_sqlite,
        damage,
        |text| text.contains("FILE-wal is damaged") && text.contains("put back a backup"),
    );
    // Each bit lies before the last commit.
    assert!(tally.refused == 60, "{tally:?}");
}

fn sled(write: impl Fn(Sled) -> Written) -> (tempfile::TempDir, PathBuf, Written) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("source");
    let written = write(Sled::create(&path, SledOptions::default().sync_off_for_tests()).unwrap());
    (dir, path, written)
}

/// Changes one stored value: sled's own checksums are right again, as after a fault of memory or an
/// edit by its API.
fn change_value(
    path: &Path,
    random: &mut ChaCha20Rng,
    change: impl Fn(&mut [u8], &mut ChaCha20Rng),
) -> String {
    let db = ::sled::open(path.join("sled-1")).unwrap();
    let name = ["keys", "keys", "owners"][below(random, 3)];
    let tree = db.open_tree(name).unwrap();
    let at = below(random, tree.len());
    let (key, value) = tree.iter().nth(at).unwrap().unwrap();
    let mut value = value.to_vec();
    change(&mut value, random);
    tree.insert(key, value).unwrap();
    db.flush().unwrap();
    drop((tree, db));
    await_unlocked(path);
    format!("value {at} of {name}")
}

#[test]
fn bits_that_flip_in_sled() {
    let (_dir, source, written) = sled(write);
    let damage = |path: &Path, random: &mut ChaCha20Rng| {
        change_value(path, random, |value, random| {
            let at = below(random, value.len());
            value[at] ^= 1 << below(random, 8);
        })
    };
    let tally = hold("bits that flip in sled", &written, &source, open_sled, damage, |_| false);
    assert!(tally.opened == 60 && tally.changed > 50, "{tally:?}");
}

#[test]
fn values_of_zeros_in_sled() {
    let (_dir, source, written) = sled(write);
    let damage = |path: &Path, random: &mut ChaCha20Rng| {
        change_value(path, random, |value, _| value.fill(0))
    };
    let tally = hold("values of zeros in sled", &written, &source, open_sled, damage, |_| false);
    assert!(tally.opened == 60 && tally.changed > 50, "{tally:?}");
}

/// One of the files of a database: sled's log mostly, which is the longest.
fn file_of(path: &Path, random: &mut ChaCha20Rng) -> PathBuf {
    let mut files = Vec::new();
    let mut dirs = vec![path.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { dirs.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let lengths: Vec<_> = files.iter().map(|file| fs::metadata(file).unwrap().len()).collect();
    let mut at = random.next_u64() % lengths.iter().sum::<u64>();
    let place = lengths.iter().position(|length| {
        let is_it = at < *length;
        at = at.saturating_sub(*length);
        is_it
    });
    files.swap_remove(place.unwrap())
}

#[test]
fn bits_that_flip_in_sleds_files() {
    let (_dir, source, written) = sled(|sled| write_with(sled, LONG, &|| {}));
    let damage = |path: &Path, random: &mut ChaCha20Rng| flip(&file_of(path, random), random);
    let tally =
        hold("bits that flip in sleds files", &written, &source, open_sled, damage, |text| {
            text.contains("put back a copy of DIR")
        });
    assert!(tally.refused > 5 && tally.opened >= 15, "{tally:?}");
}

#[test]
fn pages_of_zeros_in_sleds_files() {
    let (_dir, source, written) = killed(LONG, |path| {
        Sled::create(path, SledOptions::default().sync_off_for_tests()).unwrap()
    });
    let damage = |path: &Path, random: &mut ChaCha20Rng| zero(&file_of(path, random), random);
    let tally =
        hold("pages of zeros in sleds files", &written, &source, open_sled, damage, |text| {
            text.contains("put back a copy of DIR")
        });
    assert!(tally.refused > 5 && tally.opened >= 12, "{tally:?}");
}
