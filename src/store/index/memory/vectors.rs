//! Vectors of the writer, which grow like pages.

/// Makes room for an element at `at`. A vector grows by an eighth, not to twice its size, so that little
/// memory lies unused.
pub(in super::super) fn make_room<T: Clone + Default>(elements: &mut Vec<T>, at: usize) {
    if at < elements.len() {
        return;
    }
    if at >= elements.capacity() {
        let eighth = (at / 8).max(8);
        elements.reserve_exact(at + eighth - elements.len());
    }
    elements.resize(at + 1, T::default());
}
