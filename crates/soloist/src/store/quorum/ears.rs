//! What the nodes say about leases without being asked.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use super::Nodes;
use super::leases::{Ended, Leases};
use crate::store::Notice;

/// How many notices may be under way; a keeper that is slower asks about all of its leases.
const NOTICES: usize = 1024;

/// One task a node that listens there. They end with this.
#[derive(Debug)]
pub(super) struct Ears {
    notices: broadcast::Sender<Notice>,
    tasks: Mutex<JoinSet<()>>,
}

impl Ears {
    pub(super) fn new(nodes: &Nodes, leases: &Arc<Leases>) -> Self {
        let (notices, mut tasks) = (broadcast::channel(NOTICES).0, JoinSet::new());
        for (at, node) in nodes.iter().enumerate() {
            // From now on, not from the task's first poll.
            let (from, to, leases) = (node.notices(), notices.clone(), Arc::clone(leases));
            tasks.spawn(hear(at, nodes.majority(), from, to, leases));
        }
        Ears { notices, tasks: Mutex::new(tasks) }
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Every holder's keeper asks for a last time, and hears that the store is closed.
    pub(super) fn close(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        let _ = self.notices.send(Notice::AskAgain);
    }
}

/// Passes on what one node says.
async fn hear(
    node: usize,
    majority: usize,
    mut from: broadcast::Receiver<Notice>,
    to: broadcast::Sender<Notice>,
    leases: Arc<Leases>,
) {
    loop {
        let notice = match from.recv().await {
            Ok(Notice::Lost(ticket, token, loss)) => {
                match leases.lost_at(node, ticket, token, &loss, majority) {
                    Ended::Lease(token) => Some(Notice::Lost(ticket, token, loss)),
                    // Its next renewal may be far away; asked at once, the nodes say what is so.
                    Ended::Perhaps => Some(Notice::AskAgain),
                    Ended::Nothing => None,
                }
            }
            Ok(Notice::AskAgain) | Err(RecvError::Lagged(_)) => Some(Notice::AskAgain),
            Err(RecvError::Closed) => return,
        };
        if let Some(notice) = notice {
            // An error means that no keeper listens.
            let _ = to.send(notice);
        }
    }
}
