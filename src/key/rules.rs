//! The record of the store, and the rules that it holds.

use std::fmt;

use super::{
    Field, Lifetime, PepperCheck, PepperNumber, Prefix, PrefixNumber, RecoveryKeyCheck, Sink,
    Source, TokensValidFrom, bytes,
};
use crate::id::Version;
use crate::invalid::{Invalid, Problem};

/// The rules of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreRules {
    /// Whether names are unique among an owner's live keys: neither revoked nor lapsed.
    pub unique_names: bool,
    /// Whether every owner keeps at least one live standard key.
    pub keep_standard_key: bool,
    /// Whether tokens may be recoverable, so that they can be revealed.
    pub recoverable_tokens: bool,
    /// The lifetime of keys. The data that are there needn't satisfy it: it bounds what is set later.
    pub lifetime: Lifetime,
}

impl fmt::Display for StoreRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unique_names, keep_standard_key, recoverable_tokens, lifetime } = self;
        write!(
            f,
            "unique_names={unique_names} keep_standard_key={keep_standard_key} \
             recoverable_tokens={recoverable_tokens} lifetime={lifetime}"
        )
    }
}

/// A prefix with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberedPrefix {
    /// Its number, for ever.
    pub number: PrefixNumber,
    /// The text.
    pub prefix: Prefix,
    /// Whether tokens that begin with it are accepted.
    pub accepted: bool,
}

/// The prefixes that a store has ever accepted, numbered from 0; at most 8 of them accepted now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixTable(Vec<NumberedPrefix>);

impl PrefixTable {
    /// The number of prefixes that are accepted at once.
    pub const MAX_ACCEPTED: usize = 8;

    /// A table as it was stored.
    ///
    /// # Errors
    /// [`Invalid`] unless the numbers run from 0, each prefix stands once, and at most 8 are
    /// accepted.
    pub fn from_entries(entries: Vec<NumberedPrefix>) -> Result<Self, Invalid> {
        let malformed = Problem::Malformed { expected: "numbered from 0, each prefix once" };
        let in_order = entries.iter().zip(0..).all(|(entry, n)| entry.number.get() == n);
        let repeated = entries
            .iter()
            .enumerate()
            .any(|(i, entry)| entries[..i].iter().any(|other| other.prefix == entry.prefix));
        if !in_order || repeated {
            return Err(Invalid::new("prefixes", malformed));
        }
        let given = entries.iter().filter(|entry| entry.accepted).count();
        if given > Self::MAX_ACCEPTED {
            let limit = Self::MAX_ACCEPTED;
            return Err(Invalid::new("prefixes", Problem::TooMany { given, limit }));
        }
        Ok(Self(entries))
    }

    /// This table with exactly these accepted: known ones keep their number, new ones get the
    /// next.
    ///
    /// # Errors
    /// [`Invalid`] for none, more than 8, a repeated one, or when the 64 numbers are used up.
    pub fn accepting(&self, prefixes: &[Prefix]) -> Result<Self, Invalid> {
        if prefixes.is_empty() {
            return Err(Invalid::new("prefixes", Problem::Empty));
        }
        if prefixes.len() > Self::MAX_ACCEPTED {
            let (given, limit) = (prefixes.len(), Self::MAX_ACCEPTED);
            return Err(Invalid::new("prefixes", Problem::TooMany { given, limit }));
        }
        let mut entries = self.0.clone();
        for entry in &mut entries {
            entry.accepted = false;
        }
        for prefix in prefixes {
            match entries.iter_mut().find(|entry| entry.prefix == *prefix) {
                Some(entry) if entry.accepted => {
                    let name = prefix.to_string();
                    return Err(Invalid::new("prefixes", Problem::Duplicate { name }));
                }
                Some(entry) => entry.accepted = true,
                None => {
                    let next = u8::try_from(entries.len()).unwrap_or(u8::MAX);
                    let number = PrefixNumber::new(next)?;
                    entries.push(NumberedPrefix { number, prefix: *prefix, accepted: true });
                }
            }
        }
        Ok(Self(entries))
    }

    /// All prefixes by number, those no longer accepted too.
    #[must_use]
    pub fn entries(&self) -> &[NumberedPrefix] {
        &self.0
    }

    /// Those that are accepted.
    pub fn accepted(&self) -> impl Iterator<Item = &NumberedPrefix> {
        self.0.iter().filter(|entry| entry.accepted)
    }

    /// The prefix of a number.
    #[must_use]
    pub fn prefix(&self, number: PrefixNumber) -> Option<Prefix> {
        self.0.get(usize::from(number.get())).map(|entry| entry.prefix)
    }

    /// The number of an accepted prefix.
    #[must_use]
    pub fn number(&self, prefix: &Prefix) -> Option<PrefixNumber> {
        self.accepted().find(|entry| entry.prefix == *prefix).map(|entry| entry.number)
    }
}

/// The record of the store itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreMetadata {
    /// Grows by one with each change.
    pub version: Version,
    /// The rules.
    pub rules: StoreRules,
    /// The prefixes.
    pub prefixes: PrefixTable,
    /// A check value of each pepper that was ever open, by number.
    pub peppers: Vec<PepperCheck>,
    /// A check value of each recovery key that was ever open, by number.
    pub recovery_keys: Vec<RecoveryKeyCheck>,
    /// The invalidation of tokens of all keys.
    pub tokens_valid_from: Option<TokensValidFrom>,
}

impl StoreMetadata {
    /// Returns the check values of the retired peppers.
    pub fn retired_peppers(&self) -> impl Iterator<Item = &PepperCheck> {
        self.peppers.iter().filter(|check| check.retired)
    }

    /// Returns whether a pepper is retired.
    #[must_use]
    pub fn is_retired(&self, pepper: PepperNumber) -> bool {
        self.retired_peppers().any(|check| check.number == pepper)
    }

    /// Returns whether it invalidates the same tokens as another one.
    #[must_use]
    pub fn invalidates_as(&self, other: &Self) -> bool {
        self.tokens_valid_from == other.tokens_valid_from
            && self.retired_peppers().eq(other.retired_peppers())
    }

    fn put_fields<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { version, rules, prefixes, peppers, recovery_keys, tokens_valid_from } = self;
        let StoreRules { unique_names, keep_standard_key, recoverable_tokens, lifetime } = rules;
        version.put(sink)?;
        unique_names.put(sink)?;
        keep_standard_key.put(sink)?;
        recoverable_tokens.put(sink)?;
        lifetime.put(sink)?;
        tokens_valid_from.put(sink)?;
        sink.number(prefixes.0.len() as u64)?;
        for NumberedPrefix { number: _, prefix, accepted } in &prefixes.0 {
            prefix.put(sink)?;
            accepted.put(sink)?;
        }
        sink.list(peppers)?;
        sink.list(recovery_keys)
    }

    fn get_fields<S: Source>((): (), source: &mut S) -> Result<Self, S::Error> {
        let version = Field::get("version", source)?;
        let rules = StoreRules {
            unique_names: Field::get("unique_names", source)?,
            keep_standard_key: Field::get("keep_standard_key", source)?,
            recoverable_tokens: Field::get("recoverable_tokens", source)?,
            lifetime: Field::get("lifetime", source)?,
        };
        let tokens_valid_from = Field::get("tokens_valid_from", source)?;
        let mut entries = Vec::new();
        // The place in the list is the number.
        for place in 0..source.number("prefixes")? {
            let number = u8::try_from(place).ok().and_then(|place| PrefixNumber::new(place).ok());
            let number = number.ok_or_else(|| source.damaged("prefixes"))?;
            let prefix = Field::get("prefixes", source)?;
            entries.push(NumberedPrefix {
                number,
                prefix,
                accepted: Field::get("prefixes", source)?,
            });
        }
        let prefixes =
            PrefixTable::from_entries(entries).map_err(|_| source.damaged("prefixes"))?;
        let peppers = source.list("peppers", MAX_CHECKS)?;
        let recovery_keys = source.list("recovery_keys", MAX_CHECKS)?;
        Ok(Self { version, rules, prefixes, peppers, recovery_keys, tokens_valid_from })
    }
}

/// The greatest number of check values: one for each number that a secret can have.
const MAX_CHECKS: usize = 1 << 16;

bytes!(StoreMetadata, "store", (), |_store| &());

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| Prefix::new(text).unwrap()).collect()
    }

    #[test]
    fn a_prefix_keeps_its_number_for_ever() {
        let table = PrefixTable::default().accepting(&prefixes(&["a", "b"])).unwrap();
        let table = table.accepting(&prefixes(&["c", "b"])).unwrap();
        let b = Prefix::new("b").unwrap();
        assert_eq!(table.number(&b).unwrap().get(), 1);
        assert_eq!(table.number(&Prefix::new("a").unwrap()), None);
        let table = table.accepting(&prefixes(&["a"])).unwrap();
        assert_eq!(table.number(&Prefix::new("a").unwrap()).unwrap().get(), 0);
        assert_eq!(table.number(&b), None);
        assert_eq!(PrefixTable::from_entries(table.entries().to_vec()).unwrap(), table);
    }

    #[test]
    fn refused_tables() {
        let table = PrefixTable::default();
        assert!(table.accepting(&[]).is_err());
        assert!(table.accepting(&prefixes(&["a", "a"])).is_err());
        let many = |n: u8| -> Vec<Prefix> {
            (0..n).map(|i| Prefix::new(format!("p{i}")).unwrap()).collect()
        };
        assert!(table.accepting(&many(8)).is_ok());
        assert!(table.accepting(&many(9)).is_err());
        let full =
            (0..64).try_fold(table.clone(), |t, i| t.accepting(&prefixes(&[&format!("q{i}")])));
        assert!(full.unwrap().accepting(&prefixes(&["one_more"])).is_err());
        let entry = |n, text| NumberedPrefix {
            number: PrefixNumber::new(n).unwrap(),
            prefix: Prefix::new(text).unwrap(),
            accepted: true,
        };
        assert!(PrefixTable::from_entries(vec![entry(1, "a")]).is_err());
        assert!(PrefixTable::from_entries(vec![entry(0, "a"), entry(1, "a")]).is_err());
    }
}
