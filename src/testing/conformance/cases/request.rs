//! Requests, under which a change takes effect once.

use crate::backend::{Backend, Change, Once, Rejection};
use crate::clock::Timestamp;
use crate::id::Generation;
use crate::key::{CallerScope, IdempotencyKey, RequestId, RequestRecord};
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

list![
    request_a_change_takes_effect_once,
    request_records_read_back,
    request_replacing_needs_one_that_is_there,
    request_what_is_over_counts_as_gone,
    request_what_is_over_goes_in_pieces,
    request_records_are_found_after_opening,
];

fn named_request(scope: CallerScope, key: &str, n: u32) -> Result<RequestRecord, Failure> {
    Ok(RequestRecord {
        id: RequestId { scope, key: IdempotencyKey::new(key)? },
        content: [u8::try_from(n).unwrap_or(u8::MAX); 32],
        key_id: sample::key_id(n),
        generation: Generation::FIRST,
        is_replaced: false,
        at: sample::at(u64::from(n)),
    })
}

/// A request of an administrator, noted at the `n`-th moment.
fn request(n: u32) -> Result<RequestRecord, Failure> {
    named_request(CallerScope::Administrator, &format!("request-{n}"), n)
}

fn once(record: RequestRecord) -> Once {
    Once { record, replaces: false, over_before: None }
}

/// Creates the `n`-th key under a request.
fn creation(n: u32, once: Once) -> Result<Change, Failure> {
    Ok(sample::create_key(&sample::key(n, "acme")?)?.under(once))
}

/// An event that stands alone, under a request.
fn note(once: Once) -> Result<Change, Failure> {
    Ok(sample::note(&sample::key(1, "acme")?)?.under(once))
}

fn expect(backend: &dyn Backend, record: &RequestRecord) -> Tested {
    ensure_eq!(backend.request(&record.id)?.as_ref(), Some(record), "a request");
    Ok(())
}

fn request_a_change_takes_effect_once(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    backend.apply(creation(1, once(request(1)?))?)?;
    let last = backend.last_event()?;
    let again = RequestRecord { key_id: sample::key_id(2), ..request(1)? };
    backend.expect_refusal(
        creation(2, once(again))?,
        &Rejection::AlreadyRequested,
        "a second change under a request",
    )?;
    ensure_eq!(backend.last_event()?, last, "the last event after that");
    ensure!(backend.key(sample::key_id(2))?.is_none(), "the second change left a key");
    expect(&*backend, &request(1)?)?;
    // In one batch, too.
    let batch = [creation(3, once(request(3)?))?, creation(4, once(request(3)?))?];
    let outcome = backend.batch(&batch)?;
    let took: Vec<bool> = outcome.iter().map(Result::is_ok).collect();
    ensure_eq!(took, [true, false], "the same request twice in a batch");
    // A change that is refused, since a key with this id is there, leaves no request.
    backend.refuse(creation(1, once(request(5)?))?)?;
    ensure!(backend.request(&request(5)?.id)?.is_none(), "a refused change left its request");
    backend.apply(creation(5, once(request(5)?))?)?;
    Ok(())
}

/// Requests of every scope, also where one's bytes begin with another's.
fn records() -> Result<Vec<RequestRecord>, Failure> {
    let longest = "k".repeat(IdempotencyKey::MAX_LEN);
    let mut records = Vec::new();
    for scope in [
        CallerScope::Administrator,
        CallerScope::ActingKey(sample::key_id(1)),
        CallerScope::ActingKey(sample::key_id(2)),
        CallerScope::Owner(sample::owner_id("acme")?),
        CallerScope::Owner(sample::owner_id("acmea")?),
        CallerScope::Owner(sample::owner_id(&"o".repeat(64))?),
    ] {
        for key in ["a", "aa", longest.as_str()] {
            let n = u32::try_from(records.len() + 1).unwrap_or_default();
            let record = named_request(scope, key, n)?;
            let (generation, is_replaced) = (Generation::new(n)?, n.is_multiple_of(2));
            records.push(RequestRecord { generation, is_replaced, ..record });
        }
    }
    records.push(RequestRecord { at: Timestamp::MAX, generation: Generation::MAX, ..request(90)? });
    Ok(records)
}

fn request_records_read_back(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    for record in records()? {
        ensure!(backend.request(&record.id)?.is_none(), "a request that was never made");
        backend.apply(note(once(record))?)?;
    }
    records()?.iter().try_for_each(|record| expect(&*backend, record))
}

fn request_replacing_needs_one_that_is_there(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let replacing = |record| Once { replaces: true, ..once(record) };
    backend.expect_refusal(
        note(replacing(request(1)?))?,
        &Rejection::AlreadyRequested,
        "replacing a request that isn't there",
    )?;
    backend.apply(note(once(request(1)?))?)?;
    let later = RequestRecord { is_replaced: true, at: sample::at(9), ..request(1)? };
    backend.apply(note(replacing(later.clone()))?)?;
    expect(&*backend, &later)
}

fn request_what_is_over_counts_as_gone(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    backend.apply(note(once(request(5)?))?)?;
    let at = |n| Some(sample::at(n));
    let later = RequestRecord { at: sample::at(8), ..request(5)? };
    // It isn't before its own moment.
    let again = Once { over_before: at(5), ..once(later.clone()) };
    backend.refuse(note(again)?)?;
    let replacing = Once { replaces: true, over_before: at(6), ..once(later.clone()) };
    backend.refuse(note(replacing)?)?;
    expect(&*backend, &request(5)?)?;
    let again = Once { over_before: at(6), ..once(later.clone()) };
    backend.apply(note(again)?)?;
    expect(&*backend, &later)?;
    // The earlier moment doesn't remove the later record.
    backend.apply(note(Once { over_before: at(7), ..once(request(9)?) })?)?;
    expect(&*backend, &later)
}

fn request_what_is_over_goes_in_pieces(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    for n in 1..=40 {
        backend.apply(note(once(request(n)?))?)?;
    }
    let left = |from: u32, to: u32| -> Result<usize, Failure> {
        let mut left = 0;
        for n in from..=to {
            left += usize::from(backend.request(&request(n)?.id)?.is_some());
        }
        Ok(left)
    };
    let over_before = Some(sample::at(31));
    // A change without a request removes none, nor does one that is refused.
    backend.apply(sample::note(&sample::key(1, "acme")?)?)?;
    backend.refuse(note(Once { over_before, ..once(request(40)?) })?)?;
    ensure_eq!(left(1, 40)?, 40, "requests before one is over");
    for (n, expected) in [(41, 14), (42, 0), (43, 0)] {
        let record = RequestRecord { at: sample::at(50), ..request(n)? };
        backend.apply(note(Once { over_before, ..once(record) })?)?;
        ensure_eq!(left(1, 30)?, expected, "requests that are over");
    }
    ensure_eq!(left(31, 43)?, 13, "requests that aren't over");
    Ok(())
}

fn request_records_are_found_after_opening(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    if !backend.keeps() {
        return Ok(());
    }
    for record in records()? {
        backend.apply(note(once(record))?)?;
    }
    let backend = backend.reopened()?;
    records()?.iter().try_for_each(|record| expect(&*backend, record))?;
    let backend = backend.abandoned()?;
    for record in records()? {
        backend.refuse(note(once(record))?)?;
    }
    Ok(())
}
