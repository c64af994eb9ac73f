//! The sessions of logged-in people.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use keyhasp::permission::PermissionSet;
use keyhasp::{Invalid, Session};

use super::tenant::TenantId;

const COOKIE_NAME: &[u8] = b"SID";

/// The sessions of the service that logs people in. Here it has one session, an administrator's.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// The hash of the cookie's value. Hashes are compared, so that the time reveals nothing about
    /// the value.
    hash: blake3::Hash,
    session: Session,
}

/// The tenants whose keys the person of a session may manage. A session contains it as extension.
#[derive(Clone, Debug)]
pub(crate) struct Manages(pub(crate) Vec<TenantId>);

impl Sessions {
    /// Creates one session in the first of these tenants. Also returns the value of its cookie.
    pub(crate) fn of_one(
        secret: &[u8; 32],
        manages: &[TenantId],
        permissions: PermissionSet,
    ) -> Result<(Self, String), Invalid> {
        let value = blake3::Hash::from(*secret).to_hex().to_string();
        let tenant = manages.first().copied().unwrap_or_default();
        let session = Session::new(tenant.owner()?, permissions).with(Manages(manages.to_vec()));
        Ok((Self { hash: blake3::hash(value.as_bytes()), session }, value))
    }

    /// Returns the session of these headers, if there is one.
    ///
    /// A browser also sends the cookie with requests that another site starts. But without the
    /// consent of CORS, which this service never gives, such a site can't send `DELETE` or the
    /// content type of JSON, and can't read answers.
    pub(crate) fn find(&self, headers: &HeaderMap) -> Option<Session> {
        let is_known = cookies(headers).any(|value| blake3::hash(value) == self.hash);
        is_known.then(|| self.session.clone())
    }
}

/// Returns each value of the cookie; a client may send several.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let headers = headers.get_all(COOKIE).iter();
    let pairs = headers.flat_map(|header| header.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(COOKIE_NAME)?.strip_prefix(b"="))
}
