//! Short bounded texts: each is a type of its own, with its limit in one place.

use crate::invalid::{Invalid, Problem};

/// Checks the rule of all short texts: not empty, at most `limit` bytes of UTF-8, no control
/// characters.
pub(crate) fn check(field: &'static str, text: &str, limit: usize) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::new(field, Problem::Empty));
    }
    if text.len() > limit {
        return Err(Invalid::new(field, Problem::TooLong { given: text.len(), limit }));
    }
    // Fast path: most texts are printable ASCII.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(());
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((position, _)) => Err(Invalid::new(
            field,
            Problem::Character { position, allowed: "anything but control characters" },
        )),
        None => Ok(()),
    }
}

/// A text type that is stored as its text.
pub(crate) trait StoredText: Sized {
    /// Returns the text to store.
    fn stored_text(&self) -> &str;

    /// Returns the value of a stored text; `None` for a text outside the type's limits.
    fn from_stored_text(text: &str) -> Option<Self>;
}

/// Declares a text type of at most `$limit` bytes. A rejection names the field `$field`.
macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $field:literal, $limit:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        pub struct $name(Box<str>);

        impl $name {
            /// The greatest length, in bytes.
            pub const MAX_LEN: usize = $limit;

            /// Checks and takes a text of 1 to [`MAX_LEN`](Self::MAX_LEN) bytes without control
            /// characters.
            ///
            /// # Errors
            /// [`Invalid`](crate::invalid::Invalid) when it is empty, too long, or holds a control
            /// character.
            pub fn new(text: impl Into<String>) -> Result<Self, crate::invalid::Invalid> {
                let text = text.into();
                crate::text::check($field, &text, $limit)?;
                Ok(Self(text.into_boxed_str()))
            }

            /// Returns the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl $crate::text::StoredText for $name {
            fn stored_text(&self) -> &str {
                &self.0
            }

            fn from_stored_text(text: &str) -> Option<Self> {
                Self::new(text).ok()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use bounded_text;

#[cfg(test)]
#[allow(unreachable_pub, dead_code)] // The macro makes public types.
mod tests {
    use super::*;

    bounded_text!(
        /// A text for this test.
        Short, "short", 4
    );

    #[test]
    fn corners() {
        assert_eq!(Short::new("").unwrap_err().problem(), &Problem::Empty);
        assert_eq!(Short::new("abcd").unwrap().as_str(), "abcd");
        assert_eq!(
            Short::new("abcde").unwrap_err().problem(),
            &Problem::TooLong { given: 5, limit: 4 }
        );
        // The limit counts bytes: two of these letters are four bytes, three are six.
        assert!(Short::new("éé").is_ok());
        assert!(Short::new("ééé").is_err());
        assert!(matches!(
            Short::new("a\u{7f}").unwrap_err().problem(),
            Problem::Character { position: 1, .. }
        ));
        assert_eq!(Short::new("\0").unwrap_err().field(), "short");
    }
}
