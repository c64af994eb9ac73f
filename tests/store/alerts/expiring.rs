//! Alerts some time before a key expires, of every kind of key.

use std::time::Duration;

use keyhasp::store::AlertSettings;
use keyhasp::{Access, CreateKey, EventKind, Expiry, UpdateKey};
use proptest::prelude::*;

use super::{Alerts, DAY};
use crate::common::HOUR;

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn every_key_is_alerted_so_long_before_it_expires() {
    let mut alerts = Alerts::new(AlertSettings::new().expiring_within(7 * DAY));
    let trial = alerts.trial(20 * DAY);
    let (keys, _) = alerts.world.owner("other");
    let expiry = Expiry::At(alerts.world.after(21 * DAY));
    let standard = keys.create(CreateKey::new(Access::Full).expires(expiry)).unwrap();
    alerts.later(13 * DAY - MOMENT);
    assert_eq!(alerts.run_alerts(), []);
    alerts.later(MOMENT);
    assert_eq!(alerts.run_alerts(), [EventKind::KeyExpiring]);
    alerts.later(DAY);
    assert_eq!(alerts.run_alerts(), [EventKind::KeyExpiring]);
    let ids: Vec<_> = alerts.told_after(0).iter().map(|event| event.key).collect();
    assert_eq!(ids, [Some(trial.key.id), Some(standard.key.id)]);
    alerts.reopen();
    assert_eq!(alerts.run_alerts(), []);
    // Another expiry is alerted by itself, and one that has come is not near.
    let expiry = Expiry::At(alerts.world.after(DAY));
    alerts.world.admin.update(standard.key.id, UpdateKey::new().expires(expiry)).unwrap();
    assert_eq!(alerts.run_alerts(), [EventKind::KeyExpiring]);
    let expiry = Expiry::At(alerts.world.after(30 * DAY));
    alerts.world.admin.extend_expiry(standard.key.id, expiry).unwrap();
    alerts.later(30 * DAY);
    assert_eq!(alerts.run_alerts(), []);
}

#[test]
fn trial_keys_have_one_alert_before_they_expire() {
    let watch = AlertSettings::new().expiring_within(7 * DAY).trials_ending_within(3 * DAY);
    let alerts = Alerts::new(watch);
    let trial = alerts.trial(20 * DAY);
    alerts.later(17 * DAY - MOMENT);
    assert_eq!(alerts.run_alerts(), []);
    alerts.later(MOMENT);
    assert_eq!(alerts.run_alerts(), [EventKind::TrialEnding]);
    // As a standard key with the same expiry it has had its alert.
    let same = Expiry::At(alerts.world.after(3 * DAY));
    alerts.world.admin.convert_trial(trial.key.id, same).unwrap();
    assert_eq!(alerts.run_alerts(), []);
    let later = Expiry::At(alerts.world.after(6 * DAY));
    alerts.world.admin.extend_expiry(trial.key.id, later).unwrap();
    assert_eq!(alerts.run_alerts(), [EventKind::KeyExpiring]);
}

/// One thing after another, of one key that expires.
#[derive(Clone, Debug)]
enum Step {
    Later(u64),
    LookOut,
    Expire(u64),
    Convert(u64),
    Reopen,
    Revoke,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..12_u64).prop_map(Step::Later),
        6 => Just(Step::LookOut),
        3 => (1..40_u64).prop_map(Step::Expire),
        1 => (1..40_u64).prop_map(Step::Convert),
        1 => Just(Step::Reopen),
        1 => Just(Step::Revoke),
    ]
}

proptest! {
    /// Other changes don't matter: the first look in the time before an expiry tells of it, and no
    /// other does. The kind of the key, as it is then, says which event and how long before.
    #[test]
    fn each_expiry_is_told_by_the_first_look_in_the_time_before_it(
        ahead in prop::option::weighted(0.8, 1..30_u64),
        ahead_of_trials in prop::option::of(1..30_u64),
        is_trial: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let hours = |hours: u64| HOUR * u32::try_from(hours).unwrap();
        let mut watch = AlertSettings::new();
        if let Some(ahead) = ahead {
            watch = watch.expiring_within(hours(ahead));
        }
        if let Some(ahead) = ahead_of_trials {
            watch = watch.trials_ending_within(hours(ahead));
        }
        let mut alerts = Alerts::new(watch);
        let (keys, _) = alerts.world.owner("org");
        let owner = keys.owner().unwrap().id;
        let mut expiry = alerts.world.after(hours(40));
        let at = Expiry::At(expiry);
        let request = match is_trial {
            true => CreateKey::trial(Access::Full, at),
            false => CreateKey::new(Access::Full).expires(at),
        };
        let id = alerts.world.admin.create(&owner, request).unwrap().key.id;
        let (mut is_trial, mut is_revoked, mut told) = (is_trial, false, None);
        for step in steps {
            match step {
                Step::Later(by) => alerts.later(hours(by)),
                Step::LookOut => {
                    let of_kind = match (is_trial, ahead_of_trials) {
                        (true, Some(ahead)) => Some((ahead, EventKind::TrialEnding)),
                        _ => ahead.map(|ahead| (ahead, EventKind::KeyExpiring)),
                    };
                    let now = alerts.world.now();
                    let is_near = |ahead| now < expiry && expiry.since(now) <= hours(ahead);
                    let expected = of_kind.filter(|(ahead, _)| {
                        is_near(*ahead) && !is_revoked && told != Some(expiry)
                    });
                    let expected: Vec<EventKind> = expected.iter().map(|(_, kind)| *kind).collect();
                    prop_assert_eq!(alerts.run_alerts(), expected.clone());
                    if !expected.is_empty() {
                        told = Some(expiry);
                    }
                }
                Step::Expire(by) if !is_revoked => {
                    expiry = alerts.world.after(hours(by));
                    let update = UpdateKey::new().expires(Expiry::At(expiry));
                    alerts.world.admin.update(id, update).unwrap();
                }
                Step::Convert(by) if is_trial && !is_revoked => {
                    expiry = alerts.world.after(hours(by));
                    alerts.world.admin.convert_trial(id, Expiry::At(expiry)).unwrap();
                    is_trial = false;
                }
                Step::Reopen => alerts.reopen(),
                Step::Revoke => {
                    let _ = alerts.world.admin.revoke(id).unwrap();
                    is_revoked = true;
                }
                Step::Expire(_) | Step::Convert(_) => {}
            }
        }
    }
}
