//! Room: a change that the index couldn't show is refused before it is committed.

use super::entry::{MAX_OWNER, MAX_SET};
use super::hash_table::slot::hash_of;
use super::index::{Index, IndexWriter};
use super::limits::limit_table::MAX_OWNER_RECORDS;
use super::limits::networks::MAX_NETWORKS;
use super::load::{Load, Memo};
use crate::backend::{Change, Write};
use crate::key::{KeyRecord, Kind, Limits, Networks, OwnerRecord};
use crate::store::types::error::IndexLimit;

/// The numbers that are left to changes that were checked and aren't shown yet: those of other threads,
/// and of other processes.
pub(super) const SPARE: u32 = if cfg!(test) { 2 } else { 1 << 16 };

/// The most tokens: half as many as the table takes if its groups are as empty as they may be.
const MAX_TOKENS: usize = 1 << 29;

/// The limits that are close.
struct Close {
    owners: bool,
    sets: bool,
    tokens: bool,
    owner_limits: bool,
    networks: bool,
}

impl Close {
    fn of(writer: &IndexWriter) -> Self {
        let tokens = writer.counts.by_pepper.iter().sum::<usize>();
        let [owner_limits, networks] = writer.limits.room();
        Self {
            owners: writer.owners.numbers.room() < SPARE,
            sets: writer.sets.numbers.room() < SPARE,
            tokens: MAX_TOKENS.saturating_sub(tokens) < SPARE as usize,
            owner_limits: owner_limits < SPARE,
            networks: networks < SPARE * Networks::MAX as u32,
        }
    }

    fn is_any(&self) -> bool {
        self.owners || self.sets || self.tokens || self.owner_limits || self.networks
    }
}

impl Index {
    /// Checks that the index can show what a change writes. A change that takes nothing more, such as
    /// a revocation, always passes.
    pub(in crate::store) fn expect_room(&self, change: &Change) -> Result<(), IndexLimit> {
        let close = Close::of(&self.lock());
        if !close.is_any() {
            return Ok(());
        }
        let mut memo = Memo::default();
        let mut load = self.load(&mut memo);
        let mut writes = change.operations.iter().map(|operation| &operation.write);
        writes.try_for_each(|write| match write {
            Write::CreateKey(create) => load.expect_key_room(&close, change, &create.record),
            Write::ReplaceKey(key) | Write::GrantKeyUses(key, _) => {
                load.expect_key_room(&close, change, key)
            }
            Write::CreateOwner(owner)
            | Write::ReplaceOwner(owner)
            | Write::GrantOwnerUses(owner, _) => load.expect_owner_room(&close, owner),
            _ => Ok(()),
        })
    }
}

#[cfg(test)]
impl Index {
    /// Acts as if all numbers of sets were in use.
    pub(in crate::store) fn leave_no_sets(&self) {
        let numbers = &mut self.lock().sets.numbers;
        numbers.max = 0;
    }

    /// Gives owners' numbers again as soon as they are free.
    pub(in crate::store) fn reuse_owner_numbers(&self) {
        self.lock().owners.numbers.quarantine = 0;
    }
}

impl Load<'_> {
    fn expect_key_room(
        &mut self,
        close: &Close,
        change: &Change,
        key: &KeyRecord,
    ) -> Result<(), IndexLimit> {
        if key.revoked.is_some() {
            return Ok(());
        }
        let is_shut = key.blocked.is_some() || key.deactivated.is_some();
        let tokens_before = self.index.table.contents(hash_of(key.id.as_u128())).len();
        if close.tokens && !is_shut && 1 + key.previous.len() > tokens_before {
            return Err(IndexLimit::Tokens(MAX_TOKENS as u64));
        }
        self.expect_networks_room(close, &key.limits)?;
        if !close.sets || is_shut {
            return Ok(());
        }
        let mut set = self.granted(&key.access);
        if key.kind == Kind::Standard {
            let owner = change.operations.iter().find_map(|operation| match &operation.write {
                Write::CreateOwner(owner) if owner.id == key.owner => Some(owner),
                _ => None,
            });
            let max_access = match owner {
                Some(owner) => Some(self.granted(&owner.max_access)),
                None => {
                    let state = self.writer.owners.get(&self.index.owners, &key.owner);
                    state.map(|state| self.index.sets.get(state.max_access))
                }
            };
            set = max_access.map_or(set, |max_access| set.intersection(&max_access));
        }
        match self.writer.sets.has(&set) {
            true => Ok(()),
            false => Err(IndexLimit::PermissionSets(MAX_SET.into())),
        }
    }

    fn expect_owner_room(&mut self, close: &Close, owner: &OwnerRecord) -> Result<(), IndexLimit> {
        let before = self.writer.owners.get(&self.index.owners, &owner.id);
        if close.owners && before.is_none() {
            return Err(IndexLimit::Owners(MAX_OWNER.into()));
        }
        self.expect_networks_room(close, &owner.limits)?;
        let has_record = before.is_some_and(|before| self.index.has_owner_limits(before.number));
        if close.owner_limits && !owner.limits.is_empty() && !has_record {
            return Err(IndexLimit::OwnersWithLimits(MAX_OWNER_RECORDS.into()));
        }
        if !close.sets {
            return Ok(());
        }
        let max_access = self.granted(&owner.max_access);
        let has_number = match before {
            // What is left of the keys' permissions by another maximum access may need numbers too.
            Some(before) => self.index.sets.get(before.max_access) == max_access,
            None => self.writer.sets.has(&max_access),
        };
        if has_number { Ok(()) } else { Err(IndexLimit::PermissionSets(MAX_SET.into())) }
    }

    fn expect_networks_room(&self, close: &Close, limits: &Limits) -> Result<(), IndexLimit> {
        match &limits.networks {
            Some(networks) if close.networks && !self.writer.limits.has_list(&networks.value) => {
                Err(IndexLimit::Networks(3 * u64::from(MAX_NETWORKS)))
            }
            _ => Ok(()),
        }
    }
}
