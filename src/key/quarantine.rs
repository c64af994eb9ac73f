//! The quarantine of a key whose record is damaged.

use super::{Switch, bytes, record};
use crate::id::{KeyId, OwnerId, Version};

record! {
    /// An entry that lies over a key's damaged record. It ends the key, and leaves the damaged bytes
    /// as they are. The record under it counts no more until both are purged.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Quarantine {
        /// The key's id.
        pub id: KeyId,
        /// The owner of the key, if the damaged record shows it with certainty.
        pub owner: Option<OwnerId>,
        /// The number of changes of this entry.
        pub version: Version,
        /// The administrator's switch.
        pub blocked: Option<Switch>,
        /// The revocation, final.
        pub revoked: Option<Switch>,
    }
}

bytes!(Quarantine, "quarantine", KeyId, |entry| &entry.id);
