//! What may be written down: the records of keys, owners and the store, and the pure rules over
//! them.
//!
//! Nothing here can hold a plaintext token. What a backend stores is made of these types alone.

mod digest;
mod limits;
mod name;
mod owner;
mod prefix;
mod record;
mod rules;
mod settings;
mod state;
mod told;
mod usage;

pub use digest::{Digest, PepperNumber, PrefixNumber, Scheme};
pub use limits::{
    Every, Lease, Limit, Limits, Network, Networks, Quota, QuotaRun, QuotaState, Rate, Refill,
};
pub(crate) use limits::{Gcra, Verdict};
pub use name::KeyName;
pub use owner::{DEFAULT_MAX_KEYS, OwnerRecord};
pub use prefix::Prefix;
pub(crate) use record::tokens;
pub use record::{
    EarlierToken, Expiry, KeyRecord, Kind, MAX_EARLIER_TOKENS, Seal, SetBy, Switch, TokenRecord,
};
pub use rules::{Header, NumberedPrefix, PepperCheck, PrefixTable, StoreRules};
pub use settings::{Settings, SettingsPatch};
pub use state::{Standing, State, Unfit};
pub use told::{Tiding, Told, ToldTokens};
pub use usage::{LastAddress, RefusedCounts, RefusedFor, Usage, Used};
