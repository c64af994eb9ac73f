//! Records as bytes, for backends that store a record as one piece.
//!
//! [`Encoder`] and [`Decoder`] are a codec of fields: a number is little-endian of base 128, a word
//! its number in one byte, a text or bytes their length and themselves, an option 0, or 1 and the
//! value, a list its length and its members. A value has one form alone.
//!
//! [`framed`] bytes stand for themselves: a version, a checksum, and the length of the rest.

use std::convert::Infallible;

use super::{Field, Sink, Source};

/// The version of the bytes that are written, and the greatest that is read. A later one comes
/// beside it: this one stays readable.
const VERSION: u8 = 1;
/// The length of the checksum.
const CHECKSUM_LEN: usize = 4;

/// The reason why bytes are not those of a record. It shows nothing of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A version of the bytes that this version of the library doesn't know.
    #[error("the bytes have version {found}; the greatest known version is {greatest}")]
    UnknownVersion {
        /// The version of the bytes.
        found: u8,
        /// The greatest version that is read; the least is 1.
        greatest: u8,
    },
    /// The bytes end before the record does.
    #[error("the bytes end before the record does")]
    Truncated,
    /// The bytes go on after the record.
    #[error("the bytes go on after the record, {extra} too many")]
    Trailing {
        /// The number of bytes that are too many.
        extra: usize,
    },
    /// The checksum is another one: the bytes were changed, or are of another type of record.
    #[error("the bytes are not what their checksum says")]
    Checksum,
    /// The field of this name is outside the limits of its type, or cut off.
    #[error("field `{0}` is damaged")]
    Field(&'static str),
}

impl RecordError {
    /// Returns the name of the part that is wrong, for [`Damage::column`].
    ///
    /// [`Damage::column`]: crate::backend::Damage::column
    #[must_use]
    pub const fn column(self) -> &'static str {
        match self {
            Self::UnknownVersion { .. } => "version",
            Self::Truncated | Self::Trailing { .. } => "length",
            Self::Checksum => "checksum",
            Self::Field(name) => name,
        }
    }
}

/// A record that is stored as bytes.
pub(crate) trait Stored: Sized {
    /// The type of what a backend finds it by. It isn't among its fields.
    type Id: Field;
    /// The name of the type. The checksum covers it.
    const KIND: &'static str;

    /// Returns what a backend finds it by.
    fn id(&self) -> &Self::Id;

    /// Hands every field but the id to a sink.
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error>;

    /// Makes a record of its id and the fields in a source.
    fn get<S: Source>(id: Self::Id, source: &mut S) -> Result<Self, S::Error>;
}

/// Gives a record that is [`Stored`] its public bytes.
macro_rules! bytes {
    ($record:ty, $kind:literal, $id:ty, |$this:ident| $by:expr) => {
        impl $crate::key::Stored for $record {
            type Id = $id;
            const KIND: &'static str = $kind;

            fn id(&self) -> &$id {
                let $this = self;
                $by
            }

            fn put<S: $crate::key::Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
                self.put_fields(sink)
            }

            fn get<S: $crate::key::Source>(id: $id, source: &mut S) -> Result<Self, S::Error> {
                Self::get_fields(id, source)
            }
        }

        impl $record {
            /// Returns the bytes to store it as: a version, a checksum, and everything in it.
            ///
            /// One record has one form. A later version of the library reads it too.
            #[must_use]
            pub fn to_bytes(&self) -> Vec<u8> {
                $crate::key::framed(self)
            }

            /// Reads what [`to_bytes`](Self::to_bytes) of this or an earlier version wrote.
            ///
            /// # Errors
            /// [`RecordError`](crate::key::RecordError) for other bytes: an unknown version, bytes
            /// that are cut off or go on, that were changed, or that hold a value outside the
            /// limits of its type.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, $crate::key::RecordError> {
                $crate::key::unframed(bytes)
            }
        }
    };
}
pub(crate) use bytes;

/// Puts a record into bytes that stand for themselves.
pub(crate) fn framed<R: Stored>(record: &R) -> Vec<u8> {
    let body = Encoder::of(|encoder| {
        record.id().put(encoder)?;
        record.put(encoder)
    });
    let mut bytes = Vec::with_capacity(1 + CHECKSUM_LEN + 3 + body.len());
    bytes.push(VERSION);
    bytes.extend(checksum(R::KIND, &body));
    let mut encoder = Encoder(bytes);
    let Ok(()) = encoder.bytes(&body);
    encoder.0
}

/// Reads a record, and nothing but a record.
pub(crate) fn unframed<R: Stored>(bytes: &[u8]) -> Result<R, RecordError> {
    let mut decoder = checked::<R>(bytes)?;
    let record = R::get(decoder.next("id")?, &mut decoder)?;
    decoder.finish()?;
    Ok(record)
}

/// Returns a decoder of a record, its id first.
pub(crate) fn checked<R: Stored>(bytes: &[u8]) -> Result<Decoder<'_>, RecordError> {
    let (written, body) = opened(bytes)?;
    let is_whole = written == checksum(R::KIND, body);
    is_whole.then_some(Decoder(body)).ok_or(RecordError::Checksum)
}

/// The same whatever the checksum says, to look for what can be read of a damaged record.
pub(crate) fn unchecked(bytes: &[u8]) -> Result<Decoder<'_>, RecordError> {
    opened(bytes).map(|(_, body)| Decoder(body))
}

/// Splits bytes into the checksum and what it is of.
fn opened(bytes: &[u8]) -> Result<([u8; CHECKSUM_LEN], &[u8]), RecordError> {
    let (version, rest) = bytes.split_first().ok_or(RecordError::Truncated)?;
    if *version != VERSION {
        return Err(RecordError::UnknownVersion { found: *version, greatest: VERSION });
    }
    let (checksum, rest) = rest.split_first_chunk().ok_or(RecordError::Truncated)?;
    let mut rest = Decoder::new(rest);
    let len = rest.number("length").map_err(|_| RecordError::Truncated)?;
    let len = usize::try_from(len).map_err(|_| RecordError::Truncated)?;
    match rest.0.split_at_checked(len).ok_or(RecordError::Truncated)? {
        (body, []) => Ok((*checksum, body)),
        (_, extra) => Err(RecordError::Trailing { extra: extra.len() }),
    }
}

/// Computes a CRC-32 of the kind of a record and its bytes. It shows damage, not deceit.
fn checksum(kind: &str, body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(kind.as_bytes());
    // No kind has this byte, so that no two pairs of kind and bytes are the same.
    hasher.update(&[0]);
    hasher.update(body);
    hasher.finalize().to_be_bytes()
}

/// Bytes that grow by one field after the other.
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    /// Returns the bytes of what is put into an encoder.
    pub(crate) fn of(put: impl FnOnce(&mut Self) -> Result<(), Infallible>) -> Vec<u8> {
        let mut encoder = Self(Vec::with_capacity(256));
        let Ok(()) = put(&mut encoder);
        encoder.0
    }
}

impl Sink for Encoder {
    type Error = Infallible;

    const HAS_PLACES: bool = false;

    /// Adds seven bits a byte, the least significant first; each byte but the last has its high bit.
    fn number(&mut self, mut number: u64) -> Result<(), Infallible> {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
        Ok(())
    }

    fn word(&mut self, number: u8, _: &'static str) -> Result<(), Infallible> {
        self.0.push(number);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Infallible> {
        self.bytes(text.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.number(bytes.len() as u64)?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn option<T: Field>(&mut self, value: Option<&T>) -> Result<(), Infallible> {
        self.0.push(value.is_some().into());
        value.map_or(Ok(()), |value| value.put(self))
    }

    fn list<T: Field>(&mut self, items: &[T]) -> Result<(), Infallible> {
        self.number(items.len() as u64)?;
        items.iter().try_for_each(|item| item.put(self))
    }
}

/// Bytes that are read from the first to the last.
pub(crate) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Reads the next field.
    pub(crate) fn next<T: Field>(&mut self, name: &'static str) -> Result<T, RecordError> {
        T::get(name, self)
    }

    /// Refuses bytes after the last field.
    pub(crate) fn finish(&self) -> Result<(), RecordError> {
        match self.0.len() {
            0 => Ok(()),
            extra => Err(RecordError::Trailing { extra }),
        }
    }

    fn byte(&mut self, name: &'static str) -> Result<u8, RecordError> {
        let (byte, rest) = self.0.split_first().ok_or(RecordError::Field(name))?;
        self.0 = rest;
        Ok(*byte)
    }
}

impl Source for Decoder<'_> {
    type Error = RecordError;

    const HAS_PLACES: bool = false;

    fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    fn damaged(&self, name: &'static str) -> RecordError {
        RecordError::Field(name)
    }

    /// Refuses more than 64 bits, and zeros at the end that the encoder doesn't write.
    fn number(&mut self, name: &'static str) -> Result<u64, RecordError> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte(name)?;
            let part = u64::from(byte & 0x7f);
            number |= part << shift;
            if byte < 0x80 {
                let is_only_form = number >> shift == part && (part > 0 || shift == 0);
                return is_only_form.then_some(number).ok_or(RecordError::Field(name));
            }
        }
        Err(RecordError::Field(name))
    }

    fn word(&mut self, name: &'static str, words: &[(u8, &str)]) -> Result<u8, RecordError> {
        let found = self.byte(name)?;
        let is_known = words.iter().any(|(number, _)| *number == found);
        is_known.then_some(found).ok_or(RecordError::Field(name))
    }

    fn text(&mut self, name: &'static str) -> Result<&str, RecordError> {
        std::str::from_utf8(self.bytes(name)?).map_err(|_| RecordError::Field(name))
    }

    fn bytes(&mut self, name: &'static str) -> Result<&[u8], RecordError> {
        let len = usize::try_from(self.number(name)?).map_err(|_| RecordError::Field(name))?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(RecordError::Field(name))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn option<T: Field>(&mut self, name: &'static str) -> Result<Option<T>, RecordError> {
        match self.byte(name)? {
            0 => Ok(None),
            1 => T::get(name, self).map(Some),
            _ => Err(RecordError::Field(name)),
        }
    }

    fn list<T: Field>(&mut self, name: &'static str, limit: usize) -> Result<Vec<T>, RecordError> {
        let len = self.number(name)?;
        if len > limit as u64 {
            return Err(RecordError::Field(name));
        }
        (0..len).map(|_| T::get(name, self)).collect()
    }
}
