//! Looks for secrets among bytes.

use std::collections::HashSet;
use std::path::Path;

/// How many bytes in a row give a secret away.
const WINDOW: usize = 16;

/// Parts of secrets, each as long as the window.
pub(crate) struct Scanner {
    parts: HashSet<[u8; WINDOW]>,
}

impl Scanner {
    /// Every part of every secret text.
    pub(crate) fn of<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let windows = secrets.into_iter().flat_map(|secret| secret.windows(WINDOW));
        Self { parts: windows.map(|part| part.try_into().unwrap()).collect() }
    }

    /// Where the first part of a secret stands.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<usize> {
        bytes.windows(WINDOW).position(|part| self.parts.contains(part))
    }
}

/// The secret part of a token: 42 characters before the 6 of its checksum.
pub(crate) fn secret_of(token: &str) -> &str {
    &token[token.len() - 48..token.len() - 6]
}

/// The ways in which bytes are printed: as they are, in hexadecimal, and as Debug lists them.
pub(crate) fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    let lines = format!("{bytes:#?}").trim_matches(['[', ']', '\n']).to_owned();
    vec![
        bytes.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        list.into_bytes(),
        lines.into_bytes(),
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
    for shown in [format!("{key:?}"), format!("{:#?}", vec![key]), format!("{:x}", key[0])] {
        assert_eq!(scanner.find(shown.as_bytes()).is_some(), shown.len() > 2, "{shown}");
    }
}
