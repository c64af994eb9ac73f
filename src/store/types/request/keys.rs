//! What is done to keys.

use std::time::Duration;

use serde_json::Value;

use super::SetLimits;
use crate::clock::Timestamp;
use crate::id::NumericId;
use crate::key::{Expiry, Kind, Prefix};
use crate::permission::Access;

/// A key to be created.
#[derive(Clone, Debug)]
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
}

/// The fields of a key that a creation and an update set alike, just as they are given. `Some(None)`
/// clears a field.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct PlainFields {
    pub(in crate::store) name: Option<Option<String>>,
}

/// When a new key is to expire.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum WantedExpiry {
    In(Duration),
    Is(Expiry),
}

impl WantedExpiry {
    /// What it means for a key that is created now.
    pub(in crate::store) fn from(self, now: Timestamp) -> Expiry {
        match self {
            Self::In(time) => Expiry::At(now.saturating_add(time)),
            Self::Is(expiry) => expiry,
        }
    }
}

/// Which numeric id a new key gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NumericIdChoice {
    /// This one; an administrator's to say.
    Given(NumericId),
    /// One more than the greatest ever used.
    Next,
    /// None.
    #[default]
    None,
}

impl CreateKey {
    /// A standard key with this access, which never expires unless told.
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
        }
    }

    /// A trial key, an administrator's to create. It expires, unless `Never` is said in so many
    /// words.
    pub fn trial(access: Access, expiry: Expiry) -> Self {
        Self { kind: Kind::Trial, ..Self::new(access).expires(expiry) }
    }

    /// A label of 1 to 255 bytes.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.plain.name = Some(Some(name.into()));
        self
    }

    /// When it expires: later than now.
    pub fn expires(mut self, expiry: Expiry) -> Self {
        self.expiry = Some(WantedExpiry::Is(expiry));
        self
    }

    /// The same, so long after it is created by the store's clock.
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expiry = Some(WantedExpiry::In(time));
        self
    }

    /// Its own settings, a JSON object over its owner's defaults. A name set to null stays its
    /// owner's default.
    pub fn settings(mut self, settings: Value) -> Self {
        self.settings = Some(settings);
        self
    }

    /// The service's own number for it.
    pub fn numeric_id(mut self, wish: NumericIdChoice) -> Self {
        self.numeric_id = wish;
        self
    }

    /// What its tokens begin with: one of the accepted prefixes; the first unless told.
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = Some(prefix);
        self
    }

    /// Keeps the token recoverable: it also lies encrypted. Needs a store whose rules allow it
    /// and that was opened with a recovery key.
    pub fn recoverable(mut self) -> Self {
        self.recoverable = true;
        self
    }

    /// What it may use.
    pub fn limits(mut self, limits: SetLimits) -> Self {
        self.limits = limits;
        self
    }
}

/// A change of a key: what isn't named stays.
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
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another label.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.plain.name = Some(Some(name.into()));
        self
    }

    /// No label.
    pub fn clear_name(mut self) -> Self {
        self.plain.name = Some(None);
        self
    }

    /// Another access.
    pub fn access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// Another expiry, later than now. A trial key's is moved to later by an administrator alone.
    pub fn expires(mut self, expiry: Expiry) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// Settings by top-level name: a value sets it, null goes back to the owner's default.
    pub fn settings(mut self, patch: Value) -> Self {
        self.settings = Some(patch);
        self
    }

    /// What it may use.
    pub fn limits(mut self, limits: SetLimits) -> Self {
        self.limits = limits;
        self
    }
}

/// What is done to a key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeyAction {
    /// The owner's switch: on again.
    Activate,
    /// The administrator's switch: off.
    Block,
    /// A trial becomes a standard key, with the expiry given.
    ConvertTrial {
        /// When the standard key expires.
        expiry: Expiry,
    },
    /// The owner's switch: off.
    Deactivate,
    /// Every token before the current one ends at once.
    InvalidatePreviousTokens,
    /// The expiry moves to later; revives an expired key.
    ExtendExpiry(Expiry),
    /// The key ends for ever.
    Revoke,
    /// The administrator's switch: on again; the owner's own setting holds again.
    Unblock,
    /// Name, access, expiry, settings, limits.
    Update(UpdateKey),
}

/// A rotation: a new token, and either a grace for the token before it or none for any.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Rotate {
    /// `None` if every previous token ends at once.
    pub(in crate::store) grace: Option<Duration>,
    pub(in crate::store) unblock: bool,
}

impl Rotate {
    /// The grace of the token before, unless another is given: 6 hours.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(6 * 60 * 60);
    /// The longest grace: 366 days.
    pub const MAX_GRACE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

    /// A rotation with the default grace.
    pub fn new() -> Self {
        Self::with_grace(Self::DEFAULT_GRACE)
    }

    /// A rotation after which the token before stays valid for `grace`, 0 to 366 days. Other
    /// previous tokens keep what is left of theirs.
    pub fn with_grace(grace: Duration) -> Self {
        Self { grace: Some(grace), unblock: false }
    }

    /// A rotation that ends every previous token at once.
    pub fn forced() -> Self {
        Self { grace: None, unblock: false }
    }

    /// Lifts a block in the same change. Only an administrator may, and only when forced.
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
