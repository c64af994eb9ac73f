//! Closing and opening the store in the middle of a sequence.

use std::sync::Arc;

use keyhasp::store::PepperProblem;
use keyhasp::{Error, KeyStore};

use crate::calls::Call;
use crate::driver::{Checked, Sequence};
use crate::opening;
use crate::source::Source;

impl Sequence<'_> {
    /// Closes the store and opens it again. Now and then first tries settings that must be refused.
    pub(crate) fn reopen(&mut self) -> Checked {
        let next = opening::next(&mut self.chance, &self.model);
        self.witness = None;
        if self.place.outlives_its_store() {
            self.store.close().map_err(|error| format!("closing: {error:?} heard"))?;
            self.model.write_usage();
        } else {
            // Usage that isn't written is lost, as when a process dies.
            if self.chance.percent(50) {
                self.compare_quietly(Call::FlushUsage)?;
            }
            self.model.lose_usage();
        }
        self.refused_openings()?;
        self.refused_behind_log()?;
        self.open(next)?;
        self.look_at_everything()
    }

    fn open(&mut self, opening: crate::model::Opening) -> Checked {
        self.openings += 1;
        self.coverage.note_opening(&self.model);
        let is_behind = self.model.behind_log(self.model.time_of_last_event()).is_some();
        self.model.reopen(opening);
        let builder = opening::whole_builder(&self.model.opening, self.model.rules)
            .clock(Arc::clone(&self.clock) as _)
            .random(Source::new(self.seed ^ self.openings << 32, Arc::clone(&self.random_fails)));
        let builder = if is_behind { builder } else { builder.refuse_clock_behind_log() };
        let store =
            self.place.open(builder).map_err(|error| format!("opening: {error:?} heard"))?;
        let former = std::mem::replace(&mut self.store, Arc::new(store));
        if !self.place.outlives_its_store() {
            self.former.push(former);
        }
        self.asked = (self.wrap)(Arc::clone(&self.store) as _, &self.clock);
        self.last_id = None;
        self.latest = self.model.now;
        Ok(())
    }

    /// Tries to open the store with other rules, other prefixes, a wrong pepper and a missing one.
    /// Each must be refused and change nothing.
    pub(crate) fn refused_openings(&mut self) -> Checked {
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
            let again = opening::known_pepper_as(number, u16::MAX);
            let told = open(&right, self.model.rules, again);
            if !is_pepper(&told, u16::MAX, PepperProblem::KnownAs(number)) {
                return Err(format!("opened with pepper {number} under another: {told:?} heard"));
            }
        }
        if let Some(retired) = self.model.retired_peppers.iter().next_back() {
            let told = open(&right, self.model.rules, opening::open_peppers(&[*retired]));
            if !is_pepper(&told, *retired, PepperProblem::Retired) {
                return Err(format!("opened with the retired pepper {retired}: {told:?} heard"));
            }
        }
        let needed = self.model.needed_peppers();
        let retired = &self.model.retired_peppers;
        let is_spare =
            |known: &&u16| **known != 0 && !needed.contains(*known) && !retired.contains(*known);
        let spare = self.model.known_peppers.iter().find(is_spare).copied();
        // A store that fails so late closes the backend in memory, whose records are then lost.
        if let Some(spare) = spare.filter(|_| outlives && !needed.is_empty()) {
            let told = open(&right, self.model.rules, opening::open_peppers(&[spare]));
            if !needed.iter().any(|number| is_pepper(&told, *number, PepperProblem::Missing)) {
                return Err(format!("opened without {needed:?}: {told:?} heard"));
            }
        }
        Ok(())
    }

    /// If the clock lies behind the log, tries an opening that refuses that.
    fn refused_behind_log(&mut self) -> Checked {
        let newest_event = self.model.behind_log(self.model.time_of_last_event());
        // A store that fails so late closes the backend in memory, as above.
        let Some(newest_event) = newest_event.filter(|_| self.place.outlives_its_store()) else {
            return Ok(());
        };
        let builder = opening::builder(&self.model.opening, self.model.rules)
            .clock(Arc::clone(&self.clock) as _)
            .refuse_clock_behind_log();
        match self.place.open(builder) {
            Err(Error::ClockBehindLog(told))
                if (told.now, told.newest_event) == (self.model.now, newest_event) =>
            {
                Ok(())
            }
            told => Err(format!("opened before {newest_event}: {told:?} heard")),
        }
    }

    /// Compares everything and all events once more, and again after closing and opening the store.
    pub(crate) fn end(&mut self) -> Checked {
        self.look_at_everything()?;
        self.seen_events = 0;
        self.check_events()?;
        if !self.place.outlives_its_store() {
            self.coverage.note_opening(&self.model);
            return self.check_closed();
        }
        self.check_closed()?;
        self.model.write_usage();
        if !opening::is_possible(&self.model) {
            return Ok(());
        }
        let mut opening = self.model.opening.clone();
        opening.peppers = opening::sufficient(&self.model);
        self.open(opening)?;
        self.check_tokens()?;
        self.check_health()?;
        self.look_at_everything()?;
        // Alerts that were written aren't written again.
        self.call_out()?;
        self.call_out()?;
        self.seen_events = 0;
        self.check_events()
    }
}
