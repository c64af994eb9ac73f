//! Reservations that are settled for less or for more, beside other requests.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use keyhasp::backend::Backend;
use keyhasp::store::Reservation;
use keyhasp::{Issued, KeyStore, SetLimits, VerifyRequest};

use crate::common::gate::as_request;
use crate::common::{HOUR, World};
use crate::limited::gated::{daily, gated, of, one_time};
use crate::limited::place::{ask, key};

fn reserve(world: &World, issued: &Issued, cost: u32) -> Reservation {
    let request = VerifyRequest::new(issued.token.expose().as_bytes()).cost(cost);
    world.verifier.verify_reserving(&request).unwrap().1
}

/// Reservations that are settled for less may leave more in the lease than the process should hold.
/// Others need it, and a crash would forfeit it.
#[test]
fn what_settling_leaves_goes_back_to_the_count() {
    let (world, store, gate) = gated(HOUR);
    let issued = key(&world, "many", one_time(3_200), SetLimits::new());
    let reserved: Vec<_> = (0..16).map(|_| reserve(&world, &issued, 20)).collect();
    store.fetch_leases().unwrap();
    for reservation in reserved {
        reservation.settle(10).unwrap();
    }
    store.fetch_leases().unwrap();
    let held = 3_040 - gate.usage(&[of(&issued)]).unwrap()[0].quota.unwrap().left;
    assert!(held <= 3_040 / 16, "{held}");
    // What one request needed stays: otherwise each would be written.
    let issued = key(&world, "few", one_time(20), SetLimits::new());
    reserve(&world, &issued, 2).settle(1).unwrap();
    store.fetch_leases().unwrap();
    assert_eq!(gate.usage(&[of(&issued)]).unwrap()[0].quota.unwrap().left, 18);
}

/// The surplus is in no lease and not in the count yet: a use that needs it waits.
#[test]
fn a_surplus_on_its_way_back_is_not_used_up() {
    let (world, store, gate) = gated(HOUR);
    let issued = key(&world, "many", one_time(3_200), SetLimits::new());
    let request = VerifyRequest::new(issued.token.expose().as_bytes());
    let reserved: Vec<_> = (0..16).map(|_| reserve(&world, &issued, 20)).collect();
    store.fetch_leases().unwrap();
    let shut = gate.shut();
    for reservation in reserved {
        reservation.settle(10).unwrap();
    }
    gate.await_one();
    let all = request.cost(3_040);
    let mut wait = None;
    let mut ask = || {
        let mut context = Context::from_waker(Waker::noop());
        as_request(|| world.store.poll_verify(&all, &mut wait, &mut context))
    };
    assert!(ask().is_pending());
    drop(shut);
    let answer = loop {
        match ask() {
            Poll::Ready(answer) => break answer,
            Poll::Pending => std::thread::yield_now(),
        }
    };
    assert!(answer.is_ok(), "{answer:?}");
}

/// A charge that hangs holds up only its caller: others get their leases, and are settled.
#[test]
fn a_charge_holds_up_no_other() {
    let (world, store, gate) = gated(Duration::from_secs(5));
    let issued = key(&world, "org", one_time(64), SetLimits::new());
    let other = key(&world, "other", one_time(64), SetLimits::new());
    let (first, second) = (reserve(&world, &issued, 2), reserve(&world, &issued, 2));
    let shut = gate.shut_for_charges();
    std::thread::scope(|scope| {
        let charging = scope.spawn(|| first.settle(20));
        gate.await_one();
        assert!(ask(&world, &other).is_ok() && ask(&world, &issued).is_ok());
        second.settle(1).unwrap();
        drop(shut);
        charging.join().unwrap().unwrap();
    });
    store.close().unwrap();
    let left = gate.usage(&[of(&issued)]).unwrap()[0].quota.unwrap().left;
    assert_eq!(left, 64 - 20 - 1 - 1);
}

/// Another process holds the database for a moment: a charge is tried again.
#[test]
fn a_charge_is_tried_again() {
    let (world, store, gate) = gated(HOUR);
    let issued = key(&world, "org", one_time(64), SetLimits::new());
    let reserved = reserve(&world, &issued, 1);
    store.fetch_leases().unwrap();
    gate.be_busy(2);
    reserved.settle(20).unwrap();
    let reserved = reserve(&world, &issued, 1);
    store.fetch_leases().unwrap();
    gate.be_busy(u32::MAX);
    assert!(reserved.settle(20).is_err());
    gate.be_busy(0);
    store.close().unwrap();
    assert_eq!(gate.usage(&[of(&issued)]).unwrap()[0].quota.unwrap().left, 64 - 20 - 1);
}

/// A charge takes the whole lease back to the count. What another reservation didn't need still goes
/// back.
#[test]
fn a_reservation_is_given_back_after_anothers_charge() {
    for limits in [one_time(64), daily(64)] {
        let (world, store, gate) = gated(HOUR);
        let issued = key(&world, "org", limits, SetLimits::new());
        let (first, second) = (reserve(&world, &issued, 2), reserve(&world, &issued, 2));
        first.settle(20).unwrap();
        second.settle(1).unwrap();
        store.close().unwrap();
        assert_eq!(gate.usage(&[of(&issued)]).unwrap()[0].quota.unwrap().left, 64 - 20 - 1);
    }
}

/// A waker that settles when it is called, and says so.
struct Settles(Mutex<Option<Reservation>>, Sender<bool>);

impl Wake for Settles {
    fn wake(self: Arc<Self>) {
        let reserved = self.0.lock().unwrap().take();
        let is_done = reserved.is_some_and(|reserved| reserved.settle(20).is_ok());
        let _ = self.1.send(is_done);
    }
}

/// The thread that fetches leases has released its lock when it wakes others.
#[test]
fn who_is_woken_may_settle() {
    let (world, _store, _) = gated(HOUR);
    let issued = key(&world, "org", one_time(64), SetLimits::new());
    let other = key(&world, "other", one_time(64), SetLimits::new());
    let (sender, settled) = channel();
    let reserved = Mutex::new(Some(reserve(&world, &issued, 1)));
    let waker = Waker::from(Arc::new(Settles(reserved, sender)));
    let request = VerifyRequest::new(other.token.expose().as_bytes());
    let mut wait = None;
    let polled = world.store.poll_verify(&request, &mut wait, &mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    assert_eq!(settled.recv_timeout(Duration::from_secs(10)), Ok(true));
}
