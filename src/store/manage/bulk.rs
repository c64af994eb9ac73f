//! Many changes that don't depend on each other, in pieces: each has its own outcome, and other callers
//! commit between two pieces.

use super::keys::Manager;
use super::retry::Decision;
use crate::authority::Authority;
use crate::backend::{Applied, BackendErrorKind};
use crate::id::{KeyId, OwnerId, Version};
use crate::store::engine::Engine;
use crate::store::types::bulk::PIECE;
use crate::store::types::error::Error;
use crate::store::types::request::{CreateKey, KeyAction};
use crate::store::types::views::{ChangedKey, Issued};

impl Manager {
    pub(in crate::store) fn create_keys(
        &self,
        authority: &Authority,
        requests: &[(OwnerId, CreateKey)],
    ) -> Vec<Result<Issued, Error>> {
        let decide = |(owner, request): &(OwnerId, CreateKey)| {
            self.decide_creation(authority, owner, request)
        };
        let alone =
            |(owner, request): &(OwnerId, CreateKey)| self.create_key(authority, owner, request);
        in_pieces(&self.engine, requests, decide, alone)
    }

    pub(in crate::store) fn revoke_keys(
        &self,
        authority: &Authority,
        ids: &[KeyId],
        expected: Option<Version>,
    ) -> Vec<Result<ChangedKey, Error>> {
        let revoke = &KeyAction::Revoke;
        let decide = |id: &KeyId| self.decide_action(authority, *id, revoke, expected);
        let alone = |id: &KeyId| self.change_key(authority, *id, revoke, expected);
        in_pieces(&self.engine, ids, decide, alone)
    }

    pub(in crate::store) fn purge_keys(
        &self,
        authority: &Authority,
        ids: &[KeyId],
        expected: Option<Version>,
    ) -> Vec<Result<(), Error>> {
        let decide = |id: &KeyId| self.decide_purge(authority, *id, expected);
        let alone = |id: &KeyId| self.purge_key(authority, *id, expected);
        in_pieces(&self.engine, ids, decide, alone)
    }
}

/// Makes a call for each item, and commits the changes of a piece together. An item that can't be decided
/// on, or whose change is refused, is left to `alone`, which makes the whole call for it. What stands
/// before an item that can't be decided on is committed by then, so that it may rest on that. What stands
/// behind a refused change is committed before it is decided again.
fn in_pieces<'a, I, T>(
    engine: &Engine,
    items: &[I],
    decide: impl Fn(&I) -> Result<Decision<'a, T>, Error>,
    alone: impl Fn(&I) -> Result<T, Error>,
) -> Vec<Result<T, Error>> {
    let decide = |item: &I| {
        let decision = decide(item)?;
        match &decision {
            Decision::Commit(change, _) => engine.expect_room(change)?,
            Decision::Answer(_) => {}
        }
        Ok::<_, Error>(decision)
    };
    let mut outcomes = Vec::with_capacity(items.len());
    for mut piece in items.chunks(PIECE) {
        while !piece.is_empty() {
            let decisions: Vec<_> = piece.iter().map_while(|item| decide(item).ok()).collect();
            let (decided, rest) = piece.split_at(decisions.len());
            outcomes.extend(commit_together(engine, decided, decisions, &alone));
            piece = rest;
            if let Some((undecided, rest)) = piece.split_first() {
                outcomes.push(alone(undecided));
                piece = rest;
            }
        }
    }
    outcomes
}

/// Commits what was decided on some items in one durable write, and answers for each of them.
fn commit_together<'a, I, T>(
    engine: &Engine,
    items: &[I],
    decisions: Vec<Decision<'a, T>>,
    alone: &impl Fn(&I) -> Result<T, Error>,
) -> Vec<Result<T, Error>> {
    let (mut changes, mut answers) = (Vec::new(), Vec::new());
    for decision in decisions {
        answers.push(match decision {
            Decision::Answer(answer) => Answer::Ready(answer),
            Decision::Commit(change, answer) => {
                changes.push(change);
                Answer::Committed(answer)
            }
        });
    }
    let changed: Vec<bool> =
        answers.iter().map(|answer| matches!(answer, Answer::Committed(_))).collect();
    let answered = engine.commit_each(&changes, |applied| {
        let mut applied = applied.into_iter();
        let answer = |answer| match answer {
            Answer::Ready(answer) => Some(answer),
            Answer::Committed(answer) => applied.next()?.ok().map(answer),
        };
        answers.into_iter().map(answer).collect::<Vec<_>>()
    });
    match answered {
        Ok(answers) => {
            // Those that changed are committed. What was found as it should be must hold here too.
            let holds = changed.iter().all(|is| *is) || engine.await_published().is_ok();
            let outcome = |((answer, changed), item)| match answer {
                Some(answer) if changed || holds => Ok(answer),
                _ => alone(item),
            };
            answers.into_iter().zip(changed).zip(items).map(outcome).collect()
        }
        Err(error) => {
            // Nothing has happened, and one item's damage may be the reason.
            let is_damage = matches!(
                &error,
                Error::Backend(error) if error.kind() == BackendErrorKind::Corrupt
            );
            let items = changed.into_iter().zip(items);
            let outcome = |(changed, item)| match changed && !is_damage {
                true => Err(error.clone()),
                false => alone(item),
            };
            items.map(outcome).collect()
        }
    }
}

/// The answer for an item of a piece.
enum Answer<'a, T> {
    /// Nothing changes.
    Ready(T),
    /// Made of the outcome of the item's change.
    Committed(Box<dyn FnOnce(Applied) -> T + 'a>),
}
