//! A cluster of real servers of a test's own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use soloist::Client;
use soloist::store::redis::{RedisOptions, RedisStore};
use tokio::sync::Mutex;

use crate::redis_server::{RedisServer, free_port};

/// A generous limit for everything that is waited for.
pub const SOON: Duration = Duration::from_secs(30);
const SLOTS: usize = 16384;

/// Fails instead of hanging.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("this should have happened long ago")
}

/// Waits with the limit of everything that is waited for.
pub async fn until(mut done: impl AsyncFnMut() -> bool) {
    soon(async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Options of a caller who has not much time.
pub fn hasty() -> RedisOptions {
    RedisOptions::default()
        .response_timeout(Duration::from_millis(500))
        .connect_timeout(Duration::from_secs(1))
        .health_check(Duration::from_millis(200))
}

/// Whether the installed server is of before 7.0, which lacks some words that only tests need.
pub fn is_old() -> bool {
    static OLD: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *OLD.get_or_init(|| {
        let said = std::process::Command::new("redis-server").arg("--version").output().unwrap();
        String::from_utf8_lossy(&said.stdout).contains("v=6.")
    })
}

fn server(more: &[&str]) -> RedisServer {
    // The usual port of the bus is 10000 above, and may not be one: where no other can be said, the server does not
    // start there, and is started elsewhere.
    let bus = free_port().to_string();
    let new = ["--cluster-port", &bus, "--cluster-allow-replica-migration", "no"];
    let args = [
        &["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"][..],
        &["--cluster-replica-validity-factor", "0"],
        if is_old() { &[] } else { &new },
        &["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"],
        more,
    ];
    RedisServer::start_with(&args.concat())
}

/// Some primaries, and behind them as many replicas, or none.
pub struct Cluster {
    pub nodes: Vec<RedisServer>,
    pub primaries: usize,
}

/// The cluster that all tests of a program share while any of them runs.
static SHARED: Mutex<std::sync::Weak<Cluster>> = Mutex::const_new(std::sync::Weak::new());

/// Clusters that no test uses at present, while any of them runs.
type Pool = std::sync::Mutex<Vec<Cluster>>;
static POOL: std::sync::Mutex<std::sync::Weak<Pool>> = std::sync::Mutex::new(std::sync::Weak::new());

/// Three primaries that nobody else uses, and nobody has left anything on.
pub struct Own(Option<Cluster>, Arc<Pool>);

impl Own {
    pub async fn get() -> Self {
        let pool = {
            let mut weak = POOL.lock().unwrap();
            let pool = weak.upgrade().unwrap_or_default();
            *weak = Arc::downgrade(&pool);
            pool
        };
        let idle = pool.lock().unwrap().pop();
        let cluster = match idle {
            Some(cluster) => cluster,
            None => Cluster::start(3, false).await,
        };
        Own(Some(cluster), pool)
    }
}

impl std::ops::Deref for Own {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0.as_ref().unwrap()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(cluster) = self.0.take() {
            for node in &cluster.nodes {
                assert_eq!(node.say("FLUSHALL"), "+OK");
            }
            self.1.lock().unwrap().push(cluster);
        }
    }
}

impl Cluster {
    /// Three primaries that others use as well: with names of one's own.
    pub async fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().await;
        if let Some(there) = shared.upgrade() {
            return there;
        }
        let cluster = Arc::new(Cluster::start(3, false).await);
        *shared = Arc::downgrade(&cluster);
        cluster
    }

    pub async fn start(primaries: usize, with_replicas: bool) -> Self {
        Self::start_with(primaries, with_replicas, &[]).await
    }

    pub async fn start_with(primaries: usize, with_replicas: bool, more: &[&str]) -> Self {
        let count = if with_replicas { 2 * primaries } else { primaries };
        let nodes: Vec<_> = (0..count).map(|_| server(more)).collect();
        let cluster = Cluster { nodes, primaries };
        for (at, node) in cluster.nodes.iter().enumerate() {
            let epoch = (at + 1).to_string();
            let () = node.run(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
            if at < primaries {
                let (from, to) = (SLOTS * at / primaries, SLOTS * (at + 1) / primaries - 1);
                let slots: Vec<String> = (from..=to).map(|slot| slot.to_string()).collect();
                let slots = slots.iter().map(String::as_str);
                let () =
                    node.run(&["CLUSTER", "ADDSLOTS"].into_iter().chain(slots).collect::<Vec<_>>()).await;
            }
            let (port, bus) = (cluster.nodes[0].port().to_string(), cluster.bus(0).await);
            if at > 0 {
                let () = node.run(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
            }
        }
        for node in &cluster.nodes {
            until(async || {
                let info: String = node.run(&["CLUSTER", "INFO"]).await;
                info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{count}"))
            })
            .await;
        }
        for replica in primaries..count {
            cluster.follow(replica, replica - primaries).await;
        }
        // All know all of it.
        for node in &cluster.nodes {
            until(async || {
                let told: String = node.run(&["CLUSTER", "NODES"]).await;
                told.matches("slave").count() == count - primaries
            })
            .await;
        }
        cluster
    }

    async fn bus(&self, node: usize) -> String {
        let told: Vec<String> = self.nodes[node].run(&["CONFIG", "GET", "cluster-port"]).await;
        told.get(1).cloned().unwrap_or_else(|| (self.nodes[node].port() + 10_000).to_string())
    }

    pub async fn id(&self, node: usize) -> String {
        self.nodes[node].run(&["CLUSTER", "MYID"]).await
    }

    /// Makes a node a replica of another, and waits until it has all that that one has.
    pub async fn follow(&self, replica: usize, primary: usize) {
        let id = self.id(primary).await;
        until(async || self.ask::<()>(replica, &["CLUSTER", "REPLICATE", &id]).await.is_ok()).await;
        self.copies(replica).await;
    }

    /// Waits until a replica is up with its primary.
    pub async fn copies(&self, replica: usize) {
        until(async || {
            let info: String = self.nodes[replica].run(&["INFO", "replication"]).await;
            info.contains("role:slave") && info.contains("master_link_status:up")
        })
        .await;
    }

    /// What a node says to a command.
    pub async fn ask<T: redis::FromRedisValue>(&self, node: usize, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.nodes[node].url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut cmd = redis::cmd(words[0]);
        cmd.arg(&words[1..]);
        cmd.query_async(&mut connection).await
    }

    pub fn host(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.nodes[node].port())
    }

    pub fn url(&self) -> String {
        let hosts: Vec<_> = (0..self.primaries).map(|node| self.host(node)).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    pub async fn store(&self, options: RedisOptions) -> Arc<RedisStore> {
        Arc::new(RedisStore::connect_with(&self.url(), options).await.unwrap())
    }

    pub async fn client(&self, holder: &str) -> Client {
        Client::builder().holder(holder).store(self.store(hasty()).await).unwrap()
    }

    /// The slot of a key of a user.
    pub async fn slot_of(&self, node: usize, key: &str) -> u16 {
        let name = format!("soloist:1:{{{:02x}}}:f", shard(key));
        self.ask(node, &["CLUSTER", "KEYSLOT", &name]).await.unwrap()
    }

    /// Which node has a slot, as one of them says.
    pub async fn owner(&self, asked: usize, slot: u16) -> Option<usize> {
        let told: redis::Value = self.ask(asked, &["CLUSTER", "SLOTS"]).await.ok()?;
        let redis::Value::Array(ranges) = told else { return None };
        for range in ranges {
            let redis::Value::Array(mut parts) = range else { return None };
            parts.truncate(3);
            // Of a node there is more or less behind its port.
            let (from, to, primary): (i64, i64, Vec<redis::Value>) =
                redis::from_redis_value(redis::Value::Array(parts)).ok()?;
            if (from..=to).contains(&i64::from(slot)) {
                let port: u16 = redis::from_redis_value(primary.into_iter().nth(1)?).ok()?;
                return self.nodes.iter().position(|node| node.port() == port);
            }
        }
        None
    }

    /// Waits until another node than this has a slot, and answers which.
    pub async fn next_owner(&self, asked: usize, slot: u16, old: usize) -> usize {
        soon(async {
            loop {
                match self.owner(asked, slot).await {
                    Some(owner) if owner != old => return owner,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await
    }

    /// Begins to move a slot: none of its keys are moved yet.
    pub async fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (there, here, slot) = (self.id(to).await, self.id(from).await, slot.to_string());
        let () = self.nodes[to].run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &here]).await;
        let () = self.nodes[from].run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &there]).await;
    }

    /// Moves some keys of a slot, one by one. Answers how many.
    pub async fn move_keys(&self, slot: u16, from: usize, to: usize, most: usize) -> usize {
        let (slot, count) = (slot.to_string(), most.to_string());
        let keys: Vec<Vec<u8>> = self.nodes[from].run(&["CLUSTER", "GETKEYSINSLOT", &slot, &count]).await;
        for key in &keys {
            let mut cmd = redis::cmd("MIGRATE");
            cmd.arg("127.0.0.1").arg(self.nodes[to].port()).arg(key).arg(0).arg(5000);
            let () = cmd.query_async(&mut self.nodes[from].admin().await).await.unwrap();
        }
        keys.len()
    }

    /// Ends a move.
    pub async fn end_move(&self, slot: u16, from: usize, to: usize) {
        while self.move_keys(slot, from, to, 10).await > 0 {}
        let (id, slot) = (self.id(to).await, slot.to_string());
        for node in [to, from] {
            let () = self.nodes[node].run(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]).await;
        }
    }

    pub async fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_move(slot, from, to).await;
        self.end_move(slot, from, to).await;
    }
}

/// The shard of a key, as docs/protocol.md says.
pub fn shard(key: &str) -> u8 {
    let step = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = key.bytes().fold(0x811c_9dc5_u32, step);
    hash.to_be_bytes().into_iter().fold(0, |folded, byte| folded ^ byte)
}
