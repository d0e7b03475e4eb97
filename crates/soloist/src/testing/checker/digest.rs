//! A history, sorted by request.

use std::collections::BTreeMap;

use super::{Checker, micros};
use crate::protocol::{Mode, Want};
use crate::testing::history::{At, End, Gave, History, Op, Said, What};

/// How long after it was given up a request may still be carried out, in microseconds.
const ON_ITS_WAY: u64 = 20_000_000;

/// Everything about one request.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    pub(super) op: Op,
    pub(super) client: u32,
    pub(super) key: &'a str,
    pub(super) want: Want,
    pub(super) mode: Mode,
    pub(super) wait: Option<u64>,
    pub(super) asked: At,
    pub(super) in_line: Option<At>,
    pub(super) granted: Option<(At, u64)>,
    /// From its grant until when it was sure, whatever is foreseen to end that.
    pub(super) sure: Option<(At, At)>,
    /// Until when it would be sure; changes while the history is read.
    deadline: Option<At>,
    pub(super) ended: Option<(At, End)>,
    pub(super) answered: Option<(At, Said)>,
    pub(super) publishes: Option<(At, u64)>,
    pub(super) got: Option<(At, u64)>,
    pub(super) gave_up: Option<(At, Gave)>,
    pub(super) writes: Vec<(At, u64, bool)>,
    /// When its client was killed before it had ended.
    pub(super) killed: Option<At>,
}

impl Request<'_> {
    /// When it was served, gave up or was killed.
    pub(super) fn resolved(&self) -> Option<At> {
        let granted = self.granted.map(|(at, _)| at);
        let got = self.got.map(|(at, _)| at);
        let gave_up = self.gave_up.map(|(at, _)| at);
        [granted, got, gave_up, self.killed].into_iter().flatten().min()
    }
}

/// A lease ended by somebody else, or a result dropped: from when to when it was under way.
pub(super) struct Breaking<'a> {
    pub(super) key: &'a str,
    pub(super) from: At,
    pub(super) to: At,
    pub(super) forget: bool,
    /// Whether it was carried to its end.
    pub(super) done: bool,
}

pub(super) struct Digest<'a> {
    pub(super) requests: BTreeMap<Op, Request<'a>>,
    pub(super) breaks: Vec<Breaking<'a>>,
    /// When times were not calm, apart and in order.
    pub(super) troubles: Vec<(At, At)>,
    /// Who stood still, and when.
    pub(super) stops: Vec<(u32, At, At)>,
    /// By how much the store's clock was ever set back.
    pub(super) set_back: u64,
    pub(super) left: Option<(At, [u64; 4])>,
    pub(super) end: At,
}

impl<'a> Digest<'a> {
    pub(super) fn of(history: &'a History, checker: &Checker) -> Self {
        let mut digest = Digest {
            requests: BTreeMap::new(),
            breaks: Vec::new(),
            troubles: Vec::new(),
            stops: Vec::new(),
            set_back: 0,
            left: None,
            end: history.records.last().map_or(0, |record| record.at),
        };
        let (mut trouble, mut stopped): (Option<At>, BTreeMap<u32, At>) = (None, BTreeMap::new());
        let mut breaking: BTreeMap<Op, usize> = BTreeMap::new();
        // The largest token of which the store knows nothing any more.
        let mut lost = 0;
        for record in &history.records {
            let at = record.at;
            match &record.what {
                What::Asked { op, key, want, mode, wait } => {
                    let (op, client, want, mode, wait) = (*op, record.client, *want, *mode, *wait);
                    digest.requests.insert(op, asked(op, client, key, want, mode, wait, at));
                }
                What::Breaks { op, key, forget } => {
                    breaking.insert(*op, digest.breaks.len());
                    let (from, to, forget) = (at, digest.end, *forget);
                    digest.breaks.push(Breaking { key, from, to, forget, done: false });
                }
                What::Broke { op } => {
                    if let Some(breaks) = breaking.get(op).and_then(|at| digest.breaks.get_mut(*at)) {
                        (breaks.to, breaks.done) = (at, true);
                    }
                }
                What::Fault { .. } => trouble = trouble.or(Some(at)),
                What::Calm => {
                    let calm = at.saturating_add(micros(checker.calm_after));
                    digest.troubles.extend(trouble.take().map(|from| (from, calm)));
                }
                What::Killed => digest.kill(record.client, at),
                What::Stopped => drop(stopped.insert(record.client, at)),
                What::Went => {
                    let from = stopped.remove(&record.client);
                    digest.stops.extend(from.map(|from| (record.client, from, at)));
                }
                What::DataLost { last } => {
                    lost = lost.max(*last);
                    digest.cut(at, |request| request.granted.is_some_and(|(_, token)| token <= *last));
                }
                What::ClockStepped { by } => {
                    digest.set_back += by.min(&0).unsigned_abs();
                    if *by > 0 {
                        digest.cut(at, |_| true);
                        // What was asked before may be dated wrongly when it is granted.
                        let asked = digest.requests.values_mut().filter(|request| request.granted.is_none());
                        asked.for_each(|request| request.sure = Some((at, at)));
                    }
                }
                What::Left { held, waiting, subscriptions, connections } => {
                    digest.left = Some((at, [*held, *waiting, *subscriptions, *connections]));
                }
                of_a_request => digest.take(of_a_request, at, lost),
            }
        }
        digest.troubles.extend(trouble.map(|from| (from, digest.end)));
        let end = digest.end;
        for request in digest.requests.values_mut() {
            request.end_sure(end);
        }
        digest.cut_broken();
        digest
    }

    fn take(&mut self, what: &What, at: At, lost: u64) {
        let Some(request) = what.op().and_then(|op| self.requests.get_mut(&op)) else { return };
        match what {
            What::InLine { .. } => request.in_line = request.in_line.or(Some(at)),
            What::Granted { token, sure, .. } => {
                request.granted = Some((at, *token));
                request.deadline = Some(sure.unwrap_or(At::MAX));
                if *token <= lost {
                    request.end_sure(at);
                }
            }
            What::Sure { sure, .. } => request.deadline = Some(sure.unwrap_or(At::MAX)),
            What::Ended { how, sure, .. } => {
                request.deadline = Some(sure.unwrap_or(At::MAX));
                request.ended = request.ended.or(Some((at, *how)));
                request.end_sure(at);
            }
            What::Answered { said, .. } => request.answered = request.answered.or(Some((at, *said))),
            What::GaveUp { why, .. } => request.gave_up = request.gave_up.or(Some((at, *why))),
            What::Publishes { keep, .. } => request.publishes = request.publishes.or(Some((at, *keep))),
            What::Got { value, .. } => request.got = request.got.or(Some((at, *value))),
            What::Wrote { seq, accepted, .. } => request.writes.push((at, *seq, *accepted)),
            _ => {}
        }
    }

    fn kill(&mut self, client: u32, at: At) {
        for request in self.requests.values_mut().filter(|request| request.client == client) {
            if request.ended.is_none() || request.answered.is_none() {
                request.killed = request.killed.or(Some(at));
            }
            request.end_sure(at);
        }
    }

    /// Ends the belief of all who hold and whom this concerns: that they may be replaced is foreseen.
    fn cut(&mut self, at: At, concerns: impl Fn(&Request<'_>) -> bool) {
        for request in self.requests.values_mut().filter(|request| request.sure.is_none()) {
            if concerns(request) {
                request.end_sure(at);
            }
        }
    }

    /// Ends the belief of those whose lease somebody forced or broke, from when that was asked.
    fn cut_broken(&mut self) {
        let forced = self.requests.values().filter(|request| request.mode == Mode::Force);
        // One that was given up may still be on its way.
        let on_its_way = |request: &Request<'_>| if request.granted.is_some() { 0 } else { ON_ITS_WAY };
        let to = |request: &Request<'_>| {
            request.resolved().map_or(At::MAX, |at| at.saturating_add(on_its_way(request)))
        };
        let mut cuts: Vec<(&str, At, At, u64)> = Vec::new();
        for request in forced {
            let token = request.granted.map_or(u64::MAX, |(_, token)| token);
            cuts.push((request.key, request.asked, to(request), token));
        }
        let broken = self.breaks.iter().filter(|breaking| !breaking.forget);
        cuts.extend(broken.map(|breaking| (breaking.key, breaking.from, breaking.to, u64::MAX)));
        for request in self.requests.values_mut() {
            let Some((_, token)) = request.granted else { continue };
            let (key, asked, mut sure) = (request.key, request.asked, request.sure);
            for (_, from, to, by) in cuts.iter().filter(|(cut, ..)| *cut == key) {
                if let Some((began, end)) = &mut sure
                    && token < *by
                    && asked <= *to // its grant may be heard after that
                    && *end > *from
                {
                    *end = (*from).max(*began);
                }
            }
            request.sure = sure;
        }
    }

    /// Whether nothing was wrong between two moments, nor shortly before.
    pub(super) fn calm(&self, from: At, to: At) -> bool {
        !self.troubles.iter().any(|(began, calm)| *began <= to && from <= *calm)
    }

    /// How long a client stood still between two moments; the sleeps of all (client 0) count for each.
    pub(super) fn stopped(&self, client: u32, from: At, to: At) -> u64 {
        let mine = self.stops.iter().filter(|(who, ..)| *who == client || *who == 0);
        mine.map(|(_, began, went)| (*went).min(to).saturating_sub((*began).max(from))).sum()
    }

    /// Whether somebody may have ended a lease of this key between two moments.
    pub(super) fn broken(&self, key: &str, from: At, to: At) -> bool {
        let by_force = |request: &Request<'_>| {
            request.mode == Mode::Force
                && request.key == key
                && request.asked <= to
                && request.resolved().is_none_or(|at| from <= at)
        };
        let overlaps = |breaking: &Breaking<'_>| {
            !breaking.forget && breaking.key == key && breaking.from <= to && from <= breaking.to
        };
        self.breaks.iter().any(overlaps) || self.requests.values().any(by_force)
    }
}

impl Request<'_> {
    /// Its belief ends now, if it had not before.
    fn end_sure(&mut self, at: At) {
        if let (Some((granted, _)), None) = (self.granted, self.sure) {
            let end = at.min(self.deadline.unwrap_or(At::MAX));
            self.sure = Some((granted, end.max(granted)));
        }
    }
}

fn asked<'a>(
    op: Op,
    client: u32,
    key: &'a str,
    want: Want,
    mode: Mode,
    wait: Option<u64>,
    at: At,
) -> Request<'a> {
    Request {
        op,
        client,
        key,
        want,
        mode,
        wait,
        asked: at,
        in_line: None,
        granted: None,
        sure: None,
        deadline: None,
        ended: None,
        answered: None,
        publishes: None,
        got: None,
        gave_up: None,
        writes: Vec::new(),
        killed: None,
    }
}
