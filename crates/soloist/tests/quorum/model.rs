//! How a quorum's fencing tokens come about, in all orders of steps: each has another owner, and a later owner has a
//! larger one. And what goes wrong with less: each protocol that leaves something out breaks it.

use std::collections::{HashSet, VecDeque};

const NODES: usize = 3;
const MAJORITY: usize = 2;
/// How many leases may end at a node before their time, in one history.
const ENDS: u8 = 3;

/// How the token is made one for all.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// As store/quorum/settle.rs does: who still has the lease raises its token, and counts those that have just it.
    Settle,
    /// The largest token that a majority has given, and that is all.
    Largest,
    /// It is written to a majority, whoever has the lease there by then.
    WriteBack,
    /// Nodes with a larger token count as well.
    OrLarger,
    /// A node that does not have the lease any more, and is free, grants it again under that token.
    GrantAgain,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Node {
    /// The largest token it has seen.
    last: u8,
    /// Who has its lease, and under which token.
    held: Option<(usize, u8)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Asks,
    /// It raises to this; these nodes (bits) have said that they have it.
    Raises(u8, u8),
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Client {
    phase: Phase,
    /// Which nodes it has asked, and the tokens that they gave.
    asked: [bool; NODES],
    got: [Option<u8>; NODES],
    raised: [bool; NODES],
    /// The largest token of those who had the lock before this began.
    after: u8,
    begun: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    nodes: [Node; NODES],
    clients: Vec<Client>,
    /// The tokens of those who had the lock, in that order.
    won: Vec<u8>,
    /// How many leases may still end before their time.
    ends: u8,
}

impl State {
    fn new(clients: usize, lasts: [u8; NODES]) -> Self {
        let client = Client {
            phase: Phase::Asks,
            asked: [false; NODES],
            got: [None; NODES],
            raised: [false; NODES],
            after: 0,
            begun: false,
        };
        let nodes = lasts.map(|last| Node { last, held: None });
        State { nodes, clients: vec![client; clients], won: Vec::new(), ends: ENDS }
    }

    /// One client and one node: asks it for the lease, or raises its token there. `None`: it has nothing to do there.
    fn ask(&self, who: usize, at: usize, how: How) -> Option<State> {
        let mut next = self.clone();
        let (client, node) = (&mut next.clients[who], &mut next.nodes[at]);
        if !client.begun {
            client.begun = true;
            client.after = self.won.iter().copied().max().unwrap_or(0);
        }
        let asks = !client.asked[at];
        match &mut client.phase {
            _ if asks => {
                client.asked[at] = true;
                // A majority may have answered before this: it is then too late for the choice of the token.
                let counts = client.phase == Phase::Asks;
                if node.held.is_none() {
                    node.last += 1;
                    node.held = Some((who, node.last));
                    client.got[at] = counts.then_some(node.last);
                }
                if counts && client.got.iter().flatten().count() >= MAJORITY {
                    let largest = client.got.iter().flatten().max().copied().unwrap();
                    let token = if how == How::Largest { largest } else { largest + 1 };
                    client.phase = Phase::Raises(token, 0);
                }
            }
            Phase::Raises(token, counted) if !client.raised[at] => {
                client.raised[at] = true;
                let token = *token;
                let mine = node.held.is_some_and(|(holder, _)| holder == who);
                if mine {
                    let held = node.held.map_or(0, |(_, held)| held).max(token);
                    node.held = Some((who, held));
                    node.last = node.last.max(held);
                    if held == token || how == How::OrLarger {
                        *counted |= 1 << at;
                    }
                } else if how == How::WriteBack {
                    node.last = node.last.max(token);
                    *counted |= 1 << at;
                } else if how == How::GrantAgain && node.held.is_none() {
                    node.held = Some((who, token));
                    node.last = node.last.max(token);
                    *counted |= 1 << at;
                }
            }
            _ => return None,
        }
        next.wins(who, how);
        Some(next)
    }

    fn wins(&mut self, who: usize, how: How) {
        let client = &mut self.clients[who];
        let Phase::Raises(token, counted) = &client.phase else { return };
        if counted.count_ones() as usize >= MAJORITY || how == How::Largest {
            self.won.push(*token);
            client.phase = Phase::Ended;
        }
    }

    /// A node's lease ends: it was released, it has expired, or somebody took it over or broke it.
    fn end(&self, at: usize) -> Option<State> {
        let mut next = self.clone();
        next.ends = self.ends.checked_sub(1)?;
        next.nodes[at].held.take().map(|_| next)
    }

    fn next(&self, how: How) -> Vec<State> {
        let mut all = Vec::new();
        for at in 0..NODES {
            all.extend(self.end(at));
            for who in 0..self.clients.len() {
                if self.clients[who].phase != Phase::Ended {
                    all.extend(self.ask(who, at, how));
                }
            }
        }
        all
    }

    /// What is wrong with the last who won.
    fn fault(&self, before: &State) -> Option<String> {
        let token = *self.won.last().filter(|_| self.won.len() > before.won.len())?;
        if before.won.contains(&token) {
            return Some(format!("two have the token {token}"));
        }
        let who = (0..self.clients.len()).find(|who| {
            self.clients[*who].phase == Phase::Ended && before.clients[*who].phase != Phase::Ended
        })?;
        let after = before.clients[who].after;
        (after > token).then(|| format!("{token} came after {after}"))
    }
}

/// Looks through all that can happen. Answers how much that is, and the first fault.
fn explore(how: How, clients: usize, lasts: [u8; NODES]) -> (usize, Option<String>) {
    let start = State::new(clients, lasts);
    let mut seen = HashSet::from([start.clone()]);
    let mut open = VecDeque::from([start]);
    while let Some(state) = open.pop_front() {
        for next in state.next(how) {
            if let Some(fault) = next.fault(&state) {
                return (seen.len(), Some(fault));
            }
            if seen.insert(next.clone()) {
                open.push_back(next);
            }
        }
    }
    (seen.len(), None)
}

/// Clocks of nodes differ: so do the tokens that they begin with.
const LASTS: [[u8; NODES]; 2] = [[0, 0, 0], [0, 1, 2]];

#[test]
fn of_two_owners_each_has_a_token_of_its_own_and_the_later_one_the_larger() {
    let mut states = 0;
    for lasts in LASTS {
        let (count, fault) = explore(How::Settle, 2, lasts);
        assert_eq!(fault, None, "{lasts:?}");
        states += count;
    }
    println!("{states} states");
    assert!(states > 50_000, "{states}: the world is not that small");
}

#[test]
fn whoever_leaves_something_out_is_found() {
    for how in [How::Largest, How::WriteBack, How::OrLarger, How::GrantAgain] {
        let found = LASTS.iter().find_map(|lasts| explore(how, 2, *lasts).1);
        let found = found.or_else(|| explore(how, 3, [0, 0, 0]).1);
        println!("{how:?}: {found:?}");
        assert!(found.is_some(), "{how:?} was not found out");
    }
}
