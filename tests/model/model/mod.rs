//! A plain model of a whole key store: maps and vectors, and each rule written down once more,
//! from the design and from the docs of the port.

mod access;
mod authority;
mod keys;
mod limits;
mod lists;
mod minting;
mod owners;
mod reason;
mod records;
mod settings;
mod spending;
mod state;
mod store;
mod usage;
mod verify;
mod watching;

pub(crate) use access::{Names, Reach};
pub(crate) use reason::Reason;
pub(crate) use records::{KeyFile, OwnerFile};
pub(crate) use settings::REFUSED_NAME;
pub(crate) use state::{Answer, Fresh, Model, Opening, shown_alerts};
pub(crate) use verify::Verdict;
pub(crate) use watching::Alert;
