//! Bare locks: what the floors and the rival do.

use std::time::Duration;

use redis::Script;
use redis::aio::MultiplexedConnection;
use rslock::LockManager;

use crate::Outcome;

/// The life of every lock that is measured.
pub(crate) const TTL: Duration = Duration::from_secs(30);

/// `SET NX PX` and a script that deletes what is one's own: the least that a lock can be.
#[derive(Clone, Debug)]
pub(crate) struct Bare {
    pub(crate) connection: MultiplexedConnection,
    script: Script,
}

const DELETE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
const TOKEN: &str = "0123456789abcdef";

impl Bare {
    pub(crate) fn new(connection: MultiplexedConnection) -> Self {
        Bare { connection, script: Script::new(DELETE) }
    }

    /// Takes and returns one lock.
    pub(crate) async fn cycle(&mut self, key: &str) -> Outcome<()> {
        let taken: bool = set(key).query_async(&mut self.connection).await?;
        let gone: bool = self.script.key(key).arg(TOKEN).invoke_async(&mut self.connection).await?;
        if taken && gone { Ok(()) } else { Err("a bare lock was not free".into()) }
    }

    /// Takes and returns many locks, in two pipelines.
    pub(crate) async fn cycles(&mut self, keys: &[String]) -> Outcome<()> {
        let (mut taking, mut giving) = (redis::pipe(), redis::pipe());
        for key in keys {
            taking.add_command(set(key));
            giving.cmd("EVALSHA").arg(self.script.get_hash()).arg(1).arg(key).arg(TOKEN);
        }
        let taken: Vec<bool> = taking.query_async(&mut self.connection).await?;
        let gone: Vec<bool> = giving.query_async(&mut self.connection).await?;
        if taken.iter().chain(&gone).all(|done| *done) {
            Ok(())
        } else {
            Err("a bare lock was not free".into())
        }
    }
}

fn set(key: &str) -> redis::Cmd {
    let mut set = redis::cmd("SET");
    set.arg(key).arg(TOKEN).arg("NX").arg("PX").arg(TTL.as_millis() as u64);
    set
}

/// The rival, connected.
pub(crate) async fn rival(url: &str) -> Outcome<LockManager> {
    let rival = LockManager::new(vec![url]);
    rival_cycle(&rival, "rival:first").await?;
    Ok(rival)
}

/// Takes and returns one lock of the rival.
pub(crate) async fn rival_cycle(rival: &LockManager, key: &str) -> Outcome<()> {
    let lock = rival.lock(key.as_bytes(), TTL).await?;
    lock.release().await;
    Ok(())
}
