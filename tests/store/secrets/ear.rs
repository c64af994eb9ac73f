//! Hears everything that a store says, in every way in which it can be said.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fmt::{Debug, Write};

use keyhasp::token::inspect;
use keyhasp::{Error, Issued, Token};
use serde::Serialize;

/// All texts that were heard, and all secrets that must not be in them.
#[derive(Default)]
pub(crate) struct Ear {
    pub(crate) texts: Vec<String>,
    /// Every token that was issued, in plaintext.
    pub(crate) tokens: Vec<String>,
    /// The kinds of the store's errors.
    pub(crate) kinds: BTreeSet<String>,
}

impl Ear {
    /// Both forms of Debug.
    pub(crate) fn debug(&mut self, what: &dyn Debug) {
        self.texts.push(format!("{what:?}\n{what:#?}"));
    }

    /// Debug, and what a service would send on.
    pub(crate) fn shown<T: Debug + Serialize>(&mut self, what: T) -> T {
        self.debug(&what);
        self.texts.push(serde_json::to_string(&what).unwrap());
        what
    }

    /// An answer with a token, which is noted and stays secret.
    pub(crate) fn issued(&mut self, issued: Issued) -> Issued {
        self.debug(&issued);
        self.texts.push(serde_json::to_string(&issued.key).unwrap());
        self.token(&issued.token);
        issued
    }

    pub(crate) fn token(&mut self, token: &Token) {
        self.debug(token);
        self.debug(&inspect(token.expose().as_bytes()));
        self.tokens.push(token.expose().to_owned());
    }

    /// An error with all its sources.
    pub(crate) fn error(&mut self, error: &(dyn StdError + 'static)) {
        let mut text = String::new();
        let mut next = Some(error);
        while let Some(error) = next {
            write!(text, "{error}\n{error:?}\n{error:#?}\n").unwrap();
            next = error.source();
        }
        self.texts.push(text);
    }

    /// A refusal, which there must be.
    pub(crate) fn refused<T: Debug>(&mut self, outcome: Result<T, Error>) -> Error {
        let error = outcome.unwrap_err();
        self.kinds.insert(kind_of(&error));
        self.error(&error);
        error
    }
}

/// An error's kind, and a backend's with its own.
fn kind_of(error: &Error) -> String {
    let shown = format!("{error:?}");
    let name: String = shown.chars().take_while(char::is_ascii_alphanumeric).collect();
    match error {
        Error::Backend(inner) | Error::OutcomeUnknown(inner) => {
            format!("{name} {:?}", inner.kind())
        }
        _ => name,
    }
}
