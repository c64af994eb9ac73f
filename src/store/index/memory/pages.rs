//! Arrays that grow by parts and are never freed.

use std::sync::OnceLock;

use super::hints::prefer_huge_pages;

/// The most parts of one array.
const PARTS: usize = 1 << 12;

/// A growing array whose elements never move, so that readers need no lock.
///
/// It grows by an eighth at a time, so that little memory lies unused. A part has at most `LARGEST`
/// elements (a power of two), so that the writer doesn't spend long on making one.
///
/// A part is set once, by [`OnceLock`]. Its store is a release and its read an acquire: a reader
/// that was led to a number sees the part of that number initialised.
#[derive(Debug)]
pub(in super::super) struct Pages<T, const LARGEST: u32> {
    parts: Box<[OnceLock<Box<[T]>>]>,
}

impl<T, const LARGEST: u32> Pages<T, LARGEST> {
    /// The most elements.
    #[cfg(test)]
    pub(in super::super) const MOST: u64 =
        (PARTS as u64).saturating_sub(8 * LARGEST.ilog2() as u64) << LARGEST.ilog2();

    pub(in super::super) fn new() -> Self {
        Self { parts: (0..PARTS).map(|_| OnceLock::new()).collect() }
    }

    /// Returns an element's part, its offset there, and the part's size. There are 16 parts of 1
    /// element, then 8 of 2, 8 of 4 and so on; the rest have the largest size.
    #[inline]
    fn locate(at: u32) -> (usize, usize, u32) {
        let log = (at | 1).ilog2().saturating_sub(3).min(LARGEST.ilog2());
        let size = 1 << log;
        ((8 * log + (at >> log)) as usize, (at & (size - 1)) as usize, size)
    }

    /// Rounds a number of elements down to whole parts.
    pub(in super::super) fn whole_parts(elements: u32) -> u32 {
        elements - elements % Self::locate(elements).2
    }

    /// Returns an element, if its part was made.
    #[inline]
    pub(in super::super) fn get(&self, at: u32) -> Option<&T> {
        let (part, offset, _) = Self::locate(at);
        self.parts.get(part)?.get()?.get(offset)
    }

    /// Returns the elements from `at` to the end of its part.
    #[inline]
    pub(in super::super) fn from(&self, at: u32) -> &[T] {
        let (part, offset, _) = Self::locate(at);
        let part = self.parts.get(part).and_then(OnceLock::get);
        part.and_then(|part| part.get(offset..)).unwrap_or_default()
    }

    /// Returns an element, after making its part if there is none. `None` past the limit.
    ///
    /// The writer's side.
    pub(in super::super) fn get_or_make(&self, at: u32, make: impl Fn() -> T) -> Option<&T> {
        let (part, offset, size) = Self::locate(at);
        let part = self.parts.get(part)?.get_or_init(|| {
            let mut part = Vec::with_capacity(size as usize);
            prefer_huge_pages(&mut part);
            part.extend((0..size).map(|_| make()));
            part.into_boxed_slice()
        });
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
    fn whole_parts_are_filled() {
        let mut whole = 0;
        for elements in 0..5_000 {
            // A part begins here, so those before it are full.
            if Pages::<u8, 512>::locate(elements).1 == 0 {
                whole = elements;
            }
            assert_eq!(Pages::<u8, 512>::whole_parts(elements), whole);
        }
    }

    #[test]
    fn elements_of_a_part_lie_side_by_side() {
        let pages = Pages::<u32, 512>::new();
        assert!(pages.from(0).is_empty());
        for at in 0..5_000 {
            pages.get_or_make(at, || 0).unwrap();
        }
        for at in 0..5_000 {
            let (_, offset, size) = Pages::<u32, 512>::locate(at);
            let from = pages.from(at);
            assert_eq!(from.len(), size as usize - offset);
            assert!(std::ptr::eq(&raw const from[0], pages.get(at).unwrap()));
        }
    }

    #[test]
    fn past_the_limit_there_is_nothing() {
        let pages = Pages::<(), 4>::new();
        let limit = (0..).find(|at| pages.get_or_make(*at, || ()).is_none()).unwrap();
        assert_eq!(u64::from(limit), Pages::<(), 4>::MOST);
        assert!(pages.get(limit - 1).is_some() && pages.get(limit).is_none());
    }
}
