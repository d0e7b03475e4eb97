//! A process group: whether anything of it still runs, and its end.

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// Sends a signal to all of it. A group that is gone is not an error.
pub(crate) fn send(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal);
}

/// Kills all of it; answers whether anything still runs.
pub(crate) fn kill(group: Pid) -> bool {
    send(group, Signal::KILL);
    runs(group)
}

/// Whether anything of it still runs. A zombie does not: it may lie there until a careless parent ends.
pub(crate) fn runs(group: Pid) -> bool {
    match test_kill_process_group(group) {
        Ok(()) => {}
        Err(rustix::io::Errno::SRCH) => return false,
        // It has become another user's, who may not even let it be seen.
        Err(_) => return true,
    }
    let Ok(processes) = std::fs::read_dir("/proc") else { return true };
    let mut looked = false;
    for process in processes.flatten() {
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else { continue };
        looked = true;
        // `pid (name) state ppid pgrp ...`; a name may itself hold parentheses.
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let (state, pgrp) = (fields.next(), fields.nth(1));
        let ours = pgrp.and_then(|pgrp| pgrp.parse().ok()) == Some(group.as_raw_nonzero().get());
        if ours && !matches!(state, Some("Z" | "X")) {
            return true;
        }
    }
    // Without a /proc to look into, the signal's word counts.
    !looked
}
