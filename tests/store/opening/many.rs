//! More keys than are put into the index at once.

use std::sync::Arc;

use keyhasp::backend::{Backend, BackendError, Memory, Scanned};
use keyhasp::store::PepperProblem;
use keyhasp::{Access, CreateKey, CreateOwner, Error, Peppers, Rotate, Verifier};

use crate::common::keep_open::KeepOpen;
use crate::common::{World, builder, clock, owner};

const OWNERS: usize = 20;
const KEYS: usize = 3_000;

/// A store of many keys in all states, and their tokens.
fn filled(backend: Arc<dyn Backend>) -> (World, Vec<String>) {
    let clock = clock();
    let world = World::of(Arc::new(builder(&clock, 1).open_on(backend).unwrap()), clock);
    let (mut owners, mut tokens) = (Vec::new(), Vec::new());
    for number in 0..OWNERS {
        let request = CreateOwner::with_key(CreateKey::new(Access::Full)).max_keys(u32::MAX);
        let (keys, first) = world.owner_with(&format!("org-{number}"), request);
        owners.push(keys);
        tokens.push(first.token.expose().to_owned());
    }
    for number in 0..KEYS {
        let keys = &owners[number * 7 % OWNERS];
        let access = match number % 3 {
            0 => Access::Full,
            1 => Access::ReadOnly,
            _ => Access::limited(["links:*"]).unwrap(),
        };
        let issued = keys.create(CreateKey::new(access)).unwrap();
        tokens.push(issued.token.expose().to_owned());
        let id = issued.key.id;
        match number % 8 {
            0 => _ = keys.revoke(id).unwrap(),
            1 => _ = world.admin.block(id).unwrap(),
            2 => _ = keys.deactivate(id).unwrap(),
            3 => tokens.push(keys.rotate(id, Rotate::new()).unwrap().token.expose().to_owned()),
            _ => {}
        }
    }
    world.admin.suspend_owner(&owner("org-3")).unwrap();
    (world, tokens)
}

fn answers(verifier: &Verifier, tokens: &[String]) -> Vec<String> {
    tokens.iter().map(|token| format!("{:?}", verifier.verify(token))).collect()
}

/// Opens what was filled, and expects the answers that were given before.
fn expect_same(backend: Arc<dyn Backend>) {
    let (world, tokens) = filled(Arc::clone(&backend));
    let expected = answers(&world.verifier, &tokens);
    drop(world);
    let store = builder(&clock(), 2).open_on(backend).unwrap();
    let world = World::of(Arc::new(store), clock());
    for (after, before) in answers(&world.verifier, &tokens).iter().zip(&expected) {
        assert_eq!(after, before);
    }
    assert_eq!(world.store.health().tokens, tokens.len());
}

#[test]
fn all_are_found_as_they_were() {
    expect_same(Arc::new(KeepOpen::new(Memory::new())));
}

/// A scan is no snapshot: what it shows a second time counts, not what it showed before.
#[test]
fn what_is_shown_last_counts() {
    fn twice(backend: &Memory, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        backend.scan(&mut |scanned| match scanned {
            Scanned::Key(mut key) => {
                (key.revoked, key.blocked, key.deactivated) = (false, false, false);
                visit(Scanned::Key(key));
            }
            Scanned::Owner(mut owner) => {
                owner.suspended = false;
                visit(Scanned::Owner(owner));
            }
            damaged @ Scanned::Damaged(_) => visit(damaged),
        })?;
        backend.scan(visit)
    }
    expect_same(Arc::new(KeepOpen::scanning(Memory::new(), twice)));
}

#[test]
fn a_pepper_that_one_of_many_needs_is_missed() {
    let backend: Arc<dyn Backend> = Arc::new(KeepOpen::new(Memory::new()));
    drop(filled(Arc::clone(&backend)));
    let other = builder(&clock(), 1).peppers(Peppers::new(1, [1; 32]).unwrap());
    let refused = other.open_on(backend).unwrap_err();
    let missing = PepperProblem::Missing;
    assert!(matches!(refused, Error::Pepper { number: 0, problem } if problem == missing));
}
