//! The store: the whole life of keys over a backend.
//!
//! [`KeyStore`] is the port, [`Store`] its implementation over a
//! [`Backend`](crate::backend::Backend). The handles are what a service passes to its parts.
//!
//! | room | contents |
//! | --- | --- |
//! | `key_store` | the port |
//! | `layer` | stores around a store |
//! | `store`, `builder` | the front door: a [`Store`] is opened by a [`StoreBuilder`] |
//! | `work` | what the store's threads do, done now |
//! | `opening` | the checks that a database and the given rules and secrets fit |
//! | `types` | the values that calls take and return |
//! | `handle` | the handles: who may call what |
//! | `manage` | a management call, from authority to change |
//! | `verify` | the path of a request: judging its token, then the limits |
//! | `engine` | from a change to a durable commit to a visible one; what other processes committed |
//! | `usage` | counting uses, beside the path of a request |
//! | `alerts` | events that come with time |
//! | `index` | the memory that `verify` reads |
//!
//! A management call enters through `handle` and `store` into `manage`. There it decides by pure
//! rules over records that it has just loaded, and gives the engine a change together with the
//! versions on which the decision rests; if those versions moved, it decides again. The engine
//! joins the changes of concurrent callers in one durable commit and publishes them in the index
//! before any of the callers gets its answer. A verification enters through `verify`, reads the
//! index alone, and notes its answer in `usage` and `alerts`.

mod alerts;
mod builder;
mod engine;
mod handle;
mod index;
mod key_store;
mod layer;
mod manage;
mod opening;
// The store's own file is named for what it holds, as each file is.
#[allow(clippy::module_inception)]
mod store;
mod types;
mod usage;
mod verify;
mod work;

pub use builder::StoreBuilder;
pub use handle::{
    AdminKeys, AsAdmin, AsDelegate, AsManager, AsOwner, Bulk, DelegatedKeys, EventFeed, FeedItem,
    IntoKeyStore, Keys, ManagerKeys, Managing, OfOneOwner, OwnerKeys, Reservation, Verifier,
};
pub use key_store::KeyStore;
pub use layer::{StoreCall, StoreLayer};
pub use store::Store;
pub use types::{
    AlertSettings, ChangeRules, ChangedKey, ClockAhead, ClockBehindLog, CreateKey, CreateOwner,
    CreatedOwner, Damaged, DamagedEntry, EffectiveLimits, Error, Events, ExplainedToken,
    Explanation, ForbiddenReason, FoundToken, Health, HealthError, HealthErrorKind, HealthProblem,
    IfInUse, IndexLimit, Issued, IssuedOnce, Key, KeyAction, KeyDetails, KeyUsage, LastEvent,
    ListEvents, ListKeys, ListOwners, NumericIdChoice, Obstacle, ObstacleKind, Owner, OwnerAction,
    Page, PepperProblem, PreviousTokenInfo, RecoveryKeyProblem, ReservedUses, Resource,
    RetiredPepper, RevealedToken, RevokedAll, RevokedTree, Rotate, Rules, RulesDiffer, RulesShown,
    SetLimits, SettingsChange, SettingsCheck, SettingsOf, StateProblem, ThreadHealth, Unavailable,
    UpdateKey, UpdateOwner, UsageSettings, VerifyError, VerifyRequest, WorkHealth,
};
pub use verify::LeaseWait;
#[cfg(keyhasp_constant_time)]
pub use verify::set_declassifier;
