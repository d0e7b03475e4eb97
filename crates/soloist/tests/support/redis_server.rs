//! A real redis-server of a test's own, and a connection to it for the test's own commands.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::expect_used, clippy::unwrap_used)]

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use soloist::testing;
pub use soloist::testing::free_port;

/// A running server. Dropping it kills it.
pub struct RedisServer(testing::RedisServer);

impl RedisServer {
    /// A server without persistence.
    pub fn start() -> Self {
        RedisServer(testing::RedisServer::start())
    }

    /// A server with more arguments, as `&["--requirepass", "geheim"]`.
    pub fn start_with(args: &[&str]) -> Self {
        RedisServer(testing::RedisServer::start_with(args))
    }

    /// A connection for the test's own commands.
    pub async fn admin(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        let patient = redis::AsyncConnectionConfig::new()
            .set_response_timeout(Some(Duration::from_secs(30)))
            .set_connection_timeout(Some(Duration::from_secs(30)));
        client.get_multiplexed_async_connection_with_config(&patient).await.expect("the server answers")
    }

    /// Runs one command on a connection of its own.
    pub async fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut cmd = redis::cmd(words[0]);
        cmd.arg(&words[1..]);
        cmd.query_async(&mut self.admin().await).await.unwrap()
    }

    /// Has the boot guard believe that this run of the server has been up for ever, so that no test waits for its start.
    pub async fn season(&self) {
        let info: String = self.run(&["INFO", "server"]).await;
        let id = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap();
        let () = self.run(&["SET", "soloist:1:epoch", &format!("{} 1", id.trim())]).await;
    }
}

impl Deref for RedisServer {
    type Target = testing::RedisServer;

    fn deref(&self) -> &testing::RedisServer {
        &self.0
    }
}

impl DerefMut for RedisServer {
    fn deref_mut(&mut self) -> &mut testing::RedisServer {
        &mut self.0
    }
}
