//! One sequence: calls, and after each of them everything compared.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyhasp::id::KeyId;
use keyhasp::key::StoreRules;
use keyhasp::store::{PepperProblem, Store, Unavailable};
use keyhasp::token::{Inspection, inspect};
use keyhasp::{Error, Grant, KeyStore, ManualClock, Prefix, Refusal, Timestamp};

use crate::backends::Place;
use crate::calls::{Call, EventQuery, KeyQuery, OwnerQuery, Side, Who};
use crate::chance::Chance;
use crate::compare;
use crate::coverage::Coverage;
use crate::generate::{Generator, Mood, next_moment};
use crate::model::{Answer, Fresh, Model, Reason};
use crate::opening;
use crate::perform::Desk;
use crate::source::Source;
use crate::walk::Walk;

/// What stands between the driver and the store: nothing, or something with a defect.
pub(crate) type Wrap<'a> = &'a dyn Fn(Arc<dyn KeyStore>) -> Arc<dyn KeyStore>;

/// Where model and store disagree.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    what: String,
    trace: Vec<String>,
}

/// A token that was issued.
#[derive(Debug)]
struct Issue {
    key: KeyId,
    generation: u32,
    text: String,
}

/// One call as it went.
struct Step {
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

/// A store on the same database, and the rules as they were when it was opened.
#[derive(Debug)]
struct Witness {
    store: Store,
    rules: (StoreRules, Vec<(Prefix, bool)>),
}

struct Sequence<'a> {
    seed: u64,
    chance: Chance,
    mood: Mood,
    model: Model,
    clock: Arc<ManualClock>,
    random_fails: Arc<AtomicBool>,
    place: &'a mut dyn Place,
    wrap: Wrap<'a>,
    store: Arc<Store>,
    /// The same store, as everybody sees it.
    asked: Arc<dyn KeyStore>,
    /// Stores that were opened before, where they can't be closed.
    former: Vec<Arc<Store>>,
    openings: u64,
    /// The last id that this opening made.
    last_id: Option<KeyId>,
    /// The latest time at which this opening was asked for something.
    latest: Timestamp,
    issued: Vec<Issue>,
    ever: Vec<KeyId>,
    grants: Vec<Grant>,
    walk: Option<Walk>,
    /// Another store on the same database, where it is shared.
    witness: Option<Witness>,
    seen_events: u64,
    /// Whether each call is told as it is made, for what ends in a panic.
    is_replay: bool,
    steps: Vec<Step>,
    coverage: &'a mut Coverage,
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
    let builder = opening::builder(&model.opening, model.rules)
        .clock(Arc::clone(&clock) as _)
        .random(Source::new(seed, Arc::clone(&random_fails)));
    let store = Arc::new(place.open(builder).unwrap());
    let mut sequence = Sequence {
        seed,
        mood: Mood::new(&mut chance),
        chance,
        model,
        clock,
        random_fails,
        asked: wrap(Arc::clone(&store) as _),
        place,
        wrap,
        store,
        former: Vec::new(),
        openings: 1,
        last_id: None,
        latest: start,
        issued: Vec::new(),
        ever: Vec::new(),
        grants: Vec::new(),
        walk: None,
        witness: None,
        seen_events: 0,
        is_replay: std::env::var_os("KEYHASP_SEED").is_some(),
        steps: Vec::new(),
        coverage,
    };
    let outcome = (0..calls).try_for_each(|_| sequence.step()).and_then(|()| sequence.end());
    outcome.map_err(|what| sequence.failure(what))
}

/// Whatever differs, in words.
type Checked = Result<(), String>;

impl Sequence<'_> {
    fn step(&mut self) -> Checked {
        self.move_clock();
        if self.chance.percent(3) {
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
        self.check_tokens()?;
        self.check_health()?;
        if self.chance.percent(15) {
            self.look_at_everything()?;
        }
        self.walk()?;
        self.ask_witness()
    }

    fn move_clock(&mut self) {
        let next = next_moment(&mut self.chance, &self.model);
        if next > self.model.now {
            self.clock.advance(next.since(self.model.now));
        } else {
            self.clock.set(next);
        }
        self.model.now = next;
        self.latest = self.latest.max(next);
        // What a poll in the background does where the database is shared.
        self.store.refresh().unwrap();
    }

    /// Asks the store and the model the same thing.
    fn call(&mut self, who: Who, call: Call) -> Checked {
        if self.is_replay {
            eprintln!("{} {who:?} {call:?}", self.model.now);
        }
        let desk = Desk::new(&self.asked, &who);
        self.random_fails.store(self.model.random_fails, Ordering::SeqCst);
        let heard = desk.perform(&*self.asked, &call);
        self.random_fails.store(false, Ordering::SeqCst);
        // A cursor is refused only if there was one.
        let refused = Fresh { token: None, gave_cursor: true };
        let fresh = heard.as_ref().map_or(&refused, |(_, fresh)| fresh);
        let expected = self.model.call(desk.authority(), &call, fresh);
        let told = heard.as_ref().err().map(Reason::of);
        self.note(who, call, told.clone());
        match (expected, heard) {
            (Ok(expected), Ok((heard, fresh))) => {
                let differences = compare::answers(&expected, &heard);
                if !differences.is_empty() {
                    return Err(differences.join("\n"));
                }
                if let Answer::Shown(shown) = &heard {
                    self.coverage.dropped += usize::from(shown["dropped"].is_u64());
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

    /// Takes note of a token that was issued.
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

    /// An id has the layout of a UUID 7, is later than those before it, and is of now, or of a
    /// later time at which one was drawn before the clock stepped back.
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

    /// The events since the last time.
    fn check_events(&mut self) -> Checked {
        let query = EventQuery { after: self.seen_events, ..EventQuery::default() };
        self.seen_events = self.model.last_event;
        self.compare_quietly(Call::Events { query })
    }

    /// Asks as an administrator for something that changes nothing.
    fn compare_quietly(&mut self, call: Call) -> Checked {
        let who =
            Who { side: Side::Admin, actor: "checks".into(), reason: None, correlation: None };
        let desk = Desk::new(&self.asked, &who);
        let heard = desk.perform(&*self.asked, &call);
        let (heard, fresh) = heard.map_err(|error| format!("{call:?}: {error:?} heard"))?;
        let expected = self.model.call(desk.authority(), &call, &fresh);
        let expected = expected.map_err(|reasons| format!("{call:?}: {reasons:?} expected"))?;
        let differences = compare::answers(&expected, &heard);
        if differences.is_empty() {
            return Ok(());
        }
        Err(format!("afterwards, {call:?}:\n{}", differences.join("\n")))
    }

    /// Verifies every token that was ever issued, and some that never were.
    fn check_tokens(&mut self) -> Checked {
        for issue in &self.issued {
            let expected = self.model.verify(issue.key, issue.generation);
            let heard = self.asked.verify(issue.text.as_bytes());
            if let Some(difference) = compare::verdicts(&expected, &heard, &*self.asked) {
                let (key, generation) = (issue.key, issue.generation);
                return Err(format!("token {generation} of {key}: {difference}"));
            }
            self.coverage.note_verdict(&expected);
            if let Ok(grant) = heard {
                let is_known = |known: &Grant| {
                    known.key() == grant.key() && known.generation() == grant.generation()
                };
                if !self.grants.iter().any(is_known) {
                    self.grants.push(grant);
                }
            }
        }
        for _ in 0..3 {
            let garbage = self.garbage();
            if self.issued.iter().any(|issue| issue.text.as_bytes() == garbage) {
                continue;
            }
            let heard = self.asked.verify(&garbage);
            if heard != Err(Refusal::Unrecognized) {
                let shown = String::from_utf8_lossy(&garbage).into_owned();
                return Err(format!("the made-up token {shown}: {heard:?} heard"));
            }
        }
        Ok(())
    }

    /// A token that nobody issued: mostly one that nearly was.
    fn garbage(&mut self) -> Vec<u8> {
        let Some(at) = self.issued.len().checked_sub(1) else { return b"acme_".to_vec() };
        let text = self.issued[self.chance.below(at + 1)].text.clone();
        let mut bytes = text.clone().into_bytes();
        let place = self.chance.below(bytes.len());
        match self.chance.below(8) {
            0 => bytes[place] = 0xff,
            1 => bytes.truncate(place),
            2 => bytes.push(b'0'),
            3 => bytes.make_ascii_uppercase(),
            4 => {
                // The same token under another prefix.
                let prefix = self.chance.pick(&crate::generate::prefixes());
                bytes = [prefix.as_bytes(), &bytes[bytes.len() - 71..]].concat();
            }
            5 => {
                // The secret of one key with the id of another.
                let other = &self.issued[self.chance.below(at + 1)].text;
                let tail = &other.as_bytes()[other.len() - 48..];
                let end = bytes.len() - 48;
                bytes.truncate(end);
                bytes.extend_from_slice(tail);
            }
            _ => bytes[place] = self.chance.pick(b"0Az_"),
        }
        bytes
    }

    fn check_health(&self) -> Checked {
        self.check_health_of(&*self.asked)
    }

    fn check_health_of(&self, store: &dyn KeyStore) -> Checked {
        let health = store.health();
        let tokens: usize = self.model.keys.values().map(|key| key.tokens().len()).sum();
        if health.unavailable.is_none() && health.tokens == tokens {
            return Ok(());
        }
        Err(format!("{tokens} tokens and good health expected, {health:?} heard"))
    }

    /// All keys, owners and rules, in pages of any size.
    fn look_at_everything(&mut self) -> Checked {
        let limit = Some(1 + self.chance.below(30));
        let states = Some(keyhasp::State::ALL.to_vec());
        let query = KeyQuery { states, limit, ..KeyQuery::default() };
        self.compare_quietly(Call::List { query })?;
        self.compare_quietly(Call::ListOwners {
            query: OwnerQuery { limit, ..OwnerQuery::default() },
        })?;
        self.compare_quietly(Call::Rules)?;
        if let Some(id) =
            self.chance.pick_late(&self.model.keys.keys().copied().collect::<Vec<_>>())
        {
            self.compare_quietly(Call::Get { id })?;
        }
        Ok(())
    }

    /// One page further in a list that other calls come between.
    fn walk(&mut self) -> Checked {
        match self.walk.take() {
            Some(walk) => self.walk = walk.on(&*self.asked, &self.model)?,
            None if self.chance.percent(10) => {
                self.walk = Some(Walk::new(&self.model, 1 + self.chance.below(3)));
            }
            None => {}
        }
        Ok(())
    }

    /// What a store that only learns from the event log says of all tokens, once it has polled.
    fn ask_witness(&mut self) -> Checked {
        if !self.place.is_shared() || self.chance.percent(50) {
            return Ok(());
        }
        let rules = (self.model.rules, self.model.prefixes.clone());
        if let Some(witness) = &self.witness {
            match witness.store.refresh() {
                Ok(()) if witness.rules == rules => {}
                Err(Error::Unavailable(Unavailable::RulesChanged)) if witness.rules != rules => {
                    self.witness = None;
                }
                heard => return Err(format!("the witness polls: {heard:?} heard")),
            }
        }
        if self.witness.is_none() {
            let builder = opening::builder(&self.model.opening, self.model.rules)
                .clock(Arc::clone(&self.clock) as _);
            let store = self.place.open(builder);
            let store = store.map_err(|error| format!("the witness opens: {error:?} heard"))?;
            self.witness = Some(Witness { store, rules });
        }
        let Some(witness) = &self.witness else { return Ok(()) };
        for issue in &self.issued {
            let expected = self.model.verify(issue.key, issue.generation);
            let heard = witness.store.verify(issue.text.as_bytes());
            if let Some(difference) = compare::verdicts(&expected, &heard, &witness.store) {
                let (key, generation) = (issue.key, issue.generation);
                return Err(format!("token {generation} of {key} at the witness: {difference}"));
            }
        }
        self.check_health_of(&witness.store)
    }

    /// Closes the store and opens it anew; first with what must be refused, now and then.
    fn reopen(&mut self) -> Checked {
        let next = opening::next(&mut self.chance, &self.model);
        self.witness = None;
        if self.place.outlives_its_store() {
            self.store.close().map_err(|error| format!("closing: {error:?} heard"))?;
        }
        self.refused_openings()?;
        self.model.reopen(next);
        self.open()?;
        self.look_at_everything()
    }

    fn open(&mut self) -> Checked {
        self.openings += 1;
        let builder = opening::builder(&self.model.opening, self.model.rules)
            .clock(Arc::clone(&self.clock) as _)
            .random(Source::new(self.seed ^ self.openings << 32, Arc::clone(&self.random_fails)));
        let store =
            self.place.open(builder).map_err(|error| format!("opening: {error:?} heard"))?;
        let former = std::mem::replace(&mut self.store, Arc::new(store));
        if !self.place.outlives_its_store() {
            self.former.push(former);
        }
        self.asked = (self.wrap)(Arc::clone(&self.store) as _);
        self.last_id = None;
        self.latest = self.model.now;
        Ok(())
    }

    /// Other rules, other prefixes, a wrong pepper, a missing one: each is refused, and changes
    /// nothing.
    fn refused_openings(&mut self) -> Checked {
        let right = self.model.opening.clone();
        let clock = Arc::clone(&self.clock);
        let outlives = self.place.outlives_its_store();
        let mut open = |opening: &crate::model::Opening, rules, peppers| {
            let builder = opening::builder(opening, rules).clock(Arc::clone(&clock) as _);
            self.place.open(builder.peppers(peppers)).map(|_| ())
        };
        let peppers = || opening::open_peppers(&right.peppers);
        let is_pepper = |told: &Result<(), Error>, number: u16, expected: PepperProblem| matches!(told, Err(Error::Pepper { number: n, problem }) if *n == number && *problem == expected);

        let mut rules = self.model.rules;
        rules.unique_names = !rules.unique_names;
        let told = open(&right, rules, peppers());
        if !matches!(told, Err(Error::RulesDiffer(_))) {
            return Err(format!("opened with other rules: {told:?} heard"));
        }
        let mut other = right.clone();
        other.prefixes = opening::other_prefixes(&right);
        let told = open(&other, self.model.rules, peppers());
        if !matches!(told, Err(Error::RulesDiffer(_))) {
            return Err(format!("opened with other prefixes: {told:?} heard"));
        }
        if right.peppers[0] != 0 {
            let number = right.peppers[0];
            let wrong = keyhasp::Peppers::new(number, [0xee; 32]).unwrap();
            let told = open(&right, self.model.rules, wrong);
            if !is_pepper(&told, number, PepperProblem::Wrong) {
                return Err(format!("opened with a wrong pepper {number}: {told:?} heard"));
            }
        }
        // A store that fails so late takes memory along.
        let live = self.model.keys.values().filter(|key| key.is_live());
        let needed: BTreeSet<u16> = live.map(|key| key.current.pepper).collect();
        if let Some(number) = needed.first()
            && outlives
            && opening::needed_peppers(&self.model).len() == 1
        {
            let stranger = self.model.known_peppers.iter().copied().find(|known| known != number);
            let stranger = stranger.filter(|stranger| *stranger != 0);
            if let Some(stranger) = stranger {
                let told = open(&right, self.model.rules, opening::open_peppers(&[stranger]));
                if !is_pepper(&told, *number, PepperProblem::Missing) {
                    return Err(format!("opened without pepper {number}: {told:?} heard"));
                }
            }
        }
        Ok(())
    }

    /// Everything once more, all events, and again after closing and opening anew.
    fn end(&mut self) -> Checked {
        self.look_at_everything()?;
        self.seen_events = 0;
        self.check_events()?;
        if !self.place.outlives_its_store() {
            return self.check_closed();
        }
        self.check_closed()?;
        self.open()?;
        self.check_tokens()?;
        self.check_health()?;
        self.look_at_everything()?;
        self.seen_events = 0;
        self.check_events()
    }

    fn check_closed(&self) -> Checked {
        self.asked.close().map_err(|error| format!("closing: {error:?} heard"))?;
        self.asked.close().map_err(|error| format!("closing again: {error:?} heard"))?;
        let closed = Err(Refusal::Unavailable(Unavailable::Closed));
        for issue in &self.issued {
            let heard = self.asked.verify(issue.text.as_bytes());
            if heard != closed {
                return Err(format!("a closed store verifies: {heard:?}"));
            }
        }
        let who =
            Who { side: Side::Admin, actor: "checks".into(), reason: None, correlation: None };
        let heard = Desk::new(&self.asked, &who).perform(&*self.asked, &Call::Rules);
        match heard.err().as_ref().map(Reason::of) {
            Some(Reason::Unavailable(Unavailable::Closed)) => Ok(()),
            other => Err(format!("a closed store answers: {other:?}")),
        }
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
