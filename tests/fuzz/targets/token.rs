//! Texts that may be tokens: `inspect`, `scan` and `verify` against a plain reading of the format.

use std::sync::Arc;

use keyhasp::backend::Memory;
use keyhasp::token::{Inspection, MAX_TOKEN_LEN, inspect, scan};
use keyhasp::{
    Access, AdminKeys, Catalogue, CreateKey, CreateOwner, KeyId, KeyStore, OwnerId, Prefix, Store,
    VerifyError,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The function under test: the crate's own, or one with an injected bug.
pub type Inspect = fn(&[u8]) -> Inspection;

pub fn run(data: &[u8]) {
    check(data, inspect);
}

/// Runs the checks with an injected bug: `inspect` ignores the checksum. The seeds must show it.
pub fn injected(data: &[u8]) {
    check(data, |text| match inspect(text) {
        Inspection::Mistyped => plain(text, false),
        told => told,
    });
}

fn check(data: &[u8], inspect: Inspect) {
    let told = inspect(data);
    assert_eq!(told, plain(data, true), "inspect");
    if let Inspection::WellFormed { prefix, id } = &told {
        let secret = &data[data.len() - 48..data.len() - 6];
        let printed = print(prefix.as_bytes(), id.as_u128(), secret);
        assert_eq!(printed, data, "parsed and printed");
        assert_eq!(inspect(&printed), told, "parsed, printed and parsed");
    }
    made_of(data, inspect);
    scanned(data);
    verified(data);
}

/// The format, read slowly.
fn plain(text: &[u8], sums: bool) -> Inspection {
    let len = text.len();
    if !(72..=MAX_TOKEN_LEN).contains(&len) || text[len - 71] != b'_' {
        return Inspection::NotAToken;
    }
    let body = &text[len - 70..];
    let prefix = str::from_utf8(&text[..len - 71]).ok();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let prefix = prefix.filter(|prefix| prefix.chars().all(allowed));
    let (Some(prefix), Some(id)) = (prefix, value(&body[..22])) else {
        return Inspection::NotAToken;
    };
    if !body.iter().all(u8::is_ascii_alphanumeric) {
        return Inspection::NotAToken;
    }
    let checksum = u128::from(crc32fast::hash(&text[..len - 6]));
    if sums && value(&body[64..]) != Some(checksum) {
        return Inspection::Mistyped;
    }
    Inspection::WellFormed { prefix: Prefix::new(prefix).unwrap(), id: KeyId::from_u128(id) }
}

fn value(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |value, digit| {
        let digit = DIGITS.iter().position(|known| known == digit)?;
        value.checked_mul(62)?.checked_add(digit as u128)
    })
}

fn digits(mut value: u128, count: usize) -> Vec<u8> {
    let mut digits = vec![b'0'; count];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(value % 62) as usize];
        value /= 62;
    }
    assert_eq!(value, 0);
    digits
}

fn print(prefix: &[u8], id: u128, secret: &[u8]) -> Vec<u8> {
    let mut text = [prefix, b"_", &digits(id, 22), secret].concat();
    text.extend(digits(crc32fast::hash(&text).into(), 6));
    text
}

/// A token made of the bytes is one; with another character in one place it is none.
fn made_of(data: &[u8], inspect: Inspect) {
    if data.len() < 60 {
        return;
    }
    let id = u128::from_be_bytes(*data.first_chunk().unwrap());
    let secret: Vec<u8> = data[16..58].iter().map(|byte| DIGITS[usize::from(*byte) % 62]).collect();
    let letters = b"abcdefghijklmnopqrstuvwxyz0123456789_";
    let prefix = data[60..].iter().take(31).map(|byte| letters[usize::from(*byte) % 37]);
    let prefix: Vec<u8> = [b'a'].into_iter().chain(prefix).collect();
    let mut text = print(&prefix, id, &secret);
    let prefix = Prefix::new(str::from_utf8(&prefix).unwrap()).unwrap();
    let well_formed = Inspection::WellFormed { prefix, id: KeyId::from_u128(id) };
    assert_eq!(inspect(&text), well_formed, "printed and parsed");
    let at = usize::from(data[58]) % text.len();
    text[at] = if text[at] == data[59] { !data[59] } else { data[59] };
    assert_ne!(inspect(&text), well_formed, "one character is another");
}

fn scanned(data: &[u8]) {
    let prefixes = ["acme", "acme_live", "_"].map(|text| Prefix::new(text).unwrap());
    let mut expected = Vec::new();
    for start in 0..data.len() {
        for prefix in &prefixes {
            let end = start + prefix.as_bytes().len() + 71;
            let Some(Inspection::WellFormed { prefix: found, id }) =
                data.get(start..end).map(|text| plain(text, true))
            else {
                continue;
            };
            if found == *prefix {
                expected.push((start..end, found, id));
            }
        }
    }
    let mut found: Vec<_> =
        scan(data, &prefixes).into_iter().map(|f| (f.range, f.prefix, f.id)).collect();
    let place = |(range, _, _): &(std::ops::Range<usize>, Prefix, KeyId)| (range.start, range.end);
    found.sort_by_key(place);
    expected.sort_by_key(place);
    assert_eq!(found, expected, "scan");
}

/// One token alone is accepted, of all texts.
fn verified(data: &[u8]) {
    thread_local! {
        static STORE: (Arc<dyn KeyStore>, String) = store();
    }
    STORE.with(|(store, token)| match store.verify(data) {
        Ok(_) => assert_eq!(data, token.as_bytes(), "let in"),
        Err(VerifyError::Unrecognized) => assert_ne!(data, token.as_bytes(), "refused"),
        Err(other) => panic!("{other:?}"),
    });
}

fn store() -> (Arc<dyn KeyStore>, String) {
    let catalogue = Catalogue::builder().read("links:read").build().unwrap();
    let builder = Store::builder(catalogue, [Prefix::new("acme").unwrap()]);
    let clock = keyhasp::ManualClock::new(keyhasp::Timestamp::MIN);
    let builder = builder.random(ChaCha20Rng::seed_from_u64(1)).clock(Arc::new(clock));
    let store: Arc<dyn KeyStore> = Arc::new(builder.open(Memory::new()).unwrap());
    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    let request = CreateOwner::with_key(CreateKey::new(Access::Full));
    let created = admin.create_owner(&OwnerId::new("a").unwrap(), request).unwrap();
    let token = created.first_key.unwrap().token.expose().to_owned();
    (store, token)
}

/// The token that is let in, for the seeds.
pub fn issued() -> String {
    store().1
}
