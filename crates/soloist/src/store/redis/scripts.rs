//! The verbs in Lua, one small file each, and the parts that they need of those that they share.

use redis::Script;

use super::command::Cmd;
use super::{keys, pack};
use crate::protocol::{HANDOVER_TTL, Micros, RESULT_GRACE, TOKENS_AHEAD};

/// The clock by which the scripts decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptClock {
    /// The server's.
    Servers,
    /// The server's, set by a test.
    Shifted,
    /// One that stands still until a test moves it.
    Driven,
}

impl ScriptClock {
    fn source(self) -> &'static str {
        match self {
            ScriptClock::Servers => include_str!("lua/clock.lua"),
            ScriptClock::Shifted => include_str!("lua/clock_shifted.lua"),
            ScriptClock::Driven => include_str!("lua/clock_driven.lua"),
        }
    }

    /// How the short way of a release tells that a lease is not over.
    fn alive(self, cluster: bool) -> [&'static str; 2] {
        match self {
            ScriptClock::Servers if !cluster => ["", include_str!("lua/parts/alive.lua")],
            // The life of what stands there says nothing about a clock of ours; and a slot that moves takes its keys
            // along with what is left of their lives, which begins anew where they arrive.
            _ => [self.source(), include_str!("lua/parts/alive_now.lua")],
        }
    }
}

/// The parts that verbs may need, by name.
const PARTS: [(&str, &str); 7] = [
    ("tell", include_str!("lua/parts/tell.lua")),
    ("late", include_str!("lua/parts/late.lua")),
    ("lease", include_str!("lua/parts/lease.lua")),
    ("grant", include_str!("lua/parts/grant.lua")),
    ("known", include_str!("lua/parts/known.lua")),
    ("line", include_str!("lua/parts/line.lua")),
    ("result", include_str!("lua/parts/result.lua")),
];

/// A verb's source with its parts in place of the lines that name them, and on a driven clock with the counts of the
/// ways that it takes.
fn whole(lua: &str, by: ScriptClock, cluster: bool) -> String {
    let part = |name: &str| match name {
        "clock" => by.source().to_owned(),
        "alive" => by.alive(cluster).concat(),
        _ => PARTS.iter().find(|(part, _)| *part == name).map_or("", |(_, source)| source).to_owned(),
    };
    let line = |line: &str| {
        if let Some(names) = line.trim_start().strip_prefix("--- needs ") {
            return names.split(", ").map(part).collect();
        }
        match line.trim_start().strip_prefix("--- took ") {
            Some(way) if by == ScriptClock::Driven => {
                format!("redis.call('INCR', '{}{way}')\n", keys::TOOK)
            }
            Some(_) => String::new(),
            None => format!("{line}\n"),
        }
    };
    lua.lines().map(line).collect()
}

/// How a node of a cluster tells, in place of `redis.call('SPUBLISH'` in the sources: a server that does not know sharded
/// messages (6.2) sends a plain one, which reaches every node. Whoever hears is at the node that has the shard in either
/// case, so who hears here are all who do.
const SAY: &str = "
local function say(channel, message)
  local heard = redis.pcall('SPUBLISH', channel, message)
  if type(heard) == 'number' then return heard end
  if string.find(string.lower(heard.err), 'unknown', 1, true) then return redis.call('PUBLISH', channel, message) end
  return error(heard)
end
";

/// How long after a shard has come to another node of a cluster those who wait in it are taken to live though they do not
/// hear there: as long as it takes them to notice.
const MOVE_GRACE: Micros = 10_000_000;

/// A source with [`SAY`] in front.
fn in_a_cluster(source: &str) -> String {
    [SAY, &source.replace("redis.call('SPUBLISH', ", "say(")].concat()
}

/// One verb as the server runs it.
#[derive(Debug)]
pub(super) struct Verb {
    hash: String,
    source: String,
    /// Whether its last argument says until when it is wanted.
    bounded: bool,
}

impl Verb {
    fn new(by: ScriptClock, (guard, cluster): (Option<Micros>, bool), lua: &str) -> Self {
        let guard = guard.map_or("false".into(), |longest| longest.to_string());
        let life = pack::life(HANDOVER_TTL);
        let times = format!(
            "local HANDOVER_TTL, HANDOVER_LIFE, RESULT_GRACE, TOKENS_AHEAD = {HANDOVER_TTL}, '{life}', {RESULT_GRACE}, {TOKENS_AHEAD}\n\
             local MOVE_GRACE, GUARD, CLUSTER = {MOVE_GRACE}, {guard}, {cluster}\n"
        );
        let source = [&times, include_str!("lua/parts/key.lua"), &whole(lua, by, cluster)].concat();
        let source = if cluster { in_a_cluster(&source) } else { source };
        Verb { hash: Script::new(&source).get_hash().into(), source, bounded: true }
    }

    /// A script that needs nothing of the others.
    pub(super) fn alone(lua: &str) -> Self {
        Verb { hash: Script::new(lua).get_hash().into(), source: lua.into(), bounded: false }
    }

    /// Adds the last argument: until when it is wanted, on the server's clock.
    pub(super) fn until(&self, cmd: &mut Cmd, until: Option<Micros>) {
        if self.bounded {
            cmd.arg(until.map_or(pack::NEVER, pack::bounded));
        }
    }

    /// The command that runs it by its hash.
    pub(super) fn by_hash(&self) -> Cmd {
        let mut cmd = Cmd::new("EVALSHA");
        cmd.arg(&self.hash);
        cmd
    }

    /// The command that runs it, and makes the server remember it. It never fails for a script forgotten.
    pub(super) fn by_source(&self) -> Cmd {
        let mut cmd = Cmd::new("EVAL");
        cmd.arg(&self.source);
        cmd
    }
}

/// All verbs.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) acquire: Verb,
    pub(super) leave: Verb,
    pub(super) renew: Verb,
    pub(super) release: Verb,
    pub(super) publish: Verb,
    pub(super) forget: Verb,
    pub(super) touch: Verb,
    pub(super) look: Verb,
    pub(super) result: Verb,
    /// Marks a shard as heard where it is; of a cluster only.
    pub(super) here: Verb,
    /// Marks a server, or a shard of a cluster, as watched.
    pub(super) watch: Verb,
}

impl Scripts {
    /// The verbs on this clock, with the longest ttl of a boot guard, and whether they run in a cluster.
    pub(super) fn new(clock: ScriptClock, guard: Option<Micros>, cluster: bool) -> Self {
        let guard = (guard, cluster);
        Scripts {
            acquire: Verb::new(clock, guard, include_str!("lua/acquire.lua")),
            leave: Verb::new(clock, guard, include_str!("lua/leave.lua")),
            renew: Verb::new(clock, guard, include_str!("lua/renew.lua")),
            release: Verb::new(clock, guard, include_str!("lua/release.lua")),
            publish: Verb::new(clock, guard, include_str!("lua/publish.lua")),
            forget: Verb::new(clock, guard, include_str!("lua/forget.lua")),
            touch: Verb::new(clock, guard, include_str!("lua/touch.lua")),
            look: Verb::new(clock, guard, include_str!("lua/look.lua")),
            result: Verb::new(clock, guard, include_str!("lua/result.lua")),
            here: Verb::new(clock, guard, include_str!("lua/here.lua")),
            watch: Verb::alone(include_str!("lua/watch.lua")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_that_a_verb_names_is_there() {
        let scripts = Scripts::new(ScriptClock::Servers, None, false);
        for verb in [
            &scripts.acquire,
            &scripts.leave,
            &scripts.renew,
            &scripts.release,
            &scripts.publish,
            &scripts.forget,
            &scripts.touch,
            &scripts.result,
            &scripts.here,
        ] {
            assert!(verb.source.contains("'TOOLATE '"), "{}", verb.source);
        }
        let words = ["late", "tell", "lease", "grant", "known", "line", "result"];
        let line = format!("--- needs {}", words.join(", "));
        let servers = |lua: &str| whole(lua, ScriptClock::Servers, false);
        let all = servers(&line);
        for (name, source) in PARTS {
            assert!(all.contains(source) && words.contains(&name));
        }
        assert!(servers("  --- needs clock, alive").contains("'TIME'"));
        assert_eq!(servers("a\n  --- took it\nb\n"), "a\nb\n");
        let driven = whole("a\n  --- took it\n", ScriptClock::Driven, false);
        assert_eq!(driven, "a\nredis.call('INCR', 'soloist:1:took:it')\n");
    }
}
