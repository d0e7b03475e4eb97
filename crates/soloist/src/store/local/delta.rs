//! What one step has changed in a table: enough to carry it out on an equal one.

use serde::{Deserialize, Serialize};

use super::line::Line;
use crate::name::{FencingToken, Key, Session, Ticket};
use crate::protocol::{Done, Held, KeyState, Micros, Move, Table, Waiter};

/// The changes of one step.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delta<'a> {
    /// How many events the shard has told.
    pub(super) events: u64,
    /// How often somebody has begun to listen for them.
    pub(super) listeners: u64,
    last: u64,
    /// By their texts: whoever carries the changes out knows most of these keys already.
    #[serde(borrow)]
    keys: Vec<(&'a str, Changed)>,
}

/// What became of one key.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Changed {
    /// There is nothing to remember of it.
    Idle,
    /// The first in line holds it now, with so many tokens from this one on.
    Handed { token: FencingToken, tokens: u8, since: Micros, deadline: Option<Micros> },
    /// Its leases, if they changed; its result, if that changed; who left the line, by the place at that moment;
    /// and who stands at the end of it since.
    To { holders: Option<Vec<Held>>, done: Option<Option<Done>>, left: Vec<u64>, joined: Vec<Waiter> },
}

/// A key before a step: all but the line, which may be long and is known by its moves.
#[derive(Debug)]
pub(super) struct Before {
    holders: Vec<Held>,
    done: Option<Done>,
    first: Option<Waiter>,
    line: Line,
}

impl Before {
    pub(super) fn of(state: Option<&KeyState>) -> Self {
        Before {
            holders: state.map(|state| state.holders.clone()).unwrap_or_default(),
            done: state.and_then(|state| state.done.clone()),
            first: state.and_then(|state| state.queue.front().cloned()),
            line: Line::of(state),
        }
    }

    /// Whether its lease was one of this session's that ends with it.
    pub(super) fn is_held_by(&self, session: Session) -> bool {
        self.holders.first().is_some_and(|held| held.bound && held.session == session)
    }

    /// The result that it had.
    pub(super) fn done(&self) -> Option<&Done> {
        self.done.as_ref()
    }

    /// What there is to say of a hand-over to the first in line, if that is all that these moves and this lease are.
    fn handed(&self, moves: &[Move], held: &Held) -> Option<Changed> {
        let ([Move::Left(_, 0, _)], Some(first)) = (moves, &self.first) else { return None };
        let (token, since, deadline) = (held.holding.token, held.holding.since, held.holding.deadline);
        (first.held(token, held.tokens, since, deadline) == *held).then_some(Changed::Handed {
            token,
            tokens: held.tokens,
            since,
            deadline,
        })
    }

    /// Who has to look anew whom to watch; see [`Line::changed`].
    pub(super) fn looks(
        &self,
        state: Option<&KeyState>,
        moves: &[Move],
        gone: impl Fn(Session) -> bool,
    ) -> Vec<(Session, Ticket)> {
        self.line.changed(state, moves, gone)
    }
}

impl<'a> Delta<'a> {
    /// Nothing yet, of a table that had given this token before the step.
    pub(super) fn new(table: &Table, events: u64, listeners: u64) -> Self {
        Delta { events, listeners, last: table.last.0, keys: Vec::new() }
    }

    /// Whether the step has changed nothing of a table that had given this token, told so many events and had so many
    /// listeners.
    pub(super) fn is_nothing(&self, last: FencingToken, events: u64, listeners: u64) -> bool {
        self.keys.is_empty() && (self.last, self.events, self.listeners) == (last.0, events, listeners)
    }

    /// The results that it brings.
    pub(super) fn results(&self) -> impl Iterator<Item = &Done> {
        self.keys.iter().filter_map(|(_, changed)| match changed {
            Changed::To { done: Some(Some(done)), .. } => Some(done),
            _ => None,
        })
    }

    /// Adds what became of a key. `moves` are those of its line.
    pub(super) fn add(&mut self, table: &Table, key: &'a Key, before: &Before, moves: &[Move]) {
        let Some(state) = table.keys.get(key) else {
            if !before.holders.is_empty() || before.done.is_some() || !before.line.was_empty() {
                self.keys.push((key.as_str(), Changed::Idle));
            }
            return;
        };
        let holders = (state.holders != before.holders).then(|| state.holders.clone());
        let done = (state.done != before.done).then(|| state.done.clone());
        if holders.is_none() && done.is_none() && moves.is_empty() {
            return;
        }
        if let ([held], None) = (&state.holders[..], &done)
            && let Some(handed) = before.handed(moves, held)
        {
            self.keys.push((key.as_str(), handed));
            return;
        }
        let left = moves.iter().filter_map(|step| match step {
            Move::Left(_, place, _) => Some(*place as u64),
            Move::Joined(_) => None,
        });
        let left: Vec<u64> = left.collect();
        let new = moves.len() - left.len();
        let joined: Vec<Waiter> = state.queue.iter().rev().take(new).rev().cloned().collect();
        debug_assert_eq!(before.line.len() + new - left.len(), state.queue.len(), "moves tell all");
        self.keys.push((key.as_str(), Changed::To { holders, done, left, joined }));
    }

    /// Adds a key whose result was dropped, and nothing else of it changed.
    pub(super) fn drop_result(&mut self, table: &Table, key: &'a Key) {
        let changed = match table.keys.contains_key(key) {
            true => Changed::To { holders: None, done: Some(None), left: Vec::new(), joined: Vec::new() },
            false => Changed::Idle,
        };
        self.keys.push((key.as_str(), changed));
    }

    /// Carries the changes out. `None` if they are not of this table.
    pub(super) fn apply(self, table: &mut Table) -> Option<()> {
        table.last = FencingToken(self.last);
        for (key, changed) in self.keys {
            let (holders, done, left, joined) = match changed {
                Changed::Idle => {
                    table.keys.remove(key);
                    continue;
                }
                Changed::Handed { token, tokens, since, deadline } => {
                    let state = table.keys.get_mut(key)?;
                    let first = state.queue.pop_front()?;
                    state.holders.clear();
                    state.holders.push(first.held(token, tokens, since, deadline));
                    continue;
                }
                Changed::To { holders, done, left, joined } => (holders, done, left, joined),
            };
            let state = match table.keys.get_mut(key) {
                Some(state) => state,
                None => table.keys.entry(Key::stored(key).ok()?).or_default(),
            };
            if let Some(holders) = holders {
                state.holders = holders;
            }
            if let Some(done) = done {
                state.done = done;
            }
            for place in left {
                state.queue.remove(usize::try_from(place).ok()?)?;
            }
            state.queue.extend(joined);
        }
        Some(())
    }
}
