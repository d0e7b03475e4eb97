//! A store under comparison: its sessions, its driven clock, and what it says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use soloist::protocol::{Answer, Holding, Micros, Queued, Released, Request};
use soloist::store::{EventStream, Notice, Reply, Rotated, Told};
use soloist::{Event, FencingToken, Key, Loss, Moment, Result, Store, Ticket};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use crate::call::{Call, Said};
use crate::machine::Seen;
use crate::steps::SESSIONS;

/// Longer than any message takes, shorter than the slow look of fifteen seconds that would hide its loss.
const BY_MESSAGE: Duration = Duration::from_secs(12);

/// What makes a store comparable.
#[async_trait]
pub trait Ground: Send + Sync {
    fn name(&self) -> &'static str;
    /// Whether its events are compared; a store may tell fewer of them while nobody watches.
    fn is_watched(&self) -> bool {
        true
    }
    async fn open(&self) -> Arc<dyn Store>;
    async fn advance(&self, time: Duration);
    /// How often scripts took each of their ways, where the store is made of scripts.
    async fn ways(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
    /// Ends a session; returns when the store knows.
    async fn kill(&self, session: Arc<dyn Store>) {
        session.close().await;
    }
}

struct Seat {
    store: Arc<dyn Store>,
    notices: broadcast::Receiver<Notice>,
}

pub struct Peer {
    pub ground: Box<dyn Ground>,
    seats: Vec<Seat>,
    watcher: Arc<dyn Store>,
    /// `None`: nobody watches.
    events: Option<EventStream>,
    seen: Seen,
    /// The largest token seen of each key.
    tokens: HashMap<Key, FencingToken>,
}

impl Peer {
    pub async fn new(ground: Box<dyn Ground>) -> Self {
        let mut seats = Vec::new();
        for _ in 0..SESSIONS {
            seats.push(Self::seat(&*ground).await);
        }
        let watcher = ground.open().await;
        let events = if ground.is_watched() { Some(watcher.events().await.unwrap()) } else { None };
        Peer { ground, seats, watcher, events, seen: Seen::default(), tokens: HashMap::new() }
    }

    async fn seat(ground: &dyn Ground) -> Seat {
        let store = ground.open().await;
        Seat { notices: store.notices(), store }
    }

    pub async fn die(&mut self, session: usize) {
        let new = Self::seat(&*self.ground).await;
        let old = std::mem::replace(&mut self.seats[session], new);
        self.ground.kill(old.store).await;
    }

    pub async fn call(&mut self, by: usize, call: &Call) -> Result<Said> {
        let store = &self.seats[by].store;
        Ok(match call {
            Call::Acquire { request, seen } => {
                let request = self.seen.in_request(request, *seen);
                let answer = store.acquire(&request).await?.answer;
                self.seen.note(request.ticket, &answer);
                Said::Acquired(answer)
            }
            Call::Leave(key, ticket) => Said::Left(store.leave(key, *ticket).await?),
            Call::Renew(renewals) => Said::Renewed(store.renew(renewals).await?),
            Call::Release(key, who) => Said::Released(store.release(key, who).await?),
            Call::Rotate { held, request } => match store.rotate(*held, request).await? {
                Rotated::Asked(token, reply) => {
                    let reply = reply?;
                    self.seen.note(request.ticket, &reply.answer);
                    Said::Rotated(Released::Released { token }, Some(reply.answer))
                }
                Rotated::NotHeld(holding) => Said::Rotated(Released::NotHeld(holding), None),
            },
            Call::Publish(publication) => Said::Published(store.publish(publication).await?),
            Call::Forget(key) => Said::Forgot(store.forget(key).await?),
            Call::Touch(key) => {
                store.touch(key).await?;
                Said::Touched
            }
            Call::Inspect(key) => Said::Info(store.inspect(key).await?),
            Call::List(prefix) => Said::Infos(store.list(prefix).await?),
        })
    }

    /// The reply with which a request stands in line, told so that only a message ends the wait soon.
    fn standing(&self, request: &Request, now: Micros) -> Reply {
        let holding = Holding {
            holder: request.holder.clone(),
            token: self.seen.last(request.ticket).unwrap_or(FencingToken(0)),
            since: now,
            deadline: None,
            note: None,
            want: request.want,
        };
        Reply::new(Answer::Queued(Queued { place: 1, holding, ahead: None }), Moment::now(), now)
    }

    /// Waits for what the request was told.
    pub async fn hear(&mut self, by: usize, request: &Request, now: Micros) -> Result<Answer, String> {
        let standing = self.standing(request, now);
        let waited = tokio::time::timeout(BY_MESSAGE, self.seats[by].store.wait(request, standing)).await;
        match waited {
            Ok(Ok(reply)) => Ok(reply.answer),
            Ok(Err(error)) => Err(format!("wait failed: {error}")),
            Err(_) => Err("the wake-up never came".to_owned()),
        }
    }

    pub async fn hear_loss(&mut self, by: usize) -> Result<(Ticket, FencingToken, Loss), String> {
        loop {
            match tokio::time::timeout(BY_MESSAGE, self.seats[by].notices.recv()).await {
                Ok(Ok(Notice::Lost(ticket, token, loss))) => return Ok((ticket, token, loss)),
                Ok(Ok(Notice::AskAgain)) => {}
                Ok(Err(error)) => return Err(format!("the notices ended: {error}")),
                Err(_) => return Err("the notice of the loss never came".to_owned()),
            }
        }
    }

    /// A notice that should not have come.
    pub fn stray_notice(&mut self) -> Option<Notice> {
        for seat in &mut self.seats {
            loop {
                match seat.notices.try_recv() {
                    Ok(Notice::AskAgain) | Err(TryRecvError::Lagged(_)) => {}
                    Ok(notice) => return Some(notice),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
        }
        None
    }

    /// `None`: nobody watches.
    pub async fn next_event(&mut self) -> Result<Option<Event>, String> {
        let Some(events) = &mut self.events else { return Ok(None) };
        match tokio::time::timeout(BY_MESSAGE, events.next()).await {
            Ok(Some(Told::Event(event))) => Ok(Some(event)),
            Ok(other) => Err(format!("expected an event, got {other:?}")),
            Err(_) => Err("the event never came".to_owned()),
        }
    }

    /// Invariant: a later grant of a key has a larger token, to the last digit.
    pub fn tokens_grow(&mut self, event: &Event) -> bool {
        use soloist::EventKind::{Locked, TakenOver};
        if !matches!(event.kind, Locked | TakenOver { .. }) {
            return true;
        }
        let last = self.tokens.insert(event.key.clone(), event.token);
        last.is_none_or(|last| last < event.token)
    }

    /// A session that takes no part, for what the test itself wants to do.
    pub fn watcher(&self) -> &Arc<dyn Store> {
        &self.watcher
    }
}
