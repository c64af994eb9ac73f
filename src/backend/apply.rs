//! The rules of a commit, decided in one place for every backend.
//!
//! [`apply`] reads through a [`Transaction`], decides, and only then writes: a refused change has
//! written nothing, so that a backend needs no undo for one change among others.

use std::collections::BTreeMap;

use super::{Applied, BackendError, Change, Precondition, Rejection, UsageOf, Write};
use crate::event::Event;
use crate::id::{ExternalId, KeyId, OwnerId, Version};
use crate::key::{Header, KeyName, KeyRecord, Kind, OwnerRecord, PrefixNumber, Usage, Used};

/// How many keys an owner has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// All of them, the revoked too.
    pub all: u64,
    /// The unrevoked.
    pub live: u64,
    /// The unrevoked of kind standard.
    pub live_standard: u64,
}

impl KeyCounts {
    /// What one key adds to the counts.
    #[must_use]
    pub fn of(key: &KeyRecord) -> Self {
        let live = u64::from(key.is_live());
        Self { all: 1, live, live_standard: live * u64::from(key.kind == Kind::Standard) }
    }

    /// These counts with one key more.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            all: self.all + other.all,
            live: self.live + other.live,
            live_standard: self.live_standard + other.live_standard,
        }
    }

    /// These counts with one key less.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            all: self.all.saturating_sub(other.all),
            live: self.live.saturating_sub(other.live),
            live_standard: self.live_standard.saturating_sub(other.live_standard),
        }
    }
}

/// A backend's state inside one commit: reads see the writes before them.
///
/// No other commit comes between its first read and its end.
pub trait Transaction {
    /// The store's own record.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn header(&mut self) -> Result<Header, BackendError>;

    /// An owner.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn owner(&mut self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError>;

    /// A key.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn key(&mut self, id: KeyId) -> Result<Option<KeyRecord>, BackendError>;

    /// How many keys an owner has.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn key_counts(&mut self, owner: &OwnerId) -> Result<KeyCounts, BackendError>;

    /// The unrevoked keys of an owner that have this name; one, or more where names need not be
    /// unique.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn live_keys_named(
        &mut self,
        owner: &OwnerId,
        name: &KeyName,
    ) -> Result<Vec<KeyId>, BackendError>;

    /// Whether an external id was ever used, also by a key that is purged.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn external_id_used(&mut self, id: ExternalId) -> Result<bool, BackendError>;

    /// The greatest external id ever used; 0 before the first.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn greatest_external_id(&mut self) -> Result<u64, BackendError>;

    /// The number of the last event; 0 before the first.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn last_event(&mut self) -> Result<u64, BackendError>;

    /// Shows every key. Asked only when the store's rules change.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn each_key(&mut self, visit: &mut dyn FnMut(KeyRecord)) -> Result<(), BackendError>;

    /// Shows every owner. Asked only when the store's rules change.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn each_owner(&mut self, visit: &mut dyn FnMut(OwnerRecord)) -> Result<(), BackendError>;

    /// Writes the store's own record.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn put_header(&mut self, header: &Header) -> Result<(), BackendError>;

    /// Creates (`before` is `None`), replaces, or removes (`after` is `None`) an owner.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn put_owner(
        &mut self,
        before: Option<&OwnerRecord>,
        after: Option<&OwnerRecord>,
    ) -> Result<(), BackendError>;

    /// Creates (`before` is `None`), replaces, or removes (`after` is `None`) a key, with all that
    /// is found by it. An external id that a created key carries is used from then on, for ever.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn put_key(
        &mut self,
        before: Option<&KeyRecord>,
        after: Option<&KeyRecord>,
    ) -> Result<(), BackendError>;

    /// Appends an event; its number is one more than the last.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn append_event(&mut self, event: &Event) -> Result<(), BackendError>;

    /// What was used of a key or an owner, if anything was.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn usage(&mut self, of: &UsageOf) -> Result<Option<Usage>, BackendError>;

    /// Writes what was used, or (`None`) forgets it. Of an owner only the quota is kept.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn put_usage(&mut self, of: &UsageOf, usage: Option<&Usage>) -> Result<(), BackendError>;

    /// Adds uses of a key to what is there, or nothing if the key isn't. An engine may do the same
    /// in one statement; there are many of these.
    ///
    /// # Errors
    /// [`BackendError`]; the batch is abandoned.
    fn add_usage(&mut self, key: KeyId, used: &Used) -> Result<(), BackendError> {
        let of = UsageOf::Key(key);
        let mut usage = match self.usage(&of)? {
            // It goes with its key, so there is one.
            Some(usage) => usage,
            None if self.key(key)?.is_some() => Usage::default(),
            None => return Ok(()),
        };
        usage.used.add(used);
        self.put_usage(&of, Some(&usage))
    }
}

/// Applies one change, or refuses it having written nothing.
///
/// # Errors
/// [`BackendError`] of the transaction; the batch is abandoned then.
pub fn apply(
    tx: &mut dyn Transaction,
    change: &Change,
) -> Result<Result<Applied, Rejection>, BackendError> {
    let mut plan = match Plan::read(tx, change)? {
        Ok(plan) => plan,
        Err(rejection) => return Ok(Err(rejection)),
    };
    let checks =
        [Plan::check_names, Plan::check_counts, Plan::assign_external_ids, Plan::check_rules];
    for check in checks {
        if let Err(rejection) = check(&mut plan, tx)? {
            return Ok(Err(rejection));
        }
    }
    plan.write(tx, change).map(Ok)
}

type Checked<T = ()> = Result<Result<T, Rejection>, BackendError>;

/// What a change does to each record that it names.
struct Plan {
    header: Header,
    new_header: Option<Header>,
    owners: BTreeMap<OwnerId, Replaced<OwnerRecord>>,
    keys: BTreeMap<KeyId, Replaced<KeyRecord>>,
    /// Keys whose external id is to be assigned, in order.
    wishes: Vec<KeyId>,
    assigned: Vec<ExternalId>,
}

struct Replaced<T> {
    before: Option<T>,
    after: Option<T>,
}

impl Plan {
    /// Reads what the change touches; checks versions and preconditions.
    fn read(tx: &mut dyn Transaction, change: &Change) -> Checked<Self> {
        let header = tx.header()?;
        let mut plan = Self {
            header,
            new_header: None,
            owners: BTreeMap::new(),
            keys: BTreeMap::new(),
            wishes: Vec::new(),
            assigned: Vec::new(),
        };
        for precondition in &change.preconditions {
            let (expected, found) = match precondition {
                Precondition::Header(version) => (*version, Some(plan.header.version)),
                Precondition::Key(id, version) => (*version, tx.key(*id)?.map(|key| key.version)),
                Precondition::LiveKeys(id, expected) => {
                    if tx.key_counts(id)?.live == *expected {
                        continue;
                    }
                    return Ok(Err(Rejection::KeysChanged));
                }
                Precondition::Owner(id, version) => {
                    (*version, tx.owner(id)?.map(|owner| owner.version))
                }
            };
            if found != Some(expected) {
                let of = precondition.clone();
                return Ok(Err(Rejection::Conflict { expected, found, of }));
            }
        }
        for operation in &change.operations {
            if let Err(rejection) = plan.take(tx, &operation.write)? {
                return Ok(Err(rejection));
            }
        }
        Ok(Ok(plan))
    }

    fn take(&mut self, tx: &mut dyn Transaction, write: &Write) -> Checked {
        match write {
            Write::Nothing => Ok(Ok(())),
            Write::CreateKey(create) => {
                let id = create.record.id;
                if tx.key(id)?.is_some() || self.keys.contains_key(&id) {
                    return Ok(Err(Rejection::KeyExists(id)));
                }
                if create.next_external_id {
                    self.wishes.push(id);
                }
                let after = Some(create.record.clone());
                self.keys.insert(id, Replaced { before: None, after });
                Ok(Ok(()))
            }
            Write::CreateOwner(owner) => {
                if tx.owner(&owner.id)?.is_some() || self.owners.contains_key(&owner.id) {
                    return Ok(Err(Rejection::OwnerExists));
                }
                let after = Some((**owner).clone());
                self.owners.insert(owner.id, Replaced { before: None, after });
                Ok(Ok(()))
            }
            Write::ReplaceKey(key) => self.take_key(tx, key.id, before(key.version), Some(key)),
            Write::RemoveKey(id, version) => self.take_key(tx, *id, *version, None),
            Write::ReplaceOwner(owner) => {
                self.take_owner(tx, owner.id, before(owner.version), Some(owner))
            }
            Write::RemoveOwner(id, version) => self.take_owner(tx, *id, *version, None),
            Write::ReplaceHeader(header) => {
                let (expected, found) = (before(header.version), self.header.version);
                if found != expected {
                    let of = Precondition::Header(expected);
                    return Ok(Err(Rejection::Conflict { expected, found: Some(found), of }));
                }
                self.new_header = Some((**header).clone());
                Ok(Ok(()))
            }
        }
    }

    fn take_key(
        &mut self,
        tx: &mut dyn Transaction,
        id: KeyId,
        expected: Version,
        after: Option<&KeyRecord>,
    ) -> Checked {
        let before = tx.key(id)?;
        let found = before.as_ref().map(|key| key.version);
        if found != Some(expected) {
            let of = Precondition::Key(id, expected);
            return Ok(Err(Rejection::Conflict { expected, found, of }));
        }
        self.keys.insert(id, Replaced { before, after: after.cloned() });
        Ok(Ok(()))
    }

    fn take_owner(
        &mut self,
        tx: &mut dyn Transaction,
        id: OwnerId,
        expected: Version,
        after: Option<&OwnerRecord>,
    ) -> Checked {
        let before = tx.owner(&id)?;
        let found = before.as_ref().map(|owner| owner.version);
        if found != Some(expected) {
            let of = Precondition::Owner(id, expected);
            return Ok(Err(Rejection::Conflict { expected, found, of }));
        }
        self.owners.insert(id, Replaced { before, after: after.cloned() });
        Ok(Ok(()))
    }

    /// The owner of a key as it will be.
    fn owner_after(
        &self,
        tx: &mut dyn Transaction,
        id: &OwnerId,
    ) -> Result<Option<OwnerRecord>, BackendError> {
        match self.owners.get(id) {
            Some(replaced) => Ok(replaced.after.clone()),
            None => tx.owner(id),
        }
    }

    /// No two unrevoked keys of an owner have one name, if the store says so.
    fn check_names(&mut self, tx: &mut dyn Transaction) -> Checked {
        if !self.header.rules.unique_names {
            return Ok(Ok(()));
        }
        let mut taken = BTreeMap::new();
        for key in self.keys.values().filter_map(|key| key.after.as_ref()) {
            let Some(name) = key.name.as_ref().filter(|_| key.is_live()) else { continue };
            let others = tx.live_keys_named(&key.owner, name)?;
            // Keys of this change are judged by what they will be.
            let other = others.into_iter().find(|other| !self.keys.contains_key(other));
            let other = other.or_else(|| taken.insert((key.owner, name), key.id));
            if let Some(other) = other {
                return Ok(Err(Rejection::NameTaken(other)));
            }
        }
        Ok(Ok(()))
    }

    /// Keys have owners, none too many, and the last standard key stays where the store says so.
    fn check_counts(&mut self, tx: &mut dyn Transaction) -> Checked {
        let mut deltas: BTreeMap<OwnerId, (KeyCounts, KeyCounts)> = BTreeMap::new();
        for key in self.keys.values() {
            for (record, is_after) in [(&key.before, false), (&key.after, true)] {
                let Some(record) = record else { continue };
                let (gone, come) = deltas.entry(record.owner).or_default();
                let side = if is_after { come } else { gone };
                *side = side.plus(KeyCounts::of(record));
            }
        }
        for owner in self.owners.keys() {
            deltas.entry(*owner).or_default();
        }
        for (id, (gone, come)) in deltas {
            let before = tx.key_counts(&id)?;
            let after = before.minus(gone).plus(come);
            let Some(owner) = self.owner_after(tx, &id)? else {
                let rejection =
                    if come.all > 0 { Rejection::OwnerMissing } else { Rejection::OwnerHasKeys };
                if after.all > 0 {
                    return Ok(Err(rejection));
                }
                continue;
            };
            // An owner may be over its number, where that was lowered; it may not get further.
            if after.live > before.live && after.live > owner.max_keys.into() {
                return Ok(Err(Rejection::TooManyKeys { limit: owner.max_keys }));
            }
            if self.header.rules.keep_standard_key && after.live_standard == 0 {
                return Ok(Err(Rejection::LastStandardKey));
            }
        }
        Ok(Ok(()))
    }

    /// External ids are used once, for ever.
    fn assign_external_ids(&mut self, tx: &mut dyn Transaction) -> Checked {
        let mut greatest = tx.greatest_external_id()?;
        let mut used = Vec::new();
        for key in self.keys.values().filter(|key| key.before.is_none()) {
            let Some(id) = key.after.as_ref().and_then(|key| key.external_id) else { continue };
            if used.contains(&id) || tx.external_id_used(id)? {
                return Ok(Err(Rejection::ExternalIdTaken(id)));
            }
            used.push(id);
            greatest = greatest.max(id.get());
        }
        for wish in &self.wishes {
            let Ok(id) = ExternalId::new(greatest + 1) else {
                return Ok(Err(Rejection::ExternalIdsExhausted));
            };
            greatest = id.get();
            self.assigned.push(id);
            if let Some(key) = self.keys.get_mut(wish).and_then(|key| key.after.as_mut()) {
                key.external_id = Some(id);
            }
        }
        Ok(Ok(()))
    }

    /// New rules of the store must fit the data.
    fn check_rules(&mut self, tx: &mut dyn Transaction) -> Checked {
        let Some(new) = self
            .new_header
            .as_ref()
            .filter(|new| new.rules != self.header.rules || new.prefixes != self.header.prefixes)
        else {
            return Ok(Ok(()));
        };
        let is_accepted = |number: PrefixNumber| {
            new.prefixes.accepted().any(|accepted| accepted.number == number)
        };
        // Of several rules the last by name, whatever the order in which a backend shows its keys.
        let mut forbidden = None;
        let mut names = BTreeMap::new();
        let mut standard: BTreeMap<OwnerId, bool> = BTreeMap::new();
        // All are judged as they will be: what the change itself writes, and of the rest all.
        tx.each_owner(&mut |owner| {
            if !self.owners.contains_key(&owner.id) {
                standard.insert(owner.id, false);
            }
        })?;
        for owner in self.owners.values().filter_map(|owner| owner.after.as_ref()) {
            standard.insert(owner.id, false);
        }
        let mut judge = |key: &KeyRecord| {
            if key.seal.is_some() && !new.rules.sealed_tokens {
                forbidden = forbidden.max(Some("sealed_tokens"));
            }
            if !key.is_live() {
                return;
            }
            if let Some(name) = &key.name {
                let again = names.insert((key.owner, name.clone()), ()).is_some();
                if again && new.rules.unique_names {
                    forbidden = forbidden.max(Some("unique_names"));
                }
            }
            if key.kind == Kind::Standard {
                standard.insert(key.owner, true);
            }
            if key.tokens(None).any(|(token, _)| !is_accepted(token.digest.prefix)) {
                forbidden = forbidden.max(Some("prefixes"));
            }
        };
        tx.each_key(&mut |key| {
            if !self.keys.contains_key(&key.id) {
                judge(&key);
            }
        })?;
        self.keys.values().filter_map(|key| key.after.as_ref()).for_each(judge);
        if new.rules.keep_standard_key && standard.values().any(|has_one| !has_one) {
            forbidden = Some("keep_standard_key");
        }
        Ok(match forbidden {
            Some(rule) => Err(Rejection::DataForbid { rule }),
            None => Ok(()),
        })
    }

    fn write(self, tx: &mut dyn Transaction, change: &Change) -> Result<Applied, BackendError> {
        if let Some(header) = &self.new_header {
            tx.put_header(header)?;
        }
        // Created owners before their keys, removed owners after them.
        let (stay, go): (Vec<_>, Vec<_>) =
            self.owners.values().partition(|owner| owner.after.is_some());
        for owner in stay {
            tx.put_owner(owner.before.as_ref(), owner.after.as_ref())?;
        }
        for (id, key) in &self.keys {
            tx.put_key(key.before.as_ref(), key.after.as_ref())?;
            if key.after.is_none() {
                tx.put_usage(&UsageOf::Key(*id), None)?;
            }
        }
        for owner in go {
            tx.put_owner(owner.before.as_ref(), owner.after.as_ref())?;
            if let Some(gone) = &owner.before {
                tx.put_usage(&UsageOf::Owner(gone.id), None)?;
            }
        }
        let first_event = tx.last_event()? + 1;
        let mut sequence = first_event;
        for operation in &change.operations {
            tx.append_event(&Event { sequence, draft: operation.event.clone() })?;
            sequence += 1;
        }
        Ok(Applied { first_event, last_event: sequence - 1, external_ids: self.assigned })
    }
}

/// The version that a replacement expects to replace.
fn before(version: Version) -> Version {
    Version::new(version.get().saturating_sub(1))
}
