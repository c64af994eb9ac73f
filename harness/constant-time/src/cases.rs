//! The cases, and memcheck's findings in each.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyhasp::{RejectReason, Token, Verifier, VerifyError};

use crate::memcheck;
use crate::world::{PREFIXES, World};

/// Secret and checksum, at the end of a token.
const TAIL: usize = 42 + 6;

/// The answer to a token: its generation, or the error.
type Answer = Result<u32, VerifyError>;

/// A token, presented to a store.
pub struct Case {
    pub name: &'static str,
    token: Vec<u8>,
    expected: Answer,
    /// The most digests that it is compared with.
    comparisons: usize,
    /// Whether an answer decides anything. It doesn't under another prefix.
    decides: bool,
}

/// The part of the token that is marked secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// Secret and checksum of the token.
    Token,
    /// No part of it; the store's digests may be secret.
    Nothing,
}

/// The result of a case.
pub struct Outcome {
    /// Branches and addresses that depended on a secret.
    pub errors: usize,
    /// Answers of comparisons that were declassified.
    pub given_free: usize,
    /// Any other fault.
    pub fault: Option<String>,
}

/// Counts declassified answers.
static GIVEN_FREE: AtomicUsize = AtomicUsize::new(0);

/// Declassifies a comparison's answer; the library calls it.
#[cfg_attr(not(keyhasp_constant_time), allow(dead_code))]
pub fn declassify(answer: bool) -> bool {
    GIVEN_FREE.fetch_add(1, Ordering::Relaxed);
    memcheck::give_free(answer)
}

/// Makes all cases.
pub fn cases(world: &World) -> Vec<Case> {
    let refused = Err(VerifyError::Unrecognized);
    let blocked = Err(VerifyError::Rejected(RejectReason::Blocked));
    let whole = |name, token: &Token, expected, comparisons| Case {
        name,
        token: token.expose().into(),
        expected,
        comparisons,
        decides: true,
    };
    // A token ends with 42 characters of its secret and 6 of its checksum.
    let changed = |name, token: &Token, at: usize, comparisons| {
        let mut bytes: Vec<u8> = token.expose().into();
        let at = bytes.len() - TAIL + at;
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        Case { name, token: bytes, expected: refused, comparisons, decides: true }
    };
    let filled = |name, byte: u8| {
        let mut bytes: Vec<u8> = world.single.expose().into();
        let secret = bytes.len() - TAIL;
        bytes[secret..].fill(byte);
        Case { name, token: bytes, expected: refused, comparisons: 1, decides: true }
    };
    let mut other_prefix = whole("right secret, another prefix", &world.single, refused, 1);
    other_prefix.decides = false;
    other_prefix.token[..PREFIXES[1].len()].copy_from_slice(PREFIXES[1].as_bytes());
    let [under_first, under_second] = &world.two_peppers;
    vec![
        whole("right secret", &world.single, Ok(1), 1),
        changed("wrong first character of the secret", &world.single, 0, 1),
        changed("wrong middle character of the secret", &world.single, 20, 1),
        changed("wrong last character of the secret", &world.single, 41, 1),
        changed("wrong first character of the checksum", &world.single, 42, 1),
        changed("wrong last character of the checksum", &world.single, 47, 1),
        filled("bytes outside base62, below", 0),
        filled("bytes outside base62, between", b'-'),
        filled("bytes outside base62, above", 0xff),
        other_prefix,
        whole("newest of six tokens", &world.rotated[5], Ok(6), 6),
        whole("previous token in its grace", &world.rotated[2], Ok(3), 6),
        whole("earliest token in its grace", &world.rotated[0], Ok(1), 6),
        changed("wrong secret for six tokens", &world.rotated[5], 20, 6),
        whole("two peppers, token under the current one", under_second, Ok(2), 2),
        whole("two peppers, token under the other", under_first, Ok(1), 2),
        changed("two peppers, wrong secret", under_second, 20, 2),
        whole("blocked key, right secret", &world.blocked, blocked, 1),
        changed("blocked key, wrong secret", &world.blocked, 20, 1),
        whole("unknown id", &world.unknown, refused, 0),
        changed("unknown id, another secret", &world.unknown, 20, 0),
    ]
}

impl Case {
    /// Returns the most answers of comparisons that are acted upon.
    pub fn decisions(&self) -> usize {
        if self.decides { self.comparisons } else { 0 }
    }

    /// Presents the token. Looking at the answer is part of the case: nothing secret may be left in
    /// it.
    pub fn present(&self, verifier: &Verifier, secret: Secret) -> Outcome {
        let mut token = self.token.clone();
        let tail = token.len() - TAIL;
        if secret == Secret::Token {
            memcheck::make_secret(&black_box(&mut token)[tail..]);
        }
        let before = GIVEN_FREE.load(Ordering::Relaxed);
        let (answer, errors) = memcheck::errors_of(|| {
            let verified = verifier.verify(black_box(&token));
            black_box(verified.map(|verified| verified.generation().get()))
        });
        let (is_expected, more) = memcheck::errors_of(|| answer == self.expected);
        let given_free = GIVEN_FREE.load(Ordering::Relaxed) - before;
        let fault = if !is_expected {
            Some(format!("answered {answer:?} instead of {:?}", self.expected))
        } else if given_free > self.comparisons {
            Some(format!("{given_free} answers given free, of {} comparisons", self.comparisons))
        } else if memcheck::is_secret(&token[tail..]) != (secret == Secret::Token) {
            Some("the token's marks did not last".to_owned())
        } else {
            None
        };
        Outcome { errors: errors + more, given_free, fault }
    }
}
