//! The places of a request where a token may be.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use crate::invalid::{Invalid, Problem};

const BEARER: &str = "Bearer";
/// The scheme in a named header's challenge. No scheme is registered for one.
const NAMED: &str = "ApiKey";
const TOKEN_CHARACTERS: &str = "letters, digits and !#$%&'*+-.^_`|~";

/// Places where a service accepts a token: schemes of `Authorization`, and headers of their own.
///
/// ```
/// # use keyhasp::integrations::http::{Credentials, Presented};
/// let credentials = Credentials::bearer().or_scheme("Token")?.or_header("X-Api-Key")?;
/// let request = http::Request::get("/links").header("Authorization", "token abc").body(())?;
/// assert_eq!(credentials.find(request.headers()), Presented::Token(b"abc"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    schemes: Vec<Box<str>>,
    headers: Vec<HeaderName>,
}

/// Credentials that a request presents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presented<'a> {
    /// None of the accepted places is in the request.
    Nothing,
    /// `Authorization` with a scheme that isn't accepted, or without one.
    OtherScheme,
    /// One token, not verified yet. It may be empty, of any length and of any bytes.
    Token(&'a [u8]),
    /// More than one credential, so that the request's caller isn't clear.
    Multiple,
}

impl Credentials {
    /// Accepts `Authorization: Bearer TOKEN`.
    #[must_use]
    pub fn bearer() -> Self {
        Self { schemes: vec![BEARER.into()], headers: Vec::new() }
    }

    /// Accepts `Authorization: SCHEME TOKEN`; a scheme's case doesn't matter.
    ///
    /// # Errors
    /// [`Invalid`] for a name that can't be a scheme by RFC 9110.
    pub fn scheme(name: &str) -> Result<Self, Invalid> {
        Self { schemes: Vec::new(), headers: Vec::new() }.or_scheme(name)
    }

    /// Accepts `NAME: TOKEN`, a header that holds the token alone.
    ///
    /// # Errors
    /// [`Invalid`] for a name that can't be a header's, and for `Authorization`, which has schemes.
    pub fn header(name: &str) -> Result<Self, Invalid> {
        Self { schemes: Vec::new(), headers: Vec::new() }.or_header(name)
    }

    /// Also accepts this scheme.
    ///
    /// # Errors
    /// As [`scheme`](Self::scheme).
    pub fn or_scheme(mut self, name: &str) -> Result<Self, Invalid> {
        let field = "scheme";
        if name.is_empty() {
            return Err(Invalid::new(field, Problem::Empty));
        }
        if let Some(position) = name.bytes().position(|byte| !is_token_character(byte)) {
            let allowed = TOKEN_CHARACTERS;
            return Err(Invalid::new(field, Problem::Character { position, allowed }));
        }
        if !self.schemes.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            self.schemes.push(name.into());
        }
        Ok(self)
    }

    /// Also accepts this header.
    ///
    /// # Errors
    /// As [`header`](Self::header).
    pub fn or_header(mut self, name: &str) -> Result<Self, Invalid> {
        let malformed = |expected| Invalid::new("header", Problem::Malformed { expected });
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| malformed("the name of a header"))?;
        if name == AUTHORIZATION {
            return Err(malformed("another header than Authorization, which has schemes"));
        }
        if !self.headers.contains(&name) {
            self.headers.push(name);
        }
        Ok(self)
    }

    /// Finds the one token that these headers present.
    ///
    /// The answer is [`Multiple`](Presented::Multiple) for a header that comes twice, and for two
    /// headers that each have a token, whatever is in them.
    #[must_use]
    #[inline]
    pub fn find<'a>(&self, headers: &'a HeaderMap) -> Presented<'a> {
        let mut found = Presented::Nothing;
        if !self.schemes.is_empty() {
            let mut values = headers.get_all(AUTHORIZATION).iter();
            if let Some(value) = values.next() {
                if values.next().is_some() {
                    return Presented::Multiple;
                }
                found = self.under_scheme(value.as_bytes());
            }
        }
        for name in &self.headers {
            for value in headers.get_all(name) {
                if matches!(found, Presented::Token(_)) {
                    return Presented::Multiple;
                }
                found = Presented::Token(trim(value.as_bytes()));
            }
        }
        found
    }

    /// Lists the challenges that show a client where a token may be.
    pub(super) fn challenges(&self) -> impl Iterator<Item = String> {
        let named = self.headers.iter().map(|name| format!("{NAMED} header=\"{name}\""));
        self.schemes.iter().map(ToString::to_string).chain(named)
    }

    fn under_scheme<'a>(&self, value: &'a [u8]) -> Presented<'a> {
        let value = trim(value);
        let length = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, token) = value.split_at(length);
        if self.schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known.as_bytes())) {
            Presented::Token(trim(token))
        } else {
            Presented::OtherScheme
        }
    }
}

impl Default for Credentials {
    /// Returns [`Credentials::bearer`].
    fn default() -> Self {
        Self::bearer()
    }
}

/// Shows a token's length, never the token.
impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::OtherScheme => f.write_str("OtherScheme"),
            Self::Token(token) => write!(f, "Token({} bytes)", token.len()),
            Self::Multiple => f.write_str("Multiple"),
        }
    }
}

/// Returns whether this is a `tchar` of RFC 9110, section 5.6.2.
pub(super) fn is_token_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Removes the white space that a header's value may have around it.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
