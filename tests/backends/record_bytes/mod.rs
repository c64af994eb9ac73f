//! Records as bytes that any backend can store: what was written is read, and nothing else.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::fmt::Debug;

use keyhasp::authority::{Authority, Role};
use keyhasp::backend::{Damage, DamagedRecord, DamagedRow, ScannedKey, ScannedOwner};
use keyhasp::event::{Event, EventKind, Fields};
use keyhasp::id::{Generation, Incarnation, KeyId, NumericId, Version};
use keyhasp::key::{
    Alert, AlertState, CallerScope, IdempotencyKey, KeyCounts, KeyRecord, LastAddress, OwnerRecord,
    Quarantine, QuotaState, RecordError, RejectKind, RequestId, RequestRecord, StoreMetadata,
    Sweep, SweepKind, Sweeps, Tags, TokensValidFrom, Usage,
};
use keyhasp::testing::{differences, sample};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::common::records::{self, key_picture, owner_picture};

/// The version that is written.
const VERSION: u8 = 1;

/// The methods that each record has.
trait Bytes: Sized + Debug {
    /// The name of the type, which the checksum covers.
    const KIND: &'static str;
    fn bytes(&self) -> Vec<u8>;
    fn read(bytes: &[u8]) -> Result<Self, RecordError>;
    /// Everything in it, also what its Debug hides.
    fn picture(&self) -> String;
}

macro_rules! bytes {
    ($($record:ident $kind:literal $picture:expr;)*) => {
        $(impl Bytes for $record {
            const KIND: &'static str = $kind;

            fn bytes(&self) -> Vec<u8> {
                self.to_bytes()
            }

            fn read(bytes: &[u8]) -> Result<Self, RecordError> {
                Self::from_bytes(bytes)
            }

            fn picture(&self) -> String {
                let picture: fn(&Self) -> String = $picture;
                picture(self)
            }
        })*
    };
}

bytes! {
    KeyRecord "key" key_picture;
    OwnerRecord "owner" owner_picture;
    StoreMetadata "store" |store| {
        let peppers: Vec<_> = store.peppers.iter().map(|check| check.value).collect();
        let recovery_keys: Vec<_> = store.recovery_keys.iter().map(|check| check.value).collect();
        format!("{store:?} {peppers:?} {recovery_keys:?}")
    };
    Event "event" |event| format!("{event:?}");
    Quarantine "quarantine" |entry| format!("{entry:?}");
    RequestRecord "request" |request| format!("{request:?} {:?}", request.content);
    Usage "usage" |usage| format!("{usage:?}");
}

/// Lays a frame around the fields of a record, as the documentation of the form says.
fn framed(kind: &str, body: &[u8]) -> Vec<u8> {
    let checksum = crc32fast::hash(&[kind.as_bytes(), &[0], body].concat());
    let mut bytes = vec![VERSION];
    bytes.extend(checksum.to_be_bytes());
    let mut len = body.len();
    while len >= 0x80 {
        bytes.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    bytes.push(u8::try_from(len).unwrap());
    [bytes, body.to_vec()].concat()
}

/// The fields in a frame: what follows five bytes and the length.
fn body(bytes: &[u8]) -> &[u8] {
    let len = bytes[5..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    &bytes[5 + len..]
}

/// Checks what holds of the bytes of any record.
fn law<R: Bytes>(record: &R, at: Index, bit: u8, version: u8) -> Result<(), TestCaseError> {
    let bytes = record.bytes();
    let read = R::read(&bytes).unwrap();
    prop_assert_eq!(read.picture(), record.picture());
    prop_assert_eq!(&read.bytes(), &bytes, "a second form");
    prop_assert_eq!(&framed(R::KIND, body(&bytes)), &bytes);

    for len in 0..bytes.len() {
        prop_assert_eq!(R::read(&bytes[..len]).err(), Some(RecordError::Truncated), "{}", len);
    }
    for more in [&[0][..], &[1], &[0xff; 3]] {
        let longer = [&bytes, more].concat();
        let expected = RecordError::Trailing { extra: more.len() };
        prop_assert_eq!(R::read(&longer).err(), Some(expected));
    }
    // Inside the frame, too.
    for more in [0, 0xff] {
        let longer = framed(R::KIND, &[body(&bytes), &[more]].concat());
        prop_assert!(R::read(&longer).is_err(), "{more} after the last field");
    }

    let mut other = bytes.clone();
    other[0] = version;
    let expected = RecordError::UnknownVersion { found: version, greatest: VERSION };
    let known = version == VERSION;
    prop_assert_eq!(R::read(&other).err(), (!known).then_some(expected));

    let mut flipped = bytes.clone();
    flipped[at.index(bytes.len())] ^= 1 << bit;
    prop_assert!(R::read(&flipped).is_err(), "a flipped bit is read over");

    let stranger = framed("stranger", body(&bytes));
    prop_assert_eq!(R::read(&stranger).err(), Some(RecordError::Checksum));
    Ok(())
}

/// Checks that whatever is read of altered fields under a right checksum is a record.
fn altered<R: Bytes>(record: &R, at: Index, byte: u8) -> Result<(), TestCaseError> {
    let mut fields = body(&record.bytes()).to_vec();
    let place = at.index(fields.len());
    fields[place] = byte;
    for fields in [&fields[..], &fields[..place]] {
        if let Ok(read) = R::read(&framed(R::KIND, fields)) {
            prop_assert_eq!(R::read(&read.bytes()).unwrap().picture(), read.picture());
        }
    }
    Ok(())
}

fn any_event() -> impl Strategy<Value = Event> {
    let incarnation = of((1..1_u64 << 52).prop_map(|number| Incarnation::new(number).unwrap()));
    let sequence = prop_oneof![1..9_u64, Just(i64::MAX.cast_unsigned())];
    (sequence, incarnation, of(1..1_u64 << 40), records::events()).prop_map(
        |(sequence, incarnation, binding, draft)| Event { sequence, incarnation, binding, draft },
    )
}

fn any_quarantine() -> impl Strategy<Value = Quarantine> {
    let switches = [records::switches(), records::switches()];
    let ids = (records::key_ids(), of(records::owner_ids()), records::versions());
    (ids, switches).prop_map(|((id, owner, version), [blocked, revoked])| Quarantine {
        id,
        owner,
        version,
        blocked,
        revoked,
    })
}

fn any_request() -> impl Strategy<Value = RequestRecord> {
    let scope = prop_oneof![
        Just(CallerScope::Administrator),
        records::key_ids().prop_map(CallerScope::ActingKey),
        records::owner_ids().prop_map(CallerScope::Owner),
    ];
    let id = (scope, "[!-~]{1,64}")
        .prop_map(|(scope, key)| RequestId { scope, key: IdempotencyKey::new(key).unwrap() });
    let issued = (records::key_ids(), records::generations(), any::<bool>());
    (id, any::<[u8; 32]>(), issued, records::times()).prop_map(
        |(id, content, (key_id, generation, is_replaced), at)| RequestRecord {
            id,
            content,
            key_id,
            generation,
            is_replaced,
            at,
        },
    )
}

fn any_usage() -> impl Strategy<Value = Usage> {
    let count = || prop_oneof![Just(0), 0..1_000_u64, Just(Usage::MAX_COUNT)];
    let quota = (records::versions(), records::versions(), [count(), count(), count(), count()]);
    let quota =
        (quota, count(), records::times()).prop_map(
            |((quota_version, begun, [left, debt, raised, raised_before]), turn, period)| {
                QuotaState { quota_version, begun, left, debt, period, turn, raised, raised_before }
            },
        );
    let address = (any::<std::net::IpAddr>(), records::times())
        .prop_map(|(address, at)| LastAddress { address, at });
    let rejected = vec((proptest::sample::select(RejectKind::ALL), count()), 0..5);
    let used = (of(records::times()), of(address), count(), rejected);
    let alerts = vec((0..6, records::generations(), records::times(), records::times()), 0..6);
    (used, of(quota), alerts).prop_map(
        |((last_used_at, last_address, accepted, rejected), quota, alerts)| {
            let mut usage = Usage { quota, ..Usage::default() };
            usage.used.last_used_at = last_used_at;
            usage.used.last_address = last_address;
            usage.used.accepted = accepted;
            rejected.into_iter().for_each(|(reason, count)| usage.used.rejected.add(reason, count));
            for (kind, generation, at, until) in alerts {
                let alert = match kind {
                    0 => Alert::Expired(until),
                    1 => Alert::Expiring(until),
                    2 => Alert::TokenOld(generation),
                    3 => Alert::Unused(until),
                    4 => Alert::PreviousTokenUsed(generation),
                    _ => Alert::Rejected { at, until },
                };
                note(&mut usage.alert_state, alert, at);
            }
            usage
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_record_is_read_and_nothing_else(
        records in (
            records::keys(), records::owners(), records::headers(), any_event(), any_quarantine(),
            any_request(), any_usage(),
        ),
        (at, bit, byte, version) in (any::<Index>(), 0..8_u8, any::<u8>(), any::<u8>()),
    ) {
        let (key, owner, store, event, entry, request, usage) = records;
        macro_rules! each {
            ($($record:ident)*) => { $(
                law(&$record, at, bit, version)?;
                altered(&$record, at, byte)?;
            )* };
        }
        each!(key owner store event entry request usage);

        let scanned = ScannedKey::from_bytes(&key.to_bytes()).unwrap();
        prop_assert_eq!(differences::of_scanned_keys(&scanned, &(&key).into()), [""; 0]);
        let scanned = ScannedOwner::from_bytes(&owner.to_bytes()).unwrap();
        prop_assert_eq!(differences::of_scanned_owners(&scanned, &(&owner).into()), [""; 0]);
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300)) {
        macro_rules! each {
            ($($record:ident)*) => { $(
                prop_assert!($record::read(&bytes).is_err());
                // Whatever stands in a frame with a right checksum.
                let _ = $record::read(&framed($record::KIND, &bytes));
            )* };
        }
        each!(KeyRecord OwnerRecord StoreMetadata Event Quarantine RequestRecord Usage);
        let _ = ScannedKey::from_bytes(&framed("key", &bytes));
        let _ = ScannedOwner::from_bytes(&framed("owner", &bytes));
    }
}

fn note(state: &mut AlertState, alert: Alert, at: keyhasp::Timestamp) {
    let _ = state.note(alert, at);
}

/// A record of each type with something in each field.
fn full() -> [(&'static str, Vec<u8>); 7] {
    let mut key = sample::key(1, "acme").unwrap();
    key.limits = sample::limits().unwrap();
    key.expires_at = Some(sample::at(9_000));
    key.deactivated = Some(sample::switch(1).unwrap());
    key.blocked = Some(sample::switch(2).unwrap());
    key.revoked = Some(sample::switch(3).unwrap());
    key.lapsed_at = Some(sample::at(4));
    key.previous = vec![sample::previous(1, 1).unwrap()];
    key.current = sample::token(1, 2).unwrap();
    key.name = sample::name("name").unwrap();
    key.numeric_id = Some(NumericId::new(7).unwrap());
    key.created_by_key = Some(sample::key_id(2));
    key.seal = Some(sample::seal());
    key.tags = Tags::new(["a", "b"]).unwrap();

    let authority = sample::administrator().unwrap();
    let sweep = Sweep {
        epoch: 2,
        kind: SweepKind::Revoke,
        at: sample::at(5),
        authority: authority.clone(),
        incarnation: Incarnation::FIRST,
        binding: 3,
        last_key: sample::key_id(9),
    };
    let mut owner = sample::owner("acme").unwrap();
    owner.suspended = Some(sample::switch(1).unwrap());
    owner.limits = sample::limits().unwrap();
    owner.sweeps =
        Some(Box::new(Sweeps { purged: false, left: KeyCounts::default(), pending: vec![sweep] }));
    owner.tokens_valid_from = Some(TokensValidFrom {
        moment: sample::at(1),
        epoch: 2,
        ended_at: sample::at(3),
        swept: 4,
        invalidated: 5,
    });
    owner.tags = Tags::new(["c"]).unwrap();

    let store = sample::metadata().unwrap();

    let mut draft = sample::event(EventKind::KeyUpdated).unwrap();
    draft.owner = Some(sample::owner_id("acme").unwrap());
    draft.key = Some(sample::key_id(1));
    draft.generation = Some(Generation::FIRST);
    draft.fields = Fields::NAME.with(Fields::TAGS);
    draft.authority = Authority {
        role: Role::OwnerByKey {
            owner: sample::owner_id("acme").unwrap(),
            key: sample::key_id(2),
            generation: Generation::FIRST,
            previous_tokens: true,
        },
        ..authority
    };
    let event =
        Event { sequence: 300, incarnation: Some(Incarnation::FIRST), binding: Some(299), draft };

    let entry = Quarantine {
        id: sample::key_id(1),
        owner: Some(sample::owner_id("acme").unwrap()),
        version: Version::new(2),
        blocked: Some(sample::switch(1).unwrap()),
        revoked: Some(sample::switch(2).unwrap()),
    };
    let request = RequestRecord {
        id: RequestId {
            scope: CallerScope::Owner(sample::owner_id("acme").unwrap()),
            key: IdempotencyKey::new("request").unwrap(),
        },
        content: [7; 32],
        key_id: sample::key_id(1),
        generation: Generation::FIRST,
        is_replaced: true,
        at: sample::at(1),
    };
    let mut usage = Usage {
        quota: Some(QuotaState {
            quota_version: Version::new(1),
            begun: Version::new(2),
            left: 3,
            debt: 4,
            period: sample::at(5),
            turn: 6,
            raised: 7,
            raised_before: 8,
        }),
        ..Usage::default()
    };
    usage.used.last_used_at = Some(sample::at(1));
    usage.used.last_address =
        Some(LastAddress { address: [10, 0, 0, 1].into(), at: sample::at(1) });
    usage.used.accepted = 1_000;
    usage.used.rejected.add(RejectKind::Expired, 2);
    let (at, until) = (sample::at(2), sample::at(3));
    for alert in [
        Alert::Expired(until),
        Alert::Expiring(until),
        Alert::TokenOld(Generation::FIRST),
        Alert::Unused(until),
        Alert::PreviousTokenUsed(Generation::FIRST),
        Alert::Rejected { at, until },
    ] {
        note(&mut usage.alert_state, alert, at);
    }

    [
        ("key", key.to_bytes()),
        ("owner", owner.to_bytes()),
        ("store", store.to_bytes()),
        ("event", event.to_bytes()),
        ("quarantine", entry.to_bytes()),
        ("request", request.to_bytes()),
        ("usage", usage.to_bytes()),
    ]
}

/// The bytes of [`full`] in version 1: a change of the form needs another version, and these lines
/// stay readable.
const GOLDEN: &str = include_str!("v1.hex");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_form_is_that_of_version_1() {
    let lines = full().map(|(kind, bytes)| format!("{kind} {}\n", hex(&bytes)));
    assert_eq!(lines.concat(), GOLDEN);
    for (kind, bytes) in full() {
        let again = match kind {
            "key" => KeyRecord::from_bytes(&bytes).map(|record| record.to_bytes()),
            "owner" => OwnerRecord::from_bytes(&bytes).map(|record| record.to_bytes()),
            "store" => StoreMetadata::from_bytes(&bytes).map(|record| record.to_bytes()),
            "event" => Event::from_bytes(&bytes).map(|record| record.to_bytes()),
            "quarantine" => Quarantine::from_bytes(&bytes).map(|record| record.to_bytes()),
            "request" => RequestRecord::from_bytes(&bytes).map(|record| record.to_bytes()),
            _ => Usage::from_bytes(&bytes).map(|record| record.to_bytes()),
        };
        assert_eq!(again, Ok(bytes), "{kind}");
    }
}

#[test]
fn damaged_keys_show_their_digests() {
    let key = sample::key(1, "acme").unwrap();
    let damage = Damage::new("keys", "checksum", DamagedRecord::Key(key.id));
    let mut bytes = key.to_bytes();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let error = KeyRecord::from_bytes(&bytes).unwrap_err();
    assert_eq!((error, error.column()), (RecordError::Checksum, "checksum"));
    assert_eq!(ScannedKey::from_bytes(&bytes).unwrap_err(), error);
    let row = DamagedRow::of_key(damage.clone(), &bytes);
    let shown: Vec<_> = row.digests.iter().map(|digest| *digest.expose()).collect();
    assert_eq!(shown, [*key.current.digest.expose()]);
    assert_eq!(row.damage, damage);
    // Where nothing can be read, there is none.
    for bytes in [&bytes[..20], &[], &[9], &framed("key", &[0xff; 40])] {
        assert!(DamagedRow::of_key(damage.clone(), bytes).digests.is_empty());
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let bytes = sample::owner("acme").unwrap().to_bytes();
    let newer = [&[2], &bytes[1..]].concat();
    let text = OwnerRecord::from_bytes(&newer).unwrap_err().to_string();
    assert_eq!(text, "the bytes have version 2; the greatest known version is 1");
    // A name of two bytes where an owner's id is meant to be, of which one is no text.
    let error = OwnerRecord::from_bytes(&framed("owner", &[2, b'a', 0xff])).unwrap_err();
    assert_eq!((error, error.column()), (RecordError::Field("id"), "id"));
    // A version after which there is none.
    let entry = Quarantine {
        id: KeyId::from_u128(1),
        owner: None,
        version: Version::new(u64::MAX),
        blocked: None,
        revoked: None,
    };
    let error = Quarantine::from_bytes(&entry.to_bytes()).unwrap_err();
    assert_eq!(error, RecordError::Field("version"));
}
