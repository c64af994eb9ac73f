use keyhasp::integrations::http::{AuthError, Credentials, ErrorResponse, Presented};
use keyhasp::{VerifiedKey, Verifier};
use poem::http::StatusCode;
use poem::{Error, FromRequest, Request, RequestBody, Response, Result};

/// A handler's argument. The routes have `.data(verifier)`.
pub struct Caller(pub VerifiedKey);

impl<'a> FromRequest<'a> for Caller {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> Result<Self> {
        let verifier = request.data::<Verifier>();
        let verifier =
            verifier.ok_or_else(|| Error::from_status(StatusCode::INTERNAL_SERVER_ERROR))?;
        let credentials = Credentials::bearer();
        let verified = match credentials.find(request.headers()) {
            Presented::Token(token) => verifier.verify(&token).map_err(AuthError::Verify),
            Presented::Multiple => Err(AuthError::Multiple),
            Presented::Nothing | Presented::OtherScheme => Err(AuthError::Missing),
        };
        verified.map(Self).map_err(|error| {
            let (parts, body) = ErrorResponse::new(error, &credentials).problem().into_parts();
            let mut response = Response::builder().status(parts.status).body(body);
            *response.headers_mut() = parts.headers;
            Error::from_response(response)
        })
    }
}
