// Marks what a feature brings, where the documentation is built by nightly.
#![cfg_attr(docsrs, feature(doc_cfg))]
// One example of the README needs axum. Without that feature the examples are shown, but not run.
#![cfg_attr(any(not(doctest), feature = "axum"), doc = include_str!("../README.md"))]
//!
//! # Where things are
//!
//! The crate's root names the types that a service needs. [`Store::builder`] opens a store on a
//! backend of [`backend`]. [`AdminKeys`], [`OwnerKeys`], [`DelegatedKeys`] and [`Verifier`] are the
//! handles on it. [`CreateKey`], [`Rotate`], [`ListKeys`] and the like are requests; [`Key`],
//! [`Issued`], [`Page`] and [`VerifiedKey`] are answers. Every other type lies in the module of its
//! concept.
//!
//! Each module imports only from rows below its own, and a test checks that. `backend` also never
//! sees [`token`], [`verified_key`] or [`secret`]: code that stores records never holds plaintext.
//!
//! ```text
//! 10  integrations                (features) tower, axum, tokio, tracing, metrics
//!       |
//!  9  testing                     (feature) the conformance suite for backends
//!       |
//!  8  store                       KeyStore, Store, the handles; management calls, group commit, verify
//!       |
//!  7  backend                     the contract, the rules of a commit; memory, sqlite, sled
//!       |
//!  6  event, token, verified_key  what can happen; what the client holds; what verify returns
//!       |
//!  5  key                         what may be written down: records, digests, state, settings, rules
//!       |
//!  4  authority, permission       who acts; what a key may do
//!       |
//!  3  id                          ids of keys and owners, generations, versions
//!       |
//!  2  clock, process, secret, text  time; the process that runs; bytes that are wiped; limits of texts
//!       |
//!  1  serial                      values as texts and numbers
//!       |
//!  0  invalid                     what is wrong with an input
//! ```

pub mod authority;
pub mod backend;
pub mod clock;
pub mod event;
pub mod id;
pub mod integrations;
pub mod invalid;
pub mod key;
pub mod permission;
mod process;
pub mod secret;
mod serial;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
pub mod token;
pub mod verified_key;

pub use authority::Actor;
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use event::{Event, EventKind};
pub use id::{Generation, Incarnation, KeyId, NumericId, OwnerId, Version};
#[cfg(feature = "tokio")]
pub use integrations::tokio::AsyncKeys;
#[cfg(feature = "tower")]
pub use integrations::tower::{Authenticated, KeyLayer, Rejection, Session};
pub use invalid::Invalid;
pub use key::{
    Expiry, IdempotencyKey, Kind, Lifetime, Network, Period, Prefix, Quota, Rate, Refill,
    RejectReason, State, StoreRules,
};
pub use permission::{Access, Catalogue, Permission};
pub use store::{
    AdminKeys, AlertSettings, ChangeRules, ChangedKey, CreateKey, CreateOwner, DelegatedKeys,
    Error, FeedItem, ForbiddenReason, IfInUse, Issued, Key, KeyStore, ListEvents, ListKeys,
    ListOwners, NumericIdChoice, Owner, OwnerKeys, Page, Rotate, SetLimits, Store, StoreBuilder,
    UpdateKey, UpdateOwner, UsageSettings, Verifier, VerifyError, VerifyRequest,
};
#[cfg(feature = "recoverable")]
pub use token::RecoveryKeys;
pub use token::{Peppers, Token};
pub use verified_key::VerifiedKey;
