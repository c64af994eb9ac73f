//! A service's first day, with what the documentation says: each thing that services ask for first.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::routing::get;
use axum::{Extension, Router};
use http::{Request, StatusCode};
use keyhasp::backend::Memory;
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::integrations::http::ManagementError;
use keyhasp::store::{Explanation, ObstacleKind};
use keyhasp::testing::TestStore;
use keyhasp::{
    Access, AdminKeys, AsyncKeys, Authenticated, Catalogue, Clock, CreateKey, CreateOwner, Error,
    EventKind, Expiry, KeyId, KeyLayer, KeyStore, ListEvents, ListKeys, ListOwners,
    NumericIdChoice, OwnerId, OwnerKeys, Prefix, RejectReason, Rotate, Session, Store, UpdateKey,
    UsageSettings, Verifier, VerifyError,
};
use serde_json::json;
use tower::ServiceExt as _;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn test_store() -> TestStore {
    let catalogue = Catalogue::builder().read("links:read").write("links:write");
    TestStore::configured(catalogue, |builder| builder.usage(UsageSettings::new()))
        .key("reader", Access::ReadOnly)
        .key("writer", Access::Full)
}

fn owner() -> OwnerId {
    OwnerId::new(TestStore::OWNER).unwrap()
}

#[test]
fn a_list_says_which_key_is_which() {
    let test = test_store();
    let key = test.admin().get(test.id("reader")).unwrap();
    let (start, end) = key.hint.split_once('…').unwrap();
    let token = test.token("reader");
    assert!(token.starts_with(start) && token.contains(end), "{}", key.hint);
    assert!(start.starts_with("test_") && key.hint.chars().count() < 30);
}

#[test]
fn keys_are_found_by_what_is_known_of_them() {
    let test = test_store();
    let admin = test.admin();
    let soon = Expiry::At(test.clock().now().saturating_add(DAY));
    let request = CreateKey::new(Access::limited(["links:read"]).unwrap());
    let request = request.name("nightly export").tags(["ci", "team:billing"]).expires(soon);
    let issued = admin.create(&owner(), request).unwrap();
    let later = test.clock().now().saturating_add(2 * DAY);
    let all = ListKeys::new;
    for query in [
        all().name_starts_with("nightly"),
        all().tag("ci"),
        all().tag("team:billing").tag("ci"),
        all().expires_before(later),
    ] {
        let page = admin.list(&query).unwrap();
        let ids: Vec<KeyId> = page.items.iter().map(|key| key.id).collect();
        assert_eq!(ids, [issued.key.id], "{query:?}");
    }
    assert_eq!(admin.list(&all().permission("links:write")).unwrap().items.len(), 1);
    assert_eq!(admin.list(&all().prefix(issued.key.prefix.clone())).unwrap().items.len(), 3);
    // None was ever used.
    test.clock().advance(DAY);
    let unused = all().unused_since(test.clock().now());
    assert_eq!(admin.list(&unused).unwrap().items.len(), 3);
    assert!(matches!(
        admin.update(issued.key.id, UpdateKey::new().tags(["a b"])),
        Err(Error::Invalid(_))
    ));
}

#[test]
fn the_last_events_come_first() {
    let test = test_store();
    let admin = test.admin();
    admin.block(test.id("reader")).unwrap();
    let last = admin.events(&ListEvents::new().newest_first().limit(2)).unwrap();
    let kinds: Vec<EventKind> = last.items.iter().map(|event| event.kind).collect();
    assert_eq!(kinds[0], EventKind::KeyBlocked);
    let before = last.items[1].sequence;
    let earlier = admin.events(&ListEvents::new().newest_first().before(before)).unwrap();
    assert!(earlier.items.iter().all(|event| event.sequence < before));
}

#[test]
fn an_administrator_sees_what_a_key_can_do_and_why_it_cannot() {
    let test = test_store();
    let admin = test.admin();
    let id = test.id("writer");
    let read_only = keyhasp::UpdateOwner::new().max_access(Access::ReadOnly);
    let _ = admin.update_owner(&owner(), read_only).unwrap();
    let key = admin.get(id).unwrap();
    let verifier = test.verifier();
    let write = verifier.permission("links:write").unwrap();
    assert!(!key.effective_permissions(verifier.catalogue()).contains(write));
    admin.block(id).unwrap();
    let _ = admin.suspend_owner(&owner()).unwrap();
    let Explanation::Known(explained) = admin.explain(test.token("writer")).unwrap() else {
        panic!("it was issued here");
    };
    let kinds: Vec<ObstacleKind> = explained.obstacles.iter().map(|it| it.kind).collect();
    assert!(
        kinds.contains(&ObstacleKind::Blocked) && kinds.contains(&ObstacleKind::OwnerSuspended)
    );
    assert!(explained.obstacles.iter().all(|it| it.since == Some(test.clock().now())));
}

#[test]
fn a_connection_that_stays_open_asks_again() {
    let test = test_store();
    let verified = test.verifier().verify(test.token("reader")).unwrap();
    assert!(test.verifier().recheck(&verified).is_ok());
    test.admin().deactivate(test.id("reader")).unwrap();
    let now = test.verifier().recheck(&verified).map(drop);
    assert_eq!(now, Err(VerifyError::Rejected(RejectReason::Deactivated)));
}

#[test]
fn a_request_has_the_keys_data_without_a_second_read() {
    let catalogue = Catalogue::builder().read("links:read");
    let test = TestStore::configured(catalogue, |builder| builder.key_details(["plan"]));
    let request = CreateKey::new(Access::Full).settings(json!({ "plan": "pro", "secret": 1 }));
    let test = test.key_of("acme", "one", request.tags(["ci"]));
    let verified = test.verifier().verify(test.token("one")).unwrap();
    let details = test.verifier().details(&verified).unwrap();
    assert_eq!(details.name(), Some("one"));
    assert_eq!(details.setting("plan"), Some(&json!("pro")));
    assert_eq!(details.setting("secret"), None);
    assert_eq!(details.tags().iter().count(), 1);
}

#[test]
fn test_and_live_are_held_apart() {
    let catalogue = Catalogue::builder().read("links:read").build().unwrap();
    let (test, live) = (Prefix::new("acme_test").unwrap(), Prefix::new("acme_live").unwrap());
    let builder = Store::builder(catalogue, [live.clone(), test.clone()]);
    let store = Arc::new(builder.open(Memory::new()).unwrap());
    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    let create = |prefix: &Prefix| {
        let request = CreateKey::new(Access::Full).prefix(prefix.clone());
        let request = request.or_create_owner(CreateOwner::without_key());
        admin.create(&owner(), request).unwrap()
    };
    let (of_test, of_live) = (create(&test), create(&live));
    let verifier = Verifier::new(Arc::clone(&store)).with_prefixes([live]).unwrap();
    assert!(verifier.verify(of_live.token.expose()).is_ok());
    let refused = verifier.verify(of_test.token.expose()).map(drop);
    assert_eq!(refused, Err(VerifyError::Unrecognized));
    let unknown = Prefix::new("other").unwrap();
    assert!(Verifier::new(store).with_prefixes([unknown]).is_err());
}

#[test]
fn a_permission_gets_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let open = |catalogue: Catalogue| {
        let (path, options) = (dir.path().join("keys.db"), SqliteOptions::exclusive());
        let database = Sqlite::open_or_create(path, options).unwrap().0;
        let prefix = Prefix::new("acme").unwrap();
        Arc::new(Store::builder(catalogue, [prefix]).open(database).unwrap())
    };
    let before = Catalogue::builder().read("links:read").read("old:read").build().unwrap();
    let store = open(before);
    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    let create = |name: &str| {
        let request = CreateKey::new(Access::limited([name]).unwrap());
        let request = request.or_create_owner(CreateOwner::without_key());
        admin.create(&owner(), request).unwrap()
    };
    let (renamed, left) = (create("links:read"), create("old:read"));
    store.close().unwrap();
    let after = Catalogue::builder().read("urls:read").alias("links:read", "urls:read");
    let store = open(after.build().unwrap());
    let verifier = Verifier::new(Arc::clone(&store));
    let read = verifier.permission("urls:read").unwrap();
    assert!(verifier.verify(renamed.token.expose()).unwrap().allows(read));
    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    let unmatched = admin.list_unmatched(&ListKeys::new()).unwrap();
    assert_eq!(unmatched.items.iter().map(|key| key.id).collect::<Vec<_>>(), [left.key.id]);
    assert_eq!(store.unmatched_at_opening().len(), 1);
}

#[test]
fn many_keys_are_made_and_ended_by_one_call() {
    let test = test_store();
    let admin = test.admin();
    let request = |number: usize| {
        let owner = OwnerId::new(format!("customer-{}", number % 3)).unwrap();
        (owner, CreateKey::new(Access::ReadOnly).or_create_owner(CreateOwner::without_key()))
    };
    let issued: Vec<KeyId> = admin
        .create_many((0..100).map(request))
        .map(|outcome| outcome.map(|issued| issued.key.id))
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(admin.list_owners(&ListOwners::new()).unwrap().items.len(), 4);
    let missing = KeyId::from_u128(1);
    let ids = issued.iter().copied().chain([missing]);
    let outcomes: Vec<_> = admin.revoke_many(ids.collect::<Vec<_>>()).collect();
    assert!(outcomes[..100].iter().all(Result::is_ok));
    assert!(matches!(outcomes[100], Err(Error::NotFound(_))));
    assert!(admin.purge_many(issued).all(|outcome| outcome.is_ok()));
}

#[tokio::test]
async fn futures_have_the_same_calls() {
    let test = test_store();
    let keys = OwnerKeys::new(test.store(), owner(), "ada").unwrap();
    let keys = AsyncKeys::from(keys);
    let request = CreateKey::new(Access::ReadOnly).numeric_id(NumericIdChoice::Next);
    let issued = keys.create(request).await.unwrap();
    let rotated = keys.rotate(issued.key.id, Rotate::new()).await.unwrap();
    assert_ne!(issued.token.expose(), rotated.token.expose());
}

#[tokio::test]
async fn one_handler_manages_keys_for_people_and_for_scripts() {
    let test = test_store();
    let full = Access::Full.compile(test.verifier().catalogue());
    let layer = KeyLayer::new(test.verifier().clone()).session(move |parts| {
        parts.headers.contains_key("x-person").then(|| Session::new(owner(), full))
    });
    let create = async |caller: Authenticated| -> Result<String, StatusCode> {
        let keys = AsyncKeys::from(caller.manager("the page").unwrap());
        let made = keys.create(CreateKey::new(Access::Full)).await;
        made.map(|issued| issued.key.hint).map_err(|error| ManagementError::new(&error).status())
    };
    let service = Router::new().route("/", get(create)).layer(layer);
    let ask = async |name: &'static str, value: String| {
        let request = Request::get("/").header(name, value).body(Body::empty()).unwrap();
        service.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(ask("x-person", "ada".into()).await, StatusCode::OK);
    assert_eq!(
        ask("authorization", format!("Bearer {}", test.token("writer"))).await,
        StatusCode::OK
    );
    // A key gives no more than it has.
    let refused = ask("authorization", format!("Bearer {}", test.token("reader"))).await;
    assert_eq!(refused, StatusCode::FORBIDDEN);
    assert_eq!(test.admin().list(&ListKeys::new()).unwrap().items.len(), 4);
}

#[test]
fn requests_are_read_from_json_and_errors_become_answers() {
    #[derive(serde::Deserialize)]
    struct Asked {
        owner: OwnerId,
        access: Access,
    }
    let asked = json!({ "owner": "acme", "access": ["links:read"] });
    let asked: Asked = serde_json::from_value(asked).unwrap();
    let test = test_store();
    let refused = test.admin().create(&asked.owner, CreateKey::new(asked.access)).unwrap_err();
    let answer = ManagementError::new(&refused);
    assert_eq!((answer.status(), answer.code()), (StatusCode::NOT_FOUND, "owner_not_found"));
    assert!(serde_json::from_value::<Asked>(json!({ "owner": "", "access": "full" })).is_err());
    assert_eq!("read_only".parse::<Access>().unwrap(), Access::ReadOnly);
}

#[tokio::test]
async fn the_layer_tells_the_service_who_came_and_who_was_refused() {
    let test = test_store();
    let (verified, rejected) = (Arc::new(std::sync::Mutex::new(Vec::new())), Arc::default());
    let (on_verified, on_rejected) =
        (Arc::clone(&verified), Arc::<std::sync::Mutex<Vec<u16>>>::clone(&rejected));
    let keys = KeyLayer::new(test.verifier())
        .on_verified(move |key, _| on_verified.lock().unwrap().push(key.key_id()))
        .on_rejected(move |answer| on_rejected.lock().unwrap().push(answer.status().as_u16()));
    let any = keys.require_any(["links:write", "links:read"]).unwrap();
    let all = keys.require(["links:write"]).unwrap();
    let who =
        async |caller: Authenticated, Extension(()): Extension<()>| caller.owner().to_string();
    let site = Router::new()
        .route("/any", get(who).layer(any))
        .route("/all", get(who).layer(all))
        .layer(Extension(()))
        .layer(keys);
    let fetch = async |path: &str, token: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let answer = site.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(fetch("/any", test.token("reader")).await, 200);
    assert_eq!(fetch("/all", test.token("reader")).await, 403);
    assert_eq!(fetch("/all", test.token("writer")).await, 200);
    assert_eq!(fetch("/all", "nonsense").await, 401);
    let ids = ["reader", "reader", "writer"].map(|name| test.id(name));
    assert_eq!(*verified.lock().unwrap(), ids);
    assert_eq!(*rejected.lock().unwrap(), [403, 401]);
}

#[test]
fn a_key_that_will_expire_is_told_before() {
    let catalogue = Catalogue::builder().read("links:read");
    let settings = keyhasp::AlertSettings::new().expiring_within(3 * DAY);
    let test = TestStore::configured(catalogue, |builder| builder.alerts(settings));
    let expiry = Expiry::At(test.clock().now().saturating_add(2 * DAY));
    let test = test.key_of("acme", "one", CreateKey::new(Access::Full).expires(expiry));
    assert_eq!(test.store().run_alerts().unwrap(), 1);
    let last = test.admin().events(&ListEvents::new().newest_first().limit(1)).unwrap();
    assert_eq!(last.items[0].kind, EventKind::KeyExpiring);
    assert_eq!(last.items[0].key, Some(test.id("one")));
}
