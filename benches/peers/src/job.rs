//! The questions to a contender, and the check of its answers.

use std::fmt::Debug;

/// One way to verify tokens, with all its keys.
pub trait Contender {
    /// Value by which the answer names a key or its owner.
    type Id: Debug + PartialEq;

    /// Returns the key or owner of a token, if the token is valid now.
    fn verify(&self, token: &str) -> Option<Self::Id>;
}

/// A contender and what it will be shown.
pub struct Trial<C: Contender> {
    pub contender: C,
    /// Good tokens of keys drawn at random, and the answer to each.
    pub good: Vec<(String, C::Id)>,
    /// Tokens that must be rejected: malformed, unknown, with a wrong secret, past the expiry.
    pub bad: Vec<String>,
}

/// Some verifications, ready to be repeated.
pub struct Job {
    pub name: &'static str,
    /// Number of tokens that one call of `run` verifies.
    pub batch: usize,
    pub run: Box<dyn FnMut()>,
}

impl Job {
    /// Works through the good tokens, a batch at each call, asserting each answer.
    ///
    /// # Panics
    /// If the contender accepts a token that it must reject.
    pub fn new<C: Contender + 'static>(name: &'static str, batch: usize, trial: Trial<C>) -> Self {
        let Trial { contender, good, bad } = trial;
        for token in &bad {
            assert_eq!(contender.verify(token), None, "{name} accepts {token}");
        }
        assert_eq!(good.len() % batch, 0);
        let mut at = 0;
        let run = move || {
            for (token, id) in &good[at..at + batch] {
                assert_eq!(contender.verify(token).as_ref(), Some(id));
            }
            at = (at + batch) % good.len();
        };
        Self { name, batch, run: Box::new(run) }
    }
}
