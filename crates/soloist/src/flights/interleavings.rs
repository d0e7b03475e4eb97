//! The callers of one key, each on a thread.
#![allow(clippy::expect_used)]

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::select;
use shuttle::future::block_on;

use super::*;
use crate::clock::Moment;
use crate::error::Loss;
use crate::interleavings::{Thread, both, ended, holder, key, one_of, thread};
use crate::name::FencingToken;
use crate::protocol::{Body, OutcomeKind, Ttl};
use crate::sync::{Notify, pass};

fn outcome() -> Outcome {
    let body = Body::Inline("1".into());
    Outcome { token: FencingToken(1), leader: holder(), at: 0, until: 0, kind: OutcomeKind::Value, body }
}

fn lease() -> Arc<Kept> {
    let (ticket, life) = ((key(), Ticket::from_u128(1)), (Moment::now(), None));
    Arc::new(Kept::new(ticket, FencingToken(1), holder(), Ttl::Forever, life))
}

/// Drives and publishes, or drives and goes away, or hears the result. `drove` counts who drove.
fn calls(flights: &Flights, drove: &Arc<AtomicUsize>, may_fail: bool) -> Thread {
    let (flights, drove) = (flights.clone(), Arc::clone(drove));
    thread(move || {
        let Turn::Drive(baton) = block_on(flights.turn(&key())) else { return };
        drove.fetch_add(1, Ordering::SeqCst);
        baton.leads(&lease());
        if !may_fail || one_of(2) == 0 {
            baton.done(Arc::new(outcome()));
        }
    })
}

/// The same, given up at some moment.
fn gives_up(flights: &Flights) -> [Thread; 2] {
    let (given_up, gives_up) = both(Notify::new());
    let flights = flights.clone();
    let calling = thread(move || {
        let calls = async { drop(flights.turn(&key()).await) };
        block_on(async {
            let _ = select(pin!(calls), pin!(given_up.notified())).await;
        });
    });
    [calling, thread(move || gives_up.notify_one())]
}

/// Each caller hears a result or drives, whoever goes away; and nothing is left of the flight.
pub fn a_result_or_the_baton_reaches_everybody() {
    let (flights, drove) = (Flights::default(), Arc::new(AtomicUsize::new(0)));
    let mut threads: Vec<Thread> = (0..2).map(|_| calls(&flights, &drove, true)).collect();
    threads.push(calls(&flights, &drove, false));
    threads.extend(gives_up(&flights));
    ended(threads);
    assert!(drove.load(Ordering::SeqCst) >= 1);
    assert!(lock(&flights.0).is_empty(), "a flight is left that nobody is on");
}

/// Who waits when the result comes hears it, and does not drive.
pub fn who_waits_for_the_result_hears_it() {
    let flights = Flights::default();
    let Turn::Drive(baton) = block_on(flights.turn(&key())) else { panic!("nobody else is there") };
    let joined = flights.join(&key());
    let hearing = thread(move || match block_on(joined.turn()) {
        Some(Turn::Done(done)) => assert_eq!(*done, outcome()),
        Some(Turn::Drive(_)) => panic!("there is a result, and it drives"),
        None => panic!("no leader has lost anything"),
    });
    baton.done(Arc::new(outcome()));
    drop(baton);
    ended([hearing]);
    assert!(lock(&flights.0).is_empty());
}

/// A leader that has lost its lease and hangs holds nobody up, whenever the loss is told.
pub fn a_lost_leader_holds_nobody_up() {
    let (flights, drove) = (Flights::default(), Arc::new(AtomicUsize::new(0)));
    let (over, hangs) = both(Notify::new());
    let kept = lease();
    let led = Arc::clone(&kept);
    let leading = flights.clone();
    let leader = thread(move || {
        if let Turn::Drive(baton) = block_on(leading.turn(&key())) {
            baton.leads(&led);
            // It does not notice, and computes for as long as anybody waits.
            block_on(hangs.notified());
        }
    });
    let loss = thread(move || {
        pass();
        kept.lose(Loss::Gone);
    });
    let callers = [calls(&flights, &drove, false), calls(&flights, &drove, false)];
    ended(callers);
    over.notify_one();
    ended([leader, loss]);
    assert!(lock(&flights.0).is_empty(), "a flight is left that nobody is on");
}
