//! Alerts, which are events of a key that no call makes: each is written once.

use crate::backend::{Change, Precondition, Rejection, UsageChange, UsageSubject};
use crate::id::{Generation, Version};
use crate::key::{Alert, AlertState, Used};
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure_eq};
use crate::testing::conformance::instance::Instance;
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

list![
    rule_a_alert_is_told_once,
    rule_what_was_told_reads_back,
    rule_what_was_told_stays_beside_usage,
    rule_what_was_told_goes_with_its_key,
];

/// One of each, and one of a previous token whose grace ends after that of a later one.
fn alerts() -> Result<[Alert; 7], Failure> {
    Ok([
        Alert::Expired(sample::at(1)),
        Alert::Expiring(sample::at(2)),
        Alert::TokenOld(generation(3)?),
        Alert::Unused(sample::at(4)),
        Alert::PreviousTokenUsed(generation(5)?),
        Alert::PreviousTokenUsed(generation(3)?),
        Alert::Rejected { at: sample::at(6), until: sample::at(7) },
    ])
}

fn generation(number: u32) -> Result<Generation, Failure> {
    Ok(Generation::new(number)?)
}

/// The alert state of a key after all these alerts.
fn told_of(alerts: &[Alert]) -> AlertState {
    let mut told = AlertState::default();
    for alert in alerts {
        let _is_new = told.note(*alert, sample::at(0));
    }
    told
}

fn with_key<'a>(lab: &Lab<'a>) -> Result<Instance<'a>, Failure> {
    let backend = lab.with_owners(&["acme"])?;
    backend.apply(sample::create_key(&sample::key(1, "acme")?)?)?;
    Ok(backend)
}

/// The change by which the store writes an alert: for one version of the key.
fn telling(alert: Alert) -> Result<Change, Failure> {
    let key = sample::key(1, "acme")?;
    let precondition = Precondition::Key(key.id, key.version);
    Ok(sample::tell(&key, alert)?.requiring(precondition))
}

fn rule_a_alert_is_told_once(lab: &Lab<'_>) -> Tested {
    let backend = with_key(lab)?;
    for alert in alerts()? {
        let applied = backend.apply(telling(alert)?)?;
        ensure_eq!(backend.last_event()?, applied.last_event, "the event of {alert:?}");
        backend.expect_refusal(
            telling(alert)?,
            &Rejection::AlreadyAlerted(sample::key_id(1)),
            format_args!("{alert:?} again"),
        )?;
        ensure_eq!(backend.last_event()?, applied.last_event, "the last event after that");
    }
    // In one batch, too.
    let later = telling(Alert::Expired(sample::at(9)))?;
    let outcome = backend.commit(&[later.clone(), later])?;
    let told: Vec<bool> = outcome.iter().map(Result::is_ok).collect();
    ensure_eq!(told, [true, false], "the same twice in a batch");
    // The record is as it was.
    backend.expect_key(&sample::key(1, "acme")?)?;
    let (of, expected) = (sample::key_id(1), Version::new(2));
    let stale = telling(Alert::Expired(sample::at(10)))?;
    let stale = Change { preconditions: vec![Precondition::Key(of, expected)], ..stale };
    backend.refuse(stale)?;
    Ok(())
}

fn rule_what_was_told_reads_back(lab: &Lab<'_>) -> Tested {
    let backend = with_key(lab)?;
    let alerts = alerts()?;
    for count in 1..=alerts.len() {
        backend.apply(telling(alerts[count - 1])?)?;
        let found = backend.usage_of(UsageSubject::Key(sample::key_id(1)))?.alert_state;
        ensure_eq!(found, told_of(&alerts[..count]), "what was told after {count}");
    }
    Ok(())
}

fn rule_what_was_told_stays_beside_usage(lab: &Lab<'_>) -> Tested {
    let backend = with_key(lab)?;
    let alerts = alerts()?;
    let used = Used { accepted: 1, last_used_at: Some(sample::at(8)), ..Used::default() };
    for alert in alerts {
        backend.take_in(&[UsageChange::Add(sample::key_id(1), used)])?;
        backend.apply(telling(alert)?)?;
    }
    backend.take_in(&[UsageChange::Add(sample::key_id(1), used)])?;
    let usage = backend.usage_of(UsageSubject::Key(sample::key_id(1)))?;
    ensure_eq!(usage.alert_state, told_of(&alerts), "what was told");
    ensure_eq!(usage.used.accepted, 8, "uses beside it");
    Ok(())
}

fn rule_what_was_told_goes_with_its_key(lab: &Lab<'_>) -> Tested {
    let backend = with_key(lab)?;
    let alert = Alert::Expired(sample::at(1));
    backend.apply(telling(alert)?)?;
    backend.apply(sample::remove_key(&sample::key(1, "acme")?)?)?;
    let found = backend.usage_of(UsageSubject::Key(sample::key_id(1)))?.alert_state;
    ensure_eq!(found, AlertState::default(), "of a key that is gone");
    backend.apply(sample::create_key(&sample::key(1, "acme")?)?)?;
    backend.apply(telling(alert)?)?;
    Ok(())
}
