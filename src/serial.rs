//! Values as texts, numbers and words: `FromStr`, `TryFrom` and serde, each in one place.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserializer;
use serde::de::{Error, Visitor};

use crate::invalid::{Invalid, Problem};

/// Serializes types as the text of `Display`, and deserializes them with `FromStr`.
macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::serial::parse(deserializer)
            }
        }
    )*};
}
pub(crate) use as_text;

/// Gives an enum with `name` and `ALL` the traits of its names, in which case counts.
macro_rules! as_word {
    ($type:ty, $field:literal, $expected:literal) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::invalid::Invalid;

            fn from_str(text: &str) -> Result<Self, $crate::invalid::Invalid> {
                let found = Self::ALL.iter().copied().find(|value| value.name() == text);
                let problem = $crate::invalid::Problem::Malformed { expected: $expected };
                found.ok_or_else(|| $crate::invalid::Invalid::new($field, problem))
            }
        }

        $crate::serial::as_text!($type);
    };
}
pub(crate) use as_word;

/// Gives a number from outside, checked by `$new`, the traits of its integers and of decimal text.
macro_rules! as_number {
    ($type:ident, $integer:ty, $field:literal, $new:expr) => {
        impl TryFrom<$integer> for $type {
            type Error = $crate::invalid::Invalid;

            fn try_from(number: $integer) -> Result<Self, $crate::invalid::Invalid> {
                $new(number)
            }
        }

        impl TryFrom<i64> for $type {
            type Error = $crate::invalid::Invalid;

            /// Converts a number of a database that has signed ones alone.
            fn try_from(number: i64) -> Result<Self, $crate::invalid::Invalid> {
                let number = <$integer>::try_from(number);
                number.map_err(|_| $crate::serial::not_a_number($field)).and_then($new)
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::invalid::Invalid;

            /// Parses decimal digits alone.
            fn from_str(text: &str) -> Result<Self, $crate::invalid::Invalid> {
                $crate::serial::decimal($field, text).and_then($new)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = <$integer as serde::Deserialize>::deserialize(deserializer)?;
                $new(number).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use as_number;

/// Deserializes a type of which another, with checks of its own, is made by `TryFrom`.
macro_rules! by_parts {
    ($type:ty, $parts:ty) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let parts = <$parts as serde::Deserialize>::deserialize(deserializer)?;
                Self::try_from(parts).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use by_parts;

/// Deserializes a text and parses it.
pub(crate) fn parse<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = Invalid>,
{
    deserializer.deserialize_str(Text(PhantomData))
}

/// Parses decimal digits, which a sign or a space aren't.
pub(crate) fn decimal<T: FromStr>(field: &'static str, text: &str) -> Result<T, Invalid> {
    let has_digits_alone = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| has_digits_alone);
    number.ok_or_else(|| not_a_number(field))
}

pub(crate) fn not_a_number(field: &'static str) -> Invalid {
    Invalid::new(field, Problem::Malformed { expected: "a decimal number that isn't negative" })
}

struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err = Invalid>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}
