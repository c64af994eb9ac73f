//! The settings with which a store is opened, and opened again.

use std::time::Duration;

use keyhasp::key::{Lifetime, StoreRules};
use keyhasp::permission::Catalogue;
use keyhasp::store::{SettingsChange, Store, StoreBuilder};
use keyhasp::{Peppers, Prefix};

use crate::chance::Chance;
use crate::generate::{catalogue, lifetime, prefixes};
use crate::model::{Model, Names, Opening, REFUSED_NAME};
use crate::plans::{UsagePlan, WatchPlan};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The most peppers that are open at once.
const MAX_PEPPERS: usize = 4;

/// The rules of a new store.
pub(crate) fn rules(chance: &mut Chance) -> StoreRules {
    StoreRules {
        unique_names: chance.percent(40),
        keep_standard_key: chance.percent(35),
        recoverable_tokens: chance.percent(70),
        lifetime: if chance.percent(15) { lifetime(chance) } else { Lifetime::default() },
    }
}

/// Settings with which a new store is opened.
pub(crate) fn first(chance: &mut Chance) -> Opening {
    let mut prefixes = prefixes();
    chance.shuffle(&mut prefixes);
    prefixes.truncate(1 + chance.below(4));
    let mut opening = Opening {
        catalogue: catalogue(chance),
        prefixes,
        peppers: vec![if chance.percent(30) { 0 } else { 1 }],
        recovery_keys: if cfg!(feature = "recoverable") && chance.percent(90) {
            vec![1]
        } else {
            vec![]
        },
        usage: None,
        watch: WatchPlan::default(),
        key_retention: None,
    };
    keep_and_watch(&mut opening, chance);
    opening
}

/// Settings of usage and of alerts.
fn keep_and_watch(opening: &mut Opening, chance: &mut Chance) {
    opening.usage = UsagePlan::draw(chance);
    opening.watch = WatchPlan::draw(chance, opening.usage);
    // A scan for alerts makes changes that are refused and leave no trace, so the model couldn't know
    // when keys are purged beside them.
    let keeps = opening.watch.is_idle() && chance.percent(60);
    opening.key_retention = keeps.then(|| chance.pick(&[HOUR, 24 * HOUR, 30 * 24 * HOUR]));
}

/// Settings with which a store is opened again: another catalogue, the same prefixes in another
/// order, a new pepper and a new recovery key beside those that are needed.
pub(crate) fn next(chance: &mut Chance, model: &Model) -> Opening {
    let mut opening = model.opening.clone();
    if chance.percent(60) {
        opening.catalogue = catalogue(chance);
    }
    chance.shuffle(&mut opening.prefixes);
    let mut peppers = sufficient(model);
    if chance.percent(50) {
        peppers.retain(|number| model.needed_peppers().contains(number));
        if peppers.len() < MAX_PEPPERS {
            peppers.insert(0, model.known_peppers.last().map_or(1, |last| last + 1));
        }
    }
    opening.peppers = peppers;
    if chance.percent(30) {
        keep_and_watch(&mut opening, chance);
    }
    if cfg!(feature = "recoverable") {
        match chance.below(10) {
            0 => opening.recovery_keys.clear(),
            1..=3 => {
                let next = opening.recovery_keys.iter().max().map_or(1, |last| last + 1);
                opening.recovery_keys.insert(0, next);
            }
            4 => opening.recovery_keys.truncate(1),
            // The old recovery keys are lost, and the tokens sealed under them.
            6 | 7 => {
                let next = opening.recovery_keys.iter().max().map_or(1, |last| last + 1);
                opening.recovery_keys = vec![next];
            }
            5 if opening.recovery_keys.is_empty() => opening.recovery_keys.push(1),
            _ => {}
        }
    }
    opening
}

/// Returns whether the store can be opened. If a clock stepped back, tokens may live again under
/// more peppers than can be open.
pub(crate) fn is_possible(model: &Model) -> bool {
    model.needed_peppers().len() <= MAX_PEPPERS
}

/// Returns the open peppers and the needed ones. If the clock stepped back, a pepper may be needed
/// again that wasn't needed when the store was opened.
pub(crate) fn sufficient(model: &Model) -> Vec<u16> {
    let needed = model.needed_peppers();
    let mut peppers = model.opening.peppers.clone();
    peppers.retain(|number| !model.retired_peppers.contains(number));
    peppers.extend(needed.iter().filter(|number| !model.opening.peppers.contains(number)));
    while peppers.len() > MAX_PEPPERS {
        let spare = peppers.iter().rposition(|number| !needed.contains(number));
        peppers.remove(spare.expect("more peppers are needed than can be open"));
    }
    // The public one is never the newer one.
    peppers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    peppers
}

/// The settings that the store under test keeps in memory.
pub(crate) const DETAILS: [&str; 3] = ["colour", "größe", "none"];

/// Makes a builder for the store under test, with usage and alerts.
pub(crate) fn whole_builder(opening: &Opening, rules: StoreRules) -> StoreBuilder {
    let builder = builder(opening, rules).alerts(opening.watch.watch()).key_details(DETAILS);
    let builder = match opening.key_retention {
        Some(keep) => builder.key_retention(keep),
        None => builder,
    };
    match opening.usage {
        Some(plan) => builder.usage(plan.settings()),
        None => builder,
    }
}

/// Makes a builder with all settings except the clock and randomness.
pub(crate) fn builder(opening: &Opening, rules: StoreRules) -> StoreBuilder {
    let builder = Store::builder(declare(&opening.catalogue), opening.prefixes.iter().copied())
        .rules(rules)
        // A verification waits for its lease, however slow the machine is; and a lease that is
        // renewed begins a period that the model doesn't know of.
        .quota_wait(Duration::from_secs(3_600))
        .without_renewals_for_tests()
        // The model writes pieces when it is told to.
        .without_sweeps_for_tests()
        .peppers(open_peppers(&opening.peppers))
        .settings_check(|change: &SettingsChange<'_>| match change.new.get(REFUSED_NAME) {
            Some(_) => Err(format!("`{REFUSED_NAME}` is not for use")),
            None => Ok(()),
        });
    with_recovery_keys(builder, &opening.recovery_keys)
}

#[cfg(feature = "recoverable")]
fn with_recovery_keys(builder: StoreBuilder, numbers: &[u16]) -> StoreBuilder {
    let Some((current, others)) = numbers.split_first() else { return builder };
    let bytes = |number: u16| [u8::try_from(number).unwrap() ^ 0xf0; 32];
    let mut keys = keyhasp::RecoveryKeys::new(*current, bytes(*current)).unwrap();
    for number in others {
        keys = keys.and(*number, bytes(*number)).unwrap();
    }
    builder.recovery_keys(keys)
}

#[cfg(not(feature = "recoverable"))]
fn with_recovery_keys(builder: StoreBuilder, _numbers: &[u16]) -> StoreBuilder {
    builder
}

fn declare(names: &Names) -> Catalogue {
    let declared = names.iter().fold(Catalogue::builder(), |builder, (name, is_read)| {
        if *is_read { builder.read(*name) } else { builder.write(*name) }
    });
    declared.build().unwrap()
}

/// Number 0 is the public one.
pub(crate) fn open_peppers(numbers: &[u16]) -> Peppers {
    let bytes = |number: u16| [u8::try_from(number).unwrap(); 32];
    let (current, others) = numbers.split_first().unwrap();
    if *current == 0 {
        assert!(others.is_empty(), "the public pepper is never the newer one");
        return Peppers::public();
    }
    let mut peppers = Peppers::new(*current, bytes(*current)).unwrap();
    for number in others {
        peppers = match number {
            0 => peppers.and_public().unwrap(),
            number => peppers.and(*number, bytes(*number)).unwrap(),
        };
    }
    peppers
}

/// A pepper that the store knows under `number`, given under another one.
pub(crate) fn known_pepper_as(number: u16, other: u16) -> Peppers {
    Peppers::new(other, [u8::try_from(number).unwrap(); 32]).unwrap()
}

/// Prefixes of which one isn't accepted by the store.
pub(crate) fn other_prefixes(opening: &Opening) -> Vec<Prefix> {
    let stranger = Prefix::new("stranger").unwrap();
    opening.prefixes.iter().skip(1).copied().chain([stranger]).collect()
}
