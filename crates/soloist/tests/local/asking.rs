//! Short forms of what the tests ask.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use soloist::protocol::{Answer, Grant, Outcome, OutcomeKind, Publication, Request, Ttl, Want, Who};
use soloist::store::Reply;
use soloist::store::local::LocalStore;
use soloist::{Key, Store};

pub(crate) fn open(path: &Path) -> LocalStore {
    LocalStore::open(Some(path)).unwrap()
}

/// The store's folder in a temporary one, which others may read.
pub(crate) fn base(dir: &tempfile::TempDir) -> std::path::PathBuf {
    dir.path().join("store")
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// A request to stand in line for a lock that ends with its session only.
pub(crate) fn lock(name: &str) -> Request {
    Request {
        bound: true,
        ..crate::request::lock(name, &format!("test:{}", std::process::id()), Ttl::Forever)
    }
}

pub(crate) fn flight(name: &str) -> Request {
    Request { want: Want::Flight, ..lock(name) }
}

pub(crate) fn publication(request: &Request, body: soloist::protocol::Body) -> Publication {
    let (key, ticket) = (request.key.clone(), request.ticket);
    Publication { key, ticket, kind: OutcomeKind::Value, body, keep: 60_000_000 }
}

/// A generous limit for what should come at once.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("this takes far too long")
}

pub(crate) fn granted(reply: Reply) -> Grant {
    match reply.answer {
        Answer::Granted(grant) => grant,
        other => panic!("not granted: {other:?}"),
    }
}

pub(crate) fn done(reply: Reply) -> Outcome {
    match reply.answer {
        Answer::Done(outcome) => outcome,
        other => panic!("no result: {other:?}"),
    }
}

pub(crate) fn queued(reply: &Reply) -> u64 {
    match &reply.answer {
        Answer::Queued(queued) => queued.place,
        other => panic!("not in line: {other:?}"),
    }
}

/// Stands in line until the key is granted.
pub(crate) async fn hold(store: &LocalStore, request: &Request) -> Grant {
    let reply = store.acquire(request).await.unwrap();
    granted(soon(store.wait(request, reply)).await.unwrap())
}

pub(crate) async fn release(store: &LocalStore, request: &Request) {
    let who = Who::Ticket(request.ticket);
    let released = store.release(&request.key, &who).await.unwrap();
    assert!(matches!(released, soloist::protocol::Released::Released { .. }), "{released:?}");
}
