//! Performing a call: through the caller's handle if a handle has the call, otherwise on the port
//! itself.

use std::sync::Arc;
use std::time::Duration;

use keyhasp::authority::{Actor, Authority, Role};
use keyhasp::id::{Generation, OwnerId, Version};
use keyhasp::store::{ChangedKey, Issued, IssuedOnce, Keys, Managing, RevealedToken};
use keyhasp::{AdminKeys, DelegatedKeys, Error, IdempotencyKey, KeyStore, ListEvents, OwnerKeys};
use serde_json::{Value, json};

use crate::calls::{
    Call, EventQuery, KeyQuery, OnKey, OnOwner, OwnerQuery, Side, Who, rules_request,
};
use crate::driver::Asked;
use crate::model::{Alert, Answer, Fresh, Reason, shown_alerts, shown_refusal};

/// The store's answer, and the values that the model couldn't know beforehand.
pub(crate) type Heard = Result<(Answer, Fresh), Error>;

/// Largest number of pages that are followed. More means that a list never ends.
const MAX_PAGES: usize = 500;

/// A caller with its handle.
#[derive(Debug)]
pub(crate) enum Desk {
    Admin(AdminKeys),
    Delegate(DelegatedKeys),
    Owner(OwnerKeys),
    /// A caller without a handle.
    Port(Authority),
}

impl Desk {
    /// Makes the handle.
    pub(crate) fn new(store: &Arc<dyn Asked>, who: &Who) -> Self {
        let store: Arc<dyn KeyStore> = Arc::<dyn Asked>::clone(store);
        match &who.side {
            Side::Admin => {
                let keys = dress(AdminKeys::new(store, &who.actor).unwrap(), who);
                Self::Admin(match &who.reason {
                    Some(reason) if who.for_owner => keys.with_reason_for_owner(reason).unwrap(),
                    _ => keys,
                })
            }
            Side::Owner(owner) => {
                Self::Owner(dress(OwnerKeys::new(store, *owner, &who.actor).unwrap(), who))
            }
            Side::VerifiedKey(verified) => {
                Self::Delegate(dress(DelegatedKeys::new(store, verified, &who.actor).unwrap(), who))
            }
            Side::Provided { owner, verified, previous_tokens } => {
                let keys = OwnerKeys::new(store, *owner, &who.actor).unwrap().provided(verified);
                let keys = if *previous_tokens { keys.allowing_previous_tokens() } else { keys };
                Self::Owner(dress(keys, who))
            }
            Side::Claim { owner, key, generation } => {
                let generation = Generation::new(*generation).unwrap();
                let role = Role::Delegate { owner: *owner, key: *key, generation };
                let admin = dress(AdminKeys::new(store, &who.actor).unwrap(), who);
                let dressed = admin.authority().clone();
                Self::Port(Authority { role, actor: Actor::new(&who.actor).unwrap(), ..dressed })
            }
        }
    }

    pub(crate) fn authority(&self) -> &Authority {
        match self {
            Self::Admin(keys) => keys.authority(),
            Self::Delegate(keys) => keys.authority(),
            Self::Owner(keys) => keys.authority(),
            Self::Port(by) => by,
        }
    }

    /// Performs a call.
    pub(crate) fn perform(&self, store: &dyn Asked, call: &Call) -> Heard {
        let expected = expected_by(call);
        let through_handle = match self {
            Self::Admin(keys) => by_admin(&expecting(keys, expected), call),
            Self::Delegate(keys) => by_delegate(&expecting(keys, expected), call),
            Self::Owner(keys) => by_owner(&expecting(keys, expected), call),
            Self::Port(_) => None,
        };
        let heard = through_handle.unwrap_or_else(|| on_port(store, self.authority(), call));
        heard.map(|(answer, mut fresh)| {
            if let Some(owner) = may_create_owner(call) {
                let owner = store.owner(self.authority(), &owner).ok();
                fresh.incarnation = owner.map(|owner| owner.incarnation);
            }
            (answer, fresh)
        })
    }
}

/// Returns the owner that a call creates beside a key, if there is none.
fn may_create_owner(call: &Call) -> Option<OwnerId> {
    match call {
        Call::CreateKey { owner, key } => key.or_owner.is_some().then_some(*owner),
        Call::Once { call, .. } => may_create_owner(call),
        _ => None,
    }
}

fn dress<R: Managing>(mut keys: Keys<R>, who: &Who) -> Keys<R> {
    if let Some(reason) = &who.reason {
        keys = keys.with_reason(reason).unwrap();
    }
    if let Some(correlation) = &who.correlation {
        keys = keys.with_correlation_id(correlation).unwrap();
    }
    keys
}

fn expecting<R: Managing>(keys: &Keys<R>, expected: Option<Version>) -> Keys<R> {
    match expected {
        Some(version) => keys.if_version(version),
        None => keys.clone(),
    }
}

fn expected_by(call: &Call) -> Option<Version> {
    match call {
        Call::ActOnKey { expected, .. }
        | Call::ActOnOwner { expected, .. }
        | Call::ChangeRules { expected, .. }
        | Call::InvalidateTokens { expected, .. }
        | Call::RetirePepper { expected, .. }
        | Call::Purge { expected, .. }
        | Call::PurgeMany { expected, .. }
        | Call::RevokeMany { expected, .. }
        | Call::PurgeOwner { expected, .. }
        | Call::RevokeAll { expected, .. }
        | Call::RevokeTree { expected, .. }
        | Call::Rotate { expected, .. } => *expected,
        _ => None,
    }
}

/// The calls that every handle has.
fn by_anybody<R: Managing>(keys: &Keys<R>, call: &Call) -> Option<Heard> {
    Some(match call {
        Call::Get { id } => keys.get(*id).map(|key| shown(&key)),
        Call::Find { id } => keys.find(*id).map(|key| shown(&key)),
        Call::List { query } => all_keys(query, |query| keys.list(query)),
        Call::Count { query } => keys.count(&query.request()).map(|count| shown(&count)),
        Call::ForeignCursor { of, used_for } => {
            foreign_cursor(of, used_for, |query| keys.list(query))
        }
        Call::MadeUpCursor { cursor } => {
            keys.list(&KeyQuery::default().request().cursor(cursor)).map(|page| shown(&page))
        }
        Call::OpenToken { id } => keys.reveal_token(*id).map(|token| shown(&token.expose())),
        Call::OpenTokens { query } => all_tokens(query, |query| keys.reveal_tokens(query)),
        Call::RevokeMany { ids, .. } => Ok(many(keys.revoke_many(ids.clone()), changed)),
        Call::RevokeTree { id, .. } => keys.revoke_with_descendants(*id).map(|tree| shown(&tree)),
        Call::Rotate { id, how, .. } => keys.rotate(*id, how.request()).map(issued),
        Call::Events { query } => all_events(query, |query| keys.events(query)),
        Call::ActOnKey { id, action, .. } => match action {
            OnKey::Activate => keys.activate(*id),
            OnKey::Deactivate => keys.deactivate(*id),
            OnKey::InvalidatePrevious => keys.invalidate_previous_tokens(*id),
            OnKey::ExtendExpiry(expiry) => keys.extend_expiry(*id, *expiry),
            OnKey::Revoke => return Some(keys.revoke(*id).map(changed)),
            OnKey::Update(update) => keys.update(*id, update.request()),
            OnKey::AddToQuota(_)
            | OnKey::Block
            | OnKey::ConvertTrial(_)
            | OnKey::RefillQuota
            | OnKey::Unblock => return None,
        }
        .map(|key| shown(&key)),
        _ => return None,
    })
}

fn by_admin(keys: &AdminKeys, call: &Call) -> Option<Heard> {
    if let Some(heard) = by_anybody(keys, call) {
        return Some(heard);
    }
    Some(match call {
        Call::CreateKey { owner, key } => keys.create(owner, key.request()).map(issued),
        Call::ActOnKey { id, action, .. } => match action {
            OnKey::AddToQuota(uses) => keys.add_to_quota(*id, *uses),
            OnKey::Block => return Some(keys.block(*id).map(changed)),
            OnKey::RefillQuota => keys.refill_quota(*id),
            OnKey::ConvertTrial(expiry) => keys.convert_trial(*id, *expiry),
            OnKey::Unblock => keys.unblock(*id),
            _ => return None,
        }
        .map(|key| shown(&key)),
        Call::Purge { id, .. } => keys.purge(*id).map(|()| nothing()),
        Call::PurgeMany { ids, .. } => Ok(many(keys.purge_many(ids.clone()), |()| nothing())),
        Call::CreateOwner { id, owner } => {
            keys.create_owner(id, owner.request()).map(created_owner)
        }
        Call::GetOwner { id } => keys.owner(id).map(|owner| shown(&owner)),
        Call::ListOwners { query } => all_owners(query, |query| keys.list_owners(query)),
        Call::ActOnOwner { id, action, .. } => match action {
            OnOwner::AddToQuota(uses) => keys.add_to_owner_quota(id, *uses),
            OnOwner::RefillQuota => keys.refill_owner_quota(id),
            OnOwner::InvalidateTokens(to) => keys.invalidate_owner_tokens_issued_before(id, *to),
            OnOwner::Resume => keys.resume_owner(id),
            OnOwner::Suspend => keys.suspend_owner(id),
            OnOwner::Update { .. } => match action.request() {
                keyhasp::store::OwnerAction::Update(update) => keys.update_owner(id, update),
                _ => return None,
            },
        }
        .map(|owner| shown(&owner)),
        Call::RevokeAll { owner, replacement, .. } => {
            let replacement = replacement.as_ref().map(crate::calls::NewKey::request);
            keys.revoke_all(owner, replacement).map(revoked_all)
        }
        Call::PurgeOwner { id, .. } => keys.purge_owner(id).map(|()| nothing()),
        Call::Leaked { text, block: true } => keys.block_leaked(text).map(|found| shown(&found)),
        Call::Leaked { text, block: false } => keys.identify(text).map(|found| shown(&found)),
        Call::Rules => keys.rules().map(rules),
        Call::ChangeRules { rules: new, prefixes, .. } => {
            keys.change_rules(rules_request(*new, prefixes.as_ref())).map(rules)
        }
        Call::InvalidateTokens { to, .. } => keys.invalidate_tokens_issued_before(*to).map(rules),
        Call::RetirePepper { number, if_in_use, .. } => {
            keys.retire_pepper(*number, *if_in_use).map(|retired| shown(&retired))
        }
        Call::Prune { before } => keys.prune_events(*before).map(|pruned| shown(&pruned)),
        Call::Wait { after } => {
            keys.wait_for_event(*after, Duration::ZERO).map(|last| shown(&last))
        }
        _ => return None,
    })
}

fn by_owner(keys: &OwnerKeys, call: &Call) -> Option<Heard> {
    if let Some(heard) = by_anybody(keys, call) {
        return Some(heard);
    }
    let own = keys.authority().role.owner().copied();
    Some(match call {
        Call::CreateKey { owner, key } if Some(*owner) == own => {
            keys.create(key.request()).map(issued)
        }
        Call::ActOnKey { id, action, .. } => match action {
            OnKey::AddToQuota(uses) => keys.add_to_quota(*id, *uses),
            OnKey::RefillQuota => keys.refill_quota(*id),
            _ => return None,
        }
        .map(|key| shown(&key)),
        Call::GetOwner { id } if Some(*id) == own => keys.owner().map(|owner| shown(&owner)),
        Call::RevokeAll { owner, replacement, .. } if Some(*owner) == own => {
            let replacement = replacement.as_ref().map(crate::calls::NewKey::request);
            keys.revoke_all(replacement).map(revoked_all)
        }
        _ => return None,
    })
}

fn by_delegate(keys: &DelegatedKeys, call: &Call) -> Option<Heard> {
    if let Some(heard) = by_anybody(keys, call) {
        return Some(heard);
    }
    let own = keys.authority().role.owner().copied();
    match call {
        Call::CreateKey { owner, key } if Some(*owner) == own => {
            Some(keys.create(key.request()).map(issued))
        }
        _ => None,
    }
}

/// All calls of the port, with a given authority.
fn on_port(store: &dyn Asked, by: &Authority, call: &Call) -> Heard {
    match call {
        Call::ActOnKey { id, action, expected } => {
            store.change_key(by, *id, &action.request(), *expected).map(changed)
        }
        Call::ActOnOwner { id, action, expected } => {
            store.change_owner(by, id, &action.request(), *expected).map(|owner| shown(&owner))
        }
        Call::ChangeRules { rules: new, prefixes, expected } => {
            let request = rules_request(*new, prefixes.as_ref());
            store.change_rules(by, &request, *expected).map(rules)
        }
        Call::Count { query } => store.count_keys(by, &query.request()).map(|count| shown(&count)),
        Call::CreateKey { owner, key } => store.create_key(by, owner, &key.request()).map(issued),
        Call::CreateOwner { id, owner } => {
            store.create_owner(by, id, &owner.request()).map(created_owner)
        }
        Call::Events { query } => all_events(query, |query| store.events(by, query)),
        Call::Find { id } => store.key_by_numeric_id(by, *id).map(|key| shown(&key)),
        Call::FlushUsage => store.flush_usage().map(|()| nothing()),
        Call::WorkSweeps { pieces } => store.work_sweeps(*pieces).map(|count| shown(&count)),
        Call::ForeignCursor { of, used_for } => {
            foreign_cursor(of, used_for, |query| store.list_keys(by, query))
        }
        Call::Get { id } => store.key(by, *id).map(|key| shown(&key)),
        Call::GetOwner { id } => store.owner(by, id).map(|owner| shown(&owner)),
        Call::Leaked { text, block } => {
            let text = text.as_bytes();
            let found =
                if *block { store.block_leaked(by, text) } else { store.identify(by, text) };
            found.map(|found| shown(&found))
        }
        Call::List { query } => all_keys(query, |query| store.list_keys(by, query)),
        Call::ListOwners { query } => all_owners(query, |query| store.list_owners(by, query)),
        Call::LookOut => run_alerts(store),
        Call::MadeUpCursor { cursor } => {
            let query = KeyQuery::default().request().cursor(cursor);
            store.list_keys(by, &query).map(|page| shown(&page))
        }
        Call::InvalidateTokens { to, expected } => {
            store.invalidate_tokens_issued_before(by, *to, *expected).map(rules)
        }
        Call::RetirePepper { number, if_in_use, expected } => {
            let retired = store.retire_pepper(by, *number, *if_in_use, *expected);
            retired.map(|retired| shown(&retired))
        }
        Call::Once { name, call } => {
            let key = IdempotencyKey::new(name).unwrap();
            match &**call {
                Call::CreateKey { owner, key: new } => {
                    store.create_key_once(by, owner, &new.request(), &key)
                }
                Call::Rotate { id, how, expected } => {
                    store.rotate_key_once(by, *id, &how.request(), *expected, &key)
                }
                other => panic!("{other:?} has no idempotency key"),
            }
            .map(issued_once)
        }
        Call::ReplaceLost { id, name } => {
            let key = IdempotencyKey::new(name).unwrap();
            store.replace_lost_token(by, *id, &key).map(issued)
        }
        Call::OpenToken { id } => store.reveal_token(by, *id).map(|token| shown(&token.expose())),
        Call::OpenTokens { query } => all_tokens(query, |query| store.reveal_tokens(by, query)),
        Call::Prune { before } => store.prune_events(by, *before).map(|pruned| shown(&pruned)),
        Call::Purge { id, expected } => store.purge_key(by, *id, *expected).map(|()| nothing()),
        Call::PurgeMany { ids, expected } => {
            store.purge_keys(by, ids, *expected).map(|all| many(all, |()| nothing()))
        }
        Call::PurgeOwner { id, expected } => {
            store.purge_owner(by, id, *expected).map(|()| nothing())
        }
        Call::Recover => store.recover().map(|()| nothing()),
        Call::RevokeAll { owner, replacement, expected } => {
            let replacement = replacement.as_ref().map(crate::calls::NewKey::request);
            store.revoke_all(by, owner, replacement.as_ref(), *expected).map(revoked_all)
        }
        Call::RevokeMany { ids, expected } => {
            store.revoke_keys(by, ids, *expected).map(|all| many(all, changed))
        }
        Call::RevokeTree { id, expected } => {
            store.revoke_with_descendants(by, *id, *expected).map(|tree| shown(&tree))
        }
        Call::Rotate { id, how, expected } => {
            store.rotate_key(by, *id, &how.request(), *expected).map(issued)
        }
        Call::Rules => store.rules(by).map(rules),
        Call::Wait { after } => {
            store.wait_for_event(*after, Duration::ZERO).map(|last| shown(&last))
        }
    }
}

/// Scans for alerts, and reads those that were written from the event log. A scan flushes usage if
/// its alerts depend on usage; this flushes usage in any case.
fn run_alerts(store: &dyn Asked) -> Heard {
    let before = store.wait_for_event(0, Duration::ZERO)?;
    let count = store.run_alerts()?;
    store.flush_usage()?;
    let by = Authority::new(Role::Administrator, Actor::new("checks").unwrap());
    let events = store.events(&by, &ListEvents::new().after(before).limit(1_000))?;
    let told: Vec<Alert> = events
        .items
        .iter()
        .filter_map(|event| {
            let generation = event.generation.map(Generation::get);
            Some(Alert { kind: event.kind, key: event.key?, generation })
        })
        .collect();
    let shown = shown_alerts(count, &told);
    Ok(answer(shown, Fresh { told, ..Fresh::default() }))
}

fn answer(value: Value, fresh: Fresh) -> (Answer, Fresh) {
    (Answer::Shown(value), fresh)
}

fn shown(what: &impl serde::Serialize) -> (Answer, Fresh) {
    answer(serde_json::to_value(what).unwrap(), Fresh::default())
}

/// The outcomes of many changes.
fn many<T>(
    outcomes: impl IntoIterator<Item = Result<T, Error>>,
    show: impl Fn(T) -> (Answer, Fresh),
) -> (Answer, Fresh) {
    let (mut values, mut refused) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        let reason = outcome.as_ref().err().map(Reason::of);
        values.push(match outcome.map(&show) {
            Ok((Answer::Shown(value), _)) => value,
            Ok((Answer::Events { .. }, _)) => Value::Null,
            Err(error) => shown_refusal(&Reason::of(&error)),
        });
        refused.push(reason);
    }
    answer(values.into(), Fresh { refused, ..Fresh::default() })
}

/// The whole key: nothing is damaged here.
fn changed(key: ChangedKey) -> (Answer, Fresh) {
    shown(&key.whole().unwrap())
}

fn nothing() -> (Answer, Fresh) {
    answer(Value::Null, Fresh::default())
}

fn take_issued(issued: Issued) -> (Option<Value>, Fresh) {
    let text = issued.token.expose().to_owned();
    let value = json!({ "key": issued.key, "token": text, "dropped": issued.dropped });
    (Some(value), Fresh { token: Some((issued.key.id, text)), ..Fresh::default() })
}

fn issued_once(issued: IssuedOnce) -> (Answer, Fresh) {
    let token = issued.token.as_ref().map(|token| token.expose().to_owned());
    let value = json!({
        "key": issued.key,
        "generation": issued.generation,
        "token": token,
        "dropped": issued.dropped,
        "is_repeated": issued.is_repeated,
    });
    let token = token.filter(|_| !issued.is_repeated).map(|text| (issued.key.id, text));
    answer(value, Fresh { token, ..Fresh::default() })
}

fn issued(issued: Issued) -> (Answer, Fresh) {
    let (value, fresh) = take_issued(issued);
    answer(value.into(), fresh)
}

fn created_owner(created: keyhasp::store::CreatedOwner) -> (Answer, Fresh) {
    let (first, fresh) = created.first_key.map_or_else(Default::default, take_issued);
    let fresh = Fresh { incarnation: Some(created.owner.incarnation), ..fresh };
    answer(json!({ "owner": created.owner, "first_key": first }), fresh)
}

fn revoked_all(all: keyhasp::store::RevokedAll) -> (Answer, Fresh) {
    let (replacement, fresh) = all.replacement.map_or_else(Default::default, take_issued);
    answer(json!({ "revoked": all.revoked, "replacement": replacement }), fresh)
}

fn rules(rules: keyhasp::store::Rules) -> (Answer, Fresh) {
    let value = json!({
        "rules": rules.rules.to_string(),
        "prefixes": rules.prefixes,
        "tokens_valid_from": rules.tokens_valid_from,
        "version": rules.version,
    });
    answer(value, Fresh::default())
}

type Listing<'a, Q, T> = &'a dyn Fn(&Q) -> Result<keyhasp::Page<T>, Error>;

/// Follows cursors to the end of a list of keys.
fn all_pages<T>(
    query: &KeyQuery,
    list: Listing<'_, keyhasp::ListKeys, T>,
    show: impl Fn(T) -> Value,
) -> Heard {
    let mut all = Vec::new();
    let mut request = query.request();
    for _ in 0..MAX_PAGES {
        let page = list(&request)?;
        assert!(page.items.len() <= query.page(), "a page of more than {}", query.page());
        all.extend(page.items.into_iter().map(&show));
        match page.next {
            // The cursor carries the limit too.
            Some(next) => {
                request = KeyQuery { limit: None, ..query.clone() }.request().cursor(next);
            }
            None => return Ok(answer(all.into(), Fresh::default())),
        }
    }
    panic!("a list without end");
}

fn all_keys(
    query: &KeyQuery,
    list: impl Fn(&keyhasp::ListKeys) -> Result<keyhasp::Page<keyhasp::Key>, Error>,
) -> Heard {
    all_pages(query, &list, |key| json!(key))
}

fn all_tokens(
    query: &KeyQuery,
    list: impl Fn(&keyhasp::ListKeys) -> Result<keyhasp::Page<RevealedToken>, Error>,
) -> Heard {
    let show = |opened: RevealedToken| {
        let token = opened.token.as_ref().map(keyhasp::Token::expose);
        let misses_key = match &opened.error {
            Some(Error::Seal(_)) => true,
            Some(error) => panic!("{error:?}"),
            None => false,
        };
        json!({ "key": opened.key, "token": token, "misses_key": misses_key })
    };
    all_pages(query, &list, show)
}

fn foreign_cursor(
    of: &KeyQuery,
    used_for: &KeyQuery,
    list: impl Fn(&keyhasp::ListKeys) -> Result<keyhasp::Page<keyhasp::Key>, Error>,
) -> Heard {
    let cursor = list(&of.request())?.next;
    let fresh = Fresh { gave_cursor: cursor.is_some(), ..Fresh::default() };
    let mut request = used_for.request();
    if let Some(cursor) = cursor {
        request = request.cursor(cursor);
    }
    list(&request)?;
    Ok(answer(Value::Null, fresh))
}

fn all_owners(
    query: &OwnerQuery,
    list: impl Fn(&keyhasp::ListOwners) -> Result<keyhasp::Page<keyhasp::Owner>, Error>,
) -> Heard {
    let mut all = Vec::new();
    let mut query = query.clone();
    for _ in 0..MAX_PAGES {
        let page = list(&query.request())?;
        assert!(page.items.len() <= query.page(), "a page of more than {}", query.page());
        all.extend(page.items.iter().map(|owner| json!(owner)));
        match page.next {
            Some(next) => query.after = Some(OwnerId::new(next).unwrap()),
            None => return Ok(answer(all.into(), Fresh::default())),
        }
    }
    panic!("a list without end");
}

/// Reads events to the end.
pub(crate) fn all_events(
    query: &EventQuery,
    read: impl Fn(&keyhasp::ListEvents) -> Result<keyhasp::store::Events, Error>,
) -> Heard {
    let mut all = Vec::new();
    let mut query = query.clone();
    for _ in 0..MAX_PAGES {
        let page = read(&query.request())?;
        assert!(page.items.len() <= query.page(), "a page of more than {}", query.page());
        all.extend(page.items);
        match page.next {
            Some(next) if query.before.is_some() => query.before = Some(next),
            Some(next) => query.after = next,
            None => {
                let pruned_through = page.pruned_through;
                return Ok((Answer::Events { items: all, pruned_through }, Fresh::default()));
            }
        }
    }
    panic!("a log without end");
}
