//! An input, taken apart from front to back. What is missing at its end is zero or empty.

pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `limit`, which is at least 1.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        let bytes = if limit <= 1 << 8 { 1 } else { 4 };
        self.take(bytes).iter().fold(0, |number, byte| number << 8 | usize::from(*byte)) % limit
    }

    pub(super) fn number(&mut self) -> i64 {
        self.take(8).iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
    }

    /// Up to so many bytes.
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes whose number stands before them.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let len = self.byte().into();
        self.take(len)
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn choose<'b, T>(&mut self, among: &'b [T]) -> &'b T {
        &among[self.below(among.len())]
    }
}
