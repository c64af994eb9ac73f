use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use keyhasp::integrations::http::Credentials;
use keyhasp::{Invalid, KeyLayer, Verifier};

/// Takes the token from the password, beside any name. The challenge makes git and pip ask for both.
pub fn layer(verifier: Verifier) -> Result<KeyLayer, Invalid> {
    let credentials = Credentials::bearer()
        .or_within("Authorization", |value| {
            let (scheme, encoded) = value.split_at_checked(b"Basic ".len())?;
            let decoded = BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?;
            let colon = decoded.iter().position(|byte| *byte == b':')?;
            scheme.eq_ignore_ascii_case(b"Basic ").then(|| decoded[colon + 1..].to_vec().into())
        })?
        .or_challenge("Basic realm=\"api\"")?;
    Ok(KeyLayer::new(verifier).credentials(credentials))
}
