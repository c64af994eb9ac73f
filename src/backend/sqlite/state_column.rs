//! The column `state` of a key: its state apart from time.

use crate::clock::Timestamp;
use crate::key::{State, ValidityInputs};

/// Finds the number under which a state is stored. An expired key has that of an active one.
pub(super) const fn number(state: State) -> u8 {
    match state {
        State::Active | State::Expired => 0,
        State::Deactivated => 1,
        State::Blocked => 2,
        State::Revoked => 3,
    }
}

/// Derives the state at `now` from a stored number and an expiry; `None` for another number.
pub(super) fn state(number: u8, expires_at: Option<Timestamp>, now: Timestamp) -> Option<State> {
    match number {
        0 => Some(ValidityInputs { expires_at, ..ValidityInputs::default() }.state(now)),
        1 => Some(State::Deactivated),
        2 => Some(State::Blocked),
        3 => Some(State::Revoked),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The number and the expiry give the same state as all the switches do.
        #[test]
        fn the_number_stands_for_the_switches(
            switches in any::<[bool; 3]>(),
            expires_at in prop::option::of(0..10_u64),
            now in 0..10_u64,
        ) {
            let [revoked, blocked, deactivated] = switches;
            let at = |millis| Timestamp::from_millis(millis).unwrap();
            let expires_at = expires_at.map(at);
            let full = ValidityInputs { revoked, blocked, deactivated, expires_at, ..ValidityInputs::default() };
            let stored = number(full.state(Timestamp::MIN));
            prop_assert_eq!(state(stored, expires_at, at(now)), Some(full.state(at(now))));
        }
    }
}
