//! Letting a request in, or rejecting it.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::Request;
use http::request::Parts;

use super::authenticated::{Anonymous, Authenticated};
use super::rejection::Rejection;
use super::settings::Settings;
use crate::integrations::http::{AuthError, Presented};
use crate::key::RateStatus;
use crate::store::{LeaseWait, VerifyError, VerifyRequest};
use crate::verified_key::VerifiedKey;

/// A request with its caller, and what is left of that caller's rate.
pub(super) type Admitted<B> = (Request<B>, Option<RateStatus>);

/// The end of an attempt to admit a request.
pub(super) enum Admission<B> {
    Admitted(Admitted<B>),
    /// The caller's quota has no lease. Nothing is taken.
    Waits(Waiting<B>),
}

/// A request whose verification waits for a lease.
pub(super) struct Waiting<B> {
    request: Option<(Parts, B)>,
    peer: Peer,
    wait: Option<LeaseWait>,
}

/// The parts of a request that a verification needs beside the token.
#[derive(Clone, Copy)]
struct Peer {
    address: Option<IpAddr>,
    cost: Option<u32>,
}

/// Admits a request.
///
/// # Errors
/// [`Rejection`] for a request that doesn't pass.
#[inline]
pub(super) fn admit<B>(
    settings: &Arc<Settings>,
    request: Request<B>,
) -> Result<Admission<B>, Rejection> {
    let (mut parts, body) = request.into_parts();
    let rate = match settings.credentials.find(&parts.headers) {
        Presented::Token(token) => {
            let peer = Peer::of(settings, &parts);
            let mut wait = None;
            // No task polls yet. The first poll of the future asks again.
            let mut context = Context::from_waker(Waker::noop());
            match verify(settings, token, peer, &mut wait, &mut context) {
                Poll::Ready(answer) => pass(settings, &mut parts, answer)?,
                Poll::Pending => {
                    let request = Some((parts, body));
                    return Ok(Admission::Waits(Waiting { request, peer, wait }));
                }
            }
        }
        Presented::Multiple => return Err(settings.reject(AuthError::Multiple)),
        other @ (Presented::OtherScheme | Presented::Nothing) => {
            let has_other_scheme = matches!(other, Presented::OtherScheme);
            admit_without_token(settings, &mut parts, has_other_scheme)?;
            None
        }
    };
    Ok(Admission::Admitted((Request::from_parts(parts, body), rate)))
}

impl<B> Waiting<B> {
    /// Polls the verification. After the answer there is nothing left to poll.
    pub(super) fn poll(
        &mut self,
        settings: &Arc<Settings>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Admitted<B>, Rejection>> {
        let Some((mut parts, body)) = self.request.take() else { return Poll::Pending };
        let Presented::Token(token) = settings.credentials.find(&parts.headers) else {
            return Poll::Ready(Err(settings.reject(AuthError::Missing)));
        };
        match verify(settings, token, self.peer, &mut self.wait, context) {
            Poll::Pending => {
                self.request = Some((parts, body));
                Poll::Pending
            }
            Poll::Ready(answer) => {
                let passed = pass(settings, &mut parts, answer);
                Poll::Ready(passed.map(|rate| (Request::from_parts(parts, body), rate)))
            }
        }
    }
}

impl Peer {
    #[inline]
    fn of(settings: &Settings, parts: &Parts) -> Self {
        let address = settings.peer_address.as_ref().and_then(|peer| peer.of(parts));
        Self { address, cost: settings.cost.as_ref().map(|cost| cost(parts)) }
    }
}

#[inline]
fn verify(
    settings: &Settings,
    token: &[u8],
    peer: Peer,
    wait: &mut Option<LeaseWait>,
    context: &mut Context<'_>,
) -> Poll<Result<VerifiedKey, VerifyError>> {
    let mut request = VerifyRequest::new(token);
    if let Some(address) = peer.address {
        request = request.address(address);
    }
    if let Some(cost) = peer.cost {
        request = request.cost(cost);
    }
    settings.verifier.poll_verify(&request, wait, context)
}

/// Lets a request pass whose token is accepted.
#[inline]
fn pass(
    settings: &Arc<Settings>,
    parts: &mut Parts,
    answer: Result<VerifiedKey, VerifyError>,
) -> Result<Option<RateStatus>, Rejection> {
    let verified = answer.map_err(|error| settings.reject(error.into()))?;
    settings.check_catalogue(verified.permissions())?;
    let rate = verified.rate();
    parts.extensions.insert(Authenticated::by_key(verified, Arc::clone(settings)));
    Ok(rate)
}

/// Admits a request by its session. Without a session, admits it as anonymous where that is
/// allowed, but never if its credentials are in a scheme that isn't accepted.
fn admit_without_token(
    settings: &Arc<Settings>,
    parts: &mut Parts,
    has_other_scheme: bool,
) -> Result<(), Rejection> {
    if let Some(mut session) = settings.session.as_ref().and_then(|hook| hook(parts)) {
        settings.check_catalogue(session.permissions())?;
        parts.extensions.extend(session.take_extensions());
        parts.extensions.insert(Authenticated::by_session(session, Arc::clone(settings)));
        return Ok(());
    }
    if has_other_scheme || !settings.allows_anonymous {
        return Err(settings.reject(AuthError::Missing));
    }
    // A layer around this one may have let a caller in. To this layer the request is anonymous.
    parts.extensions.remove::<Authenticated>();
    parts.extensions.insert(Anonymous(Arc::clone(settings)));
    Ok(())
}
