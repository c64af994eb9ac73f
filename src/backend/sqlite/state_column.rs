//! The column `state` of a key: its state apart from time.

use crate::clock::Timestamp;
use crate::key::{State, ValidityInputs};

/// Finds the number under which a key's state is stored. A key that expires by time alone has the
/// number of an active one.
pub(super) const fn number(state: State, lapsed: bool) -> u8 {
    match state {
        State::Active | State::Expired if lapsed => LAPSED,
        State::Active | State::Expired => 0,
        State::Deactivated => 1,
        State::Blocked => 2,
        State::Revoked => 3,
    }
}

const LAPSED: u8 = 4;

/// Lists the numbers under which keys that are shown in a state are stored.
pub(super) fn numbers(state: State) -> impl Iterator<Item = u8> {
    let lapsed = (state == State::Expired).then_some(LAPSED);
    [number(state, false)].into_iter().chain(lapsed)
}

/// Derives the state at `now` from a stored number and an expiry; `None` for another number.
pub(super) fn state(number: u8, expires_at: Option<Timestamp>, now: Timestamp) -> Option<State> {
    match number {
        0 => Some(ValidityInputs { expires_at, ..ValidityInputs::default() }.state(now)),
        1 => Some(State::Deactivated),
        2 => Some(State::Blocked),
        3 => Some(State::Revoked),
        LAPSED => Some(State::Expired),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::effective_expiry;

    proptest! {
        /// The number and the expiry give the same state as all the switches do.
        #[test]
        fn the_number_stands_for_the_switches(
            switches in any::<[bool; 4]>(),
            expires_at in prop::option::of(0..10_u64),
            now in 0..10_u64,
        ) {
            let [revoked, blocked, deactivated, lapsed] = switches;
            let at = |millis| Timestamp::from_millis(millis).unwrap();
            let expires_at = expires_at.map(at);
            let judged_by = effective_expiry(expires_at, lapsed);
            let full = ValidityInputs { revoked, blocked, deactivated, expires_at: judged_by, ..ValidityInputs::default() };
            let stored = number(full.state(Timestamp::MIN), lapsed);
            let shown = full.state(at(now));
            prop_assert_eq!(state(stored, expires_at, at(now)), Some(shown));
            prop_assert!(numbers(shown).any(|number| number == stored));
        }
    }
}
