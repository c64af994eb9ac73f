//! Errors say that nothing happened; closing and recovering.

use std::time::Duration;

use crate::backend::{
    Backend, BackendError, BackendErrorKind, EventFilter, EventQuery, KeyFilter, KeyPageQuery,
    OwnerPageQuery, StateSet,
};
use crate::id::NumericId;
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

list![
    error_a_closed_backend_says_so_to_every_call,
    error_closing_again_does_nothing,
    error_closing_lets_go_of_the_place,
    error_recovering_a_healthy_backend_is_harmless,
    error_names_the_backend,
];

type Call = (&'static str, fn(&dyn Backend) -> Result<(), Failed>);

/// Why a call failed: the backend, or the suite in asking.
enum Failed {
    Backend(BackendError),
    Suite(Failure),
}

impl From<BackendError> for Failed {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

impl From<crate::invalid::Invalid> for Failed {
    #[track_caller]
    fn from(error: crate::invalid::Invalid) -> Self {
        Self::Suite(error.into())
    }
}

fn filter() -> KeyFilter {
    KeyFilter::new(StateSet::ALL, sample::at(0))
}

/// Every call that can fail, except `close`.
const CALLS: &[Call] = &[
    ("metadata", |b| Ok(b.metadata().map(drop)?)),
    ("scan", |b| Ok(b.scan(&mut |_| ()).map(drop)?)),
    ("scan_owner", |b| Ok(b.scan_owner(&sample::owner_id("acme")?, &mut |_| ())?)),
    ("owner", |b| Ok(b.owner(&sample::owner_id("acme")?).map(drop)?)),
    ("key", |b| Ok(b.key(sample::key_id(1)).map(drop)?)),
    ("key_by_numeric_id", |b| Ok(b.key_by_numeric_id(NumericId::new(1)?).map(drop)?)),
    ("commit", |b| {
        let change = sample::create_owner(&sample::owner("late")?)?;
        Ok(b.commit(&[change]).map(drop)?)
    }),
    ("commit of nothing", |b| Ok(b.commit(&[]).map(drop)?)),
    ("page_keys", |b| {
        let (before, after, limit, examine) = (None, None, 9, 9);
        let query = KeyPageQuery { filter: filter(), before, after, limit, examine };
        Ok(b.page_keys(&query).map(drop)?)
    }),
    ("count_keys", |b| Ok(b.count_keys(&filter()).map(drop)?)),
    ("page_owners", |b| {
        let query = OwnerPageQuery::all(9);
        Ok(b.page_owners(&query).map(drop)?)
    }),
    ("events", |b| {
        let filter = EventFilter::default();
        Ok(b.events(&EventQuery { after: 0, before: None, filter, limit: 9, examine: 9 })
            .map(drop)?)
    }),
    ("last_event", |b| Ok(b.last_event().map(drop)?)),
    ("prune_events", |b| Ok(b.prune_events(sample::at(9), 100).map(drop)?)),
    ("wait", |b| Ok(b.wait(0, Duration::from_millis(1)).map(drop)?)),
    ("record_usage", |b| Ok(b.record_usage(&[]).map(drop)?)),
    ("usage", |b| Ok(b.usage(&[]).map(drop)?)),
    ("recover", |b| Ok(b.recover()?)),
];

fn error_a_closed_backend_says_so_to_every_call(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    // While it is open, all of them do their work.
    for (name, call) in CALLS {
        let worked = match call(&*backend) {
            Ok(()) => None,
            Err(Failed::Backend(error)) => Some(error),
            Err(Failed::Suite(failure)) => return Err(failure),
        };
        ensure!(worked.is_none(), "{name} of an open backend: {worked:?}");
    }
    backend.close()?;
    for (name, call) in CALLS {
        let kind = match call(&*backend) {
            Ok(()) => None,
            Err(Failed::Backend(error)) => Some(error.kind()),
            Err(Failed::Suite(failure)) => return Err(failure),
        };
        ensure_eq!(kind, Some(BackendErrorKind::Closed), "{name} of a closed backend");
    }
    Ok(())
}

fn error_closing_again_does_nothing(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    backend.close()?;
    backend.close()?;
    let kind = backend.metadata().err().map(|error| error.kind());
    ensure_eq!(kind, Some(BackendErrorKind::Closed), "the error after closing twice");
    Ok(())
}

/// Another can open it while the closed one still exists, and the closed one stays closed.
fn error_closing_lets_go_of_the_place(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    backend.close()?;
    let next = backend.open_beside()?;
    if !next.keeps() {
        next.apply(sample::create_metadata(&sample::metadata()?)?)?;
    }
    next.apply(sample::create_owner(&sample::owner("beta")?)?)?;
    let kind = backend.last_event().err().map(|error| error.kind());
    ensure_eq!(kind, Some(BackendErrorKind::Closed), "the error of the closed one");
    drop(backend);
    next.expect_owner(&sample::owner("beta")?)
}

/// Before anything was committed, between commits, and twice.
fn error_recovering_a_healthy_backend_is_harmless(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    backend.recover()?;
    let acme = sample::owner("acme")?;
    backend.apply(sample::create_owner(&acme)?)?;
    backend.recover()?;
    backend.recover()?;
    backend.expect_owner(&acme)?;
    ensure_eq!(backend.stored_metadata()?, sample::metadata()?, "the metadata");
    let key = sample::key(1, "acme")?;
    let applied = backend.apply(sample::create_key(&key)?)?;
    ensure_eq!(applied.first_event, 3, "the event after recovering");
    backend.expect_key(&key)?;
    ensure_eq!(backend.all_events()?.len(), 3, "number of events");
    ensure_eq!(backend.wait(2, Duration::from_millis(20))?, 3, "waiting after recovering");
    Ok(())
}

fn error_names_the_backend(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let name = backend.name();
    ensure!(!name.is_empty(), "the backend has no name");
    backend.close()?;
    ensure_eq!(backend.name(), name, "the name of a closed backend");
    let Err(error) = backend.metadata() else {
        return Err(Failure::new("a closed backend reads its metadata"));
    };
    ensure_eq!(error.backend(), name, "the backend that an error names");
    ensure!(!error.operation().is_empty(), "an error doesn't say what was being done");
    Ok(())
}
