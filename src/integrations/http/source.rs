//! A header in which a token may stand.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use super::text::trim;

/// A function that finds a token in the value of a header.
pub(super) type Find = dyn for<'a> Fn(&'a [u8]) -> Option<Cow<'a, [u8]>> + Send + Sync;

/// A header, and the part of it that is a token.
#[derive(Clone)]
pub(super) struct Source {
    name: HeaderName,
    /// `None` if the whole value is the token.
    find: Option<Arc<Find>>,
}

impl Source {
    pub(super) fn whole(name: HeaderName) -> Self {
        Self { name, find: None }
    }

    pub(super) fn part(name: HeaderName, find: Arc<Find>) -> Self {
        Self { name, find: Some(find) }
    }

    pub(super) fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Returns whether this is the whole of the header of that name.
    pub(super) fn is_whole(&self, name: &HeaderName) -> bool {
        self.find.is_none() && self.name == *name
    }

    /// Finds the token in a value, without white space around it.
    pub(super) fn find<'a>(&self, value: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match &self.find {
            None => Some(trim(value).into()),
            Some(find) => find(value),
        }
    }

    /// Returns the name for a challenge. There is none for a function: it would tell a client where
    /// a token stands, and not in which form.
    pub(super) fn challenged(&self) -> Option<&HeaderName> {
        self.find.is_none().then_some(&self.name)
    }
}

/// Shows whether there is a function, not the function.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("find", &self.find.is_some())
            .finish()
    }
}
