//! Every order in which a few futures can be polled, and dropped: a scheduler that leaves nothing to chance.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// One of the futures.
pub struct Actor {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    woken: Arc<Woken>,
    may_drop: bool,
    end: Ended,
}

/// What became of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It waits, and nobody is left who could wake it.
    Stuck,
    /// It came to its end.
    Finished,
    /// It was dropped on its way.
    Dropped,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Actor {
    /// A future that comes to its end, or waits.
    pub fn new(future: impl Future<Output = ()> + 'static) -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Actor { future: Some(Box::pin(future)), woken, may_drop: false, end: Ended::Stuck }
    }

    /// A future that may also be dropped, wherever it is.
    pub fn dropped_anywhere(future: impl Future<Output = ()> + 'static) -> Self {
        Actor { may_drop: true, ..Actor::new(future) }
    }

    fn can_run(&self) -> bool {
        self.future.is_some() && self.woken.0.load(Ordering::SeqCst)
    }

    fn poll(&mut self) {
        let Some(future) = &mut self.future else { return };
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            (self.future, self.end) = (None, Ended::Finished);
        }
    }
}

/// Lets the others go first, in some of the orders.
///
/// # Cancel safety
/// Safe: it does nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// soloist::testing::orders::step().await;
/// # }
/// ```
pub async fn step() {
    let mut passed = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut passed, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Sets a small world up, time and again, and runs it in another order each time, until there is none left. A
/// future is polled only when it was woken, as a runtime would do it, so whoever misses its wake-up is
/// [stuck](Ended::Stuck). `check` hears what became of each. Answers how many orders there are.
///
/// # Panics
/// When `check` does.
///
/// ```
/// use std::rc::Rc;
/// use soloist::testing::orders::{Actor, Ended, every_order, step};
///
/// let orders = every_order(|| {
///     let notify = Rc::new(tokio::sync::Notify::new());
///     let waits = Rc::clone(&notify);
///     let one = Actor::new(async move { waits.notified().await });
///     let other = Actor::new(async move {
///         step().await;
///         notify.notify_one(); // with `notify_waiters` whoever comes later would be stuck
///     });
///     (vec![one, other], |ends: &[Ended]| assert_eq!(ends, [Ended::Finished; 2]))
/// });
/// assert!(orders > 2);
/// ```
pub fn every_order<C: FnOnce(&[Ended])>(world: impl Fn() -> (Vec<Actor>, C)) -> usize {
    // For each step of the last run: what was chosen, and of how many.
    let mut path: Vec<(usize, usize)> = Vec::new();
    let mut orders = 0;
    loop {
        let (mut actors, check) = world();
        let mut at = 0;
        loop {
            let runs = |(number, actor): (usize, &Actor)| actor.can_run().then_some((number, false));
            let mut choices: Vec<_> = actors.iter().enumerate().filter_map(runs).collect();
            if choices.is_empty() {
                break;
            }
            let drops =
                actors.iter().enumerate().filter(|(_, actor)| actor.may_drop && actor.future.is_some());
            choices.extend(drops.map(|(number, _)| (number, true)));
            if at == path.len() {
                path.push((0, choices.len()));
            }
            let (number, is_drop) = choices[path[at].0.min(choices.len() - 1)];
            let actor = &mut actors[number];
            if is_drop {
                (actor.future, actor.end) = (None, Ended::Dropped);
            } else {
                actor.poll();
            }
            at += 1;
        }
        path.truncate(at);
        let ends: Vec<Ended> = actors.iter().map(|actor| actor.end).collect();
        check(&ends);
        orders += 1;
        while path.last().is_some_and(|(chosen, of)| chosen + 1 >= *of) {
            path.pop();
        }
        match path.last_mut() {
            Some((chosen, _)) => *chosen += 1,
            None => return orders,
        }
    }
}
