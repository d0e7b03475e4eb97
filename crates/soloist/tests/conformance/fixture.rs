//! What a store has to offer to be checked, and the short words in which the checks speak.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use soloist::protocol::{
    Answer, Body, Grant, Holding, KeyInfo, Mode, Outcome, OutcomeKind, Publication, Queued, Renewal, Request,
    Ttl, Want, Who,
};
use soloist::store::Reply;
use soloist::{Holder, Key, Note, Result, Store};
use tokio::task::JoinHandle;

/// How long anything may take that must happen: generous, for it only bounds a failure.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Longer than a hand-over by message can take on the slowest machine, shorter than the slow look of
/// fifteen seconds that would hide a lost message.
pub const BY_MESSAGE: Duration = Duration::from_secs(12);

/// One fresh state, and sessions on it as several processes would have.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Opens another session.
    async fn open(&self) -> Arc<dyn Store>;

    /// Ends a session so that the store can tell, as the end of its process would.
    async fn kill(&self, session: &Arc<dyn Store>) {
        session.close().await;
    }

    /// Why a check (`module::check`) cannot hold here, if it cannot.
    fn exempt(&self, _check: &str) -> Option<&'static str> {
        None
    }

    /// Lets time pass by the store's clock: a driven one is moved, for a real one this waits.
    async fn pass(&self, time: Duration);
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub fn holder(name: &str) -> Holder {
    Holder::new(name).unwrap()
}

pub fn note(text: &str) -> Note {
    Note::new(text).unwrap()
}

/// A request for the lock `name`, by `who`, that stands in line and lives a minute.
pub fn lock(name: &str, who: &str) -> Request {
    crate::request::lock(name, who, Ttl::new(secs(60)))
}

/// The same for the result of a flight.
pub fn flight(name: &str, who: &str) -> Request {
    Request { want: Want::Flight, ..lock(name, who) }
}

pub fn trying(request: Request) -> Request {
    Request { mode: Mode::Try, ..request }
}

pub fn forcing(request: Request) -> Request {
    Request { mode: Mode::Force, ..request }
}

pub fn living(request: Request, ttl: Duration) -> Request {
    Request { ttl: Ttl::new(ttl), ..request }
}

/// What the leader `request` publishes, to be kept for `keep`.
pub fn value(request: &Request, bytes: impl Into<Bytes>, keep: Duration) -> Publication {
    Publication {
        key: request.key.clone(),
        ticket: request.ticket,
        kind: OutcomeKind::Value,
        body: Body::Inline(bytes.into()),
        keep: keep.as_micros() as u64,
    }
}

pub fn renewal(request: &Request, ttl: Duration) -> Renewal {
    Renewal {
        key: request.key.clone(),
        who: Who::Ticket(request.ticket),
        ttl: Ttl::new(ttl),
        detach: false,
        at_least: None,
    }
}

/// Bounds what must happen.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("this must happen, and did not within the limit")
}

/// Asks, and must be granted.
#[track_caller]
pub fn grant_of(answer: Answer) -> Grant {
    match answer {
        Answer::Granted(grant) => grant,
        other => panic!("expected a grant, got {other:?}"),
    }
}

#[track_caller]
pub fn outcome_of(answer: Answer) -> Outcome {
    match answer {
        Answer::Done(outcome) => outcome,
        other => panic!("expected a result, got {other:?}"),
    }
}

#[track_caller]
pub fn place_of(answer: &Answer) -> &Queued {
    match answer {
        Answer::Queued(queued) => queued,
        other => panic!("expected a place in line, got {other:?}"),
    }
}

#[track_caller]
pub fn busy_of(answer: Answer) -> Holding {
    match answer {
        Answer::Busy(holding) => holding,
        other => panic!("expected that it is busy, got {other:?}"),
    }
}

/// The bytes of a result.
pub fn bytes_of(outcome: &Outcome) -> &Bytes {
    match &outcome.body {
        Body::Inline(bytes) => bytes,
        Body::Aside { .. } => panic!("callers never see where a result was put aside"),
    }
}

pub async fn ask(store: &Arc<dyn Store>, request: &Request) -> Answer {
    store.acquire(request).await.unwrap().answer
}

pub async fn granted(store: &Arc<dyn Store>, request: &Request) -> Grant {
    grant_of(ask(store, request).await)
}

/// Joins the line, and answers the reply that `wait` wants.
pub async fn queued(store: &Arc<dyn Store>, request: &Request) -> Reply {
    let reply = store.acquire(request).await.unwrap();
    place_of(&reply.answer);
    reply
}

/// A waiter that goes on by itself.
pub struct Waiting(JoinHandle<Result<Reply>>);

impl Waiting {
    /// The answer that it was served with.
    pub async fn answer(self) -> Answer {
        self.result().await.unwrap().answer
    }

    pub async fn result(self) -> Result<Reply> {
        soon(self.0).await.expect("the waiter does not panic")
    }

    pub fn is_served(&self) -> bool {
        self.0.is_finished()
    }

    /// Drops the future at whatever await it stands.
    pub async fn drop_it(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

pub fn waiting(store: &Arc<dyn Store>, request: &Request, standing: Reply) -> Waiting {
    let (store, request) = (Arc::clone(store), request.clone());
    Waiting(tokio::spawn(async move { store.wait(&request, standing).await }))
}

/// Joins the line and waits there.
pub async fn in_line(store: &Arc<dyn Store>, request: &Request) -> Waiting {
    let standing = queued(store, request).await;
    waiting(store, request, standing)
}

pub async fn release(store: &Arc<dyn Store>, request: &Request) -> soloist::protocol::Released {
    store.release(&request.key, &Who::Ticket(request.ticket)).await.unwrap()
}

pub async fn inspect(store: &Arc<dyn Store>, name: &str) -> KeyInfo {
    store.inspect(&key(name)).await.unwrap()
}

/// Who holds a key.
pub async fn holder_of(store: &Arc<dyn Store>, name: &str) -> Option<String> {
    inspect(store, name).await.holding.map(|holding| holding.holder.to_string())
}
