//! What the server did: commands that clients sent, pushes to them, and its own time. Counts do not swing.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use redis::aio::MultiplexedConnection;

use crate::Outcome;
use crate::server::Server;

/// The server's record of every command, while it is read.
pub(crate) struct Monitor {
    lines: Pin<Box<dyn Stream<Item = String> + Send>>,
    admin: MultiplexedConnection,
    /// The connections of those who only look.
    ignored: BTreeSet<String>,
}

/// What clients asked for and were told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Commands that clients sent, by name.
    pub(crate) commands: BTreeMap<String, u64>,
    /// Commands that scripts carried out.
    pub(crate) of_scripts: u64,
    /// Messages to those who wait or hold.
    pub(crate) pushes: u64,
    /// Messages to those who watch.
    pub(crate) events: u64,
}

const END: &str = "soloist-bench-end";

impl Monitor {
    pub(crate) async fn start(server: &Server) -> Outcome<Self> {
        let monitor = redis::Client::open(server.url())?.get_async_monitor().await?;
        let lines = Box::pin(monitor.into_on_message());
        Ok(Monitor { lines, admin: server.bare().await?, ignored: BTreeSet::new() })
    }

    /// Whoever sent a command since the start, or since the last count, is not counted from now on.
    pub(crate) async fn ignore_those_seen(&mut self) -> Outcome<()> {
        let seen = self.record().await?;
        self.ignored.extend(
            seen.iter().filter_map(|line| Some(line.split_once("] \"")?.0.rsplit(' ').next()?.into())),
        );
        Ok(())
    }

    /// What was recorded since the last time this was asked, or since the start.
    pub(crate) async fn counts(&mut self) -> Outcome<Counts> {
        let mut counts = Counts::default();
        let lines = self.record().await?;
        let is_ignored = |line: &&String| {
            let from = line.split_once("] \"").and_then(|(from, _)| from.rsplit(' ').next());
            from.is_some_and(|from| self.ignored.contains(from))
        };
        lines.iter().filter(|line| !is_ignored(line)).for_each(|line| counts.add(line));
        Ok(counts)
    }

    /// The record up to now.
    async fn record(&mut self) -> Outcome<Vec<String>> {
        let _: String = redis::cmd("ECHO").arg(END).query_async(&mut self.admin).await?;
        let mut record = Vec::new();
        loop {
            let line = self.lines.next().await.ok_or("the record of commands has ended")?;
            if line.contains(END) {
                return Ok(record);
            }
            record.push(line);
        }
    }
}

impl Counts {
    /// Adds a line as `1700000000.1 [0 127.0.0.1:5000] "GET" "k"`; scripts have `[0 lua]`.
    fn add(&mut self, line: &str) {
        let Some((from, command)) = line.split_once("] \"") else { return };
        let mut words = command.split("\" \"");
        let name = words.next().unwrap_or_default().trim_end_matches('"').to_uppercase();
        if name == "PUBLISH" {
            match words.next().unwrap_or_default() {
                "soloist:1:events" => self.events += 1,
                _ => self.pushes += 1,
            }
        }
        if from.ends_with(" lua") {
            self.of_scripts += 1;
        } else if name != "PING" {
            // That a connection still lives is asked for now and then, whatever is done on it.
            *self.commands.entry(name).or_default() += 1;
        }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.commands.values().sum()
    }
}

/// Begins to count the server's time.
pub(crate) async fn reset_time(admin: &mut MultiplexedConnection) -> Outcome<()> {
    redis::cmd("CONFIG").arg("RESETSTAT").query_async::<()>(admin).await?;
    Ok(())
}

/// Microseconds that the server spent in these commands, since the reset. What a script calls is in its own time;
/// a name that is both sent and called by scripts would count twice, to the sender's disadvantage.
pub(crate) async fn server_us(admin: &mut MultiplexedConnection, names: &[&str]) -> Outcome<f64> {
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(admin).await?;
    let mut sum = 0.0;
    for name in names {
        sum += field(&info, &format!("cmdstat_{}:", name.to_lowercase()), "usec").unwrap_or(0.0);
    }
    Ok(sum)
}

/// How many commands the server carried out since the reset, those of scripts too.
pub(crate) async fn server_calls(admin: &mut MultiplexedConnection) -> Outcome<f64> {
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(admin).await?;
    let names = info.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(':'));
    Ok(names.filter_map(|(name, _)| field(&info, &format!("cmdstat_{name}:"), "calls")).sum())
}

/// Microseconds for which the server's main thread has worked so far: reading and writing, too.
pub(crate) async fn server_cpu_us(admin: &mut MultiplexedConnection) -> Outcome<f64> {
    let info: String = redis::cmd("INFO").arg("cpu").query_async(admin).await?;
    let seconds = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.parse::<f64>().ok()).ok_or("the server does not say how much it worked")
    };
    let user = seconds("used_cpu_user_main_thread:")?;
    Ok((user + seconds("used_cpu_sys_main_thread:")?) * 1e6)
}

/// Bytes that the server uses.
pub(crate) async fn server_bytes(admin: &mut MultiplexedConnection) -> Outcome<f64> {
    let info: String = redis::cmd("INFO").arg("memory").query_async(admin).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.and_then(|value| value.parse().ok()).ok_or("the server does not say how much it uses")?)
}

/// A number of `cmdstat_get:calls=1,usec=2`.
fn field(info: &str, line: &str, name: &str) -> Option<f64> {
    let line = info.lines().find_map(|text| text.strip_prefix(line))?;
    let mut fields = line.split(',').filter_map(|field| field.split_once('='));
    fields.find(|(field, _)| *field == name)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_clients_are_told_from_those_of_scripts() {
        let mut counts = Counts::default();
        for line in [
            r#"1.1 [0 127.0.0.1:5] "EVALSHA" "abc" "3" "] \"GET\"""#,
            r#"1.1 [0 lua] "GET" "k""#,
            r#"1.1 [0 lua] "PUBLISH" "soloist:1:s:\x00] \"" "x""#,
            r#"1.1 [0 lua] "PUBLISH" "soloist:1:events" "x""#,
            r#"1.1 [0 127.0.0.1:6] "ping""#,
            r#"1.1 [0 unix:/tmp/s] "get" "k""#,
        ] {
            counts.add(line);
        }
        let commands = [("EVALSHA".to_owned(), 1), ("GET".to_owned(), 1)].into();
        assert_eq!(counts, Counts { commands, of_scripts: 3, pushes: 1, events: 1 });
        assert_eq!(counts.sent(), 2);
    }

    #[test]
    fn a_field_is_found_in_its_own_line() {
        let info = "cmdstat_get:calls=5,usec=7,usec_per_call=1.4\r\ncmdstat_getdel:calls=1,usec=9\r\n";
        assert_eq!(field(info, "cmdstat_get:", "usec"), Some(7.0));
        assert_eq!(field(info, "cmdstat_set:", "usec"), None);
    }
}
