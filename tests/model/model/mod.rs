//! A plain model of a whole key store: maps and vectors, and each rule written a second time, from
//! the design and the docs of `KeyStore`.

mod access;
mod authority;
mod eyes;
mod keys;
mod lapses;
mod limits;
mod lists;
mod minting;
mod once;
mod owners;
mod reason;
mod records;
mod retention;
mod settings;
mod spending;
mod state;
mod store;
mod sweeps;
mod usage;
mod verify;
mod watching;

pub(crate) use access::{Names, Reach};
pub(crate) use once::RequestFile;
pub(crate) use reason::Reason;
pub(crate) use records::{KeyFile, OwnerFile};
pub(crate) use settings::REFUSED_NAME;
pub(crate) use spending::Holder;
pub(crate) use state::{Answer, Fresh, Model, Opening, shown_alerts, shown_refusal};
pub(crate) use verify::Verdict;
pub(crate) use watching::Alert;
