//! The stored form of every field, written once for all codecs.
//!
//! A record is a list of fields. A field is made of parts: numbers, words, texts and bytes. A codec
//! knows the parts alone: a [`Sink`] takes them, a [`Source`] gives them back. The types of fields
//! know their parts alone: [`Field`]. So a row of SQLite, the bytes in sled, a checksum and a list
//! of differences all follow from the one declaration of the record that [`record!`] holds.

use crate::clock::Timestamp;
use crate::id::{Generation, Incarnation, KeyId, NumericId, Version};
use crate::permission::Access;
use crate::text::StoredText;

/// Takes the parts of fields, in order.
pub(crate) trait Sink: Sized {
    /// The error of the codec.
    type Error;

    /// Whether a part has a place of its own even where its value is absent, as a column has.
    const HAS_PLACES: bool;

    /// Takes a number.
    fn number(&mut self, number: u64) -> Result<(), Self::Error>;

    /// Takes a value out of a short list: by its number, or by its word where people read along.
    fn word(&mut self, number: u8, word: &'static str) -> Result<(), Self::Error>;

    /// Takes a text.
    fn text(&mut self, text: &str) -> Result<(), Self::Error>;

    /// Takes bytes.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Takes a value that may be absent.
    fn option<T: Field>(&mut self, value: Option<&T>) -> Result<(), Self::Error>;

    /// Takes a list, unless the codec keeps lists elsewhere.
    fn list<T: Field>(&mut self, items: &[T]) -> Result<(), Self::Error>;

    /// Takes a whole field of a record.
    fn field<T: Field>(&mut self, _name: &'static str, value: &T) -> Result<(), Self::Error> {
        value.put(self)
    }
}

/// Gives the parts of fields back, in the order in which a [`Sink`] took them.
pub(crate) trait Source: Sized {
    /// The error of the codec.
    type Error;

    /// See [`Sink::HAS_PLACES`].
    const HAS_PLACES: bool;

    /// Returns whether all parts were given. A codec with places need not know.
    fn is_at_end(&self) -> bool {
        false
    }

    /// The error for a value that no sink took.
    fn damaged(&self, name: &'static str) -> Self::Error;

    /// Gives a number.
    fn number(&mut self, name: &'static str) -> Result<u64, Self::Error>;

    /// Gives the number of one of these words.
    fn word(&mut self, name: &'static str, words: &[(u8, &str)]) -> Result<u8, Self::Error>;

    /// Gives a text.
    fn text(&mut self, name: &'static str) -> Result<&str, Self::Error>;

    /// Gives bytes.
    fn bytes(&mut self, name: &'static str) -> Result<&[u8], Self::Error>;

    /// Gives a value that may be absent.
    fn option<T: Field>(&mut self, name: &'static str) -> Result<Option<T>, Self::Error>;

    /// Gives a list of at most `limit` items; none, where the codec keeps lists elsewhere.
    fn list<T: Field>(&mut self, name: &'static str, limit: usize) -> Result<Vec<T>, Self::Error>;

    /// Gives a value that is stored as a number.
    #[inline]
    fn number_as<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(u64) -> Option<T>,
    ) -> Result<T, Self::Error> {
        read(self.number(name)?).ok_or_else(|| self.damaged(name))
    }

    /// Gives a value that is stored as a text.
    #[inline]
    fn text_as<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Self::Error> {
        let value = read(self.text(name)?);
        value.ok_or_else(|| self.damaged(name))
    }

    /// Gives a value that is stored as bytes.
    #[inline]
    fn bytes_as<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, Self::Error> {
        let value = read(self.bytes(name)?);
        value.ok_or_else(|| self.damaged(name))
    }
}

/// A type that a field of a record can have.
pub(crate) trait Field: Sized {
    /// The number of its columns.
    const WIDTH: usize = 1;

    /// Adds the names of its columns, given the name of the field.
    fn columns(name: &str, columns: &mut Vec<String>) {
        columns.push(name.to_owned());
    }

    /// Hands its parts to a sink.
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error>;

    /// Makes a value of the parts in a source, and refuses what is outside the type's limits.
    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error>;
}

/// Declares a record, and everything that goes through all of its fields.
///
/// The fields are stored in the order of the declaration. The id is stored beside them: it is what
/// a backend finds the record by.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $record:ident {
            $(#[$id_meta:meta])*
            pub id: $id:ty,
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        pub struct $record {
            $(#[$id_meta])*
            pub id: $id,
            $($(#[$field_meta])* pub $field: $type,)*
        }

        // SQLite alone has columns, and reads the parts of records that the index needs by them.
        #[allow(dead_code)]
        impl $record {
            /// Hands every field but the id to a sink.
            pub(crate) fn put_fields<S: $crate::key::Sink>(
                &self,
                sink: &mut S,
            ) -> Result<(), S::Error> {
                $(sink.field(stringify!($field), &self.$field)?;)*
                Ok(())
            }

            /// Makes a record of its id and the fields in a source.
            pub(crate) fn get_fields<S: $crate::key::Source>(
                id: $id,
                source: &mut S,
            ) -> Result<Self, S::Error> {
                Ok(Self {
                    id,
                    $($field: <$type as $crate::key::Field>::get(stringify!($field), source)?,)*
                })
            }

            /// Lists the columns of every field but the id.
            pub(crate) fn columns() -> Vec<String> {
                let mut columns = Vec::new();
                $(<$type as $crate::key::Field>::columns(stringify!($field), &mut columns);)*
                columns
            }
        }
    };
}
pub(crate) use record;

/// Makes a type of few values a field: a number and a word for each.
macro_rules! words {
    ($type:ident { $($variant:ident = $number:literal, $word:literal;)* }) => {
        impl $type {
            /// All of them, in ascending order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the name, as it is stored and shown.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl $crate::key::Field for $type {
            #[inline]
            fn put<S: $crate::key::Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
                match self {
                    $(Self::$variant => sink.word($number, $word),)*
                }
            }

            #[inline]
            fn get<S: $crate::key::Source>(
                name: &'static str,
                source: &mut S,
            ) -> Result<Self, S::Error> {
                match source.word(name, &[$(($number, $word)),*])? {
                    $($number => Ok(Self::$variant),)*
                    _ => Err(source.damaged(name)),
                }
            }
        }
    };
}
pub(crate) use words;

/// Makes a type a field that is stored as a number.
macro_rules! numbers {
    ($($type:ty: $put:expr, $get:expr;)*) => {
        $(impl Field for $type {
            #[inline]
            fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
                let number: fn(&Self) -> u64 = $put;
                sink.number(number(self))
            }

            #[inline]
            fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
                source.number_as(name, $get)
            }
        })*
    };
}

numbers! {
    bool: |flag| u64::from(*flag), |number| match number {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    u16: |number| u64::from(*number), |number| u16::try_from(number).ok();
    u32: |number| u64::from(*number), |number| u32::try_from(number).ok();
    // A column of SQLite holds no greater one.
    u64: |number| *number, |number| i64::try_from(number).is_ok().then_some(number);
    Timestamp: |at| at.as_millis(), |number| Timestamp::from_millis(number).ok();
    Generation: |generation| u64::from(generation.get()), |number| {
        Generation::new(u32::try_from(number).ok()?).ok()
    };
    NumericId: |id| id.get(), |number| NumericId::new(number).ok();
    Incarnation: |incarnation| incarnation.get(), |number| Incarnation::new(number).ok();
    // After the greatest there is none, which a change of the record would need.
    Version: |version| version.get(), |number| (number < u64::MAX).then(|| Version::new(number));
}

/// The id of a record of which there is one, or that a backend finds by something else.
impl Field for () {
    const WIDTH: usize = 0;

    fn put<S: Sink>(&self, _: &mut S) -> Result<(), S::Error> {
        Ok(())
    }

    fn get<S: Source>(_: &'static str, _: &mut S) -> Result<Self, S::Error> {
        Ok(())
    }
}

impl<T: StoredText> Field for T {
    #[inline]
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.text(self.stored_text())
    }

    #[inline]
    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.text_as(name, Self::from_stored_text)
    }
}

impl Field for Access {
    #[inline]
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        match self.as_word() {
            Some(word) => sink.text(word),
            None => sink.text(&self.to_string()),
        }
    }

    #[inline]
    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.text_as(name, |text| text.parse().ok())
    }
}

impl Field for KeyId {
    #[inline]
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.to_bytes().put(sink)
    }

    #[inline]
    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Field::get(name, source).map(Self::from_bytes)
    }
}

impl<const LEN: usize> Field for [u8; LEN] {
    #[inline]
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.bytes(self)
    }

    #[inline]
    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.bytes_as(name, |bytes| bytes.try_into().ok())
    }
}

impl Field for Box<[u8]> {
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.bytes(self)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.bytes_as(name, |bytes| Some(bytes.into()))
    }
}

impl<T: Field> Field for Option<T> {
    const WIDTH: usize = T::WIDTH;

    fn columns(name: &str, columns: &mut Vec<String>) {
        T::columns(name, columns);
    }

    #[inline]
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.option(self.as_ref())
    }

    #[inline]
    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.option(name)
    }
}

/// The parts of fields as plain bytes, one after the other. No two lists of fields of the same
/// types give the same bytes. Checksums and comparisons are made of them.
#[derive(Debug, Default)]
pub(crate) struct PlainBytes(Vec<u8>);

/// The error of a sink that takes everything.
type Never = std::convert::Infallible;

impl PlainBytes {
    /// Bytes with some room.
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(256))
    }

    /// Adds a field.
    pub(crate) fn add<T: Field>(&mut self, value: &T) -> &mut Self {
        let Ok(()) = value.put(self);
        self
    }

    /// Adds every field that a record hands over.
    pub(crate) fn add_all(
        &mut self,
        put: impl FnOnce(&mut Self) -> Result<(), Never>,
    ) -> &mut Self {
        let Ok(()) = put(self);
        self
    }

    /// The bytes so far.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Begins again, with the room that there is.
    pub(crate) fn clear(&mut self) -> &mut Self {
        self.0.clear();
        self
    }
}

impl Sink for PlainBytes {
    type Error = Never;

    const HAS_PLACES: bool = false;

    /// Adds eight bytes, the most significant first.
    fn number(&mut self, number: u64) -> Result<(), Never> {
        self.0.extend(number.to_be_bytes());
        Ok(())
    }

    fn word(&mut self, number: u8, _: &'static str) -> Result<(), Never> {
        self.0.push(number);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Never> {
        self.bytes(text.as_bytes())
    }

    /// Adds the length and the bytes.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Never> {
        self.number(bytes.len() as u64)?;
        self.0.extend(bytes);
        Ok(())
    }

    /// Adds 0, or 1 and the value.
    fn option<T: Field>(&mut self, value: Option<&T>) -> Result<(), Never> {
        self.0.push(value.is_some().into());
        value.map_or(Ok(()), |value| value.put(self))
    }

    /// Adds how many there are, and each.
    fn list<T: Field>(&mut self, items: &[T]) -> Result<(), Never> {
        self.number(items.len() as u64)?;
        items.iter().try_for_each(|item| item.put(self))
    }
}
