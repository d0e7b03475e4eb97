//! Where programs run. Whether client and server share a CPU changes times severalfold, so they are placed.

use std::fmt;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Outcome;

/// How the client and the server are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// All on one CPU.
    Together,
    /// All clients on one CPU, the server on another.
    Apart,
    /// Wherever the system puts them.
    Free,
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Placed::Together => "one CPU",
            Placed::Apart => "two CPUs",
            Placed::Free => "all CPUs",
        })
    }
}

/// The CPUs that this program may use.
#[derive(Debug)]
pub(crate) struct Cpus(Vec<usize>);

impl Cpus {
    pub(crate) fn find() -> Outcome<Self> {
        let set = sched_getaffinity(None)?;
        let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
        if all.is_empty() { Err("no CPU to run on".into()) } else { Ok(Cpus(all)) }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The placements that this machine can show.
    pub(crate) fn placements(&self) -> Vec<Placed> {
        if self.count() > 1 { vec![Placed::Together, Placed::Apart] } else { vec![Placed::Together] }
    }

    /// Places this program, the processes that it starts from now on, and a server.
    pub(crate) fn place(&self, placed: Placed, server: u32) -> Outcome<()> {
        let (first, last) = (&self.0[..1], &self.0[self.count() - 1..]);
        let (clients, servers) = match placed {
            Placed::Together => (first, first),
            Placed::Apart => (first, last),
            Placed::Free => (&self.0[..], &self.0[..]),
        };
        pin(std::process::id(), clients)?;
        pin(server, servers)
    }
}

/// Puts all threads of a process on these CPUs; those that it starts later follow the one that starts them.
fn pin(process: u32, cpus: &[usize]) -> Outcome<()> {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let id: i32 = thread?.file_name().to_string_lossy().parse()?;
        match sched_setaffinity(Pid::from_raw(id), &set) {
            // A thread that has ended meanwhile is nowhere.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
