//! The record of a request that takes effect once.

use std::fmt;
use std::time::Duration;

use super::{Field, Sink, Source, bytes, record};
use crate::clock::Timestamp;
use crate::id::{Generation, KeyId, OwnerId};
use crate::invalid::{Invalid, Problem};
use crate::text::StoredText;

/// A caller's key for one request, under which the request takes effect once: 1 to 64 bytes of
/// visible ASCII.
///
/// The caller makes a new one for each request, such as a random UUID, and sends the same one when
/// it repeats the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// The greatest length, in bytes.
    pub const MAX_LEN: usize = 64;
    /// The time for which a store keeps a request, at least.
    pub const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

    /// Checks and takes a text.
    ///
    /// # Errors
    /// [`Invalid`] when it is empty, too long, or has a character other than visible ASCII.
    pub fn new(text: impl Into<String>) -> Result<Self, Invalid> {
        const FIELD: &str = "idempotency key";
        let text = text.into();
        if text.is_empty() {
            return Err(Invalid::new(FIELD, Problem::Empty));
        }
        if text.len() > Self::MAX_LEN {
            let (given, limit) = (text.len(), Self::MAX_LEN);
            return Err(Invalid::new(FIELD, Problem::TooLong { given, limit }));
        }
        match text.bytes().position(|byte| !byte.is_ascii_graphic()) {
            Some(position) => {
                Err(Invalid::new(FIELD, Problem::Character { position, allowed: "visible ASCII" }))
            }
            None => Ok(Self(text.into_boxed_str())),
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl StoredText for IdempotencyKey {
    fn stored_text(&self) -> &str {
        &self.0
    }

    fn from_stored_text(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }
}

/// The callers among whom an idempotency key stands for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallerScope {
    /// All administrators.
    Administrator,
    /// The callers that act with this key.
    ActingKey(KeyId),
    /// The owner, without a key.
    Owner(OwnerId),
}

/// The name of a request: the scope of its caller, and the caller's key for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    /// The scope of the caller.
    pub scope: CallerScope,
    /// The caller's key for the request.
    pub key: IdempotencyKey,
}

impl RequestId {
    /// Returns the bytes under which a backend stores the request: the number of the scope, what
    /// the scope names (an owner's id after its length), and the idempotency key.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 + OwnerId::MAX_LEN + self.key.0.len());
        match &self.scope {
            CallerScope::Administrator => bytes.push(0),
            CallerScope::ActingKey(key) => {
                bytes.push(1);
                bytes.extend(key.to_bytes());
            }
            CallerScope::Owner(owner) => {
                bytes.push(2);
                bytes.push(u8::try_from(owner.as_str().len()).unwrap_or(u8::MAX));
                bytes.extend(owner.as_str().as_bytes());
            }
        }
        bytes.extend(self.key.0.as_bytes());
        bytes
    }

    /// Returns the name that these bytes are of; `None` for bytes of no name.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (scope, rest) = bytes.split_first()?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let (scope, key) = match scope {
            0 => (CallerScope::Administrator, rest),
            1 => {
                let (key, rest) = rest.split_first_chunk::<16>()?;
                (CallerScope::ActingKey(KeyId::from_bytes(*key)), rest)
            }
            2 => {
                let (len, rest) = rest.split_first()?;
                let (owner, rest) = rest.split_at_checked(usize::from(*len))?;
                (CallerScope::Owner(OwnerId::new(text(owner)?).ok()?), rest)
            }
            _ => return None,
        };
        Some(Self { scope, key: IdempotencyKey::new(text(key)?).ok()? })
    }
}

record! {
    /// The record of a request that created or rotated a key, without any secret of it.
    #[derive(Clone, PartialEq, Eq)]
    pub struct RequestRecord {
        /// The name of the request.
        pub id: RequestId,
        /// A hash of all that the request says.
        pub content: [u8; 32],
        /// The key that it created or rotated.
        pub key_id: KeyId,
        /// The generation that it issued, or the one that replaced it.
        pub generation: Generation,
        /// Whether the issued token was lost, and another replaced it.
        pub is_replaced: bool,
        /// The moment of the decision.
        pub at: Timestamp,
    }
}

bytes!(RequestRecord, "request", RequestId, |request| &request.id);

impl Field for RequestId {
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.bytes(&self.to_bytes())
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.bytes_as(name, Self::from_bytes)
    }
}

impl fmt::Debug for RequestRecord {
    /// Leaves out the hash, of which a short request could be guessed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestRecord")
            .field("id", &self.id)
            .field("key_id", &self.key_id)
            .field("generation", &self.generation)
            .field("is_replaced", &self.is_replaced)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids() -> impl Strategy<Value = RequestId> {
        let scope = prop_oneof![
            Just(CallerScope::Administrator),
            any::<u128>().prop_map(|id| CallerScope::ActingKey(KeyId::from_u128(id))),
            "[ -~é]{1,32}".prop_map(|id| CallerScope::Owner(OwnerId::new(id).unwrap())),
        ];
        (scope, "[!-~]{1,64}")
            .prop_map(|(scope, key)| RequestId { scope, key: IdempotencyKey::new(key).unwrap() })
    }

    #[test]
    fn corners_of_an_idempotency_key() {
        let problem = |text: &str| IdempotencyKey::new(text).unwrap_err().problem().clone();
        assert_eq!(problem(""), Problem::Empty);
        assert_eq!(problem(&"a".repeat(65)), Problem::TooLong { given: 65, limit: 64 });
        assert_eq!(IdempotencyKey::new("a".repeat(64)).unwrap().as_str().len(), 64);
        for (text, at) in [("a b", 1), ("é", 0), ("ab\u{7f}", 2), ("\n", 0)] {
            let allowed = "visible ASCII";
            assert_eq!(problem(text), Problem::Character { position: at, allowed });
        }
        assert_eq!(IdempotencyKey::new("").unwrap_err().field(), "idempotency key");
    }

    #[test]
    fn debug_hides_the_hash() {
        let id = RequestId::from_bytes(b"\0request").unwrap();
        let (key_id, generation) = (KeyId::from_u128(1), Generation::FIRST);
        let at = Timestamp::MIN;
        let content = [0xab; 32];
        let record = RequestRecord { id, content, key_id, generation, is_replaced: false, at };
        let shown = format!("{record:?}").to_lowercase();
        assert!(!shown.contains("171") && !shown.contains("content"), "{shown}");
    }

    proptest! {
        #[test]
        fn names_are_read_back_and_single(a in ids(), b in ids()) {
            prop_assert_eq!(RequestId::from_bytes(&a.to_bytes()), Some(a.clone()));
            prop_assert_eq!(a.to_bytes() == b.to_bytes(), a == b);
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            if let Some(id) = RequestId::from_bytes(&bytes) {
                prop_assert_eq!(id.to_bytes(), bytes);
            }
        }
    }
}
