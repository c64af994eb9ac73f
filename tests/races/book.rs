//! The knowledge that the callers of a history share: tokens, and the versions last seen.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Mutex;

use keyhasp::Issued;
use serde::{Deserialize, Serialize};

use crate::chance::Chance;

/// A token that was issued.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) key: String,
    pub(crate) generation: u32,
    pub(crate) text: String,
}

/// A book for the threads of one process, or, over a file, for those of several.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    tokens: Vec<Known>,
    versions: HashMap<String, u64>,
    shared: Option<Shared>,
}

/// Lines that every process appends and reads.
#[derive(Debug)]
struct Shared {
    // Two, since appending moves the place from which is read.
    appended: File,
    read: File,
    /// The beginning of a line that isn't whole yet.
    rest: String,
}

impl Book {
    /// A book that other processes have too.
    #[cfg(all(feature = "sqlite", feature = "testing", target_os = "linux"))]
    pub(crate) fn shared(path: &std::path::Path) -> Self {
        let appended = File::options().append(true).create(true).open(path).unwrap();
        let read = File::open(path).unwrap();
        let shared = Some(Shared { appended, read, rest: String::new() });
        Self(Mutex::new(Pages { shared, ..Pages::default() }))
    }

    pub(crate) fn learn(&self, issued: &Issued) {
        let known = Known {
            key: issued.key.id.to_string(),
            generation: issued.key.generation.get(),
            text: issued.token.expose().to_owned(),
        };
        let mut pages = self.0.lock().unwrap();
        match &mut pages.shared {
            // In one write, which appends it whole.
            Some(shared) => {
                let line = serde_json::to_string(&known).unwrap() + "\n";
                shared.appended.write_all(line.as_bytes()).unwrap();
            }
            None => pages.tokens.push(known),
        }
    }

    pub(crate) fn saw(&self, key: &str, version: u64) {
        let mut pages = self.0.lock().unwrap();
        let seen = pages.versions.entry(key.to_owned()).or_default();
        *seen = version.max(*seen);
    }

    /// Returns the version of a key that a thread saw last.
    pub(crate) fn version(&self, key: &str) -> Option<u64> {
        self.0.lock().unwrap().versions.get(key).copied()
    }

    /// One of the tokens, the later ones more often.
    pub(crate) fn pick(&self, chance: &mut Chance) -> Known {
        let mut pages = self.0.lock().unwrap();
        pages.read_on();
        chance.pick_late(&pages.tokens).unwrap()
    }

    /// The text of a token that was picked or told of.
    pub(crate) fn text(&self, key: &str, generation: u32) -> String {
        let pages = self.0.lock().unwrap();
        let mut of_key = pages.tokens.iter().filter(|known| known.key == key);
        of_key.find(|known| known.generation == generation).unwrap().text.clone()
    }

    pub(crate) fn tokens(&self) -> Vec<Known> {
        let mut pages = self.0.lock().unwrap();
        pages.read_on();
        pages.tokens.clone()
    }
}

impl Pages {
    fn read_on(&mut self) {
        let Some(shared) = &mut self.shared else { return };
        shared.read.read_to_string(&mut shared.rest).unwrap();
        while let Some(end) = shared.rest.find('\n') {
            let line: String = shared.rest.drain(..=end).collect();
            self.tokens.push(serde_json::from_str(&line).unwrap());
        }
    }
}
