//! Short bounded texts: each is a type of its own, with its limit in one place.

use crate::invalid::{Invalid, Problem};

/// Returns whether a character may not follow another one, or begin a text: it is a control
/// character, ends a line or a paragraph, or isn't seen. Among those that aren't seen are the ones
/// that change the direction in which the text around them is shown. With any of these a text could
/// look like another one, or like two lines of a log.
fn is_refused(before: Option<char>, c: char) -> bool {
    let belongs = shapes_the_one_before(c)
        && before.is_some_and(|before| !before.is_ascii() && !before.is_whitespace());
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_unseen(c) && !belongs
}

/// Unicode's default ignorable code points. Its later versions add none outside of these ranges.
#[rustfmt::skip]
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// The ignorable characters without which words of some scripts are misspelled, and emoji fall
/// apart: joiners, variation selectors, Mongolian separators, and the tags of flags. No ASCII
/// character needs one, so that two names in ASCII always differ visibly.
fn shapes_the_one_before(c: char) -> bool {
    matches!(c, '\u{180b}'..='\u{180f}' | '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{e0020}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Checks the rule of all short texts: not empty, at most `limit` bytes of UTF-8, no control
/// characters, no line or paragraph separators, and no characters that aren't seen.
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
    // A keycap is a digit, a variation selector and the key around it.
    let is_keycap = |position| text[position..].starts_with("\u{fe0f}\u{20e3}");
    let mut before = None;
    let refused = text.char_indices().find(|(position, c)| {
        let before = before.replace(*c);
        is_refused(before, *c) && !(is_keycap(*position) && before.is_some())
    });
    match refused {
        Some((position, _)) => Err(Invalid::new(
            field,
            Problem::Character {
                position,
                allowed: "anything but control, separator, bidi and invisible characters",
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
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// The greatest length, in bytes.
            pub const MAX_LEN: usize = $limit;

            /// Takes a text without the white space at its ends: 1 to
            /// [`MAX_LEN`](Self::MAX_LEN) bytes. It may hold no control characters, line or
            /// paragraph separators, characters that change the direction of text, or invisible
            /// ones (Unicode's default ignorable code points). Joiners and variation selectors
            /// may follow a character outside ASCII, as in emoji, and in Persian and Indic words.
            ///
            /// Letters of two scripts that look alike are different letters here.
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

        impl std::str::FromStr for $name {
            type Err = $crate::invalid::Invalid;

            fn from_str(text: &str) -> Result<Self, $crate::invalid::Invalid> {
                Self::new(text)
            }
        }

        $crate::serial::as_text!($name);
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

    bounded_text!(
        /// Another.
        Long, "long", 64
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
            let at_an_end = Long::new(format!("a{c}"));
            let inside = Long::new(format!("a{c}a"));
            assert!(at_an_end.is_ok() || inside.is_err(), "{}", c.escape_unicode());
            matches!(
                at_an_end.map_err(|invalid| invalid.problem().clone()),
                Err(Problem::Character { position: 1, .. })
            )
        });
        let others: Vec<u32> = refused.filter(|c| !c.is_control()).map(u32::from).collect();
        let ranges = [
            0xad..=0xad,
            0x34f..=0x34f,
            0x61c..=0x61c,
            0x115f..=0x1160,
            0x17b4..=0x17b5,
            0x180b..=0x180f,
            0x200b..=0x200f,
            0x2028..=0x202e,
            0x2060..=0x206f,
            0x3164..=0x3164,
            0xfe00..=0xfe0f,
            0xfeff..=0xfeff,
            0xffa0..=0xffa0,
            0xfff0..=0xfff8,
            0x1_bca0..=0x1_bca3,
            0x1_d173..=0x1_d17a,
            0xe_0000..=0xe_0fff,
        ];
        assert_eq!(others, ranges.into_iter().flatten().collect::<Vec<_>>());
    }

    #[test]
    fn joiners_and_selectors_stay_where_a_script_needs_them() {
        let names = [
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
            // Ends with a joiner.
            "\u{d05}\u{d35}\u{d28}\u{d4d}\u{200d}",
            "\u{1f469}\u{200d}\u{1f4bb} ann",
            "\u{2764}\u{fe0f}\u{200d}\u{1f525}",
            "1\u{fe0f}\u{20e3} first",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "\u{8fbb}\u{e0100}",
            "\u{182a}\u{1820}\u{180e}\u{1820}",
        ];
        for name in names {
            assert_eq!(Long::new(name).unwrap().as_str(), name);
        }
        for name in [
            "a\u{200d}",
            "a\u{200c}b",
            "\u{200d}",
            "\u{fe0f}\u{20e3}",
            "1\u{fe0f}",
            "\u{3000}\u{200d}",
            "\u{1f469}\u{200b}",
            "\u{1f469}\u{feff}",
            "\u{e9}\u{ad}",
            "\u{1f469}\u{e0001}",
        ] {
            let refused = Long::new(name).unwrap_err();
            assert!(
                matches!(refused.problem(), Problem::Character { .. }),
                "{}",
                name.escape_unicode()
            );
        }
    }
}
