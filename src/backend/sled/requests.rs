//! Requests that took effect once, and the times by which they are removed.

use super::chunks;
use super::fault::Fault;
use super::leads;
use super::overlay::Overlay;
use super::record::{decode, encode};
use super::trees::{self, Tree};
use crate::backend::DamagedRecord;
use crate::clock::Timestamp;
use crate::key::{RequestId, RequestRecord};

impl Overlay<'_> {
    pub(super) fn load_request(&self, id: &RequestId) -> Result<Option<RequestRecord>, Fault> {
        let record = chunks::load(self, Tree::Requests, &id.to_bytes())?;
        record.map(|record| decode(id.clone(), &record)).transpose()
    }

    pub(super) fn load_requests_before(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<RequestRecord>, Fault> {
        let times = self.first(Tree::RequestTimes, &[], &trees::requests_from(before), limit)?;
        let mut records = Vec::new();
        for id in times.iter().filter_map(|key| trees::request_in(key)) {
            match self.load_request(&id) {
                // A damaged one stays.
                Err(fault) => _ = fault.damage(Tree::Requests, DamagedRecord::Unknown)?,
                record => records.extend(record?),
            }
        }
        Ok(records)
    }

    pub(super) fn store_request(
        &mut self,
        before: Option<&RequestRecord>,
        after: Option<&RequestRecord>,
    ) -> Result<(), Fault> {
        if let Some(record) = before {
            let (tree, lead) = leads::of_request(record);
            self.remove(tree, &lead);
            if after.is_none() {
                self.remove_record(Tree::Requests, &record.id.to_bytes())?;
            }
        }
        if let Some(record) = after {
            let (tree, lead) = leads::of_request(record);
            self.put(tree, &lead, &[]);
            let bytes = encode(record);
            self.put_record(Tree::Requests, &record.id.to_bytes(), &bytes)?;
        }
        Ok(())
    }
}
