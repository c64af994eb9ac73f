//! The places of a request where a token may be.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::challenge::Challenges;
use super::source::Source;
use super::text::{is_token_character, trim};
use crate::invalid::{Invalid, Problem};

const BEARER: &str = "Bearer";
const TOKEN_CHARACTERS: &str = "letters, digits and !#$%&'*+-.^_`|~";

/// Places where a service accepts a token: schemes of `Authorization`, headers of their own, and
/// parts of headers that a function finds. All of them are headers: a token in a query would stand
/// in the logs of every proxy and in the browser's history, where nothing can mark it as a secret.
///
/// ```
/// # use keyhasp::integrations::http::{Credentials, Presented};
/// let credentials = Credentials::bearer().or_scheme("Token")?.or_header("X-Api-Key")?;
/// let request = http::Request::get("/links").header("Authorization", "token abc").body(())?;
/// assert_eq!(credentials.find(request.headers()), Presented::Token(b"abc".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Credentials {
    schemes: Vec<Box<str>>,
    sources: Vec<Source>,
    /// Whether a scheme or a source reads `Authorization`.
    reads_authorization: bool,
    challenges: Challenges,
}

/// Credentials that a request presents.
#[derive(Clone, PartialEq, Eq)]
pub enum Presented<'a> {
    /// None of the accepted places is in the request.
    Nothing,
    /// `Authorization` with a scheme that isn't accepted, or without one.
    OtherScheme,
    /// One token, not verified yet. It may be empty, of any length and of any bytes.
    Token(Cow<'a, [u8]>),
    /// More than one credential, so that the request's caller isn't clear.
    Multiple,
}

impl Credentials {
    /// Accepts `Authorization: Bearer TOKEN`.
    #[must_use]
    pub fn bearer() -> Self {
        Self { schemes: vec![BEARER.into()], reads_authorization: true, ..Self::none() }
    }

    /// Accepts `Authorization: SCHEME TOKEN`; a scheme's case doesn't matter.
    ///
    /// # Errors
    /// [`Invalid`] for a name that can't be a scheme by RFC 9110.
    pub fn scheme(name: &str) -> Result<Self, Invalid> {
        Self::none().or_scheme(name)
    }

    /// Accepts `NAME: TOKEN`, a header that holds the token alone.
    ///
    /// # Errors
    /// [`Invalid`] for a name that can't be a header's, and for `Authorization`, which has schemes.
    pub fn header(name: &str) -> Result<Self, Invalid> {
        Self::none().or_header(name)
    }

    /// Accepts the token that this function finds in a header, as
    /// [`or_within`](Self::or_within) says.
    ///
    /// # Errors
    /// [`Invalid`] for a name that can't be a header's.
    pub fn within(
        name: &str,
        find: impl for<'a> Fn(&'a [u8]) -> Option<Cow<'a, [u8]>> + Send + Sync + 'static,
    ) -> Result<Self, Invalid> {
        Self::none().or_within(name, find)
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
        self.reads_authorization = true;
        Ok(self)
    }

    /// Also accepts this header.
    ///
    /// # Errors
    /// As [`header`](Self::header).
    pub fn or_header(mut self, name: &str) -> Result<Self, Invalid> {
        let name = header_name(name)?;
        if name == AUTHORIZATION {
            let expected = "another header than Authorization, which has schemes";
            return Err(Invalid::new("header", Problem::Malformed { expected }));
        }
        if !self.sources.iter().any(|source| source.is_whole(&name)) {
            self.sources.push(Source::whole(name));
        }
        Ok(self)
    }

    /// Also accepts the token that this function finds in a header: in a cookie, in the password of
    /// `Basic`, among the protocols that a WebSocket offers. It gets the value of each header line of
    /// this name, and returns `None` if no token is in it.
    ///
    /// ```
    /// # use keyhasp::integrations::http::{Credentials, Presented};
    /// let credentials = Credentials::bearer().or_within("Cookie", |line| {
    ///     let cookies = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    ///     cookies.filter_map(|cookie| cookie.strip_prefix(b"key=")).next().map(Into::into)
    /// })?;
    /// let request = http::Request::get("/").header("Cookie", "theme=dark; key=abc").body(())?;
    /// assert_eq!(credentials.find(request.headers()), Presented::Token(b"abc".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A browser sends cookies and `Basic` by itself, so the service must keep other sites from using
    /// them. [`or_challenge`](Self::or_challenge) names such a place to clients.
    ///
    /// # Errors
    /// As [`within`](Self::within).
    pub fn or_within(
        mut self,
        name: &str,
        find: impl for<'a> Fn(&'a [u8]) -> Option<Cow<'a, [u8]>> + Send + Sync + 'static,
    ) -> Result<Self, Invalid> {
        let name = header_name(name)?;
        self.reads_authorization |= name == AUTHORIZATION;
        self.sources.push(Source::part(name, Arc::new(find)));
        Ok(self)
    }

    /// Sets the realm that challenges name: the part of the service that a key opens. Defaults to
    /// `api`. Up to 200 printable characters of ASCII without `"` and `\`.
    ///
    /// # Errors
    /// [`Invalid`] for another text.
    pub fn realm(mut self, realm: &str) -> Result<Self, Invalid> {
        self.challenges.set_realm(realm)?;
        Ok(self)
    }

    /// Names in challenges the URL of the service's metadata by RFC 9728, from which clients learn
    /// where to get a token. Up to 2,000 characters; `https`, or `http` for a service next door.
    ///
    /// # Errors
    /// [`Invalid`] for another text.
    pub fn resource_metadata(mut self, url: &str) -> Result<Self, Invalid> {
        self.challenges.set_resource_metadata(url)?;
        Ok(self)
    }

    /// Also answers this challenge where a token is missing or not accepted, such as
    /// `Basic realm="api"`, without which git and pip send no password. It stays as it is.
    ///
    /// # Errors
    /// [`Invalid`] for a text that can't be a header's value.
    pub fn or_challenge(mut self, challenge: &str) -> Result<Self, Invalid> {
        let expected = "the value of WWW-Authenticate";
        let malformed = |_| Invalid::new("challenge", Problem::Malformed { expected });
        self.challenges.add(HeaderValue::from_str(challenge).map_err(malformed)?);
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
        if self.reads_authorization {
            let mut values = headers.get_all(AUTHORIZATION).iter();
            if let Some(value) = values.next() {
                if values.next().is_some() {
                    return Presented::Multiple;
                }
                found = self.under_scheme(value.as_bytes());
            }
        }
        for source in &self.sources {
            for value in headers.get_all(source.name()) {
                let Some(token) = source.find(value.as_bytes()) else { continue };
                if matches!(found, Presented::Token(_)) {
                    return Presented::Multiple;
                }
                found = Presented::Token(token);
            }
        }
        found
    }

    /// Marks `Authorization`, and the other headers in which tokens may stand, as sensitive: their
    /// `Debug` shows no value, and HTTP/2 doesn't keep them in its table.
    pub fn mark_sensitive(&self, headers: &mut HeaderMap) {
        // A client may put its token into `Authorization` although no token is read there.
        let sources = self.sources.iter().map(Source::name);
        for name in [&AUTHORIZATION].into_iter().chain(sources) {
            let Some(value) = headers.get_mut(name) else { continue };
            value.set_sensitive(true);
            // One value is the rule, and costs one look.
            if headers.get_all(name).iter().nth(1).is_some() {
                mark_all(name, headers);
            }
        }
    }

    /// Returns whether a token may stand in `Authorization`.
    pub(in crate::integrations) fn reads_authorization(&self) -> bool {
        self.reads_authorization
    }

    /// Lists the headers beside `Authorization` in which a token may stand.
    pub(in crate::integrations) fn named(&self) -> impl Iterator<Item = &HeaderName> {
        self.sources.iter().map(Source::name).filter(|name| **name != AUTHORIZATION)
    }

    /// Makes the challenges that show a client where a token may be, and what is wrong.
    pub(super) fn challenges(&self, parameters: &[String]) -> Vec<HeaderValue> {
        let headers = self.sources.iter().filter_map(Source::challenged);
        self.challenges.all(self.schemes.iter().map(AsRef::as_ref), headers, parameters)
    }

    fn none() -> Self {
        Self {
            schemes: Vec::new(),
            sources: Vec::new(),
            reads_authorization: false,
            challenges: Challenges::default(),
        }
    }

    fn under_scheme<'a>(&self, value: &'a [u8]) -> Presented<'a> {
        let value = trim(value);
        let length = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, token) = value.split_at(length);
        if self.schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known.as_bytes())) {
            Presented::Token(trim(token).into())
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

#[cold]
fn mark_all(name: &HeaderName, headers: &mut HeaderMap) {
    for (other, value) in headers.iter_mut() {
        if other == name {
            value.set_sensitive(true);
        }
    }
}

fn header_name(name: &str) -> Result<HeaderName, Invalid> {
    let expected = "the name of a header";
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Invalid::new("header", Problem::Malformed { expected }))
}
