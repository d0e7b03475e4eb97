//! Who stands in front of whom: what a waiter has to watch, and when that changes.

use std::collections::BTreeMap;

use crate::name::{Session, Ticket};
use crate::protocol::{KeyState, Liveness, Move};

/// The line of a key before a step: its length, and the session of the holder in front of it.
#[derive(Debug, Default)]
pub(super) struct Line {
    len: usize,
    holder: Option<Session>,
}

fn in_front(state: &KeyState, place: usize) -> Option<Session> {
    match place.checked_sub(1) {
        Some(before) => state.queue.get(before).map(|waiter| waiter.session),
        None => state.holders.first().map(|held| held.session),
    }
}

impl Line {
    pub(super) fn of(state: Option<&KeyState>) -> Self {
        state.map_or_else(Line::default, |state| Line { len: state.queue.len(), holder: in_front(state, 0) })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn was_empty(&self) -> bool {
        self.len == 0
    }

    /// Who has somebody else in front of it now, and so must look anew whom to watch. Without this the end
    /// of a holder would go unnoticed by a waiter that still watches one who left the line.
    pub(super) fn changed(
        &self,
        state: Option<&KeyState>,
        moves: &[Move],
        gone: impl Fn(Session) -> bool,
    ) -> Vec<(Session, Ticket)> {
        let mut looks = Vec::new();
        let Some(state) = state.filter(|_| !self.was_empty()) else { return looks };
        // The places with another in front, maybe, and who was there before the step. A step keeps the order of
        // those who stay, and newcomers stand behind them.
        let (mut stood, mut places) = (self.len, BTreeMap::from([(0, self.holder)]));
        for step in moves {
            let Move::Left(_, place, session) = step else { continue };
            stood -= usize::from(*place < stood);
            places.remove(place);
            let behind = places.split_off(place);
            places.extend(behind.into_iter().map(|(place, was)| (place - 1, was)));
            // Unless one between the two left before.
            places.entry(*place).or_insert(Some(*session));
        }
        let mut told = 0;
        for (place, was) in places.into_iter().filter(|(place, _)| *place < stood) {
            if place < told || was == in_front(state, place) {
                continue;
            }
            // Whoever stands behind a dead waiter watches the one before it.
            let mut next = state.queue.range(place..stood.min(state.queue.len()));
            let dead = next.clone().take_while(|waiter| gone(waiter.session)).count();
            looks.extend(next.nth(dead).map(|waiter| (waiter.session, waiter.ticket)));
            told = place + dead + 1;
        }
        looks
    }
}

/// The session that a waiter should watch: that of the next in front which is alive, or of the holder if its
/// lease ends with it.
pub(super) fn to_watch(state: &KeyState, ticket: Ticket, alive: &dyn Liveness) -> Option<Session> {
    // Newcomers ask most: they stand at the end.
    let place = state.queue.iter().rposition(|waiter| waiter.ticket == ticket)?;
    let mut ahead = state.queue.range(..place).rev().map(|waiter| waiter.session);
    ahead
        .find(|session| !alive.waiter_gone(*session))
        .or_else(|| state.holders.first().filter(|held| held.bound).map(|held| held.session))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::name::{Holder, Key};
    use crate::protocol::{Mode, Request, Step, Table, Ttl, Want};

    struct All;
    impl Liveness for All {
        fn waiter_gone(&self, _: Session) -> bool {
            false
        }
        fn holder_gone(&self, _: Session) -> bool {
            false
        }
    }

    fn ask(table: &mut Table, number: u128, mode: Mode) {
        let request = Request {
            key: Key::new("k").unwrap(),
            ticket: Ticket::from_u128(number),
            holder: Holder::new("h").unwrap(),
            note: None,
            want: Want::Lock,
            mode,
            ttl: Ttl::Forever,
            bound: true,
            seen: None,
            max_waiting: None,
            tokens: 1,
        };
        table.acquire(&request, Session::from_u128(number), &mut Step::new(1, &All));
    }

    #[test]
    fn only_those_with_a_new_neighbour_look() {
        let (mut table, key) = (Table::default(), Key::new("k").unwrap());
        for number in 1..=4 {
            ask(&mut table, number, Mode::Line);
        }
        let id = |number| (Session::from_u128(number), Ticket::from_u128(number));
        let (before, was) = (Line::of(table.keys.get(&key)), table.clone());
        let step = || Step::new(1, &All);
        assert_eq!(to_watch(&table.keys[&key], id(3).1, &All), Some(id(2).0));
        // A waiter leaves: the one behind it.
        let mut left = step();
        table.leave(&key, id(3).1, &mut left);
        assert_eq!(before.changed(table.keys.get(&key), &left.moves, |_| false), vec![id(4)]);
        // Two neighbours leave: the one behind both.
        let (before, mut left) = (Line::of(was.keys.get(&key)), step());
        table = was.clone();
        table.leave(&key, id(3).1, &mut left);
        table.leave(&key, id(2).1, &mut left);
        assert_eq!(before.changed(table.keys.get(&key), &left.moves, |_| false), vec![id(4)]);
        // The holder is replaced: the first; if that one is dead, the one behind it.
        table = was.clone();
        ask(&mut table, 9, Mode::Force);
        assert_eq!(before.changed(table.keys.get(&key), &[], |_| false), vec![id(2)]);
        assert_eq!(before.changed(table.keys.get(&key), &[], |session| session == id(2).0), vec![id(3)]);
        // A hand-over: nobody, since the one in front is still in front.
        let (before, mut left) = (Line::of(was.keys.get(&key)), step());
        table = was;
        table.leave(&key, id(1).1, &mut left);
        assert_eq!(before.changed(table.keys.get(&key), &left.moves, |_| false), vec![]);
    }
}
