//! Changes of a store, as lines of text and as calls.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, Error, Issued, KeyId, NumericIdChoice, OwnerId,
    Rotate, UpdateKey, UpdateOwner,
};
use serde_json::{Value, json};

use crate::limits::limits;

/// A change of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creates an owner and its first key.
    CreateOwner(OwnerId),
    /// Creates a key of an owner.
    CreateKey(OwnerId),
    /// Changes a key.
    Key(KeyId, Deed),
    /// Changes an owner.
    Owner(OwnerId, OwnerDeed),
}

/// A change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Activates it for its owner.
    Activate,
    /// Blocks it for an administrator.
    Block,
    /// Deactivates it for its owner.
    Deactivate,
    /// Invalidates its previous tokens.
    InvalidatePrevious,
    /// Removes it.
    Purge,
    /// Refills its quota.
    Refill,
    /// Revokes it.
    Revoke,
    /// Issues a new token and invalidates all others.
    RotateByForce,
    /// Issues a new token; the one before stays valid.
    RotateWithGrace,
    /// Issues a new token and invalidates the one before, not those before that.
    RotateWithoutGrace,
    /// Unblocks it.
    Unblock,
    /// Unblocks it and issues a new token by force.
    UnblockAndRotate,
    /// Sets settings, name and limits that carry this number.
    Update(u64),
}

/// A change of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerDeed {
    /// Removes it with all its keys.
    Purge,
    /// Refills its quota.
    Refill,
    /// Ends its suspension.
    Resume,
    /// Revokes all its keys.
    RevokeAll,
    /// Revokes all its keys and creates one.
    RevokeAllAndReplace,
    /// Suspends it.
    Suspend,
    /// Sets default settings and limits that carry this number.
    Update(u64),
}

/// The values that a change generated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// The id of the new key.
    pub key: Option<KeyId>,
    /// Its numeric id.
    pub numeric_id: Option<u64>,
    /// The new token.
    pub token: Option<String>,
}

impl Made {
    fn of(issued: &Issued) -> Self {
        Self {
            key: Some(issued.key.id),
            numeric_id: issued.key.numeric_id.map(|id| id.get()),
            token: Some(issued.token.expose().to_owned()),
        }
    }
}

/// Makes settings that carry a number, some of them long.
#[must_use]
pub fn settings(mark: u64) -> Value {
    // Longer than a page of SQLite and than a value that sled keeps inline.
    let padding = if mark.is_multiple_of(5) { 9_000 } else { 10 };
    json!({ "mark": mark, "padding": "p".repeat(padding) })
}

impl Operation {
    /// Tells whether it generates no value that the caller must learn.
    #[must_use]
    pub fn makes_nothing(&self) -> bool {
        match self {
            Self::CreateOwner(_) | Self::CreateKey(_) => false,
            Self::Key(_, deed) => !deed.rotates(),
            Self::Owner(_, deed) => *deed != OwnerDeed::RevokeAllAndReplace,
        }
    }

    /// Calls the store.
    ///
    /// # Errors
    /// Those of the store.
    pub fn perform(&self, admin: &AdminKeys) -> Result<Made, Error> {
        let new_key = || -> Result<CreateKey, Error> {
            Ok(CreateKey::new(Access::Full).numeric_id(NumericIdChoice::Next).limits(limits(0)?))
        };
        match self {
            Self::CreateOwner(owner) => {
                let request = CreateOwner::with_key(new_key()?).limits(limits(0)?);
                let created = admin.create_owner(owner, request)?;
                Ok(created.first_key.as_ref().map(Made::of).unwrap_or_default())
            }
            Self::CreateKey(owner) => admin.create(owner, new_key()?).map(|key| Made::of(&key)),
            Self::Key(key, deed) => deed.perform(*key, admin),
            Self::Owner(owner, deed) => {
                match deed {
                    OwnerDeed::Purge => admin.purge_owner(owner)?,
                    OwnerDeed::Refill => drop(admin.refill_owner_quota(owner)?),
                    OwnerDeed::Resume => drop(admin.resume_owner(owner)?),
                    OwnerDeed::RevokeAll => drop(admin.revoke_all(owner, None)?),
                    OwnerDeed::RevokeAllAndReplace => {
                        let revoked = admin.revoke_all(owner, Some(new_key()?))?;
                        return Ok(revoked.replacement.as_ref().map(Made::of).unwrap_or_default());
                    }
                    OwnerDeed::Suspend => drop(admin.suspend_owner(owner)?),
                    OwnerDeed::Update(mark) => {
                        let update =
                            UpdateOwner::new().defaults(settings(*mark)).limits(limits(*mark)?);
                        drop(admin.update_owner(owner, update)?);
                    }
                }
                Ok(Made::default())
            }
        }
    }
}

impl Deed {
    /// Tells whether it issues a token.
    #[must_use]
    pub fn rotates(self) -> bool {
        self.rotation().is_some()
    }

    fn rotation(self) -> Option<Rotate> {
        match self {
            Self::RotateByForce => Some(Rotate::forced()),
            Self::RotateWithGrace => Some(Rotate::new()),
            Self::RotateWithoutGrace => Some(Rotate::with_grace(Duration::ZERO)),
            Self::UnblockAndRotate => Some(Rotate::forced().unblock()),
            _ => None,
        }
    }

    fn perform(self, key: KeyId, admin: &AdminKeys) -> Result<Made, Error> {
        if let Some(rotation) = self.rotation() {
            return admin.rotate(key, rotation).map(|issued| Made::of(&issued));
        }
        match self {
            Self::Activate => drop(admin.activate(key)?),
            Self::Block => drop(admin.block(key)?),
            Self::Deactivate => drop(admin.deactivate(key)?),
            Self::InvalidatePrevious => drop(admin.invalidate_previous_tokens(key)?),
            Self::Purge => admin.purge(key)?,
            Self::Refill => drop(admin.refill_quota(key)?),
            Self::Revoke => drop(admin.revoke(key)?),
            Self::Unblock => drop(admin.unblock(key)?),
            Self::Update(mark) => {
                let update = UpdateKey::new().name(format!("n{mark}")).settings(settings(mark));
                drop(admin.update(key, update.limits(limits(mark)?))?);
            }
            // The rotations above.
            _ => {}
        }
        Ok(Made::default())
    }
}

/// The names of deeds without a number.
const DEEDS: [(Deed, &str); 12] = [
    (Deed::Activate, "activate"),
    (Deed::Block, "block"),
    (Deed::Deactivate, "deactivate"),
    (Deed::InvalidatePrevious, "end-previous"),
    (Deed::Purge, "purge"),
    (Deed::Refill, "refill"),
    (Deed::Revoke, "revoke"),
    (Deed::RotateByForce, "rotate-by-force"),
    (Deed::RotateWithGrace, "rotate-with-grace"),
    (Deed::RotateWithoutGrace, "rotate-without-grace"),
    (Deed::Unblock, "unblock"),
    (Deed::UnblockAndRotate, "unblock-and-rotate"),
];
const OWNER_DEEDS: [(OwnerDeed, &str); 6] = [
    (OwnerDeed::Purge, "purge"),
    (OwnerDeed::Refill, "refill"),
    (OwnerDeed::Resume, "resume"),
    (OwnerDeed::RevokeAll, "revoke-all"),
    (OwnerDeed::RevokeAllAndReplace, "revoke-all-and-replace"),
    (OwnerDeed::Suspend, "suspend"),
];

fn word<T: PartialEq>(words: &[(T, &'static str)], of: &T) -> &'static str {
    words.iter().find(|(deed, _)| deed == of).map_or("?", |(_, word)| word)
}

fn deed<T: Copy>(words: &[(T, &'static str)], text: &str) -> Result<T, String> {
    let found = words.iter().find(|(_, word)| *word == text);
    found.map(|(deed, _)| *deed).ok_or_else(|| format!("`{text}` is no deed"))
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateOwner(owner) => write!(f, "create-owner {owner}"),
            Self::CreateKey(owner) => write!(f, "create-key {owner}"),
            Self::Key(key, Deed::Update(mark)) => write!(f, "key {key} update {mark}"),
            Self::Key(key, deed) => write!(f, "key {key} {}", word(&DEEDS, deed)),
            Self::Owner(owner, OwnerDeed::Update(mark)) => write!(f, "owner {owner} update {mark}"),
            Self::Owner(owner, deed) => write!(f, "owner {owner} {}", word(&OWNER_DEEDS, deed)),
        }
    }
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let owner = |id: &str| OwnerId::new(id).map_err(|error| error.to_string());
        let key = |id: &str| id.parse::<KeyId>().map_err(|error| error.to_string());
        let mark = |text: &str| text.parse().map_err(|_| format!("`{text}` is no number"));
        Ok(match *text.split(' ').collect::<Vec<_>>() {
            ["create-owner", id] => Self::CreateOwner(owner(id)?),
            ["create-key", id] => Self::CreateKey(owner(id)?),
            ["key", id, "update", number] => Self::Key(key(id)?, Deed::Update(mark(number)?)),
            ["key", id, word] => Self::Key(key(id)?, deed(&DEEDS, word)?),
            ["owner", id, "update", number] => {
                Self::Owner(owner(id)?, OwnerDeed::Update(mark(number)?))
            }
            ["owner", id, word] => Self::Owner(owner(id)?, deed(&OWNER_DEEDS, word)?),
            _ => return Err(format!("`{text}` is no operation")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn print_and_parse() {
        let (owner, key) = (OwnerId::new("t0-1").unwrap(), KeyId::from_u128(1 << 70));
        let mut all = vec![Operation::CreateOwner(owner), Operation::CreateKey(owner)];
        all.extend(DEEDS.iter().map(|(deed, _)| Operation::Key(key, *deed)));
        all.extend(OWNER_DEEDS.iter().map(|(deed, _)| Operation::Owner(owner, *deed)));
        all.push(Operation::Key(key, Deed::Update(7)));
        all.push(Operation::Owner(owner, OwnerDeed::Update(8)));
        for operation in all {
            assert_eq!(operation.to_string().parse(), Ok(operation));
        }
        assert!("key t0-1 sing".parse::<Operation>().is_err());
    }
}
