//! The usage in an answer.

use std::sync::PoisonError;

use super::writer::UsageRecorder;
use crate::backend::{Damage, UsageSubject};
use crate::clock::Timestamp;
use crate::key::{KeyRecord, Usage};
use crate::store::types::KeyUsage;
use crate::store::types::error::Error;

impl UsageRecorder {
    /// Returns the usage of keys, `None` for each if the store keeps no usage; or the damage of its
    /// row.
    pub(in crate::store) fn of(
        &self,
        keys: &[KeyRecord],
        now: Timestamp,
    ) -> Result<Vec<Result<Option<KeyUsage>, Damage>>, Error> {
        let Some(usage) = &self.collector else { return Ok(vec![Ok(None); keys.len()]) };
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        usage.gather();
        let subjects: Vec<_> = keys.iter().map(|key| UsageSubject::Key(key.id)).collect();
        // No batch moves from the sums into the backend between the two reads.
        let _moving = usage.moving.read().unwrap_or_else(PoisonError::into_inner);
        let written = self.engine.records.usages(&subjects)?;
        let settings = usage.settings;
        let answer = |(key, written): (&KeyRecord, Result<Usage, Damage>)| {
            let written = written?;
            let mut used = written.used;
            used.add(&usage.pending_of(key.id));
            used.settle(now);
            match settings.addresses {
                Some(keep) => used.forget_address(now.saturating_sub(keep)),
                None => used.last_address = None,
            }
            let quota = key.limits.quota.map(|quota| quota.value);
            if quota.is_some_and(|quota| quota.has_lost(written.quota)) {
                return Err(Damage::lost_quota(&UsageSubject::Key(key.id)));
            }
            Ok(Some(KeyUsage {
                last_used_at: used.last_used_at,
                last_address: used.last_address,
                accepted: settings.counts.then_some(used.accepted),
                rejected: used.rejected,
                quota_left: quota.map(|quota| quota.state_at(written.quota, now).left),
            }))
        };
        Ok(keys.iter().zip(written).map(answer).collect())
    }

    /// Returns the usage of a key that is being created.
    pub(in crate::store) fn of_new(&self, key: &KeyRecord, now: Timestamp) -> Option<KeyUsage> {
        let usage = self.collector.as_ref()?;
        let quota = key.limits.quota.map(|quota| quota.value);
        Some(KeyUsage {
            accepted: usage.settings.counts.then_some(0),
            quota_left: quota.map(|quota| quota.state_at(None, now).left),
            ..KeyUsage::default()
        })
    }

    /// Returns the usage of one key; `None` also if its row is damaged or the backend fails, since
    /// the answer that holds it must not fail.
    pub(in crate::store) fn of_one(&self, key: &KeyRecord, now: Timestamp) -> Option<KeyUsage> {
        self.of(std::slice::from_ref(key), now).ok()?.pop()?.ok()?
    }
}
