//! What of a key was told already by events that no call makes.

use crate::clock::Timestamp;
use crate::id::Generation;

/// Something to be told of a key once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiding {
    /// It has expired, at this moment.
    Expired(Timestamp),
    /// It is a trial that expires at this moment.
    TrialEnding(Timestamp),
    /// Its token of this generation is old.
    TokenOld(Generation),
    /// It wasn't used since this moment.
    Unused(Timestamp),
    /// The earlier token of this generation is still in use.
    EarlierTokenUsed(Generation),
    /// It is refused often; not told again before this moment.
    Refused {
        /// When it was noticed.
        at: Timestamp,
        /// Until when that was all that there is to tell.
        until: Timestamp,
    },
}

/// Up to what each tiding of a key was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The expiry whose coming was told.
    pub expired: Option<Timestamp>,
    /// The expiry whose nearness was told.
    pub trial_ending: Option<Timestamp>,
    /// The newest token whose age was told.
    pub token_old: Option<Generation>,
    /// Since when it was unused when that was told.
    pub unused: Option<Timestamp>,
    /// The newest earlier token whose use was told.
    pub earlier_token_used: Option<Generation>,
    /// Until when refusals aren't told again.
    pub refused: Option<Timestamp>,
}

impl Told {
    /// Notes that a tiding is told; `false` if it was before.
    #[must_use]
    pub fn note(&mut self, tiding: Tiding) -> bool {
        let before = *self;
        match tiding {
            Tiding::Expired(at) => self.expired = Some(at),
            Tiding::TrialEnding(at) => self.trial_ending = Some(at),
            Tiding::TokenOld(generation) => self.token_old = self.token_old.max(Some(generation)),
            Tiding::Unused(since) => self.unused = Some(since),
            Tiding::EarlierTokenUsed(generation) => {
                self.earlier_token_used = self.earlier_token_used.max(Some(generation));
            }
            Tiding::Refused { at, until } => {
                if self.refused.is_none_or(|told| told <= at) {
                    self.refused = Some(until);
                }
            }
        }
        *self != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once() {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let generation = |number| Generation::new(number).unwrap();
        let mut told = Told::default();
        for (tiding, is_new) in [
            (Tiding::Expired(at(1)), true),
            (Tiding::Expired(at(1)), false),
            (Tiding::TrialEnding(at(1)), true),
            (Tiding::Expired(at(2)), true),
            (Tiding::Unused(at(2)), true),
            (Tiding::Unused(at(2)), false),
            (Tiding::Unused(at(3)), true),
            (Tiding::TokenOld(generation(2)), true),
            (Tiding::TokenOld(generation(1)), false),
            (Tiding::TokenOld(generation(3)), true),
            (Tiding::EarlierTokenUsed(generation(3)), true),
            (Tiding::EarlierTokenUsed(generation(3)), false),
            (Tiding::Refused { at: at(5), until: at(10) }, true),
            (Tiding::Refused { at: at(9), until: at(14) }, false),
            (Tiding::Refused { at: at(10), until: at(15) }, true),
        ] {
            assert_eq!(told.note(tiding), is_new, "{tiding:?}");
        }
    }
}
