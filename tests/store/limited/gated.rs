//! A store on a gate, and how it is asked there.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use keyhasp::backend::{Backend, UsageSubject};
use keyhasp::store::Unavailable;
use keyhasp::{
    Issued, Period, Quota, RejectReason, SetLimits, Store, VerifiedKey, VerifyError, VerifyRequest,
};

use crate::common::gate::{Gate, as_request};
use crate::common::{World, builder, clock};

pub(crate) type Answer = Result<VerifiedKey, VerifyError>;

pub(crate) fn one_time(uses: u64) -> SetLimits {
    SetLimits::new().quota(Quota::one_time(uses).unwrap())
}

pub(crate) fn daily(uses: u64) -> SetLimits {
    SetLimits::new().quota(Quota::each(uses, Period::Day).unwrap())
}

/// A world on a gate, with the store itself.
pub(crate) fn gated(wait: Duration) -> (World, Arc<Store>, Arc<Gate>) {
    gated_by(Gate::new(), wait)
}

pub(crate) fn gated_by(gate: Gate, wait: Duration) -> (World, Arc<Store>, Arc<Gate>) {
    let (gate, clock) = (Arc::new(gate), clock());
    let backend: Arc<dyn Backend> = Arc::<Gate>::clone(&gate);
    let store = Arc::new(builder(&clock, 1).quota_wait(wait).open_on(backend).unwrap());
    (World::of(Arc::<Store>::clone(&store), clock), store, gate)
}

pub(crate) fn of(issued: &Issued) -> UsageSubject {
    UsageSubject::Key(issued.key.id)
}

/// Polls a verification once; `None` if it waits.
pub(crate) fn ask_once(world: &World, issued: &Issued) -> Option<Answer> {
    let request = VerifyRequest::new(issued.token.expose().as_bytes());
    let mut wait = None;
    let mut context = Context::from_waker(Waker::noop());
    match as_request(|| world.store.poll_verify(&request, &mut wait, &mut context)) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

pub(crate) fn retry_after(answer: &Answer) -> Option<Duration> {
    match answer {
        Err(VerifyError::Unavailable(Unavailable::Quota { retry_after })) => Some(*retry_after),
        _ => None,
    }
}

pub(crate) fn is_exhausted(answer: &Answer) -> bool {
    matches!(answer, Err(VerifyError::Rejected(RejectReason::QuotaExhausted { .. })))
}
