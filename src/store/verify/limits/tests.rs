//! Tests of limits.

use std::sync::Mutex;
use std::thread::ThreadId;

use super::*;
use crate::backend::Memory;
use crate::clock::{Clock, ManualClock};
use crate::key::{Prefix, Rate};
use crate::permission::{Access, Catalogue};
use crate::store::types::request::{CreateKey, CreateOwner, SetLimits};
use crate::store::{AdminKeys, Store, Verifier};

type Work = Box<dyn FnOnce() + Send>;

/// A clock that does some work at a reading, once.
#[derive(Debug)]
struct Busy {
    time: ManualClock,
    /// The thread, its readings until then, and the work.
    work: Mutex<Option<(ThreadId, u32, NoDebug)>>,
}

struct NoDebug(Work);

impl std::fmt::Debug for NoDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("work")
    }
}

impl Clock for Busy {
    fn now(&self) -> Timestamp {
        let mut work = self.work.lock().unwrap();
        // Threads of the store read it too.
        let here = std::thread::current().id();
        if let Some((_, readings, _)) = work.as_mut().filter(|(of, ..)| *of == here) {
            *readings -= 1;
        }
        let due = work.take_if(|(_, readings, _)| *readings == 0);
        drop(work);
        if let Some((.., NoDebug(work))) = due {
            work();
        }
        self.time.now()
    }

    fn monotonic(&self) -> std::time::Duration {
        self.time.monotonic()
    }
}

/// Another owner gets the number, and has limits too, while a use is judged by those of the owner
/// before: nothing of the other's is used, and the key that is gone isn't accepted.
#[test]
fn a_use_is_never_taken_from_an_owner_that_has_the_number_since() {
    let hour = std::time::Duration::from_secs(3_600);
    let start = Timestamp::clamped_millis(1_767_225_600_000);
    let clock = Arc::new(Busy { time: ManualClock::new(start), work: Mutex::new(None) });
    let catalogue = Catalogue::builder().read("links:read").build().unwrap();
    let builder =
        Store::builder(catalogue, [Prefix::new("acme").unwrap()]).clock(Arc::<Busy>::clone(&clock));
    let store = Arc::new(builder.open(Memory::new()).unwrap());
    store.engine.records.index.reuse_owner_numbers();
    let admin = Arc::new(AdminKeys::new(Arc::clone(&store), "root").unwrap());
    let verifier = Verifier::new(Arc::clone(&store));
    let create = |name: &str| {
        let limits = SetLimits::new().rate(Rate::new(2, hour).unwrap());
        let request = CreateOwner::with_key(CreateKey::new(Access::Full)).limits(limits);
        (OwnerId::new(name).unwrap(), request)
    };
    let (first, request) = create("first");
    let token = admin.create_owner(&first, request).unwrap().first_key.unwrap().token;
    // The clock steps back behind a use, so that the next one reads it while it is judged.
    clock.time.advance(4 * hour);
    assert!(verifier.verify(token.expose()).is_ok());
    clock.time.set(start);
    let (second, request) = create("second");
    let other = Arc::new(Mutex::new(None));
    let work: Work = {
        let (admin, other) = (Arc::clone(&admin), Arc::clone(&other));
        let store = Arc::clone(&store);
        Box::new(move || {
            let _ = admin.suspend_owner(&first).unwrap();
            admin.purge_owner(&first).unwrap();
            // No slot names the number any more.
            while store.engine.records.index.refill(9).unwrap() {}
            let created = admin.create_owner(&second, request).unwrap();
            *other.lock().unwrap() = created.first_key;
        })
    };
    *clock.work.lock().unwrap() = Some((std::thread::current().id(), 2, NoDebug(work)));
    let answer = verifier.verify(token.expose());
    let other = other.lock().unwrap().take().unwrap();
    assert_eq!(answer, Err(VerifyError::Unrecognized));
    let index = &store.engine.records.index;
    assert_eq!(index.owner_named(&OwnerId::new("second").unwrap()).unwrap().number, 0);
    // Both of its uses are left.
    assert!((0..2).all(|_| verifier.verify(other.token.expose()).is_ok()));
    assert!(verifier.verify(other.token.expose()).is_err());
}
