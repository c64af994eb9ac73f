//! The store: the whole life of keys over a backend.
//!
//! [`KeyStore`] is the port, [`Store`] the implementation over a
//! [`Backend`](crate::backend::Backend), and the handles are what a service passes around.
//!
//! A management call decides by pure rules over records that it has just loaded, commits what it
//! decided together with the versions that the decision rests on, and decides anew if they moved.
//! Changes of concurrent callers are committed in one durable step. Whoever leads that step puts
//! it into the verification index before anybody is told that it is done.

mod administration;
mod answer;
mod attempt;
mod background;
mod caller;
mod commit;
mod core;
mod cursor;
mod declassify;
mod error;
mod facade;
mod gate;
mod hand_over;
mod handle;
mod index;
mod key_store;
mod keys;
mod leaked;
mod leases;
mod lifecycle;
mod limited;
mod limiting;
mod listing;
mod loading;
mod minting;
mod open;
mod owners;
mod prefixes;
mod recovery;
mod refresh;
mod request;
mod retention;
mod sealing;
mod settings_check;
mod touched;
mod verify;

pub use answer::{
    CreatedOwner, EarlierTokenInfo, Events, FoundToken, Health, Issued, Key, OpenedToken, Owner,
    Page, RevokedAll, Rules,
};
#[cfg(keyhasp_constant_time)]
pub use declassify::set_declassifier;
pub use error::{
    Denied, Error, PepperProblem, RateLimited, Refusal, Resource, RulesDiffer, RulesShown,
    StateProblem, Unavailable,
};
pub use facade::Store;
pub use handle::{
    AdminKeys, Administrating, DelegatedKeys, Delegating, EventFeed, Keys, Managing, News,
    OwnerKeys, Owning, Verifier,
};
pub use key_store::KeyStore;
pub use open::StoreBuilder;
pub use request::{
    ChangeRules, CreateKey, CreateOwner, ExternalIdWish, KeyAction, ListEvents, ListKeys,
    ListOwners, OwnerAction, Rotate, SetLimits, UpdateKey, UpdateOwner, VerifyRequest,
};
pub use settings_check::SettingsCheck;
