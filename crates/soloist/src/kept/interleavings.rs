//! A lease between its owner, its keeper and a store that carries requests out in an order of its own.
#![allow(clippy::expect_used)]

use std::sync::Arc;

use shuttle::future::block_on;

use super::*;
use crate::interleavings::{Thread, ended, holder, key, one_of, thread};
use crate::sync::pass;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(3);
/// How long what was given up may still be carried out.
const SETTLES: Duration = Duration::from_secs(6);

fn lease(end: Moment) -> Arc<Kept> {
    let (ticket, life) = ((key(), Ticket::from_u128(1)), (Moment::now(), Some(end)));
    Arc::new(Kept::new(ticket, FencingToken(1), holder(), Ttl::new(LONG), life))
}

/// What the store believes: until when it is held.
struct Believed(std::sync::Mutex<Moment>);

impl Believed {
    fn end(&self) -> Moment {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request arrives, is carried out, and is answered.
    fn renew(&self, ttl: Ttl) {
        pass();
        let ttl = ttl.duration().expect("it ends");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Moment::now().after(ttl);
        pass();
    }
}

fn time_passes() -> Thread {
    thread(|| {
        for _ in 0..3 {
            pass();
            crate::clock::driven::sleep(Duration::from_millis(1 + one_of(500)));
        }
    })
}

/// Asks for this ttl, or as the keeper does for the one that counts, and hears the answer.
fn renews(kept: &Arc<Kept>, store: &Arc<Believed>, ttl: Option<Duration>) -> Thread {
    let (kept, store) = (Arc::clone(kept), Arc::clone(store));
    thread(move || {
        if let Some(ttl) = ttl {
            kept.set_ttl(Ttl::new(ttl));
        }
        let mut asked = kept.renewal(false);
        asked.sending(SETTLES);
        let sent = Moment::now();
        store.renew(asked.renewal.ttl);
        kept.renewed(sent, &mut asked);
    })
}

/// Asks for a shorter ttl, and gives up; the store carries it out at some time, at the latest when it is settled.
/// Its owner then asks for the longer one again.
fn gives_up(kept: &Arc<Kept>, store: &Arc<Believed>) -> [Thread; 2] {
    let (kept, believed) = (Arc::clone(kept), Arc::clone(store));
    let straggler = Arc::clone(store);
    kept.set_ttl(Ttl::new(SHORT));
    let mut asked = kept.renewal(false);
    asked.sending(SETTLES);
    let ttl = asked.renewal.ttl;
    let straggles = thread(move || straggler.renew(ttl));
    let owner = thread(move || {
        drop(asked);
        kept.set_ttl(Ttl::new(LONG));
        let mut asked = kept.renewal(false);
        let sent = Moment::now();
        believed.renew(asked.renewal.ttl);
        kept.renewed(sent, &mut asked);
    });
    [straggles, owner]
}

/// A shorter request that was given up and is carried out after a longer one was confirmed.
pub fn what_was_given_up_is_counted_by() {
    let end = Moment::now().after(LONG);
    let (kept, store) = (lease(end), Arc::new(Believed(std::sync::Mutex::new(end))));
    let threads = gives_up(&kept, &store);
    ended(threads.into_iter().chain([renews(&kept, &store, None), time_passes()]).collect::<Vec<_>>());
    let (believes, stands) = (kept.deadline().expect("it ends"), store.end());
    assert!(believes <= stands, "it believes in {believes:?}, and the store in {stands:?}");
    // Once that is settled, the longer one counts.
    crate::clock::driven::sleep(SETTLES);
    let mut asked = kept.renewal(false);
    let sent = Moment::now();
    assert!(kept.renewed(sent, &mut asked));
    assert_eq!(kept.deadline(), Some(sent.after(LONG)));
}

/// What a lease believes when all was answered is no later than what the store does.
fn believes_no_more(ttls: &[Option<Duration>]) {
    let end = Moment::now().after(LONG);
    let (kept, store) = (lease(end), Arc::new(Believed(std::sync::Mutex::new(end))));
    let asking = ttls.iter().map(|ttl| renews(&kept, &store, *ttl));
    ended(asking.chain([time_passes()]).collect::<Vec<_>>());
    let (believes, stands) = (kept.deadline().expect("it ends"), store.end());
    assert!(believes <= stands, "it believes in {believes:?}, and the store in {stands:?}");
}

/// The keeper renews by the old ttl while the owner asks for a shorter one.
pub fn a_deadline_is_never_later_than_the_stores() {
    believes_no_more(&[None, None, Some(SHORT)]);
}

/// Two threads of the owner change the ttl at once; the store may carry out either request last.
pub fn nor_is_it_when_two_change_the_ttl() {
    believes_no_more(&[None, Some(SHORT), Some(LONG)]);
}

/// The first loss is the one that counts, for all who ask, and all who wait for it hear.
pub fn a_loss_is_told_once_and_to_all() {
    let kept = lease(Moment::now().after(LONG));
    let loses = |loss: Loss| {
        let kept = Arc::clone(&kept);
        thread(move || kept.lose(loss))
    };
    let hears = || {
        let kept = Arc::clone(&kept);
        shuttle::thread::spawn(move || {
            block_on(kept.told_lost());
            kept.loss()
        })
    };
    let hearing = [hears(), hears()];
    ended([loses(Loss::Gone), loses(Loss::Released)]);
    for heard in hearing {
        assert_eq!(heard.join().expect("it has not panicked"), kept.told_loss());
    }
}

/// A loss that is told during a renewal stands, whatever is confirmed.
pub fn a_loss_outlives_a_confirmation() {
    let (kept, lost) = {
        let kept = lease(Moment::now().after(LONG));
        (Arc::clone(&kept), kept)
    };
    let losing = thread(move || lost.lose(Loss::Gone));
    let mut asked = kept.renewal(false);
    kept.renewed(Moment::now(), &mut asked);
    ended([losing]);
    assert_eq!(kept.loss(), Some(Loss::Gone));
}
