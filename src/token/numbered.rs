//! The rule of secrets that a service gives under numbers: peppers and recovery keys.

use crate::invalid::{Invalid, Problem};
use crate::secret::Secret;

/// Checks a secret that is added to those given before: it isn't all zeros, as memory is that the
/// service forgot to fill, and neither its number nor its bytes were given before. Under two
/// numbers, a secret that was to be replaced would stay in use.
///
/// # Errors
/// [`Invalid`] with the field and the number; it shows no byte.
pub(super) fn check_added<'a>(
    field: &'static str,
    before: impl IntoIterator<Item = (u16, &'a Secret<32>)>,
    number: u16,
    secret: &Secret<32>,
) -> Result<(), Invalid> {
    if *secret.expose() == [0; 32] {
        return Err(Invalid::new(field, Problem::Malformed { expected: NOT_ZEROS }));
    }
    for (other, known) in before {
        if other == number {
            return Err(Invalid::new(field, Problem::Duplicate { name: number.to_string() }));
        }
        if known.expose() == secret.expose() {
            return Err(Invalid::new(field, Problem::SameSecret { numbers: [other, number] }));
        }
    }
    Ok(())
}

/// A given secret that isn't what the database knows it as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The database knows another secret under its number.
    Wrong { number: u16 },
    /// The database knows the secret under another number.
    KnownAs { number: u16, known_as: u16 },
}

/// Compares given secrets with the check values that the database knows, by `check`, which computes
/// that of a secret under a number.
pub(super) fn mismatch<'a, I>(
    given: I,
    known: &[(u16, [u8; 16])],
    check: impl Fn(&Secret<32>, u16) -> [u8; 16],
) -> Option<Mismatch>
where
    I: Iterator<Item = (u16, &'a Secret<32>)> + Clone,
{
    let is_known_as = |secret, number, value| check(secret, number) == value;
    let wrong = given.clone().find_map(|(number, secret)| {
        let (_, value) = known.iter().find(|(other, _)| *other == number)?;
        (!is_known_as(secret, number, *value)).then_some(Mismatch::Wrong { number })
    });
    wrong.or_else(|| {
        let mut given = given;
        given.find_map(|(number, secret)| {
            let mut others = known.iter().filter(|(other, _)| *other != number);
            let (known_as, _) =
                others.find(|(other, value)| is_known_as(secret, *other, *value))?;
            Some(Mismatch::KnownAs { number, known_as: *known_as })
        })
    })
}

const NOT_ZEROS: &str = "32 bytes from a cryptographic generator, and not all of them 0";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The law: a row of secrets is taken if its numbers differ, its secrets differ, and none
        /// is all zeros.
        #[test]
        fn a_row_is_taken_if_numbers_and_secrets_are_single(
            row in prop::collection::vec((1..5_u16, 0..5_u8), 0..4),
        ) {
            let mut taken: Vec<(u16, Secret<32>)> = Vec::new();
            let all = row.iter().all(|(number, byte)| {
                let secret = Secret::new([*byte; 32]);
                let before = taken.iter().map(|(number, secret)| (*number, secret));
                let is_taken = check_added("pepper", before, *number, &secret).is_ok();
                taken.push((*number, secret));
                is_taken
            });
            let single = |of: &dyn Fn(&(u16, u8)) -> u16| {
                let set: std::collections::BTreeSet<u16> = row.iter().map(of).collect();
                set.len() == row.len()
            };
            let expected = single(&|row| row.0)
                && single(&|row| row.1.into())
                && row.iter().all(|(_, byte)| *byte != 0);
            prop_assert_eq!(all, expected);
        }
    }
}
