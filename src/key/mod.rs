//! The records of keys, owners and the store, and the pure rules over them.
//!
//! Nothing here can hold a plaintext token. A backend stores these types only.
//!
//! | room | contents |
//! | --- | --- |
//! | `field` | the stored form of every field, and the macro that declares a record |
//! | `bytes` | records as bytes, for backends that store a record as one piece |
//! | `record` | the record of a key, with its tokens and its seal |
//! | `owner` | the record of an owner |
//! | `sweeps` | what one commit has done to all keys of an owner, until it is written into each |
//! | `counts` | counts of an owner's keys |
//! | `request` | the record of a request that takes effect once |
//! | `rules` | the record of the store: rules, prefixes, pepper checks |
//! | `switch` | a switch that is on, and the role that set something |
//! | `lifetime` | the greatest lifetime of keys, and the default |
//! | `limits` | the limits of a key or an owner: networks, rate, quota |
//! | `state` | the state of a key, as it follows from switches and time |
//! | `reject_reason` | the reasons for which a token is rejected |
//! | `valid_from` | the invalidation of tokens, and the order in which they were issued |
//! | `usage` | the use of a key, and how uses are added up |
//! | `alert_state` | the time-based alerts that were already written |
//! | `digest`, `name`, `prefix`, `settings`, `setting_names` | the types of single fields |

mod alert_state;
mod bytes;
mod counts;
mod digest;
// SQLite alone has columns, and checksums of plain bytes; the comparisons of tests use those too.
#[cfg_attr(not(all(feature = "sqlite", feature = "testing")), allow(dead_code))]
mod field;
mod lifetime;
mod limits;
mod name;
mod owner;
mod prefix;
mod quarantine;
mod record;
mod reject_reason;
mod request;
mod rules;
mod secret_checks;
mod setting_names;
mod settings;
mod state;
mod sweeps;
mod switch;
mod tags;
mod usage;
mod valid_from;

pub use alert_state::{Alert, AlertState, Alerted, AlertedTokens};
#[cfg(feature = "sled")]
pub(crate) use bytes::Encoder;
pub use bytes::RecordError;
pub(crate) use bytes::{Decoder, Stored, bytes, checked, framed, unchecked, unframed};
pub use counts::KeyCounts;
pub use digest::{Digest, PepperNumber, PrefixNumber, Scheme};
#[cfg(any(feature = "sqlite", feature = "testing"))]
pub(crate) use field::PlainBytes;
pub(crate) use field::{Field, Sink, Source, record, words};
pub use lifetime::Lifetime;
pub(crate) use limits::{Gcra, Verdict};
pub use limits::{
    Grant, Lease, LeaseRequest, Limit, LimitHolder, Limits, MonthDay, Network, Networks, Period,
    Quota, QuotaState, QuotaStatus, Rate, RateStatus, Refill, VersionedQuota,
};
pub use name::KeyName;
pub use owner::{DEFAULT_MAX_KEYS, OwnerRecord};
pub use prefix::Prefix;
pub use quarantine::Quarantine;
pub use record::{Expiry, KeyRecord, Kind, MAX_PREVIOUS_TOKENS, PreviousToken, Seal, TokenRecord};
pub(crate) use record::{effective_expiry, tokens};
pub use reject_reason::{RateLimited, RejectKind, RejectReason};
pub use request::{CallerScope, IdempotencyKey, RequestId, RequestRecord};
pub use rules::{NumberedPrefix, PrefixTable, StoreMetadata, StoreRules};
pub use secret_checks::{PepperCheck, RecoveryKeyCheck};
pub use setting_names::SettingNames;
pub use settings::{Settings, SettingsPatch};
pub use state::{State, ValidityInputs};
pub use sweeps::{MAX_SWEEPS, Sweep, SweepKind, Sweeps};
pub use switch::{SetBy, Switch};
pub use tags::{Tag, Tags};
pub use usage::{LastAddress, RejectedCounts, Usage, Used};
pub use valid_from::{Invalidations, IssueEpochs, TokensValidFrom};
