//! Random calls.

use keyhasp::{
    Access, ChangeRules, CreateKey, CreateOwner, Error, Issued, KeyId, OwnerId, Rotate, StoreRules,
    Timestamp, UpdateKey, UpdateOwner,
};
use keyhasp_faults::file_record::Chance;
use keyhasp_faults::mutations::{full, id, later, token};
use keyhasp_faults::world::World;
use serde_json::json;

/// What calls are about.
#[derive(Debug, Default)]
pub struct Known {
    owners: Vec<OwnerId>,
    keys: Vec<KeyId>,
    /// Every token that was issued.
    pub tokens: Vec<String>,
    /// How many owners there ever were.
    made: u64,
}

impl Known {
    fn keep(&mut self, issued: &Issued) {
        self.tokens.push(token(issued));
        self.keys.push(issued.key.id);
    }

    /// Makes one call, which may be refused.
    pub fn call(&mut self, world: &World, chance: &mut impl Chance) -> Result<(), Error> {
        let admin = &world.admin;
        if self.keys.is_empty() || chance.one_in(12) {
            self.made += 1;
            let owner = id(&format!("owner-{}", self.made));
            let created = admin.create_owner(&owner, CreateOwner::with_key(key(chance)))?;
            self.owners.push(owner);
            self.keep(&created.first_key.expect("it was asked for"));
            return Ok(());
        }
        let key_id = self.keys[pick(self.keys.len(), chance)];
        let owner = self.owners[pick(self.owners.len(), chance)];
        let done = |answer: Result<_, Error>| answer.map(|_: keyhasp::Key| ());
        match chance.below(26) {
            0..=3 => {
                let request = key(chance);
                admin.create(&owner, request).map(|issued| self.keep(&issued))
            }
            4..=6 => admin.rotate(key_id, Rotate::new()).map(|issued| self.keep(&issued)),
            7 | 8 => {
                let forced = Rotate::forced().unblock();
                admin.rotate(key_id, forced).map(|issued| self.keep(&issued))
            }
            9 => done(admin.deactivate(key_id)),
            10 => done(admin.activate(key_id)),
            11 => done(admin.block(key_id)),
            12 => done(admin.unblock(key_id)),
            13 | 14 => done(admin.revoke(key_id)),
            15..=18 => {
                let bulk = "x".repeat(pick(15_000, chance));
                done(admin.update(key_id, UpdateKey::new().settings(json!({ "bulk": bulk }))))
            }
            19 => admin.purge(key_id),
            20 => admin.suspend_owner(&owner).map(|_| ()),
            21 => match chance.one_in(2) {
                true => admin.resume_owner(&owner).map(|_| ()),
                false => admin.purge_owner(&owner),
            },
            22 => {
                let request = key(chance);
                let all = admin.revoke_all(&owner, Some(request))?;
                all.replacement.iter().for_each(|issued| self.keep(issued));
                Ok(())
            }
            23 => {
                let max_access = if chance.one_in(2) { Access::ReadOnly } else { Access::Full };
                admin.update_owner(&owner, UpdateOwner::new().max_access(max_access)).map(|_| ())
            }
            24 => match chance.below(3) {
                0 => admin.invalidate_tokens_issued_before(later(world, 0)).map(|_| ()),
                1 => {
                    admin.invalidate_owner_tokens_issued_before(&owner, later(world, 0)).map(|_| ())
                }
                _ => admin.prune_events(Timestamp::MAX).map(|_| ()),
            },
            _ => {
                let unique_names = chance.one_in(2);
                let rules =
                    StoreRules { unique_names, recoverable_tokens: true, ..StoreRules::default() };
                admin.change_rules(ChangeRules::new().rules(rules)).map(|_| ())
            }
        }
    }
}

fn key(chance: &mut impl Chance) -> CreateKey {
    if chance.one_in(4) { full().recoverable() } else { full() }
}

fn pick(len: usize, chance: &mut impl Chance) -> usize {
    usize::try_from(chance.below(len as u64)).expect("below a length")
}
