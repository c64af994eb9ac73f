//! Texts that may be cursors: refused, or a page of what the handle may see, in order.

use std::sync::Arc;

use keyhasp::backend::Memory;
use keyhasp::{
    Access, AdminKeys, Catalogue, CreateKey, CreateOwner, Error, Key, KeyId, KeyStore, Kind,
    ListKeys, ManualClock, OwnerId, OwnerKeys, Page, Prefix, State, Store, Timestamp,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::input::Input;

const KEYS: usize = 12;

struct World {
    admin: AdminKeys,
    keys: OwnerKeys,
}

fn owner(id: &str) -> OwnerId {
    OwnerId::new(id).unwrap()
}

fn world() -> World {
    let catalogue = Catalogue::builder().read("links:read").build().unwrap();
    let store = Store::builder(catalogue, [Prefix::new("acme").unwrap()])
        .random(ChaCha20Rng::seed_from_u64(1))
        .clock(Arc::new(ManualClock::new(Timestamp::MIN)));
    let store: Arc<dyn KeyStore> = Arc::new(store.open(Memory::new()).unwrap());
    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    for id in ["a", "b"] {
        admin.create_owner(&owner(id), CreateOwner::without_key()).unwrap();
        for _ in 0..KEYS {
            admin.create(&owner(id), CreateKey::new(Access::Full)).unwrap();
        }
    }
    World { admin, keys: OwnerKeys::new(store, owner("a"), "alice").unwrap() }
}

pub fn run(data: &[u8]) {
    thread_local! {
        static WORLD: World = world();
    }
    WORLD.with(|world| check(world, data));
}

fn check(world: &World, data: &[u8]) {
    let mut input = Input::new(data);
    let shape = input.byte();
    let query = || match shape >> 1 & 3 {
        0 => ListKeys::new(),
        1 => ListKeys::new().kind(Kind::Standard),
        2 => ListKeys::new().states(State::ALL).ending_before(KeyId::from_u128(0)),
        _ => ListKeys::new().limit(3),
    };
    let list = |query: &ListKeys| match shape & 1 {
        0 => world.admin.list(query),
        _ => world.keys.list(query),
    };
    let first = list(&query().limit(4)).unwrap();
    let mut cursor = first.next.clone().unwrap();
    let real = cursor.clone();
    let own = list(&query().cursor(&cursor)).unwrap();
    in_order(&own, shape);
    assert!(own.items[0].id < first.items[3].id, "it goes on where it ended");

    if shape & 8 == 0 {
        cursor = String::from_utf8_lossy(input.rest()).into_owned();
    } else {
        // A real one with some bytes changed.
        let mut bytes = cursor.into_bytes();
        while !input.is_empty() {
            let at = input.below(bytes.len());
            bytes[at] ^= input.byte();
        }
        cursor = String::from_utf8_lossy(&bytes).into_owned();
    }
    match list(&query().cursor(&cursor)) {
        Ok(page) => {
            in_order(&page, shape);
            // Position, limit and query are bound by the hash.
            assert_eq!(cursor, real, "a cursor that no page had");
            assert!(page.items.len() <= 4, "more than the page's limit");
        }
        Err(Error::Invalid(_)) => {}
        Err(other) => panic!("{other:?}"),
    }
}

/// Checks that the keys run newest first, and all belong to the handle's owner.
fn in_order(page: &Page<Key>, shape: u8) {
    assert!(page.items.windows(2).all(|pair| pair[0].id > pair[1].id), "newest first");
    let is_own = |key: &Key| shape & 1 == 0 || key.owner == owner("a");
    assert!(page.items.iter().all(is_own), "another owner's key");
}
