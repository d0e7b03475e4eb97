//! Real Sentinels, and a team of three that watch a primary and its two replicas.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use soloist::Client;
use soloist::store::redis::{RedisOptions, RedisStore};

use crate::redis_server::{RedisServer, free_port};
use crate::trio::{SECRET, SOON, Trio, hasty, run, soon};

/// What the Sentinels call the primary.
pub const NAME: &str = "main";

/// A running Sentinel. Dropping it kills it.
pub struct Sentinel {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Sentinel {
    /// One that watches this primary, with more lines of configuration, in which `PORT` is its port.
    pub fn start(primary: u16, quorum: u32, more: &str) -> Self {
        let mut said = String::new();
        // Between finding a free port and using it, somebody else may take it.
        for _ in 0..10 {
            let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
            let lines = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} 127.0.0.1 {primary} {quorum}\n\
                 sentinel down-after-milliseconds {NAME} 1500\nsentinel failover-timeout {NAME} 2500\n{more}\n",
                dir.path().display()
            );
            let lines = lines.replace("PORT", &port.to_string());
            std::fs::write(dir.path().join("sentinel.conf"), lines).unwrap();
            match launch(dir.path()) {
                Ok(child) => return Sentinel { child, port, dir },
                Err(why) => said = why,
            }
        }
        panic!("the Sentinel did not start:\n{said}");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again where it was, knowing what it knew.
    pub fn start_again(&mut self) {
        self.kill();
        self.child = launch(self.dir.path()).unwrap();
    }

    /// What it says to a command.
    pub async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("SENTINEL").arg(words).query_async(&mut connection).await
    }

    /// What it knows of the primary.
    pub async fn knows(&self) -> HashMap<String, String> {
        self.ask(&["MASTER", NAME]).await.unwrap_or_default()
    }

    /// Looks and speaks this often, in place of each 2 s and 10 s. Servers before 7.0 cannot be told.
    pub async fn hurry(&self, millis: &str) {
        let words = [
            "DEBUG",
            "info-period",
            millis,
            "publish-period",
            millis,
            "ask-period",
            millis,
            "ping-period",
            "200",
        ];
        let _ = self.ask::<()>(&words).await;
        // On a starved machine a Sentinel would mistrust its own clock.
        let _ = self.ask::<()>(&["DEBUG", "tilt-trigger", "60000"]).await;
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(dir: &std::path::Path) -> Result<Child, String> {
    let mut child = Command::new("redis-server")
        .args(["sentinel.conf", "--sentinel"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = String::new();
    while let Some(Ok(line)) = lines.next() {
        if line.contains("+monitor") {
            // A server whose log nobody reads would stop at a full pipe.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(child);
        }
        said.push_str(&line);
        said.push('\n');
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(said)
}

/// Three servers and three Sentinels, of which two decide.
pub struct Team {
    pub nodes: Trio,
    pub sentinels: [Sentinel; 3],
}

impl Team {
    /// The server in the middle is the primary.
    pub async fn start() -> Self {
        let nodes = Trio::start().await;
        let port = nodes.0[1].port();
        let sentinels = [(); 3].map(|()| Sentinel::start(port, 2, ""));
        for sentinel in &sentinels {
            sentinel.hurry("200").await;
        }
        let team = Team { nodes, sentinels };
        team.all_know("num-slaves", "2").await;
        team.all_know("num-other-sentinels", "2").await;
        team
    }

    /// Waits until all Sentinels say so of the primary.
    async fn all_know(&self, what: &str, value: &str) {
        for sentinel in &self.sentinels {
            soon(async {
                while sentinel.knows().await.get(what).map(String::as_str) != Some(value) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
        }
    }

    /// Waits until the Sentinels know a primary and two replicas that serve, so that they can fail over again.
    pub async fn settled(&self, primary: usize) {
        let port = self.nodes.0[primary].port().to_string();
        self.all_know("port", &port).await;
        for replica in (0..3).filter(|node| *node != primary) {
            until(async || {
                let info: String = run(&self.nodes.0[replica], &["INFO", "replication"]).await;
                info.contains("master_link_status:up") && info.contains(&format!("master_port:{port}"))
            })
            .await;
        }
        for sentinel in &self.sentinels {
            until(async || {
                let replicas: Vec<HashMap<String, String>> =
                    sentinel.ask(&["REPLICAS", NAME]).await.unwrap_or_default();
                let well = |one: &HashMap<String, String>| {
                    one["flags"] == "slave" && one["master-link-status"] == "ok" && one["master-port"] == port
                };
                replicas.iter().filter(|one| well(one)).count() == 2
            })
            .await;
        }
    }

    pub fn url(&self) -> String {
        self.url_of(&[0, 1, 2])
    }

    /// The URL with some of the Sentinels.
    pub fn url_of(&self, some: &[usize]) -> String {
        let hosts: Vec<_> =
            some.iter().map(|&at| format!("127.0.0.1:{}", self.sentinels[at].port())).collect();
        format!("redis-sentinel://store:{SECRET}@{}/{NAME}/1", hosts.join(","))
    }

    pub async fn store(&self, options: RedisOptions) -> Arc<RedisStore> {
        Arc::new(RedisStore::connect_with(&self.url(), options).await.unwrap())
    }

    pub async fn client(&self, holder: &str) -> Client {
        Client::builder().holder(holder).store(self.store(hasty()).await).unwrap()
    }

    /// Waits until a Sentinel names another primary than this, and answers which.
    pub async fn next(&self, sentinel: usize, old: usize) -> usize {
        soon(async {
            loop {
                let asked = self.sentinels[sentinel].ask::<(String, u16)>(&["GET-MASTER-ADDR-BY-NAME", NAME]);
                let port = asked.await.map_or(0, |(_, port)| port);
                let node = self.nodes.0.iter().position(|server| server.port() == port);
                match node {
                    Some(node) if node != old => return node,
                    _ => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        })
        .await
    }

    /// Has the Sentinels make another node the primary, as an operator does.
    pub async fn fail_over(&self) {
        soon(async {
            while self.sentinels[0].ask::<()>(&["FAILOVER", NAME]).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }

    /// Cuts the replicas off: what is written from now on stays at the primary.
    pub async fn cut_replicas(&self, primary: usize) {
        for replica in (0..3).filter(|node| *node != primary) {
            // One by one: servers before 7.0 take no more at a time.
            for (name, value) in [("masteruser", "nobody"), ("masterauth", "x")] {
                run::<()>(&self.nodes.0[replica], &["CONFIG", "SET", name, value]).await;
            }
        }
        run::<()>(&self.nodes.0[primary], &["CLIENT", "KILL", "TYPE", "replica"]).await;
        soon(async {
            while !run::<String>(&self.nodes.0[primary], &["INFO", "replication"])
                .await
                .contains("connected_slaves:0")
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// What a node says that it is.
pub async fn role(server: &RedisServer) -> String {
    let told: Vec<redis::Value> = run(server, &["ROLE"]).await;
    redis::from_redis_value(told.into_iter().next().unwrap()).unwrap()
}

/// Waits with the limit of everything that is waited for.
pub async fn until(mut done: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(SOON, async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("this should have happened long ago");
}
