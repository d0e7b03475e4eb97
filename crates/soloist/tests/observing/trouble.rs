//! A bad day, on a Redis.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::{Client, Flight};

use crate::recorder::Recorder;
use crate::redis_server::RedisServer;
use crate::soon;
use crate::usual::ticket;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Waits until something is logged.
async fn told(recorder: &Recorder, name: &str, field: &str, value: &str) {
    let wanted =
        |seen: &crate::recorder::Seen| field.is_empty() || seen.fields.get(field).is_some_and(|v| v == value);
    let waiting = tokio::time::timeout(MS(30_000), async {
        while !recorder.all(name).iter().any(wanted) {
            tokio::time::sleep(MS(5)).await;
        }
    });
    assert!(
        waiting.await.is_ok(),
        "{name:?} with {field} {value} is not told: {:#?}",
        recorder.seen().iter().map(|seen| format!("{} {:?}", seen.name, seen.fields)).collect::<Vec<_>>()
    );
}

/// Has everything go wrong. Answers what must not be logged.
pub async fn everything(recorder: &Recorder) -> Vec<String> {
    let mut server = RedisServer::start_with(&["--user", "worker", "on", ">geheim", "~*", "&*", "+@all"]);
    let url = server.url().replace("redis://", "redis://worker:geheim@");
    let options = RedisOptions::default().give_up(MS(100)).health_check(MS(100)).response_timeout(MS(8000));
    let store = RedisStore::connect_with(&url, options).await.unwrap();
    let client = Client::builder().holder("a").store(Arc::new(store)).unwrap();
    let mut tickets = Vec::new();

    unsafe_store(recorder).await;
    late_grant(&server, &client, recorder).await;
    late_renewal(&client, recorder).await;
    clock_set(&url, recorder).await;

    // An outage, while one holds, one waits, one drops, one leads, and one watches.
    let held = client.lock("held").ttl(MS(6_000)).await.unwrap();
    let short = client.lock("short").ttl(MS(2_000)).await.unwrap();
    let Flight::Leader(leading) = client.once("f").ttl(MS(60_000)).join::<String>().await.unwrap() else {
        panic!("there should be no result yet")
    };
    tickets.extend([&held, &short, leading.lease()].map(|lease| ticket(&lease.id())));
    let mut events = client.events().await.unwrap();
    let watching = tokio::spawn(async move { while events.next().await.is_some() {} });
    let other = client.clone();
    let waiting = tokio::spawn(async move { other.lock("held").holder("waiter").await.map(drop) });
    told(recorder, "waiting in line", "holder", "waiter").await;
    server.kill();
    told(recorder, "connection lost", "connection", "wake-ups").await;
    let publishing = tokio::spawn(async move { leading.publish("the value".into()).await });
    drop(short);
    for (name, field, value) in [
        ("connection lost", "connection", "verbs"),
        ("not connected yet", "connection", "verbs"),
        ("not connected yet", "connection", "wake-ups"),
        ("flight not published", "", ""),
        ("expiries told late", "", ""),
        ("lease not released", "", ""),
        ("still in line", "holder", "waiter"),
        ("lease not renewed", "", ""),
    ] {
        told(recorder, name, field, value).await;
    }
    server.start_again();
    told(recorder, "connected again", "connection", "verbs").await;
    told(recorder, "connected again", "connection", "wake-ups").await;
    // The server has lost its data: whoever waits gets the key, whoever led or held is told.
    soon(waiting).await.unwrap().unwrap();
    assert!(soon(publishing).await.unwrap().is_err());
    soon(held.lost()).await;
    watching.abort();
    soon(client.close()).await;
    tickets
}

/// A server that throws locks away is told once, however many are taken; one that may not be asked is not.
async fn unsafe_store(recorder: &Recorder) {
    let evicts = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let poor = ["--user", "poor", "on", ">geheim", "~*", "&*", "+@all", "-info"];
    let server = RedisServer::start_with(&[&evicts[..], &poor].concat());
    let client = Client::connect(&server.url()).await.unwrap();
    for key in ["a", "b"] {
        client.lock(key).await.unwrap().release().await.unwrap();
    }
    let told = recorder.all("store may lose locks");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].fields["code"], "maxmemory-policy");
    client.close().await;
    let client = Client::connect(&server.url().replace("redis://", "redis://poor:geheim@")).await.unwrap();
    assert_eq!(
        (recorder.all("store may lose locks").len(), recorder.all("store not examined").len()),
        (1, 1)
    );
    client.close().await;

    // A policy without a limit harms nobody; and a guarded store that has just started is waited for.
    let server = RedisServer::start_with(&evicts[2..]);
    let client = Client::connect(&format!("{}?boot_guard=10m", server.url())).await.unwrap();
    assert_eq!(recorder.all("store may lose locks").len(), 1);
    assert!(client.lock("k").wait(MS(1000)).await.is_err());
    assert_eq!(recorder.all("not granted yet").len(), 1);
    client.close().await;
}

/// The server answers later than the ttl.
async fn late_grant(server: &RedisServer, client: &Client, recorder: &Recorder) {
    let mut admin = server.admin().await;
    let pause = redis::cmd("CLIENT").arg("PAUSE").arg(400).query_async::<()>(&mut admin).await;
    pause.unwrap();
    drop(client.lock("late").ttl(MS(100)).await.unwrap());
    assert_eq!(recorder.all("lease granted too late").len(), 1);
}

/// The server's clock is set.
async fn clock_set(url: &str, recorder: &Recorder) {
    let store = RedisStore::connect_shifted(url, RedisOptions::default()).await.unwrap();
    let key = soloist::Key::new("any").unwrap();
    soloist::Store::inspect(&store, &key).await.unwrap();
    store.shift_clock(60_000_000).await.unwrap();
    soloist::Store::inspect(&store, &key).await.unwrap();
    let by = recorder.all("clock stepped").remove(0).fields["by"].parse::<f64>().unwrap();
    assert!((50.0..70.0).contains(&by), "{by} s");
}

/// The runtime stands still past the renewal, but not past the ttl.
async fn late_renewal(client: &Client, recorder: &Recorder) {
    let lease = client.lock("slow").ttl(MS(6000)).await.unwrap();
    // The keeper plans the renewal before the runtime stands still.
    client.flush().await;
    std::thread::sleep(MS(4200));
    told(recorder, "lease renewed late", "key", "slow").await;
    lease.release().await.unwrap();
}
