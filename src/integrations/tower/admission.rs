//! Letting a request in, or rejecting it.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::Request;
use http::request::Parts;

use super::authenticated::{Anonymous, Authenticated};
use super::rejected::Rejected;
use super::rejection::Rejection;
use super::settings::Settings;
use super::span;
use crate::integrations::http::{AuthError, Presented};
use crate::store::{LeaseWait, VerifyError, VerifyRequest};
use crate::token::Unverified;
use crate::verified_key::{LimitsLeft, VerifiedKey};

/// A request with its caller, and what is left of that caller's limits.
pub(super) type Admitted<B> = (Request<B>, LimitsLeft);

/// The end of an attempt to admit a request.
pub(super) enum Admission<B> {
    Admitted(Admitted<B>),
    /// The caller's quota has no lease. Nothing is taken.
    Waits(Waiting<B>),
}

/// A request whose verification waits for a lease.
pub(super) struct Waiting<B> {
    request: Option<(Parts, B)>,
    task: Task,
    wait: Option<LeaseWait>,
}

/// The work that a request with a token needs beside it.
#[derive(Clone, Copy)]
struct Task {
    address: Option<IpAddr>,
    cost: Option<u32>,
    /// A layer of the same store around this one has verified the token and counted the use.
    is_verified: bool,
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
    // First, so that no hook gets a token that shows.
    settings.credentials.mark_sensitive(&mut parts.headers);
    let left = match settings.credentials.find(&parts.headers) {
        Presented::Token(token) => {
            let task = Task::of(settings, &parts, &token)?;
            if let Some(verified) = task.nothing_left(&parts) {
                drop(token);
                // The outer layer shows what is left.
                task.pass(settings, &mut parts, verified)?;
                let request = Request::from_parts(parts, body);
                return Ok(Admission::Admitted((request, LimitsLeft::NOTHING_KNOWN)));
            }
            let mut wait = None;
            // No task polls yet. The first poll of the future asks again.
            let mut context = Context::from_waker(Waker::noop());
            match task.verify(settings, &token, &mut wait, &mut context) {
                Poll::Ready(answer) => {
                    let answer =
                        answer.map_err(|error| task.reject_token(settings, error, &token, &parts));
                    drop(token);
                    task.pass(settings, &mut parts, answer?)?
                }
                Poll::Pending => {
                    drop(token);
                    let request = Some((parts, body));
                    return Ok(Admission::Waits(Waiting { request, task, wait }));
                }
            }
        }
        Presented::Multiple => {
            return Err(settings.reject(&Rejected::of(AuthError::Multiple, &parts)));
        }
        other @ (Presented::OtherScheme | Presented::Nothing) => {
            let has_other_scheme = matches!(other, Presented::OtherScheme);
            admit_without_token(settings, &mut parts, has_other_scheme)?;
            LimitsLeft::NOTHING_KNOWN
        }
    };
    Ok(Admission::Admitted((Request::from_parts(parts, body), left)))
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
            let rejected = Rejected::of(AuthError::Missing, &parts);
            return Poll::Ready(Err(settings.reject(&rejected)));
        };
        match self.task.verify(settings, &token, &mut self.wait, context) {
            Poll::Pending => {
                drop(token);
                self.request = Some((parts, body));
                Poll::Pending
            }
            Poll::Ready(answer) => {
                let reject = |error| self.task.reject_token(settings, error, &token, &parts);
                let answer = answer.map_err(reject);
                drop(token);
                let passed =
                    answer.and_then(|verified| self.task.pass(settings, &mut parts, verified));
                Poll::Ready(passed.map(|left| (Request::from_parts(parts, body), left)))
            }
        }
    }
}

impl Task {
    /// Returns the work for this token.
    ///
    /// # Errors
    /// [`Rejection`] for a token of a prefix that the layer doesn't accept. It is answered like a
    /// wrong one, and counts as no use.
    #[inline]
    fn of(settings: &Settings, parts: &Parts, token: &[u8]) -> Result<Self, Rejection> {
        // Before a key that a layer around this one has verified.
        if let Err(error) = settings.verifier.check_prefix(token) {
            return Err(settings.reject(&Rejected::of(error.into(), parts)));
        }
        let address = settings.peer_address.as_ref().and_then(|peer| peer.of(parts));
        let caller = parts.extensions.get::<Authenticated>();
        let is_verified = caller.is_some_and(|caller| {
            // A layer without a source of addresses has no rule of its own on them.
            let has_address = settings.peer_address.is_some().then_some(address);
            caller.has_verified(settings, &parts.headers, token, has_address)
        });
        // The same layer, standing twice, has one cost.
        let is_counted = is_verified && caller.is_some_and(|caller| caller.has_cost_of(settings));
        let cost = settings.cost.as_ref().filter(|_| !is_counted).map(|cost| cost(parts));
        let address = address.or_else(|| caller.filter(|_| is_verified)?.address());
        Ok(Self { address, cost, is_verified })
    }

    /// Returns the key that another layer has verified, if this one has nothing to charge.
    #[inline]
    fn nothing_left(self, parts: &Parts) -> Option<VerifiedKey> {
        if !self.is_verified || self.cost.is_some_and(|cost| cost > 0) {
            return None;
        }
        parts.extensions.get::<Authenticated>()?.verified_key().copied()
    }

    #[inline]
    fn verify(
        self,
        settings: &Settings,
        token: &[u8],
        wait: &mut Option<LeaseWait>,
        context: &mut Context<'_>,
    ) -> Poll<Result<VerifiedKey, VerifyError>> {
        let mut request = VerifyRequest::new(token);
        if let Some(address) = self.address {
            request = request.address(address);
        }
        if let Some(cost) = self.cost {
            request = request.cost(cost);
        }
        if self.is_verified {
            request = request.of_a_counted_use();
        }
        settings.verifier.poll_verify(&request, wait, context)
    }

    /// Lets a request pass whose token is accepted.
    #[inline]
    fn pass(
        self,
        settings: &Arc<Settings>,
        parts: &mut Parts,
        verified: VerifiedKey,
    ) -> Result<LimitsLeft, Rejection> {
        settings.check_catalogue(verified.permissions(), parts)?;
        let left = verified.left();
        // The layer that has counted the use has called its hooks.
        if !self.is_verified {
            settings.note_verified(&verified, parts);
        }
        let caller = Authenticated::by_key(verified, self.address, Arc::clone(settings));
        parts.extensions.insert(caller);
        Ok(left)
    }

    /// Answers a request whose token isn't accepted. The id in a token is a key's only if the secret
    /// was right: until then a stranger has written it.
    #[cold]
    fn reject_token(
        self,
        settings: &Settings,
        error: VerifyError,
        token: &[u8],
        parts: &Parts,
    ) -> Rejection {
        let is_right = matches!(error, VerifyError::Rejected(_));
        let key = Unverified::parse(token).filter(|_| is_right).map(|token| token.id);
        settings.reject(&Rejected { key, ..Rejected::of(error.into(), parts) })
    }
}

/// Admits a request by its session. Without a session, admits it as anonymous where that is
/// allowed, but never if its credentials are in a scheme that isn't accepted.
fn admit_without_token(
    settings: &Arc<Settings>,
    parts: &mut Parts,
    has_other_scheme: bool,
) -> Result<(), Rejection> {
    if let Some(mut session) = settings.session.as_ref().and_then(|hook| hook(parts)) {
        settings.check_catalogue(session.permissions(), parts)?;
        span::record(None, Some(session.owner()));
        parts.extensions.extend(session.take_extensions());
        parts.extensions.insert(Authenticated::by_session(session, Arc::clone(settings)));
        return Ok(());
    }
    if has_other_scheme || !settings.allows_anonymous {
        return Err(settings.reject(&Rejected::of(AuthError::Missing, parts)));
    }
    // A layer around this one may have let a caller in. To this layer the request is anonymous.
    parts.extensions.remove::<Authenticated>();
    parts.extensions.insert(Anonymous(Arc::clone(settings)));
    Ok(())
}
