//! What the user may do. Each right is tried as the verbs use it, which needs no right of its own; `ACL DRYRUN`
//! would need one that no user of locks should have.

use std::time::Duration;

use redis::aio::PubSub;
use redis::{Client, RedisError, RedisResult, Value};
use tokio::time::timeout;

use crate::finding::{Finding, Level};
use crate::name::Ticket;
use crate::store::redis::command::Cmd;
use crate::store::redis::connection::Connection;
use crate::store::redis::keys;
use crate::store::redis::scripts::Verb;

/// What a user needs everywhere, in the words of `ACL SETUSER`.
macro_rules! needed {
    ($more:literal) => {
        concat!(
            "~soloist:1:* &soloist:1:* +eval +evalsha +get +mget +set +del +exists +pttl +pexpire +rpush \
             +lpop +lindex +lrange +lrem +llen +zadd +zrange +getrange +strlen +time +scan +ping +info ",
            $more
        )
    };
}

/// The least that a user needs at a server; docs/redis.md has the same line.
macro_rules! at_a_server {
    () => {
        needed!("+publish +subscribe +unsubscribe")
    };
}

/// The least that a user needs at every node of a cluster; docs/redis.md has the same line.
macro_rules! in_a_cluster {
    () => {
        needed!("+spublish +ssubscribe +sunsubscribe +asking +cluster|slots +cluster|nodes")
    };
}

/// The same at a node that does not know sharded messages.
macro_rules! in_an_old_cluster {
    () => {
        needed!("+publish +subscribe +unsubscribe +asking +cluster|slots +cluster|nodes")
    };
}

/// What to do about a missing right where the user's name is not at hand.
pub(in crate::store::redis) const HINT: &str =
    concat!("give the user its rights: ACL SETUSER name ", at_a_server!());

/// The same in a cluster.
pub(in crate::store::redis) const CLUSTER_HINT: &str = concat!(
    "give the user its rights, at every node (before 7.0 with +publish +subscribe +unsubscribe in place of +spublish \
         +ssubscribe +sunsubscribe): ACL SETUSER name ",
    in_a_cluster!()
);

/// What the rights are needed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// A server that has all keys.
    Server,
    /// A node of a cluster, and a shard that it has. A replica has none.
    Node(Option<u8>),
}

/// Whether a server says that it does not know a command.
pub(in crate::store::redis) fn is_unknown(error: &RedisError) -> bool {
    error.to_string().contains("unknown command")
}

/// What a user may not do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    commands: Vec<String>,
    keys: bool,
    channels: bool,
    /// All that is needed there.
    needed: &'static str,
}

impl Default for Missing {
    fn default() -> Self {
        Missing { commands: Vec::new(), keys: false, channels: false, needed: at_a_server!() }
    }
}

impl Missing {
    /// Takes in what the server said to a command that it refused; other errors are not about rights.
    pub(super) fn take(&mut self, command: &str, why: &str) {
        let lower = why.to_lowercase();
        if !lower.contains("permission") && !lower.contains("noperm") && !lower.contains("can't ") {
            return;
        }
        // "READONLY You can't write against a read only replica."
        if lower.contains("readonly") {
            return;
        }
        if lower.contains("channel") {
            self.channels = true;
        } else if lower.contains("can't run") || lower.contains("to run the") {
            self.commands.push(command.into());
        } else {
            self.keys = true;
        }
    }

    fn tried<T>(&mut self, command: &str, answer: &RedisResult<T>) {
        if let Err(error) = answer {
            self.take(command, &error.to_string());
        }
    }

    pub(super) fn finding(&self, user: &str) -> Option<Finding> {
        let mut parts = Vec::new();
        if !self.commands.is_empty() {
            parts.push(format!("may not run {}", self.commands.join(", ")));
        }
        if self.keys {
            parts.push("may not use all keys soloist:1:*".into());
        }
        if self.channels {
            parts.push("may not use all channels soloist:1:*".into());
        }
        let what = format!("the user {user} {}", parts.join("; "));
        let why = "requests fail with NOPERM when they first need it, a release or a renewal among them";
        let fix = format!("ACL SETUSER {user} {}", self.needed);
        (!parts.is_empty()).then(|| Finding::new(Level::Error, "rights", what, why).fix(fix))
    }
}

/// Tries everything, each thing for so long at most. It is the last that is asked on this connection.
pub(super) async fn missing(
    of: Of,
    client: &Client,
    connection: &mut Connection,
    limit: Duration,
) -> Missing {
    let mut missing = Missing::default();
    let (script, shard) =
        (Verb::alone(include_str!("try.lua")), if let Of::Node(Some(shard)) = of { shard } else { 0 });
    let scratch = format!("soloist:1:{{{shard:02x}}}:doctor:{}", Ticket::mint());
    let (one, list) = (format!("{scratch}:1"), format!("{scratch}:2"));
    let channel = if of == Of::Server { keys::NOTHING.to_owned() } else { keys::shard_nothing(shard) };
    // A command that is not answered at all is not a matter of rights.
    let mut run = async |cmd: &redis::Cmd| match timeout(limit, cmd.query_async::<Value>(connection)).await {
        Ok(answer) => answer,
        Err(_) => Ok(Value::Nil),
    };
    let sharded = match of {
        Of::Server => false,
        Of::Node(_) => {
            !matches!(run(redis::cmd("SPUBLISH").arg(&channel).arg("")).await, Err(error) if is_unknown(&error))
        }
    };
    let words = if sharded {
        ["spublish", "ssubscribe", "sunsubscribe"]
    } else {
        ["publish", "subscribe", "unsubscribe"]
    };
    missing.needed = match of {
        Of::Server => at_a_server!(),
        Of::Node(_) if sharded => in_a_cluster!(),
        Of::Node(_) => in_an_old_cluster!(),
    };
    let with_names = |mut cmd: Cmd| {
        cmd.arg(2).arg(&one).arg(&list).arg(&channel).arg(words[0]);
        cmd.for_library()
    };
    match run(&with_names(script.by_source())).await {
        Ok(Value::Array(refused)) => {
            for told in refused {
                if let Value::BulkString(told) = told
                    && let Some((command, why)) = String::from_utf8_lossy(&told).split_once(' ')
                {
                    missing.take(command, why);
                }
            }
        }
        answer => missing.tried("eval", &answer),
    }
    missing.tried("evalsha", &run(&with_names(script.by_hash())).await);
    let nothing = keys::NOTHING;
    let mut all =
        vec![vec!["scan", "0", "match", nothing, "count", "1"], vec!["ping"], vec!["info", "server"]];
    if of == Of::Node(None) {
        // It runs no script, and says where the keys are (`MOVED`); but first of all, whether the user may ask that.
        all.extend([
            vec!["time"],
            vec!["get", &*one],
            vec!["mget", &*one],
            vec!["exists", &*one],
            vec!["pttl", &*one],
            vec!["getrange", &*one, "0", "1"],
            vec!["strlen", &*one],
            vec!["pexpire", &*one, "1"],
            vec!["set", &*one, "", "px", "1"],
            vec!["llen", &*list],
            vec!["lindex", &*list, "0"],
            vec!["lrange", &*list, "0", "1"],
            vec!["lrem", &*list, "1", ""],
            vec!["rpush", &*list, ""],
            vec!["lpop", &*list],
            vec!["zrange", &*list, "0", "0"],
            vec!["zadd", &*list, "XX", "0", ""],
            // Should it be made the primary just now, nothing is left behind.
            vec!["del", &*one, &*list],
            vec![words[0], &*channel, ""],
        ]);
    }
    if of != Of::Server {
        all.extend([
            vec!["asking"],
            vec!["cluster", "slots"],
            vec!["cluster", "nodes"],
            vec![words[1], &*channel],
            vec![words[2], &*channel],
        ]);
    }
    for words in all {
        let name = if words[0] == "cluster" { words.join("|") } else { words[0].into() };
        missing.tried(&name, &run(redis::cmd(words[0]).arg(&words[1..])).await);
    }
    if of == Of::Server
        && let Ok(Ok(mut hearing)) = timeout(limit, client.get_async_pubsub()).await
    {
        let _ = timeout(limit, hear(&mut hearing, &mut missing)).await;
    }
    missing.commands.dedup();
    missing
}

async fn hear(hearing: &mut PubSub, missing: &mut Missing) {
    for channel in [keys::NOTHING.as_bytes(), keys::EVENTS.as_bytes()] {
        let heard = hearing.subscribe(channel).await;
        missing.tried("subscribe", &heard);
        if heard.is_ok() {
            missing.tried("unsubscribe", &hearing.unsubscribe(channel).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_same_rights() {
        let page = include_str!("../../../../../../docs/redis.md");
        let lines: Vec<_> = page.lines().filter(|line| line.starts_with("ACL SETUSER soloist")).collect();
        let [server, cluster, old] = lines[..] else { panic!("{lines:?}") };
        assert!(old.ends_with(in_an_old_cluster!()), "{old}");
        assert!(server.ends_with(at_a_server!()), "{server}");
        assert!(cluster.ends_with(in_a_cluster!()), "{cluster}");
    }

    #[test]
    fn what_servers_say_is_understood() {
        for (why, commands, keys, channels) in [
            ("ERR The user executing the script can't run this command or subcommand", 1, false, false),
            (
                "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments",
                0,
                true,
                false,
            ),
            (
                "ERR The user executing the script can't publish to the channel mentioned in the command",
                0,
                false,
                true,
            ),
            ("NOPERM: this user has no permissions to run the 'scan' command", 1, false, false),
            (
                "ACL failure in script: User monkey has no permissions to run the 'get' command",
                1,
                false,
                false,
            ),
            ("NOPERM this user has no permissions to access one of the channels", 0, false, true),
            ("NOPERM No permissions to access a key", 0, true, false),
            ("READONLY You can't write against a read only replica.", 0, false, false),
            ("OOM command not allowed when used memory > 'maxmemory'.", 0, false, false),
        ] {
            let mut missing = Missing::default();
            missing.take("get", why);
            assert_eq!(
                (missing.commands.len(), missing.keys, missing.channels),
                (commands, keys, channels),
                "{why}"
            );
        }
    }
}
