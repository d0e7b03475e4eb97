//! A store that stops a future under test at one chosen point of its way.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use async_trait::async_trait;
use soloist::protocol::{
    KeyInfo, Left, Outcome, Publication, Published, Released, Renewal, Renewed, Request, Who,
};
use soloist::store::{Notice, Reply, Rotated};
use soloist::{EventStream, Key, Result, Store, Ticket};
use tokio::sync::{Notify, broadcast};

/// Where on its way a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing was sent.
    Before,
    /// It is under way, and not answered.
    During,
    /// It was answered, and the answer was not seen.
    After,
}

/// Where a future is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Point {
    /// At its first question of this verb.
    Verb(&'static str, Phase),
    /// After so many polls.
    Polls(usize),
}

/// Knows where the future under test is. Only what that future itself asks for passes here, not its keeper.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    stands: Notify,
}

#[derive(Debug, Default)]
struct State {
    point: Option<Point>,
    asked: HashMap<&'static str, usize>,
    polls: usize,
    reached: bool,
}

tokio::task_local! {
    static GATE: Arc<Gate>;
}

/// How far a future has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Till {
    Reached,
    Finished,
}

impl Gate {
    pub fn at(point: Point) -> Arc<Self> {
        let state = State { point: Some(point), ..State::default() };
        Arc::new(Gate { state: Mutex::new(state), stands: Notify::new() })
    }

    /// Lets a future run until it is where it is to be stopped, or has ended.
    pub async fn run(self: &Arc<Self>, mut under: Pin<&mut (impl Future<Output = ()> + ?Sized)>) -> Till {
        poll_fn(|cx| {
            if self.is_reached() {
                return Poll::Ready(Till::Reached);
            }
            let polled = GATE.sync_scope(Arc::clone(self), || under.as_mut().poll(cx));
            self.state.lock().unwrap().polls += 1;
            match polled {
                Poll::Ready(()) => Poll::Ready(Till::Finished),
                Poll::Pending if self.is_reached() => Poll::Ready(Till::Reached),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Resolves when it stands in line.
    pub async fn standing(&self) {
        self.stands.notified().await;
    }

    fn is_reached(&self) -> bool {
        self.state.lock().unwrap().is_reached()
    }

    /// The number of this question among those of its verb.
    fn count(&self, verb: &'static str) -> usize {
        let mut state = self.state.lock().unwrap();
        let asked = state.asked.entry(verb).or_default();
        *asked += 1;
        *asked
    }

    fn is_at(&self, verb: &'static str, count: usize, phase: Phase) -> bool {
        count == 1 && self.state.lock().unwrap().point == Some(Point::Verb(verb, phase))
    }

    /// Stops here for good.
    async fn stop(&self) {
        self.state.lock().unwrap().reached = true;
        std::future::pending().await
    }
}

impl State {
    fn is_reached(&self) -> bool {
        self.reached || matches!(self.point, Some(Point::Polls(polls)) if self.polls >= polls)
    }
}

/// A store with gates at all its verbs.
#[derive(Debug)]
pub struct Gated(pub Arc<dyn Store>);

async fn pass<T>(verb: &'static str, asked: impl Future<Output = T>) -> T {
    let Ok(gate) = GATE.try_with(Arc::clone) else { return asked.await };
    let count = gate.count(verb);
    if gate.is_at(verb, count, Phase::Before) {
        gate.stop().await;
    }
    let mut asked = pin!(asked);
    let first = poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx))).await;
    let answer = match first {
        Poll::Ready(answer) => {
            // On a busy machine the answer can be there before the first look: no less unseen.
            if gate.is_at(verb, count, Phase::During) {
                gate.stop().await;
            }
            answer
        }
        Poll::Pending => {
            if gate.is_at(verb, count, Phase::During) {
                gate.stop().await;
            }
            if verb == "wait" {
                gate.stands.notify_one();
            }
            asked.await
        }
    };
    if gate.is_at(verb, count, Phase::After) {
        gate.stop().await;
    }
    answer
}

#[async_trait]
impl Store for Gated {
    fn name(&self) -> &str {
        self.0.name()
    }
    async fn acquire(&self, request: &Request) -> Result<Reply> {
        pass("acquire", self.0.acquire(request)).await
    }
    async fn wait(&self, request: &Request, standing: Reply) -> Result<Reply> {
        pass("wait", self.0.wait(request, standing)).await
    }
    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        pass("leave", self.0.leave(key, ticket)).await
    }
    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        pass("renew", self.0.renew(renewals)).await
    }
    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        pass("release", self.0.release(key, who)).await
    }
    async fn rotate(&self, held: Ticket, request: &Request) -> Result<Rotated> {
        pass("rotate", self.0.rotate(held, request)).await
    }
    async fn publish(&self, publication: &Publication) -> Result<Published> {
        pass("publish", self.0.publish(publication)).await
    }
    async fn forget(&self, key: &Key) -> Result<bool> {
        pass("forget", self.0.forget(key)).await
    }
    async fn touch(&self, key: &Key) -> Result<()> {
        pass("touch", self.0.touch(key)).await
    }
    async fn result(&self, key: &Key) -> Result<Option<Outcome>> {
        pass("result", self.0.result(key)).await
    }
    async fn inspect(&self, key: &Key) -> Result<KeyInfo> {
        pass("inspect", self.0.inspect(key)).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        pass("list", self.0.list(prefix)).await
    }
    async fn events(&self) -> Result<EventStream> {
        pass("events", self.0.events()).await
    }
    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.0.notices()
    }
    fn leases_end_with_sessions(&self) -> bool {
        self.0.leases_end_with_sessions()
    }
    async fn stop_waiting(&self) {
        pass("stop_waiting", self.0.stop_waiting()).await
    }
    async fn close(&self) {
        pass("close", self.0.close()).await
    }
}
