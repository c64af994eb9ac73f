//! Lists of networks. Keys with the same list share it.
//!
//! A list lies in a chain of slab entries with three networks in each. So readers need no lock and
//! no counter, and the writer can use the entries again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::memory::slab::{Slab, SlabNumbers, WORDS};
use crate::key::{Network, Networks};

/// The most entries of lists of networks, each of which has three: a record has 29 bits for the number
/// of a list.
pub(in super::super) const MAX_NETWORKS: u32 = (1 << 29) - 1;
/// Networks of an entry. The first word describes each of them: the bits that its addresses share,
/// and whether it is one of IPv4. Its upper half names the next entry. Two words hold a network's
/// address.
const IN_ENTRY: usize = 3;
/// Bits that describe a network in the first word.
const DESCRIBED: u32 = 10;
/// Set for a network that is there.
const THERE: u64 = 1 << 9;
/// Set for a network of IPv4.
const V4: u64 = 1 << 8;

/// The readers' side: the lists by the number of their first entry.
#[derive(Debug)]
pub(super) struct NetworkLists(Slab);

/// The writer's side.
#[derive(Debug)]
pub(super) struct NetworkListNumbers {
    pub(super) numbers: SlabNumbers,
    by_list: HashMap<Arc<Networks>, u32>,
    /// Each list, and the number of its references.
    by_number: HashMap<u32, (Arc<Networks>, usize)>,
}

impl NetworkLists {
    pub(super) fn new() -> Self {
        Self(Slab::new())
    }

    /// Whether an address lies in one of a list's networks. The caller must make sure afterwards
    /// that the limits still name this list. Otherwise the answer may be anything.
    pub(super) fn contain(&self, list: u32, address: IpAddr) -> bool {
        let (kind, bits) = bits_of(address.to_canonical());
        let mut number = Some(list);
        // No list is longer. A chain that is being replaced may have a circle.
        for _ in 0..Networks::MAX.div_ceil(IN_ENTRY) {
            let Some(entry) = number.and_then(|number| self.0.get(number)) else { return false };
            let first = entry.read(0);
            for at in 0..IN_ENTRY {
                let description = first >> (DESCRIBED * at as u32) & ((1 << DESCRIBED) - 1);
                let wide = |word| u128::from(entry.read(word));
                let network = wide(1 + 2 * at) << 64 | wide(2 + 2 * at);
                let shared = (description & 0xff) as u32;
                // All addresses are in it, if they share no bit.
                let differing = (network ^ bits).checked_shr(128 - shared.min(128)).unwrap_or(0);
                if description & THERE != 0 && description & V4 == kind && differing == 0 {
                    return true;
                }
            }
            number = next_of(first);
        }
        false
    }
}

/// Returns the number of the next entry, by an entry's first word. 0 is none.
fn next_of(first: u64) -> Option<u32> {
    u32::try_from(first >> 32).ok()?.checked_sub(1)
}

/// Returns the family, and the address with its bits leading.
fn bits_of(address: IpAddr) -> (u64, u128) {
    match address {
        IpAddr::V4(address) => (V4, u128::from(address.to_bits()) << 96),
        IpAddr::V6(address) => (0, address.to_bits()),
    }
}

impl Default for NetworkListNumbers {
    fn default() -> Self {
        let numbers = SlabNumbers::up_to(MAX_NETWORKS - 1);
        Self { numbers, by_list: HashMap::new(), by_number: HashMap::new() }
    }
}

impl NetworkListNumbers {
    /// Whether there is such a list.
    pub(super) fn has(&self, networks: &Networks) -> bool {
        self.by_list.contains_key(networks)
    }

    /// Acquires a reference to a list, new or known; `None` past the limit.
    pub(super) fn acquire(&mut self, lists: &NetworkLists, networks: &Networks) -> Option<u32> {
        if let Some(number) = self.by_list.get(networks) {
            let (_, references) = self.by_number.get_mut(number)?;
            *references += 1;
            return Some(*number);
        }
        // The last entry first, so that each names the next.
        let mut next = None;
        for networks in networks.as_slice().chunks(IN_ENTRY).rev() {
            let Some((number, entry)) = self.numbers.acquire(&lists.0) else {
                self.release_chain(lists, next);
                return None;
            };
            entry.fill(pack(networks, next));
            next = Some(number);
        }
        let list = Arc::new(networks.clone());
        self.by_list.insert(Arc::clone(&list), next?);
        self.by_number.insert(next?, (list, 1));
        next
    }

    /// Releases a reference; the last one frees the list's entries.
    pub(super) fn release(&mut self, lists: &NetworkLists, number: u32) {
        let Some((list, references)) = self.by_number.get_mut(&number) else { return };
        *references -= 1;
        if *references > 0 {
            return;
        }
        self.by_list.remove(&*Arc::clone(list));
        self.by_number.remove(&number);
        self.release_chain(lists, Some(number));
    }

    fn release_chain(&mut self, lists: &NetworkLists, first: Option<u32>) {
        let mut next = first;
        while let Some((number, entry)) = next.and_then(|next| Some((next, lists.0.get(next)?))) {
            next = next_of(entry.read(0));
            self.numbers.release(number);
        }
    }

    /// Returns the numbers of lists, and of entries, used or not.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        assert_eq!(self.by_list.len(), self.by_number.len());
        (self.by_list.len(), self.numbers.count().1)
    }
}

/// Packs up to three networks, and the number of the next entry.
fn pack(networks: &[Network], next: Option<u32>) -> [u64; WORDS] {
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

    use super::super::super::memory::slab::QUARANTINE;
    use super::*;

    /// Addresses close together, so that they often lie in the networks.
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
            let (lists, mut numbers) = (NetworkLists::new(), NetworkListNumbers::default());
            let number = numbers.acquire(&lists, &networks).unwrap();
            let own = networks.as_slice().iter().map(Network::address);
            for address in addresses.into_iter().chain(own) {
                prop_assert_eq!(lists.contain(number, address), networks.contain(address), "{}", address);
            }
        }
    }

    #[test]
    fn entries_are_used_again() {
        let (lists, mut numbers) = (NetworkLists::new(), NetworkListNumbers::default());
        let list = |n: u32| {
            let own = |i: u32| Network::new(Ipv4Addr::from_bits(n << 8 | i).into(), 32).unwrap();
            Networks::new((0..1 + n % 64).map(own)).unwrap()
        };
        for n in 0..2_000 {
            let first = numbers.acquire(&lists, &list(n)).unwrap();
            assert_eq!(numbers.acquire(&lists, &list(n)), Some(first));
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
        assert!(numbers.count().1 <= QUARANTINE + 3 * 64_usize.div_ceil(IN_ENTRY));
    }
}
