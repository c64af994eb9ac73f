//! Headers in which proxies write the peers that they saw.
//!
//! Each proxy adds one entry at the end of the list. So the last entries are those of the service's
//! own proxies. A client, or a proxy that isn't the service's, may have written anything before
//! them. This code reads the list from its end, and stops at the first entry that it can't trust.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};

use super::text::{is_token_character, trim};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A header that proxies write.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// `Forwarded`, RFC 7239.
    Forwarded,
    /// `X-Forwarded-For`, which most proxies write.
    XForwardedFor,
}

impl Form {
    /// Returns the peer that the outermost of this number of proxies saw. Several header lines are
    /// one list. `None` if the list is shorter, or if that entry isn't an address.
    pub(super) fn peer(self, headers: &HeaderMap, proxies: NonZeroU8) -> Option<IpAddr> {
        let name = match self {
            Self::Forwarded => FORWARDED,
            Self::XForwardedFor => X_FORWARDED_FOR,
        };
        let mut before = proxies.get() - 1;
        for line in headers.get_all(name).iter().rev() {
            let mut rest = Some(line.as_bytes());
            while let Some(list) = rest {
                let (previous, entry) = self.split_last(list)?;
                if before == 0 {
                    return self.address(trim(entry));
                }
                before -= 1;
                rest = previous;
            }
        }
        None
    }

    /// Splits the last entry of a line from the part before its comma. A quote that was left open
    /// further to the left can't swallow the entry. `None` if the entry's own quotes don't match.
    fn split_last(self, list: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
        let has_quotes = matches!(self, Self::Forwarded);
        let mut is_quoted = false;
        for (at, byte) in list.iter().enumerate().rev() {
            match byte {
                b'"' if has_quotes => {
                    let slashes = list[..at].iter().rev().take_while(|byte| **byte == b'\\');
                    if slashes.count() % 2 == 0 {
                        is_quoted = !is_quoted;
                    } else if !is_quoted {
                        return None;
                    }
                }
                b',' if !is_quoted => return Some((Some(&list[..at]), &list[at + 1..])),
                _ => {}
            }
        }
        (!is_quoted).then_some((None, list))
    }

    fn address(self, entry: &[u8]) -> Option<IpAddr> {
        match self {
            Self::Forwarded => node(std::str::from_utf8(&parameter_for(entry)?).ok()?),
            Self::XForwardedFor => {
                let text = std::str::from_utf8(entry).ok()?;
                text.parse::<Ipv6Addr>().map(IpAddr::from).ok().or_else(|| node(text))
            }
        }
    }
}

/// Finds the value of `for` in an element of `Forwarded`, which may have each parameter once.
fn parameter_for(element: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    let mut rest = element;
    loop {
        rest = trim(rest);
        if let [b';', after @ ..] = rest {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return found;
        }
        let (name, after) = token(rest)?;
        let (value, after) = match after.strip_prefix(b"=")? {
            [b'"', quoted @ ..] => unquoted(quoted)?,
            plain => token(plain).map(|(value, after)| (value.to_vec(), after))?,
        };
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
        rest = trim(after);
        if !rest.is_empty() && !rest.starts_with(b";") {
            return None;
        }
    }
}

fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = text.iter().position(|byte| !is_token_character(*byte)).unwrap_or(text.len());
    (length > 0).then(|| text.split_at(length))
}

/// Splits at the closing quote, and removes the backslashes before it.
fn unquoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [b'"', after @ ..] => return Some((value, after)),
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                value.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

/// Parses a `node` of RFC 7239, section 6: an address with or without a port, an IPv6 address in
/// brackets. A node that a proxy hides (`unknown`, `_name`) is no address.
fn node(text: &str) -> Option<IpAddr> {
    let (address, port): (IpAddr, _) = match text.strip_prefix('[') {
        Some(text) => {
            let (address, port) = text.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.into(), port)
        }
        None => {
            let (address, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (address.parse::<Ipv4Addr>().ok()?.into(), port)
        }
    };
    (port.is_empty() || is_port(port.strip_prefix(':')?)).then_some(address)
}

/// Returns whether this is a `node-port`: a number, or a name in its place.
fn is_port(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    text.strip_prefix('_').map_or_else(
        || (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
        is_name,
    )
}
