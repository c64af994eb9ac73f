//! The store's rules change where the data allow it, and hold from then on.

use crate::backend::{PepperUse, Rejection};
use crate::event::EventKind;
use crate::key::{KeyRecord, Kind, PepperCheck, PepperNumber, Prefix, StoreMetadata, StoreRules};
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

use crate::testing::conformance::instance::Instance;

list![
    rule_nothing_is_committed_before_the_creation,
    rule_a_store_is_created_once,
    rule_a_creation_takes_other_writes_along,
    rule_unique_names_need_unique_names,
    rule_keep_standard_key_needs_standard_keys,
    rule_no_recoverable_tokens_needs_no_seals,
    rule_no_prefix_goes_that_a_token_has,
    rule_new_rules_judge_what_their_change_writes,
    rule_new_rules_hold_for_the_next_change,
    rule_a_retired_pepper_ends_the_live_tokens_under_it,
];

fn rule_nothing_is_committed_before_the_creation(lab: &Lab<'_>) -> Tested {
    let backend = lab.blank()?;
    backend.expect_blank()?;
    let owner = sample::create_owner(&sample::owner("acme")?)?;
    let creation = sample::create_metadata(&sample::metadata()?)?;
    let outcome = backend.batch(&[owner.clone(), creation, owner])?;
    let taken: Vec<bool> = outcome.iter().map(Result::is_ok).collect();
    ensure_eq!(taken, [false, true, true], "which changes take effect");
    ensure_eq!(outcome[0], Err(Rejection::StoreMissing), "the change before the creation");
    backend.expect_owner(&sample::owner("acme")?)
}

fn rule_a_store_is_created_once(lab: &Lab<'_>) -> Tested {
    let first = sample::metadata()?;
    let backend = lab.with_metadata(&first)?;
    let created: Vec<_> =
        backend.all_events()?.iter().map(|event| (event.sequence, event.kind)).collect();
    ensure_eq!(created, [(1, EventKind::StoreCreated)], "the first event");
    for version in [first.version, first.version.next()] {
        let other = StoreMetadata { version, ..sample::largest_metadata()? };
        backend.expect_refusal(
            sample::create_metadata(&other)?,
            &Rejection::StoreExists,
            "a second creation",
        )?;
    }
    ensure_eq!(backend.stored_metadata()?, first, "the metadata");
    backend.expect_empty()
}

fn rule_a_creation_takes_other_writes_along(lab: &Lab<'_>) -> Tested {
    let backend = lab.blank()?;
    let (metadata, owner) = (sample::metadata()?, sample::owner("acme")?);
    let creation = sample::create_metadata(&metadata)?;
    backend.apply(sample::in_one([creation, sample::create_owner(&owner)?]))?;
    ensure_eq!(backend.stored_metadata()?, metadata, "the metadata");
    ensure_eq!(backend.last_event()?, 2, "last event");
    backend.expect_owner(&owner)?;
    // The created rules are those by which it is judged.
    let backend = lab.blank()?;
    let rules = StoreRules { keep_standard_key: true, ..StoreRules::default() };
    let creation = sample::create_metadata(&StoreMetadata { rules, ..metadata })?;
    let both = sample::in_one([creation, sample::create_owner(&owner)?]);
    backend.expect_refusal(both, &Rejection::LastStandardKey, "an owner without a key")?;
    backend.expect_blank()
}

/// The metadata that would follow, with other rules.
fn with_rules(backend: &Instance<'_>, rules: StoreRules) -> Result<StoreMetadata, Failure> {
    Ok(StoreMetadata { rules, ..sample::changed_metadata(&backend.stored_metadata()?) })
}

fn forbidden(
    backend: &Instance<'_>,
    metadata: &StoreMetadata,
    rule: &'static str,
    why: &str,
) -> Tested {
    let before = backend.stored_metadata()?;
    backend.expect_refusal(
        sample::replace_metadata(metadata)?,
        &Rejection::DataForbid { rule },
        format_args!("{why}"),
    )?;
    ensure_eq!(backend.stored_metadata()?, before, "the metadata after a refused change of rules");
    Ok(())
}

fn rule_unique_names_need_unique_names(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "beta"])?;
    let named = |n, owner| -> Result<_, Failure> {
        Ok(KeyRecord { name: sample::name("deploy")?, ..sample::key(n, owner)? })
    };
    let twice = named(2, "acme")?;
    backend.apply_all(&[
        sample::create_key(&named(1, "acme")?)?,
        sample::create_key(&twice)?,
        sample::create_key(&named(3, "beta")?)?,
    ])?;
    let metadata =
        with_rules(&backend, StoreRules { unique_names: true, ..StoreRules::default() })?;
    forbidden(&backend, &metadata, "unique_names", "two keys of one name")?;
    // Neither a revoked key nor another owner's stands against it.
    backend.apply(sample::replace_key(&sample::revoked(&twice)?)?)?;
    backend.apply(sample::replace_metadata(&metadata)?)?;
    ensure_eq!(backend.stored_metadata()?, metadata, "the metadata");
    Ok(())
}

fn rule_keep_standard_key_needs_standard_keys(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "beta"])?;
    let trial = KeyRecord { kind: Kind::Trial, ..sample::key(2, "beta")? };
    let gone = KeyRecord { revoked: Some(sample::switch(1)?), ..sample::key(3, "beta")? };
    backend.apply_all(&[
        sample::create_key(&sample::key(1, "acme")?)?,
        sample::create_key(&trial)?,
        sample::create_key(&gone)?,
    ])?;
    let rules = StoreRules { keep_standard_key: true, ..StoreRules::default() };
    let metadata = with_rules(&backend, rules)?;
    forbidden(&backend, &metadata, "keep_standard_key", "an owner with a trial and a revoked key")?;
    backend.apply(sample::create_key(&sample::key(4, "beta")?)?)?;
    backend.apply(sample::replace_metadata(&metadata)?)?;
    ensure_eq!(backend.stored_metadata()?, metadata, "the metadata");
    Ok(())
}

fn rule_no_recoverable_tokens_needs_no_seals(lab: &Lab<'_>) -> Tested {
    let backend =
        lab.with_rules(StoreRules { recoverable_tokens: true, ..StoreRules::default() })?;
    let sealed = KeyRecord { seal: Some(sample::seal()), ..sample::key(1, "acme")? };
    backend.apply(sample::in_one([
        sample::create_owner(&sample::owner("acme")?)?,
        sample::create_key(&sealed)?,
    ]))?;
    let metadata = with_rules(&backend, StoreRules::default())?;
    forbidden(&backend, &metadata, "recoverable_tokens", "a key with a seal")?;
    let unsealed = KeyRecord { seal: None, ..sample::changed_key(&sealed) };
    backend.apply(sample::replace_key(&unsealed)?)?;
    backend.apply(sample::replace_metadata(&metadata)?)?;
    ensure_eq!(backend.stored_metadata()?, metadata, "the metadata");
    Ok(())
}

/// Neither the current nor a previous token of an unrevoked key loses its prefix.
fn rule_no_prefix_goes_that_a_token_has(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let before = backend.stored_metadata()?;
    let metadata = |accepted: &[&str]| -> Result<_, Failure> {
        let accepted: Vec<Prefix> = accepted.iter().map(Prefix::new).collect::<Result<_, _>>()?;
        let prefixes = before.prefixes.accepting(&accepted)?;
        Ok(StoreMetadata { prefixes, ..sample::changed_metadata(&before) })
    };
    // Its previous token has prefix 0, `acme`, and its current one prefix 1, `acme_test`.
    let mut key = sample::key(1, "acme")?;
    key.current = sample::token(1, 2)?;
    key.current.digest.prefix = before.prefixes.entries()[1].number;
    key.previous = vec![sample::previous(1, 1)?];
    backend.apply(sample::create_key(&key)?)?;
    let (first, second) = (metadata(&["acme", "new"])?, metadata(&["acme_test", "new"])?);
    forbidden(&backend, &first, "prefixes", "a current token of a prefix that would go")?;
    forbidden(&backend, &second, "prefixes", "a previous token of a prefix that would go")?;
    key = KeyRecord { previous: Vec::new(), ..sample::changed_key(&key) };
    backend.apply(sample::replace_key(&key)?)?;
    backend.apply(sample::replace_metadata(&second)?)?;
    ensure_eq!(backend.stored_metadata()?, second, "the metadata");
    let none = StoreMetadata { version: second.version.next(), ..metadata(&["new"])? };
    forbidden(&backend, &none, "prefixes", "the prefix of the current token")?;
    backend.apply(sample::replace_key(&sample::revoked(&key)?)?)?;
    backend.apply(sample::replace_metadata(&none)?)?;
    Ok(())
}

/// A change may make the data fit its rules, and may not write what they forbid.
fn rule_new_rules_judge_what_their_change_writes(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let named = |n| -> Result<_, Failure> {
        Ok(KeyRecord { name: sample::name("deploy")?, ..sample::key(n, "acme")? })
    };
    let twice = named(2)?;
    backend.apply_all(&[sample::create_key(&named(1)?)?, sample::create_key(&twice)?])?;
    let metadata =
        with_rules(&backend, StoreRules { unique_names: true, ..StoreRules::default() })?;
    let unnamed = KeyRecord { name: None, ..sample::changed_key(&twice) };
    let fitting = [sample::replace_key(&unnamed)?, sample::replace_metadata(&metadata)?];
    backend.apply(sample::in_one(fitting))?;
    backend.expect_key(&unnamed)?;
    ensure_eq!(backend.stored_metadata()?, metadata, "the metadata");
    let rules = StoreRules { keep_standard_key: true, ..StoreRules::default() };
    let metadata = with_rules(&backend, rules)?;
    let keyless = sample::create_owner(&sample::owner("beta")?)?;
    let rule = "keep_standard_key";
    backend.expect_refusal(
        sample::in_one([keyless, sample::replace_metadata(&metadata)?]),
        &Rejection::DataForbid { rule },
        "an owner without a key, beside it",
    )?;
    Ok(())
}

/// Also for the next one in the same batch.
fn rule_new_rules_hold_for_the_next_change(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let named = |n| -> Result<_, Failure> {
        Ok(KeyRecord { name: sample::name("deploy")?, ..sample::key(n, "acme")? })
    };
    let first = named(1)?;
    let rules = StoreRules { unique_names: true, keep_standard_key: true, ..StoreRules::default() };
    let metadata = with_rules(&backend, rules)?;
    let outcome = backend.batch(&[
        sample::create_key(&first)?,
        sample::replace_metadata(&metadata)?,
        sample::create_key(&named(2)?)?,
        sample::replace_key(&sample::revoked(&first)?)?,
    ])?;
    ensure_eq!(outcome[2], Err(Rejection::NameTaken(first.id)), "a name that is taken");
    ensure_eq!(outcome[3], Err(Rejection::LastStandardKey), "revoking the last standard key");
    backend.apply(sample::replace_metadata(&with_rules(&backend, StoreRules::default())?)?)?;
    let outcome = backend.batch(&[sample::create_key(&named(2)?)?])?;
    ensure_eq!(outcome[0].is_ok(), true, "whether a name may repeat again");
    Ok(())
}

/// Refused unasked, and counted: current and previous tokens of keys that aren't revoked. Those whose
/// grace is over or that are superseded don't count.
fn rule_a_retired_pepper_ends_the_live_tokens_under_it(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let pepper = PepperNumber::new;
    let under = |n, numbers: [u16; 2]| -> Result<_, Failure> {
        let mut key = sample::key(n, "acme")?;
        key.current = sample::token(n, 2)?;
        key.previous = vec![sample::previous(n, 1)?];
        key.current.digest.pepper = pepper(numbers[0]);
        key.previous[0].token.digest.pepper = pepper(numbers[1]);
        Ok(key)
    };
    let mut over = under(3, [2, 1])?;
    over.previous[0].ends_at = sample::at(0);
    let revoked = KeyRecord { revoked: Some(sample::switch(1)?), ..under(4, [1, 1])? };
    let keys = [under(1, [1, 1])?, under(2, [2, 1])?, over, revoked, under(5, [2, 2])?];
    for key in &keys {
        backend.apply(sample::create_key(key)?)?;
    }
    let check =
        |number: u16| PepperCheck { number: pepper(number), value: [0x5a; 16], retired: false };
    let known = StoreMetadata {
        peppers: vec![check(1), check(2)],
        ..sample::changed_metadata(&backend.stored_metadata()?)
    };
    backend.apply(sample::replace_metadata(&known)?)?;
    let retired = PepperCheck { retired: true, ..check(1) };
    let next =
        StoreMetadata { peppers: vec![retired, check(2)], ..sample::changed_metadata(&known) };
    let used =
        PepperUse { tokens: 3, keys: 2, some_keys: vec![keys[0].id, keys[1].id], damaged: 0 };
    let expected = Rejection::PepperInUse { number: pepper(1), used: used.clone() };
    backend.expect_refusal(
        sample::replace_metadata(&next)?,
        &expected,
        "a pepper with live tokens",
    )?;
    ensure_eq!(backend.stored_metadata()?, known, "the metadata after a refused retirement");
    let applied = backend.apply(sample::replace_metadata(&next)?.ending_tokens(true))?;
    ensure_eq!(applied.ended, used, "the tokens that ended");
    ensure_eq!(backend.stored_metadata()?, next, "the metadata");
    backend.expect_key(&keys[0])?;
    // Retired already: nothing is counted again.
    let applied = backend.apply(sample::replace_metadata(&sample::changed_metadata(&next))?)?;
    ensure_eq!(applied.ended, PepperUse::default(), "the tokens that ended before");
    Ok(())
}
