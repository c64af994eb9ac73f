//! Texts that people read: each reason in words of its own, each value so that it can be told from
//! others, and nothing of what is secret.

#![allow(clippy::unwrap_used)] // It is a test.

use std::collections::BTreeSet;

use crate::common::{HOUR, World, catalogue};
use keyhasp::key::{Lifetime, RejectReason, Seal, StoreRules};
use keyhasp::permission::PermissionSet;
use keyhasp::store::{PepperProblem, Unavailable};
use keyhasp::{Access, VerifyError};

#[test]
fn every_refusal_has_words_of_its_own() {
    let rejected_for = [
        (RejectReason::Suspended, "suspended"),
        (RejectReason::Revoked, "revoked"),
        (RejectReason::Blocked, "blocked"),
        (RejectReason::Deactivated, "deactivated"),
        (RejectReason::Expired, "expired"),
        (RejectReason::Superseded, "superseded"),
    ];
    let rejected_for =
        rejected_for.map(|(rejected_for, word)| (VerifyError::Rejected(rejected_for), word));
    let unavailable = [
        (Unavailable::Closed, "closed"),
        (Unavailable::ForeignWriter, "another program"),
        (Unavailable::Forked, "after forking"),
        (Unavailable::Recovering, "took effect"),
        (Unavailable::RulesChanged, "rules"),
        (Unavailable::Stale, "max_staleness"),
    ];
    let unavailable = unavailable.map(|(why, word)| (VerifyError::Unavailable(why), word));
    let all = [(VerifyError::Unrecognized, "recognized")]
        .into_iter()
        .chain(rejected_for)
        .chain(unavailable);
    let all: Vec<_> = all.map(|(refusal, word)| (refusal.to_string(), word)).collect();
    for (text, word) in &all {
        assert!(text.contains(word), "{text:?} without {word:?}");
    }
    let different: BTreeSet<&str> = all.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(different.len(), all.len());
}

#[test]
fn a_pepper_is_missing_or_wrong() {
    assert!(PepperProblem::Missing.to_string().contains("open the store with it"));
    assert!(PepperProblem::Wrong.to_string().contains("another pepper"));
}

#[test]
fn a_seal_shows_how_long_it_is_and_not_what() {
    let seal = Seal { key_number: 7, nonce: [0xab; 24], ciphertext: vec![0xcd; 91].into() };
    let text = format!("{seal:?}");
    assert!(text.contains("key_number: 7") && text.contains("ciphertext_len: 91"), "{text}");
    for byte in ["ab", "cd", "171", "205"] {
        assert!(!text.replace("Seal", "").contains(byte), "{byte} in {text}");
    }
}

#[test]
fn rules_are_told_apart() {
    let month = Lifetime::new(Some(HOUR * 24 * 30), None).unwrap();
    let texts = (0..16_u8).map(|bits| {
        let rules = StoreRules {
            unique_names: bits & 1 != 0,
            keep_standard_key: bits & 2 != 0,
            recoverable_tokens: bits & 4 != 0,
            lifetime: if bits & 8 == 0 { Lifetime::NONE } else { month },
        };
        rules.to_string()
    });
    let texts: BTreeSet<String> = texts.collect();
    assert_eq!(texts.len(), 16);
    let one = "unique_names=true keep_standard_key=false recoverable_tokens=true \
               lifetime=max:2592000000ms,default:none";
    assert!(texts.contains(one));
}

/// As one number, so that what is allowed can be compared in a log.
#[test]
fn a_set_of_permissions_shows_its_bits() {
    let set: PermissionSet = Access::Full.compile(&catalogue());
    assert_eq!(format!("{set:?}"), format!("PermissionSet({:064x})", 0b1111));
    let world = World::new();
    let (_, issued) = world.owner("org");
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    assert!(!format!("{verified:?}").contains(issued.token.expose()));
}
