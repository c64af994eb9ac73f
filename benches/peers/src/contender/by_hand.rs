//! What people write by hand: a `SELECT` by id on each request, then one keyed hash. The database
//! is a file in WAL mode; the statement is prepared once and cached, and the page cache is large
//! enough for all rows, which is more than the default gives.

use constant_time_eq::constant_time_eq_32;
use rusqlite::{Connection, OptionalExtension};
use tempfile::TempDir;

use crate::drawn::{LATER, PREVIOUS, now, numbers, secret};
use crate::job::{Contender, Trial};
use crate::synthetic::PEPPER;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -524288;
    CREATE TABLE api_keys (
        id BLOB PRIMARY KEY,
        owner INTEGER NOT NULL,
        hash BLOB NOT NULL,
        expires_at INTEGER NOT NULL
    ) WITHOUT ROWID;";
const SELECT: &str = "SELECT owner, hash, expires_at FROM api_keys WHERE id = ?1";
const INSERT: &str = "INSERT INTO api_keys (id, owner, hash, expires_at) VALUES (?1, ?2, ?3, ?4)";

pub struct ByHand {
    connection: Connection,
    /// The database's directory, removed at the end.
    _directory: TempDir,
}

impl Contender for ByHand {
    /// The owner.
    type Id = i64;

    fn verify(&self, token: &str) -> Option<i64> {
        let (id, secret) = token.strip_prefix("acme_")?.split_once('_')?;
        if id.len() != 32 || secret.len() != 64 {
            return None;
        }
        let id = u128::from_str_radix(id, 16).ok()?.to_be_bytes();
        let mut select = self.connection.prepare_cached(SELECT).expect("good SQL");
        let row = select.query_row([id], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, i64>(2)?))
        });
        let (owner, stored, expires_at) = row.optional().expect("the database answers")?;
        let hash = blake3::keyed_hash(&PEPPER, secret.as_bytes());
        (constant_time_eq_32(hash.as_bytes(), &stored) && now() < expires_at).then_some(owner)
    }
}

/// An id whose upper half grows with time, as a UUID of version 7 does.
fn id(number: usize) -> u128 {
    let random = u64::from_str_radix(&secret(number)[..16], 16).expect("16 digits");
    (number as u128) << 64 | u128::from(random)
}

fn token(number: usize, secret_of: usize) -> String {
    format!("acme_{:032x}_{}", id(number), secret(secret_of))
}

pub fn trial(keys: usize) -> Trial<ByHand> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut connection = Connection::open(directory.path().join("keys.db")).expect("a database");
    connection.execute_batch(SCHEMA).expect("good SQL");
    fill(&mut connection, keys).expect("the rows are written");
    Trial {
        contender: ByHand { connection, _directory: directory },
        good: numbers(keys).into_iter().map(|n| (token(n, n), (n / 10) as i64)).collect(),
        bad: vec![
            token(0, 0).replace('_', "-"),
            token(keys + 1, keys + 1),
            token(0, 1),
            token(keys, keys),
        ],
    }
}

/// The last one is past its expiry.
fn fill(connection: &mut Connection, keys: usize) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let mut insert = transaction.prepare(INSERT)?;
    for number in 0..=keys {
        let hash = blake3::keyed_hash(&PEPPER, secret(number).as_bytes());
        let expires_at = if number == keys { PREVIOUS } else { LATER };
        let owner = (number / 10) as i64;
        insert.execute((id(number).to_be_bytes(), owner, hash.as_bytes(), expires_at))?;
    }
    drop(insert);
    transaction.commit()?;
    // Reads come from the database itself, not from its log.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}
