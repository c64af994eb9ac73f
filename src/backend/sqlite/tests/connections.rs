//! Connections are set as promised.

use std::time::Duration;

use rusqlite::{Connection, StatementStatus};

use super::super::connect::Connector;
use super::super::files::Files;
use super::super::options::SqliteOptions;
use super::super::{events, keys, owners, pages, scan, scan_owner};
use super::fixtures::Fixture;
use crate::backend::StateSet;

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> T {
    connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).unwrap()
}

fn connector(fixture: &Fixture, options: &SqliteOptions) -> Connector {
    Connector::new(Files::find(&fixture.path()).unwrap(), options)
}

#[test]
fn nothing_is_acknowledged_before_it_is_synced() {
    let fixture = Fixture::with(SqliteOptions::default());
    fixture.sqlite.writer.with_connection(|writer| {
        assert_eq!(pragma::<String>(writer, "journal_mode"), "wal");
        assert_eq!(pragma::<i64>(writer, "synchronous"), 2);
        assert_eq!(pragma::<i64>(writer, "fullfsync"), 1);
        assert_eq!(pragma::<i64>(writer, "checkpoint_fullfsync"), 1);
        assert_eq!(pragma::<i64>(writer, "secure_delete"), 1);
        assert_eq!(pragma::<i64>(writer, "trusted_schema"), 0);
        assert_eq!(pragma::<i64>(writer, "temp_store"), 2);
        assert_eq!(pragma::<i64>(writer, "busy_timeout"), 5_000);
        assert!(!writer.is_readonly("main").unwrap());
    });
}

#[test]
fn readers_only_read() {
    let fixture = Fixture::new();
    let timeout = Duration::from_millis(70);
    let options = SqliteOptions::exclusive().busy_timeout(timeout).unwrap();
    let reader = connector(&fixture, &options).reader().unwrap().connection;
    assert_eq!(pragma::<i64>(&reader, "busy_timeout"), 70);
    assert!(reader.is_readonly("main").unwrap());
    assert!(reader.execute("DELETE FROM events", []).is_err());
}

#[test]
fn what_is_deleted_is_overwritten() {
    let fixture = Fixture::with_keys([1]);
    let canary = "a reason that no other caller gives";
    let mut key = fixture.key(1);
    key.name = Some(crate::key::KeyName::new(canary).unwrap());
    fixture.commit(super::fixtures::replace(&key));
    let in_file = |fixture: &Fixture| {
        use crate::backend::Backend;
        // Recovery copies the log into the file, and begins the log again.
        fixture.sqlite.recover().unwrap();
        let bytes = std::fs::read(fixture.path()).unwrap();
        bytes.windows(canary.len()).any(|window| window == canary.as_bytes())
    };
    assert!(in_file(&fixture));
    let mut key = fixture.key(1);
    key.name = None;
    fixture.commit(super::fixtures::replace(&key));
    assert!(!in_file(&fixture));
}

/// SQLite would prepare a statement again for each value that might change its plan; that costs
/// more than the query.
#[test]
fn statements_stay_prepared() {
    let fixture = Fixture::with_keys(1..=5);
    let reader = connector(&fixture, &SqliteOptions::default()).reader().unwrap().connection;
    let of_owner = pages::of_owner(StateSet::ALL).unwrap();
    let owners_page = format!("{}{}", *owners::SELECT, pages::OWNERS);
    let suspended_page = format!("{}{}", *owners::SELECT, pages::SUSPENDED_OWNERS);
    let queries = [
        scan::KEYS,
        scan::OWNERS,
        scan_owner::KEYS_OF_OWNER,
        scan::PREVIOUS_TOKENS,
        pages::ALL,
        &of_owner,
        &owners_page,
        &suspended_page,
        keys::LIVE_NAMED,
        events::PAGE.oldest,
        events::PAGE.newest,
        events::PAGE_OF_KEY.oldest,
        events::PAGE_OF_KEY.newest,
        events::PAGE_OF_OWNER.oldest,
        events::PAGE_OF_OWNER.newest,
    ];
    for sql in queries {
        let mut statement = reader.prepare(sql).unwrap();
        for value in [0_i64, 1, 2_000, 3] {
            for parameter in 1..=statement.parameter_count() {
                statement.raw_bind_parameter(parameter, value).unwrap();
            }
            let mut rows = statement.raw_query();
            while rows.next().unwrap().is_some() {}
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{sql}");
    }
}
