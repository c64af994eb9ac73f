//! The removal of a key whose record can't be read.

use std::collections::BTreeSet;

use super::chunks::Values;
use super::fault::Fault;
use super::overlay::Overlay;
use super::trees::{self, Tree};
use crate::id::KeyId;

impl Overlay<'_> {
    /// Removes a key without its record, and all that leads to it.
    pub(super) fn remove_key(&mut self, id: KeyId) -> Result<(), Fault> {
        let mut owners = BTreeSet::new();
        for tree in [Tree::OwnerKeys, Tree::CreatedKeys, Tree::LiveNames, Tree::LiveExpiries] {
            let key_in = match tree {
                Tree::LiveExpiries => trees::expiring_key_in,
                _ => trees::key_in,
            };
            let mut leads = Vec::new();
            self.each(tree, &[], &mut |key| {
                if key_in(key) == Some(id) {
                    leads.push(key.to_vec());
                }
                Ok(())
            })?;
            for lead in leads {
                self.remove(tree, &lead);
                if tree == Tree::OwnerKeys {
                    owners.extend(trees::owner_of_key(&lead));
                }
            }
        }
        if self.value(Tree::Keys, &trees::key(id))?.is_some() {
            self.remove_record(Tree::Keys, &trees::key(id))?;
            self.put_number(trees::KEYS, self.number(trees::KEYS)?.saturating_sub(1));
        }
        self.remove_record(Tree::Quarantine, &trees::key(id))?;
        owners.iter().try_for_each(|owner| self.count_again(owner))
    }
}
