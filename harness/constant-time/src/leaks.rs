//! Injected leaks of the harness itself. If memcheck missed these, its silence would prove nothing.

use std::hint::black_box;

use crate::memcheck;

/// Returns the names of the leaks, and the errors that memcheck saw in each.
pub fn leaks() -> [(&'static str, usize); 2] {
    let secret: [u8; 42] = std::array::from_fn(|at| b'a' + at as u8 % 26);
    memcheck::make_secret(black_box(&secret));
    let secret = black_box(secret);
    let ((), comparing) = memcheck::errors_of(|| _ = black_box(is_same(&secret, &[b'a'; 42])));
    let ((), reading) = memcheck::errors_of(|| _ = black_box(digit(secret[20])));
    [
        ("a comparison that ends at the first difference", comparing),
        ("a table that is read at the place of a secret byte", reading),
    ]
}

#[inline(never)]
fn is_same(presented: &[u8; 42], stored: &[u8; 42]) -> bool {
    presented.iter().zip(stored).all(|(presented, stored)| presented == black_box(stored))
}

#[inline(never)]
fn digit(byte: u8) -> u8 {
    let table: [u8; 256] = black_box(std::array::from_fn(|at| (at as u8).wrapping_mul(7)));
    table[usize::from(byte)]
}
