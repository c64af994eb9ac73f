use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::error::{ErrorInternalServerError, InternalError};
use actix_web::http::StatusCode;
use actix_web::{Error, FromRequest, HttpRequest, HttpResponse, web};
use keyhasp::integrations::http::{AuthError, Credentials, ErrorResponse, Presented};
use keyhasp::{VerifiedKey, Verifier};

/// A handler's argument. The app has a `web::Data<Verifier>`.
pub struct Caller(pub VerifiedKey);

impl FromRequest for Caller {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller(request).map(Self))
    }
}

fn caller(request: &HttpRequest) -> Result<VerifiedKey, Error> {
    let verifier = request.app_data::<web::Data<Verifier>>();
    let verifier = verifier.ok_or_else(|| ErrorInternalServerError("no verifier"))?;
    // actix-web has headers of an older `http`.
    let mut headers = http::HeaderMap::new();
    for value in request.headers().get_all("authorization") {
        let value = http::HeaderValue::from_bytes(value.as_bytes());
        headers.append("authorization", value.map_err(ErrorInternalServerError)?);
    }
    let credentials = Credentials::bearer();
    let verified = match credentials.find(&headers) {
        Presented::Token(token) => verifier.verify(&token).map_err(AuthError::Verify),
        Presented::Multiple => Err(AuthError::Multiple),
        Presented::Nothing | Presented::OtherScheme => Err(AuthError::Missing),
    };
    verified.map_err(|error| {
        let answer = ErrorResponse::new(error, &credentials).problem();
        let status = StatusCode::from_u16(answer.status().as_u16());
        let mut response = HttpResponse::build(status.unwrap_or(StatusCode::UNAUTHORIZED));
        for (name, value) in answer.headers() {
            response.append_header((name.as_str(), value.as_bytes()));
        }
        InternalError::from_response("rejected", response.body(answer.into_body())).into()
    })
}
