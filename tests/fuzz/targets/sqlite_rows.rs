//! Rows of a SQLite database with other values in them, of any type that the table takes: an
//! error, or every record as it was.

use std::sync::Arc;

use keyhasp::KeyStore;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::damaged_sqlite::used;
use super::history::{History, open_sqlite, tempdir};
use super::input::Input;
use super::packed;
use super::world::{Facts, reader};

struct Base {
    history: History,
    columns: Vec<(String, String)>,
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
                 WHERE t.type = 'table' ORDER BY t.name, c.cid",
            )
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        Self { history, columns }
    }
}

pub fn run(data: &[u8]) {
    thread_local! {
        static BASE: Base = Base::new();
    }
    BASE.with(|base| check(base, data));
}

fn check(base: &Base, data: &[u8]) {
    let temp = tempdir();
    packed::write(temp.path(), &base.history.closed);
    edit(base, Input::new(data), &temp.path().join("keys.db"));
    let Ok(store) = open_sqlite(temp.path(), reader()) else { return };
    let store: Arc<dyn KeyStore> = Arc::new(store);
    let facts = Facts::of(&store, &base.history.tokens);
    let differences = base.history.last().differences(&facts);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    used(&store);
    let _ = store.close();
}

fn edit(base: &Base, mut input: Input<'_>, path: &std::path::Path) {
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
            "earlier_tokens" => "(key_id, generation)",
            _ => "rowid",
        };
        let columns = key.trim_matches(['(', ')']);
        // A table refuses values of another type, and repeated keys.
        let _ = raw.execute(
            &format!(
                "UPDATE {table} SET {column} = ?
                 WHERE {key} IN (SELECT {columns} FROM {table} LIMIT 1 OFFSET {at})"
            ),
            [value],
        );
    }
}
