//! Openings, closings and recoveries during which operations fail.

use std::path::Path;
use std::sync::Arc;

use keyhasp::backend::BackendErrorKind as Kind;
use keyhasp::store::Unavailable;
use keyhasp::{CreateOwner, Error, EventKind, VerifyError};
use keyhasp_faults::dump::Dump;
use keyhasp_faults::failing::{Failing, Failure, Plan};
use keyhasp_faults::mutations::id;
use keyhasp_faults::vfs::watch;
use keyhasp_faults::world::{Opening, Verdict, World, await_recovery, scratch};

use crate::ground::{Ground, Template};
use keyhasp_faults::expected::{dump, same};

/// Lets the first operation fail, the second and so on; returns how many there were.
fn each_in_turn(failure: Failure, lasting: bool, mut run: impl FnMut(Plan) -> bool) -> u64 {
    let plan = |nth| Plan { failure, nth, lasting };
    (1..).take_while(|nth| run(plan(*nth))).count() as u64
}

/// Opens a new database, one that was closed, and one that a killed process left with a log.
pub fn opening(failure: Failure, lasting: bool, shared: bool) -> u64 {
    let closed = Template::new(Ground::JustOpened);
    let left = Template::new(Ground::WasKilled);
    let mut failed = 0;
    for template in [None, Some(&closed), Some(&left)] {
        let opening = Opening { shared, ..Opening::default() };
        let there = template.map(|template| {
            let directory = scratch();
            template.lay(directory.path());
            State::of(&World::open(directory.path(), &opening).unwrap(), template)
        });
        failed += each_in_turn(failure, lasting, |plan| {
            let directory = scratch();
            if let Some(template) = template {
                template.lay(directory.path());
            }
            let failing = Arc::new(Failing::new(directory.path()));
            let _watched = watch(directory.path(), Arc::<Failing>::clone(&failing) as _);
            failing.arm(plan);
            let opened = World::open(directory.path(), &opening);
            let Some(struck) = failing.struck() else {
                failing.heal();
                opened.unwrap();
                return false;
            };
            failing.heal();
            let context = format!("{plan:?}, {struck}, {:?}", template.map(|t| t.ground));
            if let Err(error) = &opened {
                check_error(error, &context);
            }
            drop(opened);
            let again = World::open(directory.path(), &opening);
            let again = again.unwrap_or_else(|error| panic!("{context}: {error:?}"));
            match (&there, template) {
                (Some(there), Some(template)) => there.assert_is(&again, template, &context),
                _ => {
                    let events = dump(&again).unwrap().events;
                    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
                    assert_eq!(kinds, [EventKind::StoreCreated], "{context}");
                }
            }
            let _ = again.admin.create_owner(&id("another"), CreateOwner::without_key()).unwrap();
            true
        });
    }
    failed
}

/// Closes a store; if the closing fails, it is closed and has lost nothing.
pub fn closing(failure: Failure, lasting: bool, shared: bool) -> u64 {
    let template = Template::new(Ground::InUse);
    let opening = Opening { shared, ..Opening::default() };
    each_in_turn(failure, lasting, |plan| {
        let directory = scratch();
        let failing = Arc::new(Failing::new(directory.path()));
        let _watched = watch(directory.path(), Arc::<Failing>::clone(&failing) as _);
        let world = prepared(&template, directory.path(), &opening);
        let there = State::of(&world, &template);
        failing.arm(plan);
        let closed = world.store.close();
        let Some(struck) = failing.struck() else {
            closed.unwrap();
            return false;
        };
        let context = format!("{plan:?}, {struck}");
        if let Err(error) = &closed {
            check_error(error, &context);
        }
        assert_eq!(world.store.health().unavailable, Some(Unavailable::Closed));
        failing.heal();
        drop(world);
        let again = World::open(directory.path(), &opening);
        let again = again.unwrap_or_else(|error| panic!("{context}: {error:?}"));
        there.assert_is(&again, &template, &context);
        true
    })
}

/// Recovers from a failed sync of the log, while an operation of the recovery fails too.
pub fn recovering(failure: Failure, lasting: bool, shared: bool) -> u64 {
    let template = Template::new(Ground::InUse);
    let opening = Opening { shared, ..Opening::default() };
    let block = |world: &World| world.admin.block(template.cast.active);
    let sync = Plan { failure: Failure::Sync, nth: 1, lasting: false };
    each_in_turn(failure, lasting, |plan| {
        let directory = scratch();
        let path = directory.path();
        let failing = Arc::new(Failing::new(path));
        let _watched = watch(path, Arc::<Failing>::clone(&failing) as _);
        let world = prepared(&template, path, &opening);
        let before = State::of(&world, &template);
        failing.arm(sync);
        let answer = block(&world);
        assert!(matches!(answer, Err(Error::OutcomeUnknown(_))), "{answer:?}");
        failing.arm_for_all(plan);
        let recovered = world.store.recover();
        let struck = failing.struck();
        let context = format!("{plan:?}, {struck:?}");
        if let Err(error) = &recovered {
            let is_expected = matches!(error, Error::Unavailable(Unavailable::Recovering))
                || matches!(error, Error::Backend(_));
            assert!(is_expected, "{context}: {error:?}");
        }
        if recovered.is_err() && lasting {
            let verdict = world.verdicts(&template.cast.tokens)[0];
            let indeterminate = Err(VerifyError::Unavailable(Unavailable::Recovering));
            assert_eq!(verdict, indeterminate, "{context}");
        }
        failing.heal();
        await_recovery(&*world.store).unwrap_or_else(|why| panic!("{context}: {why}"));
        let found = State::of(&world, &template);
        found.dump.check().unwrap();
        let is_blocked = found.dump.keys[&template.cast.active].blocked.is_some();
        if !is_blocked {
            before.assert_is(&world, &template, &context);
            block(&world).unwrap();
        }
        let settled = State::of(&world, &template);
        let differs = before.dump.differs(&settled.dump);
        assert_eq!(differs.len(), 2, "{context}: {differs:?}");
        drop(world);
        let again = World::open(path, &opening).unwrap();
        settled.assert_is(&again, &template, &context);
        struck.is_some()
    })
}

fn prepared(template: &Template, directory: &Path, opening: &Opening<'_>) -> World {
    template.lay(directory);
    let world = World::open(directory, opening).unwrap();
    template.prepare(&world, directory);
    world
}

/// Checks that the error of a failing disk doesn't blame the file.
fn check_error(error: &Error, context: &str) {
    let (Error::Backend(error) | Error::OutcomeUnknown(error)) = error else {
        panic!("{context}: {error:?}");
    };
    let kinds = [Kind::Full, Kind::Io, Kind::OutcomeUnknown];
    assert!(kinds.contains(&error.kind()), "{context}: {error:?}");
}

/// Records and verdicts.
struct State {
    dump: Dump,
    verdicts: Vec<Verdict>,
}

impl State {
    fn of(world: &World, template: &Template) -> Self {
        let verdicts = world.verdicts(&template.cast.tokens);
        Self { dump: dump(world).unwrap(), verdicts }
    }

    fn assert_is(&self, world: &World, template: &Template, context: &str) {
        let found = Self::of(world, template);
        let differs = found.dump.differs(&self.dump);
        assert!(differs.is_empty(), "{context}: {differs:?}");
        same(&found.verdicts, &self.verdicts).unwrap_or_else(|why| panic!("{context}: {why}"));
    }
}
