//! The calls on keys. Each acts for the organisation of the calling key; another organisation's
//! keys are not found.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use keyhasp::store::Unavailable;
use keyhasp::{Access, AsyncKeys, Authenticated, CreateKey, Error, NumericIdChoice};
use keyhasp::{
    Catalogue, Key, KeyId, KeyStore, ListKeys, Owner, OwnerKeys, Rotate, Token, UpdateKey,
};
use serde_json::{Value, json};

use super::faults::Fault;
use super::parameters::{Listing, force, settings};
use super::resource::{Id, key};
use super::shared::JsonBody;

type Store = State<Arc<dyn KeyStore>>;
type Answer = Result<Json<Value>, Fault>;

/// Answers `POST /keys`.
pub(crate) async fn create(
    State(store): Store,
    caller: Authenticated,
    body: JsonBody,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let request = CreateKey::new(Access::Full)
        .settings(settings(body)?)
        .numeric_id(NumericIdChoice::Next)
        .recoverable();
    // The organisation is read first, so that nothing can fail after the creation.
    let created = for_organisation(&caller, Arc::clone(&store), |keys| {
        Ok((keys.owner()?, keys.create(request)?))
    });
    let (owner, issued) = created.await?;
    let shown = key(&issued.key, &owner, store.catalogue(), &issued.token);
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Answers `GET /keys/{id}`.
pub(crate) async fn retrieve(State(store): Store, caller: Authenticated, Id(id): Id) -> Answer {
    let shown =
        for_organisation(&caller, Arc::clone(&store), move |keys| show(keys, keys.find(id)?.id));
    let Shown { key: found, owner, token } = shown.await?;
    Ok(Json(key(&found, &owner, store.catalogue(), &token)))
}

/// Answers `GET /key`.
pub(crate) async fn current(State(store): Store, caller: Authenticated) -> Answer {
    let id = caller.verified_key().ok_or_else(Fault::not_found)?.key_id();
    let shown = for_organisation(&caller, Arc::clone(&store), move |keys| show(keys, id));
    let Shown { key: found, owner, token } = shown.await?;
    Ok(Json(key(&found, &owner, store.catalogue(), &token)))
}

/// Answers `POST /keys/{id}`.
pub(crate) async fn update(
    State(store): Store,
    caller: Authenticated,
    Id(id): Id,
    body: JsonBody,
) -> Answer {
    let update = UpdateKey::new().settings(settings(body)?);
    let updated = for_organisation(&caller, Arc::clone(&store), move |keys| {
        let id = keys.find(id)?.id;
        loop {
            // The token is read before the update, so that nothing can fail after it. The version
            // or the generation shows a rotation in between.
            let Shown { key: before, owner, token } = show(keys, id)?;
            match keys.if_version(before.version).update(id, update.clone()) {
                Ok(after) if after.generation == before.generation => {
                    return Ok(Shown { key: after, owner, token });
                }
                Ok(_) | Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    });
    let Shown { key: updated, owner, token } = updated.await?;
    Ok(Json(key(&updated, &owner, store.catalogue(), &token)))
}

/// Answers `POST /keys/{id}/rotate`.
pub(crate) async fn rotate(
    State(store): Store,
    caller: Authenticated,
    Id(id): Id,
    body: JsonBody,
) -> Answer {
    let request = if force(body)? { Rotate::forced() } else { Rotate::new() };
    let rotated = for_organisation(&caller, Arc::clone(&store), move |keys| {
        Ok((keys.owner()?, keys.rotate(keys.find(id)?.id, request)?))
    });
    let (owner, rotated) = rotated.await?;
    Ok(Json(key(&rotated.key, &owner, store.catalogue(), &rotated.token)))
}

/// Answers `GET /keys`, newest first.
pub(crate) async fn list(State(store): Store, caller: Authenticated, listing: Listing) -> Answer {
    let catalogue = Arc::clone(&store);
    let page =
        for_organisation(&caller, store, move |keys| page(keys, &listing, catalogue.catalogue()));
    Ok(Json(page.await??))
}

/// Returns a page, whether it is the last, and the number of keys that match the filters. The inner
/// error is a fault of the query.
fn page(
    keys: &OwnerKeys,
    listing: &Listing,
    catalogue: &Catalogue,
) -> Result<Result<Value, Fault>, Error> {
    let owner = keys.owner()?;
    let mut query = ListKeys::new().limit(listing.limit);
    if let Some(kind) = listing.kind {
        query = query.kind(kind);
    }
    if let Some(state) = listing.state {
        query = query.states([state]);
    }
    let total = keys.count(&query)?;
    for (name, id) in [("after_id", listing.after), ("before_id", listing.before)] {
        let Some(id) = id else { continue };
        match keys.find(id) {
            Ok(key) if name == "after_id" => query = query.starting_after(key.id),
            Ok(key) => query = query.ending_before(key.id),
            Err(Error::NotFound(_)) => {
                return Ok(Err(Fault::invalid_parameter(name, "No key has this id.")));
            }
            Err(error) => return Err(error),
        }
    }
    let page = keys.reveal_tokens(&query).map_err(only_read)?;
    // Only the last page is shorter than its limit, since no organisation has so many keys that the
    // store would end a page early. But `next` doesn't prove that a further key matches.
    let has_more = match page.items.last() {
        Some(last) if page.next.is_some() => {
            !keys.list(&query.starting_after(last.key.id).limit(1))?.items.is_empty()
        }
        _ => false,
    };
    let shown = page.items.iter();
    let shown = shown.filter_map(|item| Some((&item.key, item.token.as_ref()?)));
    let data: Vec<Value> =
        shown.map(|(found, token)| key(found, &owner, catalogue, token)).collect();
    Ok(Ok(json!({
        "resource": "list",
        "data": data,
        "has_more": has_more,
        "total_count": total,
        "url": "/keys",
    })))
}

/// The data of an answer.
#[derive(Debug)]
struct Shown {
    key: Key,
    owner: Owner,
    token: Token,
}

/// Returns a key, its organisation and its current token.
fn show(keys: &OwnerKeys, id: KeyId) -> Result<Shown, Error> {
    loop {
        let owner = keys.owner()?;
        let (key, token) = (keys.get(id)?, keys.reveal_token(id).map_err(only_read)?);
        // A rotation in between would pair the key with another token.
        if keys.get(id)?.generation == key.generation {
            return Ok(Shown { key, owner, token });
        }
    }
}

/// Turns an unknown outcome into an error that invites a retry. Revealing a token changes nothing
/// but the event log, so a retry does no harm.
fn only_read(error: Error) -> Error {
    match error {
        Error::OutcomeUnknown(_) => Unavailable::Recovering.into(),
        error => error,
    }
}

/// Runs calls on the keys of the caller's organisation, on a thread that may wait for the disk.
///
/// The calls act as the organisation, not as a delegate of the calling key. For a trial key acts
/// for its organisation too, but can't delegate. They act provided that the calling key still holds:
/// otherwise a call that has begun could end well after the key's revocation. A previous token will
/// do, since clients rotate a key and then read it with the token that they have. The events name
/// the key.
pub(crate) async fn for_organisation<T: Send + 'static>(
    caller: &Authenticated,
    store: Arc<dyn KeyStore>,
    calls: impl FnOnce(&OwnerKeys) -> Result<T, Error> + Send + 'static,
) -> Result<T, Fault> {
    let actor = caller
        .verified_key()
        .map_or("session".to_owned(), |verified| format!("key {}", verified.key_id()));
    let mut keys = OwnerKeys::new(store, *caller.owner(), actor).map_err(Error::from)?;
    if let Some(verified) = caller.verified_key() {
        keys = keys.provided(verified).allowing_previous_tokens();
    }
    Ok(AsyncKeys::from(keys).call(calls).await?)
}
