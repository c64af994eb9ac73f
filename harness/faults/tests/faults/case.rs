//! A mutation during which one operation fails, and the checks afterwards.

use std::sync::Arc;

use keyhasp::Error;
use keyhasp::backend::Backend;
use keyhasp_faults::expected::{Expected, dump, text};
use keyhasp_faults::failing::{Failing, Plan};
use keyhasp_faults::mutations::Act;
use keyhasp_faults::tally::Ran;
use keyhasp_faults::vfs::watch;
use keyhasp_faults::world::{Opening, World, await_recovery, scratch};

use crate::ground::{self, Template};

/// A mutation on a ground.
pub struct Case<'a> {
    pub name: &'a str,
    pub act: Act,
    pub template: &'a Template,
    pub shared: bool,
    /// Wraps the backend before it is handed to the store.
    pub wrap: &'a dyn Fn(Arc<dyn Backend>) -> Arc<dyn Backend>,
}

impl Case<'_> {
    /// Makes the call without a failure, and keeps the states before and after. Time and randomness
    /// are the same in each run.
    pub fn expect(&self) -> Result<Expected, String> {
        let directory = scratch();
        let failing = Arc::new(Failing::new(directory.path()));
        let _watched = watch(directory.path(), failing);
        let world = self.open(directory.path())?;
        let expected = Expected::of(&world, &self.template.cast, self.act)?;
        drop(world);
        self.is_found(&expected, directory.path(), &[false, true])?;
        Ok(expected)
    }

    /// Lets one operation fail; `None` if the call makes fewer.
    pub fn run(&self, expected: &Expected, plan: Plan) -> Result<Option<Ran>, String> {
        let directory = scratch();
        let failing = Arc::new(Failing::new(directory.path()));
        let _watched = watch(directory.path(), Arc::<Failing>::clone(&failing) as _);
        let world = self.open(directory.path())?;
        // Otherwise a recovery thread would wait for ever after a failed check.
        let _released = Released(&failing);
        failing.arm(plan);
        let answer = (self.act)(&world, &self.template.cast);
        let Some(struck) = failing.struck() else {
            failing.heal();
            answer.map_err(text)?;
            expected.is(&world, &[true])?;
            return Ok(None);
        };
        self.after(expected, &world, &failing, plan.lasting, answer, directory.path())
            .map(Some)
            .map_err(|why| format!("{struck}: {why}"))
    }

    fn after(
        &self,
        expected: &Expected,
        world: &World,
        failing: &Failing,
        lasting: bool,
        answer: Result<Vec<String>, Error>,
        directory: &std::path::Path,
    ) -> Result<Ran, String> {
        let may_be = expected.heard(world, &answer)?;
        let crashed = scratch();
        ground::copy(directory, crashed.path());
        self.is_found(expected, crashed.path(), may_be).map_err(|why| format!("crashed: {why}"))?;

        failing.release();
        if lasting {
            // The recovery may fail; no answer may be wrong.
            if world.store.recover().is_err() {
                expected.indeterminate(&world.verdicts(expected.tokens()), answer.is_ok())?;
            }
            failing.heal();
            world.store.recover().map_err(text)?;
        }
        await_recovery(&*world.store)?;
        let took_effect = expected.is(world, may_be)?;
        expected.goes_on(world, self.name, self.act, &self.template.cast, took_effect)?;
        let last = dump(world)?;
        world.store.close().map_err(text)?;
        let again = self.open_as_it_is(directory)?;
        let found = dump(&again)?.differs(&last);
        if !found.is_empty() {
            return Err(format!("closed and opened, it differs in {}", found.join("; ")));
        }
        Ok(Ran::of(&answer, took_effect))
    }

    /// Opens the database as the next process would, and finds which of these states it has.
    fn is_found(
        &self,
        expected: &Expected,
        directory: &std::path::Path,
        may_be: &[bool],
    ) -> Result<bool, String> {
        expected.is(&self.open_as_it_is(directory)?, may_be)
    }

    fn open(&self, directory: &std::path::Path) -> Result<World, String> {
        self.template.lay(directory);
        let opening =
            Opening { shared: self.shared, seed: 9, wrap: self.wrap, ..Opening::default() };
        let world = World::open(directory, &opening).map_err(text)?;
        world.clock.advance(keyhasp_faults::world::HOUR / 2);
        self.template.prepare(&world, directory);
        Ok(world)
    }

    fn open_as_it_is(&self, directory: &std::path::Path) -> Result<World, String> {
        // Not earlier than the change: a store mends graces that began at a time to come.
        let opening = Opening::default();
        let now = opening.now.saturating_add(keyhasp_faults::world::HOUR / 2);
        let opening = Opening { shared: self.shared, seed: 10, now, ..opening };
        World::open(directory, &opening).map_err(|error| format!("open: {error:?}"))
    }
}

/// Releases waiting threads when it is dropped.
struct Released<'a>(&'a Failing);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.0.heal();
    }
}

impl std::fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, template, shared, .. } = self;
        write!(f, "{name} ({:?}{})", template.ground, if *shared { ", shared" } else { "" })
    }
}
