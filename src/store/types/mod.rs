//! The values that calls take and return.
//!
//! | room | what stands there |
//! | --- | --- |
//! | `request` | what callers ask for; each text is judged by the call that takes it |
//! | `views` | what management calls answer |
//! | `error` | why a call fails, and why a token is not accepted |
//! | `usage_settings`, `alert_settings` | what a store counts, and what it writes alerts about |
//! | `settings_check` | the service's own judgement of settings |
//!
//! Nothing here knows of the engine, the index or a handle.

pub(in crate::store) mod alert_settings;
pub(in crate::store) mod error;
pub(in crate::store) mod request;
pub(in crate::store) mod settings_check;
pub(in crate::store) mod usage_settings;
pub(in crate::store) mod views;

pub use alert_settings::AlertSettings;
pub use error::{
    Error, ForbiddenReason, PepperProblem, Resource, RulesDiffer, RulesShown, StateProblem,
    Unavailable, VerifyError,
};
pub use request::{
    ChangeRules, CreateKey, CreateOwner, KeyAction, ListEvents, ListKeys, ListOwners,
    NumericIdChoice, OwnerAction, Rotate, SetLimits, UpdateKey, UpdateOwner, VerifyRequest,
};
pub use settings_check::SettingsCheck;
pub use usage_settings::UsageSettings;
pub use views::{
    CreatedOwner, Events, FoundToken, Health, Issued, Key, KeyUsage, Owner, Page,
    PreviousTokenInfo, RevealedToken, RevokedAll, Rules,
};
