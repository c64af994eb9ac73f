//! What is answered of the use of keys.

use std::sync::PoisonError;

use crate::backend::UsageSubject;
use crate::clock::Timestamp;
use crate::key::{KeyRecord, Usage};
use crate::store::engine::state::Core;
use crate::store::types::KeyUsage;
use crate::store::types::error::Error;

impl Core {
    /// What was used of these keys; nothing where the store doesn't keep it.
    pub(in crate::store) fn usage_of(
        &self,
        keys: &[KeyRecord],
        now: Timestamp,
    ) -> Result<Vec<Option<KeyUsage>>, Error> {
        let Some(usage) = &self.usage else { return Ok(vec![None; keys.len()]) };
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        usage.gather();
        let of: Vec<_> = keys.iter().map(|key| UsageSubject::Key(key.id)).collect();
        // Nothing goes from memory into the backend between the two readings.
        let _still = usage.moving.read().unwrap_or_else(PoisonError::into_inner);
        let written = self.backend.usage(&of)?;
        let settings = usage.settings;
        let answer = |(key, written): (&KeyRecord, Usage)| {
            let mut used = written.used;
            used.add(&usage.waiting_of(key.id));
            match settings.addresses {
                Some(keep) => used.forget_address(now.saturating_sub(keep)),
                None => used.last_address = None,
            }
            let run = key.limits.quota.map(|quota| quota.value);
            Some(KeyUsage {
                last_used_at: used.last_used_at,
                last_address: used.last_address,
                accepted: settings.counts.then_some(used.accepted),
                rejected: used.rejected,
                quota_left: run.map(|run| run.state_at(written.quota, now).left),
            })
        };
        Ok(keys.iter().zip(written).map(answer).collect())
    }

    /// What is answered of a key that is just being created.
    pub(in crate::store) fn first_usage(
        &self,
        key: &KeyRecord,
        now: Timestamp,
    ) -> Option<KeyUsage> {
        let usage = self.usage.as_ref()?;
        let run = key.limits.quota.map(|quota| quota.value);
        Some(KeyUsage {
            accepted: usage.settings.counts.then_some(0),
            quota_left: run.map(|run| run.state_at(None, now).left),
            ..KeyUsage::default()
        })
    }

    /// The same of one key, for an answer that must not fail for it.
    pub(in crate::store) fn usage_if_known(
        &self,
        key: &KeyRecord,
        now: Timestamp,
    ) -> Option<KeyUsage> {
        self.usage_of(std::slice::from_ref(key), now).ok()?.pop()?
    }
}
