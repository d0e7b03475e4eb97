//! Tables by ticket, for what is there as long as one request: a change of theirs costs the same few steps however
//! much stands in them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::name::Ticket;

/// What is known by ticket.
///
/// Invariant: its order decides nothing. Whoever goes over all of it in a way that shows sorts by ticket first.
pub(crate) type ByTicket<T> = HashMap<Ticket, T, BuildHasherDefault<OfTicket>>;

/// A table of no more than so many is left as it is.
const SMALL: usize = 64;

/// Takes one out. What very many at once took is not kept for ever.
pub(crate) fn take<T>(table: &mut ByTicket<T>, ticket: Ticket) -> Option<T> {
    let taken = table.remove(&ticket);
    if table.capacity() > SMALL.max(table.len() * 8) {
        table.shrink_to(table.len() * 2);
    }
    taken
}

/// Everything in it, by ticket.
pub(crate) fn in_order<T>(table: ByTicket<T>) -> Vec<(Ticket, T)> {
    let mut all: Vec<_> = table.into_iter().collect();
    all.sort_unstable_by_key(|(ticket, _)| *ticket);
    all
}

/// The hash of a ticket. Only tickets that this process has minted get into a table, so nobody else chooses them, and
/// they are random as they are: all that is left is to spread those of tests, which are not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfTicket(u64);

impl Hasher for OfTicket {
    fn write_u128(&mut self, ticket: u128) {
        self.0 = (ticket as u64 ^ (ticket >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    // A ticket is a number and nothing else.
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u128(u128::from(self.0 << 8 | u64::from(*byte))));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn what_many_took_is_given_back() {
        let mut table = ByTicket::default();
        for number in 0..100_000 {
            table.insert(Ticket::from_u128(number), ());
        }
        for number in 10..100_000 {
            assert_eq!(take(&mut table, Ticket::from_u128(number)), Some(()));
        }
        assert!(table.capacity() <= 2 * SMALL, "room for {}", table.capacity());
        let left: Vec<_> = in_order(table).into_iter().map(|(ticket, ())| ticket.as_u128()).collect();
        assert_eq!(left, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn tickets_are_spread() {
        let hasher = BuildHasherDefault::<OfTicket>::default();
        for step in [1_u128, 997, 1 << 7, 1 << 64, 1 << 127] {
            let some = (0..100).map(|number| Ticket::from_u128(step.wrapping_mul(number)));
            let tickets: BTreeSet<_> = some.collect();
            let hashes: BTreeSet<_> = tickets.iter().map(|ticket| hasher.hash_one(ticket)).collect();
            assert_eq!(hashes.len(), tickets.len(), "steps of {step}");
        }
    }
}
