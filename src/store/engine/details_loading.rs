//! Details of keys, read from the backend and shown.

use std::sync::Arc;

use super::details::DetailsMemory;
use super::records::Records;
use crate::backend::{
    Applied, BackendError, BackendErrorKind, Change, KeyFilter, KeyPageQuery, OwnerPageQuery,
    StateSet, Write,
};
use crate::id::{KeyId, OwnerId};
use crate::store::types::details::KeyDetails;

/// Number of records that are read at once.
const RECORDS_AT_ONCE: usize = 1_024;

impl Records {
    /// Returns the details of a key; `None` if the store keeps none, and for a key that is gone.
    pub(in crate::store) fn details(&self, id: KeyId, owner: &OwnerId) -> Option<Arc<KeyDetails>> {
        let details = self.details.as_ref()?;
        // The pieces of a sweep come later for the details than for the index.
        self.index.owner_of(id).filter(|known| known == owner)?;
        details.get(id, owner)
    }

    /// Reads the details of all keys, or of one owner's keys, after a scan of them. A scan shows only what
    /// the index needs. `ids` are the keys that it showed: damage may hide some from a page.
    pub(super) fn read_details(
        &self,
        of: Option<&OwnerId>,
        ids: impl IntoIterator<Item = KeyId>,
    ) -> Result<(), BackendError> {
        let Some(details) = &self.details else { return Ok(()) };
        match of {
            Some(owner) => self.read_owner_details(details, owner)?,
            None => self.read_all_owner_details(details)?,
        }
        let filter = KeyFilter::new(StateSet::ALL, self.now());
        let filter = KeyFilter { owner: of.copied(), ..filter };
        let (limit, examine) = (RECORDS_AT_ONCE, RECORDS_AT_ONCE);
        let mut before = None;
        loop {
            let query =
                KeyPageQuery { filter: filter.clone(), before, after: None, limit, examine };
            let page = match self.backend.page_keys(&query) {
                Err(error) if error.kind() == BackendErrorKind::Corrupt => break,
                page => page?,
            };
            page.keys.iter().for_each(|key| details.put_key(key));
            match page.next {
                Some(next) => before = Some(next),
                None => return Ok(()),
            }
        }
        for id in ids {
            if let Some(key) = self.whole_key(id)? {
                details.put_key(&key);
            }
        }
        Ok(())
    }

    /// Notes the numeric ids that a commit assigned to the keys of a change, which the change itself
    /// doesn't have. The keys were put.
    pub(super) fn note_numeric_ids(&self, change: &Change, applied: &Applied) {
        let Some(details) = &self.details else { return };
        let created = change.operations.iter().filter_map(|operation| match &operation.write {
            Write::CreateKey(create) if create.next_numeric_id => Some(create.record.id),
            _ => None,
        });
        created
            .zip(&applied.numeric_ids)
            .for_each(|(id, numeric_id)| details.set_numeric_id(id, *numeric_id));
    }

    fn read_owner_details(
        &self,
        details: &DetailsMemory,
        owner: &OwnerId,
    ) -> Result<(), BackendError> {
        match self.backend.owner(owner) {
            Ok(Some(owner)) => details.put_owner(&owner),
            Ok(None) => details.forget_owner(owner),
            Err(error) => {
                self.noted_damage(error)?;
                details.forget_owner(owner);
            }
        }
        Ok(())
    }

    fn read_all_owner_details(&self, details: &DetailsMemory) -> Result<(), BackendError> {
        let mut after = None;
        loop {
            let query = OwnerPageQuery { after, ..OwnerPageQuery::all(RECORDS_AT_ONCE) };
            let page = self.backend.page_owners(&query)?;
            page.owners.iter().for_each(|owner| details.put_owner(owner));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }
}
