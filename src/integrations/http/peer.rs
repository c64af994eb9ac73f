//! The address that a request comes from.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;

use http::request::Parts;

use super::forwarding::Form;
use crate::invalid::{Invalid, Problem};

type Lookup = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

/// A source of the address of a request's peer: the connection, or the entries of a declared number
/// of trusted proxies.
///
/// Text that a client can write is never trusted. If the declared place holds no address, the
/// request has none, and the store rejects a key that is limited to networks.
///
/// ```
/// # use keyhasp::integrations::http::PeerAddress;
/// // The service stands behind one proxy; a client wrote the first of these entries itself.
/// let behind_one = PeerAddress::forwarded_for(1)?;
/// let request = http::Request::get("/links").header("X-Forwarded-For", "10.0.0.1, 192.0.2.7");
/// let (parts, ()) = request.body(())?.into_parts();
/// assert_eq!(behind_one.of(&parts), Some([192, 0, 2, 7].into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PeerAddress(Source);

#[derive(Clone)]
enum Source {
    Forwarded(Form, NonZeroU8),
    Lookup(Arc<Lookup>),
}

impl PeerAddress {
    /// Takes the connection's peer, for a server that puts a [`SocketAddr`] into each request's
    /// extensions.
    #[must_use]
    pub fn connection() -> Self {
        Self::extension(SocketAddr::ip)
    }

    /// Takes the connection's peer, for a server that puts another type into each request's
    /// extensions.
    ///
    /// With axum, for a server that is started with `into_make_service_with_connect_info`:
    ///
    /// ```
    /// use std::net::SocketAddr;
    ///
    /// # use axum::extract::ConnectInfo;
    /// # use keyhasp::integrations::http::PeerAddress;
    /// let peer = PeerAddress::extension(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip());
    /// # let _ = peer;
    /// ```
    #[must_use]
    pub fn extension<T: Send + Sync + 'static>(
        ip: impl Fn(&T) -> IpAddr + Send + Sync + 'static,
    ) -> Self {
        Self::by(move |parts| parts.extensions.get().map(&ip))
    }

    /// Takes the address that this function returns, such as one from a proxy's own header. The
    /// function must not trust text that a client can write.
    #[must_use]
    pub fn by(lookup: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        Self(Source::Lookup(Arc::new(lookup)))
    }

    /// Takes the peer of the outermost of this number of trusted proxies (1 to 255) from
    /// `X-Forwarded-For`: the entry at this place from the end. Each of the proxies must add an
    /// entry, and no client may reach the service past them.
    ///
    /// # Errors
    /// [`Invalid`] for 0: without a proxy, the address is the [connection](Self::connection)'s.
    pub fn forwarded_for(proxies: u8) -> Result<Self, Invalid> {
        Self::from_proxies(Form::XForwardedFor, proxies)
    }

    /// Takes it from `Forwarded` (RFC 7239), as [`forwarded_for`](Self::forwarded_for) does.
    ///
    /// # Errors
    /// As [`forwarded_for`](Self::forwarded_for).
    pub fn forwarded(proxies: u8) -> Result<Self, Invalid> {
        Self::from_proxies(Form::Forwarded, proxies)
    }

    /// Returns the address of this request's peer, if it is known.
    #[must_use]
    pub fn of(&self, request: &Parts) -> Option<IpAddr> {
        match &self.0 {
            Source::Forwarded(form, proxies) => form.peer(&request.headers, *proxies),
            Source::Lookup(lookup) => lookup(request),
        }
    }

    fn from_proxies(form: Form, proxies: u8) -> Result<Self, Invalid> {
        let range = Problem::OutOfRange { given: 0, min: 1, max: u8::MAX.into(), unit: "" };
        let proxies = NonZeroU8::new(proxies).ok_or_else(|| Invalid::new("proxies", range))?;
        Ok(Self(Source::Forwarded(form, proxies)))
    }
}

/// Shows the source, without a function's insides.
impl fmt::Debug for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Forwarded(form, proxies) => write!(f, "PeerAddress({form:?}, {proxies})"),
            Source::Lookup(_) => f.write_str("PeerAddress(by function)"),
        }
    }
}
