//! A grant that counts only when replicas have it: one primary, one replica, which hangs or is cut off.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::Arc;
use std::time::Duration;

use redis_server::RedisServer;
use soloist::protocol::{KeyInfo, Who};
use soloist::store::local::LocalStore;
use soloist::store::memory::MemoryStore;
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::{Client, Error, Flight, Key, Lease, Store, Ticket};

const SOON: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(3600);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("this should have happened long ago")
}

async fn until(mut done: impl AsyncFnMut() -> bool) {
    soon(async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn run<T: redis::FromRedisValue>(server: &RedisServer, words: &[&str]) -> T {
    redis::cmd(words[0]).arg(&words[1..]).query_async(&mut server.admin().await).await.unwrap()
}

struct Pair {
    primary: RedisServer,
    replica: RedisServer,
}

impl Pair {
    async fn start() -> Self {
        let primary = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
        let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
        until(async || {
            run::<String>(&replica, &["INFO", "replication"]).await.contains("master_link_status:up")
        })
        .await;
        Pair { primary, replica }
    }

    /// A client that waits so long for replicas.
    async fn client(&self, holder: &str, patience: Duration) -> Client {
        Client::builder().holder(holder).store(Arc::new(self.store(patience).await)).unwrap()
    }

    async fn store(&self, patience: Duration) -> RedisStore {
        let options = RedisOptions::default().replicas_timeout(patience);
        RedisStore::connect_with(&self.primary.url(), options).await.unwrap()
    }

    /// Waits until so many connections wait for replicas.
    async fn waited_for(&self, count: usize) {
        until(async || {
            let list: String = run(&self.primary, &["CLIENT", "LIST"]).await;
            list.matches("cmd=wait").count() == count && list.matches(" flags=b ").count() == count
        })
        .await;
    }

    /// Whether the replica has the lease of a key.
    async fn copied(&self, key: &str) -> bool {
        let names: Vec<String> = run(&self.replica, &["KEYS", &format!("soloist:1:*:l:{key}")]).await;
        !names.is_empty()
    }
}

async fn info(client: &Client, key: &str) -> KeyInfo {
    soon(client.inspect(key)).await.unwrap()
}

fn too_few(result: soloist::Result<Lease>, numbers: (u32, u32)) {
    match result {
        Err(Error::NotReplicated { key, wanted, got }) => {
            assert_eq!((key.as_str(), (wanted, got)), ("k", numbers));
        }
        other => panic!("{other:?}"),
    }
}

/// Asks, and answers what comes of it.
fn asks(client: &Client) -> tokio::task::JoinHandle<soloist::Result<Lease>> {
    let client = client.clone();
    tokio::spawn(async move { client.lock("k").replicas(1).await })
}

#[tokio::test]
async fn a_lease_is_given_when_replicas_have_it() {
    let pair = Pair::start().await;
    let client = pair.client("a", LONG).await;
    pair.replica.freeze();
    let own = client.clone();
    let asking = tokio::spawn(async move { own.lock("k").ttl(SOON / 5).replicas(1).await });
    pair.waited_for(1).await;
    assert!(!asking.is_finished());
    // Nobody else waits for that: neither other keys of this client nor the lease's own renewal.
    soon(client.lock("other").ttl(LONG).into_future()).await.unwrap().release().await.unwrap();
    let deadline = info(&client, "k").await.holding.expect("held meanwhile").deadline;
    until(async || info(&client, "k").await.holding.expect("kept meanwhile").deadline > deadline).await;
    pair.replica.wake();
    let lease = soon(asking).await.unwrap().unwrap();
    assert!(pair.copied("k").await);
    soon(lease.release()).await.unwrap();
}

#[tokio::test]
async fn too_few_replicas_give_it_back() {
    let pair = Pair::start().await;
    // As long as one replica that works may take.
    let client = pair.client("a", SOON / 6).await;
    too_few(soon(client.lock("k").replicas(2).into_future()).await, (2, 1));
    assert!(info(&client, "k").await.holding.is_none());
    // The connection is used again, and the client's own number where no other is said.
    let strict = Client::builder().replicas(1).store(Arc::new(pair.store(SOON).await)).unwrap();
    soon(soon(strict.lock("k").into_future()).await.unwrap().release()).await.unwrap();
    pair.replica.freeze();
    let hasty = pair.store(Duration::from_millis(100)).await;
    let hasty = Client::builder().replicas(1).store(Arc::new(hasty)).unwrap();
    too_few(soon(hasty.lock("k").into_future()).await, (1, 0));
    too_few(soon(hasty.try_lock("k").into_future()).await.map(Option::unwrap), (1, 0));
    too_few(soon(hasty.lock("k").force().into_future()).await, (1, 0));
    assert!(info(&client, "k").await.holding.is_none());
    soon(soon(hasty.lock("k").replicas(0).into_future()).await.unwrap().release()).await.unwrap();
    pair.replica.wake();
}

#[tokio::test]
async fn a_replica_that_is_cut_off_does_not_count() {
    let pair = Pair::start().await;
    let client = pair.client("a", Duration::from_millis(100)).await;
    run::<()>(&pair.replica, &["REPLICAOF", "NO", "ONE"]).await;
    too_few(soon(client.lock("k").replicas(1).into_future()).await, (1, 0));
}

/// The grant is written by the connection of whoever releases, not by that of whoever waits.
#[tokio::test]
async fn a_hand_over_counts_when_replicas_have_it() {
    let pair = Pair::start().await;
    let (a, b) = (pair.client("a", LONG).await, pair.client("b", LONG).await);
    let held = soon(a.lock("k").ttl(LONG).into_future()).await.unwrap();
    let asking = asks(&b);
    until(async || info(&a, "k").await.waiting == 1).await;
    pair.replica.freeze();
    soon(held.release()).await.unwrap();
    pair.waited_for(1).await;
    assert!(!asking.is_finished());
    assert_eq!(info(&a, "k").await.holding.expect("handed over").holder.as_str(), "b");
    pair.replica.wake();
    let lease = soon(asking).await.unwrap().unwrap();
    assert!(pair.copied("k").await);
    soon(lease.release()).await.unwrap();
}

#[tokio::test]
async fn a_hand_over_that_too_few_replicas_have_goes_to_the_next() {
    let pair = Pair::start().await;
    let (a, b) = (pair.client("a", LONG).await, pair.client("b", Duration::from_millis(100)).await);
    let held = soon(a.lock("k").ttl(LONG).into_future()).await.unwrap();
    let strict = asks(&b);
    until(async || info(&a, "k").await.waiting == 1).await;
    let third = a.clone();
    let third = tokio::spawn(async move { third.lock("k").await });
    until(async || info(&a, "k").await.waiting == 2).await;
    pair.replica.freeze();
    soon(held.release()).await.unwrap();
    too_few(soon(strict).await.unwrap(), (1, 0));
    drop(soon(third).await.unwrap().unwrap());
    pair.replica.wake();
}

#[tokio::test]
async fn a_request_that_is_dropped_meanwhile_leaves_nothing() {
    let pair = Pair::start().await;
    let client = pair.client("a", LONG).await;
    pair.replica.freeze();
    let asking = asks(&client);
    pair.waited_for(1).await;
    asking.abort();
    assert!(asking.await.is_err());
    soon(client.flush()).await;
    assert!(info(&client, "k").await.holding.is_none());
    pair.waited_for(0).await;
    pair.replica.wake();
}

#[tokio::test]
async fn many_wait_at_the_same_time() {
    let pair = Pair::start().await;
    let client = pair.client("a", LONG).await;
    pair.replica.freeze();
    let ask = |number: u32| {
        let client = client.clone();
        tokio::spawn(async move { client.lock(format!("k{number}")).replicas(1).await.map(drop) })
    };
    let asking: Vec<_> = (0..40).map(ask).collect();
    pair.waited_for(8).await;
    pair.replica.wake();
    for one in asking {
        soon(one).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_leader_leads_when_replicas_have_its_lease() {
    let pair = Pair::start().await;
    let (client, hasty) = (pair.client("a", SOON).await, pair.client("b", Duration::from_millis(100)).await);
    let run = || async { Ok::<_, Error>(42) };
    assert_eq!(soon(client.once("k").replicas(1).run(run)).await.unwrap(), 42);
    pair.replica.freeze();
    // Both in the same process: what the first could not have the second asks for anew.
    let once = hasty.once("k").replicas(1);
    let (first, second) = soon(async { tokio::join!(once.clone().join::<u32>(), once.join::<u32>()) }).await;
    for led in [first, second] {
        assert!(matches!(led, Err(Error::NotReplicated { wanted: 1, got: 0, .. })), "{led:?}");
    }
    pair.replica.wake();
    let led = soon(client.once("k").replicas(1).join::<u32>()).await.unwrap();
    assert!(matches!(led, Flight::Leader(_)));
}

/// After a failover the lease may not be there, while all replicas have all that is.
#[tokio::test]
async fn a_lease_that_is_not_there_is_not_counted() {
    let pair = Pair::start().await;
    let store = Arc::new(pair.store(LONG).await);
    let client = Client::builder().store(Arc::clone(&store) as Arc<dyn Store>).unwrap();
    let key = Key::new("k").unwrap();
    let nobody = soon(store.replicated(&key, Ticket::mint(), 1)).await;
    assert!(matches!(nobody, Err(Error::NotHeld { .. })), "{nobody:?}");
    let lease = soon(client.lock("k").into_future()).await.unwrap();
    let other = soon(store.replicated(&key, Ticket::mint(), 1)).await;
    assert!(matches!(other, Err(Error::NotHeld { .. })), "{other:?}");
    assert!(soon(store.release(&key, &Who::Any)).await.is_ok());
    drop(lease);
}

/// Which writes `WAIT` counts differs by version where its connection has written nothing: ours has.
#[tokio::test]
async fn what_is_waited_for_is_a_write_of_that_connection() {
    let pair = Pair::start().await;
    let store = Arc::new(pair.store(LONG).await);
    let client = Client::builder().store(Arc::clone(&store) as Arc<dyn Store>).unwrap();
    let note = "x".repeat(1000);
    let ask = client.lock("k").ttl(LONG).note(&note);
    let lease = soon(ask.into_future()).await.unwrap();
    let written = async || {
        let info: String = run(&pair.primary, &["INFO", "replication"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let before = written().await;
    let ticket = lease.id().to_string().rsplit('.').next().unwrap().parse::<Ticket>().unwrap();
    assert_eq!(soon(store.replicated(lease.key(), ticket, 1)).await.unwrap(), 1);
    assert!(written().await >= before + 1000, "the lease, with its note, once more");
    // As it is, and for as long.
    let names: Vec<String> = run(&pair.primary, &["KEYS", "soloist:1:*:l:k"]).await;
    assert!(run::<i64>(&pair.primary, &["PTTL", &names[0]]).await > 0);
}

#[tokio::test]
async fn the_primary_may_be_away_for_a_moment() {
    let mut pair = Pair::start().await;
    let client = pair.client("a", LONG).await;
    soon(soon(client.lock("k").replicas(1).into_future()).await.unwrap().release()).await.unwrap();
    // The idle connection dies with all others; the lease of the next request is that of the new server.
    pair.primary.start_again();
    let lease = soon(client.lock("k").replicas(1).into_future()).await.unwrap();
    assert!(pair.copied("k").await);
    soon(lease.release()).await.unwrap();
}

/// What is written before a primary has its first replica has no place in what is sent to it: `WAIT` counts
/// whoever is connected, also one that is still loading.
#[tokio::test]
async fn a_replica_that_is_still_loading_does_not_count() {
    let mut pair = Pair::start().await;
    let client = pair.client("a", LONG).await;
    // Its next load takes a second or more.
    run::<()>(&pair.replica, &["CONFIG", "SET", "key-load-delay", "1000"]).await;
    pair.primary.start_again();
    let fill = "for n = 1, 1000 do redis.call('SET', 'n' .. n, n) end";
    run::<()>(&pair.primary, &["EVAL", fill, "0"]).await;
    let lease = soon(client.lock("k").replicas(1).into_future()).await.unwrap();
    let info: String = run(&pair.primary, &["INFO", "replication"]).await;
    let line = info.lines().find(|line| line.starts_with("slave0:")).expect("the replica");
    assert!(line.contains("state=online") && !line.contains("offset=0,"), "it has confirmed nothing: {line}");
    assert!(pair.copied("k").await);
    soon(lease.release()).await.unwrap();
}

#[tokio::test]
async fn other_stores_refuse_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn Store>; 2] = [
        Arc::new(MemoryStore::new()),
        Arc::new(LocalStore::open(Some(&folder.path().join("store"))).unwrap()),
    ];
    for store in stores {
        let refused = |error: Option<Error>| match error {
            Some(error @ Error::Refused { .. }) => assert!(error.to_string().contains("replicas"), "{error}"),
            other => panic!("{other:?}"),
        };
        refused(Client::builder().replicas(1).store(Arc::clone(&store)).err());
        let client = Client::builder().prefix("p:").replicas(0).store(store).unwrap();
        refused(client.lock("k").replicas(1).await.err());
        refused(client.try_lock("k").replicas(1).await.err());
        refused(client.once("k").replicas(1).join::<u32>().await.err());
        assert!(client.lock("k").await.is_ok());
    }
    refused_url().await;
}

async fn refused_url() {
    let error = Client::builder().replicas(1).connect("memory:").await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn it_needs_one_more_right() {
    let page = include_str!("../../../docs/redis.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER soloist")).expect("the line");
    let pair = Pair::start().await;
    run::<()>(&pair.primary, &line.split_whitespace().collect::<Vec<_>>()).await;
    let url = pair.primary.url().replace("redis://", "redis://soloist:PASSWORD@");
    let client = Client::builder().prefix("p:").connect(&url).await.unwrap();
    let error = soon(client.lock("k").replicas(1).into_future()).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { why, .. } if why.contains("wait")), "{error:?}");
    assert!(error.hint().unwrap().contains("+wait"), "{error:?}");
    soon(client.flush()).await;
    assert!(info(&client, "k").await.holding.is_none());
    run::<()>(&pair.primary, &["ACL", "SETUSER", "soloist", "+wait"]).await;
    soon(soon(client.lock("k").replicas(1).into_future()).await.unwrap().release()).await.unwrap();
}
