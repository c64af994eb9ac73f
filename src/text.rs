//! Short bounded texts: each is a type of its own, with its limit in one place.

use crate::invalid::{Invalid, Problem};

/// Returns whether a text may not have a character: it is a control character, ends a line or a
/// paragraph, or changes the direction in which the text around it is shown. With those a text could
/// look like another one, or like two lines of a log.
fn is_refused(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Checks the rule of all short texts: not empty, at most `limit` bytes of UTF-8, no control
/// characters, no line or paragraph separators, and no characters that change the direction.
pub(crate) fn check(field: &'static str, text: &str, limit: usize) -> Result<(), Invalid> {
    check_size(field, text, limit)?;
    check_characters(field, text)
}

/// Checks that a text is neither empty nor too long.
pub(crate) fn check_size(field: &'static str, text: &str, limit: usize) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::new(field, Problem::Empty));
    }
    if text.len() > limit {
        return Err(Invalid::new(field, Problem::TooLong { given: text.len(), limit }));
    }
    Ok(())
}

/// Checks that a text holds none of the refused characters.
pub(crate) fn check_characters(field: &'static str, text: &str) -> Result<(), Invalid> {
    // Fast path: most texts are printable ASCII.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(());
    }
    match text.char_indices().find(|(_, c)| is_refused(*c)) {
        Some((position, _)) => Err(Invalid::new(
            field,
            Problem::Character {
                position,
                allowed: "anything but control, separator and bidi characters",
            },
        )),
        None => Ok(()),
    }
}

/// A text type that is stored as its text.
pub(crate) trait StoredText: Sized {
    /// Returns the text to store.
    fn stored_text(&self) -> &str;

    /// Returns the value of a stored text; `None` for a text that no value is stored as.
    fn from_stored_text(text: &str) -> Option<Self>;
}

/// Declares a text type of at most `$limit` bytes, without white space at its ends. A rejection
/// names the field `$field`.
macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $field:literal, $limit:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        pub struct $name(Box<str>);

        impl $name {
            /// The greatest length, in bytes.
            pub const MAX_LEN: usize = $limit;

            /// Takes a text without the white space at its ends: 1 to
            /// [`MAX_LEN`](Self::MAX_LEN) bytes. It may hold no control characters, line or
            /// paragraph separators, and no characters that change the direction of text.
            ///
            /// # Errors
            /// [`Invalid`](crate::invalid::Invalid) when it is empty, too long, or holds such a
            /// character.
            pub fn new(text: impl Into<String>) -> Result<Self, crate::invalid::Invalid> {
                let text = text.into();
                // The first refused character may be among the white space that is cut.
                crate::text::check_characters($field, &text)?;
                let text = text.trim();
                crate::text::check_size($field, text, $limit)?;
                Ok(Self(text.into()))
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
                Self::new(text).ok().filter(|taken| taken.as_str() == text)
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

    #[test]
    fn white_space_at_the_ends_is_cut() {
        for text in ["ab c", " ab c", "ab c  ", "\u{2003}ab c\u{a0} \u{3000}"] {
            assert_eq!(Short::new(text).unwrap().as_str(), "ab c");
        }
        for text in [" ", "\u{a0}\u{2003}"] {
            assert_eq!(Short::new(text).unwrap_err().problem(), &Problem::Empty);
        }
        // A stored text is the text of a value, to the byte.
        assert!(Short::from_stored_text("ab c").is_some());
        assert!(Short::from_stored_text("ab c ").is_none());
    }

    #[test]
    fn no_text_looks_like_another_one_or_like_two_lines() {
        let refused = (0..=0x10_ffff_u32).filter_map(char::from_u32).filter(|c| {
            let at_an_end = Short::new(format!("a{c}"));
            let inside = Short::new(format!("a{c}a"));
            assert!(at_an_end.is_ok() || inside.is_err(), "{}", c.escape_unicode());
            matches!(
                at_an_end.map_err(|invalid| invalid.problem().clone()),
                Err(Problem::Character { position: 1, .. })
            )
        });
        let others: Vec<u32> = refused.filter(|c| !c.is_control()).map(u32::from).collect();
        let expected = [0x61c, 0x200e, 0x200f].into_iter().chain(0x2028..=0x202e);
        assert_eq!(others, expected.chain(0x2066..=0x2069).collect::<Vec<_>>());
    }
}
