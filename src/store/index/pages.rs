//! Memory that grows by parts and is never given back.

use std::sync::OnceLock;

const PARTS: usize = 1 << 12;

/// A growing array whose elements never move, so that readers need no lock: parts of 1, 1, 2, 4 …
/// up to `LARGEST` elements (a power of two), and from there on all of that size.
#[derive(Debug)]
pub(super) struct Pages<T, const LARGEST: u32> {
    parts: Box<[OnceLock<Box<[T]>>]>,
}

impl<T, const LARGEST: u32> Pages<T, LARGEST> {
    /// How many parts come before the first of the largest size that isn't reached by doubling.
    const SMALL_PARTS: u32 = LARGEST.ilog2() + 1;

    pub(super) fn new() -> Self {
        Self { parts: (0..PARTS).map(|_| OnceLock::new()).collect() }
    }

    /// Which part an element lies in, where, and how large that part is.
    #[inline]
    fn locate(at: u32) -> (usize, usize, u32) {
        if at >= LARGEST {
            let part = Self::SMALL_PARTS + (at - LARGEST) / LARGEST;
            return (part as usize, (at % LARGEST) as usize, LARGEST);
        }
        match at.checked_ilog2() {
            None => (0, 0, 1),
            Some(log) => (log as usize + 1, (at - (1 << log)) as usize, 1 << log),
        }
    }

    /// An element that was made.
    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&T> {
        let (part, offset, _) = Self::locate(at);
        self.parts.get(part)?.get()?.get(offset)
    }

    /// An element; its part is made if it isn't there yet. `None` past the limit.
    pub(super) fn get_or_make(&self, at: u32, make: impl Fn() -> T) -> Option<&T> {
        let (part, offset, size) = Self::locate(at);
        let part = self.parts.get(part)?.get_or_init(|| (0..size).map(|_| make()).collect());
        part.get(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_has_a_place_of_its_own() {
        let mut expected = (0, 0);
        for at in 0..5_000 {
            let (part, offset, size) = Pages::<u8, 512>::locate(at);
            assert_eq!((part, offset), expected, "{at}");
            expected = if offset + 1 == size as usize { (part + 1, 0) } else { (part, offset + 1) };
        }
    }

    #[test]
    fn past_the_limit_there_is_nothing() {
        let pages = Pages::<(), 4>::new();
        let limit = (0..).find(|at| pages.get_or_make(*at, || ()).is_none()).unwrap();
        assert!(limit > 4 * (PARTS as u32 - 4));
        assert!(pages.get(limit - 1).is_some() && pages.get(limit).is_none());
    }
}
