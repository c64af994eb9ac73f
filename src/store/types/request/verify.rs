//! What is asked on every request.

use std::fmt;
use std::net::IpAddr;

/// A token to be judged, with what its limits are judged by.
#[derive(Clone, Copy)]
#[must_use]
pub struct VerifyRequest<'a> {
    pub(in crate::store) token: &'a [u8],
    pub(in crate::store) address: Option<IpAddr>,
    pub(in crate::store) cost: u32,
}

impl<'a> VerifyRequest<'a> {
    /// A token as it was presented; one use, from an address that isn't known.
    #[inline]
    pub fn new(token: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { token: token.as_ref(), address: None, cost: 1 }
    }

    /// The token.
    #[must_use]
    #[inline]
    pub fn token(&self) -> &'a [u8] {
        self.token
    }

    /// The address of the peer. A key that is limited to networks is refused without it. It must
    /// be that of the connection, or told by a proxy that the service trusts: never what anybody
    /// may write into a metadata.
    #[inline]
    pub fn address(self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// How many uses this one counts for against rates and quotas; 1 unless told.
    #[inline]
    pub fn cost(self, cost: u32) -> Self {
        Self { cost, ..self }
    }
}

impl fmt::Debug for VerifyRequest<'_> {
    /// Never shows the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyRequest")
            .field("address", &self.address)
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}
