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
