//! People who are logged in.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use keyhasp::permission::PermissionSet;
use keyhasp::{Invalid, Session};

use super::tenant::TenantId;

const COOKIE_NAME: &[u8] = b"SID";

/// The sessions of the service that logs people in; here there is one, an administrator's.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// Of the cookie's value. Hashes are compared, so that time tells nothing of the value.
    hash: blake3::Hash,
    session: Session,
}

/// Put into a session: the tenants whose keys its person may manage.
#[derive(Clone, Debug)]
pub(crate) struct Manages(pub(crate) Vec<TenantId>);

impl Sessions {
    /// One session in the first of these tenants, and its cookie's value.
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

    /// The session that these headers present, if there is one.
    ///
    /// A browser sends a cookie along with whatever another site asks for. But without consent,
    /// which nobody gets here, such a site can't send `DELETE` or JSON by its content type, and
    /// can't read answers.
    pub(crate) fn find(&self, headers: &HeaderMap) -> Option<Session> {
        let is_known = cookies(headers).any(|value| blake3::hash(value) == self.hash);
        is_known.then(|| self.session.clone())
    }
}

/// The values of the cookie, as often as it was sent.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let headers = headers.get_all(COOKIE).iter();
    let pairs = headers.flat_map(|header| header.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(COOKIE_NAME)?.strip_prefix(b"="))
}
