//! The state of a key, as it follows from switches and time.

use super::RejectReason;
use crate::clock::Timestamp;
use crate::serial::as_word;

/// The state shown of a key: the first that holds, in this order: revoked, blocked, deactivated,
/// expired, active. It is derived, never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Its tokens are accepted, unless its owner is suspended.
    Active,
    /// Its expiry has come.
    Expired,
    /// Switched off by its owner.
    Deactivated,
    /// Switched off by an administrator.
    Blocked,
    /// Ended for ever.
    Revoked,
}

impl State {
    /// All states, in ascending order of precedence.
    pub const ALL: [Self; 5] =
        [Self::Active, Self::Expired, Self::Deactivated, Self::Blocked, Self::Revoked];

    /// Returns the name, such as `active`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Deactivated => "deactivated",
            Self::Blocked => "blocked",
            Self::Revoked => "revoked",
        }
    }
}

as_word!(State, "state", "`active`, `expired`, `deactivated`, `blocked` or `revoked`");

/// All that decides on a token whose secret was right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValidityInputs {
    /// Whether an administrator has suspended the owner.
    pub suspended: bool,
    /// Whether the key is revoked, which is final.
    pub revoked: bool,
    /// Whether an administrator has blocked the key.
    pub blocked: bool,
    /// Whether the owner has deactivated the key.
    pub deactivated: bool,
    /// When the key expires.
    pub expires_at: Option<Timestamp>,
    /// When this one token ends; `None` for a current token.
    pub ends_at: Option<Timestamp>,
}

impl ValidityInputs {
    /// The state shown at `now`; owner and token don't enter into it.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        if self.revoked {
            State::Revoked
        } else if self.blocked {
            State::Blocked
        } else if self.deactivated {
            State::Deactivated
        } else if self.expires_at.is_some_and(|at| now >= at) {
            State::Expired
        } else {
            State::Active
        }
    }

    /// Why a token is not accepted at `now`; `None` if it is.
    #[must_use]
    #[inline]
    pub fn rejected_for(&self, now: Timestamp) -> Option<RejectReason> {
        if self.suspended {
            return Some(RejectReason::Suspended);
        }
        match self.state(now) {
            State::Revoked => Some(RejectReason::Revoked),
            State::Blocked => Some(RejectReason::Blocked),
            State::Deactivated => Some(RejectReason::Deactivated),
            State::Expired => Some(RejectReason::Expired),
            State::Active => {
                self.ends_at.is_some_and(|at| now >= at).then_some(RejectReason::Superseded)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn standings() -> impl Strategy<Value = ValidityInputs> {
        let time = || prop::option::of((0..10_u64).prop_map(at));
        (any::<[bool; 4]>(), time(), time()).prop_map(|(switches, expires_at, ends_at)| {
            let [suspended, revoked, blocked, deactivated] = switches;
            ValidityInputs { suspended, revoked, blocked, deactivated, expires_at, ends_at }
        })
    }

    #[test]
    fn the_first_that_holds_is_shown() {
        let mut standing = ValidityInputs { expires_at: Some(at(5)), ..ValidityInputs::default() };
        assert_eq!((standing.state(at(4)), standing.state(at(5))), (State::Active, State::Expired));
        standing.deactivated = true;
        assert_eq!(standing.state(at(5)), State::Deactivated);
        standing.blocked = true;
        assert_eq!(standing.state(at(5)), State::Blocked);
        standing.revoked = true;
        assert_eq!(standing.state(at(5)), State::Revoked);
        assert_eq!(standing.rejected_for(at(5)), Some(RejectReason::Revoked));
        standing.suspended = true;
        assert_eq!(standing.rejected_for(at(5)), Some(RejectReason::Suspended));
    }

    proptest! {
        #[test]
        fn accepted_exactly_when_nothing_stands_against_it(s in standings(), now in (0..10_u64).prop_map(at)) {
            let ended = |end: Option<Timestamp>| end.is_some_and(|end| end <= now);
            let against = [s.suspended, s.revoked, s.blocked, s.deactivated, ended(s.expires_at), ended(s.ends_at)];
            let reasons = [RejectReason::Suspended, RejectReason::Revoked, RejectReason::Blocked, RejectReason::Deactivated, RejectReason::Expired, RejectReason::Superseded];
            let expected = against.iter().position(|holds| *holds).map(|first| reasons[first]);
            prop_assert_eq!(s.rejected_for(now), expected);
        }

        #[test]
        fn time_alone_never_revives(s in standings(), now in 0..10_u64, later in 0..10_u64) {
            if s.rejected_for(at(now)).is_some() {
                prop_assert!(s.rejected_for(at(now + later)).is_some());
            }
        }

        #[test]
        fn lifting_a_block_gives_back_the_owners_setting(s in standings(), now in (0..10_u64).prop_map(at)) {
            let unblocked = ValidityInputs { blocked: false, ..s };
            let blocked = ValidityInputs { blocked: true, ..s };
            prop_assert_eq!(ValidityInputs { blocked: false, ..blocked }.state(now), unblocked.state(now));
        }
    }
}
