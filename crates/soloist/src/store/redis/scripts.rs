//! The verbs in Lua, one small file each, behind the prelude that they share.

use redis::Script;

use super::command::Cmd;
use super::pack;
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

/// One verb as the server runs it.
#[derive(Debug)]
pub(super) struct Verb {
    hash: String,
    source: String,
    /// Whether its last argument says until when it is wanted.
    bounded: bool,
}

impl Verb {
    fn new(clock: &str, guard: Option<Micros>, lua: &str) -> Self {
        let guard = guard.map_or("false".into(), |longest| longest.to_string());
        let times = format!(
            "local HANDOVER_TTL, RESULT_GRACE, TOKENS_AHEAD, GUARD = {HANDOVER_TTL}, {RESULT_GRACE}, {TOKENS_AHEAD}, {guard}\n"
        );
        let source = [clock, &times, include_str!("lua/prelude.lua"), lua].concat();
        Verb { hash: Script::new(&source).get_hash().into(), source, bounded: true }
    }

    /// A script that needs nothing of the others.
    pub(super) fn alone(lua: &str) -> Self {
        Verb { hash: Script::new(lua).get_hash().into(), source: lua.into(), bounded: false }
    }

    /// Adds the last argument: until when it is wanted, on the server's clock.
    pub(super) fn until(&self, cmd: &mut Cmd, until: Option<Micros>) {
        if self.bounded {
            cmd.arg(until.map_or(-1, pack::count));
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
}

impl Scripts {
    /// The verbs on this clock, with the longest ttl of a boot guard.
    pub(super) fn new(clock: ScriptClock, guard: Option<Micros>) -> Self {
        let clock = match clock {
            ScriptClock::Servers => include_str!("lua/clock.lua"),
            ScriptClock::Shifted => include_str!("lua/clock_shifted.lua"),
            ScriptClock::Driven => include_str!("lua/clock_driven.lua"),
        };
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
        }
    }
}
