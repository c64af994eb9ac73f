//! The invalidation of tokens: from which moment tokens are valid, and in which order they were
//! issued.

use std::time::Duration;

use super::{Field, PepperCheck, PepperNumber, Sink, Source};
use crate::clock::Timestamp;

/// The time before now within which an invalidation counts as one up to now. A caller's clock need
/// not show the very time that the store's does.
const UP_TO_NOW: Duration = Duration::from_secs(60);

/// The invalidation of tokens that were issued before a moment, of a store or of an owner.
///
/// A clock that was ahead may have stamped a token with a time that is yet to come. An invalidation
/// up to now reaches such a token by the order of commits: it ends an epoch, and the token keeps the
/// epoch in which it was issued. The preconditions of an issue see to it that no epoch ended
/// between the decision and the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokensValidFrom {
    /// The moment: every token issued before it is superseded.
    pub moment: Timestamp,
    /// The number of epochs that have ended.
    pub epoch: u32,
    /// The time at which an invalidation last ended an epoch. A token of that epoch, or of one
    /// before, with a later stamp is superseded.
    pub ended_at: Timestamp,
    /// The number of epochs whose tokens are all superseded.
    pub swept: u32,
    /// The number of epochs that had ended when an invalidation last ended one. Those that end after it
    /// were ended by sweeps, which supersede no token.
    pub invalidated: u32,
}

/// The epochs in which a token was issued: the numbers of its owner's and its store's epochs that
/// had ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IssueEpochs {
    /// The owner's number.
    pub owner: u32,
    /// The store's number.
    pub store: u32,
}

/// The invalidations that apply to a key: its owner's and its store's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Invalidations<'a> {
    /// The owner's.
    pub owner: Option<TokensValidFrom>,
    /// The store's.
    pub store: Option<TokensValidFrom>,
    /// The store's peppers; of those that are retired, all tokens are superseded.
    pub peppers: &'a [PepperCheck],
}

impl TokensValidFrom {
    /// Makes an invalidation that ends no epoch.
    #[must_use]
    pub fn of(moment: Timestamp) -> Self {
        Self { moment, epoch: 0, ended_at: Timestamp::MIN, swept: 0, invalidated: 0 }
    }

    /// Returns the invalidation after one of tokens issued before `to`, which is at most `now`. It
    /// is the same as before if that one reaches no further token.
    #[must_use]
    pub fn after(before: Option<Self>, to: Timestamp, now: Timestamp) -> Self {
        let is_up_to_now = now.since(to) <= UP_TO_NOW;
        let mut next = before.unwrap_or(Self::of(to));
        if next.moment > now {
            // The clock was ahead when the last one was made, and its moment would hide all until
            // it comes. Every token of before was issued before this one was.
            if is_up_to_now {
                let epoch = next.epoch.saturating_add(1);
                next = Self { moment: to, epoch, ended_at: now, swept: epoch, invalidated: epoch };
            }
            return next;
        }
        // Otherwise tokens of the running epoch were issued after `to`, by the order of commits.
        let ends_epoch = is_up_to_now && (to > next.ended_at || next.ended_at > now);
        if to > next.ended_at {
            // Every token of the epochs that had ended by then was issued before `to`.
            next.swept = next.invalidated;
        }
        if ends_epoch {
            next.epoch = next.epoch.saturating_add(1);
            (next.invalidated, next.ended_at) = (next.epoch, now);
        }
        next.moment = next.moment.max(to);
        next
    }

    /// Returns the invalidation after a sweep. It ends an epoch, so that keys of before are told from
    /// those that come; what becomes of their tokens is the sweep's.
    #[must_use]
    pub fn after_sweep(before: Option<Self>) -> Self {
        let before = before.unwrap_or_default();
        Self { epoch: before.epoch.saturating_add(1), ..before }
    }

    /// Returns whether a sweep ended the last epoch, and did so after another state of these epochs: all
    /// keys of that state are revoked or gone.
    #[must_use]
    pub fn swept_since(&self, known: &Self) -> bool {
        self.epoch > self.invalidated && self.epoch > known.epoch
    }

    /// Returns its epochs alone, for another owner of the same id, to whom no token of before
    /// belongs.
    #[must_use]
    pub fn of_epochs(self) -> Self {
        let Self { epoch, .. } = self;
        Self { epoch, swept: epoch, invalidated: epoch, ..Self::default() }
    }

    /// Returns the moment that is shown: none before which no token can have been issued.
    #[must_use]
    pub fn shown(&self) -> Option<Timestamp> {
        (self.moment > Timestamp::MIN).then_some(self.moment)
    }

    /// Returns whether another one supersedes the same tokens: sweeps alone may lie between them.
    #[must_use]
    pub fn invalidates_as(&self, other: &Self) -> bool {
        Self { epoch: other.epoch, ..*self } == *other
    }

    /// Returns whether a token is superseded that was stamped with a time in an epoch.
    #[must_use]
    pub fn supersedes(&self, issued_at: Timestamp, epoch: u32) -> bool {
        issued_at < self.moment
            || epoch < self.swept
            || epoch < self.invalidated && issued_at > self.ended_at
    }
}

/// No token is superseded.
impl Default for TokensValidFrom {
    fn default() -> Self {
        Self::of(Timestamp::MIN)
    }
}

impl Invalidations<'_> {
    /// Returns whether a token is superseded that was stamped with a time in these epochs, and whose
    /// digest is under this pepper.
    #[must_use]
    #[inline]
    pub fn supersede(
        &self,
        issued_at: Timestamp,
        epochs: IssueEpochs,
        pepper: PepperNumber,
    ) -> bool {
        let by = |invalidation: Option<TokensValidFrom>, epoch| {
            invalidation.is_some_and(|from| from.supersedes(issued_at, epoch))
        };
        by(self.owner, epochs.owner)
            || by(self.store, epochs.store)
            || self.peppers.iter().any(|check| check.retired && check.number == pepper)
    }

    /// Returns the stamp of a token that is issued at `now`: a clock that has stepped back makes no
    /// token that is superseded at birth.
    #[must_use]
    pub fn stamp(&self, now: Timestamp) -> Timestamp {
        [self.owner, self.store].into_iter().flatten().map(|from| from.moment).fold(now, Ord::max)
    }

    /// Returns the epochs of a token that is issued now.
    #[must_use]
    pub fn epochs(&self) -> IssueEpochs {
        let epoch = |from: Option<TokensValidFrom>| from.map_or(0, |from| from.epoch);
        IssueEpochs { owner: epoch(self.owner), store: epoch(self.store) }
    }
}

impl Field for TokensValidFrom {
    const WIDTH: usize = 5;

    fn columns(name: &str, columns: &mut Vec<String>) {
        columns.push(name.to_owned());
        let numbers = ["epoch", "epoch_ended_at", "epochs_swept", "epochs_invalidated"];
        columns.extend(numbers.map(String::from));
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { moment, epoch, ended_at, swept, invalidated } = self;
        moment.put(sink)?;
        epoch.put(sink)?;
        ended_at.put(sink)?;
        swept.put(sink)?;
        invalidated.put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self {
            moment: Field::get(name, source)?,
            epoch: Field::get("epoch", source)?,
            ended_at: Field::get("epoch_ended_at", source)?,
            swept: Field::get("epochs_swept", source)?,
            invalidated: Field::get("epochs_invalidated", source)?,
        })
    }
}

impl Field for IssueEpochs {
    const WIDTH: usize = 2;

    fn columns(_: &str, columns: &mut Vec<String>) {
        columns.extend(["owner_epoch", "store_epoch"].map(String::from));
    }

    #[inline]
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.owner.put(sink)?;
        self.store.put(sink)
    }

    #[inline]
    fn get<S: Source>(_: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self {
            owner: Field::get("owner_epoch", source)?,
            store: Field::get("store_epoch", source)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(second * 1_000).unwrap()
    }

    /// The issue of a token, an invalidation up to so many seconds ago, or a sweep of all keys.
    #[derive(Clone, Debug)]
    enum Step {
        Issue,
        Invalidate(u64),
        Sweep,
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
        let step = prop_oneof![
            3 => Just(Step::Issue),
            2 => prop_oneof![Just(0), 1..60_u64, 61..5_000_u64].prop_map(Step::Invalidate),
            1 => Just(Step::Sweep),
        ];
        // Mostly the clock goes on; now and then it is anywhere.
        let now = prop_oneof![4 => 0..200_u64, 1 => 10_000..1_000_000_u64];
        prop::collection::vec((now, step), 1..30)
    }

    proptest! {
        /// Holds each token against every invalidation that was committed after it. A sweep reaches
        /// none, and no other token is issued in the epoch that it ends.
        #[test]
        fn an_invalidation_up_to_now_reaches_what_was_stamped_after_now(steps in steps()) {
            let (mut right, mut from) = (1_000_u64, None::<TokensValidFrom>);
            let mut last = Timestamp::MIN;
            let mut tokens: Vec<(Timestamp, u32, bool, bool)> = Vec::new();
            for (pause, step) in steps {
                let is_ahead = pause >= 10_000;
                right += if is_ahead { 0 } else { pause };
                let now = at(if is_ahead { right + pause } else { right });
                match step {
                    Step::Issue => {
                        let invalidations = Invalidations { owner: from, ..Invalidations::default() };
                        let stamp = invalidations.stamp(now);
                        let epoch = invalidations.epochs().owner;
                        prop_assert!(from.is_none_or(|from| !from.supersedes(stamp, epoch)));
                        tokens.push((stamp, epoch, false, stamp > at(right)));
                    }
                    Step::Invalidate(ago) => {
                        let to = now.saturating_sub(Duration::from_secs(ago));
                        from = Some(TokensValidFrom::after(from, to, now));
                        // If the last one was made after `to`, what came since wasn't before it.
                        let is_newer = to > last || last > now;
                        let reaches_future = ago <= 60 && is_newer;
                        for (stamp, _, is_reached, _) in &mut tokens {
                            *is_reached |= *stamp < to || reaches_future && *stamp > now;
                        }
                        last = if reaches_future { now } else { last };
                    }
                    Step::Sweep => {
                        let before = from.unwrap_or_default();
                        let after = TokensValidFrom::after_sweep(from);
                        prop_assert!(after.invalidates_as(&before) && after.swept_since(&before));
                        prop_assert!(tokens.iter().all(|(_, epoch, ..)| *epoch < after.epoch));
                        from = Some(after);
                    }
                }
                for (stamp, epoch, is_reached, was_ahead) in &tokens {
                    let is_superseded = from.is_some_and(|from| from.supersedes(*stamp, *epoch));
                    // What was reached once stays so, and a token with a right stamp is reached by
                    // nothing but a later moment.
                    prop_assert!(is_superseded || !is_reached, "{stamp} {epoch} {from:?}");
                    prop_assert!(!is_superseded || *is_reached || *was_ahead, "{stamp} {from:?}");
                }
            }
        }
    }
}
