//! For whom a session hears: whoever waits is woken, and whoever watches gets the events.

use std::sync::Arc;

use tokio::sync::{Notify, broadcast};

use super::pack::{self, Message};
use crate::store::Told;
use crate::store::hub::Hub;
use crate::store::results::{RESULTS_KEPT, is_about_a_result};

/// What of the events is watched.
#[derive(Clone, Copy)]
pub(super) enum Of {
    All,
    /// What is about results, for those who keep some.
    Results,
}

/// Those who wait and those who watch.
pub(super) struct Audience {
    store: Arc<str>,
    pub(super) hub: Arc<Hub>,
    events: broadcast::Sender<Told>,
    results: broadcast::Sender<Told>,
    /// An event has come that nobody watches any more.
    pub(super) left: Notify,
}

impl Audience {
    pub(super) fn new(store: &Arc<str>, hub: &Arc<Hub>, events: broadcast::Sender<Told>) -> Self {
        Audience {
            store: Arc::clone(store),
            hub: Arc::clone(hub),
            events,
            results: broadcast::channel(RESULTS_KEPT).0,
            left: Notify::new(),
        }
    }

    /// Tells everybody whom a message is for.
    pub(super) fn tell(&self, payload: &[u8]) {
        match pack::message(payload) {
            Some(Message::Wake(tickets, wake)) => {
                for ticket in tickets {
                    self.hub.tell(ticket, wake.clone());
                }
            }
            // An error means that nobody watches any more.
            Some(Message::Events(events)) => {
                for event in events {
                    if is_about_a_result(&event.kind) {
                        let _ = self.results.send(Told::Event(event.clone()));
                    }
                    let _ = self.events.send(Told::Event(event));
                }
                if !self.watches() {
                    self.left.notify_one();
                }
            }
            None => tracing::warn!(store = %self.store, "a message that this version does not know"),
        }
    }

    /// Tells whoever watches these that some may have been missed.
    pub(super) fn missed(&self, of: Of) {
        let _ = match of {
            Of::All => self.events.send(Told::Missed),
            Of::Results => self.results.send(Told::Missed),
        };
    }

    pub(super) fn watch(&self, of: Of) -> broadcast::Receiver<Told> {
        match of {
            Of::All => self.events.subscribe(),
            Of::Results => self.results.subscribe(),
        }
    }

    /// Whether anybody watches.
    pub(super) fn watches(&self) -> bool {
        self.events.receiver_count() + self.results.receiver_count() > 0
    }
}
