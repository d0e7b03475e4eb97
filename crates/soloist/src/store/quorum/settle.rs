//! What makes grants of a majority one lease with one fencing token, and keeps it.
//!
//! Each node that grants gives a token of its own. One that is larger than all of a majority's becomes the lease's: it is
//! written to the nodes as a renewal that raises theirs, and the lease stands when a majority *still has it and has written down
//! just that token*. Two such majorities share a node. There the one lease came after the other, and its token is
//! larger, since the node gives none that is not larger than all it has seen, and no token is raised to less than it
//! is. So of any two leases one has the larger token, and it is the later one's. A node that was granted with a
//! larger token than the lease's excludes others as well, but does not count for that.
//! `tests/quorum/model.rs` looks through all orders of steps, and finds what goes wrong with any less.

use std::sync::Arc;

use super::fill::{Late, fill_up};
use super::leases::{Lease, Part};
use super::round::{Round, count};
use super::{QuorumStore, Shared, judge, lengthened};
use crate::clock::{Moment, Reading};
use crate::error::Result;
use crate::name::{FencingToken, Ticket};
use crate::protocol::{Answer, Grant, HANDOVER_TTL, Micros, Renewal, Renewed, Request, Who};
use crate::store::{Reply, Store};

/// How often the token is raised again, because a node was granted with a larger one.
const RAISES: usize = 4;
/// By how much a lease's token is ahead of the clocks: a node that grants it so much later than the others still has it raised to
/// just that token, and counts.
const AHEAD: Micros = 100_000;

/// A request as it first goes to a node: whoever dies before a majority has granted it costs the line no more than a
/// hand-over to one that is frozen.
pub(super) fn first(request: &Request) -> Request {
    Request { ttl: lengthened(request.ttl).at_most(HANDOVER_TTL), tokens: 1, ..request.clone() }
}

pub(super) fn renewed(answer: &Renewed) -> Option<FencingToken> {
    match answer {
        Renewed::Renewed { token, .. } => Some(*token),
        Renewed::NotHeld(_) | Renewed::Unknown => None,
    }
}

/// A grant with this token, by a request that was sent at `sent`.
pub(super) fn granted(request: &Request, token: FencingToken, sent: Moment) -> Reply {
    // No clock of a store's is everybody's: the ttl counts from before sending.
    let from: Micros = token.0;
    // A cohort's next tokens would need a majority each.
    let grant = Grant { token, tokens: 1, from, ttl: request.ttl };
    Reply { answer: Answer::Granted(grant), read: Reading { client: sent, store: from } }
}

impl QuorumStore {
    fn raise_round(&self, request: &Request, token: FencingToken) -> Round<Renewed> {
        let renewal = Renewal {
            key: request.key.clone(),
            who: Who::Ticket(request.ticket),
            ttl: lengthened(request.ttl),
            detach: false,
            at_least: Some(token),
        };
        Round::ask(&self.nodes, |_, node| {
            let renewal = renewal.clone();
            async move { one(&*node, renewal).await }
        })
    }

    /// Makes the grants with these tokens one lease. `None`: it is not to be had (any more); the tokens are then those
    /// of the nodes that still have a grant.
    /// `heard` are those whose answer to the request was heard: the others may have granted it by a wake-up that nobody
    /// takes any more, and are asked again, that they do not listen for it for ever. `asked` is the round in which they
    /// may still answer. `now`: the latest clock of those who granted it.
    pub(super) async fn settle(
        &self,
        request: &Request,
        now: Micros,
        mine: &mut [Option<FencingToken>],
        heard: Vec<bool>,
        asked: &mut Option<Round<Reply>>,
    ) -> Option<Reply> {
        let (majority, blocking) = (self.nodes.majority(), self.nodes.blocking());
        for _ in 0..RAISES {
            if mine.iter().flatten().count() < majority {
                return None;
            }
            // One more at least, so that each node that counts is raised, and tells so: that is how watchers know it.
            let most = mine.iter().flatten().max()?;
            let token = FencingToken(most.0.saturating_add(1).max(now.saturating_add(AHEAD)));
            let sent = Moment::now();
            let mut round = self.raise_round(request, token);
            let with_it = |answer: &Renewed| renewed(answer) == Some(token);
            round
                .until(|answers| {
                    let failed = answers.iter().flatten().filter(|answer| answer.is_err()).count();
                    count(answers, with_it) >= majority
                        || count(answers, |it| !with_it(it)) + failed >= blocking
                })
                .await;
            for (at, answer) in round.given() {
                mine[at] = renewed(answer);
            }
            // Invariant: a lease counts only where a majority has it under one token that is larger than all before.
            if round.count(with_it) >= majority {
                let parts = mine.iter().zip(&round.answers).zip(&heard);
                let parts = parts.map(|((mine, answer), heard)| match (mine, answer) {
                    (Some(token), Some(Ok(_))) if *heard => Part::Held(*token),
                    _ => Part::Missing,
                });
                let full = Request { ttl: lengthened(request.ttl), ..request.clone() };
                let parts = parts.collect();
                self.shared.leases.insert(full, token, parts, heard.clone());
                self.fill_up(request.ticket, token, Some(Late { round, heard, asked: asked.take() }));
                return Some(granted(request, token, sent));
            }
        }
        None
    }

    /// Renews a lease that is known. `None`: it has ended.
    pub(super) async fn ask_again(&self, lease: &Lease, request: &Request) -> Result<Option<Reply>> {
        let (ticket, token, sent) = (request.ticket, lease.token, Moment::now());
        self.shared.leases.set_request(Request { ttl: lengthened(request.ttl), ..request.clone() });
        let renewal = Renewal {
            key: request.key.clone(),
            who: Who::Ticket(ticket),
            ttl: request.ttl,
            detach: false,
            at_least: None,
        };
        let answer = self.renew_all(std::slice::from_ref(&renewal)).await?.pop();
        Ok(match answer {
            Some(Renewed::Renewed { .. }) => Some(granted(request, token, sent)),
            _ => None,
        })
    }

    /// Renews leases at all nodes. Where a majority has one and another node says that it does not, it is put there
    /// again.
    pub(super) async fn renew_all(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        let known: Vec<Option<Lease>> = renewals
            .iter()
            .map(|renewal| match renewal.who {
                Who::Ticket(ticket) => self.shared.leases.get(ticket),
                _ => None,
            })
            .collect();
        let sent: Arc<[Renewal]> = renewals
            .iter()
            .zip(&known)
            .map(|(renewal, known)| Renewal {
                ttl: lengthened(renewal.ttl),
                at_least: known.as_ref().map(|lease| lease.token).or(renewal.at_least),
                ..renewal.clone()
            })
            .collect();
        for (renewal, known) in sent.iter().zip(&known) {
            if let Some(lease) = known {
                self.shared.leases.set_request(Request { ttl: renewal.ttl, ..lease.request.clone() });
            }
        }
        let mut round = Round::ask(&self.nodes, |_, node| {
            let sent = Arc::clone(&sent);
            async move { node.renew(&sent).await }
        });
        let (majority, blocking) = (self.nodes.majority(), self.nodes.blocking());
        let word =
            |answers: &[Option<Result<Vec<Renewed>>>], at: usize| Word::of(answers, at, known[at].as_ref());
        round
            .until(|answers| {
                (0..sent.len()).all(|at| {
                    let Word { yes, no } = word(answers, at);
                    yes >= majority || no >= blocking
                })
            })
            .await;
        let mut all = Vec::with_capacity(sent.len());
        for (at, known) in known.iter().enumerate() {
            let answers: Vec<&Renewed> = round.given().filter_map(|(_, answers)| answers.get(at)).collect();
            let Word { yes, no } = Word::of(&round.answers, at, known.as_ref());
            if yes >= majority {
                let token = known.as_ref().map(|lease| lease.token);
                let token = token.or_else(|| judge::token(answers.iter().filter_map(|it| renewed(it))));
                let deadline = answers.iter().find_map(|answer| match answer {
                    Renewed::Renewed { deadline, .. } => *deadline,
                    Renewed::NotHeld(_) | Renewed::Unknown => None,
                });
                all.push(Renewed::Renewed { token: token.unwrap_or(FencingToken(0)), deadline });
            } else if no >= blocking {
                let holdings = answers.into_iter().filter_map(|answer| match answer {
                    Renewed::NotHeld(holding) => holding.clone(),
                    Renewed::Renewed { .. } | Renewed::Unknown => None,
                });
                if let Some(lease) = known {
                    let (key, ticket) = (&lease.request.key, lease.request.ticket);
                    self.shared.leases.remove(ticket);
                    // A minority may still have it, and would keep the next one waiting.
                    let leaving = self.leave_round(key, ticket, |_| true);
                    self.see_through(leaving, key, ticket);
                }
                all.push(Renewed::NotHeld(judge::holding(holdings)));
            } else {
                // Unknown, and so for all: those that are renewed together are asked for apart after this.
                return Err(self.undecided(&round.errors()));
            }
        }
        self.note(&sent, known, &all, round);
        Ok(all)
    }

    /// Writes down who has the leases, also of those who answer later, and puts them where they are missing.
    fn note(
        &self,
        sent: &Arc<[Renewal]>,
        known: Vec<Option<Lease>>,
        verdicts: &[Renewed],
        mut round: Round<Vec<Renewed>>,
    ) {
        let mut standing = Vec::new();
        for (at, (known, verdict)) in known.into_iter().zip(verdicts).enumerate() {
            let Some(lease) = known.filter(|_| renewed(verdict).is_some()) else { continue };
            match sent[at].detach {
                true => self.shared.leases.detach(lease.request.ticket),
                false => standing.push((at, lease)),
            }
        }
        let missing = write_down(&self.shared, &standing, &round);
        for (ticket, token) in missing {
            self.fill_up(ticket, token, None);
        }
        if round.is_open() && !standing.is_empty() {
            let (shared, nodes) = (Arc::downgrade(&self.shared), self.nodes.clone());
            self.shared.chores.begin(async move {
                round.until(|_| false).await;
                let Some(shared) = shared.upgrade() else { return };
                for (ticket, token) in write_down(&shared, &standing, &round) {
                    fill_up(&shared, &nodes, ticket, token, None);
                }
            });
        }
    }

    fn fill_up(&self, ticket: Ticket, token: FencingToken, late: Option<Late>) {
        fill_up(&self.shared, &self.nodes, ticket, token, late);
    }
}

/// What the nodes say of one lease when it is renewed.
struct Word {
    /// How many have it, and have had it all the time.
    yes: usize,
    /// How many do not have it, or have it again.
    no: usize,
}

impl Word {
    fn of(answers: &[Option<Result<Vec<Renewed>>>], at: usize, known: Option<&Lease>) -> Self {
        let mut word = Word { yes: 0, no: 0 };
        for (node, answer) in answers.iter().enumerate() {
            match answer.as_ref().and_then(|answer| answer.as_ref().ok()?.get(at)) {
                Some(Renewed::Renewed { token, .. })
                    if known.is_none_or(|lease| lease.counts(node, *token)) =>
                {
                    word.yes += 1;
                }
                Some(Renewed::Renewed { .. } | Renewed::NotHeld(_)) => word.no += 1,
                Some(Renewed::Unknown) | None => {}
            }
        }
        word
    }
}

/// Writes down what was answered about these leases, which are as they were known before they were asked about and which a
/// majority has confirmed; answers which of them are missing somewhere.
fn write_down(
    shared: &Shared,
    standing: &[(usize, Lease)],
    round: &Round<Vec<Renewed>>,
) -> Vec<(Ticket, FencingToken)> {
    let mut missing = Vec::new();
    for (at, lease) in standing {
        let (ticket, token) = (lease.request.ticket, lease.token);
        for (node, answers) in round.given() {
            match answers.get(*at).and_then(renewed) {
                Some(held) => {
                    // Invariant: a node counts from the renewal on that was sent when it already had the lease, and that a
                    // majority confirmed without it: at that moment nobody else had one. How late it says so itself
                    // does not matter, if it is slower than the others at all times.
                    if lease.is_held(node, held) {
                        shared.leases.count(ticket, token, node, held);
                    }
                    shared.leases.at(ticket, token, node, Part::Held(held));
                }
                None => {
                    if shared.leases.lacks(ticket, token, node) && !missing.contains(&(ticket, token)) {
                        missing.push((ticket, token));
                    }
                }
            }
        }
    }
    missing
}

pub(super) async fn one(node: &dyn Store, renewal: Renewal) -> Result<Renewed> {
    let answer = node.renew(std::slice::from_ref(&renewal)).await?.pop();
    // A store that answers for fewer than were asked has not answered.
    Ok(answer.unwrap_or(Renewed::Unknown))
}
