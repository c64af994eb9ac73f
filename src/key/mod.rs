//! What may be written down: the records of keys, owners and the store, and the pure rules over
//! them.
//!
//! Nothing here can hold a plaintext token. What a backend stores is made of these types alone.

mod alert_state;
mod digest;
mod limits;
mod name;
mod owner;
mod prefix;
mod record;
mod reject_reason;
mod rules;
mod settings;
mod state;
mod usage;

pub use alert_state::{Alert, AlertState, AlertedTokens};
pub use digest::{Digest, PepperNumber, PrefixNumber, Scheme};
pub(crate) use limits::{Gcra, Verdict};
pub use limits::{
    Lease, Limit, Limits, Network, Networks, Period, Quota, VersionedQuota, QuotaState, Rate, RateStatus,
    Refill,
};
pub use name::KeyName;
pub use owner::{DEFAULT_MAX_KEYS, OwnerRecord};
pub use prefix::Prefix;
pub(crate) use record::tokens;
pub use record::{
    Expiry, KeyRecord, Kind, MAX_PREVIOUS_TOKENS, PreviousToken, Seal, SetBy, Switch, TokenRecord,
};
pub use reject_reason::{RateLimited, RejectKind, RejectReason};
pub use rules::{NumberedPrefix, PepperCheck, PrefixTable, StoreMetadata, StoreRules};
pub use settings::{Settings, SettingsPatch};
pub use state::{State, ValidityInputs};
pub use usage::{LastAddress, RejectedCounts, Usage, Used};
