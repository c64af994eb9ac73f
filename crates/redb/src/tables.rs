//! The tables, the keys in them, and how both are read.
//!
//! Keys and values are bytes. Numbers are big-endian, so that they sort; an owner's id and a name are
//! followed by a zero byte, which never occurs in one.

use std::ops::Bound;

use keyhasp::backend::{KeyCounts, UsageSubject};
use keyhasp::clock::Timestamp;
use keyhasp::event::Event;
use keyhasp::id::{KeyId, NumericId, OwnerId};
use keyhasp::key::{KeyName, KeyRecord, OwnerRecord, RequestRecord};
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction,
};

use crate::fault::Fault;

type Bytes = &'static [u8];

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// [`FORMAT`] and [`STORE`].
    Meta,
    /// Owner to its record.
    Owners,
    /// Key to its record.
    Keys,
    /// Numeric id to the key that got it, for ever.
    NumericIds,
    /// Number to event.
    Events,
    /// Key or owner to what was used of it.
    Usage,
    /// Request to its record.
    Requests,
    /// Damaged key to the entry that lies over it.
    Quarantine,
    /// Owner to the counts of its keys.
    Counts,
    /// What leads to records: see [`leads_of_key`] and those after it. No values.
    Index,
}

/// In [`Part::Meta`]: the number of the format, 4 bytes.
pub(crate) const FORMAT: &[u8] = b"format";
/// In [`Part::Meta`]: the store's own record.
pub(crate) const STORE: &[u8] = b"store";

impl Part {
    pub(crate) const ALL: [Self; 10] = [
        Self::Meta,
        Self::Owners,
        Self::Keys,
        Self::NumericIds,
        Self::Events,
        Self::Usage,
        Self::Requests,
        Self::Quarantine,
        Self::Counts,
        Self::Index,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Meta => "keyhasp",
            Self::Owners => "owners",
            Self::Keys => "keys",
            Self::NumericIds => "numeric_ids",
            Self::Events => "events",
            Self::Usage => "usage",
            Self::Requests => "requests",
            Self::Quarantine => "quarantine",
            Self::Counts => "key_counts",
            Self::Index => "index",
        }
    }

    const fn definition(self) -> TableDefinition<'static, Bytes, Bytes> {
        TableDefinition::new(self.name())
    }
}

/// The tables of one moment, or as they are inside a commit.
pub(crate) trait View {
    /// A table that is open.
    type Table<'a>: ReadableTable<Bytes, Bytes>
    where
        Self: 'a;

    /// Opens a table. Inside a commit each is opened by one reader or writer at a time.
    fn table(&self, part: Part) -> Result<Self::Table<'_>, Fault>;
}

impl View for ReadTransaction {
    type Table<'a> = ReadOnlyTable<Bytes, Bytes>;

    fn table(&self, part: Part) -> Result<Self::Table<'_>, Fault> {
        Ok(self.open_table(part.definition())?)
    }
}

impl View for WriteTransaction {
    type Table<'a> = Table<'a, Bytes, Bytes>;

    fn table(&self, part: Part) -> Result<Self::Table<'_>, Fault> {
        Ok(self.open_table(part.definition())?)
    }
}

pub(crate) fn get(view: &impl View, part: Part, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    Ok(view.table(part)?.get(key)?.map(|value| value.value().to_vec()))
}

/// Keys from one to another one.
pub(crate) type Span<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// All keys.
pub(crate) const ALL: Span<'static> = (Bound::Unbounded, Bound::Unbounded);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Rising,
    Falling,
}

/// A visitor of keys and values, which goes on as long as it answers `true`.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, Fault> + 'a;

/// Shows the entries in a span, until `visit` answers `false`.
pub(crate) fn each(
    view: &impl View,
    part: Part,
    span: Span<'_>,
    order: Order,
    visit: &mut Visit<'_>,
) -> Result<(), Fault> {
    let table = view.table(part)?;
    let mut entries = table.range::<&[u8]>(span)?;
    loop {
        let entry = match order {
            Order::Rising => entries.next(),
            Order::Falling => entries.next_back(),
        };
        let Some(entry) = entry else { return Ok(()) };
        let (key, value) = entry?;
        if !visit(key.value(), value.value())? {
            return Ok(());
        }
    }
}

/// Shows the entries of the index that begin with a prefix.
pub(crate) fn each_lead(
    view: &impl View,
    prefix: &[u8],
    visit: &mut dyn FnMut(&[u8]) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    let span = (Bound::Included(prefix), Bound::Unbounded);
    each(view, Part::Index, span, Order::Rising, &mut |lead, _| {
        if lead.starts_with(prefix) { visit(lead) } else { Ok(false) }
    })
}

/// Returns the greatest number that is a key of a table; 0 without any.
pub(crate) fn greatest(view: &impl View, part: Part) -> Result<u64, Fault> {
    let table = view.table(part)?;
    let last = table.last()?;
    Ok(last.and_then(|(key, _)| number_in(key.value())).unwrap_or(0))
}

pub(crate) fn number(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Reads the number at the end of a key.
pub(crate) fn number_in(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|number| u64::from_be_bytes(*number))
}

/// Reads the key id at the end of a key.
pub(crate) fn key_in(key: &[u8]) -> Option<KeyId> {
    key.last_chunk().map(|id| KeyId::from_bytes(*id))
}

/// Reads an owner's id that ends a key, or stands before a zero byte.
pub(crate) fn owner_in(key: &[u8]) -> Option<OwnerId> {
    let id = key.split(|byte| *byte == 0).next()?;
    OwnerId::new(std::str::from_utf8(id).ok()?).ok()
}

pub(crate) fn numeric_id(id: NumericId) -> [u8; 8] {
    number(id.get())
}

pub(crate) fn usage(of: &UsageSubject) -> Vec<u8> {
    match of {
        UsageSubject::Key(id) => joined(b'k', &[&id.to_bytes()]),
        UsageSubject::Owner(id) => joined(b'o', &[id.as_str().as_bytes()]),
    }
}

/// Begins the keys of an owner; a key's id follows.
pub(crate) fn of_owner(owner: &OwnerId) -> Vec<u8> {
    joined(b'o', &[owner.as_str().as_bytes(), &[0]])
}

/// Begins the keys that a key created; a key's id follows.
pub(crate) fn of_creator(creator: KeyId) -> Vec<u8> {
    joined(b'c', &[&creator.to_bytes()])
}

/// Begins the live keys of a name; a key's id follows.
pub(crate) fn of_name(owner: &OwnerId, name: &KeyName) -> Vec<u8> {
    joined(b'n', &[owner.as_str().as_bytes(), &[0], name.as_str().as_bytes(), &[0]])
}

/// Begins the live keys of an owner that expire; the moment and a key's id follow.
pub(crate) fn of_expiries(owner: &OwnerId) -> Vec<u8> {
    joined(b'x', &[owner.as_str().as_bytes(), &[0]])
}

/// Begins the events about a key; a number follows.
pub(crate) fn of_key_events(key: KeyId) -> Vec<u8> {
    joined(b'k', &[&key.to_bytes()])
}

/// Begins the events about an owner; a number follows.
pub(crate) fn of_owner_events(owner: &OwnerId) -> Vec<u8> {
    joined(b'e', &[owner.as_str().as_bytes(), &[0]])
}

/// Begins all requests; the moment and the request's name follow.
pub(crate) const REQUESTS: &[u8] = b"t";
/// Begins all owners with sweeps; an owner's id follows.
pub(crate) const SWEPT: &[u8] = b"s";
/// What the entries that lead to keys begin with, each with a key's id at its end.
pub(crate) const TO_KEYS: [&[u8]; 4] = [b"o", b"c", b"n", b"x"];
/// The same of events, with a number at the end.
pub(crate) const TO_EVENTS: [&[u8]; 2] = [b"k", b"e"];

/// Lists the entries that lead to a key.
pub(crate) fn leads_of_key(key: &KeyRecord) -> Vec<Vec<u8>> {
    let with_id = |begin: Vec<u8>| [begin, key.id.to_bytes().to_vec()].concat();
    let mut leads = vec![with_id(of_owner(&key.owner))];
    leads.extend(key.created_by_key.map(|creator| with_id(of_creator(creator))));
    if key.is_live() {
        leads.extend(key.name.as_ref().map(|name| with_id(of_name(&key.owner, name))));
        leads.extend(key.expires_at.map(|at| {
            with_id([of_expiries(&key.owner), number(at.as_millis()).to_vec()].concat())
        }));
    }
    leads
}

/// Lists the entry that leads to an owner with sweeps.
pub(crate) fn leads_of_owner(owner: &OwnerRecord) -> Vec<Vec<u8>> {
    let lead = || [SWEPT, owner.id.as_str().as_bytes()].concat();
    owner.sweeps.iter().map(|_| lead()).collect()
}

/// Lists the entries that lead to an event.
pub(crate) fn leads_of_event(event: &Event) -> Vec<Vec<u8>> {
    let begins = [event.key.map(of_key_events), event.owner.as_ref().map(of_owner_events)];
    let with_number = |begin| [begin, number(event.sequence).to_vec()].concat();
    begins.into_iter().flatten().map(with_number).collect()
}

/// Lists the entry that leads to a request.
pub(crate) fn leads_of_request(request: &RequestRecord) -> Vec<Vec<u8>> {
    vec![[requests_from(request.at), request.id.to_bytes()].concat()]
}

/// Begins the requests of a moment, after all those before it.
pub(crate) fn requests_from(at: Timestamp) -> Vec<u8> {
    joined(REQUESTS[0], &[&number(at.as_millis())])
}

pub(crate) fn counts(counts: KeyCounts) -> Vec<u8> {
    let KeyCounts { all, unrevoked, live, live_standard } = counts;
    [all, unrevoked, live, live_standard].map(number).concat()
}

/// Reads counts, of which each is at most the one before it.
pub(crate) fn counts_in(value: &[u8]) -> Option<KeyCounts> {
    let (numbers, []) = value.as_chunks::<8>() else { return None };
    let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_be_bytes(*number)).collect();
    let [all, unrevoked, live, live_standard] = numbers[..] else { return None };
    let counts = KeyCounts { all, unrevoked, live, live_standard };
    // With room to count on.
    (numbers.is_sorted_by(|a, b| a >= b) && all <= u64::MAX / 2).then_some(counts)
}

fn joined(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[first], &parts.concat()[..]].concat()
}
