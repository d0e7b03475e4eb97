//! Processes that are killed (kill -9) while they hold, wait, lead or follow on a real server: nobody is ever two, the
//! keys go on after the ttl, and nothing is left in the end.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::time::Duration;

use soloist::testing::{self, RedisServer, SecondProcess};
use soloist::{Client, Error, Flight};

const TEST: &str = "role";
const URL: &str = "SOLOIST_TEST_URL";
const KEYS: u64 = 12;
/// So long a key stays with a holder that was killed.
const TTL: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(60);

fn random(below: u64) -> u64 {
    (soloist::Ticket::mint().as_u128() % u128::from(below)) as u64
}

async fn client(url: &str) -> Client {
    Client::builder().ttl(TTL).connect(url).await.unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("this should have happened long ago")
}

/// Writes a lease's token to a register that refuses a smaller one, as what is protected by a lock does. Answers
/// `false` when it came too late.
async fn write(register: &mut redis::aio::MultiplexedConnection, key: &str, token: u64) -> bool {
    let script = "local was = tonumber(redis.call('GET', KEYS[1]) or '0') \
                  if was > tonumber(ARGV[1]) then return 0 end redis.call('SET', KEYS[1], ARGV[1]) \
                  if was == tonumber(ARGV[1]) then return 2 end return 1";
    let key = format!("register:{key}");
    let written: i64 =
        redis::cmd("EVAL").arg(script).arg(1).arg(key).arg(token).query_async(register).await.unwrap();
    assert_ne!(written, 2, "two leases have the same token");
    written == 1
}

/// Not a test: a process that takes, waits, leads and follows until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role() {
    let (Some(role), Ok(url)) = (testing::role(), std::env::var(URL)) else { return };
    // Who ends in another way than by the kill says why.
    std::panic::set_hook(Box::new(|why| testing::says(&why.to_string().replace('\n', " "))));
    let client = client(&url).await;
    let mut register = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let key = format!("k{}", random(KEYS));
    let once = || client.once(&key).keep(Duration::from_millis(50));
    testing::says("ready");
    loop {
        match &*role {
            "hold" => {
                let lease = client.lock(&key).await.unwrap();
                testing::says("there");
                if !write(&mut register, &key, lease.token().0).await {
                    // Too late is only who is told so.
                    soon(lease.lost()).await;
                }
                tokio::time::sleep(Duration::from_millis(random(100))).await;
            }
            "wait" => {
                let waiting = client.lock(&key).wait(Duration::from_millis(random(100)));
                testing::says("there");
                drop(waiting.await);
            }
            "lead" => {
                if let Flight::Leader(leader) = once().join::<u32>().await.unwrap() {
                    testing::says("there");
                    tokio::time::sleep(Duration::from_millis(random(100))).await;
                    drop(leader.publish(7).await);
                }
            }
            _ => {
                testing::says("there");
                let found = once().run(|| async { Ok::<u32, Error>(7) }).await;
                assert!(matches!(found, Ok(7) | Err(Error::Lost { .. })), "{found:?}");
            }
        }
    }
}

const ROLES: [&str; 4] = ["hold", "wait", "lead", "follow"];

const AT_ONCE: usize = 8;

/// Kills a process some time after it has begun. Answers whether it had come to what it is there for; whatever else
/// it says is what it found wrong.
async fn end(mut process: SecondProcess) -> bool {
    assert_eq!(soon(process.says()).await.as_deref(), Some("ready"));
    tokio::time::sleep(Duration::from_millis(random(20))).await;
    process.kill();
    let mut was_there = false;
    while let Some(said) = soon(process.says()).await {
        assert_eq!(said, "there");
        was_there = true;
    }
    process.reap();
    was_there
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_on_a_server_break_nothing() {
    let server = RedisServer::start();
    let url = server.url();
    let kills = if std::env::var_os("SOLOIST_SOAK").is_some() { 2000 } else { 240 };
    let mut killed = BTreeMap::<&str, u64>::new();
    let mut running = std::collections::VecDeque::new();
    for number in 0..kills {
        let role = ROLES[number % ROLES.len()];
        running.push_back((role, SecondProcess::in_role(TEST, role, &[(URL, &url)])));
        if running.len() == AT_ONCE {
            let (role, process) = running.pop_front().unwrap();
            *killed.entry(role).or_default() += u64::from(end(process).await);
        }
    }
    for (role, process) in running {
        *killed.entry(role).or_default() += u64::from(end(process).await);
    }
    println!("killed when they were there: {killed:?}");
    assert!(ROLES.iter().all(|role| killed[role] > 0), "{killed:?}");
    // Those who come after them get every key, and in the end nothing is left.
    let after = client(&url).await;
    let mut register = redis::Client::open(&*url).unwrap().get_multiplexed_async_connection().await.unwrap();
    for number in 0..KEYS {
        let key = format!("k{number}");
        let lease = soon(after.lock(&key).into_future()).await.unwrap();
        assert!(write(&mut register, &key, lease.token().0).await, "a token that was not larger");
        lease.release().await.unwrap();
        soon(after.once(&key).run(|| async { Ok::<u32, Error>(7) })).await.unwrap();
        after.forget(&key).await.unwrap();
        let info = after.inspect(&key).await.unwrap();
        assert!(info.holding.is_none() && info.waiting == 0, "{info:?}");
    }
    after.close().await;
    let names: Vec<String> = redis::cmd("KEYS").arg("soloist:*").query_async(&mut register).await.unwrap();
    // What is left is a counter of tokens for each shard.
    let left: Vec<_> = names.into_iter().filter(|name| !name.ends_with("}:f")).collect();
    assert_eq!(left, Vec::<String>::new(), "names on the server");
}
