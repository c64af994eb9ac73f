//! One sequence of calls. After each call, everything is compared.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyhasp::id::KeyId;
use keyhasp::store::Store;
use keyhasp::token::{Inspection, inspect};
use keyhasp::{Error, KeyStore, ManualClock, Timestamp, VerifiedKey};

use crate::backends::Place;
use crate::calls::{Call, Who};
use crate::chance::Chance;
use crate::compare;
use crate::coverage::Coverage;
use crate::generate::{Generator, Mood, next_moment};
use crate::model::{Answer, Fresh, Model, Reason};
use crate::opening;
use crate::perform::Desk;
use crate::source::Source;
use crate::walk::Walk;
use crate::witness::Witness;

/// The steps of a clock that is ahead for one call: an hour, three days, a year.
const JUMPS: [Duration; 3] = [
    Duration::from_secs(3_600),
    Duration::from_secs(3 * 24 * 3_600),
    Duration::from_secs(365 * 24 * 3_600),
];

/// A store, and the parts of it that tests call beside the port.
pub(crate) trait Asked: KeyStore {
    fn flush_usage(&self) -> Result<(), Error>;
    fn run_alerts(&self) -> Result<usize, Error>;
    fn work_sweeps(&self, pieces: usize) -> Result<u64, Error>;
}

impl Asked for Store {
    fn flush_usage(&self) -> Result<(), Error> {
        Self::flush_usage(self)
    }

    fn run_alerts(&self) -> Result<usize, Error> {
        Self::run_alerts(self)
    }

    fn work_sweeps(&self, pieces: usize) -> Result<u64, Error> {
        self.work_sweeps_for_tests(pieces)
    }
}

/// A layer between the driver and the store: none, or one with an injected bug.
pub(crate) type Wrap<'a> = &'a dyn Fn(Arc<dyn Asked>, &Arc<ManualClock>) -> Arc<dyn Asked>;

/// A difference between model and store.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    what: String,
    trace: Vec<String>,
}

/// A token that was issued.
#[derive(Debug)]
pub(crate) struct Issue {
    pub(crate) key: KeyId,
    pub(crate) generation: u32,
    pub(crate) text: String,
}

/// One call, its answer and the model's.
pub(crate) struct Step {
    at: Timestamp,
    who: Who,
    call: Call,
    told: Option<Reason>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, who, call, told } = self;
        let text = format!("{at} {who:?} {call:?}");
        // Settings can be long.
        let short: String = text.chars().take(900).collect();
        match told {
            Some(reason) => write!(f, "{short} -> refused: {reason:?}"),
            None => write!(f, "{short} -> answered"),
        }
    }
}

/// A running sequence.
pub(crate) struct Sequence<'a> {
    pub(crate) seed: u64,
    pub(crate) chance: Chance,
    pub(crate) mood: Mood,
    pub(crate) model: Model,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) random_fails: Arc<AtomicBool>,
    pub(crate) place: &'a mut dyn Place,
    pub(crate) wrap: Wrap<'a>,
    pub(crate) store: Arc<Store>,
    /// The same store, as a `KeyStore`.
    pub(crate) asked: Arc<dyn Asked>,
    /// Stores that were opened before and can't be closed.
    pub(crate) former: Vec<Arc<Store>>,
    pub(crate) openings: u64,
    /// The last id that this opening made.
    pub(crate) last_id: Option<KeyId>,
    /// The latest time at which this opening answered a call.
    pub(crate) latest: Timestamp,
    /// The time to which a clock that is ahead is set right.
    pub(crate) right_again: Option<Timestamp>,
    pub(crate) issued: Vec<Issue>,
    pub(crate) ever: Vec<KeyId>,
    pub(crate) grants: Vec<VerifiedKey>,
    pub(crate) walk: Option<Walk>,
    /// Another store on the same database, if that is shared.
    pub(crate) witness: Option<Witness>,
    pub(crate) seen_events: u64,
    /// Whether each call is printed when it is made, for sequences that end in a panic.
    pub(crate) is_replay: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) coverage: &'a mut Coverage,
}

/// Runs a sequence.
pub(crate) fn run(
    seed: u64,
    calls: usize,
    place: &mut dyn Place,
    wrap: Wrap<'_>,
    coverage: &mut Coverage,
) -> Result<(), Failure> {
    let mut chance = Chance::new(seed);
    let start = Timestamp::from_millis(1_780_000_000_000 + chance.below(1_000) as u64).unwrap();
    let model = Model::new(start, opening::rules(&mut chance), opening::first(&mut chance));
    let clock = Arc::new(ManualClock::new(start));
    let random_fails = Arc::new(AtomicBool::new(false));
    let builder = opening::whole_builder(&model.opening, model.rules)
        .clock(Arc::clone(&clock) as _)
        .random(Source::new(seed, Arc::clone(&random_fails)));
    let store = Arc::new(place.open(builder).unwrap());
    let mut sequence = Sequence {
        seed,
        mood: Mood::new(&mut chance),
        chance,
        model,
        random_fails,
        asked: wrap(Arc::clone(&store) as _, &clock),
        clock,
        place,
        wrap,
        store,
        former: Vec::new(),
        openings: 1,
        last_id: None,
        latest: start,
        right_again: None,
        issued: Vec::new(),
        ever: Vec::new(),
        grants: Vec::new(),
        walk: None,
        witness: None,
        seen_events: 0,
        is_replay: std::env::var_os("KEYHASP_SEED").is_some()
            && std::env::var_os("KEYHASP_SEQUENCES").is_none(),
        steps: Vec::new(),
        coverage,
    };
    let outcome = (0..calls).try_for_each(|_| sequence.step()).and_then(|()| sequence.end());
    outcome.map_err(|what| sequence.failure(what))
}

/// Returns a text that shows the difference.
pub(crate) type Checked = Result<(), String>;

impl Sequence<'_> {
    fn step(&mut self) -> Checked {
        // As a thread does by itself: what the last step asked for is leased as of that step.
        self.store.fetch_leases().map_err(|error| format!("fetching leases: {error:?} heard"))?;
        self.move_clock();
        let is_closed = self.place.outlives_its_store();
        if self.chance.percent(3)
            && opening::is_possible(&self.model)
            && !self.model.closing_spends(is_closed)
        {
            self.reopen()?;
        }
        self.model.random_fails = self.chance.percent(2);
        let mut generator = Generator {
            chance: &mut self.chance,
            model: &self.model,
            grants: &self.grants,
            ever: &self.ever,
            mood: &self.mood,
        };
        let (who, call) = generator.call();
        self.call(who, call)?;
        self.model.random_fails = false;
        self.check_events()?;
        let held_back = self.model.held_back();
        self.check_tokens()?;
        if self.model.held_back() > held_back && self.chance.percent(50) {
            // Which alerts of a flood are held back shows only before the minute is over.
            self.call_out()?;
        }
        self.check_health()?;
        if self.chance.percent(15) {
            self.look_at_everything()?;
        }
        self.walk()?;
        self.ask_witness()
    }

    fn move_clock(&mut self) {
        let jump = self.mood.jumps && self.chance.percent(10);
        let next = if let Some(right) = self.right_again.take() {
            self.clock.set(right);
            right
        } else if jump {
            // The clock is ahead for one call.
            self.right_again = Some(self.model.now);
            let ahead = self.model.now.saturating_add(self.chance.pick(&JUMPS));
            self.clock.set(ahead);
            ahead
        } else {
            let next = next_moment(&mut self.chance, &self.mood, &self.model);
            let by = next.since(self.model.now);
            if next > self.model.now {
                self.clock.advance(by);
                self.model.expected = self.model.expected.saturating_add(by);
            } else {
                self.clock.set(next);
            }
            next
        };
        self.model.now = next;
        self.latest = self.latest.max(next);
        // As a poll in the background does if the database is shared.
        self.store.refresh().unwrap();
    }

    /// Makes the same call on the store and the model.
    fn call(&mut self, who: Who, call: Call) -> Checked {
        if self.is_replay {
            eprintln!("{} {who:?} {call:?}", self.model.now);
        }
        let desk = Desk::new(&self.asked, &who);
        self.random_fails.store(self.model.random_fails, Ordering::SeqCst);
        let heard = desk.perform(&*self.asked, &call);
        self.random_fails.store(false, Ordering::SeqCst);
        // A cursor is refused only if there was one.
        let refused = Fresh { gave_cursor: true, ..Fresh::default() };
        let fresh = heard.as_ref().map_or(&refused, |(_, fresh)| fresh);
        let before = self.model.last_event;
        let expected = self.model.call(desk.authority(), &call, fresh);
        let told = heard.as_ref().err().map(Reason::of);
        // Pieces pass nothing on but themselves.
        let is_piece = matches!(call, Call::WorkSweeps { .. });
        if self.model.last_event > before && !is_piece
            || told.as_ref().is_some_and(Reason::is_of_commit)
        {
            self.model.purge_if_due();
        }
        self.note(who, call, told.clone());
        match (expected, heard) {
            (Ok(expected), Ok((heard, fresh))) => {
                let differences = compare::answers(&expected, &heard);
                if !differences.is_empty() {
                    return Err(differences.join("\n"));
                }
                if let Answer::Shown(shown) = &heard {
                    self.coverage.note_shown(shown);
                }
                self.learn(fresh)
            }
            (Err(reasons), Err(_)) if told.as_ref().is_some_and(|told| reasons.contains(told)) => {
                Ok(())
            }
            (Ok(_), Err(error)) => Err(format!("an answer expected, {error:?} heard")),
            (Err(reasons), Err(error)) => {
                Err(format!("one of {reasons:?} expected, {error:?} heard"))
            }
            (Err(reasons), Ok((heard, _))) => {
                Err(format!("one of {reasons:?} expected, {heard:?} heard"))
            }
        }
    }

    fn note(&mut self, who: Who, call: Call, told: Option<Reason>) {
        self.coverage.note_call(&call, told.as_ref());
        self.steps.push(Step { at: self.model.now, who, call, told });
    }

    /// Notes a token that was issued.
    fn learn(&mut self, fresh: Fresh) -> Checked {
        let Some((id, text)) = fresh.token else { return Ok(()) };
        let key = &self.model.keys[&id];
        let shape = Inspection::WellFormed { prefix: key.prefix, id };
        if inspect(text.as_bytes()) != shape || !text.starts_with(key.prefix.as_str()) {
            return Err(format!("a token of another shape: {:?}", inspect(text.as_bytes())));
        }
        if self.issued.iter().any(|issue| issue.text == text) {
            return Err("a token that was issued before".into());
        }
        let generation = key.current.generation;
        if generation == 1 {
            self.check_new_id(id)?;
            self.ever.push(id);
            self.last_id = Some(id);
        }
        self.issued.push(Issue { key: id, generation, text });
        Ok(())
    }

    /// Checks an id. It has the layout of a UUID 7 and is later than those before it. Its time is
    /// now, or a later time at which an id was drawn before the clock stepped back.
    fn check_new_id(&self, id: KeyId) -> Checked {
        let millis = |id: KeyId| u64::try_from(id.as_u128() >> 80).unwrap();
        let value = id.as_u128();
        let is_uuid_7 = value >> 76 & 0xf == 7 && value >> 62 & 0b11 == 0b10;
        let now = self.model.now.as_millis();
        let is_of_now = (now..=self.latest.as_millis() + 1).contains(&millis(id));
        let is_in_order = is_of_now && self.last_id.is_none_or(|last| id > last);
        if is_uuid_7 && is_in_order && !self.ever.contains(&id) {
            return Ok(());
        }
        Err(format!("key id {id} after {:?} at {now}", self.last_id))
    }

    fn failure(&self, what: String) -> Failure {
        let steps = self.steps.iter().enumerate();
        let trace = steps.map(|(at, step)| format!("{at:>3} {step}")).collect();
        Failure { seed: self.seed, what, trace }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.trace {
            writeln!(f, "{step}")?;
        }
        writeln!(f, "{}", self.what)?;
        write!(f, "replay it with KEYHASP_SEED={}", self.seed)
    }
}
