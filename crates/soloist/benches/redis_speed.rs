//! How fast locks, hand-overs and flights are on a Redis server of the bench's own, each beside the least that
//! the same server does in the same run. `cargo bench --bench redis_speed`
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../tests/support/redis_server.rs"]
mod redis_server;

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use redis::AsyncCommands;
use redis_server::RedisServer;
use soloist::{Client, Flight};

const ROUNDS: u32 = 3;
const CYCLES: u32 = 5_000;
const HOPS: u32 = 2_000;
const CALLERS: u32 = 2_500;

#[tokio::main]
async fn main() {
    let server = RedisServer::start();
    println!("{:<44}{:>14}{:>14}{:>8}", "median of three rounds", "ours", "floor", "ratio");
    let (mut cycles, mut hops, mut flights) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        cycles.push((lock_cycle(&server).await, bare_cycle(&server).await));
        hops.push((hand_over(&server).await, publish_hop(&server).await));
        flights.push((flight(&server).await, publish_hop(&server).await));
    }
    row("lock + release / SET NX PX + DEL", cycles);
    row("hand-over between two clients / PUBLISH hop", hops);
    row("flight of 10,000 callers / PUBLISH hop", flights);
}

fn row(name: &str, mut times: Vec<(Duration, Duration)>) {
    times.sort_by_key(|(ours, _)| *ours);
    let (ours, floor) = times[times.len() / 2];
    let ratio = ours.as_secs_f64() / floor.as_secs_f64();
    println!("{name:<44}{:>14}{:>14}{ratio:>8.2}", format!("{ours:.1?}"), format!("{floor:.1?}"));
}

async fn lock_cycle(server: &RedisServer) -> Duration {
    let client = Client::connect(&server.url()).await.unwrap();
    let began = Instant::now();
    for _ in 0..CYCLES {
        client.lock("cycle").await.unwrap().release().await.unwrap();
    }
    began.elapsed() / CYCLES
}

async fn bare_cycle(server: &RedisServer) -> Duration {
    let mut bare = server.admin().await;
    let began = Instant::now();
    for _ in 0..CYCLES {
        let mut set = redis::cmd("SET");
        let _: () =
            set.arg("bare").arg("me").arg("NX").arg("PX").arg(30_000).query_async(&mut bare).await.unwrap();
        let _: () = bare.del("bare").await.unwrap();
    }
    began.elapsed() / CYCLES
}

/// From one holder's release to the other's grant: two clients that always stand behind each other.
async fn hand_over(server: &RedisServer) -> Duration {
    let began = Instant::now();
    let sides = [server.url(), server.url()].map(|url| {
        tokio::spawn(async move {
            let client = Client::connect(&url).await.unwrap();
            for _ in 0..HOPS {
                client.lock("hop").await.unwrap().release().await.unwrap();
            }
        })
    });
    for side in sides {
        side.await.unwrap();
    }
    began.elapsed() / (2 * HOPS)
}

async fn publish_hop(server: &RedisServer) -> Duration {
    let client = redis::Client::open(server.url()).unwrap();
    let mut heard = client.get_async_pubsub().await.unwrap();
    heard.subscribe("bare").await.unwrap();
    let mut messages = heard.into_on_message();
    let mut bare = server.admin().await;
    let began = Instant::now();
    for _ in 0..HOPS {
        let _: () = bare.publish("bare", "x").await.unwrap();
        messages.next().await.unwrap();
    }
    began.elapsed() / HOPS
}

/// From the publication to the last of 10,000 callers on four clients.
async fn flight(server: &RedisServer) -> Duration {
    let leading = Client::connect(&server.url()).await.unwrap();
    let Flight::Leader(leader) = leading.once("flight").join::<u32>().await.unwrap() else {
        panic!("a result")
    };
    let mut callers = Vec::new();
    for _ in 0..4 {
        let client = Client::connect(&server.url()).await.unwrap();
        for _ in 0..CALLERS {
            let client = client.clone();
            callers.push(tokio::spawn(async move { client.once("flight").join::<u32>().await.map(drop) }));
        }
    }
    while leading.inspect("flight").await.unwrap().waiting < 4 {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    leader.publish(7).await.unwrap();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    began.elapsed()
}
