//! Changes and refusals in words, for the author who reads of a failure.

use crate::backend::{Change, Precondition, Rejection, Write};

/// Names a change by what it writes and requires, such as `creating key 0193…, requiring owner acme at
/// version 1`.
pub(super) fn of_change(change: &Change) -> String {
    let writes = change.operations.iter().map(|operation| of_write(&operation.write));
    let mut parts: Vec<String> = writes.collect();
    if parts.is_empty() {
        parts.push("a change without writes".into());
    }
    parts
        .extend(change.preconditions.iter().map(|of| format!("requiring {}", of_precondition(of))));
    if let Some(once) = &change.once {
        let what = if once.replaces { "replacing" } else { "under" };
        parts.push(format!("{what} the request `{}`", once.record.id.key.as_str()));
    }
    if let Some(by) = change.lapse_expired_by {
        parts.push(format!("letting keys lapse that expired by {by}"));
    }
    if let Some(piece) = change.piece_of {
        parts.push(format!("as a piece of the sweep that event {} bound", piece.binding));
    }
    parts.join(", ")
}

/// Says a refusal in words, with the record that it is about.
pub(super) fn of_rejection(rejection: &Rejection) -> String {
    match rejection {
        Rejection::Conflict { of, .. } => format!("{rejection} ({})", of_precondition(of)),
        Rejection::SweepsPending(owner) => format!("{rejection} (owner {owner})"),
        _ => rejection.to_string(),
    }
}

/// Outcomes in words. A failure shows what has none as `Debug` does.
pub(super) trait Words {
    fn words(&self) -> String;
}

impl Words for Rejection {
    fn words(&self) -> String {
        of_rejection(self)
    }
}

impl<T> Words for Result<T, Rejection> {
    fn words(&self) -> String {
        match self {
            Ok(_) => "it took effect".into(),
            Err(rejection) => format!("refused: {}", of_rejection(rejection)),
        }
    }
}

impl<T: Words> Words for [T] {
    fn words(&self) -> String {
        let all: Vec<String> = self.iter().map(Words::words).collect();
        format!("[{}]", all.join("; "))
    }
}

impl<T: Words> Words for Vec<T> {
    fn words(&self) -> String {
        self[..].words()
    }
}

impl<T: Words, const N: usize> Words for [T; N] {
    fn words(&self) -> String {
        self[..].words()
    }
}

fn of_write(write: &Write) -> String {
    match write {
        Write::CreateMetadata(_) => "creating the store".into(),
        Write::ReplaceMetadata(next) => {
            format!("replacing the store's record by its version {}", next.version)
        }
        Write::CreateKey(key) => {
            let key = &key.record;
            let name = key.name.as_ref().map(|name| format!(" named `{}`", name.as_str()));
            let number = key.numeric_id.map(|id| format!(" with numeric id {id}"));
            let (name, number) = (name.unwrap_or_default(), number.unwrap_or_default());
            format!("creating key {}{name}{number} of owner {}", key.id, key.owner)
        }
        Write::ReplaceKey(key) if key.revoked.is_some() => {
            format!("revoking key {} by its version {}", key.id, key.version)
        }
        Write::ReplaceKey(key) => {
            format!("replacing key {} by its version {}", key.id, key.version)
        }
        Write::GrantKeyUses(key, _) => format!("granting uses to key {}", key.id),
        Write::RemoveKey(id, version) => format!("removing key {id} at version {version}"),
        Write::Quarantine(entry) => format!("laying a quarantine over key {}", entry.id),
        Write::RemoveDamagedKey(id) => format!("removing the damaged key {id}"),
        Write::SweepKey(id, version) => format!("sweeping key {id} at version {version}"),
        Write::RecordAlert(id, _) => format!("recording an alert of key {id}"),
        Write::CreateOwner(owner) => format!("creating owner {}", owner.id),
        Write::ReplaceOwner(owner) => {
            format!("replacing owner {} by its version {}", owner.id, owner.version)
        }
        Write::GrantOwnerUses(owner, _) => format!("granting uses to owner {}", owner.id),
        Write::RevokeKeys(owner) => format!("revoking all keys of owner {}", owner.id),
        Write::PurgeOwner(id, version) => format!("purging owner {id} at version {version}"),
        Write::RemoveOwner(id, version) => format!("removing owner {id} at version {version}"),
        Write::EndSweep(_) => "ending a sweep".into(),
        Write::Nothing => "an event alone".into(),
    }
}

fn of_precondition(of: &Precondition) -> String {
    match of {
        Precondition::StoreMetadata(version) => format!("the store's record at version {version}"),
        Precondition::Key(id, version) => format!("key {id} at version {version}"),
        Precondition::Owner(id, version) => format!("owner {id} at version {version}"),
        Precondition::Incarnation(id, incarnation) => {
            format!("incarnation {incarnation} of owner {id}")
        }
        Precondition::LiveKeys(id, count) => format!("{count} live keys of owner {id}"),
        Precondition::CreatedKeys(id, keys) => format!("{} keys created by key {id}", keys.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Version;
    use crate::testing::sample;

    #[test]
    fn a_change_and_a_refusal_are_named() {
        let (key, owner) = (sample::key(1, "acme").unwrap(), sample::owner("beta").unwrap());
        let both = [sample::create_key(&key).unwrap(), sample::remove_owner(&owner).unwrap()];
        let of = Precondition::Key(key.id, Version::FIRST);
        let change = sample::in_one(both).requiring(of.clone());
        let id = key.id;
        let named = format!(
            "creating key {id} of owner acme, removing owner beta at version 1, requiring key {id} at \
             version 1"
        );
        assert_eq!(of_change(&change), named);
        let conflict = Rejection::Conflict { expected: Version::FIRST, found: None, of };
        let said =
            format!("version 1 was expected, the record exists no more (key {id} at version 1)");
        assert_eq!(of_rejection(&conflict), said);
        assert_eq!(of_rejection(&Rejection::OwnerExists), "the owner already exists");
        let outcomes = [Ok(()), Err(Rejection::OwnerExists)];
        assert_eq!(outcomes.words(), "[it took effect; refused: the owner already exists]");
    }
}
