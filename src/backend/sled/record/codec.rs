//! The parts of fields as bytes: the encoding of postcard.

use serde::de::Deserialize;
use serde::ser::Serialize;

use crate::backend::sled::fault::Fault;
use crate::id::Version;
use crate::invalid::Invalid;
use crate::key::{Field, Sink, Source};

/// Bytes that grow by one field after the other.
#[derive(Default)]
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    /// Adds a field.
    pub(super) fn add<T: Field>(&mut self, value: &T) -> Result<&mut Self, Fault> {
        value.put(self)?;
        Ok(self)
    }

    /// The bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.0 = postcard::to_extend(value, std::mem::take(&mut self.0))?;
        Ok(())
    }
}

impl Sink for Encoder {
    type Error = Fault;

    const HAS_PLACES: bool = false;

    fn number(&mut self, number: u64) -> Result<(), Fault> {
        self.push(&number)
    }

    fn word(&mut self, number: u8, _: &'static str) -> Result<(), Fault> {
        self.push(&number)
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        self.push(text)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.push(bytes)
    }

    fn option<T: Field>(&mut self, value: Option<&T>) -> Result<(), Fault> {
        self.push(&value.is_some())?;
        value.map_or(Ok(()), |value| value.put(self))
    }

    fn list<T: Field>(&mut self, items: &[T]) -> Result<(), Fault> {
        self.push(&(items.len() as u64))?;
        items.iter().try_for_each(|item| item.put(self))
    }
}

/// Bytes that are read from the first to the last.
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Reads the next field.
    pub(super) fn next<T: Field>(&mut self) -> Result<T, Fault> {
        T::get("field", self)
    }

    /// Refuses bytes after the last field.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Fault::damaged("a record is longer than it should be")),
        }
    }

    /// Refuses the version after which there is none: a change of the record would need one.
    pub(super) fn expect_next(&self, version: Version) -> Result<(), Fault> {
        match version.get() {
            u64::MAX => Err(Fault::damaged("a record has a version after which there is none")),
            _ => Ok(()),
        }
    }

    fn take<T: Deserialize<'a>>(&mut self) -> Result<T, Fault> {
        let (value, rest) = postcard::take_from_bytes(self.0)?;
        self.0 = rest;
        Ok(value)
    }
}

impl Source for Decoder<'_> {
    type Error = Fault;

    const HAS_PLACES: bool = false;

    fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    fn damaged(&self, _: &'static str) -> Fault {
        Fault::damaged("a stored value is outside its limits")
    }

    fn number(&mut self, _: &'static str) -> Result<u64, Fault> {
        self.take()
    }

    fn word(&mut self, name: &'static str, words: &[(u8, &str)]) -> Result<u8, Fault> {
        let found = self.take()?;
        let is_known = words.iter().any(|(number, _)| *number == found);
        is_known.then_some(found).ok_or_else(|| self.damaged(name))
    }

    fn text(&mut self, _: &'static str) -> Result<&str, Fault> {
        self.take()
    }

    fn bytes(&mut self, _: &'static str) -> Result<&[u8], Fault> {
        self.take()
    }

    fn option<T: Field>(&mut self, name: &'static str) -> Result<Option<T>, Fault> {
        if self.take()? { T::get(name, self).map(Some) } else { Ok(None) }
    }

    fn list<T: Field>(&mut self, name: &'static str, limit: usize) -> Result<Vec<T>, Fault> {
        let len: u64 = self.take()?;
        if len > limit as u64 {
            return Err(Fault::damaged("a list in a record is too long"));
        }
        (0..len).map(|_| T::get(name, self)).collect()
    }
}

impl From<postcard::Error> for Fault {
    fn from(_: postcard::Error) -> Self {
        Self::damaged("a record does not decode")
    }
}

impl From<Invalid> for Fault {
    fn from(_: Invalid) -> Self {
        Self::damaged("a stored value is outside its limits")
    }
}
