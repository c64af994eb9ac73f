//! Challenges: what a client without a good key hears of the places for one.

use keyhasp::integrations::http::Credentials;
use keyhasp::invalid::Problem;
use keyhasp::{Access, CreateKey, CreateOwner, KeyLayer};

use crate::common::World;
use crate::http::site::{fetch, routes, site, with_token};

/// An answer with 401 has a challenge, also where the service gave a place no name.
#[test]
fn a_place_without_a_challenge_has_one() {
    let world = World::new();
    let credentials = Credentials::within("Cookie", |_| None).unwrap();
    let site = site(&world, |layer| layer.credentials(credentials));
    assert_eq!(fetch(&site, "/", &[]).challenges(), ["ApiKey realm=\"api\""]);
}

#[test]
fn a_realm_and_the_services_metadata() {
    let world = World::new();
    let reads = CreateOwner::with_key(CreateKey::new(Access::ReadOnly));
    let (_, reads) = world.owner_with("reads", reads);
    let url = "https://api.example.com/.well-known/oauth-protected-resource";
    let credentials = Credentials::bearer()
        .or_header("X-Api-Key")
        .unwrap()
        .realm("links of example.com")
        .unwrap()
        .resource_metadata(url)
        .unwrap()
        .or_challenge("Basic realm=\"links\"")
        .unwrap();
    let site = site(&world, |layer| layer.credentials(credentials));
    let (realm, metadata) =
        ("realm=\"links of example.com\"", format!("resource_metadata=\"{url}\""));
    let named = format!("ApiKey {realm}, header=\"x-api-key\"");
    let basic = "Basic realm=\"links\"";
    let missing = fetch(&site, "/", &[]);
    let expected =
        [format!("Bearer {realm}, {metadata}"), format!("{named}, {metadata}"), basic.to_owned()];
    assert_eq!(missing.challenges(), expected);
    let wrong = with_token(&site, "/", "letmein");
    let error = "error=\"invalid_token\"";
    assert_eq!(wrong.challenges()[0], format!("Bearer {realm}, {error}, {metadata}"));
    assert_eq!(wrong.challenges()[1], format!("{named}, {error}, {metadata}"));
    let lacking = with_token(&site, "/write", reads.token.expose());
    let scope = "error=\"insufficient_scope\", scope=\"links:write\"";
    assert_eq!(lacking.challenges()[0], format!("Bearer {realm}, {scope}, {metadata}"));
}

#[test]
fn texts_that_cannot_stand_in_a_challenge() {
    let problem = |credentials: Result<Credentials, keyhasp::Invalid>| {
        let invalid = credentials.unwrap_err();
        (invalid.field(), invalid.problem().clone())
    };
    let realm = |text: &str| problem(Credentials::bearer().realm(text));
    assert_eq!(realm(""), ("realm", Problem::Empty));
    for (bad, position) in [("a\"b", 1), ("ab\\", 2), ("\u{e4}", 0), ("a\nb", 1)] {
        let (field, problem) = realm(bad);
        assert!(matches!(problem, Problem::Character { position: at, .. } if at == position));
        assert_eq!(field, "realm");
    }
    let long = "a".repeat(201);
    assert!(matches!(realm(&long).1, Problem::OutOfRange { given: 201, max: 200, .. }));
    assert!(Credentials::bearer().realm(&long[1..]).is_ok());
    for bad in ["https://", "ftp://example.com", "example.com", "https://example.com/a b"] {
        let (field, problem) = problem(Credentials::bearer().resource_metadata(bad));
        assert!(matches!(problem, Problem::Malformed { .. }), "{bad}");
        assert_eq!(field, "resource_metadata");
    }
    let url = format!("https://{}", "a".repeat(1_993));
    let (_, long) = problem(Credentials::bearer().resource_metadata(&url));
    assert!(matches!(long, Problem::OutOfRange { given: 2_001, .. }));
    assert_eq!(problem(Credentials::bearer().or_challenge("a\nb")).0, "challenge");
}

/// Without a key git sends a password only if it is challenged to.
#[test]
fn a_password_of_basic_is_a_key() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let credentials = Credentials::within("Authorization", |value| {
        let (scheme, rest) = value.split_at_checked(6)?;
        let pair = unbase64(scheme.eq_ignore_ascii_case(b"basic ").then_some(rest)?)?;
        let colon = pair.iter().position(|byte| *byte == b':')?;
        Some(pair[colon + 1..].to_vec().into())
    });
    let credentials = credentials.unwrap().or_challenge("Basic realm=\"git\"").unwrap();
    let keys = KeyLayer::new(world.verifier.clone()).credentials(credentials).allow_anonymous();
    let site = routes(&world).layer(keys);
    let ask = |value: &str| fetch(&site, "/open", &[("authorization", value.as_bytes())]);
    let basic = |pair: String| format!("Basic {}", base64(pair.as_bytes()));
    assert_eq!(ask(&basic(format!("x:{}", issued.token.expose()))).body, "org");
    for bad in [basic("x:letmein".to_owned()), "Bearer t".to_owned(), "Basic %".to_owned()] {
        let refused = ask(&bad);
        assert_eq!(
            (refused.status.as_u16(), refused.challenges()),
            (401, vec!["Basic realm=\"git\""])
        );
    }
    assert_eq!(fetch(&site, "/open", &[]).body, "anonymous");
    let twice: [(&str, &[u8]); 2] = [("authorization", b"Basic eDp0"); 2];
    assert_eq!(fetch(&site, "/open", &twice).status.as_u16(), 400);
}

/// Tokens in two places, or twice in one, leave open who is asking.
#[test]
fn one_token_among_all_places() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let protocol = |line: &[u8]| -> Option<Vec<u8>> {
        let mut offered = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        offered.find_map(|one| one.strip_prefix(b"key.")).map(<[u8]>::to_vec)
    };
    let credentials = Credentials::bearer();
    let credentials = credentials
        .or_within("Sec-WebSocket-Protocol", move |line| protocol(line).map(Into::into))
        .unwrap();
    let site = site(&world, |layer| layer.credentials(credentials));
    let good = issued.token.expose();
    let (offered, bearer) = (format!("chat, key.{good}"), format!("Bearer {good}"));
    let socket: (&str, &[u8]) = ("sec-websocket-protocol", offered.as_bytes());
    let bearer: (&str, &[u8]) = ("authorization", bearer.as_bytes());
    let chat: (&str, &[u8]) = ("sec-websocket-protocol", b"chat");
    for (headers, status) in [
        (&[socket][..], 200),
        (&[bearer], 200),
        (&[bearer, chat], 200),
        (&[chat, socket], 200),
        (&[chat], 401),
        (&[bearer, socket], 400),
        (&[socket, socket], 400),
    ] {
        assert_eq!(fetch(&site, "/", headers).status.as_u16(), status, "{headers:?}");
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]));
        }
        text.push_str(&"=="[..3 - chunk.len()]);
    }
    text
}

fn unbase64(text: &[u8]) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in text.trim_ascii().iter().take_while(|digit| **digit != b'=') {
        let value = DIGITS.iter().position(|known| known == digit)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}
