//! Rows of a SQLite database with other values in them, of any type that the table takes: an
//! error, or every record as it was.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use keyhasp::{KeyId, KeyStore, Store, VerifyRequest};
use rusqlite::Connection;
use rusqlite::types::Value;

use super::damaged_sqlite::used;
use super::history::{History, open_sqlite, tempdir};
use super::input::Input;
use super::packed;
use super::world::{Facts, reader, watch_all};

struct Base {
    history: History,
    columns: Vec<(String, String)>,
    /// Whom each token lets in that comes from an address which is asked for.
    let_in: Vec<Option<KeyId>>,
}

impl Base {
    fn new() -> Self {
        let history = History::new();
        let temp = tempdir();
        packed::write(temp.path(), &history.closed);
        let raw = Connection::open(temp.path().join("keys.db")).unwrap();
        let columns = raw
            .prepare(
                "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
                 WHERE t.type = 'table' AND t.name <> 'last_commit' ORDER BY t.name, c.cid",
            )
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        drop(raw);
        let store = open_sqlite(temp.path(), reader()).unwrap();
        let let_in = let_in(&store, &history.tokens);
        assert!(let_in.iter().flatten().count() > 3);
        Self { history, columns, let_in }
    }
}

/// Whom they let in, of whom the quotas are asked then.
fn let_in(store: &Store, tokens: &[String]) -> Vec<Option<KeyId>> {
    let address = IpAddr::from([192, 0, 2, 9]);
    let verified = |token: &String| {
        let request = VerifyRequest::new(token.as_bytes()).address(address);
        store.verify_request(&request).ok().map(|verified| verified.key_id())
    };
    tokens.iter().map(verified).collect()
}

thread_local! {
    static BASE: Base = Base::new();
}

pub fn run(data: &[u8]) {
    BASE.with(|base| check(base, data));
}

/// The columns that take other values than they have, as `table.column`.
pub fn edited(data: &[u8]) -> Vec<String> {
    BASE.with(|base| {
        let temp = tempdir();
        packed::write(temp.path(), &base.history.closed);
        edit(base, Input::new(data), &temp.path().join("keys.db"))
    })
}

fn check(base: &Base, data: &[u8]) {
    let temp = tempdir();
    packed::write(temp.path(), &base.history.closed);
    edit(base, Input::new(data), &temp.path().join("keys.db"));
    let Ok(opened) = open_sqlite(temp.path(), reader().alerts(watch_all())) else { return };
    let opened = Arc::new(opened);
    let store: Arc<dyn KeyStore> = Arc::<Store>::clone(&opened);
    let facts = Facts::of(&store, &base.history.tokens);
    let differences = base.history.last().differences(&facts);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    for (expected, heard) in base.let_in.iter().zip(let_in(&opened, &base.history.tokens)) {
        assert!(heard.is_none() || heard == *expected, "{heard:?} is let in for {expected:?}");
    }
    used(&store);
    let _ = opened.run_alerts();
    let _ = store.close();
}

fn edit(base: &Base, mut input: Input<'_>, path: &Path) -> Vec<String> {
    let mut edited = Vec::new();
    let raw = Connection::open(path).unwrap();
    // Nothing here has to last.
    raw.execute_batch("PRAGMA synchronous = OFF; PRAGMA ignore_check_constraints = ON").unwrap();
    for _ in 0..3 {
        if input.is_empty() {
            break;
        }
        let (table, column) = input.choose(&base.columns);
        let at = input.below(32);
        let value = match input.byte() & 7 {
            0 => Value::Null,
            1 => Value::Integer(input.number()),
            2 => Value::Integer(i64::from(input.byte())),
            3 | 4 => Value::Text(String::from_utf8_lossy(input.bytes()).into_owned()),
            5 => Value::Blob(input.bytes().to_vec()),
            // What stands there in another row.
            _ => {
                let other = input.below(32);
                let sql = format!("SELECT {column} FROM {table} LIMIT 1 OFFSET {other}");
                match raw.query_row(&sql, [], |row| row.get(0)) {
                    Ok(value) => value,
                    Err(_) => continue,
                }
            }
        };
        let key = match table.as_str() {
            "owners" | "keys" => "id",
            "previous_tokens" => "(key_id, generation)",
            "key_usage" => "key_id",
            "owner_usage" => "owner",
            _ => "rowid",
        };
        let columns = key.trim_matches(['(', ')']);
        let sql = format!(
            "UPDATE {table} SET {column} = ?1 WHERE {column} IS NOT ?1
             AND {key} IN (SELECT {columns} FROM {table} LIMIT 1 OFFSET {at})"
        );
        // A table refuses values of another type, and repeated keys.
        if raw.execute(&sql, [value]).is_ok_and(|rows| rows > 0) {
            edited.push(format!("{table}.{column}"));
        }
    }
    edited
}
