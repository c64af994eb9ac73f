//! The bytes of sled's records: an error, or a record that is written and read as the same one.

use keyhasp::backend::sled::decoding;
use keyhasp::key::Usage;
use keyhasp::testing::differences;
use keyhasp::{KeyId, OwnerId};

pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 5 {
        0 => key(bytes),
        1 => owner(bytes),
        2 => {
            let Ok((record, again)) = decoding::metadata(bytes) else { return };
            assert_eq!(decoding::metadata(&again).unwrap().0, record);
            assert!(decoding::metadata(&longer(again)).is_err());
        }
        3 => {
            let Ok((record, again)) = decoding::event(7, bytes) else { return };
            assert_eq!(decoding::event(7, &again).unwrap().0, record);
            assert!(decoding::event(7, &longer(again)).is_err());
        }
        _ => {
            let Ok((usage, again)) = decoding::usage(bytes) else { return };
            assert_eq!(decoding::usage(&again).unwrap().0, usage);
            assert!(decoding::usage(&longer(again)).is_err());
            // As when it is told again.
            let mut twice = usage;
            twice.used.add(&usage.used);
            assert_eq!(twice.used.last_address, usage.used.last_address);
            assert!(twice.used.accepted <= Usage::MAX_COUNT);
        }
    }
}

/// What sort of record an input is one of, if any, and the record's bytes when it is written again.
pub fn sort(data: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let (kind, bytes) = data.split_first()?;
    let (sort, again) = match kind % 5 {
        0 => ("key", decoding::key(KeyId::from_u128(7), bytes).map(|(_, again)| again)),
        1 => {
            let owner = OwnerId::new("acme").unwrap();
            ("owner", decoding::owner(owner, bytes).map(|(_, again)| again))
        }
        2 => ("metadata", decoding::metadata(bytes).map(|(_, again)| again)),
        3 => ("event", decoding::event(7, bytes).map(|(_, again)| again)),
        _ => ("usage", decoding::usage(bytes).map(|(_, again)| again)),
    };
    Some((sort, again.ok()?))
}

/// What goes on after its end is no record.
fn longer(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(0);
    bytes
}

fn key(bytes: &[u8]) {
    let id = KeyId::from_u128(7);
    let scanned = decoding::scanned_key(id, bytes);
    let Ok((record, again)) = decoding::key(id, bytes) else { return };
    let same = decoding::key(id, &again).unwrap().0;
    assert_eq!(differences::of_keys(&record, &same), [""; 0]);
    assert!(decoding::key(id, &longer(again)).is_err());
    // The index is shown what the record says.
    let scanned = scanned.unwrap();
    assert_eq!(differences::of_scanned_keys(&(&record).into(), &scanned), [""; 0]);
}

fn owner(bytes: &[u8]) {
    let id = OwnerId::new("acme").unwrap();
    let scanned = decoding::scanned_owner(id, bytes);
    let Ok((record, again)) = decoding::owner(id, bytes) else { return };
    let same = decoding::owner(id, &again).unwrap().0;
    assert_eq!(differences::of_owners(&record, &same), [""; 0]);
    assert!(decoding::owner(id, &longer(again)).is_err());
    let scanned = scanned.unwrap();
    assert_eq!(differences::of_scanned_owners(&(&record).into(), &scanned), [""; 0]);
}
