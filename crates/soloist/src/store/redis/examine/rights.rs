//! What the user may do. Each right is tried as the verbs use it, which needs no right of its own; `ACL DRYRUN`
//! would need one that no user of locks should have.

use std::time::Duration;

use redis::aio::PubSub;
use redis::{Client, RedisResult, Value};
use tokio::time::timeout;

use crate::finding::{Finding, Level};
use crate::name::Ticket;
use crate::store::redis::command::Cmd;
use crate::store::redis::connection::Connection;
use crate::store::redis::keys;
use crate::store::redis::scripts::Verb;

/// The least that a user needs, in the words of `ACL SETUSER`; docs/redis.md has the same line.
macro_rules! needed {
    () => {
        "~soloist:1:* &soloist:1:* +eval +evalsha +get +set +del +exists +pttl +pexpire +rpush +lpop +lrange \
         +lrem +llen +getrange +strlen +publish +time +scan +subscribe +unsubscribe +ping +info"
    };
}

/// What to do about a missing right where the user's name is not at hand.
pub(in crate::store::redis) const HINT: &str =
    concat!("give the user its rights: ACL SETUSER name ", needed!());

/// What a user may not do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    commands: Vec<String>,
    keys: bool,
    channels: bool,
}

impl Missing {
    /// Takes in what the server said to a command that it refused; other errors are not about rights.
    pub(super) fn take(&mut self, command: &str, why: &str) {
        let lower = why.to_lowercase();
        if !lower.contains("permission") && !lower.contains("noperm") && !lower.contains("can't ") {
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
        let fix = format!("ACL SETUSER {user} {}", needed!());
        (!parts.is_empty()).then(|| Finding::new(Level::Error, "rights", what, why).fix(fix))
    }
}

/// Tries everything, each thing for so long at most.
pub(super) async fn missing(client: &Client, connection: &mut Connection, limit: Duration) -> Missing {
    let mut missing = Missing::default();
    let script = Verb::alone(include_str!("try.lua"));
    let scratch = format!("soloist:1:{{00}}:doctor:{}", Ticket::mint());
    let with_names = |mut cmd: Cmd| {
        cmd.arg(2).arg(format!("{scratch}:1")).arg(format!("{scratch}:2")).arg(keys::NOTHING);
        cmd
    };
    // A command that is not answered at all is not a matter of rights.
    let mut run = async |cmd: &redis::Cmd| match timeout(limit, cmd.query_async::<Value>(connection)).await {
        Ok(answer) => answer,
        Err(_) => Ok(Value::Nil),
    };
    match run(&with_names(script.by_source()).for_library()).await {
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
    missing.tried("evalsha", &run(&with_names(script.by_hash()).for_library()).await);
    let mut scan = redis::cmd("SCAN");
    scan.arg(0).arg("MATCH").arg(keys::NOTHING).arg("COUNT").arg(1);
    missing.tried("scan", &run(&scan).await);
    missing.tried("ping", &run(&redis::cmd("PING")).await);
    missing.tried("info", &run(redis::cmd("INFO").arg("server")).await);
    if let Ok(Ok(mut hearing)) = timeout(limit, client.get_async_pubsub()).await {
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
        let line = page.lines().find(|line| line.starts_with("ACL SETUSER soloist"));
        assert!(line.is_some_and(|line| line.ends_with(needed!())), "{line:?}");
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
