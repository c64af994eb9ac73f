//! From which address the layer tells the store that a request comes.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderValue, Request};
use keyhasp::integrations::http::PeerAddress;
use proptest::prelude::*;

use crate::http::double::Stage;
use crate::http::site::request;

fn get() -> Request<Body> {
    request(http::Method::GET, "/", &[])
}

/// What is made of these header lines.
fn told(from: &PeerAddress, name: &'static str, lines: &[&[u8]]) -> Option<IpAddr> {
    let mut parts = get().into_parts().0;
    for line in lines {
        parts.headers.append(name, HeaderValue::from_bytes(line).unwrap());
    }
    from.of(&parts)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const LISTED: &str = "x-forwarded-for";
const STANDARD: &str = "forwarded";

#[test]
fn none_unless_the_service_says_where_it_stands() {
    let stage = Stage::new();
    let mut spoofed =
        request(http::Method::GET, "/", &[(LISTED, b"192.0.2.7"), (STANDARD, b"for=192.0.2.7")]);
    spoofed.extensions_mut().insert(SocketAddr::from(([192, 0, 2, 7], 80)));
    let heard = stage.heard(&stage.site(|layer| layer), spoofed);
    assert!(heard.contains("address: None"), "{heard}");
}

#[test]
fn of_the_connection() {
    let stage = Stage::new();
    let peer = SocketAddr::from(([192, 0, 2, 7], 80));
    let site = stage.site(|layer| layer.peer_address(PeerAddress::connection()));
    let mut from = get();
    from.extensions_mut().insert(peer);
    assert!(stage.heard(&site, from).contains("address: Some(192.0.2.7)"));
    assert!(stage.heard(&site, get()).contains("address: None"));

    let axums = PeerAddress::extension(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip());
    let site = stage.site(|layer| layer.peer_address(axums));
    let mut from = get();
    from.extensions_mut().insert(ConnectInfo(peer));
    assert!(stage.heard(&site, from).contains("address: Some(192.0.2.7)"));

    let of_a_header =
        PeerAddress::by(|parts| parts.headers.get("x-client-ip")?.to_str().ok()?.parse().ok());
    let site = stage.site(|layer| layer.peer_address(of_a_header));
    let from = request(http::Method::GET, "/", &[("x-client-ip", b"2001:db8::1")]);
    assert!(stage.heard(&site, from).contains("address: Some(2001:db8::1)"));
}

#[test]
fn behind_proxies() {
    let stage = Stage::new();
    let site = stage.site(|layer| layer.peer_address(PeerAddress::forwarded_for(2).unwrap()));
    let lines: [(&str, &[u8]); 2] = [(LISTED, b"10.0.0.1, 192.0.2.7"), (LISTED, b"198.51.100.1")];
    let heard = stage.heard(&site, request(http::Method::GET, "/", &lines));
    assert!(heard.contains("address: Some(192.0.2.7)"), "{heard}");
    let heard = stage.heard(&site, request(http::Method::GET, "/", &lines[1..]));
    assert!(heard.contains("address: None"), "{heard}");
    for refused in [PeerAddress::forwarded_for(0), PeerAddress::forwarded(0)] {
        assert_eq!(refused.unwrap_err().field(), "proxies");
    }
}

#[test]
fn forms_of_x_forwarded_for() {
    let one = PeerAddress::forwarded_for(1).unwrap();
    for (line, expected) in [
        ("192.0.2.7", Some("192.0.2.7")),
        (" \t192.0.2.7 ", Some("192.0.2.7")),
        ("192.0.2.7:4711", Some("192.0.2.7")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("[2001:db8::1]", Some("2001:db8::1")),
        ("[2001:db8::1]:4711", Some("2001:db8::1")),
        ("::ffff:192.0.2.7", Some("::ffff:192.0.2.7")),
        ("10.0.0.1,192.0.2.7", Some("192.0.2.7")),
        ("\"10.0.0.1,192.0.2.7", Some("192.0.2.7")),
        ("", None),
        ("192.0.2.7,", None),
        ("192.0.2.7, ", None),
        ("unknown", None),
        ("_hidden", None),
        ("192.0.2", None),
        ("192.0.2.07", None),
        ("192.0.2.256", None),
        ("192.0.2.7:", None),
        ("192.0.2.7:x", None),
        ("192.0.2.7:123456", None),
        ("192.0.2.7 10.0.0.1", None),
        ("192.0.2.0/24", None),
        ("\"192.0.2.7\"", None),
        ("for=192.0.2.7", None),
        ("[2001:db8::1", None),
        ("2001:db8::1]", None),
        ("[2001:db8::1]4711", None),
        ("[192.0.2.7]", None),
        ("fe80::1%eth0", None),
    ] {
        assert_eq!(told(&one, LISTED, &[line.as_bytes()]), expected.map(address), "{line}");
    }
    assert_eq!(told(&one, LISTED, &[b"192.0.2.7\xff"]), None);
    assert_eq!(told(&one, LISTED, &[b"\xff, 192.0.2.7"]), Some(address("192.0.2.7")));
    assert_eq!(told(&one, LISTED, &[]), None);
    // The one header isn't believed where the other was declared.
    assert_eq!(told(&one, STANDARD, &[b"for=192.0.2.7"]), None);
}

#[test]
fn forms_of_forwarded() {
    let one = PeerAddress::forwarded(1).unwrap();
    for (line, expected) in [
        ("for=192.0.2.7", Some("192.0.2.7")),
        ("For=\"192.0.2.7\"", Some("192.0.2.7")),
        ("for=\"192.0.2.7:4711\"", Some("192.0.2.7")),
        ("for=\"192.0.2.7:_port\"", Some("192.0.2.7")),
        ("for=\"[2001:db8::1]\"", Some("2001:db8::1")),
        ("FOR=\"[2001:db8::1]:4711\"", Some("2001:db8::1")),
        ("for=\"\\[2001:db8:\\:1\\]\"", Some("2001:db8::1")),
        ("by=\"_x\";for=192.0.2.7;proto=https", Some("192.0.2.7")),
        ("by=\"_x\" ; for=192.0.2.7 ;; proto=https;", Some("192.0.2.7")),
        ("for=192.0.2.7;host=\"a, for=10.0.0.1\"", Some("192.0.2.7")),
        ("for=192.0.2.7;host=\"\\\", for=10.0.0.1\"", Some("192.0.2.7")),
        ("for=192.0.2.7;host=\"\\\\\"", Some("192.0.2.7")),
        ("for=10.0.0.1, for=192.0.2.7", Some("192.0.2.7")),
        ("for=\"10.0.0.1, for=192.0.2.7", Some("192.0.2.7")),
        ("for=10.0.0.1;host=\"x, for=\"[2001:db8::1]\"", Some("2001:db8::1")),
        ("", None),
        ("for=192.0.2.7,", None),
        ("for=unknown", None),
        ("for=_hidden", None),
        ("for=\"_hidden:4711\"", None),
        ("for=\"unknown:4711\"", None),
        ("proto=https", None),
        ("for", None),
        ("for=", None),
        ("for=\"\"", None),
        ("for =192.0.2.7", None),
        ("for= 192.0.2.7", None),
        ("192.0.2.7", None),
        ("for=192.0.2.7:4711", None),
        ("for=[2001:db8::1]", None),
        ("for=\"2001:db8::1\"", None),
        ("for=\"[2001:db8::1]4711\"", None),
        ("for=\"[2001:db8::1]:\"", None),
        ("for=\"192.0.2.7:_\"", None),
        ("for=\"192.0.2.7:_a b\"", None),
        ("for=\"192.0.2.7", None),
        ("for=192.0.2.7\"", None),
        ("for=192.0.2.7\\\"", None),
        ("for=\"192.0.2.7\"x", None),
        ("for=192.0.2.7 proto=https", None),
        ("for=192.0.2.7;for=192.0.2.7", None),
        ("for=192.0.2.7;FOR=10.0.0.1", None),
    ] {
        assert_eq!(told(&one, STANDARD, &[line.as_bytes()]), expected.map(address), "{line}");
    }
    assert_eq!(told(&one, STANDARD, &[b"for=\"\xff\""]), None);
    // An open quote doesn't reach over to another line.
    let lines: [&[u8]; 2] = [b"for=192.0.2.7;host=\"", b"\";for=10.0.0.1"];
    assert_eq!(told(&one, STANDARD, &lines), None);
    let two = PeerAddress::forwarded(2).unwrap();
    assert_eq!(told(&two, STANDARD, &lines), None);
    assert_eq!(told(&one, LISTED, &[b"192.0.2.7"]), None);
}

/// Text that a client may write, with all that could be taken for a sign.
fn written() -> impl Strategy<Value = Vec<u8>> {
    let signs = prop::sample::select(b",;=\"\\ \tfor_:[].0129a\xff".to_vec());
    prop_oneof![
        prop::collection::vec(signs, 0..30),
        Just(b"10.0.0.1".to_vec()),
        Just(b"for=10.0.0.1".to_vec()),
        Just(b"for=\"10.0.0.1, for=".to_vec()),
        Just(b"for=10.0.0.1;host=\"\\".to_vec()),
    ]
}

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from),]
}

/// Whom a proxy saw, on which port, what it adds of the request's host, and whether on a line of
/// its own.
fn proxy() -> impl Strategy<Value = (IpAddr, Option<u16>, Option<Vec<u8>>, bool)> {
    let (port, host) = (prop::option::of(any::<u16>()), prop::option::of(written()));
    (ip(), port, host, any::<bool>())
}

/// By each of the headers, and its name.
fn behind(proxies: u8) -> [(PeerAddress, &'static str); 2] {
    let listed = PeerAddress::forwarded_for(proxies).unwrap();
    [(listed, LISTED), (PeerAddress::forwarded(proxies).unwrap(), STANDARD)]
}

/// What a proxy adds, in each header: the peer that it saw, with or without a port, and perhaps the
/// request's host, of which a client chose every byte.
fn entries(peer: IpAddr, port: Option<u16>, host: Option<&[u8]>) -> [Vec<u8>; 2] {
    let bracketed = if peer.is_ipv6() { format!("[{peer}]") } else { peer.to_string() };
    let listed = match port {
        Some(port) => format!("{bracketed}:{port}"),
        None => peer.to_string(),
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let mut standard = format!("for=\"{bracketed}{port}\"").into_bytes();
    if let Some(host) = host {
        let escaped = host.iter().flat_map(|byte| match byte {
            b'"' | b'\\' => vec![b'\\', *byte],
            byte => vec![*byte],
        });
        standard.extend_from_slice(b";host=\"");
        standard.extend(escaped);
        standard.push(b'"');
    }
    [listed.into_bytes(), standard]
}

proptest! {
    /// Whatever a client writes, in however many lines: the answer is the peer that the outermost
    /// trusted proxy saw.
    #[test]
    fn a_client_changes_nothing(
        client in prop::collection::vec(written(), 0..3),
        proxies in prop::collection::vec(proxy(), 1..4),
    ) {
        let count = u8::try_from(proxies.len()).unwrap();
        for (form, (from, name)) in behind(count).iter().enumerate() {
            let mut lines = client.clone();
            for (peer, port, host, on_a_new_line) in &proxies {
                let entry = entries(*peer, *port, host.as_deref())[form].clone();
                match lines.last_mut() {
                    Some(line) if !on_a_new_line => line.extend([b", ".to_vec(), entry].concat()),
                    _ => lines.push(entry),
                }
            }
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(told(from, name, &lines), Some(proxies[0].0), "{:?}", lines);
        }
    }

    /// Fewer entries than proxies: none of them is believed.
    #[test]
    fn too_few_are_none(peers in prop::collection::vec(ip(), 0..4), more in 1..3_u8) {
        let count = u8::try_from(peers.len()).unwrap() + more;
        for (form, (from, name)) in behind(count).iter().enumerate() {
            let entry = |peer: &IpAddr| entries(*peer, None, None)[form].clone();
            let lines: Vec<_> = peers.iter().map(entry).collect();
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(told(from, name, &lines), None);
        }
    }
}
