//! Three servers: the one in the middle of the list is the primary, the others are its replicas.

use std::sync::Arc;
use std::time::Duration;

use soloist::Client;
use soloist::store::redis::{RedisOptions, RedisStore};

use crate::redis_server::RedisServer;

/// A generous limit for everything that is waited for.
pub const SOON: Duration = Duration::from_secs(30);
pub const SECRET: &str = "geheim-4711";

/// Fails instead of hanging.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("this should have happened long ago")
}

/// Options of a caller who has not much time.
pub fn hasty() -> RedisOptions {
    RedisOptions::default()
        .response_timeout(Duration::from_millis(500))
        .connect_timeout(Duration::from_secs(1))
        .health_check(Duration::from_millis(200))
}

/// As hasty, and looks at nothing by itself.
pub fn careless() -> RedisOptions {
    hasty().health_check(Duration::from_secs(3600))
}

pub async fn run<T: redis::FromRedisValue>(server: &RedisServer, words: &[&str]) -> T {
    let mut cmd = redis::cmd(words[0]);
    cmd.arg(&words[1..]);
    cmd.query_async(&mut server.admin().await).await.unwrap()
}

/// Arguments: a user of the stores, by whom their connections are known; and replicas that follow at once.
fn args(primary: Option<u16>) -> Vec<String> {
    let password = format!(">{SECRET}");
    let mut args = vec!["--user", "store", "on", &password, "~*", "&*", "+@all"];
    args.extend(["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]);
    let port = primary.unwrap_or_default().to_string();
    if primary.is_some() {
        args.extend(["--replicaof", "127.0.0.1", &port]);
    }
    args.into_iter().map(str::to_owned).collect()
}

fn borrowed(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

pub struct Trio(pub [RedisServer; 3]);

impl Trio {
    pub async fn start() -> Self {
        let primary = RedisServer::start_with(&borrowed(&args(None)));
        let replica = borrowed_replica(primary.port());
        let trio = Trio([replica(), primary, replica()]);
        trio.follow(1, &[0, 2]).await;
        trio
    }

    /// Starts a server again: as a replica, or as a primary that knows nothing.
    pub fn start_again(&mut self, node: usize, primary: Option<usize>) {
        let port = primary.map(|primary| self.0[primary].port());
        self.0[node].start_again_with(&borrowed(&args(port)));
    }

    pub fn url(&self) -> String {
        self.url_with(SECRET)
    }

    pub fn url_with(&self, password: &str) -> String {
        let hosts = self.0.each_ref().map(|server| format!("127.0.0.1:{}", server.port()));
        format!("redis://store:{password}@{}/1", hosts.join(","))
    }

    /// Whether a text names all of the nodes.
    pub fn all_named(&self, text: &str) -> bool {
        self.0.iter().all(|server| text.contains(&format!("127.0.0.1:{}: ", server.port())))
    }

    pub async fn store(&self, options: RedisOptions) -> Arc<RedisStore> {
        Arc::new(RedisStore::connect_with(&self.url(), options).await.unwrap())
    }

    pub async fn client(&self, holder: &str) -> Client {
        Client::builder().holder(holder).store(self.store(hasty()).await).unwrap()
    }

    /// A store on one of them alone.
    pub async fn at(&self, node: usize) -> RedisStore {
        RedisStore::connect(&format!("{}/1", self.0[node].url())).await.unwrap()
    }

    /// Makes a node a primary without any replica.
    pub async fn promote(&self, node: usize) {
        run::<()>(&self.0[node], &["REPLICAOF", "NO", "ONE"]).await;
    }

    /// Has nodes follow a primary, and waits until they have all that it has.
    pub async fn follow(&self, primary: usize, replicas: &[usize]) {
        let port = self.0[primary].port().to_string();
        for &replica in replicas {
            run::<()>(&self.0[replica], &["REPLICAOF", "127.0.0.1", &port]).await;
            soon(async {
                while !run::<String>(&self.0[replica], &["INFO", "replication"])
                    .await
                    .contains("master_link_status:up")
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
        }
        self.copied(primary, replicas.len()).await;
    }

    /// Waits until so many replicas, or more, have all that their primary has.
    pub async fn copied(&self, primary: usize, replicas: usize) {
        let mut admin = self.0[primary].admin().await;
        let () = redis::cmd("SET").arg("mark").arg(1).query_async(&mut admin).await.unwrap();
        let wait = redis::cmd("WAIT").arg(replicas).arg(20_000).query_async::<usize>(&mut admin).await;
        assert!(wait.unwrap() >= replicas);
    }

    /// Waits until all connections of so many stores are at one node: verbs and wake-ups.
    pub async fn all_at(&self, node: usize, stores: usize) {
        let mut seen = Vec::new();
        let there = async {
            loop {
                // A failover ends connections, this test's own, too: then it looks again.
                let Ok(seats) = self.seats().await else { continue };
                seen = seats;
                // Beside the verbs, a store may have a connection that renews.
                let right = |(at, [verbs, hearing]): (usize, &Seats)| {
                    let stores = if at == node { stores } else { 0 };
                    *hearing == stores && (stores..=2 * stores).contains(verbs)
                };
                if seen.iter().enumerate().all(right) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let there = tokio::time::timeout(SOON, there).await;
        assert!(there.is_ok(), "[verbs, wake-ups] of each node: {seen:?}; all should be at {node}");
    }

    async fn seats(&self) -> redis::RedisResult<Vec<Seats>> {
        let mut all = Vec::new();
        for server in &self.0 {
            // One that is down serves nobody.
            let Ok(client) = redis::Client::open(server.url()) else { continue };
            let Ok(mut admin) = client.get_multiplexed_async_connection().await else {
                all.push([0; 2]);
                continue;
            };
            let list = redis::cmd("CLIENT").arg("LIST").query_async::<String>(&mut admin).await?;
            let ours: Vec<_> = list.lines().filter(|line| line.contains("user=store")).collect();
            let hearing = ours.iter().filter(|line| !line.contains(" sub=0 ")).count();
            all.push([ours.len() - hearing, hearing]);
        }
        Ok(all)
    }
}

/// How many connections carry verbs, and how many hear.
type Seats = [usize; 2];

fn borrowed_replica(port: u16) -> impl Fn() -> RedisServer {
    move || RedisServer::start_with(&borrowed(&args(Some(port))))
}
