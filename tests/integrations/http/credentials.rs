//! The places in which a token may stand, as a table and as laws.

use std::borrow::Cow;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use keyhasp::integrations::http::Credentials;
use keyhasp::integrations::http::Presented::{self, Multiple, Nothing, OtherScheme};
use keyhasp::invalid::Problem;
use proptest::prelude::*;

type Headers<'a> = &'a [(&'a str, &'a [u8])];

fn headers(list: Headers<'_>) -> HeaderMap {
    let parse = |(name, value): &(&str, &[u8])| {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        (name, HeaderValue::from_bytes(value).unwrap())
    };
    let mut map = HeaderMap::new();
    for (name, value) in list.iter().map(parse) {
        map.append(name, value);
    }
    map
}

fn token(text: &str) -> Presented<'_> {
    Presented::Token(text.as_bytes().into())
}

#[test]
fn bearer_alone() {
    let table: &[(Headers<'_>, Presented<'_>)] = &[
        (&[], Nothing),
        (&[("x-api-key", b"t")], Nothing),
        (&[("cookie", b"authorization=Bearer t")], Nothing),
        (&[("proxy-authorization", b"Bearer t")], Nothing),
        (&[("authorization", b"")], OtherScheme),
        (&[("authorization", b" ")], OtherScheme),
        (&[("authorization", b"Basic dDp0")], OtherScheme),
        (&[("authorization", b"Token t")], OtherScheme),
        (&[("authorization", b"Bearert")], OtherScheme),
        (&[("authorization", b"Bearer:t")], OtherScheme),
        (&[("authorization", b"Bearer\tt")], OtherScheme),
        (&[("authorization", b"t")], OtherScheme),
        (&[("authorization", b"Bearer")], token("")),
        (&[("authorization", b"Bearer   ")], token("")),
        (&[("authorization", b"Bearer t")], token("t")),
        (&[("authorization", b"bEARER t")], token("t")),
        (&[("authorization", b" Bearer   t\t")], token("t")),
        (&[("authorization", b"Bearer t, Bearer u")], token("t, Bearer u")),
        (&[("authorization", b"Bearer \xfft")], Presented::Token(Cow::Borrowed(b"\xfft"))),
        (&[("authorization", b"Bearer t"), ("x-api-key", b"t")], token("t")),
        (&[("authorization", b"Bearer t"), ("authorization", b"Bearer t")], Multiple),
        (&[("authorization", b"Bearer t"), ("authorization", b"Basic dDp0")], Multiple),
        (&[("authorization", b""), ("authorization", b"")], Multiple),
    ];
    for (list, expected) in table {
        assert_eq!(&Credentials::bearer().find(&headers(list)), expected, "{list:?}");
    }
}

#[test]
fn several_schemes_and_a_header() {
    let all = Credentials::bearer().or_scheme("Token").unwrap().or_header("X-Api-Key").unwrap();
    let named = Credentials::header("X-Api-Key").unwrap();
    let table: &[(Headers<'_>, Presented<'_>, Presented<'_>)] = &[
        (&[], Nothing, Nothing),
        (&[("authorization", b"Token t")], token("t"), Nothing),
        (&[("authorization", b"Token ")], token(""), Nothing),
        (&[("authorization", b"bearer t")], token("t"), Nothing),
        (&[("authorization", b"Basic t")], OtherScheme, Nothing),
        (&[("x-api-key", b"t")], token("t"), token("t")),
        (&[("x-api-key", b"\t t ")], token("t"), token("t")),
        (&[("x-api-key", b"")], token(""), token("")),
        (&[("x-api-key", b"Bearer t")], token("Bearer t"), token("Bearer t")),
        (&[("x-api-key", b"t"), ("x-api-key", b"t")], Multiple, Multiple),
        (&[("authorization", b"Basic t"), ("x-api-key", b"t")], token("t"), token("t")),
        (&[("authorization", b"Token t"), ("x-api-key", b"t")], Multiple, token("t")),
        (&[("authorization", b"Token "), ("x-api-key", b"")], Multiple, token("")),
    ];
    for (list, of_all, of_named) in table {
        let headers = headers(list);
        assert_eq!(&all.find(&headers), of_all, "{list:?}");
        assert_eq!(&named.find(&headers), of_named, "{list:?}");
    }
}

#[test]
fn names_that_cannot_be() {
    let problem = |credentials: Result<Credentials, keyhasp::Invalid>| {
        credentials.unwrap_err().problem().clone()
    };
    assert_eq!(problem(Credentials::scheme("")), Problem::Empty);
    let spaced = problem(Credentials::bearer().or_scheme("Api Key"));
    assert!(matches!(spaced, Problem::Character { position: 3, .. }));
    assert!(matches!(problem(Credentials::scheme("Schlüssel")), Problem::Character { .. }));
    for name in ["", "X Api", "Authorization", "authorization"] {
        assert!(matches!(problem(Credentials::header(name)), Problem::Malformed { .. }), "{name}");
    }
    let twice = Credentials::bearer().or_scheme("BEARER").unwrap();
    assert_eq!(format!("{twice:?}"), format!("{:?}", Credentials::default()));
}

#[test]
fn debug_shows_a_length_and_nothing_else() {
    assert_eq!(format!("{:?}", token("canary")), "Token(6 bytes)");
    assert_eq!(format!("{Nothing:?} {OtherScheme:?} {Multiple:?}"), "Nothing OtherScheme Multiple");
}

/// Bytes that a header's value may have.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => b'!'..=b'~',
        2 => Just(b' '),
        1 => Just(b'\t'),
        1 => 0x80..=0xff_u8,
    ];
    let start =
        prop_oneof![Just(""), Just("Bearer"), Just("bearer "), Just("Token "), Just("Basic ")];
    (start, prop::collection::vec(byte, 0..40))
        .prop_map(|(start, rest)| [start.as_bytes(), &rest].concat())
}

proptest! {
    /// A token comes back as it was sent, whatever the scheme's case and the space around.
    #[test]
    fn what_is_sent_is_found(
        scheme in "[Bb][Ee][Aa][Rr][Ee][Rr]",
        before in "[ \t]{0,3}", between in " {1,4}", after in "[ \t]{0,3}",
        sent in "[!-~]([ -~]{0,98}[!-~])?",
    ) {
        let line = format!("{before}{scheme}{between}{sent}{after}");
        let map = headers(&[("authorization", line.as_bytes())]);
        prop_assert_eq!(Credentials::bearer().find(&map), token(&sent));
    }

    /// Whatever is sent: one credential is found in the value that was sent, without space around
    /// it; a second header of the same name is never looked past.
    #[test]
    fn whatever_is_sent(values in prop::collection::vec(value(), 0..3), named in prop::collection::vec(value(), 0..3)) {
        let credentials = Credentials::bearer().or_header("x-api-key").unwrap();
        let list: Vec<(&str, &[u8])> = values.iter().map(|value| ("authorization", &value[..]))
            .chain(named.iter().map(|value| ("x-api-key", &value[..])))
            .collect();
        let map = headers(&list);
        match credentials.find(&map) {
            Presented::Token(token) => {
                prop_assert!(values.len() <= 1 && named.len() <= 1);
                prop_assert!(list.iter().any(|(_, value)| value.ends_with(&token)
                    || value.windows(token.len().max(1)).any(|part| part == &*token)));
                let space = |byte: Option<&u8>| byte.is_some_and(|byte| b" \t".contains(byte));
                prop_assert!(!space(token.first()) && !space(token.last()));
            }
            Nothing => prop_assert!(list.is_empty()),
            OtherScheme => prop_assert!(values.len() == 1 && named.is_empty()),
            Multiple => prop_assert!(list.len() > 1),
        }
        if values.len() > 1 || named.len() > 1 {
            prop_assert_eq!(credentials.find(&map), Multiple);
        }
    }

    /// Other headers don't matter.
    #[test]
    fn nothing_else_is_looked_at(name in "x-[a-z]{1,8}", sent in value()) {
        prop_assume!(name != "x-api-key");
        let other = headers(&[(&name, &sent)]);
        prop_assert_eq!(Credentials::bearer().find(&other), Nothing);
        let both = headers(&[(&name, &sent), (AUTHORIZATION.as_str(), b"Bearer t")]);
        prop_assert_eq!(Credentials::bearer().find(&both), token("t"));
    }
}
