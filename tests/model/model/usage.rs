//! Usage of keys: every use that leaves a trace, in the order in which they came.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use keyhasp::Timestamp;
use keyhasp::id::KeyId;
use keyhasp::store::VerifyError;
use serde_json::{Value, json};

use super::state::Model;
use super::verify::Verdict;
use crate::limits::Place;

/// One use: a token with the right secret was presented.
#[derive(Clone, Debug)]
struct Use {
    at: Timestamp,
    /// The client's address, if it is kept. Only accepted uses have one.
    from: Option<IpAddr>,
    /// Whether accepted uses were counted at that time.
    is_counted: bool,
    /// The reason why it was rejected, if it was.
    refused: Option<&'static str>,
    is_written: bool,
}

/// The uses of a key.
#[derive(Clone, Debug, Default)]
pub(super) struct UsesFile {
    noted: Vec<Use>,
    /// The time of the last use, noted or not, and the resolution of that time.
    last: Option<(Timestamp, Duration)>,
}

impl UsesFile {
    fn accepted(&self) -> impl Iterator<Item = &Use> {
        self.noted.iter().filter(|one| one.refused.is_none())
    }

    pub(super) fn last_used_at(&self) -> Option<Timestamp> {
        let noted = self.accepted().map(|one| one.at).max();
        if let Some((last, resolution)) = self.last {
            let is_close =
                noted.is_some_and(|noted| noted <= last && last.since(noted) < resolution);
            assert!(is_close, "the model notes {noted:?} for {last}, to {resolution:?}");
        }
        noted
    }

    /// Returns the latest address that was seen and isn't deleted. Of two at the same time, the one
    /// that came last counts.
    fn last_address(&self) -> Option<(IpAddr, Timestamp)> {
        let seen = self.accepted().filter_map(|one| Some((one.from?, one.at)));
        seen.max_by_key(|(_, at)| *at)
    }

    /// Counts what was noted at a time after now as noted now. Of addresses, the latest stays.
    fn settle(&mut self, now: Timestamp, of: impl Fn(&Use) -> bool) {
        let seen = |one: &Use| one.refused.is_none() && one.from.is_some();
        let places = 0..self.noted.len();
        let latest = places
            .filter(|place| of(&self.noted[*place]) && seen(&self.noted[*place]))
            .max_by_key(|place| self.noted[*place].at);
        for (place, one) in self.noted.iter_mut().enumerate().filter(|(_, one)| of(one)) {
            one.from = one.from.filter(|_| latest == Some(place));
            one.at = one.at.min(now);
        }
        let noted = self.accepted().map(|one| one.at).max().unwrap_or(now);
        self.last = self.last.map(|(at, resolution)| (at.min(now).max(noted), resolution));
    }

    fn refused(&self) -> BTreeMap<&'static str, u64> {
        let mut refused = BTreeMap::new();
        for reason in self.noted.iter().filter_map(|one| one.refused) {
            *refused.entry(reason).or_default() += 1;
        }
        refused
    }
}

impl Model {
    /// Notes the verdict on a token. Its secret was right, unless it wasn't recognized.
    pub(crate) fn note_use(
        &mut self,
        id: KeyId,
        generation: u32,
        address: Option<IpAddr>,
        verdict: &Verdict,
    ) {
        let refused = match verdict {
            Verdict::Unrecognized => return,
            Verdict::Granted(verified) => {
                if !verified.is_current {
                    self.notice_previous(id, generation, verified.ends_at);
                }
                None
            }
            Verdict::Limited(refusals) => reject_kind(&refusals[0]),
            Verdict::Rejected(rejected_for) => Some(rejected_for.kind().name()),
        };
        if refused.is_some() {
            self.notice_refusal(id);
        }
        let (Some(plan), now) = (self.opening.usage, self.now) else { return };
        let file = self.uses.entry(id).or_default();
        if refused.is_none() {
            if file.last.is_none_or(|(last, _)| last < now) {
                file.last = Some((now, plan.resolution));
            }
            // Unless uses are counted, the first one in each interval of the resolution stands for
            // the rest.
            let stretch = u128::from(now.as_millis()) / plan.resolution.as_millis();
            if !plan.counts && self.noted_in.insert(id, stretch) == Some(stretch) {
                return;
            }
        }
        if refused.is_none() {
            self.latest_noted = self.latest_noted.max(now);
        }
        let is_kept = refused.is_none() && plan.addresses.is_some();
        file.noted.push(Use {
            at: now,
            from: address.filter(|_| is_kept).map(|from| Place::of(from).address()),
            is_counted: plan.counts,
            refused,
            is_written: false,
        });
    }

    /// Writes the pending usage. If a key's pending usage has no address, deletes an address of the
    /// key that was kept for long enough.
    pub(crate) fn write_usage(&mut self) {
        let Some(plan) = self.opening.usage else { return };
        // What was noted ahead is settled, so a use at the same time is noted again.
        if self.latest_noted > self.now {
            self.noted_in.clear();
        }
        self.latest_noted = self.now;
        for file in self.uses.values_mut() {
            let waiting = || file.noted.iter().filter(|one| !one.is_written);
            let is_waiting = waiting().next().is_some();
            let has_address = waiting().any(|one| one.from.is_some());
            let forgotten = plan.addresses.filter(|_| is_waiting && !has_address);
            let before = forgotten.map_or(Timestamp::MIN, |keep| self.now.saturating_sub(keep));
            // An address is forgotten together with a look at all that is written of the key.
            file.settle(self.now, |one| !one.is_written || forgotten.is_some());
            for one in &mut file.noted {
                one.is_written = true;
                one.from = one.from.filter(|_| one.at >= before);
            }
        }
    }

    /// Writes the pending usage of an open store. Deletes all addresses that were kept for long
    /// enough, or every address if the settings keep none.
    pub(crate) fn flush_usage(&mut self) {
        self.write_usage();
        let Some(plan) = self.opening.usage else { return };
        let before = plan.addresses.map(|keep| self.now.saturating_sub(keep));
        self.uses.values_mut().for_each(|file| file.settle(self.now, |_| true));
        for one in self.uses.values_mut().flat_map(|file| &mut file.noted) {
            one.from = one.from.filter(|_| before.is_some_and(|before| one.at >= before));
        }
    }

    /// Loses the usage that isn't written, as when the process ends.
    pub(crate) fn lose_usage(&mut self) {
        for file in self.uses.values_mut() {
            file.noted.retain(|one| one.is_written);
            file.last = file.accepted().map(|one| one.at).max().map(|at| (at, Duration::MAX));
        }
    }

    /// Returns the last use of a key that an answer shows.
    pub(super) fn last_used_at(&self, id: KeyId) -> Option<Timestamp> {
        Some(self.uses.get(&id)?.last_used_at()?.min(self.now))
    }

    /// Shows a key's usage as an answer does, if usage is kept.
    pub(super) fn shown_usage(&self, id: KeyId) -> Option<Value> {
        let plan = self.opening.usage?;
        let file = self.uses.get(&id).cloned().unwrap_or_default();
        let last_address = plan.addresses.and_then(|keep| {
            let (address, at) = file.last_address()?;
            let at = at.min(self.now);
            let is_kept = at >= self.now.saturating_sub(keep);
            is_kept.then(|| json!({ "address": address, "at": at }))
        });
        let accepted = file.accepted().filter(|one| one.is_counted).count();
        Some(json!({
            "last_used_at": file.last_used_at().map(|at| at.min(self.now)),
            "last_address": last_address,
            "accepted": plan.counts.then_some(accepted),
            "rejected": file.refused(),
            "quota_left": self.quota_left(id).map(|(least, most)| {
                json!({ "at_least": least, "at_most": most })
            }),
        }))
    }
}

/// The name under which a rejection is counted.
fn reject_kind(error: &VerifyError) -> Option<&'static str> {
    match error {
        VerifyError::Rejected(reason) => Some(reason.kind().name()),
        _ => None,
    }
}
