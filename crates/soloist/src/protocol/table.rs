//! A shard of keys: the machine of each, and the one counter that their tokens come from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Answer, Holding, KeyInfo, KeyState, Left, Outcome, Publication, Published, Released, Renewal, Renewed,
    Request, Step, Who,
};
use crate::name::{FencingToken, Key, Session, Ticket};

/// The keys of a shard. A key that has nothing to remember is not kept; the counter outlives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The largest token that was ever given here.
    pub last: FencingToken,
    /// What is known of each key.
    pub keys: BTreeMap<Key, KeyState>,
}

impl Default for Table {
    fn default() -> Self {
        Table { last: FencingToken(0), keys: BTreeMap::new() }
    }
}

impl Table {
    /// Runs one verb on one key.
    fn on<T>(
        &mut self,
        key: &Key,
        step: &mut Step<'_>,
        verb: impl FnOnce(&mut KeyState, &mut Step<'_>) -> T,
    ) -> T {
        let mut state = self.keys.remove(key).unwrap_or_default();
        step.last = self.last;
        let answer = verb(&mut state, step);
        self.last = step.last;
        if !state.is_idle() {
            self.keys.insert(key.clone(), state);
        }
        answer
    }

    /// See [`KeyState::acquire`].
    pub fn acquire(&mut self, request: &Request, session: Session, step: &mut Step<'_>) -> Answer {
        self.on(&request.key, step, |state, step| state.acquire(request, session, step))
    }

    /// See [`KeyState::leave`].
    pub fn leave(&mut self, key: &Key, ticket: Ticket, step: &mut Step<'_>) -> Left {
        self.on(key, step, |state, step| state.leave(key, ticket, step))
    }

    /// See [`KeyState::renew`].
    pub fn renew(&mut self, renewal: &Renewal, step: &mut Step<'_>) -> Renewed {
        self.on(&renewal.key, step, |state, step| state.renew(renewal, step))
    }

    /// See [`KeyState::release`].
    pub fn release(&mut self, key: &Key, who: &Who, by: Session, step: &mut Step<'_>) -> Released {
        self.on(key, step, |state, step| state.release(key, who, by, step))
    }

    /// Ends the lease of a ticket, and asks for its key as another request: [`KeyState::release`] and then
    /// [`KeyState::acquire`], at the same moment. The token of that lease and the answer; or who holds the key, where that
    /// ticket does not, and then nothing was asked for.
    pub fn rotate(
        &mut self,
        held: Ticket,
        request: &Request,
        session: Session,
        step: &mut Step<'_>,
    ) -> Result<(FencingToken, Answer), Option<Holding>> {
        match self.release(&request.key, &Who::Ticket(held), session, step) {
            Released::Released { token } => Ok((token, self.acquire(request, session, step))),
            Released::NotHeld(holding) => Err(holding),
        }
    }

    /// See [`KeyState::publish`].
    pub fn publish(&mut self, publication: &Publication, step: &mut Step<'_>) -> Published {
        self.on(&publication.key, step, |state, step| state.publish(publication, step))
    }

    /// See [`KeyState::forget`].
    pub fn forget(&mut self, key: &Key, step: &mut Step<'_>) -> bool {
        self.on(key, step, |state, step| state.forget(key, step))
    }

    /// See [`KeyState::touch`].
    pub fn touch(&mut self, key: &Key, step: &mut Step<'_>) {
        self.on(key, step, |state, step| state.touch(key, step));
    }

    /// See [`KeyState::result`].
    pub fn result(&self, key: &Key, step: &Step<'_>) -> Option<Outcome> {
        self.keys.get(key).and_then(|state| state.result(step))
    }

    /// See [`KeyState::inspect`].
    pub fn inspect(&self, key: &Key, step: &Step<'_>) -> KeyInfo {
        match self.keys.get(key) {
            Some(state) => state.inspect(key, step),
            None => KeyState::default().inspect(key, step),
        }
    }

    /// What there is to tell of every key whose name begins with `prefix`, the waiters only counted.
    pub fn list(&self, prefix: &str, step: &Step<'_>) -> Vec<KeyInfo> {
        let infos = self.keys.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
        let infos = infos.map(|(key, state)| KeyInfo { waiters: Vec::new(), ..state.inspect(key, step) });
        infos.filter(|info| info.holding.is_some() || info.waiting > 0 || info.result.is_some()).collect()
    }
}
