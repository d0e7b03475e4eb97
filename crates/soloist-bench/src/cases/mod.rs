//! What is measured, one case a file.

mod cluster;
mod cohort;
mod cycle;
mod deaths;
mod flight;
mod hand_over;
mod instructions;
mod kept;
mod leases;
mod link;
mod local_cycle;
mod local_hand_over;
mod local_own_keys;
mod memory;
mod program;
mod server_time;
mod turns;

use crate::bench::Bench;
use crate::report::Report;
use crate::{Outcome, growth};

pub(crate) use cohort::in_cohort;
pub(crate) use deaths::{hold, wait};
pub(crate) use flight::follow;
pub(crate) use hand_over::{among, contend, hop};
pub(crate) use instructions::cycles;
pub(crate) use local_hand_over::fifo;
pub(crate) use local_own_keys::{own_block, own_key};
pub(crate) use turns::with as with_waiters;

/// One case: it may have several rows.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Bench, &mut Report) -> Outcome<()>,
}

/// All of them, in the order of the table.
pub(crate) const ALL: &[Case] = &[
    Case { name: "cycle", about: "uncontended lock + release on Redis", run: cycle::run },
    Case {
        name: "server-time",
        about: "what that costs the server, in time and commands",
        run: server_time::run,
    },
    Case { name: "hand-over", about: "from one process to the next on Redis", run: hand_over::run },
    Case { name: "cohort", about: "tasks of few processes that hand a lease on", run: cohort::run },
    Case { name: "turns", about: "commands and server time a turn, however long the line", run: turns::run },
    Case { name: "cluster", about: "cycles and hand-overs on a cluster", run: cluster::run },
    Case { name: "link", about: "hand-over over a link with a delay", run: link::run },
    Case { name: "flight", about: "10,000 callers of one result", run: flight::run },
    Case { name: "kept", about: "a kept result, read again", run: kept::run },
    Case { name: "leases", about: "very many leases renewed", run: leases::run },
    Case { name: "deaths", about: "a dead waiter skipped, a dead holder replaced", run: deaths::run },
    Case {
        name: "local-cycle",
        about: "uncontended lock + release on the local store",
        run: local_cycle::run,
    },
    Case {
        name: "local-hand-over",
        about: "from one process to the next on the local store",
        run: local_hand_over::run,
    },
    Case {
        name: "local-own-keys",
        about: "32 processes, each on a key of its own",
        run: local_own_keys::run,
    },
    Case { name: "program", about: "soloist run k -- true", run: program::run },
    Case { name: "memory", about: "bytes a lock and a waiter", run: memory::run },
    Case { name: "instructions", about: "instructions of the client, by callgrind", run: instructions::run },
    Case { name: "growth", about: "how cost grows: waiters, keys, processes, sizes", run: growth::run },
];
