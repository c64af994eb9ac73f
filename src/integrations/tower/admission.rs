//! Letting a request in, or rejecting it.

use std::sync::Arc;

use http::Request;
use http::request::Parts;

use super::authenticated::{Anonymous, Authenticated};
use super::rejection::Rejection;
use super::settings::Settings;
use crate::integrations::http::{AuthError, Presented};
use crate::key::RateStatus;
use crate::store::{VerifyError, VerifyRequest};
use crate::verified_key::VerifiedKey;

/// Admits a request: returns it with its caller, and what is left of that caller's rate.
///
/// # Errors
/// [`Rejection`] for a request that doesn't pass.
#[inline]
pub(super) fn admit<B>(
    settings: &Arc<Settings>,
    request: Request<B>,
) -> Result<(Request<B>, Option<RateStatus>), Rejection> {
    let (mut parts, body) = request.into_parts();
    let rate = match settings.credentials.find(&parts.headers) {
        Presented::Token(token) => {
            let answer = verify(settings, token, &parts);
            let verified = answer.map_err(|error| settings.reject(error.into()))?;
            settings.check_catalogue(verified.permissions())?;
            parts.extensions.insert(Authenticated::by_key(verified, Arc::clone(settings)));
            verified.rate()
        }
        Presented::Multiple => return Err(settings.reject(AuthError::Multiple)),
        other @ (Presented::OtherScheme | Presented::Nothing) => {
            let has_other_scheme = matches!(other, Presented::OtherScheme);
            admit_without_token(settings, &mut parts, has_other_scheme)?;
            None
        }
    };
    Ok((Request::from_parts(parts, body), rate))
}

#[inline]
fn verify(settings: &Settings, token: &[u8], parts: &Parts) -> Result<VerifiedKey, VerifyError> {
    let mut request = VerifyRequest::new(token);
    if let Some(address) = settings.peer_address.as_ref().and_then(|peer| peer.of(parts)) {
        request = request.address(address);
    }
    if let Some(cost) = &settings.cost {
        request = request.cost(cost(parts));
    }
    settings.verifier.verify_request(&request)
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
