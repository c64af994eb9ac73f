//! Management calls as futures.

#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use crate::common::{World, owner};
use keyhasp::integrations::tokio::blocking;
use keyhasp::store::{FeedItem, Unavailable};
use keyhasp::{
    Access, AsyncKeys, CreateKey, CreateOwner, DelegatedKeys, Error, ListKeys, Rotate, State,
};
use proc_macro2::{Delimiter, TokenTree};
use syn::{
    GenericArgument, ImplItem, Item, ItemImpl, PathArguments, ReturnType, Type, TypeParamBound,
    Visibility,
};

#[tokio::test]
async fn the_life_of_a_key() {
    let world = World::new();
    let admin = AsyncKeys::from(world.admin.clone());
    let created = admin.create_owner(&owner("org"), CreateOwner::without_key()).await.unwrap();
    assert_eq!(created.owner.id, owner("org"));
    let keys = keyhasp::OwnerKeys::new(Arc::clone(&world.store), owner("org"), "lena").unwrap();
    let keys = AsyncKeys::from(keys).with_reason("a new website").unwrap();
    let issued = keys.create(CreateKey::new(Access::Full)).await.unwrap();
    let id = issued.key.id;
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    let delegate =
        DelegatedKeys::new(Arc::clone(&world.store), &verified, "lena's script").unwrap();
    let delegate = AsyncKeys::from(delegate);
    delegate.create(CreateKey::new(Access::ReadOnly)).await.unwrap();
    assert_eq!(keys.list(&ListKeys::new()).await.unwrap().items.len(), 2);
    let rotated = keys.rotate(id, Rotate::forced()).await.unwrap();
    assert!(world.verifier.verify(issued.token.expose()).is_err());
    assert!(world.verifier.verify(rotated.token.expose()).is_ok());
    let conflict = keys.if_version(issued.key.version).deactivate(id).await;
    assert!(matches!(conflict, Err(Error::Conflict { .. })));
    admin.block(id).await.unwrap();
    let state = keys.call(move |keys| keys.revoke(id).and_then(|_| keys.get(id))).await.unwrap();
    assert_eq!(state.state, State::Revoked);
    admin.purge(id).await.unwrap();
    assert!(matches!(keys.get(id).await, Err(Error::NotFound(_))));
}

/// A future that is dropped has given out nothing.
#[tokio::test]
async fn events_are_followed() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let admin = AsyncKeys::from(world.admin.clone());
    let mut feed = admin.subscribe(2).limit(1);
    drop(feed.next(Duration::ZERO));
    let FeedItem::Events(events) = feed.next(Duration::ZERO).await.unwrap() else {
        panic!("nothing")
    };
    assert_eq!((events[0].key, feed.position()), (Some(issued.key.id), 3));
    // As long as only a defect takes.
    let waiting = feed.next(Duration::from_secs(600));
    let (news, blocked) = tokio::join!(waiting, admin.block_leaked(issued.token.expose()));
    let FeedItem::Events(events) = news.unwrap() else { panic!("nothing") };
    assert_eq!(events[0].version, blocked.unwrap().unwrap().key.version);
}

/// A future that is dropped while its piece is made loses none of the outcomes.
#[tokio::test]
async fn many_changes_are_read_one_by_one() {
    let world = World::new();
    let (keys, _) = world.owner("org");
    let keys = AsyncKeys::from(keys);
    let mut creations = keys.create_many((0..70).map(|_| CreateKey::new(Access::Full)));
    let mut ids = BTreeSet::new();
    let first = creations.next();
    let is_waiting = {
        let mut first = std::pin::pin!(first);
        std::future::poll_fn(|context| {
            Poll::Ready(Future::poll(first.as_mut(), context).is_pending())
        })
        .await
    };
    assert!(is_waiting, "the piece is made on this thread");
    while let Some(issued) = creations.next().await {
        ids.insert(issued.unwrap().key.id);
    }
    assert_eq!(ids.len(), 70);
    assert!(creations.next().await.is_none());
    let admin = AsyncKeys::from(world.admin.clone());
    let mut revocations = admin.revoke_many(ids.clone());
    let mut revoked = 0;
    while let Some(outcome) = revocations.next().await {
        assert!(outcome.is_ok());
        revoked += 1;
    }
    let mut purges = admin.purge_many(ids);
    while let Some(outcome) = purges.next().await {
        outcome.unwrap();
        revoked -= 1;
    }
    assert_eq!(revoked, 0);
    let mut others = admin.create_many([(owner("nobody"), CreateKey::new(Access::Full))]);
    assert!(matches!(others.next().await, Some(Err(Error::NotFound(_)))));
}

/// While a call waits, the one thread of the runtime does other things: here what it waits for.
#[tokio::test]
async fn a_call_holds_nobody_up() {
    let (say, heard) = mpsc::channel();
    let waiting = blocking(move || {
        heard.recv().unwrap();
        Ok(7)
    });
    let (answer, ()) = tokio::join!(waiting, async move { say.send(()).unwrap() });
    assert_eq!(answer.unwrap(), 7);
}

#[tokio::test]
#[should_panic(expected = "planted")]
async fn a_panic_goes_on() {
    let _: Result<(), Error> = blocking(|| panic!("planted")).await;
}

#[test]
fn after_the_runtime_nothing_is_done() {
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let admin = AsyncKeys::from(world.admin.clone());
    let refused = handle
        .block_on(async { admin.create_owner(&owner("org"), CreateOwner::without_key()).await });
    assert!(matches!(refused, Err(Error::Unavailable(Unavailable::Closed))));
    assert!(matches!(world.admin.owner(&owner("org")), Err(Error::NotFound(_))));
}

/// No call of a handle was forgotten, and none is on the wrong one.
#[test]
fn every_call_has_its_future() {
    let futures = include_str!("../../src/integrations/tokio/handles.rs");
    for (role, handle) in [
        ("Managing", include_str!("../../src/store/handle/keys.rs")),
        ("OfOneOwner", include_str!("../../src/store/handle/manager.rs")),
        ("AsAdmin", include_str!("../../src/store/handle/admin.rs")),
        ("AsOwner", include_str!("../../src/store/handle/owner.rs")),
    ] {
        let calls: BTreeSet<String> = impls(handle).iter().flat_map(calls).collect();
        let many: BTreeSet<String> =
            impls(handle).iter().flat_map(|item| returning(item, "Bulk")).collect();
        let of_role = |item: &ItemImpl| role_of(item).is_some_and(|name| name == role);
        let futures = impls(futures);
        let futures: BTreeSet<String> =
            futures.iter().filter(|item| of_role(item)).flat_map(declared).collect();
        assert!(!calls.is_empty());
        assert_eq!(calls, futures, "{role}");
        let items = impls(include_str!("../../src/integrations/tokio/handles.rs"));
        let items = items.iter().filter(|item| of_role(item));
        let futures: BTreeSet<String> = items.flat_map(|it| returning(it, "AsyncBulk")).collect();
        assert_eq!(many, futures, "{role}");
    }
}

fn impls(source: &str) -> Vec<ItemImpl> {
    let items = syn::parse_file(source).unwrap().items.into_iter();
    items.filter_map(|item| if let Item::Impl(item) = item { Some(item) } else { None }).collect()
}

/// The role of a handle's methods; of all roles of a kind, the kind.
fn role_of(item: &ItemImpl) -> Option<String> {
    let role = argument(&item.self_ty)?;
    let parameter = item.generics.type_params().find(|parameter| parameter.ident == role);
    let Some(parameter) = parameter else { return Some(role) };
    match parameter.bounds.first()? {
        TypeParamBound::Trait(kind) => Some(kind.path.get_ident()?.to_string()),
        _ => None,
    }
}

/// Public methods that answer `Result<_, Error>`.
fn calls(item: &ItemImpl) -> Vec<String> {
    let method = |item: &ImplItem| {
        let ImplItem::Fn(method) = item else { return None };
        let ReturnType::Type(_, answer) = &method.sig.output else { return None };
        let fails = argument(answer).is_some_and(|error| error == "Error");
        let is_call = matches!(method.vis, Visibility::Public(_)) && fails;
        is_call.then(|| method.sig.ident.to_string())
    };
    item.items.iter().filter_map(method).collect()
}

/// Public methods that answer a type of this name.
fn returning(item: &ItemImpl, name: &str) -> Vec<String> {
    let method = |item: &ImplItem| {
        let ImplItem::Fn(method) = item else { return None };
        let ReturnType::Type(_, answer) = &method.sig.output else { return None };
        let Type::Path(path) = &**answer else { return None };
        let is_meant = path.path.segments.last()?.ident == name;
        let is_public = matches!(method.vis, Visibility::Public(_));
        (is_public && is_meant).then(|| method.sig.ident.to_string())
    };
    item.items.iter().filter_map(method).collect()
}

/// What stands in `calls!`: each name before its arguments.
fn declared(item: &ItemImpl) -> Vec<String> {
    let mut names = Vec::new();
    for item in &item.items {
        let ImplItem::Macro(item) = item else { continue };
        assert!(item.mac.path.is_ident("calls"));
        let tokens: Vec<TokenTree> = item.mac.tokens.clone().into_iter().collect();
        names.extend(tokens.windows(2).filter_map(|pair| match pair {
            [TokenTree::Ident(name), TokenTree::Group(group)]
                if group.delimiter() == Delimiter::Parenthesis =>
            {
                Some(name.to_string())
            }
            _ => None,
        }));
    }
    names
}

/// The last generic argument of a type's last segment.
fn argument(of: &Type) -> Option<String> {
    let Type::Path(path) = of else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else {
        return None;
    };
    match arguments.args.last()? {
        GenericArgument::Type(Type::Path(path)) => Some(path.path.get_ident()?.to_string()),
        _ => None,
    }
}
