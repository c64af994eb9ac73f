//! Measures the time of verifications from outside. It must not depend on the place at which a
//! wrong secret differs from the right one. Other differences are measured too, and not claimed to
//! be hidden.
//! `docs/constant-time.md` has the figures.
//!
//! Tokens are drawn at random, and all go through one buffer. `-- NUMBER` measures so often; the
//! default is ten million times.

mod random;
mod welch;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use keyhasp::backend::Memory;
use keyhasp::{
    Access, AdminKeys, Catalogue, CreateKey, CreateOwner, OwnerId, Peppers, Prefix, Rotate, Store,
    Token, Verifier, VerifyError,
};
use random::Random;
use welch::{CROPS, Samples};

/// The measurements of the claim by default; all others are a fifth as many.
const MEASUREMENTS: usize = 10_000_000;
/// The keys of each class.
const KEYS: usize = 16;
/// The wrong tokens made of each key's token.
const VARIANTS: usize = 20;
/// The greatest |t| that the claim allows.
const GREATEST_T: f64 = 5.0;
/// The length of secret and checksum, at the end of a token.
const TAIL: usize = 48;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Tokens of one sort, and the place in the secret at which they are made wrong.
struct Class<'a> {
    name: &'static str,
    tokens: &'a [Token],
    wrong_at: usize,
}

/// A token to be measured.
struct Wrong<'a> {
    class: usize,
    text: Vec<u8>,
    right: &'a [u8],
}

/// A store, and tokens that it knows or doesn't.
struct World {
    verifier: Verifier,
    known: Vec<Token>,
    unknown: Vec<Token>,
    rotated: Vec<Token>,
}

fn main() {
    let given = std::env::args().nth(1).map(|given| given.parse().expect("a number"));
    let measurements = given.unwrap_or(MEASUREMENTS).max(1_000);
    let world = World::new();
    let wrong = |name, tokens, wrong_at| Class { name, tokens, wrong_at };
    let known = &world.known[..];

    let places = [wrong("early", known, 0), wrong("middle", known, 20), wrong("late", known, 41)];
    let verify = |token: &[u8], _: &[u8]| {
        assert_eq!(black_box(world.verifier.verify(token)), Err(VerifyError::Unrecognized));
    };
    let worst = report("a wrong secret that differs", &places, measurements, verify);
    let holds = if worst < GREATEST_T { "holds" } else { "DOES NOT HOLD" };
    println!("claimed: |t| < {GREATEST_T}; the greatest is {worst:.2}: {holds}\n");

    let ids = [wrong("known id", known, 20), wrong("unknown id", &world.unknown, 20)];
    report("not claimed", &ids, measurements / 5, verify);
    let several = [wrong("one token", known, 20), wrong("six tokens", &world.rotated, 20)];
    report("not claimed", &several, measurements / 5, verify);

    // An injected leak must show.
    let leak = |token: &[u8], right: &[u8]| {
        let is_same = token.iter().zip(right).all(|(one, other)| black_box(one) == other);
        assert!(!black_box(is_same));
    };
    let seen = report("a comparison that leaks on purpose", &places, measurements / 5, leak);
    println!("injected leak: |t| = {seen:.0}, {}", if seen > 100.0 { "seen" } else { "NOT SEEN" });
}

/// Measures the classes in turns and prints each pair; returns the greatest |t|.
fn report(
    what: &str,
    classes: &[Class<'_>],
    measurements: usize,
    work: impl Fn(&[u8], &[u8]),
) -> f64 {
    let samples = measure(classes, measurements, work);
    println!("{what}, {measurements} measurements:");
    for (class, samples) in classes.iter().zip(&samples) {
        println!("  {}: {} of them, median {} ns", class.name, samples.len(), samples.median());
    }
    let mut worst = 0.0_f64;
    for crop in CROPS {
        let limit = welch::limit(&samples, crop);
        for one in 0..classes.len() {
            for other in one + 1..classes.len() {
                let (t, difference) = welch::t(&samples[one], &samples[other], limit);
                let names = format!("{} against {}", classes[one].name, classes[other].name);
                println!("  {names}, {}: t = {t:.2} ({difference:.3} ns)", crop.name);
                worst = worst.max(t.abs());
            }
        }
    }
    worst
}

/// Measures tokens drawn at random. A tenth as many measurements come first and don't count.
fn measure(
    classes: &[Class<'_>],
    measurements: usize,
    work: impl Fn(&[u8], &[u8]),
) -> Vec<Samples> {
    let mut random = Random::by_time();
    let drawn_from = wrong_tokens(classes, &mut random);
    let mut samples = vec![Samples::default(); classes.len()];
    let mut buffer = [0; keyhasp::token::MAX_TOKEN_LEN];
    for number in 0..measurements + measurements / 10 {
        let wrong = &drawn_from[random.below(drawn_from.len())];
        let presented = &mut buffer[..wrong.text.len()];
        presented.copy_from_slice(&wrong.text);
        let presented = black_box(presented);
        let started = Instant::now();
        work(presented, wrong.right);
        let taken = started.elapsed();
        if number >= measurements / 10 {
            samples[wrong.class].push(taken.as_nanos());
        }
    }
    samples
}

/// Makes the measured tokens beforehand, the same number from each key. Bytes written a moment ago
/// would be read faster.
fn wrong_tokens<'a>(classes: &[Class<'a>], random: &mut Random) -> Vec<Wrong<'a>> {
    let mut all = Vec::new();
    for (class, Class { tokens, wrong_at, .. }) in classes.iter().enumerate() {
        for right in tokens.iter().map(|token| token.expose().as_bytes()) {
            for _ in 0..VARIANTS {
                let mut text = right.to_vec();
                let place = &mut text[right.len() - TAIL + wrong_at];
                let before = *place;
                while *place == before {
                    *place = ALPHABET[random.below(ALPHABET.len())];
                }
                all.push(Wrong { class, text, right });
            }
        }
    }
    for last in (1..all.len()).rev() {
        all.swap(last, random.below(last + 1));
    }
    // Copied, so that they lie in memory in that order too.
    all.iter().map(|wrong| Wrong { text: wrong.text.clone(), ..*wrong }).collect()
}

impl World {
    fn new() -> Self {
        let (store, known) = store_with_keys();
        let admin = AdminKeys::new(Arc::<Store>::clone(&store), "root").expect("a name");
        let rotated = (0..KEYS).map(|_| {
            let (id, mut token) = create(&admin, "rotated");
            for _ in 0..5 {
                token = admin.rotate(id, Rotate::new()).expect("rotated").token;
            }
            token
        });
        let rotated = rotated.collect();
        Self { known, rotated, unknown: store_with_keys().1, verifier: Verifier::new(store) }
    }
}

/// Makes a store, and tokens of keys that have one token each.
fn store_with_keys() -> (Arc<Store>, Vec<Token>) {
    let catalogue = Catalogue::builder().read("links:read").write("links:write").build();
    let prefix = Prefix::new("acme_live").expect("a prefix");
    let builder = Store::builder(catalogue.expect("a catalogue"), [prefix])
        .peppers(Peppers::new(1, [0x5a; 32]).expect("a pepper"));
    let store = Arc::new(builder.open(Memory::new()).expect("a store"));
    let admin = AdminKeys::new(Arc::<Store>::clone(&store), "root").expect("a name");
    for owner in ["known", "rotated"] {
        let request = CreateOwner::without_key();
        admin.create_owner(&OwnerId::new(owner).expect("an id"), request).expect("created");
    }
    let tokens = (0..KEYS).map(|_| create(&admin, "known").1).collect();
    (store, tokens)
}

fn create(admin: &AdminKeys, owner: &str) -> (keyhasp::KeyId, Token) {
    let owner = OwnerId::new(owner).expect("an id");
    let issued = admin.create(&owner, CreateKey::new(Access::Full)).expect("created");
    (issued.key.id, issued.token)
}
