//! The names of keys.

use keyhasp::key::KeyName;
use keyhasp::{CreateKey, Key};
use serde_json::{Value, json};

use super::problem::Problem;

/// The setting that holds a name which keyhasp's own name can't hold.
const NAME: &str = "name";
const MAX_CHARACTERS: usize = 255;
/// The characters of a long name that are kept, so that its hash fits behind them, even at 4 bytes
/// a character.
const KEPT_CHARACTERS: usize = 40;

/// Names a new key. keyhasp's names have at most 255 bytes, no white space at their ends, and no
/// control or bidi characters; the names of this API have at most 255 characters of any kind. A name that doesn't fit gets a stand-in that
/// is as unique as the name, so that the store still keeps names unique.
pub(crate) fn name(request: CreateKey, name: String) -> Result<CreateKey, Problem> {
    if KeyName::new(&name).is_ok_and(|taken| taken.as_str() == name) {
        return Ok(request.name(name));
    }
    if name.chars().count() > MAX_CHARACTERS || name.contains('\0') {
        return Err(Problem::BAD_NAME);
    }
    let shown = name.chars().filter(|character| KeyName::new(format!("a{character}a")).is_ok());
    let shown: String = shown.take(KEPT_CHARACTERS).collect();
    let stand_in = format!("{shown} {}", blake3::hash(name.as_bytes()).to_hex());
    Ok(request.name(stand_in).settings(json!({ NAME: name })))
}

/// Returns the name of a key.
pub(crate) fn of(key: &Key) -> String {
    let name = key.settings.get(NAME).and_then(Value::as_str).map(ToOwned::to_owned);
    name.or_else(|| key.name.as_ref().map(ToString::to_string)).unwrap_or_default()
}
