//! Memory that grows by parts and is never given back.

use std::sync::OnceLock;

/// From here on every part is of one size.
const LARGEST_PART: u32 = 512;
/// Parts of doubling size before that: 1, 1, 2, 4 … 256.
const SMALL_PARTS: u32 = LARGEST_PART.ilog2() + 1;
const PARTS: usize = 1 << 14;

/// A growing array whose elements never move, so that readers need no lock: parts of 1, 1, 2, 4 …
/// 512, 512, 512 … elements.
#[derive(Debug)]
pub(super) struct Pages<T> {
    parts: Box<[OnceLock<Box<[T]>>]>,
}

impl<T> Pages<T> {
    pub(super) fn new() -> Self {
        Self { parts: (0..PARTS).map(|_| OnceLock::new()).collect() }
    }

    /// The greatest number of elements.
    #[cfg(test)]
    const LIMIT: u32 = LARGEST_PART * (PARTS as u32 - SMALL_PARTS + 1);

    /// Which part an element lies in, where, and how large that part is.
    #[inline]
    fn locate(at: u32) -> (usize, usize, u32) {
        if at >= LARGEST_PART {
            let part = SMALL_PARTS + (at - LARGEST_PART) / LARGEST_PART;
            return (part as usize, (at % LARGEST_PART) as usize, LARGEST_PART);
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
            let (part, offset, size) = Pages::<u8>::locate(at);
            assert_eq!((part, offset), expected, "{at}");
            expected = if offset + 1 == size as usize { (part + 1, 0) } else { (part, offset + 1) };
        }
    }

    #[test]
    fn the_limit_is_the_end() {
        let pages = Pages::<()>::new();
        assert!(pages.get(0).is_none());
        assert!(pages.get_or_make(Pages::<()>::LIMIT - 1, || ()).is_some());
        assert!(pages.get_or_make(Pages::<()>::LIMIT, || ()).is_none());
        assert!(pages.get(Pages::<()>::LIMIT - 1).is_some());
    }
}
