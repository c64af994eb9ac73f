//! The request of a verification.

use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;

use crate::store::types::reserved::ReservedQuotas;

/// A request to verify a token, with the peer's address and the cost of this use.
#[derive(Clone, Copy)]
#[must_use]
pub struct VerifyRequest<'a> {
    pub(in crate::store) token: &'a [u8],
    pub(in crate::store) address: Option<IpAddr>,
    pub(in crate::store) cost: u32,
    /// The usage figures have noted this use before: it is a further charge.
    pub(in crate::store) is_noted: bool,
    /// The cell for the quotas from which uses were taken. Part of the request, so that other
    /// verifications carry nothing along.
    pub(in crate::store) quotas: Option<&'a OnceLock<ReservedQuotas>>,
}

impl<'a> VerifyRequest<'a> {
    /// Requests one use of a presented token, from an unknown address.
    #[inline]
    pub fn new(token: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { token: token.as_ref(), address: None, cost: 1, is_noted: false, quotas: None }
    }

    /// Returns the token.
    #[must_use]
    #[inline]
    pub fn token(&self) -> &'a [u8] {
        self.token
    }

    /// Sets the address of the peer. Defaults to unknown, and then a key that is limited to
    /// networks is rejected. The address must be that of the connection, or come from a proxy that
    /// the service trusts. Never take it from a header that any client may write.
    #[inline]
    pub fn address(self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// Sets the number of uses for which this one counts against rates and quotas. Defaults to 1. A
    /// use of cost 0 looks: it takes nothing, and is rejected when a use of cost 1 would be.
    #[inline]
    pub fn cost(self, cost: u32) -> Self {
        Self { cost, ..self }
    }

    /// Charges the cost to a use that was verified before, and that the usage figures have noted.
    #[cfg(feature = "tower")]
    pub(crate) fn of_a_counted_use(self) -> Self {
        Self { is_noted: true, ..self }
    }
}

impl fmt::Debug for VerifyRequest<'_> {
    /// Shows address and cost, and never the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyRequest")
            .field("address", &self.address)
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}
