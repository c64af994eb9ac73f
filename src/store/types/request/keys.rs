//! The requests that create, change and rotate keys, and create owners: a request for one may carry
//! a request for the other.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::SetLimits;
use crate::clock::Timestamp;
use crate::id::NumericId;
use crate::key::{Expiry, Kind, Lifetime, Prefix, SettingNames};
use crate::permission::Access;

/// A request to create a key.
#[derive(Clone, Debug, Serialize)]
#[must_use]
pub struct CreateKey {
    pub(in crate::store) access: Access,
    pub(in crate::store) kind: Kind,
    pub(in crate::store) plain: PlainFields,
    pub(in crate::store) expiry: Option<WantedExpiry>,
    pub(in crate::store) settings: Option<Value>,
    pub(in crate::store) numeric_id: NumericIdChoice,
    pub(in crate::store) prefix: Option<Prefix>,
    pub(in crate::store) recoverable: bool,
    pub(in crate::store) limits: SetLimits,
    /// Left out where there is none: so requests under idempotency keys hash as they always did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::store) or_create_owner: Option<Box<CreateOwner>>,
}

/// The fields of a key that a creation and an update set alike, just as they are given.
/// `Some(None)`, and an empty list, clear a field.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::store) struct PlainFields {
    pub(in crate::store) name: Option<Option<String>>,
    // Left out, so that a request without tags says the same as before there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::store) tags: Option<Vec<String>>,
}

/// The requested expiry of a new key.
#[derive(Clone, Copy, Debug, Serialize)]
pub(in crate::store) enum WantedExpiry {
    In(Duration),
    Is(Expiry),
}

impl WantedExpiry {
    /// Returns the expiry of a key that is created at `now`.
    pub(in crate::store) fn from(self, now: Timestamp) -> Expiry {
        match self {
            Self::In(time) => Expiry::At(now.saturating_add(time)),
            Self::Is(expiry) => expiry,
        }
    }
}

/// The choice of a numeric id for a new key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum NumericIdChoice {
    /// This number, which only an administrator may choose.
    Given(NumericId),
    /// One more than the greatest number ever used in the store.
    Next,
    /// No numeric id.
    #[default]
    None,
}

impl CreateKey {
    /// Requests a standard key with this access. Its expiry defaults to never, to what the lifetime
    /// of its owner or of the store's rules says, or for a delegate to the expiry of the acting key:
    /// the earliest of them.
    pub fn new(access: Access) -> Self {
        Self {
            access,
            kind: Kind::Standard,
            plain: PlainFields::default(),
            expiry: None,
            settings: None,
            numeric_id: NumericIdChoice::None,
            prefix: None,
            recoverable: false,
            limits: SetLimits::default(),
            or_create_owner: None,
        }
    }

    /// Requests a trial key, which only an administrator may create. It expires, unless `expiry` is
    /// `Never`.
    pub fn trial(access: Access, expiry: Expiry) -> Self {
        Self { kind: Kind::Trial, ..Self::new(access).expires(expiry) }
    }

    /// Sets the name, a label of 1 to 255 bytes. White space at its ends is cut. Defaults
    /// to none.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.plain.name = Some(Some(name.into()));
        self
    }

    /// Sets the tags, by which lists find the key: at most 16 different ones of 1 to 64 ASCII
    /// letters, digits and `_ . : / = + - @`. Defaults to none.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.plain.tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the expiry, which must be later than now, and for a delegate no later than that of the
    /// acting key. Only an administrator exceeds the greatest lifetime of the owner and of the store's
    /// rules. Defaults as [`new`](Self::new) says.
    pub fn expires(mut self, expiry: Expiry) -> Self {
        self.expiry = Some(WantedExpiry::Is(expiry));
        self
    }

    /// Sets the expiry to `time` after the creation, by the store's clock.
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expiry = Some(WantedExpiry::In(time));
        self
    }

    /// Sets the key's own settings, a JSON object over its owner's defaults. A member that is null
    /// keeps the owner's default. Defaults to none. What an administrator sets here, only an
    /// administrator changes.
    pub fn settings(mut self, settings: Value) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Chooses the service's own number for the key. Defaults to none.
    pub fn numeric_id(mut self, choice: NumericIdChoice) -> Self {
        self.numeric_id = choice;
        self
    }

    /// Sets the prefix of the tokens, one of the store's accepted prefixes. Defaults to the first,
    /// or for a delegate to that of the acting token, which is the only one it may choose.
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = Some(prefix);
        self
    }

    /// Keeps the token recoverable: the store also keeps it encrypted. The store's rules must allow
    /// it, and the store must be opened with a recovery key. Defaults to not recoverable.
    pub fn recoverable(mut self) -> Self {
        self.recoverable = true;
        self
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: SetLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Creates the owner too, in the same change, if it doesn't exist. If it does, the store doesn't
    /// look at `owner`, and creates the key alone. Of several callers at the same time one creates
    /// the owner, and each creates its key. Only an administrator may ask for it, and only where it
    /// creates a key: not for a first key or a replacement. Defaults to
    /// [`NotFound`](crate::Error::NotFound) for an owner that doesn't exist.
    ///
    /// ```
    /// # use keyhasp::{Access, AdminKeys, CreateKey, CreateOwner, Error, OwnerId};
    /// # fn f(admin: &AdminKeys, tenant: &OwnerId) -> Result<(), Error> {
    /// let request = CreateKey::new(Access::ReadOnly)
    ///     .or_create_owner(CreateOwner::without_key().max_keys(20));
    /// let issued = admin.create(tenant, request)?;
    /// # let _ = issued;
    /// # Ok(())
    /// # }
    /// ```
    pub fn or_create_owner(mut self, owner: CreateOwner) -> Self {
        self.or_create_owner = Some(Box::new(owner));
        self
    }
}

/// A request to create an owner.
#[derive(Clone, Debug, Default, Serialize)]
#[must_use]
pub struct CreateOwner {
    pub(in crate::store) first_key: Option<CreateKey>,
    pub(in crate::store) defaults: Option<Value>,
    pub(in crate::store) fixed_defaults: Option<SettingNames>,
    pub(in crate::store) max_access: Option<Access>,
    pub(in crate::store) max_keys: Option<u32>,
    pub(in crate::store) lifetime: Option<Lifetime>,
    pub(in crate::store) limits: SetLimits,
    pub(in crate::store) tags: Vec<String>,
}

impl CreateOwner {
    /// Requests an owner with its first key, in the same change.
    pub fn with_key(first_key: CreateKey) -> Self {
        Self { first_key: Some(first_key), ..Self::default() }
    }

    /// Requests an owner without a key.
    pub fn without_key() -> Self {
        Self::default()
    }

    /// Sets the default settings of its keys, a JSON object. A key's own settings go over them.
    /// Defaults to none.
    pub fn defaults(mut self, defaults: Value) -> Self {
        self.defaults = Some(defaults);
        self
    }

    /// Fixes these of the defaults: they go over what its keys set themselves, and only an
    /// administrator sets another value for one key. Defaults to none.
    pub fn fixed_defaults(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.fixed_defaults = Some(SettingNames::new(names));
        self
    }

    /// Sets the owner's `max_access`, which cuts the access of its standard keys. Defaults to
    /// `Full`.
    pub fn max_access(mut self, max_access: Access) -> Self {
        self.max_access = Some(max_access);
        self
    }

    /// Sets the greatest number of live keys: neither revoked nor lapsed. Defaults to 1,000.
    pub fn max_keys(mut self, max_keys: u32) -> Self {
        self.max_keys = Some(max_keys);
        self
    }

    /// Sets the lifetime of its keys, which the owner and its delegates can't exceed. Defaults to no
    /// limit. The lifetime in the store's rules holds beside it.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Sets the owner's tags, by which lists find it and which administrators alone see: at most 16
    /// different ones of 1 to 64 ASCII letters, digits and `_ . : / = + - @`. Defaults to none.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the limits of all its keys together. These, the lifetime and `max_keys` bind the owner.
    /// Limits on one key don't: the owner can create another key without them.
    pub fn limits(mut self, limits: SetLimits) -> Self {
        self.limits = limits;
        self
    }
}

/// A request to change a key. Each field that isn't set stays.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct UpdateKey {
    pub(in crate::store) plain: PlainFields,
    pub(in crate::store) access: Option<Access>,
    pub(in crate::store) expiry: Option<Expiry>,
    pub(in crate::store) settings: Option<Value>,
    pub(in crate::store) limits: SetLimits,
}

impl UpdateKey {
    /// Starts with no change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the name, a label of 1 to 255 bytes. White space at its ends is cut.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.plain.name = Some(Some(name.into()));
        self
    }

    /// Removes the name.
    pub fn clear_name(mut self) -> Self {
        self.plain.name = Some(None);
        self
    }

    /// Replaces all tags: at most 16 different ones of 1 to 64 ASCII letters, digits and
    /// `_ . : / = + - @`.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.plain.tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// Removes all tags.
    pub fn clear_tags(mut self) -> Self {
        self.plain.tags = Some(Vec::new());
        self
    }

    /// Changes the access.
    pub fn access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// Changes the expiry, which must be later than now. Only an administrator may move the expiry
    /// of a trial key to later.
    pub fn expires(mut self, expiry: Expiry) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// Changes settings by top-level member: a value sets it, null restores the owner's default.
    /// What an administrator sets here is protected: only an administrator changes or removes it.
    /// What other callers set over a fixed default of the owner is refused.
    pub fn settings(mut self, patch: Value) -> Self {
        self.settings = Some(patch);
        self
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: SetLimits) -> Self {
        self.limits = limits;
        self
    }
}

/// An action on a key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeyAction {
    /// Sets the owner's switch to on. A block by an administrator stays.
    Activate,
    /// Adds so many uses (1 to 2^40 - 1) to the key's quota.
    AddToQuota(u64),
    /// Sets the administrator's switch to off.
    Block,
    /// Makes a trial key a standard key.
    ConvertTrial {
        /// The expiry of the standard key.
        expiry: Expiry,
    },
    /// Sets the owner's switch to off.
    Deactivate,
    /// Moves the expiry to later, which revives an expired key. A lapsed key needs a place and its
    /// name again.
    ExtendExpiry(Expiry),
    /// Ends every previous token at once.
    InvalidatePreviousTokens,
    /// Lets the count of the key's quota begin whole again.
    RefillQuota,
    /// Ends the key. This is final.
    Revoke,
    /// Sets the administrator's switch to on. The owner's switch holds again.
    Unblock,
    /// Changes name, tags, access, expiry, settings or limits.
    Update(UpdateKey),
}

/// A request to rotate a key: to give it a new token. The previous token keeps a grace, or every
/// previous token ends at once.
#[derive(Clone, Copy, Debug, Serialize)]
#[must_use]
pub struct Rotate {
    /// `None` if every previous token ends at once.
    pub(in crate::store) grace: Option<Duration>,
    pub(in crate::store) unblock: bool,
}

impl Rotate {
    /// The default grace of the previous token: 6 hours.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(6 * 60 * 60);
    /// The longest grace: 366 days.
    pub const MAX_GRACE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

    /// Requests a rotation with the default grace, 6 hours.
    pub fn new() -> Self {
        Self::with_grace(Self::DEFAULT_GRACE)
    }

    /// Requests a rotation after which the previous token stays valid for `grace`, 0 to 366 days.
    /// Older previous tokens keep the rest of theirs.
    pub fn with_grace(grace: Duration) -> Self {
        Self { grace: Some(grace), unblock: false }
    }

    /// Requests a rotation that ends every previous token at once.
    pub fn forced() -> Self {
        Self { grace: None, unblock: false }
    }

    /// Also lifts a block, in the same change. Only an administrator may, and only with
    /// [`forced`](Self::forced). Defaults to leaving it.
    pub fn unblock(mut self) -> Self {
        self.unblock = true;
        self
    }

    pub(in crate::store) fn is_forced(&self) -> bool {
        self.grace.is_none()
    }
}

impl Default for Rotate {
    fn default() -> Self {
        Self::new()
    }
}
