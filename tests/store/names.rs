//! Names as people see them: no two that look alike, and none that rearranges the text around it.

#![allow(clippy::unwrap_used)]

use keyhasp::authority::Reason;
use keyhasp::key::StoreRules;
use keyhasp::{Access, AdminKeys, CreateKey, Error, ListEvents, OwnerId, UpdateKey};

use crate::each::{on_each, on_each_with};

/// Each would reorder, split or hide what is shown beside it.
const UNSEEN: [&str; 12] = [
    "ad\u{202e}nim",
    "a\u{2066}b",
    "a\u{200f}",
    "\u{61c}a",
    "a\u{2028}",
    "a\nb",
    "ad\u{200b}min",
    "\u{feff}admin",
    "admin\u{2060}",
    "ad\u{ad}min",
    "admin\u{200d}",
    "\u{3164}",
];

#[test]
fn characters_that_turn_or_split_text_are_refused() {
    on_each(|world| {
        let (keys, issued) = world.owner("org");
        let before = (keys.get(issued.key.id).unwrap(), world.store.health().tokens);
        for name in UNSEEN {
            let refused = [
                keys.create(CreateKey::new(Access::Full).name(name)).unwrap_err(),
                keys.update(issued.key.id, UpdateKey::new().name(name)).unwrap_err(),
            ];
            for error in refused {
                let Error::Invalid(invalid) = error else { panic!("{error}") };
                assert_eq!(invalid.field(), "name");
                assert!(!invalid.to_string().contains(name), "{invalid}");
            }
            assert_eq!(OwnerId::new(name).unwrap_err().field(), "owner id");
            assert_eq!(Reason::new(name).unwrap_err().field(), "reason");
            let handle = AdminKeys::new(world.store.clone(), name);
            assert_eq!(handle.unwrap_err().field(), "actor");
        }
        for name in ["", " ", "\u{a0}\u{2003}"] {
            assert!(keys.update(issued.key.id, UpdateKey::new().name(name)).is_err());
        }
        assert_eq!((keys.get(issued.key.id).unwrap(), world.store.health().tokens), before);
    });
}

#[test]
fn white_space_makes_no_second_name() {
    let rules = StoreRules { unique_names: true, ..StoreRules::default() };
    on_each_with(
        |builder| builder.rules(rules),
        |world| {
            let (keys, _) = world.owner("org");
            let deploy =
                keys.create(CreateKey::new(Access::Full).name(" deploy\u{a0}")).unwrap().key;
            assert_eq!(deploy.name.as_ref().unwrap().as_str(), "deploy");
            for same in ["deploy", "deploy ", "\u{3000}deploy"] {
                let again = keys.create(CreateKey::new(Access::Full).name(same)).unwrap_err();
                assert!(matches!(again, Error::NameTaken(id) if id == deploy.id), "{again}");
            }
            // The same name with other white space is no change.
            let same = keys.update(deploy.id, UpdateKey::new().name("  deploy")).unwrap();
            assert_eq!(same, deploy);
        },
    );
}

/// Events of one actor are found, however it was written.
#[test]
fn an_actor_has_one_name() {
    on_each(|world| {
        let padded = AdminKeys::new(world.store.clone(), " ann ").unwrap();
        padded
            .create_owner(&OwnerId::new("org").unwrap(), keyhasp::CreateOwner::without_key())
            .unwrap();
        let found = world.admin.events(&ListEvents::new().actor("ann ")).unwrap().items;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].authority.actor.as_str(), "ann");
    });
}
