//! Each query that walks over many rows walks along an index, whatever the statistics say.

use rusqlite::Connection;

use super::super::{events, keys, owners, pages, scan, scan_owner};
use super::fixtures::Fixture;
use crate::backend::StateSet;
use crate::key::State;

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let rows = statement.raw_query();
    rows.mapped(|row| row.get(3)).collect::<Result<_, _>>().unwrap()
}

fn check(connection: &Connection) {
    let table = [
        (scan::KEYS, "SEARCH keys USING PRIMARY KEY (id>?)"),
        (scan::OWNERS, "SEARCH owners USING PRIMARY KEY (id>?)"),
        (
            scan_owner::KEYS_OF_OWNER,
            "SEARCH keys USING INDEX keys_by_owner (owner=? AND (state,id)>(?,?))",
        ),
        (scan::PREVIOUS_TOKENS, "SEARCH previous_tokens USING PRIMARY KEY (key_id>? AND key_id<?)"),
        (pages::ALL, "SEARCH keys USING PRIMARY KEY (id>? AND id<?)"),
        (
            pages::BY_CREATOR,
            "SEARCH keys USING COVERING INDEX keys_by_creator \
             (created_by_key=? AND id>? AND id<?)",
        ),
        (
            pages::BY_CREATOR_OF_OWNER,
            "SEARCH keys USING COVERING INDEX keys_by_creator \
             (created_by_key=? AND id>? AND id<?)",
        ),
        (keys::CREATED_BY, "SEARCH keys USING COVERING INDEX keys_by_creator (created_by_key=?)"),
        (keys::LIVE_NAMED, "SEARCH keys USING INDEX keys_by_name (owner=? AND name=?)"),
        (keys::EXPIRED, "SEARCH keys USING INDEX keys_by_expiry (owner=? AND expires_at<?)"),
    ];
    for (sql, expected) in table {
        assert_eq!(plan(connection, sql), [expected]);
    }
    let pages = [
        (events::PAGE, "INTEGER PRIMARY KEY ("),
        (events::PAGE_OF_KEY, "INDEX events_by_key (key_id=? AND "),
        (events::PAGE_BY_KEY, "INDEX events_by_acting_key (acting_key=? AND "),
        (events::PAGE_OF_OWNER, "INDEX events_by_owner (owner=? AND "),
    ];
    for (page, by) in pages {
        let expected = format!("SEARCH events USING {by}rowid>? AND rowid<?)");
        for sql in [page.oldest, page.newest] {
            assert_eq!(plan(connection, sql), [expected.as_str()]);
        }
    }
    let owners = |tail| plan(connection, &format!("{}{tail}", *owners::SELECT));
    assert_eq!(owners(pages::OWNERS), ["SEARCH owners USING PRIMARY KEY (id>?)"]);
    assert_eq!(
        owners(pages::SUSPENDED_OWNERS),
        ["SEARCH owners USING INDEX owners_suspended (id>?)"]
    );
    assert_eq!(owners(pages::SWEPT_OWNERS), ["SEARCH owners USING INDEX owners_swept (id>?)"]);
}

fn check_lists(connection: &Connection) {
    let one = "SEARCH keys USING COVERING INDEX keys_by_owner \
               (owner=? AND state=? AND id>? AND id<?)";
    for bits in 0..32_u8 {
        let states = StateSet::of(State::ALL.into_iter().filter(|s| bits >> *s as u8 & 1 == 1));
        let Some(sql) = pages::of_owner(states) else {
            assert_eq!(bits, 0);
            continue;
        };
        let plan = plan(connection, &sql);
        let walks = plan.iter().filter(|step| *step == one).count();
        let expected =
            [0b11, 0b10, 0b100, 0b1000, 0b1_0000].iter().filter(|s| bits & **s != 0).count();
        assert_eq!(walks, expected, "{plan:?}");
        // Merged, never sorted; and no other walk.
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
        assert_eq!(plan.iter().filter(|step| step.contains("keys")).count(), walks, "{plan:?}");
    }
}

#[test]
fn walks_along_indexes() {
    let fixture = Fixture::with_keys(1..=3);
    let connection = fixture.raw();
    check(&connection);
    check_lists(&connection);
}

#[test]
fn walks_along_indexes_also_where_statistics_speak_against_it() {
    let fixture = Fixture::with_keys(1..=300);
    let connection = fixture.raw();
    // One owner has everything, and tables are small: a scan would do.
    connection.execute_batch("ANALYZE").unwrap();
    let connection = fixture.raw();
    check(&connection);
    check_lists(&connection);
}
