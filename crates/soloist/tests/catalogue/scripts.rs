//! A server that forgets its scripts: `SCRIPT FLUSH` all the time, so also between the question by hash and the one
//! after it.

use std::time::Duration;

use soloist::{Flight, Told};

use crate::fleet::soon;
use crate::redis_server::RedisServer;
use crate::{MS, client};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_works_on_a_server_that_never_remembers_a_script() {
    let server = RedisServer::start();
    let (one, other) = (client(&server.url(), "a").await, client(&server.url(), "b").await);
    let mut admin = server.admin().await;
    let storm = tokio::spawn(async move {
        loop {
            redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut admin).await.unwrap();
        }
    });
    for round in 0..60_u32 {
        // acquire, look, renew, leave, release
        let lease = soon(async { one.lock("k").await }).await.unwrap();
        assert!(other.lock("k").wait(Duration::from_millis(1)).await.is_err());
        other.flush().await;
        lease.renew(MS(30_000)).await.unwrap();
        assert_eq!(one.inspect("k").await.unwrap().waiting, 0);
        lease.release().await.unwrap();
        // publish, result, forget
        let Flight::Leader(leader) = one.once("f").keep(MS(60_000)).join::<u32>().await.unwrap() else {
            panic!()
        };
        leader.publish(round).await.unwrap();
        assert_eq!(other.result::<u32>("f").await.unwrap(), Some(round));
        assert!(other.forget("f").await.unwrap());
    }
    // touch: an expiry is told though nobody touches the key
    let mut events = other.events().await.unwrap();
    one.lock("t").ttl(MS(300)).await.unwrap().detach().await.unwrap();
    use futures_util::StreamExt;
    while !matches!(soon(events.next()).await, Some(Told::Event(event)) if event.kind == soloist::EventKind::Expired)
    {
    }
    let said: String = server.run(&["INFO", "commandstats"]).await;
    let calls = |command: &str| -> u64 {
        let line = said.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:calls="))).unwrap();
        line.split_once("calls=").unwrap().1.split(',').next().unwrap().parse().unwrap()
    };
    storm.abort();
    assert!(calls("eval") > 100, "most were forgotten when they were asked for: {said}");
}
