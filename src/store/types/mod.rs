//! The values that calls take and return.
//!
//! | room | contents |
//! | --- | --- |
//! | `request` | the requests of callers; each call checks the texts of its request |
//! | `views`, `owner_view` | the answers of management calls |
//! | `details` | the data of a key that a store keeps in memory |
//! | `effective`, `bounds` | what a key may do, within its owner's bounds |
//! | `explanation` | what stands against a token |
//! | `error` | the errors of calls |
//! | `verify_error` | the reasons for which a verification fails |
//! | `usage_settings`, `alert_settings` | the usage that a store keeps, and the alerts that it writes |
//! | `health` | whether a store answers, and what an operator has to look at |
//! | `bulk` | the size of a piece of a bulk call |
//! | `clock` | clocks that a store finds wrong |
//! | `reserved` | the uses that a verification has reserved |
//! | `settings_check` | the service's own check of settings |
//!
//! Nothing here imports the engine, the index or a handle.

pub(in crate::store) mod alert_settings;
pub(in crate::store) mod bounds;
pub(in crate::store) mod bulk;
pub(in crate::store) mod clock;
pub(in crate::store) mod details;
pub(in crate::store) mod effective;
pub(in crate::store) mod error;
pub(in crate::store) mod explanation;
pub(in crate::store) mod health;
pub(in crate::store) mod owner_view;
pub(in crate::store) mod request;
pub(in crate::store) mod reserved;
pub(in crate::store) mod settings_check;
pub(in crate::store) mod usage_settings;
pub(in crate::store) mod verify_error;
pub(in crate::store) mod views;

pub use alert_settings::AlertSettings;
pub use clock::{ClockAhead, ClockBehindLog};
pub use details::KeyDetails;
pub use effective::EffectiveLimits;
pub use error::{
    Error, ForbiddenReason, IndexLimit, PepperProblem, RecoveryKeyProblem, Resource, RulesDiffer,
    RulesShown, StateProblem,
};
pub use explanation::{ExplainedToken, Explanation, Obstacle, ObstacleKind};
pub use health::{
    Health, HealthError, HealthErrorKind, HealthProblem, LastEvent, ThreadHealth, WorkHealth,
};
pub use owner_view::Owner;
pub use request::{
    ChangeRules, CreateKey, CreateOwner, IfInUse, KeyAction, ListEvents, ListKeys, ListOwners,
    NumericIdChoice, OwnerAction, Rotate, SetLimits, UpdateKey, UpdateOwner, VerifyRequest,
};
pub use reserved::ReservedUses;
pub use settings_check::{SettingsChange, SettingsCheck, SettingsOf};
pub use usage_settings::UsageSettings;
pub use verify_error::{Unavailable, VerifyError};
pub use views::{
    ChangedKey, CreatedOwner, Damaged, DamagedEntry, Events, FoundToken, Issued, IssuedOnce, Key,
    KeyUsage, Page, PreviousTokenInfo, RetiredPepper, RevealedToken, RevokedAll, RevokedTree,
    Rules,
};
