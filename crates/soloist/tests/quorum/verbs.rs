//! What a quorum answers where no other suite asks it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use soloist::protocol::{Answer, Mode, Released, Request, Who};
use soloist::store::memory::MemoryStore;
use soloist::store::quorum::QuorumStore;
use soloist::store::{Store, Told};
use soloist::{Client, Error, EventKind, Key, Level, Loss, Note, StoreUrl};

use crate::hostile::hostile;
use crate::{lock, quorum, soon, until};

fn roots() -> Vec<MemoryStore> {
    (0..3).map(|_| MemoryStore::new()).collect()
}

fn peer(roots: &[MemoryStore]) -> Arc<QuorumStore> {
    quorum(roots.iter().map(|root| Arc::new(root.peer()) as Arc<dyn Store>).collect())
}

fn client(roots: &[MemoryStore], holder: &str) -> Client {
    Client::builder().holder(holder).store(peer(roots)).unwrap()
}

fn note(note: &Option<Note>) -> &str {
    note.as_ref().map_or("", Note::as_str)
}

#[tokio::test]
async fn it_takes_an_odd_number_of_nodes_from_three() {
    for count in [0, 1, 2, 4, 17] {
        let nodes = (0..count).map(|_| Arc::new(MemoryStore::new()) as Arc<dyn Store>).collect();
        let error = QuorumStore::new(nodes).unwrap_err();
        assert!(
            matches!(&error, Error::BadUrl { why, .. } if why.contains("odd number")),
            "{count}: {error}"
        );
    }
    let refused = Client::connect("quorum:memory:,memory:").await;
    assert!(matches!(refused, Err(Error::BadUrl { .. })));
    let client = Client::connect("quorum:memory:,memory:,memory:").await.unwrap();
    assert!(client.try_lock("k").await.unwrap().is_some());
    let nested = "quorum:memory:,memory:,quorum:memory:".parse::<StoreUrl>();
    assert!(nested.is_err());
}

#[tokio::test]
async fn work_once_is_refused_at_the_first_call() {
    let client = client(&roots(), "a");
    let refused = client.once("k").run(|| async { Ok::<u32, Error>(1) }).await;
    let Err(error) = refused else { panic!("it must be refused") };
    assert!(error.to_string().contains("work-once is not offered on a quorum"), "{error}");
    assert!(error.hint().is_some());
    assert!(matches!(client.forget("k").await, Err(Error::Refused { .. })));
}

#[tokio::test]
async fn tokens_are_the_same_wherever_they_are_told() {
    let roots = roots();
    // Each node begins with other tokens.
    for (root, times) in roots.iter().zip([1, 5, 9]) {
        for _ in 0..times {
            let request = Request { mode: Mode::Force, ..lock("k", "before") };
            root.acquire(&request).await.unwrap();
        }
        root.release(&Key::new("k").unwrap(), &Who::Any).await.unwrap();
    }
    let (a, b) = (client(&roots, "a"), client(&roots, "b"));
    let mut events = b.events().await.unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let lease = a.lock("k").await.unwrap();
        let token = lease.token();
        assert!(token.0 > last);
        assert_eq!(b.inspect("k").await.unwrap().holding.unwrap().token, token);
        assert_eq!(a.list("*").await.unwrap()[0].holding.as_ref().unwrap().token, token);
        let taken = b.lock("k").force().await.unwrap();
        assert!(taken.token() > token);
        assert!(matches!(soon(lease.lost()).await, Loss::TakenOver { by } if by.as_str() == "b"));
        assert_eq!(a.break_lock("k").await.unwrap(), Some(taken.token()));
        soon(taken.lost()).await;
        let expected = [
            (EventKind::Locked, token),
            (EventKind::TakenOver { from: a.holder().clone() }, taken.token()),
            (EventKind::Broken, taken.token()),
        ];
        for (kind, token) in expected {
            let Some(Told::Event(event)) = soon(events.next()).await else { panic!("an event") };
            assert_eq!((event.kind, event.token), (kind, token));
        }
        last = taken.token().0;
    }
}

#[tokio::test]
async fn the_line_is_looked_at_and_full_as_on_one_store() {
    let roots = roots();
    let (a, b) = (peer(&roots), peer(&roots));
    let at_most = |most, who: &str| Request { max_waiting: Some(most), ..lock("k", who) };
    let first = at_most(0, "first");
    assert!(matches!(a.acquire(&first).await.unwrap().answer, Answer::Granted(_)));
    assert!(matches!(b.acquire(&at_most(1, "second")).await.unwrap().answer, Answer::Queued(_)));
    let third = a.acquire(&at_most(1, "third")).await.unwrap().answer;
    assert!(
        matches!(&third, Answer::Full { holding, waiting: 1 } if holding.holder.as_str() == "first"),
        "{third:?}"
    );
    let info = b.inspect(&first.key).await.unwrap();
    assert_eq!((info.waiting, info.waiters[0].holder.as_str()), (1, "second"));
    let listed = b.list("").await.unwrap();
    assert_eq!((listed.len(), listed[0].waiting, listed[0].key.as_str()), (1, 1, "k"));
    assert!(matches!(
        a.release(&first.key, &Who::Ticket(first.ticket)).await.unwrap(),
        Released::Released { .. }
    ));
}

#[tokio::test]
async fn hostile_holders_and_notes_are_shown_as_given() {
    let roots = roots();
    let (a, b) = (client(&roots, "a"), client(&roots, "b"));
    for text in hostile().into_iter().filter(|text| text.len() <= 256) {
        let twice = text.repeat(2);
        let first = soon(a.lock("k").holder(&text).note(&twice)).await.unwrap();
        let waiting = tokio::spawn({
            let (b, text) = (b.clone(), text.clone());
            async move { b.lock("k").holder(&text).note(&text).await.unwrap() }
        });
        until(|| async { b.inspect("k").await.unwrap().waiting == 1 }).await;
        let info = a.inspect("k").await.unwrap();
        let holding = info.holding.unwrap();
        assert_eq!((holding.holder.as_str(), note(&holding.note)), (&*text, &*twice), "{text:?}");
        let waiter = &info.waiters[0];
        assert_eq!((waiter.holder.as_str(), note(&waiter.note)), (&*text, &*text), "{text:?}");
        // By its holder's name it is found again.
        assert_eq!(b.release_held_by("k", &text).await.unwrap(), first.token(), "{text:?}");
        let second = soon(waiting).await.unwrap();
        let holding = a.inspect("k").await.unwrap().holding.unwrap();
        assert_eq!((holding.token, note(&holding.note)), (second.token(), &*text), "{text:?}");
        second.release().await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_known_of_what_has_ended() {
    let roots = roots();
    let (store, other) = (peer(&roots), peer(&roots));
    let a = Client::builder().holder("a").store(Arc::clone(&store) as Arc<dyn Store>).unwrap();
    let b = Client::builder().holder("b").store(Arc::clone(&other) as Arc<dyn Store>).unwrap();
    for n in 0..20 {
        let lease = a.lock("k").await.unwrap();
        let waiting = tokio::spawn({
            let b = b.clone();
            async move { b.lock("k").await.unwrap() }
        });
        until(|| async { a.inspect("k").await.unwrap().waiting == 1 }).await;
        if n % 2 == 0 {
            lease.release().await.unwrap()
        } else {
            drop(lease)
        };
        drop(soon(waiting).await.unwrap());
    }
    let dropped = tokio::time::timeout(Duration::from_millis(5), b.lock("k")).await;
    drop(dropped);
    until(|| async { a.inspect("k").await.unwrap().holding.is_none() }).await;
    until(|| async { store.known() + other.known() == 0 }).await;
    until(|| async { roots.iter().map(MemoryStore::listening).sum::<usize>() == 0 }).await;
}

#[tokio::test]
async fn an_examination_names_the_nodes() {
    let store = peer(&roots());
    let findings = store.examine(Duration::from_secs(30)).await.unwrap();
    assert!(
        findings.iter().all(|finding| finding.node.is_some() && finding.level == Level::Note),
        "{findings:?}"
    );
    assert_eq!(findings.len(), 3);
}
