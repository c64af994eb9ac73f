//! From where: networks of addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::invalid::{Invalid, Problem};
use crate::key::{Field, Sink, Source};
use crate::serial::{as_text, by_parts};

const FIELD: &str = "networks";

/// An IPv4 or IPv6 network in CIDR notation (RFC 4632, RFC 4291), such as `192.0.2.0/24`. IPv4
/// addresses mapped into IPv6 (RFC 4291, section 2.5.5.2) are the IPv4 ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

/// 1 to 64 networks, sorted, each once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Networks(Box<[Network]>);

impl Network {
    /// The network of an address and a prefix length.
    ///
    /// # Errors
    /// [`Invalid`] for a length over the address's, or host bits that are set.
    pub fn new(address: IpAddr, prefix_len: u8) -> Result<Self, Invalid> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let range = Problem::OutOfRange {
            given: prefix_len.into(),
            min: 0,
            max: u64::from(bits as u8),
            unit: "",
        };
        let net = IpNet::new(address, prefix_len).map_err(|_| Invalid::new(FIELD, range))?;
        let net = unmapped(net);
        if net != net.trunc() {
            let corrected = net.trunc().to_string();
            return Err(Invalid::new(FIELD, Problem::HostBits { corrected }));
        }
        Ok(Self(net))
    }

    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether all of it lies in `other`.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        other.0.contains(&self.0)
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.0.addr()
    }

    /// The number of leading bits that all its addresses share.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }
}

/// A network of mapped addresses is one of IPv4.
fn unmapped(net: IpNet) -> IpNet {
    match (net.addr().to_canonical(), net) {
        (address @ IpAddr::V4(_), IpNet::V6(mapped)) if mapped.prefix_len() >= 96 => {
            IpNet::new(address, mapped.prefix_len() - 96).unwrap_or(net)
        }
        _ => net,
    }
}

impl FromStr for Network {
    type Err = Invalid;

    /// Reads `ADDRESS/LENGTH`, or an address alone.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let expected = "an IP network such as 192.0.2.0/24";
        let malformed = || Invalid::new(FIELD, Problem::Malformed { expected });
        if let Ok(address) = text.parse::<IpAddr>() {
            return Self::new(address, if address.is_ipv4() { 32 } else { 128 });
        }
        let net: IpNet = text.parse().map_err(|_| malformed())?;
        Self::new(net.addr(), net.prefix_len())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

as_text!(Network);

impl Networks {
    /// The greatest number of networks.
    pub const MAX: usize = 64;

    /// Takes networks in any order.
    ///
    /// # Errors
    /// [`Invalid`] for none, or more than 64.
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Result<Self, Invalid> {
        let mut networks: Vec<Network> = networks.into_iter().collect();
        networks.sort_unstable();
        networks.dedup();
        match networks.len() {
            0 => Err(Invalid::new(FIELD, Problem::Empty)),
            1..=Self::MAX => Ok(Self(networks.into_boxed_slice())),
            given => Err(Invalid::new(FIELD, Problem::TooMany { given, limit: Self::MAX })),
        }
    }

    /// The networks.
    #[must_use]
    pub fn as_slice(&self) -> &[Network] {
        &self.0
    }

    /// Whether an address lies in one of them.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.0.contains(&address))
    }

    /// Returns the networks whose addresses lie both in one of them and in one of `other`'s, sorted; none
    /// if there is no such address.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Vec<Network> {
        // Of two networks that share an address, one lies in the other.
        let within = |inner: &Self, outer: &Self| {
            let lies_in_one =
                |network: &&Network| outer.0.iter().any(|outer| network.is_within(outer));
            inner.0.iter().filter(lies_in_one).copied().collect::<Vec<_>>()
        };
        let mut both = [within(self, other), within(other, self)].concat();
        both.sort_unstable();
        both.dedup();
        both
    }

    /// Whether each of them lies in one of `other`'s.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.iter().all(|network| other.0.iter().any(|outer| network.is_within(outer)))
    }
}

impl FromStr for Networks {
    type Err = Invalid;

    /// Reads what [`Display`](fmt::Display) writes: networks with a space between them.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::new(text.split(' ').map(str::parse).collect::<Result<Vec<_>, _>>()?)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, network) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { " " };
            write!(f, "{separator}{network}")?;
        }
        Ok(())
    }
}

impl Field for Networks {
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.text(&self.to_string())
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.text_as(name, |text| text.parse().ok())
    }
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.0).finish()
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&*self.0)
    }
}

impl TryFrom<Vec<Network>> for Networks {
    type Error = Invalid;

    fn try_from(networks: Vec<Network>) -> Result<Self, Invalid> {
        Self::new(networks)
    }
}

by_parts!(Networks, Vec<Network>);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(text: &str) -> Networks {
        text.parse().unwrap()
    }

    #[test]
    fn corners() {
        for (text, shown) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "x", "192.0.2.0/33", "192.0.2/24", " ::1", "::/129", "192.0.2.0/-1"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let refused = "192.0.2.7/24".parse::<Network>().unwrap_err();
        assert_eq!(refused.problem(), &Problem::HostBits { corrected: "192.0.2.0/24".into() });
        assert!(refused.to_string().contains("192.0.2.0/24"));
        let many =
            |n: u8| Networks::new((0..n).map(|i| Network::new([10, 0, 0, i].into(), 32).unwrap()));
        assert!(many(64).is_ok() && many(65).is_err() && many(0).is_err());
    }

    #[test]
    fn mapped_addresses_are_those_of_ipv4() {
        let ours = networks("192.0.2.0/24");
        for (address, inside) in [
            ("192.0.2.9", true),
            ("::ffff:192.0.2.9", true),
            ("::192.0.2.9", false),
            ("192.0.3.9", false),
            ("::1", false),
        ] {
            assert_eq!(ours.contain(address.parse().unwrap()), inside, "{address}");
        }
        assert!(!networks("::/0").contain("192.0.2.9".parse().unwrap()));
    }

    fn network() -> impl Strategy<Value = Network> {
        // Close together, so that one often lies in another.
        (any::<bool>(), 0..4_u8, 0..=8_u8).prop_map(|(v6, at, len)| {
            let len = if v6 { 120 + len } else { 24 + len };
            let address: IpAddr =
                if v6 { [0, 0, 0, 0, 0, 0, 0, at.into()].into() } else { [10, 0, 0, at].into() };
            Network(IpNet::new(address, len).unwrap().trunc())
        })
    }

    proptest! {
        #[test]
        fn within_means_no_other_address(a in prop::collection::vec(network(), 1..4), b in prop::collection::vec(network(), 1..4), at in any::<u8>(), v6 in any::<bool>()) {
            let (a, b) = (Networks::new(a).unwrap(), Networks::new(b).unwrap());
            let address: IpAddr = if v6 { [0, 0, 0, 0, 0, 0, 0, at.into()].into() } else { [10, 0, 0, at].into() };
            prop_assert!(!(a.is_within(&b) && a.contain(address)) || b.contain(address));
            prop_assert_eq!(a.to_string().parse::<Networks>().unwrap(), a.clone());
            prop_assert!(a.is_within(&a));
        }
    }
}
