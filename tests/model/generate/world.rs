//! The names that all sequences use.

use std::time::Duration;

use keyhasp::Prefix;
use keyhasp::id::OwnerId;
use keyhasp::key::Lifetime;

use crate::chance::Chance;
use crate::model::Names;

/// All permissions that a catalogue may declare.
const NAMES: [(&str, bool); 7] = [
    ("links:read", true),
    ("links:write", false),
    ("stats:read", true),
    ("stats:export", false),
    ("READ_DEVICES", true),
    ("org:keys:write", false),
    ("org:keys:read", true),
];

/// The owners that a sequence uses.
pub(crate) fn owners() -> [OwnerId; 4] {
    ["acme", "b", "zoë", &"o".repeat(64)].map(|id| OwnerId::new(id).unwrap())
}

/// The prefixes that a sequence uses.
pub(crate) fn prefixes() -> Vec<Prefix> {
    let longest = "p".repeat(32);
    ["acme", "acme_live", "acme_test", "x", "_", "k9", "old", "new", &longest]
        .iter()
        .map(|text| Prefix::new(text).unwrap())
        .collect()
}

/// Picks a lifetime of keys, seldom one that bounds every expiry.
pub(crate) fn lifetime(chance: &mut Chance) -> Lifetime {
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
    let (max, default) = chance.pick(&[
        (None, None),
        (None, hours(1)),
        (None, hours(48)),
        (hours(1), None),
        (hours(40), hours(2)),
        (hours(48), hours(48)),
        (hours(31 * 24), None),
        (hours(31 * 24), hours(24)),
    ]);
    Lifetime::new(max, default).unwrap()
}

/// Makes a catalogue that a service may declare: some of all names, in any order.
pub(crate) fn catalogue(chance: &mut Chance) -> Names {
    let always = chance.below(NAMES.len());
    let declared = NAMES.into_iter().enumerate();
    let declared = declared.filter(|(at, _)| *at == always || chance.percent(85));
    let mut names: Names = declared.map(|(_, name)| name).collect();
    chance.shuffle(&mut names);
    names
}
