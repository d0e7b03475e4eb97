//! What all cases share: the server, the CPUs, and how long to measure.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::Outcome;
use crate::cpu::{Cpus, Placed};
use crate::server::Server;

/// The surroundings of a run.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) cpus: Cpus,
    pub(crate) quick: bool,
    pub(crate) dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(quick: bool) -> Outcome<Self> {
        Ok(Bench { server: Server::start()?, cpus: Cpus::find()?, quick, dir: tempfile::tempdir()? })
    }

    /// How many rounds, in each of which ours, floor and rival take turns.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }

    /// How long one turn of a round takes.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_millis(if self.quick { 60 } else { 300 })
    }

    /// `full` normally, `quick` in a quick run.
    pub(crate) fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    pub(crate) fn place(&self, placed: Placed) -> Outcome<()> {
        self.cpus.place(placed, self.server.pid())
    }

    /// The URL of a local store of its own.
    pub(crate) fn local(&self, name: &str) -> String {
        format!("local:{}", self.dir.path().join(name).display())
    }
}

/// A runtime of one thread: what is placed on one CPU gains nothing from more, and all that is compared runs on
/// the same.
pub(crate) fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
