//! keyhasp
pub mod authority;
pub mod backend;
pub mod clock;
pub mod event;
pub mod grant;
pub mod id;
pub mod invalid;
pub mod key;
pub mod permission;
pub mod secret;
pub mod store;
mod text;
pub mod token;

pub use authority::Actor;
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use event::{Event, EventKind};
pub use grant::Grant;
pub use id::{ExternalId, Generation, KeyId, OwnerId, Version};
pub use invalid::Invalid;
pub use key::{Expiry, Kind, Prefix, State, StoreRules, Unfit};
pub use permission::{Access, Catalogue, Permission};
pub use store::{
    AdminKeys, ChangeRules, CreateKey, CreateOwner, DelegatedKeys, Denied, Error, ExternalIdWish,
    Issued, Key, KeyStore, ListEvents, ListKeys, ListOwners, Owner, OwnerKeys, Page, Refusal,
    Rotate, Store, StoreBuilder, UpdateKey, UpdateOwner, Verifier,
};
#[cfg(feature = "sealed")]
pub use token::SealingKeys;
pub use token::{Peppers, Token};
