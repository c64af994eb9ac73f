//! Challenges: the field `WWW-Authenticate`.

use http::{HeaderName, HeaderValue};

use crate::invalid::{Invalid, Problem};

/// The scheme in a named header's challenge. No scheme is registered for one.
const NAMED: &str = "ApiKey";
const REALM: &str = "api";
const MAX_REALM: u64 = 200;
const MAX_URL: u64 = 2_000;

/// The parts of challenges that a service chooses.
#[derive(Clone, Debug)]
pub(super) struct Challenges {
    realm: Box<str>,
    resource_metadata: Option<Box<str>>,
    /// Those that stay as they are.
    others: Vec<HeaderValue>,
}

impl Default for Challenges {
    fn default() -> Self {
        Self { realm: REALM.into(), resource_metadata: None, others: Vec::new() }
    }
}

impl Challenges {
    pub(super) fn set_realm(&mut self, realm: &str) -> Result<(), Invalid> {
        self.realm = quotable("realm", realm, MAX_REALM)?.into();
        Ok(())
    }

    pub(super) fn set_resource_metadata(&mut self, url: &str) -> Result<(), Invalid> {
        let field = "resource_metadata";
        quotable(field, url, MAX_URL)?;
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if rest.is_none_or(str::is_empty) || url.contains(' ') {
            let expected = "a URL of https or http";
            return Err(Invalid::new(field, Problem::Malformed { expected }));
        }
        self.resource_metadata = Some(url.into());
        Ok(())
    }

    pub(super) fn add(&mut self, challenge: HeaderValue) {
        self.others.push(challenge);
    }

    /// Makes a challenge for each scheme and each header, with these parameters. RFC 6750 asks for
    /// at least one parameter, and names no error to a client that sent nothing: so each has a realm.
    pub(super) fn all<'a>(
        &self,
        schemes: impl Iterator<Item = &'a str>,
        headers: impl Iterator<Item = &'a HeaderName>,
        parameters: &[String],
    ) -> Vec<HeaderValue> {
        let realm = |scheme: &str| format!("{scheme} realm=\"{}\"", self.realm);
        let named = headers.map(|name| format!("{}, header=\"{name}\"", realm(NAMED)));
        let mut texts: Vec<String> = schemes.map(realm).chain(named).collect();
        if texts.is_empty() && self.others.is_empty() {
            // An answer with 401 must have one (RFC 9110, section 15.5.2).
            texts.push(realm(NAMED));
        }
        let mut all = Vec::new();
        for mut challenge in texts {
            for parameter in parameters {
                challenge.push_str(", ");
                challenge.push_str(parameter);
            }
            if let Some(url) = &self.resource_metadata {
                challenge.push_str(&format!(", resource_metadata=\"{url}\""));
            }
            // This can't fail, and no quote ends early: schemes, header names, realms, URLs and
            // permissions are of printable characters without quotes.
            all.extend(HeaderValue::try_from(challenge));
        }
        all.extend(self.others.iter().cloned());
        all
    }
}

/// Checks that a text may stand between quotes as it is.
fn quotable<'a>(field: &'static str, text: &'a str, max: u64) -> Result<&'a str, Invalid> {
    if text.is_empty() {
        return Err(Invalid::new(field, Problem::Empty));
    }
    let given = text.len() as u64;
    if given > max {
        let problem = Problem::OutOfRange { given, min: 1, max, unit: "bytes" };
        return Err(Invalid::new(field, problem));
    }
    let is_quotable = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if let Some(position) = text.bytes().position(|byte| !is_quotable(byte)) {
        let allowed = "printable characters of ASCII without \" and \\";
        return Err(Invalid::new(field, Problem::Character { position, allowed }));
    }
    Ok(text)
}
