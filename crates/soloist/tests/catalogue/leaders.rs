//! Leaders that are killed or frozen; take-overs that cross releases.

use soloist::{Client, Error, Flight, Loss};

use crate::fleet::{in_line, soon};
use crate::redis_server::RedisServer;
use crate::role::{next, start};
use crate::{Ground, MS, client};

async fn follow(client: &Client) -> tokio::task::JoinHandle<soloist::Result<Flight<String>>> {
    let following = {
        let client = client.clone();
        tokio::spawn(async move { client.once("k").keep(MS(60_000)).join::<String>().await })
    };
    in_line(client, "k", 1).await;
    following
}

#[tokio::test]
async fn a_killed_leader_is_replaced_by_the_next_in_line() {
    for ground in [Ground::redis(), Ground::local()] {
        let other = ground.client("other").await;
        let leader = start("lead", &ground.url, "leading").await;
        let following = follow(&other).await;
        leader.reap();
        let Flight::Leader(leader) = soon(following).await.unwrap().unwrap() else { panic!("nobody led") };
        leader.publish("mine".into()).await.unwrap();
        assert_eq!(other.result::<String>("k").await.unwrap().as_deref(), Some("mine"));
    }
}

#[tokio::test]
async fn a_leader_that_slept_past_its_lease_does_not_overwrite_its_successor() {
    for ground in [Ground::redis(), Ground::local()] {
        let other = ground.client("other").await;
        let mut late = start("lead", &ground.url, "leading").await;
        let following = follow(&other).await;
        late.freeze();
        let Flight::Leader(leader) = soon(following).await.unwrap().unwrap() else { panic!("nobody led") };
        leader.publish("mine".into()).await.unwrap();
        late.wake();
        late.tell("publish");
        let said = next(&mut late).await;
        assert!(said.contains("is lost"), "{said}");
        assert_eq!(other.result::<String>("k").await.unwrap().as_deref(), Some("mine"));
    }
}

/// A take-over and a release at the same moment: whichever comes first, the one who took over holds.
#[tokio::test]
async fn a_take_over_that_crosses_a_release_stands() {
    let server = RedisServer::start();
    let (one, two) = (client(&server.url(), "one").await, client(&server.url(), "two").await);
    let (mut released, mut lost) = (0, 0);
    for round in 0..200 {
        let old = one.lock("k").await.unwrap();
        let token = old.token();
        // The one that is asked first comes first, mostly.
        let (taken, ended) = if round % 2 == 0 {
            tokio::join!(async { two.lock("k").force().await }, old.release())
        } else {
            let (ended, taken) = tokio::join!(old.release(), async { two.lock("k").force().await });
            (taken, ended)
        };
        let taken = taken.unwrap();
        match ended {
            Ok(()) => released += 1,
            Err(Error::Lost { loss: Loss::TakenOver { .. } | Loss::Gone, .. }) => lost += 1,
            Err(error) => panic!("{error:?}"),
        }
        assert!(taken.token() > token);
        assert_eq!(one.inspect("k").await.unwrap().holding.unwrap().token, taken.token());
        taken.release().await.unwrap();
    }
    assert_eq!(released + lost, 200);
}

/// A name is a label: two requests of one holder are two requests.
#[tokio::test]
async fn holders_of_one_name_are_not_one() {
    let server = RedisServer::start();
    let (one, two) = (client(&server.url(), "worker").await, client(&server.url(), "worker").await);
    let lease = one.lock("k").await.unwrap();
    assert!(two.try_lock("k").await.unwrap().is_none());
    let waiting = {
        let one = one.clone();
        tokio::spawn(async move { one.lock("k").await.unwrap() })
    };
    in_line(&two, "k", 1).await;
    let first = lease.id();
    lease.release().await.unwrap();
    let next = soon(waiting).await.unwrap();
    // What has ended ends nothing more, though it bears the same name.
    assert!(matches!(two.release(&first).await, Err(Error::NotHeld { .. })));
    assert!(matches!(two.renew(&first, MS(60_000)).await, Err(Error::NotHeld { .. })));
    assert_eq!(two.inspect("k").await.unwrap().holding.unwrap().token, next.token());
}

/// A contender, refused, waiting or giving up, leaves the holder's deadline as it was.
#[tokio::test]
async fn contenders_do_not_lengthen_a_lease() {
    let server = RedisServer::start();
    let (one, two) = (client(&server.url(), "one").await, client(&server.url(), "two").await);
    let id = one.lock("k").ttl(MS(60_000)).await.unwrap().detach().await.unwrap();
    let deadline = async || two.inspect("k").await.unwrap().holding.unwrap().deadline;
    let before = deadline().await;
    assert!(two.try_lock("k").ttl(MS(600_000)).await.unwrap().is_none());
    assert!(two.lock("k").ttl(MS(600_000)).wait(MS(20)).await.is_err());
    two.flush().await;
    assert_eq!(deadline().await, before);
    one.release(&id).await.unwrap();
}

/// A renewal that ran on after the release would hold a key for ever, or bring it back.
#[tokio::test]
async fn who_has_released_renews_no_more() {
    use soloist::testing::{FaultyStore, Verb};
    let store = std::sync::Arc::new(FaultyStore::new(std::sync::Arc::new(
        soloist::store::memory::MemoryStore::new(),
    )));
    let client = Client::builder().store(std::sync::Arc::clone(&store) as std::sync::Arc<dyn soloist::Store>);
    let client = client.unwrap();
    let renewals = || store.counts().asked(Verb::Renew);
    let (released, dropped) =
        (client.lock("k").ttl(MS(150)).await.unwrap(), client.lock("j").ttl(MS(150)).await.unwrap());
    soon(store.watch().wait_for(|counts| counts.asked(Verb::Renew) >= 2)).await.unwrap();
    released.release().await.unwrap();
    drop(dropped);
    client.flush().await;
    let before = renewals();
    tokio::time::sleep(MS(600)).await; // several times their ttl: the time itself is what is tested
    assert_eq!(renewals(), before);
    assert!(client.list("*").await.unwrap().is_empty());
}
