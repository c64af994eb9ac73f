//! From which address a request comes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;

use http::request::Parts;

use super::forwarding::Form;
use crate::invalid::{Invalid, Problem};

type Look = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

/// Where the address of a request's peer is taken from: the connection, or what a declared number
/// of trusted proxies wrote.
///
/// What anybody can write is never believed: where the declared place holds no address, there is
/// none, and a key that is limited to networks is refused.
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
    Look(Arc<Look>),
}

impl PeerAddress {
    /// The connection's peer, where whatever accepts connections puts a [`SocketAddr`] into each
    /// request's extensions.
    #[must_use]
    pub fn connection() -> Self {
        Self::extension(SocketAddr::ip)
    }

    /// The connection's peer, where it lies in each request's extensions as another type.
    ///
    /// With axum, whose server is then started with `into_make_service_with_connect_info`:
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

    /// What this function says: for a proxy that has a header of its own, say. It must not believe
    /// what a client can write.
    #[must_use]
    pub fn by(look: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        Self(Source::Look(Arc::new(look)))
    }

    /// The peer of the outermost of so many trusted proxies (1 to 255), from `X-Forwarded-For`: the
    /// entry at this place from the end. Each of the proxies must add an entry, and the service
    /// must not be reached past them.
    ///
    /// # Errors
    /// [`Invalid`] for no proxy: then it is the connection's.
    pub fn forwarded_for(proxies: u8) -> Result<Self, Invalid> {
        Self::from_proxies(Form::XForwardedFor, proxies)
    }

    /// The same, from `Forwarded` (RFC 7239).
    ///
    /// # Errors
    /// As [`forwarded_for`](Self::forwarded_for).
    pub fn forwarded(proxies: u8) -> Result<Self, Invalid> {
        Self::from_proxies(Form::Forwarded, proxies)
    }

    /// The address of this request's peer, if it is known.
    #[must_use]
    pub fn of(&self, request: &Parts) -> Option<IpAddr> {
        match &self.0 {
            Source::Forwarded(form, proxies) => form.peer(&request.headers, *proxies),
            Source::Look(look) => look(request),
        }
    }

    fn from_proxies(form: Form, proxies: u8) -> Result<Self, Invalid> {
        let range = Problem::OutOfRange { given: 0, min: 1, max: u8::MAX.into(), unit: "" };
        let proxies = NonZeroU8::new(proxies).ok_or_else(|| Invalid::new("proxies", range))?;
        Ok(Self(Source::Forwarded(form, proxies)))
    }
}

/// The function in it has no words.
impl fmt::Debug for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Forwarded(form, proxies) => write!(f, "PeerAddress({form:?}, {proxies})"),
            Source::Look(_) => f.write_str("PeerAddress(by function)"),
        }
    }
}
