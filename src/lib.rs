// Marks what a feature brings, where the documentation is built by nightly.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Before the README, so that its links lead to the pages here and not to files.
#![doc = include_str!("guide_links.md")]
// One example of the README needs axum. Without that feature the examples are shown, but not run.
#![cfg_attr(any(not(doctest), feature = "axum"), doc = include_str!("../README.md"))]
//!
//! # Where things are
//!
//! The crate's root names the types that a service needs. Every other type lies in the module of its concept.
//!
//! | for | types |
//! | --- | --- |
//! | opening a store | [`Store`], [`StoreBuilder`], [`Catalogue`], [`Prefix`], [`Peppers`], [`StoreRules`], [`UsageSettings`], [`AlertSettings`]; the backends of [`backend`] |
//! | the handles on it | [`AdminKeys`], [`OwnerKeys`], [`DelegatedKeys`], [`ManagerKeys`], [`Verifier`]; they take any [`KeyStore`] |
//! | verification | [`VerifyRequest`], [`Token`], [`VerifiedKey`], [`VerifyError`], [`RejectReason`] |
//! | changing keys | [`CreateKey`], [`UpdateKey`], [`Rotate`], [`SetLimits`], [`IdempotencyKey`]; they return [`Issued`] and [`ChangedKey`] |
//! | changing owners and the store | [`CreateOwner`], [`UpdateOwner`], [`ChangeRules`], [`IfInUse`], [`NumericIdChoice`] |
//! | reading | [`ListKeys`], [`ListOwners`], [`ListEvents`]; they return a [`Page`] of [`Key`], [`Owner`] or [`Event`]; [`FeedItem`] |
//! | what a key may do, and until when | [`Access`], [`Permission`], [`Kind`], [`Lifetime`], [`Expiry`], [`State`], [`Rate`], [`Quota`], [`Refill`], [`Period`], [`Network`] |
//! | ids, numbers and times | [`OwnerId`], [`KeyId`], [`NumericId`], [`Generation`], [`Version`], [`Incarnation`], [`Actor`], [`Timestamp`], [`Clock`], [`SystemClock`], [`ManualClock`] |
//! | errors | [`Error`] of management calls, [`ForbiddenReason`], [`Invalid`] of an input |
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
//!  0  invalid, guide              what is wrong with an input; the pages of `docs/`, in the documentation
//! ```

pub mod authority;
pub mod backend;
pub mod clock;
pub mod event;
#[cfg(any(doc, doctest, test))]
pub mod guide;
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

#[doc(inline)]
pub use authority::Actor;
#[doc(inline)]
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
#[doc(inline)]
pub use event::{Event, EventKind};
#[doc(inline)]
pub use id::{Generation, Incarnation, KeyId, NumericId, OwnerId, Version};
#[cfg(feature = "tokio")]
#[doc(inline)]
pub use integrations::tokio::AsyncKeys;
#[cfg(feature = "tower")]
#[doc(inline)]
pub use integrations::tower::{Authenticated, KeyLayer, Rejection, Session};
#[doc(inline)]
pub use invalid::Invalid;
#[doc(inline)]
pub use key::{
    Expiry, IdempotencyKey, Kind, Lifetime, Network, Period, Prefix, Quota, Rate, Refill,
    RejectReason, State, StoreRules,
};
#[doc(inline)]
pub use permission::{Access, Catalogue, Permission};
#[doc(inline)]
pub use store::{
    AdminKeys, AlertSettings, ChangeRules, ChangedKey, CreateKey, CreateOwner, DelegatedKeys,
    Error, FeedItem, ForbiddenReason, IfInUse, Issued, Key, KeyStore, ListEvents, ListKeys,
    ListOwners, ManagerKeys, NumericIdChoice, Owner, OwnerKeys, Page, Rotate, SetLimits, Store,
    StoreBuilder, UpdateKey, UpdateOwner, UsageSettings, Verifier, VerifyError, VerifyRequest,
};
#[cfg(feature = "recoverable")]
#[doc(inline)]
pub use token::RecoveryKeys;
#[doc(inline)]
pub use token::{Peppers, Token};
#[doc(inline)]
pub use verified_key::VerifiedKey;
