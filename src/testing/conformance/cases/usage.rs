//! Usage of keys: added up beside the records, and found again.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::backend::{UsageChange, UsageSubject};
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::key::{LastAddress, RejectKind, RejectedCounts, Usage, Used};
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Instance;
use crate::testing::conformance::instance::Lab;
use crate::testing::conformance::together::together;
use crate::testing::sample;

list![
    usage_is_added_up,
    usage_of_every_field_reads_back,
    usage_is_answered_in_the_order_of_the_question,
    usage_of_what_is_not_there_is_not_kept,
    usage_leaves_records_and_events_alone,
    usage_stays_through_changes,
    usage_goes_with_its_key,
    usage_addresses_are_forgotten,
    usage_of_a_later_time_counts_as_noted_now,
    usage_counts_stop_at_the_greatest,
    usage_a_batch_may_hold_many_steps,
    usage_a_reader_never_sees_half_a_batch,
    usage_of_many_threads_is_added_up,
    usage_is_found_again,
    usage_is_found_again_without_a_close,
];

/// A store with an owner and so many keys.
fn with_keys<'a>(lab: &Lab<'a>, keys: u32) -> Result<Instance<'a>, Failure> {
    let backend = lab.with_owners(&["acme"])?;
    for n in 1..=keys {
        backend.apply(sample::create_key(&sample::key(n, "acme")?)?)?;
    }
    Ok(backend)
}

fn id(n: u32) -> KeyId {
    sample::key_id(n)
}

fn accepted(count: u64) -> Used {
    Used { accepted: count, ..Used::default() }
}

fn used_at(seconds: u64) -> Used {
    Used { last_used_at: Some(sample::at(seconds)), ..accepted(1) }
}

fn seen(last: u8, seconds: u64) -> Used {
    let address = IpAddr::from([192, 0, 2, last]);
    Used {
        last_address: Some(LastAddress { address, at: sample::at(seconds) }),
        ..used_at(seconds)
    }
}

fn rejected(reason: RejectKind, count: u64) -> Used {
    let mut rejected = RejectedCounts::default();
    rejected.add(reason, count);
    Used { rejected, ..Used::default() }
}

/// All there can be of a key, with an address of 16 bytes.
fn rich() -> Used {
    let mut used = Used {
        last_address: Some(LastAddress {
            address: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0xffff, 0x102, 0x304]),
            at: sample::at(3),
        }),
        ..used_at(4)
    };
    for (reason, count) in RejectKind::ALL.iter().copied().zip(5..) {
        used.rejected.add(reason, count);
    }
    used
}

fn usage_is_added_up(lab: &Lab<'_>) -> Tested {
    let backend = with_keys(lab, 2)?;
    let steps = [
        used_at(5),
        // Earlier uses, recorded later, are no later.
        used_at(3),
        rejected(RejectKind::Expired, 2),
        seen(1, 6),
        seen(2, 4),
        // At one moment the address that is recorded last counts.
        seen(3, 6),
        rejected(RejectKind::RateLimited, 1),
        rejected(RejectKind::Expired, 3),
        accepted(10),
    ];
    let mut sum = Used::default();
    for (step, used) in steps.iter().enumerate() {
        backend.take_in(&[UsageChange::Add(id(1), *used)])?;
        sum.add(used);
        ensure_eq!(backend.used(id(1))?, sum, "the sum after step {step}");
    }
    // In one batch it is the same.
    let batch: Vec<_> = steps.iter().map(|used| UsageChange::Add(id(2), *used)).collect();
    backend.take_in(&batch)?;
    ensure_eq!(backend.used(id(2))?, sum, "the sum of a batch");
    Ok(())
}

fn usage_of_every_field_reads_back(lab: &Lab<'_>) -> Tested {
    let backend = with_keys(lab, 4)?;
    for (n, used) in (1..).zip([rich(), seen(1, 0), rejected(RejectKind::AddressRejected, 1)]) {
        // The first of a key, and one more.
        for times in 1..=2 {
            backend.take_in(&[UsageChange::Add(id(n), used)])?;
            let mut expected = used;
            (1..times).for_each(|_| expected.add(&used));
            ensure_eq!(backend.used(id(n))?, expected, "key {n}, used {times} times");
        }
    }
    let ends = Used { last_used_at: Some(Timestamp::MAX), ..Used::default() };
    backend.take_in(&[UsageChange::Add(id(4), ends)])?;
    ensure_eq!(backend.used(id(4))?, ends, "the last moment there is");
    Ok(())
}

fn usage_is_answered_in_the_order_of_the_question(lab: &Lab<'_>) -> Tested {
    let backend = with_keys(lab, 3)?;
    let batch = [1, 2, 3].map(|n| UsageChange::Add(id(n), accepted(n.into())));
    backend.take_in(&batch)?;
    ensure_eq!(backend.usage(&[])?.len(), 0, "answers to no question");
    let owner = UsageSubject::Owner(sample::owner_id("acme")?);
    let asked = [3, 1, 9, 2, 3].map(|n| UsageSubject::Key(id(n)));
    let answers = backend.usage(&[&asked[..], &[owner]].concat())?;
    let counts: Vec<u64> = answers.iter().map(|usage| usage.used.accepted).collect();
    ensure_eq!(counts, [3, 1, 0, 2, 3, 0], "counts of keys 3, 1, one that isn't, 2, 3, an owner");
    Ok(())
}

fn usage_of_what_is_not_there_is_not_kept(lab: &Lab<'_>) -> Tested {
    let backend = with_keys(lab, 1)?;
    let forget =
        UsageChange::Settle { of: id(2), now: sample::at(9), forget_before: sample::at(9) };
    let before = UsageChange::Add(id(1), accepted(1));
    // Nor is it an error: the key may have been removed meanwhile.
    backend.take_in(&[before, UsageChange::Add(id(2), rich()), forget])?;
    ensure_eq!(backend.used(id(1))?, accepted(1), "what else is in the batch");
    ensure_eq!(backend.used(id(2))?, Used::default(), "of a key that isn't there");
    backend.apply(sample::create_key(&sample::key(2, "acme")?)?)?;
    ensure_eq!(backend.used(id(2))?, Used::default(), "of a key that came later");
    Ok(())
}

/// Nor does any change expect another version for it.
fn usage_leaves_records_and_events_alone(lab: &Lab<'_>) -> Tested {
    let backend = with_keys(lab, 1)?;
    let key = sample::key(1, "acme")?;
    let last = backend.last_event()?;
    backend.take_in(&[])?;
    backend.take_in(&[UsageChange::Add(id(1), rich())])?;
    ensure_eq!(backend.last_event()?, last, "the last event");
    ensure_eq!(backend.all_events()?.len() as u64, last, "number of events");
    backend.expect_key(&key)?;
    backend.apply(sample::replace_key(&sample::changed_key(&key))?)?;
    Ok(())
}

fn usage_stays_through_changes(lab: &Lab<'_>) -> Tested {
    let backend = with_keys(lab, 1)?;
    backend.take_in(&[UsageChange::Add(id(1), rich())])?;
    let changed = sample::changed_key(&sample::key(1, "acme")?);
    backend.apply(sample::replace_key(&changed)?)?;
    ensure_eq!(backend.used(id(1))?, rich(), "after a change");
    backend.apply(sample::replace_key(&sample::revoked(&changed)?)?)?;
    ensure_eq!(backend.used(id(1))?, rich(), "after revocation");
    Ok(())
}

fn usage_goes_with_its_key(lab: &Lab<'_>) -> Tested {
    let backend = with_keys(lab, 2)?;
    let key = sample::key(1, "acme")?;
    backend.take_in(&[1, 2].map(|n| UsageChange::Add(id(n), rich())))?;
    backend.apply(sample::remove_key(&key)?)?;
    ensure_eq!(backend.used(id(1))?, Used::default(), "of a removed key");
    backend.apply(sample::create_key(&key)?)?;
    ensure_eq!(backend.used(id(1))?, Used::default(), "of one that came again");
    ensure_eq!(backend.used(id(2))?, rich(), "of another key");
    Ok(())
}

fn usage_addresses_are_forgotten(lab: &Lab<'_>) -> Tested {
    let backend = with_keys(lab, 1)?;
    let settle = |now, before| {
        let (now, forget_before) = (sample::at(now), sample::at(before));
        [UsageChange::Settle { of: id(1), now, forget_before }]
    };
    let forget = |before| settle(1_000, before);
    backend.take_in(&forget(9))?;
    backend.take_in(&[UsageChange::Add(id(1), seen(1, 5))])?;
    backend.take_in(&forget(5))?;
    ensure_eq!(backend.used(id(1))?, seen(1, 5), "one that isn't so old");
    backend.take_in(&forget(6))?;
    ensure_eq!(backend.used(id(1))?, used_at(5), "all but the address");
    Ok(())
}

fn usage_of_a_later_time_counts_as_noted_now(lab: &Lab<'_>) -> Tested {
    let backend = with_keys(lab, 1)?;
    let settle = |now, before| {
        let (now, forget_before) = (sample::at(now), sample::at(before));
        [UsageChange::Settle { of: id(1), now, forget_before }]
    };
    backend.take_in(&[UsageChange::Add(id(1), seen(1, 50))])?;
    backend.take_in(&settle(50, 0))?;
    ensure_eq!(backend.used(id(1))?, seen(1, 50), "what isn't later");
    backend.take_in(&settle(7, 7))?;
    ensure_eq!(backend.used(id(1))?, seen(1, 7), "what was later");
    backend.take_in(&settle(6, 7))?;
    ensure_eq!(backend.used(id(1))?, used_at(6), "an address that is old after that");
    Ok(())
}

fn usage_counts_stop_at_the_greatest(lab: &Lab<'_>) -> Tested {
    let backend = with_keys(lab, 1)?;
    let most = Usage::MAX_COUNT;
    let mut all = accepted(most - 1);
    RejectKind::ALL.iter().for_each(|reason| all.rejected.add(*reason, most - 1));
    backend.take_in(&[UsageChange::Add(id(1), all)])?;
    ensure_eq!(backend.used(id(1))?, all, "one less than the greatest");
    for more in [1, u64::MAX] {
        let more = Used { accepted: more, ..all };
        backend.take_in(&[UsageChange::Add(id(1), more)])?;
        let found = backend.used(id(1))?;
        ensure_eq!(found.accepted, most, "the greatest count of uses");
        let stopped = found.rejected.iter().filter(|(_, count)| *count == most);
        ensure_eq!(stopped.count(), RejectKind::ALL.len(), "greatest counts of rejections");
    }
    Ok(())
}

fn usage_a_batch_may_hold_many_steps(lab: &Lab<'_>) -> Tested {
    const STEPS: u64 = 10_000;
    let backend = with_keys(lab, 3)?;
    let batch: Vec<_> =
        (0..STEPS).map(|n| UsageChange::Add(id(u32::from(n % 2 == 1) + 1), used_at(n))).collect();
    backend.take_in(&batch)?;
    for (n, last) in [(1, STEPS - 2), (2, STEPS - 1)] {
        let expected = Used { accepted: STEPS / 2, ..used_at(last) };
        ensure_eq!(backend.used(id(n))?, expected, "key {n}");
    }
    Ok(())
}

fn usage_a_reader_never_sees_half_a_batch(lab: &Lab<'_>) -> Tested {
    const STEPS: u64 = 40;
    let instance = with_keys(lab, 2)?;
    let (backend, done) = (&*instance, &AtomicBool::new(false));
    together(2, |thread| {
        if thread == 0 {
            let _done = Finally(done);
            let both = [1, 2].map(|n| UsageChange::Add(id(n), accepted(1)));
            return (0..STEPS).try_for_each(|_| backend.take_in(&both).map(drop));
        }
        loop {
            // Asked first, so that the last state is read too.
            let last = done.load(Ordering::SeqCst);
            let both = backend.usage(&[1, 2].map(|n| UsageSubject::Key(id(n))))?;
            ensure_eq!(both.len(), 2, "answers");
            ensure_eq!(both[0], both[1], "two keys that are only used together");
            if last {
                ensure_eq!(both[0].used.accepted, STEPS, "the last sum");
                return Ok(());
            }
        }
    })
    .map(drop)
}

/// Says on drop that a thread is done, also when it panicked.
struct Finally<'a>(&'a AtomicBool);

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn usage_of_many_threads_is_added_up(lab: &Lab<'_>) -> Tested {
    const STEPS: u64 = 20;
    let instance = with_keys(lab, 2)?;
    let backend = &*instance;
    together(4, |thread| {
        for step in 0..STEPS {
            let one = [2, 1].map(|n| UsageChange::Add(id(n), used_at(step + thread as u64)));
            backend.take_in(&one)?;
            let found = backend.used(id(1))?.accepted;
            ensure!(found > step, "{found} uses after {} of this thread's", step + 1);
        }
        Ok(())
    })?;
    for n in [1, 2] {
        let expected = Used { accepted: 4 * STEPS, ..used_at(STEPS + 2) };
        ensure_eq!(backend.used(id(n))?, expected, "all uses of all threads");
    }
    Ok(())
}

fn usage_is_found_again(lab: &Lab<'_>) -> Tested {
    found_again(lab, Instance::reopened)
}

fn usage_is_found_again_without_a_close(lab: &Lab<'_>) -> Tested {
    found_again(lab, Instance::abandoned)
}

fn found_again<'a>(
    lab: &Lab<'a>,
    open_again: fn(Instance<'a>) -> Result<Instance<'a>, Failure>,
) -> Tested {
    let backend = with_keys(lab, 1)?;
    backend.take_in(&[UsageChange::Add(id(1), rich())])?;
    backend.take_in(&[UsageChange::Add(id(1), used_at(9))])?;
    let backend = open_again(backend)?;
    let mut sum = rich();
    sum.add(&used_at(9));
    let expected = if backend.keeps() { sum } else { Used::default() };
    ensure_eq!(backend.used(id(1))?, expected, "after opening again");
    Ok(())
}
