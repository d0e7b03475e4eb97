//! Who stands in front of whom: what a waiter has to watch, and when that changes.

use crate::name::{Session, Ticket};
use crate::protocol::{KeyState, Liveness};

/// The line of a key before a step: each ticket, and the session in front of it.
#[derive(Debug, Default)]
pub(super) struct Line(Vec<(Ticket, Option<Session>)>);

fn in_front(state: &KeyState, place: usize) -> Option<Session> {
    match place.checked_sub(1) {
        Some(before) => state.queue.get(before).map(|waiter| waiter.session),
        None => state.holders.first().map(|held| held.session),
    }
}

impl Line {
    pub(super) fn of(state: Option<&KeyState>) -> Self {
        let places = state.into_iter().flat_map(|state| {
            let queue = state.queue.iter().enumerate();
            queue.map(|(place, waiter)| (waiter.ticket, in_front(state, place)))
        });
        Line(places.collect())
    }

    /// Who has somebody else in front of it now, and so must look anew whom to watch. Without this the end
    /// of a holder would go unnoticed by a waiter that still watches one who left the line.
    pub(super) fn changed(
        &self,
        state: Option<&KeyState>,
        gone: impl Fn(Session) -> bool,
    ) -> Vec<(Session, Ticket)> {
        let mut looks = Vec::new();
        let Some(state) = state.filter(|_| !self.0.is_empty()) else { return looks };
        // A step keeps the order of those who stay, and newcomers stand behind them.
        let mut before = self.0.iter();
        let mut pass_on = false;
        for (place, waiter) in state.queue.iter().enumerate() {
            let Some((_, was)) = before.find(|(ticket, _)| *ticket == waiter.ticket) else { break };
            if pass_on || *was != in_front(state, place) {
                // Whoever stands behind a dead waiter watches the one before it.
                pass_on = gone(waiter.session);
                if !pass_on {
                    looks.push((waiter.session, waiter.ticket));
                }
            }
        }
        looks
    }
}

/// The session that a waiter should watch: that of the next in front which is alive, or of the holder if its
/// lease ends with it.
pub(super) fn to_watch(state: &KeyState, ticket: Ticket, alive: &dyn Liveness) -> Option<Session> {
    let place = state.queue.iter().position(|waiter| waiter.ticket == ticket)?;
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
        table.leave(&key, id(3).1, &mut step());
        assert_eq!(before.changed(table.keys.get(&key), |_| false), vec![id(4)]);
        // The holder is replaced: the first; if that one is dead, the one behind it.
        table = was.clone();
        ask(&mut table, 9, Mode::Force);
        assert_eq!(before.changed(table.keys.get(&key), |_| false), vec![id(2)]);
        assert_eq!(before.changed(table.keys.get(&key), |session| session == id(2).0), vec![id(3)]);
        // A hand-over: nobody, since the one in front is still in front.
        table = was;
        table.leave(&key, id(1).1, &mut step());
        assert_eq!(before.changed(table.keys.get(&key), |_| false), vec![]);
    }
}
