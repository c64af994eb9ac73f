//! Looks for secrets among bytes.

use std::collections::HashSet;
use std::path::Path;

/// Number of bytes in a row that give a secret away.
const WINDOW: usize = 16;

/// Parts of secrets, each as long as the window.
pub(crate) struct Scanner {
    parts: HashSet<[u8; WINDOW]>,
    /// Whether a part begins with these two bytes: most places need no closer look.
    begins: Vec<bool>,
}

impl Scanner {
    /// Every part of every secret text.
    pub(crate) fn of<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let windows = secrets.into_iter().flat_map(|secret| secret.windows(WINDOW));
        let parts: HashSet<[u8; WINDOW]> = windows.map(|part| part.try_into().unwrap()).collect();
        let mut begins = vec![false; 1 << 16];
        for part in &parts {
            begins[first_two(part)] = true;
        }
        Self { parts, begins }
    }

    /// Where the first part of a secret stands.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<usize> {
        let is_part = |part: &[u8]| self.begins[first_two(part)] && self.parts.contains(part);
        bytes.windows(WINDOW).position(is_part)
    }

    /// The same in a text, however it is broken into lines.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        let dense: String = text.split_whitespace().collect();
        self.find(dense.as_bytes()).is_some() || self.find(text.as_bytes()).is_some()
    }
}

fn first_two(part: &[u8]) -> usize {
    usize::from(part[0]) << 8 | usize::from(part[1])
}

/// The secret part of a token: 42 characters before the 6 of its checksum.
pub(crate) fn secret_of(token: &str) -> &str {
    &token[token.len() - 48..token.len() - 6]
}

/// The ways in which bytes are printed: as they are, in hexadecimal, and as Debug lists them, byte
/// by byte and as the words that the index holds.
pub(crate) fn forms(bytes: &[u8; 32]) -> Vec<Vec<u8>> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let words: Vec<u64> =
        bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    let list = |list: String| list.trim_matches(['[', ']']).replace(' ', "").into_bytes();
    vec![
        bytes.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        list(format!("{bytes:?}")),
        list(format!("{words:?}")),
    ]
}

/// Every file under a directory, with its bytes.
pub(crate) fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn what_stands_there_is_found() {
    let token = "acme_02QtLLzD2XsjK4AQTFZkzZ0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefABCDEF";
    assert_eq!(secret_of(token), "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef");
    let scanner = Scanner::of([secret_of(token).as_bytes()]);
    assert_eq!(scanner.find(format!("xx{token}").as_bytes()), Some(29));
    assert_eq!(scanner.find(&token.as_bytes()[40..60]), Some(0));
    assert_eq!(scanner.find(&token.as_bytes()[..40]), None);
    let key: [u8; 32] = std::array::from_fn(|i| u8::try_from(i * 7).unwrap());
    let forms = forms(&key);
    let scanner = Scanner::of(forms.iter().map(Vec::as_slice));
    let words = [u64::from_ne_bytes(key[..8].try_into().unwrap()); 1];
    for shown in [format!("{key:?}"), format!("{:#?}", vec![key]), format!("{words:?}")] {
        assert!(scanner.is_in(&shown), "{shown}");
    }
    assert!(!scanner.is_in("[0, 7, 14, 22]"));
}
