//! Opening, recovering and closing.

use super::dirty_marker::DirtyMarker;
use super::engine::{Engine, WriteFault, await_unlocked};
use super::fault::Fault;
use super::layout::{Found, Layout};
use super::options::SledOptions;
use super::overlay::Batch;
use super::sums::check_writes;
use super::trees;
use crate::backend::open_file::OpenFile;
use crate::backend::opening::Intent;
use crate::backend::{BackendErrorKind, Opened};

/// An open database, with everything that closing releases.
pub(super) struct Live {
    /// `None` while a recovery that was begun has not succeeded.
    engine: Option<Engine>,
    /// Whether a write failed with an unknown outcome.
    is_unsure: bool,
    /// Holds the lock beside the directory.
    dirty_marker: DirtyMarker,
    /// The files as the engine has opened them.
    files: Vec<OpenFile>,
}

impl Live {
    pub(super) fn open(
        layout: &Layout,
        options: &SledOptions,
        intent: Intent,
    ) -> Result<(Self, Opened), Fault> {
        // A directory that is refused is refused before even the lock's file appears. The look that
        // counts is the one under the lock.
        if layout.look()? == Found::Nothing {
            judge(intent, Opened::Created)?;
        }
        let dirty_marker = DirtyMarker::noted_in(layout.lock()?);
        let (generation, engine) = match layout.look()? {
            Found::Nothing => {
                judge(intent, Opened::Created)?;
                dirty_marker.forget()?;
                let generation = layout.begin()?;
                let engine = Engine::create(layout, generation, options)?;
                let marked = layout.clear_unsynced().and_then(|()| layout.mark(generation));
                (generation, engine.unless(marked.map_err(Fault::from))?)
            }
            Found::Store(mut generation) => {
                layout.sweep(generation)?;
                if layout.is_unsynced() || dirty_marker.is_noted()? {
                    generation = renew(layout, generation)?;
                }
                let durable = dirty_marker.lock().durable()?;
                dirty_marker.note()?;
                let engine = Engine::open(layout, generation, options)?;
                // An older version is refused by the marker, so that one is raised first.
                let checked = check_writes(&engine, durable)
                    .and_then(|()| layout.raise_format(generation))
                    .and_then(|()| engine.raise_format());
                // What is refused is durable as it is.
                (generation, engine.unless(checked).inspect_err(|_| dirty_marker.take_back())?)
            }
        };
        match engine.number(trees::WRITES) {
            Ok(number) => dirty_marker.note_durable(number),
            Err(_) => dirty_marker.take_back(),
        }
        let has_store = engine.has_store();
        let files = layout.open_files(dirty_marker.lock(), engine.data_file(), generation);
        // Before an error of these: dropping lets go of the engine.
        let mut live =
            Self { engine: Some(engine), is_unsure: false, dirty_marker, files: Vec::new() };
        live.files = files?;
        let opened = if has_store? { Opened::Existing } else { Opened::Created };
        judge(intent, opened)?;
        Ok((live, opened))
    }

    /// Checks that each file is the one that was opened.
    pub(super) fn check_files(&self) -> Result<(), Fault> {
        self.files.iter().try_for_each(|file| Ok(file.check().map(drop)?))
    }

    /// Writes everything in one atomic step, and returns when it is durable. After a failure of
    /// unknown outcome nothing is read or written before a recovery.
    pub(super) fn write(&mut self, layout: &Layout, batch: &Batch) -> Result<(), WriteFault> {
        self.check_files().map_err(WriteFault::Before)?;
        let engine = self.engine().map_err(WriteFault::Before)?;
        self.dirty_marker.note().map_err(|error| WriteFault::Before(error.into()))?;
        // Again: a file may have gone during the write, and what is in it is not kept then.
        let written = engine
            .write(&batch.writes)
            .and_then(|()| self.check_files().map_err(WriteFault::Unknown));
        match written {
            Ok(()) => self.dirty_marker.note_durable(batch.number),
            Err(WriteFault::Before(_)) => self.dirty_marker.take_back(),
            Err(WriteFault::Unknown(_)) => self.distrust(layout),
        }
        written
    }

    /// The engine, unless what it shows might not last.
    pub(super) fn engine(&self) -> Result<&Engine, Fault> {
        match &self.engine {
            Some(engine) if !self.is_unsure => Ok(engine),
            _ => Err(Fault::unsure()),
        }
    }

    /// From now on nothing is read or written before a recovery.
    fn distrust(&mut self, layout: &Layout) {
        self.is_unsure = true;
        layout.note_unsynced();
    }

    /// Lets go of sled's files, makes a copy that is on the disk for certain, and opens that.
    /// Having failed, it can be tried again.
    pub(super) fn recover(&mut self, layout: &Layout, options: &SledOptions) -> Result<(), Fault> {
        self.check_files()?;
        self.is_unsure = true;
        // Those of the old generation go with it.
        self.files.clear();
        if let Some(engine) = self.engine.take() {
            // An error of its flush is the reason for this recovery.
            let _ = engine.let_go();
        }
        // Looked up again: an earlier try may have got past the marker.
        let Found::Store(generation) = layout.look()? else {
            return Err(Fault::damaged("the marker is gone"));
        };
        await_unlocked(&layout.data_file(generation))?;
        let generation = renew(layout, generation)?;
        let durable = self.dirty_marker.lock().durable()?;
        self.dirty_marker.note()?;
        let engine = Engine::open(layout, generation, options)?;
        let checked = check_writes(&engine, durable);
        let engine = self.engine.insert(engine.unless(checked)?);
        let number = engine.number(trees::WRITES)?;
        let lock = self.dirty_marker.lock();
        self.files = layout.open_files(lock, engine.data_file(), generation)?;
        self.dirty_marker.note_durable(number);
        self.is_unsure = false;
        Ok(())
    }

    pub(super) fn close(mut self, layout: &Layout) -> Result<(), Fault> {
        match self.engine.take() {
            // Even reads move sled's pages about: what follows them must not rest on a failed sync.
            Some(engine) if !self.is_unsure => {
                // If this fails, closing will fail too.
                let _ = self.dirty_marker.note();
                engine.close().inspect_err(|_| layout.note_unsynced())?;
                self.dirty_marker.take_back();
                Ok(())
            }
            engine => {
                let _ = engine.map(Engine::let_go);
                let text = "closed before a recovery told what became of a commit";
                Err(Fault::new(BackendErrorKind::OutcomeUnknown, text))
            }
        }
    }
}

impl Drop for Live {
    /// Lets go of a database that was opened and then not used. The caller already has the error.
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            let _ = engine.let_go();
        }
    }
}

fn judge(intent: Intent, found: Opened) -> Result<(), Fault> {
    let why = match found {
        Opened::Existing => "it has a store",
        Opened::Created => "there is no directory, an empty one, or one without a store",
    };
    intent.judge(found).map_err(|kind| Fault::new(kind, why))
}

/// Copies a generation, durably, and puts the copy in its place.
fn renew(layout: &Layout, generation: u64) -> Result<u64, Fault> {
    let next = layout.copy(generation)?;
    layout.mark(next)?;
    layout.clear_unsynced()?;
    // The next open removes what stays.
    let _ = layout.sweep(next);
    Ok(next)
}
