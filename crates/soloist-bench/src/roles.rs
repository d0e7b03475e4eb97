//! What this program is when the bench starts it again.

use crate::{Outcome, bench, cases};

/// The first word of a process in a role.
pub(crate) const FLAG: &str = "--role";

/// Plays a role to its end.
pub(crate) fn play(words: &[String]) -> Outcome<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = bench::runtime()?;
    match words[..] {
        ["contend", kind, url, key, first, tasks, millis] => runtime.block_on(cases::contend(
            kind,
            url,
            key,
            (first.parse()?, tasks.parse()?),
            millis.parse()?,
        )),
        ["cohort", url, key, members, millis] => runtime.block_on(cases::in_cohort(
            url,
            key,
            members.parse()?,
            std::time::Duration::from_millis(millis.parse()?),
        )),
        ["hop", url, mine, other, first, millis] => {
            runtime.block_on(cases::hop(url, mine, other, first == "first", millis.parse()?))
        }
        ["fifo", from, to, first, millis] => cases::fifo(from, to, first == "first", millis.parse()?),
        ["own-block", file, millis] => runtime.block_on(cases::own_block(file, millis.parse()?)),
        ["own-key", url, key, millis] => runtime.block_on(cases::own_key(url, key, millis.parse()?)),
        ["wait", url, key] => runtime.block_on(cases::wait(url, key)),
        ["hold", url, key, ttl] => runtime.block_on(cases::hold(url, key, ttl.parse()?)),
        ["follow", url, key, callers] => runtime.block_on(cases::follow(url, key, callers.parse()?)),
        ["cycles", kind, url, count] => runtime.block_on(cases::cycles(kind, url, count.parse()?)),
        _ => Err("no such role".into()),
    }
}
