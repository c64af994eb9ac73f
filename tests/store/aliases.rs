//! Permissions that were renamed, and patterns that match nothing any more.

#![allow(clippy::unwrap_used)] // It is a test.

use std::sync::Arc;

use keyhasp::backend::Memory;
use keyhasp::{
    Access, Catalogue, CreateKey, CreateOwner, DelegatedKeys, Error, ForbiddenReason, KeyId,
    KeyStore, ListKeys, OwnerKeys, Store, Token, UpdateKey, UpdateOwner,
};

use crate::common::keep_open::KeepOpen;
use crate::common::{World, clock, owner, prefix};

/// A service before and after it renamed `links:read` and took `links:export` out.
struct Service {
    backend: Arc<KeepOpen<Memory>>,
}

impl Service {
    fn new() -> Self {
        Self { backend: Arc::new(KeepOpen::new(Memory::new())) }
    }

    fn open(&self, catalogue: Catalogue) -> (World, Arc<Store>) {
        let clock = clock();
        let builder = Store::builder(catalogue, [prefix("acme")]);
        let builder = builder.clock(Arc::<keyhasp::ManualClock>::clone(&clock));
        let store =
            Arc::new(builder.open_on(Arc::<KeepOpen<Memory>>::clone(&self.backend)).unwrap());
        (World::of(Arc::clone(&store) as Arc<dyn KeyStore>, clock), store)
    }

    fn before(&self) -> World {
        let builder = Catalogue::builder().read("links:read").write("links:write");
        self.open(builder.read("links:export").build().unwrap()).0
    }

    fn after(&self) -> (World, Arc<Store>) {
        let builder = Catalogue::builder().read("urls:read").write("links:write");
        self.open(builder.alias("links:read", "urls:read").build().unwrap())
    }
}

fn limited(patterns: &[&str]) -> Access {
    Access::limited(patterns).unwrap()
}

fn allows(world: &World, token: &Token) -> Vec<String> {
    let verified = world.verifier.verify(token.expose()).unwrap();
    let catalogue = world.verifier.catalogue();
    let allowed = catalogue.iter().filter(|(permission, _)| verified.allows(*permission));
    allowed.map(|(_, name)| name.to_string()).collect()
}

fn patterns(access: &Access) -> String {
    access.to_string()
}

#[test]
fn old_keys_go_on_and_new_ones_take_the_new_name() {
    let service = Service::new();
    let world = service.before();
    let most = limited(&["links:read", "links:write"]);
    let request = CreateOwner::with_key(CreateKey::new(limited(&["links:read"]))).max_access(most);
    let (keys, exact) = world.owner_with("org", request);
    let wild = keys.create(CreateKey::new(limited(&["links:*"]))).unwrap();
    let read_only = keys.create(CreateKey::new(Access::ReadOnly)).unwrap();
    drop((world, keys));

    let (world, _store) = service.after();
    assert_eq!(allows(&world, &exact.token), ["urls:read"]);
    assert_eq!(allows(&world, &wild.token), ["urls:read", "links:write"]);
    assert_eq!(allows(&world, &read_only.token), ["urls:read"]);
    let catalogue = world.verifier.catalogue();
    let shown = world.admin.get(exact.key.id).unwrap();
    assert_eq!(shown.access, limited(&["links:read"]));
    assert_eq!(shown.effective_access(catalogue), Some(limited(&["urls:read"])));
    // A list of the permission finds keys under either name.
    for name in ["links:read", "urls:read"] {
        let found = world.admin.list(&ListKeys::new().permission(name)).unwrap().items;
        assert_eq!(found.len(), 3, "{name}");
    }
    // The service's code may resolve either name.
    assert_eq!(world.verifier.permission("links:read"), world.verifier.permission("urls:read"));

    let keys = OwnerKeys::new(Arc::clone(&world.store), owner("org"), "alice").unwrap();
    let new = keys.create(CreateKey::new(limited(&["links:read", "links:write"]))).unwrap();
    assert_eq!(patterns(&new.key.access), "limited:links:write,urls:read");
    // The same again is no change, and another access takes the new name.
    let same = UpdateKey::new().access(limited(&["links:read"]));
    assert_eq!(keys.update(exact.key.id, same).unwrap().version, exact.key.version);
    let wider = UpdateKey::new().access(limited(&["links:read", "links:write"]));
    let wider = world.admin.update(exact.key.id, wider).unwrap();
    assert_eq!(patterns(&wider.access), "limited:links:write,urls:read");
    let most = UpdateOwner::new().max_access(limited(&["links:read"]));
    let most = world.admin.update_owner(&owner("org"), most).unwrap();
    assert_eq!(patterns(&most.max_access), "limited:urls:read");
    assert_eq!(allows(&world, &wild.token), ["urls:read"]);
    let created = world.admin.create_owner(
        &owner("two"),
        CreateOwner::without_key().max_access(limited(&["links:read"])),
    );
    assert_eq!(patterns(&created.unwrap().owner.max_access), "limited:urls:read");
}

/// The bounds of an administrator and of an acting key hold for the permission, under either name.
#[test]
fn a_renamed_permission_is_no_wider_than_before() {
    let service = Service::new();
    let world = service.before();
    let request = CreateOwner::with_key(CreateKey::new(limited(&["links:read"])));
    let request = request.max_access(limited(&["links:read", "links:write"]));
    let (keys, acting) = world.owner_with("org", request);
    let pinned = world.admin.create(&owner("org"), CreateKey::new(limited(&["links:read"])));
    let pinned = pinned.unwrap().key.id;
    let old = keys.create(CreateKey::new(limited(&["links:read"]))).unwrap().key.id;
    drop((world, keys));

    let (world, _store) = service.after();
    let verified = world.verifier.verify(acting.token.expose()).unwrap();
    let delegate = DelegatedKeys::new(Arc::clone(&world.store), &verified, "ci").unwrap();
    let created = delegate.create(CreateKey::new(limited(&["urls:read"]))).unwrap();
    assert_eq!(allows(&world, &created.token), ["urls:read"]);
    assert!(delegate.update(old, UpdateKey::new().name("mine")).is_ok());
    let beyond = delegate.create(CreateKey::new(limited(&["links:write"])));
    assert!(matches!(beyond, Err(Error::Forbidden(ForbiddenReason::BeyondActingKey))));
    let keys = OwnerKeys::new(Arc::clone(&world.store), owner("org"), "alice").unwrap();
    let renamed = UpdateKey::new().access(limited(&["urls:read"]));
    assert_eq!(keys.update(pinned, renamed).unwrap().access, limited(&["urls:read"]));
    let wider = UpdateKey::new().access(limited(&["urls:read", "links:write"]));
    assert!(matches!(keys.update(pinned, wider), Err(Error::Forbidden(_))));
    // A wildcard that only an earlier name meets is none for a new key.
    let (world, _store) = service.open(
        Catalogue::builder().read("urls:read").alias("links:read", "urls:read").build().unwrap(),
    );
    let unknown = world.admin.create(&owner("org"), CreateKey::new(limited(&["links:*"])));
    assert!(matches!(unknown, Err(Error::Invalid(_))));
}

#[test]
fn what_matches_nothing_is_reported_and_its_keys_are_listed() {
    let service = Service::new();
    let world = service.before();
    let (keys, _) = world.owner("org");
    let create = |patterns: &[&str]| keys.create(CreateKey::new(limited(patterns))).unwrap().key.id;
    let good = create(&["links:read", "links:*"]);
    let export = create(&["links:export", "links:write"]);
    let blocked = create(&["links:export"]);
    let revoked = create(&["links:export"]);
    let _ = world.admin.block(blocked).unwrap();
    let _ = world.admin.revoke(revoked).unwrap();
    drop((world, keys));

    let (world, store) = service.after();
    let texts = |store: &Store| -> Vec<String> {
        store.unmatched_at_opening().iter().map(ToString::to_string).collect()
    };
    assert_eq!(texts(&store), ["links:export"]);
    let listed = |query: ListKeys| -> Vec<KeyId> {
        let (mut found, mut query) = (Vec::new(), query);
        loop {
            let page = world.admin.list_unmatched(&query).unwrap();
            found.extend(page.items.iter().map(|key| key.id));
            match page.next {
                Some(next) => query = ListKeys::new().limit(2).cursor(next),
                None => return found,
            }
        }
    };
    assert_eq!(listed(ListKeys::new()), [blocked, export]);
    assert_eq!(listed(ListKeys::new().limit(2)), [blocked, export]);
    // Without the alias the others would lose a permission too.
    let builder = Catalogue::builder().read("urls:read").write("links:write");
    let (world, store) = service.open(builder.build().unwrap());
    assert_eq!(texts(&store), ["links:export", "links:read"]);
    let page = world.admin.list_unmatched(&ListKeys::new()).unwrap();
    let ids: Vec<KeyId> = page.items.iter().map(|key| key.id).collect();
    assert_eq!(ids, [blocked, export, good]);
    // A key of only revoked ones is none.
    let _ = world.admin.revoke(good).unwrap();
    let _ = world.admin.revoke(export).unwrap();
    let _ = world.admin.revoke(blocked).unwrap();
    let builder = Catalogue::builder().read("urls:read").write("links:write");
    let (_world, store) = service.open(builder.build().unwrap());
    assert_eq!(texts(&store), [""; 0]);
}

/// What a service gave up is no owner's business, and a key that can't be read may be among them.
#[cfg(feature = "testing")]
#[test]
fn only_administrators_list_them_and_damaged_keys_are_named() {
    use keyhasp::authority::{Actor, Authority, Role};
    use keyhasp::backend::DamagedRecord;
    use keyhasp::testing::Failing;

    use crate::common::builder;
    let (clock, backend) = (clock(), Arc::new(Failing::new(Memory::new())));
    let store = builder(&clock, 1).open_on(Arc::<Failing<Memory>>::clone(&backend)).unwrap();
    let world = World::of(Arc::new(store) as Arc<dyn KeyStore>, clock);
    let (_, issued) = world.owner("org");
    let by = Authority::new(Role::Owner { owner: owner("org") }, Actor::new("alice").unwrap());
    let asked = world.store.list_unmatched(&by, &ListKeys::new());
    assert!(matches!(asked, Err(Error::Forbidden(ForbiddenReason::AdministratorOnly))));
    backend.damage(DamagedRecord::Key(issued.key.id));
    let page = world.admin.list_unmatched(&ListKeys::new()).unwrap();
    assert_eq!((page.items.len(), page.damaged.len()), (0, 1));
}
