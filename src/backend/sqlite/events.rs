//! Events: table `events`.

use rusqlite::{Connection, Row};

use super::checksums;
use super::codec::{Binder, RowReader};
use super::error::Fault;
use crate::authority::{Authority, Role};
use crate::backend::{DamagedRecord, EventPage, EventQuery};
use crate::clock::Timestamp;
use crate::event::{Event, EventDraft, EventKind, Fields};
use crate::key::Source;

const TABLE: &str = "events";

macro_rules! columns {
    () => {
        "sequence, incarnation, binding, at, kind, owner, key_id, version, generation, fields, role, acting_owner, \
         acting_key, acting_generation, actor, reason, reason_for_owner, correlation_id, checksum"
    };
}

/// Makes a query of a page, in one order or the other. Its parameters are the number that all of the
/// events exceed, the greatest number of them, the number of rows, and what `$from` names.
macro_rules! page {
    ($from:literal, $order:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM events ",
            $from,
            "sequence > ?1 AND sequence <= ?2 ORDER BY sequence",
            $order,
            " LIMIT ?3"
        )
    };
}

/// The queries of pages along one index, the oldest first and the newest first.
pub(super) struct Pages {
    pub(super) oldest: &'static str,
    pub(super) newest: &'static str,
}

macro_rules! pages {
    ($from:literal) => {
        Pages { oldest: page!($from, ""), newest: page!($from, " DESC") }
    };
}

// Pages: all events, those of a key, those by an acting key, those of an owner. Each walks along one
// index.
pub(super) const PAGE: Pages = pages!("WHERE ");
pub(super) const PAGE_OF_KEY: Pages = pages!("INDEXED BY events_by_key WHERE key_id = ?4 AND ");
pub(super) const PAGE_BY_KEY: Pages =
    pages!("INDEXED BY events_by_acting_key WHERE acting_key = ?4 AND ");
pub(super) const PAGE_OF_OWNER: Pages = pages!("INDEXED BY events_by_owner WHERE owner = ?4 AND ");

const ONE: &str = concat!("SELECT ", columns!(), " FROM events WHERE sequence = ?");

/// Returns the number of the newest event; 0 before the first.
pub(super) fn last(connection: &Connection) -> Result<u64, Fault> {
    extreme(connection, "SELECT max(sequence) FROM events")
}

/// Returns the number of the oldest event that is still there; 0 if there is none.
pub(super) fn first(connection: &Connection) -> Result<u64, Fault> {
    extreme(connection, "SELECT min(sequence) FROM events")
}

fn extreme(connection: &Connection, sql: &str) -> Result<u64, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let sequence: Option<i64> = statement.query_row([], |row| row.get(0))?;
    let damaged = Fault::damaged(TABLE, "sequence");
    u64::try_from(sequence.unwrap_or(0)).map_err(|_| damaged)
}

/// Appends an event.
pub(super) fn append(connection: &Connection, event: &Event) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(concat!(
        "INSERT INTO events (",
        columns!(),
        ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    ))?;
    let Authority { role, actor, reason, reason_for_owner, correlation_id } = &event.authority;
    let (acting_key, acting_generation) = role.acting_token().unzip();
    let role = match role {
        Role::Administrator => "administrator",
        Role::Delegate { .. } => "delegate",
        Role::Owner { .. } => "owner",
        Role::OwnerByKey { previous_tokens: false, .. } => "owner_by_key",
        Role::OwnerByKey { previous_tokens: true, .. } => "owner_by_previous_token",
    };
    Binder::new(&mut statement)
        .put(stored(event.sequence))?
        .put_field(&event.incarnation)?
        .put_field(&event.binding)?
        .put_field(&event.at)?
        .put(event.kind.number())?
        .put_field(&event.owner)?
        .put_field(&event.key)?
        .put_field(&event.version)?
        .put_field(&event.generation)?
        .put(event.fields.bits())?
        .put(role)?
        .put_field(&event.authority.role.owner().copied())?
        .put_field(&acting_key)?
        .put_field(&acting_generation)?
        .put_field(actor)?
        .put_field(reason)?
        .put_field(reason_for_owner)?
        .put_field(correlation_id)?
        .put(checksums::of_event(event))?
        .execute()?;
    Ok(())
}

fn decode(row: &Row<'_>) -> Result<Event, Fault> {
    let mut row = RowReader::new(row, TABLE);
    let sequence = row.field("sequence")?;
    let incarnation = row.field("incarnation")?;
    let binding = row.field("binding")?;
    let draft = EventDraft {
        at: row.field("at")?,
        kind: row.number_as("kind", |kind| kind.try_into().ok().map(EventKind::of_stored))?,
        owner: row.field("owner")?,
        key: row.field("key_id")?,
        version: row.field("version")?,
        generation: row.field("generation")?,
        fields: Fields::from_bits(row.field("fields")?),
        authority: Authority {
            role: role(&mut row)?,
            actor: row.field("actor")?,
            reason: row.field("reason")?,
            reason_for_owner: row.field("reason_for_owner")?,
            correlation_id: row.field("correlation_id")?,
        },
    };
    let event = Event { sequence, incarnation, binding, draft };
    let checksum: u32 = row.field("checksum")?;
    if checksums::of_event(&event) == checksum { Ok(event) } else { Err(row.damaged("checksum")) }
}

/// Reads four columns: the role, and the owner, the key and the generation that act.
fn role(row: &mut RowReader<'_>) -> Result<Role, Fault> {
    let words = [
        (0, "administrator"),
        (1, "owner"),
        (2, "delegate"),
        (3, "owner_by_key"),
        (4, "owner_by_previous_token"),
    ];
    let role = row.word("role", &words)?;
    let owner = row.field("acting_owner")?;
    let key = row.field("acting_key")?;
    let generation = row.field("acting_generation")?;
    match (role, owner, key, generation) {
        (0, None, None, None) => Ok(Role::Administrator),
        (1, Some(owner), None, None) => Ok(Role::Owner { owner }),
        (2, Some(owner), Some(key), Some(generation)) => {
            Ok(Role::Delegate { owner, key, generation })
        }
        (3 | 4, Some(owner), Some(key), Some(generation)) => {
            let previous_tokens = role == 4;
            Ok(Role::OwnerByKey { owner, key, generation, previous_tokens })
        }
        _ => Err(row.damaged("role")),
    }
}

/// Reads a page of events.
pub(super) fn page(connection: &Connection, query: &EventQuery) -> Result<EventPage, Fault> {
    let pruned_through = first(connection)?.saturating_sub(1);
    let page = PageOfEvents::new(query, pruned_through);
    match walk(connection, query, page.clone()) {
        // A page of the table or of an index can't be read: then the events are read one by one.
        Err(fault) if fault.is_corrupt() => one_by_one(connection, query, page),
        page => page,
    }
}

/// A page that is being gathered.
#[derive(Clone)]
struct PageOfEvents<'a> {
    query: &'a EventQuery,
    page: EventPage,
    last: u64,
    examined: usize,
}

impl<'a> PageOfEvents<'a> {
    fn new(query: &'a EventQuery, pruned_through: u64) -> Self {
        let page = EventPage { pruned_through, ..EventPage::default() };
        Self { query, page, last: query.after, examined: 0 }
    }

    /// Returns whether a further event belongs on the next page.
    fn is_full(&mut self) -> bool {
        let found = self.page.events.len() + self.page.damaged.len();
        let is_full = self.examined == self.query.examine || found == self.query.limit;
        if is_full {
            self.page.next = Some(self.last);
        }
        is_full
    }

    fn add(&mut self, number: u64, event: Result<Event, Fault>) -> Result<(), Fault> {
        self.last = number;
        self.examined += 1;
        match event {
            Ok(event) if self.query.filter.matches(&event) => self.page.events.push(event),
            Ok(_) => {}
            Err(Fault::Damaged(_)) => self.page.damaged.push(number),
            Err(fault) => return Err(fault),
        }
        Ok(())
    }
}

fn walk(
    connection: &Connection,
    query: &EventQuery,
    mut page: PageOfEvents<'_>,
) -> Result<EventPage, Fault> {
    let pages = match &query.filter {
        filter if filter.key.is_some() => PAGE_OF_KEY,
        filter if filter.acting_key.is_some() => PAGE_BY_KEY,
        filter if filter.owner.is_some() => PAGE_OF_OWNER,
        _ => PAGE,
    };
    let sql = if query.before.is_some() { pages.newest } else { pages.oldest };
    let mut statement = connection.prepare_cached(sql)?;
    let mut binder = Binder::new(&mut statement);
    binder.put(stored(query.after))?.put(stored(greatest(query)))?;
    // One row more than are looked at shows whether there are more.
    binder.put(rows_to_ask(query.examine))?;
    match (query.filter.key.or(query.filter.acting_key), &query.filter.owner) {
        (Some(key), _) => binder.put(key.to_bytes())?,
        (None, Some(owner)) => binder.put(owner.as_str())?,
        (None, None) => &mut binder,
    };
    let mut rows = binder.query();
    while let Some(row) = rows.next()? {
        if page.is_full() {
            break;
        }
        page.add(RowReader::new(row, TABLE).field("sequence")?, decode(row))?;
    }
    Ok(page.page)
}

/// Reads a page by the numbers of events, without an index. A number that leads to no row is
/// damaged too.
fn one_by_one(
    connection: &Connection,
    query: &EventQuery,
    mut page: PageOfEvents<'_>,
) -> Result<EventPage, Fault> {
    let oldest = query.after.max(page.page.pruned_through).saturating_add(1);
    let mut numbers = oldest..=last(connection)?.min(greatest(query));
    let next = || if query.before.is_some() { numbers.next_back() } else { numbers.next() };
    for number in std::iter::from_fn(next) {
        if page.is_full() {
            break;
        }
        let event = load(connection, number);
        let missing = || Fault::damaged(TABLE, "sequence");
        page.add(number, event.and_then(|event| event.ok_or_else(missing)))?;
    }
    Ok(page.page)
}

/// Returns the greatest number that an event of a query may have.
fn greatest(query: &EventQuery) -> u64 {
    query.before.map_or(u64::MAX, |before| before.saturating_sub(1))
}

/// Reads an event.
pub(super) fn load(connection: &Connection, number: u64) -> Result<Option<Event>, Fault> {
    let mut statement = connection.prepare_cached(ONE)?;
    let mut rows = statement.query([stored(number)])?;
    let event = rows.next().map_err(Fault::from).and_then(|row| row.map(decode).transpose());
    event.map_err(|fault| fault.of(TABLE, DamagedRecord::Event(number)))
}

/// Returns the number of rows to ask for: one more than are examined, which says whether there are more.
pub(super) fn rows_to_ask(examine: usize) -> i64 {
    i64::try_from(examine).unwrap_or(i64::MAX).saturating_add(1)
}

/// Removes the oldest events up to the first that isn't before `before`, at most `limit` and never
/// the newest; how many.
pub(super) fn prune(
    connection: &Connection,
    before: Timestamp,
    limit: usize,
) -> Result<u64, Fault> {
    let newest = last(connection)?;
    let mut statement =
        connection.prepare_cached("SELECT sequence, at FROM events ORDER BY sequence LIMIT ?")?;
    let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    // A damaged event has no time: it goes with a whole one after it.
    let (mut through, mut removed, mut damaged) = (None, 0, 0);
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row, TABLE);
        let sequence: u64 = row.field("sequence")?;
        match row.field::<Timestamp>("at") {
            _ if sequence == newest => break,
            Ok(at) if at >= before => break,
            Ok(_) => {
                removed += 1 + std::mem::take(&mut damaged);
                through = Some(sequence);
            }
            Err(_) => damaged += 1,
        }
    }
    drop(rows);
    if let Some(through) = through {
        connection
            .prepare_cached("DELETE FROM events WHERE sequence <= ?")?
            .execute([stored(through)])?;
    }
    Ok(removed)
}

/// A number as it is stored. Greater ones than SQLite holds are never given out; asked for, they
/// mean "after all".
fn stored(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
