//! Lists of networks, each once, however many keys have it.
//!
//! A list lies in a chain of lines with three networks in each, so that readers need no lock and no
//! counter, and the writer can use the lines again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::records::{Cells, Numbers, WORDS};
use crate::key::{Network, Networks};

/// How many networks lie in a line. The first word says what follows it: for each network how many
/// bits its addresses share, and whether it is one of IPv4; and in its upper half which line comes
/// next. Two words hold a network's address.
const IN_LINE: usize = 3;
/// How many bits describe a network in the first word.
const DESCRIBED: u32 = 10;
/// Set for a network that is there.
const THERE: u64 = 1 << 9;
/// Set for a network of IPv4.
const V4: u64 = 1 << 8;

/// What readers see: the lists by the number of their first line.
#[derive(Debug)]
pub(in crate::store::index) struct Lists(Cells);

/// The writer's side.
#[derive(Debug, Default)]
pub(in crate::store::index) struct ListNumbers {
    pub(in crate::store::index) numbers: Numbers,
    by_list: HashMap<Arc<Networks>, u32>,
    /// Each list, and how many refer to it.
    by_number: HashMap<u32, (Arc<Networks>, usize)>,
}

impl Lists {
    pub(in crate::store::index) fn new() -> Self {
        Self(Cells::new())
    }

    /// Whether an address lies in one of a list's networks. Who asks makes sure afterwards that the
    /// list is still the one that was meant; until then the answer may be anything.
    pub(in crate::store::index) fn contain(&self, list: u32, address: IpAddr) -> bool {
        let (kind, bits) = bits_of(address.to_canonical());
        let mut line = Some(list);
        // No list is longer.
        for _ in 0..Networks::MAX.div_ceil(IN_LINE) {
            let Some(cell) = line.and_then(|line| self.0.get(line)) else { return false };
            let first = cell.read(0);
            for at in 0..IN_LINE {
                let description = first >> (DESCRIBED * at as u32) & ((1 << DESCRIBED) - 1);
                let wide = |word| u128::from(cell.read(word));
                let network = wide(1 + 2 * at) << 64 | wide(2 + 2 * at);
                let shared = (description & 0xff) as u32;
                // All of them, if none is shared.
                let differing = (network ^ bits).checked_shr(128 - shared.min(128)).unwrap_or(0);
                if description & THERE != 0 && description & V4 == kind && differing == 0 {
                    return true;
                }
            }
            // 0 is none.
            line = u32::try_from(first >> 32).ok().and_then(|next| next.checked_sub(1));
        }
        false
    }
}

/// The family, and the address with its bits leading.
fn bits_of(address: IpAddr) -> (u64, u128) {
    match address {
        IpAddr::V4(address) => (V4, u128::from(address.to_bits()) << 96),
        IpAddr::V6(address) => (0, address.to_bits()),
    }
}

impl ListNumbers {
    /// The number of a list, one more time referred to; `None` past the limit.
    pub(in crate::store::index) fn put(
        &mut self,
        lists: &Lists,
        networks: &Networks,
    ) -> Option<u32> {
        if let Some(number) = self.by_list.get(networks) {
            let (_, referring) = self.by_number.get_mut(number)?;
            *referring += 1;
            return Some(*number);
        }
        // The last line first, so that each names the next.
        let mut next = None;
        for networks in networks.as_slice().chunks(IN_LINE).rev() {
            let Some((number, cell)) = self.numbers.take(&lists.0) else {
                self.give_back_from(lists, next);
                return None;
            };
            cell.fill(line(networks, next));
            next = Some(number);
        }
        let list = Arc::new(networks.clone());
        self.by_list.insert(Arc::clone(&list), next?);
        self.by_number.insert(next?, (list, 1));
        next
    }

    /// One refers to it no more.
    pub(in crate::store::index) fn release(&mut self, lists: &Lists, number: u32) {
        let Some((list, referring)) = self.by_number.get_mut(&number) else { return };
        *referring -= 1;
        if *referring > 0 {
            return;
        }
        self.by_list.remove(&*Arc::clone(list));
        self.by_number.remove(&number);
        self.give_back_from(lists, Some(number));
    }

    fn give_back_from(&mut self, lists: &Lists, first: Option<u32>) {
        let mut line = first;
        while let Some((number, cell)) = line.and_then(|line| Some((line, lists.0.get(line)?))) {
            line = u32::try_from(cell.read(0) >> 32).ok().and_then(|next| next.checked_sub(1));
            self.numbers.release(number);
        }
    }

    /// How many lists there are, and how many lines, used or not.
    #[cfg(test)]
    pub(in crate::store::index) fn count(&self) -> (usize, usize) {
        assert_eq!(self.by_list.len(), self.by_number.len());
        (self.by_list.len(), self.numbers.count().1)
    }
}

fn line(networks: &[Network], next: Option<u32>) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    words[0] = next.map_or(0, |next| u64::from(next) + 1) << 32;
    for (at, network) in networks.iter().enumerate() {
        let (kind, bits) = bits_of(network.address());
        let description = THERE | kind | u64::from(network.prefix_len());
        words[0] |= description << (DESCRIBED * at as u32);
        // The two halves of it.
        #[allow(clippy::cast_possible_truncation)]
        words[1 + 2 * at..][..2].copy_from_slice(&[(bits >> 64) as u64, bits as u64]);
    }
    words
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::super::records::REST;
    use super::*;

    /// Close together, so that addresses often lie in them.
    fn address() -> impl Strategy<Value = IpAddr> {
        let v4 = (0..4_u32, 28..32_u32).prop_map(|(low, at)| low << at);
        let v6 = (0..4_u128, 0..127_u32).prop_map(|(low, at)| low << at);
        prop_oneof![
            v4.prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
            v6.prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
            any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
            any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).to_ipv6_mapped().into()),
        ]
    }

    fn network() -> impl Strategy<Value = Network> {
        (address(), 0..=128_u8).prop_map(|(address, len)| {
            let address = address.to_canonical();
            match address {
                IpAddr::V4(v4) => {
                    let len = len % 33;
                    let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                    Network::new(Ipv4Addr::from_bits(v4.to_bits() & mask).into(), len).unwrap()
                }
                IpAddr::V6(v6) => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                    Network::new(Ipv6Addr::from_bits(v6.to_bits() & mask).into(), len).unwrap()
                }
            }
        })
    }

    proptest! {
        #[test]
        fn a_list_contains_what_its_networks_contain(
            networks in prop::collection::vec(network(), 1..=64),
            addresses in prop::collection::vec(address(), 1..20),
        ) {
            let networks = Networks::new(networks).unwrap();
            let (lists, mut numbers) = (Lists::new(), ListNumbers::default());
            let number = numbers.put(&lists, &networks).unwrap();
            let own = networks.as_slice().iter().map(Network::address);
            for address in addresses.into_iter().chain(own) {
                prop_assert_eq!(lists.contain(number, address), networks.contain(address), "{}", address);
            }
        }
    }

    #[test]
    fn lines_are_used_again() {
        let (lists, mut numbers) = (Lists::new(), ListNumbers::default());
        let list = |n: u32| {
            let own = |i: u32| Network::new(Ipv4Addr::from_bits(n << 8 | i).into(), 32).unwrap();
            Networks::new((0..1 + n % 64).map(own)).unwrap()
        };
        for n in 0..2_000 {
            let first = numbers.put(&lists, &list(n)).unwrap();
            assert_eq!(numbers.put(&lists, &list(n)), Some(first));
            assert_eq!(numbers.count().0, if n == 0 { 1 } else { 2 });
            if let Some(before) = n.checked_sub(1) {
                let before = *numbers.by_list.get(&list(before)).unwrap();
                numbers.release(&lists, before);
                assert!(numbers.by_number.contains_key(&before));
                numbers.release(&lists, before);
            }
            assert!(lists.contain(first, Ipv4Addr::from_bits(n << 8).into()));
            assert!(!lists.contain(first, Ipv4Addr::from_bits((n + 1) << 8).into()));
        }
        assert!(numbers.count().1 <= REST + 3 * 64_usize.div_ceil(IN_LINE));
    }
}
