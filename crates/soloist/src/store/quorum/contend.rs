//! A request's first round: all nodes are asked at once, and where that does not decide it, one of several
//! contenders goes on and the others give way.

use std::time::Duration;

use super::round::{Round, count};
use super::settle::first;
use super::{GRACE, QuorumStore, judge};
use crate::error::{Error, Result};
use crate::name::FencingToken;
use crate::protocol::{Answer, Holding, Left, Mode, Queued, Request};
use crate::random;
use crate::store::Reply;

/// How often one that does not stand in line asks again when several have a part of the nodes.
const TRIES: u32 = 6;
/// How long it pauses then, at first.
const PAUSE: Duration = Duration::from_millis(4);
/// How long whoever gives way waits for the nodes to hear of it.
const GIVE_WAY: Duration = Duration::from_millis(100);

/// About so long: those who met do not meet again.
pub(super) fn about(pause: Duration) -> Duration {
    let chance = random::u32().unwrap_or(u32::MAX / 2);
    pause.mul_f64(0.5 + f64::from(chance) / f64::from(u32::MAX))
}

/// Who holds the key at a node, by its answer.
fn holding(answer: &Answer) -> Option<&Holding> {
    match answer {
        Answer::Busy(holding) | Answer::Full { holding, .. } => Some(holding),
        Answer::Queued(queued) => Some(&queued.holding),
        Answer::Granted(_) | Answer::Done(_) => None,
    }
}

fn is_granted(reply: &Reply) -> bool {
    matches!(reply.answer, Answer::Granted(_))
}

/// The tokens of those who granted.
fn tokens(round: &Round<Reply>) -> Vec<Option<FencingToken>> {
    let token = |answer: &Option<Result<Reply>>| match answer {
        Some(Ok(Reply { answer: Answer::Granted(grant), .. })) => Some(grant.token),
        _ => None,
    };
    round.answers.iter().map(token).collect()
}

/// Whether whoever has these nodes gives way to those who hold the others. Invariant: of several contenders who see
/// the same, exactly one does not: the one that has the first of the nodes that anybody has.
pub(super) fn gives_way<'a>(
    mine: impl Fn(usize) -> bool,
    others: impl Iterator<Item = (usize, &'a Holding)>,
    majority: usize,
) -> bool {
    let others: Vec<(usize, &Holding)> = others.collect();
    let settled =
        |one: &Holding| others.iter().filter(|(_, other)| other.token == one.token).count() >= majority;
    others.iter().any(|(at, one)| settled(one) || !(0..*at).any(&mine))
}

impl QuorumStore {
    fn first_round(&self, request: &Request) -> Round<Reply> {
        let request = first(request);
        Round::ask(&self.nodes, |_, node| {
            let request = request.clone();
            async move { node.acquire(&request).await }
        })
    }

    /// Asks for a key, once.
    pub(super) async fn contend(&self, request: &Request) -> Result<Reply> {
        if let Some(lease) = self.shared.leases.get(request.ticket)
            && let Some(reply) = self.ask_again(&lease, request).await?
        {
            return Ok(reply);
        }
        let (majority, blocking) = (self.nodes.majority(), self.nodes.blocking());
        let mut pause = PAUSE;
        for tried in 1..=TRIES {
            let mut round = self.first_round(request);
            round
                .until_or(&self.nodes, GRACE, |answers| {
                    count(answers, is_granted) >= majority || count(answers, |it| !is_granted(it)) >= blocking
                })
                .await;
            let mut mine = tokens(&round);
            let heard = mine.iter().map(Option::is_some).collect();
            let now = round.given().map(|(_, reply)| reply.read.store).max().unwrap_or(0);
            let mut asked = Some(round);
            if let Some(reply) = self.settle(request, now, &mut mine, heard, &mut asked).await {
                return Ok(reply);
            }
            // It is still there, where there was no majority.
            let Some(round) = asked else { continue };
            if mine.iter().flatten().count() < tokens(&round).iter().flatten().count() && tried < TRIES {
                // It had them, and had them no more when it was to be one lease: others are at it, too.
                drop(round);
                tokio::time::sleep(about(pause)).await;
                pause *= 2;
                continue;
            }
            let closed = round.errors().iter().any(|error| matches!(error, Error::Closed));
            if closed || round.errors().len() >= blocking {
                let error = self.undecided(&round.errors());
                self.take_back(request, round).await;
                return Err(error);
            }
            if request.mode == Mode::Line {
                return self.in_line(request, round).await;
            }
            let others = round.given().filter_map(|(at, reply)| Some((at, holding(&reply.answer)?)));
            let gives_way = gives_way(|at| mine[at].is_some(), others, majority);
            let none = mine.iter().flatten().count() == 0;
            if request.mode == Mode::Try && (none || gives_way || tried == TRIES) {
                let busy = self.common(&round);
                let error = self.undecided(&round.errors());
                self.take_back(request, round).await;
                return busy.map(|(answer, read)| Reply { answer: Answer::Busy(answer), read }).ok_or(error);
            }
            if request.mode == Mode::Force && tried == TRIES {
                self.take_back(request, round).await;
                break;
            }
            // Those who give way do so in the meantime; of several who force one is the last.
            self.hear_out(round);
            tokio::time::sleep(about(pause)).await;
            pause *= 2;
        }
        let why = "others ask for the same key at the same moment, again and again".into();
        Err(Error::Unavailable { store: self.name.to_string(), why })
    }

    /// Whom most of the nodes name as the holder, with the clocks of one that does.
    fn common(&self, round: &Round<Reply>) -> Option<(Holding, crate::clock::Reading)> {
        let named = || round.given().filter_map(|(_, reply)| Some((holding(&reply.answer)?, reply.read)));
        let common = judge::holding(named().map(|(holding, _)| holding.clone()))?;
        let read = named().find(|(holding, _)| holding.holder == common.holder)?.1;
        Some((common, read))
    }

    /// The answer of one that stands in line now, or may not.
    async fn in_line(&self, request: &Request, round: Round<Reply>) -> Result<Reply> {
        let full = round.given().filter_map(|(_, reply)| match &reply.answer {
            Answer::Full { waiting, .. } => Some(*waiting),
            _ => None,
        });
        let full: Vec<u64> = full.collect();
        let place = round.given().filter_map(|(_, reply)| match &reply.answer {
            Answer::Queued(queued) => Some(queued.place),
            _ => None,
        });
        let (place, common) = (place.max(), self.common(&round));
        if full.len() >= self.nodes.blocking()
            && let Some((holding, read)) = common
        {
            let waiting = full.into_iter().max().unwrap_or(0);
            self.take_back(request, round).await;
            return Ok(Reply { answer: Answer::Full { holding, waiting }, read });
        }
        let error = self.undecided(&round.errors());
        let Some((holding, read)) = common else {
            self.take_back(request, round).await;
            return Err(error);
        };
        // Who stands in line asks them all once more; what is still under way must not arrive after it has left.
        drop(round);
        let queued = Queued { place: place.unwrap_or(1), holding, ahead: None };
        Ok(Reply { answer: Answer::Queued(queued), read })
    }

    /// Gives back what some nodes have granted, and what others may still grant.
    async fn take_back(&self, request: &Request, round: Round<Reply>) {
        let stands = |answer: &Option<Result<Reply>>| match answer {
            Some(Ok(reply)) => matches!(reply.answer, Answer::Granted(_) | Answer::Queued(_)),
            Some(Err(error)) => matches!(error, Error::Unavailable { .. } | Error::Unknown { .. }),
            None => true,
        };
        let which: Vec<bool> = round.answers.iter().map(stands).collect();
        if !which.contains(&true) {
            return;
        }
        // In order behind what was asked: where that is still under way, its future may be dropped.
        drop(round);
        let mut leaving: Round<Left> = self.leave_round(&request.key, request.ticket, |at| which[at]);
        let _ = tokio::time::timeout(GIVE_WAY, leaving.until(|_| false)).await;
        self.see_through(leaving, &request.key, request.ticket);
    }
}
