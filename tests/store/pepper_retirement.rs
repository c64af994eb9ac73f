//! Retiring a pepper: exactly the tokens under it end, and its number is never used again.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::Arc;

use proptest::prelude::*;

use crate::common::keep_open::KeepOpen;
use crate::common::{HOUR, World, builder, clock};
use keyhasp::authority::{Actor, Authority, Role};
use keyhasp::backend::{Backend, Memory};
use keyhasp::store::PepperProblem;
use keyhasp::{
    Access, CreateKey, Error, EventKind, IfInUse, ListEvents, ListKeys, ManualClock, OwnerId,
    OwnerKeys, Peppers, Rotate, Store, StoreBuilder, Token, VerifyError,
};

/// A database that outlives the stores opened on it, and the clock of these.
struct Place {
    database: Arc<dyn Backend>,
    clock: Arc<ManualClock>,
}

impl Place {
    fn new() -> Self {
        Self { database: Arc::new(KeepOpen::new(Memory::new())), clock: clock() }
    }

    /// Opens it; `seed` makes its randomness.
    fn try_open(
        &self,
        seed: u64,
        configure: impl FnOnce(StoreBuilder) -> StoreBuilder,
    ) -> Result<Arc<Store>, Error> {
        let builder = configure(builder(&self.clock, seed));
        builder.open_on(Arc::clone(&self.database)).map(Arc::new)
    }

    fn open(&self, seed: u64, peppers: Peppers) -> World {
        let store = self.try_open(seed, |builder| builder.peppers(peppers)).unwrap();
        World::of(store, Arc::clone(&self.clock))
    }
}

/// The peppers of these numbers, the current one first.
fn peppers(numbers: &[u8]) -> Peppers {
    let bytes = |number: u8| [number ^ 0x55; 32];
    let (first, others) = numbers.split_first().unwrap();
    let current = Peppers::new((*first).into(), bytes(*first)).unwrap();
    others.iter().fold(current, |all, number| all.and((*number).into(), bytes(*number)).unwrap())
}

fn verdict(world: &World, token: &Token) -> Result<(), VerifyError> {
    world.verifier.verify(token.expose()).map(|_| ())
}

fn kinds(world: &World) -> Vec<EventKind> {
    let events = world.admin.events(&ListEvents::new()).unwrap().items;
    events.into_iter().map(|event| event.kind).collect()
}

#[test]
fn a_store_whose_pepper_is_lost_opens_with_its_tokens_dead() {
    let place = Place::new();
    let old = place.open(1, peppers(&[1]));
    let (org, first) = old.owner("org");
    let second = org.create(CreateKey::new(Access::Full)).unwrap();
    let gone = org.create(CreateKey::new(Access::Full)).unwrap();
    org.revoke(gone.key.id).unwrap();
    let rotated = org.rotate(second.key.id, Rotate::with_grace(HOUR)).unwrap();
    drop((old, org));

    let without = place.try_open(2, |builder| builder.peppers(peppers(&[2])));
    let missing = without.unwrap_err();
    assert!(missing.to_string().contains("retire_pepper"), "{missing}");
    let before = place.database.metadata().unwrap();
    let refused = place
        .try_open(3, |builder| builder.peppers(peppers(&[2])).retire_pepper(1, IfInUse::Refuse));
    let refused = refused.unwrap_err();
    let shown = refused.to_string();
    let Error::PepperInUse { number: 1, used } = refused else { panic!("{refused}") };
    // The current tokens of two keys, and a previous one in its grace.
    assert_eq!((used.tokens, used.keys), (3, 2));
    assert_eq!(used.some_keys, [first.key.id, second.key.id]);
    assert!(shown.contains("3 live tokens of 2 keys") && shown.contains(&first.key.id.to_string()));
    assert_eq!(place.database.metadata().unwrap(), before);

    let end =
        |builder: StoreBuilder| builder.peppers(peppers(&[2])).retire_pepper(1, IfInUse::EndTokens);
    let store = place.try_open(4, end).unwrap();
    let [retired] = store.retired_at_opening() else { panic!("one was retired") };
    assert_eq!((retired.number, &retired.ended), (1, &used));
    let world = World::of(store, Arc::clone(&place.clock));
    for token in [&first.token, &second.token, &rotated.token] {
        assert_eq!(verdict(&world, token), Err(VerifyError::Unrecognized));
    }
    let keys = world.admin.list(&ListKeys::new()).unwrap().items;
    assert!(keys.iter().all(|key| key.is_token_superseded && key.previous_tokens.is_empty()));
    assert!(kinds(&world).contains(&EventKind::PepperRetired));
    let again = world.admin.rotate(first.key.id, Rotate::new()).unwrap();
    assert!(!again.key.is_token_superseded && again.key.previous_tokens.is_empty());
    assert_eq!(verdict(&world, &again.token), Ok(()));
    drop(world);

    // The call may stay in the service's code.
    let store = place.try_open(5, end).unwrap();
    assert_eq!(store.retired_at_opening()[0].ended.tokens, 0);
    let world = World::of(store, Arc::clone(&place.clock));
    assert_eq!(verdict(&world, &again.token), Ok(()));
}

#[test]
fn a_retired_number_is_never_used_again() {
    let place = Place::new();
    let world = place.open(1, peppers(&[1]));
    let (_, first) = world.owner("org");
    drop(world);
    let world = place.open(2, peppers(&[2, 1]));
    assert_eq!(verdict(&world, &first.token), Ok(()));
    let ended = world.admin.retire_pepper(1, IfInUse::EndTokens).unwrap().ended;
    assert_eq!((ended.tokens, ended.keys, ended.some_keys), (1, 1, vec![first.key.id]));
    // The pepper is still open here; its holder alone learns that the token has ended.
    let superseded = Err(VerifyError::Rejected(keyhasp::key::RejectReason::Superseded));
    assert_eq!(verdict(&world, &first.token), superseded);
    drop(world);

    let problem = |peppers: Peppers| {
        let opened = place.try_open(3, |builder| builder.peppers(peppers));
        match opened.unwrap_err() {
            Error::Pepper { problem, .. } => problem,
            error => panic!("{error}"),
        }
    };
    assert_eq!(problem(peppers(&[1])), PepperProblem::Retired);
    assert_eq!(problem(Peppers::new(1, [9; 32]).unwrap()), PepperProblem::Wrong);
    let renumbered = Peppers::new(3, [1 ^ 0x55; 32]).unwrap();
    assert_eq!(problem(renumbered), PepperProblem::KnownAs(1));
    // Beside the current one it may stay in the configuration, and revives nothing.
    let world = place.open(4, peppers(&[2, 1]));
    assert_eq!(verdict(&world, &first.token), superseded);
    assert!(world.admin.get(first.key.id).unwrap().is_token_superseded);
}

#[test]
fn retiring_is_refused_where_it_would_do_harm() {
    let place = Place::new();
    let old = place.open(1, peppers(&[1]));
    let (_, first) = old.owner("org");
    drop(old);
    let world = place.open(2, peppers(&[2, 1]));
    let problem = |told: Result<_, Error>| match told {
        Err(Error::Pepper { problem, .. }) => problem,
        told => panic!("{told:?}"),
    };
    for if_in_use in [IfInUse::Refuse, IfInUse::EndTokens] {
        assert_eq!(problem(world.admin.retire_pepper(2, if_in_use)), PepperProblem::Current);
        assert_eq!(problem(world.admin.retire_pepper(7, if_in_use)), PepperProblem::Unknown);
        let owner = OwnerId::new("org").unwrap();
        let by = Authority::new(Role::Owner { owner }, Actor::new("alice").unwrap());
        let told = world.store.retire_pepper(&by, 1, if_in_use, None);
        assert!(matches!(told, Err(Error::Forbidden(_))), "{told:?}");
    }
    let told = world.admin.retire_pepper(1, IfInUse::Refuse);
    assert!(matches!(told, Err(Error::PepperInUse { number: 1, .. })), "{told:?}");
    let version = world.admin.rules().unwrap().version;
    let told = world.admin.if_version(version.next()).retire_pepper(1, IfInUse::EndTokens);
    assert!(matches!(told, Err(Error::Conflict { .. })), "{told:?}");
    assert_eq!(verdict(&world, &first.token), Ok(()));
    assert!(!kinds(&world).contains(&EventKind::PepperRetired));

    // Nothing depends on it any more, once its one key has a token under the current pepper.
    let rotated = world.admin.rotate(first.key.id, Rotate::forced()).unwrap();
    let retired = world.admin.retire_pepper(1, IfInUse::Refuse).unwrap();
    assert_eq!((retired.ended.tokens, retired.version), (0, version.next()));
    assert_eq!(world.admin.retire_pepper(1, IfInUse::Refuse).unwrap().version, version.next());
    assert_eq!(verdict(&world, &rotated.token), Ok(()));
    let retirements = kinds(&world).into_iter().filter(|kind| *kind == EventKind::PepperRetired);
    assert_eq!(retirements.count(), 1);
}

/// A step on one of four keys: a rotation, a revocation, an hour's wait, or an opening with another
/// current pepper.
#[derive(Clone, Copy, Debug)]
enum Step {
    Rotate(usize, u64),
    Revoke(usize),
    Invalidate,
    Wait,
    Open(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4_usize, 0..4_u64).prop_map(|(key, hours)| Step::Rotate(key, hours)),
        1 => (0..4_usize).prop_map(Step::Revoke),
        1 => Just(Step::Invalidate),
        2 => Just(Step::Wait),
        3 => (1..4_u8).prop_map(Step::Open),
    ];
    prop::collection::vec(step, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// The law: exactly the accepted tokens under the retired pepper end, they are what is counted,
    /// and each other token is answered as before; also without that pepper.
    #[test]
    fn exactly_the_tokens_under_it_end(steps in steps(), spare in 1..3_u8) {
        let place = Place::new();
        let others = |current: u8| (1..4).filter(move |number| *number != current);
        let all = |current: u8| {
            peppers(&[current].into_iter().chain(others(current)).collect::<Vec<_>>())
        };
        let (mut seed, mut current) = (1, 1);
        let mut world = place.open(seed, all(current));
        let created = world.admin.create_owner(&OwnerId::new("org").unwrap(), keyhasp::CreateOwner::without_key());
        created.unwrap();
        let keys = |world: &World| OwnerKeys::new(Arc::clone(&world.store), OwnerId::new("org").unwrap(), "a").unwrap();
        let mut tokens: Vec<(Token, u8, usize)> = Vec::new();
        let mut ids = Vec::new();
        for place in 0..4 {
            let issued = keys(&world).create(CreateKey::new(Access::Full)).unwrap();
            ids.push(issued.key.id);
            tokens.push((issued.token, current, place));
        }
        for step in steps {
            match step {
                Step::Rotate(key, hours) => {
                    let rotated = keys(&world).rotate(ids[key], Rotate::with_grace(HOUR * u32::try_from(hours).unwrap()));
                    if let Ok(rotated) = rotated {
                        tokens.push((rotated.token, current, key));
                    }
                }
                Step::Revoke(key) => _ = keys(&world).revoke(ids[key]),
                Step::Invalidate => {
                    world.admin.invalidate_tokens_issued_before(world.now()).unwrap();
                }
                Step::Wait => place.clock.advance(HOUR),
                Step::Open(number) => {
                    (seed, current) = (seed + 1, number);
                    drop(world);
                    world = place.open(seed, all(current));
                }
            }
        }
        let retired = others(current).nth(usize::from(spare) - 1).unwrap();
        let before: Vec<_> = tokens.iter().map(|(token, ..)| verdict(&world, token)).collect();
        let dies = |at: usize| tokens[at].1 == retired && before[at].is_ok();
        let dying: Vec<usize> = (0..tokens.len()).filter(|at| dies(*at)).collect();
        let refused = world.admin.retire_pepper(retired.into(), IfInUse::Refuse);
        prop_assert_eq!(refused.is_ok(), dying.is_empty(), "{:?}", refused);
        let ended = match refused {
            Ok(retired) => retired.ended,
            Err(Error::PepperInUse { used, .. }) => {
                for ((token, ..), before) in tokens.iter().zip(&before) {
                    prop_assert_eq!(&verdict(&world, token), before, "refused, and yet ended");
                }
                let ended = world.admin.retire_pepper(retired.into(), IfInUse::EndTokens);
                let ended = ended.unwrap().ended;
                prop_assert_eq!(&ended, &used);
                ended
            }
            Err(error) => panic!("{error}"),
        };
        prop_assert_eq!(ended.tokens, dying.len() as u64);
        let mut of_keys: Vec<_> = dying.iter().map(|at| ids[tokens[*at].2]).collect();
        of_keys.sort_unstable();
        of_keys.dedup();
        prop_assert_eq!((ended.keys, ended.some_keys), (of_keys.len() as u64, of_keys));
        for (at, ((token, ..), before)) in tokens.iter().zip(&before).enumerate() {
            let now = verdict(&world, token);
            prop_assert_eq!(now.is_ok(), before.is_ok() && !dies(at), "{:?}", tokens[at]);
            prop_assert!(tokens[at].1 == retired || now == *before);
        }
        drop(world);
        let rest: Vec<u8> = [current].into_iter().chain(others(current)).filter(|number| *number != retired).collect();
        let world = place.open(seed + 1, peppers(&rest));
        for (at, ((token, under, _), before)) in tokens.iter().zip(&before).enumerate() {
            let now = verdict(&world, token);
            if *under == retired {
                prop_assert_eq!(now, Err(VerifyError::Unrecognized), "{:?}", tokens[at]);
            } else {
                prop_assert_eq!(&now, before);
            }
        }
    }
}

/// Two processes on one database.
#[cfg(feature = "sqlite")]
mod shared {
    use super::*;
    use keyhasp::KeyStore;
    use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
    use keyhasp::store::Unavailable;

    #[test]
    fn another_process_learns_of_it_by_a_refresh() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let clock = clock();
        let open = |seed, peppers| {
            let backend = Sqlite::open_or_create(&path, SqliteOptions::shared(HOUR).unwrap());
            let (backend, _) = backend.unwrap();
            let store = Arc::new(builder(&clock, seed).peppers(peppers).open(backend).unwrap());
            (World::of(Arc::clone(&store) as Arc<dyn KeyStore>, Arc::clone(&clock)), store)
        };
        let (behind, behind_store) = open(1, peppers(&[1]));
        let (_, first) = behind.owner("org");
        let (beside, beside_store) = open(2, peppers(&[2, 1]));
        let (admin, _store) = open(3, peppers(&[2, 1]));
        beside_store.refresh().unwrap();
        assert_eq!(verdict(&beside, &first.token), Ok(()));
        admin.admin.retire_pepper(1, IfInUse::EndTokens).unwrap();
        assert!(verdict(&admin, &first.token).is_err());
        beside_store.refresh().unwrap();
        assert!(verdict(&beside, &first.token).is_err());
        assert_eq!(beside.store.health().unavailable, None);
        let again = beside.admin.rotate(first.key.id, Rotate::new()).unwrap();
        assert_eq!(verdict(&beside, &again.token), Ok(()));

        // New tokens of this one would be dead; before it has refreshed, it issues none either.
        let told = behind.admin.rotate(first.key.id, Rotate::new());
        let changed = Error::Unavailable(Unavailable::RulesChanged);
        assert_eq!(told.unwrap_err().to_string(), changed.to_string());
        assert_eq!(behind_store.refresh().unwrap_err().to_string(), changed.to_string());
        let unavailable = Err(VerifyError::Unavailable(Unavailable::RulesChanged));
        assert_eq!(verdict(&behind, &first.token), unavailable);
    }
}
