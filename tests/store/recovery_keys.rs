//! Recovery keys: a wrong one is an error at open, and a missing one harms nothing else.

#![cfg(feature = "recoverable")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::Arc;

use crate::common::keep_open::KeepOpen;
use crate::common::{World, builder, clock};
use keyhasp::backend::{Backend, Memory};
use keyhasp::store::RecoveryKeyProblem;
use keyhasp::{
    Access, CreateKey, Error, EventKind, ListEvents, ListKeys, RecoveryKeys, Rotate, StoreRules,
};

#[test]
fn a_wrong_recovery_key_is_an_error_at_open_and_a_missing_one_is_not() {
    let (clock, database) = (clock(), Arc::new(KeepOpen::new(Memory::new())));
    let open = |seed, keys: Option<RecoveryKeys>| {
        let rules = StoreRules { recoverable_tokens: true, ..StoreRules::default() };
        let builder = builder(&clock, seed).rules(rules);
        let builder = match keys {
            Some(keys) => builder.recovery_keys(keys),
            None => builder,
        };
        let store = builder.open_on(Arc::clone(&database) as Arc<dyn Backend>)?;
        Ok::<_, Error>(World::of(Arc::new(store), Arc::clone(&clock)))
    };
    let keys = |number, byte| RecoveryKeys::new(number, [byte; 32]).unwrap();
    let world = open(1, Some(keys(1, 1))).unwrap();
    let (org, _) = world.owner("org");
    let issued = org.create(CreateKey::new(Access::Full).recoverable()).unwrap();
    drop((world, org));

    let problem = |keys| match open(2, Some(keys)).map(drop).unwrap_err() {
        Error::RecoveryKey { number, problem } => (number, problem),
        error => panic!("{error}"),
    };
    let before = database.metadata().unwrap();
    assert_eq!(problem(keys(1, 9)), (1, RecoveryKeyProblem::Wrong));
    assert_eq!(problem(keys(2, 1)), (2, RecoveryKeyProblem::KnownAs(1)));
    let beside = keys(2, 2).and(1, [9; 32]).unwrap();
    assert_eq!(problem(beside), (1, RecoveryKeyProblem::Wrong));
    assert_eq!(database.metadata().unwrap(), before);

    // Without the key all works but the reveal of what is encrypted under it.
    let world = open(3, Some(keys(2, 2))).unwrap();
    let kinds = world.admin.events(&ListEvents::new()).unwrap().items;
    assert_eq!(kinds.last().unwrap().kind, EventKind::RecoveryKeyAdded);
    let told = world.admin.reveal_token(issued.key.id).unwrap_err();
    assert!(
        matches!(told, Error::Seal(_)) && told.to_string().contains("recovery key 1"),
        "{told}"
    );
    assert_eq!(world.admin.list(&ListKeys::new()).unwrap().items.len(), 2);
    let rotated = world.admin.rotate(issued.key.id, Rotate::new()).unwrap();
    assert_eq!(world.admin.reveal_token(issued.key.id).unwrap().expose(), rotated.token.expose());
    drop(world);
    let world = open(4, None).unwrap();
    assert_eq!(world.admin.list(&ListKeys::new()).unwrap().items.len(), 2);
}
