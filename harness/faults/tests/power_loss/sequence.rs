//! A sequence of calls, and the pictures taken meanwhile.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyhasp::store::Unavailable;
use keyhasp::{Clock, CreateOwner, Error, Timestamp};
use keyhasp_faults::dump::Dump;
use keyhasp_faults::file_record::Chance;
use keyhasp_faults::medium::{Image, Lie, Medium};
use keyhasp_faults::mutations::id;
use keyhasp_faults::vfs::watch;
use keyhasp_faults::world::{Opening, START, Verdict, World, scratch};

use crate::calls::Known;
use crate::camera::{Camera, Picture, Random};

/// How many calls a sequence has at most.
const CALLS: u64 = 90;
/// After so long a store that should recover by itself is one that never does.
const PATIENCE: Duration = Duration::from_secs(600);

/// What was looked at.
#[derive(Debug, Default)]
pub struct Counts {
    pub states: u64,
    pub acknowledged: u64,
    pub failed_syncs: u64,
    refused: u64,
    unknown: u64,
    again: u64,
    sequences: u64,
}

/// A state of the store that somebody was told of.
struct State {
    dump: Dump,
    verdicts: Vec<Verdict>,
    now: Timestamp,
}

/// Which states may be found.
#[derive(Clone, Copy, Debug)]
struct MayBe {
    /// The state that was acknowledged last.
    acknowledged: usize,
    /// The one that the call led to; the same if it led to none.
    next: usize,
    /// The outcome was unknown: then also what the call would have led to.
    doubtful: bool,
}

pub struct Sequence {
    /// Which calls are made.
    chance: Random,
    /// What is left by a cut. Apart from the calls: how many pictures there are depends on the
    /// store's own threads, and the calls of a seed must not.
    cuts: Random,
    camera: Arc<Camera>,
    known: Known,
    states: Vec<State>,
    world: Option<World>,
    shared: bool,
    /// Before one in so many operations of an opening a picture is taken.
    pace: u64,
}

/// How long a sequence is.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// A database is made and used.
    Whole,
    /// A database is made, and that is looked at more closely.
    OpeningAlone,
}

impl Sequence {
    /// Runs it; on a disk that lies, if told.
    pub fn run(
        seed: u64,
        length: Length,
        lie: Option<Lie>,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let (mut chance, cuts) = (Random::new(seed), Random::new(seed ^ 0xc075));
        let directory = scratch();
        let medium = Medium::new(directory.path());
        if let Some(lie) = lie {
            medium.lie(lie);
        }
        let camera = Arc::new(Camera::new(medium, seed ^ 0x5eed, 24));
        let _watched = watch(directory.path(), Arc::<Camera>::clone(&camera) as _);
        let shared = chance.one_in(4);
        let (known, states) = (Known::default(), Vec::new());
        let (calls, pace) = match length {
            Length::Whole => (chance.below(CALLS), 4),
            Length::OpeningAlone => (0, 1),
        };
        let mut sequence = Self { chance, cuts, camera, known, states, world: None, shared, pace };
        counts.sequences += 1;
        sequence.open(directory.path(), START)?;
        // What was under way when there was nothing: whatever is found, it is empty.
        sequence.note()?;
        sequence.look(MayBe { acknowledged: 0, next: 0, doubtful: false }, counts)?;
        for at in 0..calls {
            sequence
                .step(directory.path(), counts)
                .map_err(|why| format!("call {at} of {calls}: {why}"))?;
        }
        sequence.close()?;
        let last = sequence.states.len() - 1;
        sequence.look(MayBe { acknowledged: last, next: last, doubtful: false }, counts)?;
        is_as_recorded(&sequence.camera.medium, directory.path())
    }

    fn open(&mut self, directory: &Path, now: u64) -> Result<(), String> {
        let seed = self.chance.below(u64::MAX);
        let now = Timestamp::from_millis(now).map_err(text)?;
        let opening = Opening { shared: self.shared, seed, now, ..Opening::default() };
        // So little happens here, and so seldom, that it is looked at closely.
        self.camera.pace(self.pace);
        self.world = Some(World::open(directory, &opening).map_err(text)?);
        self.camera.pace(24);
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        self.world.take().map_or(Ok(()), |world| world.store.close()).map_err(text)
    }

    fn world(&self) -> &World {
        self.world.as_ref().expect("it is open")
    }

    /// One call, or something else that writes.
    fn step(&mut self, directory: &Path, counts: &mut Counts) -> Result<(), String> {
        let acknowledged = self.states.len() - 1;
        let same = MayBe { acknowledged, next: acknowledged, doubtful: false };
        // All of a sequence takes less than the bound of a shared store.
        self.world().clock.advance(Duration::from_secs(30));
        if self.chance.one_in(25) {
            let now = self.world().clock.now().as_millis();
            self.close()?;
            self.open(directory, now)?;
            return self.look(same, counts);
        }
        if self.chance.one_in(25) {
            // Nothing is in doubt, but it does what it does.
            self.world().backend.recover().map_err(text)?;
            return self.look(same, counts);
        }
        let fails = self.chance.one_in(10);
        if fails {
            let nth = 1 + self.chance.below(2);
            self.camera.medium.fail_sync(nth);
        }
        let world = self.world.take().expect("it is open");
        let answer = self.known.call(&world, &mut self.chance);
        let mut doubtful = false;
        match answer {
            Ok(()) => counts.acknowledged += 1,
            Err(Error::OutcomeUnknown(_) | Error::Backend(_)) if fails => {
                counts.unknown += 1;
                doubtful = true;
            }
            Err(error @ (Error::OutcomeUnknown(_) | Error::Backend(_) | Error::Unavailable(_))) => {
                return Err(text(error));
            }
            Err(_) => counts.refused += 1,
        }
        let started = Instant::now();
        while world.store.health().unavailable == Some(Unavailable::Recovering) {
            if started.elapsed() > PATIENCE {
                return Err("it didn't recover".to_owned());
            }
            std::thread::yield_now();
        }
        counts.failed_syncs += self.camera.medium.heal();
        self.world = Some(world);
        self.note()?;
        let next = self.states.len() - 1;
        self.look(MayBe { acknowledged, next, doubtful }, counts)?;
        // Now it is settled, whatever it was.
        self.camera.shoot();
        self.look(MayBe { acknowledged: next, next, doubtful: false }, counts)
    }

    /// Notes the state, if it is another one.
    fn note(&mut self) -> Result<(), String> {
        let world = self.world();
        let dump = Dump::of(&*world.backend).map_err(text)?;
        dump.check()?;
        if self.states.last().is_some_and(|last| last.dump.differs(&dump).is_empty()) {
            return Ok(());
        }
        let verdicts = world.verdicts(&self.known.tokens);
        let now = world.clock.now();
        self.states.push(State { dump, verdicts, now });
        Ok(())
    }

    /// Looks at the pictures taken since the last time.
    fn look(&mut self, may_be: MayBe, counts: &mut Counts) -> Result<(), String> {
        for Picture { image, before } in self.camera.pictures() {
            counts.states += 1;
            let context = |why| format!("the power was cut before {before}: {why}");
            self.open_picture(&image, may_be, counts).map_err(context)?;
        }
        Ok(())
    }

    fn open_picture(
        &mut self,
        image: &Image,
        may_be: MayBe,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let directory = scratch();
        lay(image, directory.path(), &mut self.cuts);
        let again = self.cuts.one_in(4).then(|| {
            let medium = Medium::new(directory.path());
            Arc::new(Camera::new(medium, self.cuts.below(u64::MAX), 6))
        });
        let _watched = again.as_ref().map(|again| watch(directory.path(), Arc::clone(again) as _));
        let opening = Opening { shared: self.shared, ..Opening::default() };
        let world = World::open(directory.path(), &opening)
            .map_err(|error| format!("it doesn't open: {error:?}"))?;
        let found = Dump::of(&*world.backend).map_err(text)?;
        found.check()?;
        self.judge(&found, &world, may_be)?;
        if let Some(again) = &again {
            // While it was opened; now nothing else may be found.
            let pictures = again.pictures();
            for Picture { image, before } in pictures {
                counts.again += 1;
                let directory = scratch();
                lay(&image, directory.path(), &mut self.cuts);
                let context = |why| format!("and again before {before}: {why}");
                let world = World::open(directory.path(), &opening).map_err(text);
                let world = world.map_err(context)?;
                let differs = found.differs(&Dump::of(&*world.backend).map_err(text)?);
                if !differs.is_empty() {
                    return Err(context(format!("lost: {differs:?}")));
                }
            }
        }
        let goes_on = world.admin.create_owner(&id("after"), CreateOwner::without_key());
        let _ = goes_on.map_err(|error| format!("it doesn't go on: {error:?}"))?;
        Dump::of(&*world.backend).map_err(text)?.check()?;
        world.store.close().map_err(text)
    }

    fn judge(&self, found: &Dump, world: &World, may_be: MayBe) -> Result<(), String> {
        let MayBe { acknowledged, next, doubtful } = may_be;
        for at in [acknowledged, next] {
            let state = &self.states[at];
            if found.differs(&state.dump).is_empty() {
                world.clock.set(state.now);
                let tokens = &self.known.tokens[..state.verdicts.len()];
                let verdicts = world.verdicts(tokens);
                return match verdicts.iter().zip(&state.verdicts).position(|(a, b)| a != b) {
                    None => Ok(()),
                    Some(at) => {
                        Err(format!("{:?} instead of {:?}", verdicts[at], state.verdicts[at]))
                    }
                };
            }
        }
        let last = &self.states[acknowledged].dump;
        if doubtful
            && found.events.len() > last.events.len()
            && found.events.starts_with(&last.events)
        {
            return Ok(());
        }
        let older =
            self.states[..acknowledged].iter().rposition(|old| found.differs(&old.dump).is_empty());
        Err(match older {
            Some(older) => format!("{} acknowledged changes are lost", acknowledged - older),
            None => format!("half applied, or come back: it differs in {:?}", found.differs(last)),
        })
    }
}

/// Lays a picture down, with what may lie beside it: the log's index, which means nothing, and a
/// copy of the log that was not finished.
fn lay(image: &Image, directory: &Path, chance: &mut impl Chance) {
    for (name, bytes) in image {
        fs::write(directory.join(name), bytes).unwrap();
    }
    if chance.one_in(3) {
        fs::write(directory.join("keys.db-shm"), vec![0x5a; 32_768]).unwrap();
    }
    if chance.one_in(8) {
        fs::write(directory.join("keys.db-wal.renewed"), vec![0x37; 5_000]).unwrap();
    }
}

/// The record of the files is what the files are.
fn is_as_recorded(medium: &Medium, directory: &Path) -> Result<(), String> {
    let recorded = medium.current();
    for name in ["keys.db", "keys.db-wal", "keys.db-journal"] {
        if recorded.get(name) != fs::read(directory.join(name)).ok().as_ref() {
            return Err(format!("{name} isn't as it was recorded"));
        }
    }
    Ok(())
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, acknowledged, failed_syncs, refused, unknown, again, sequences } = self;
        write!(
            f,
            "{states} states and {again} more of a second cut, {sequences} sequences, \
             {acknowledged} acknowledged, {refused} refused, {failed_syncs} syncs failed, \
             {unknown} of unknown outcome, 0 lost, 0 half-applied"
        )
    }
}

fn text(error: impl fmt::Debug) -> String {
    format!("{error:?}")
}
