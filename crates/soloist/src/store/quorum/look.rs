//! What a majority says when it is looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use super::round::{Round, count};
use super::{QuorumStore, judge};
use crate::error::{Error, Result};
use crate::finding::{Finding, Level};
use crate::name::Key;
use crate::protocol::KeyInfo;

/// How long to wait for a node's word that would decide: whoever looks is in no hurry, and the answer should be right.
const PATIENCE: Duration = Duration::from_secs(2);

/// One key, by the word of several nodes. `silent` is how many have said nothing: they may be of those who hold it.
fn merged(infos: &[&KeyInfo], silent: usize, majority: usize) -> Option<KeyInfo> {
    let holder = judge::holder(infos.iter().filter_map(|info| info.holding.clone()));
    let holder = holder.filter(|(_, count)| count + silent >= majority).map(|(holding, _)| holding);
    // The line that most will be served from: the longest that there is behind that holder. A node that is a step
    // behind may have the holder himself in its line.
    let behind = |info: &&&KeyInfo| match (&holder, &info.holding) {
        (Some(holder), Some(other)) => judge::same(holder, other),
        (holder, other) => holder.is_none() && other.is_none(),
    };
    let longest = |info: &&&KeyInfo| (info.waiting, std::cmp::Reverse(info.now));
    let line = infos.iter().filter(behind).max_by_key(longest).or(infos.iter().max_by_key(longest))?;
    Some(KeyInfo {
        key: line.key.clone(),
        now: line.now,
        holding: holder,
        waiters: line.waiters.clone(),
        waiting: line.waiting,
        result: None,
    })
}

impl QuorumStore {
    pub(super) async fn look_at(&self, key: &Key) -> Result<KeyInfo> {
        let mut round = Round::ask(&self.nodes, |_, node| {
            let key = key.clone();
            async move { node.inspect(&key).await }
        });
        let (majority, blocking) = (self.nodes.majority(), self.nodes.blocking());
        let free = |info: &KeyInfo| info.holding.is_none();
        round
            .until_or(&self.nodes, PATIENCE, |answers| {
                let infos = answers.iter().flatten().flatten();
                let holder = judge::holder(infos.filter_map(|info| info.holding.clone()));
                holder.is_some_and(|(_, count)| count >= majority) || count(answers, free) >= blocking
            })
            .await;
        let infos: Vec<&KeyInfo> = round.given().map(|(_, info)| info).collect();
        let silent = self.nodes.len() - infos.len();
        match merged(&infos, silent, majority) {
            Some(info) if infos.len() >= majority => Ok(info),
            _ => Err(self.undecided(&round.errors())),
        }
    }

    pub(super) async fn look_for(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        let mut round = Round::ask(&self.nodes, |_, node| {
            let prefix = prefix.to_owned();
            async move { node.list(&prefix).await }
        });
        let majority = self.nodes.majority();
        let all = |answers: &[Option<Result<Vec<KeyInfo>>>]| answers.iter().all(Option::is_some);
        round.until_or(&self.nodes, PATIENCE, all).await;
        let answered = round.count(|_| true);
        if answered < majority {
            return Err(self.undecided(&round.errors()));
        }
        let mut keys: BTreeMap<&Key, Vec<&KeyInfo>> = BTreeMap::new();
        for (_, infos) in round.given() {
            for info in infos {
                keys.entry(&info.key).or_default().push(info);
            }
        }
        let silent = self.nodes.len() - answered;
        let infos = keys.into_values().filter_map(|infos| merged(&infos, silent, majority));
        Ok(infos.filter(|info| info.holding.is_some() || info.waiting > 0).collect())
    }

    pub(super) async fn look_into(&self, ttl: Duration) -> Result<Vec<Finding>> {
        let mut round = Round::ask(&self.nodes, |_, node| async move { node.examine(ttl).await });
        round.until(|_| false).await;
        if round.count(|_| true) < self.nodes.majority() {
            return Err(self.undecided(&round.errors()));
        }
        let mut all = Vec::new();
        for (node, answer) in self.nodes.iter().zip(&round.answers) {
            let name = || Some(node.name().to_owned());
            match answer {
                Some(Ok(findings)) => {
                    let named = |finding: &Finding| Finding {
                        node: finding.node.clone().or_else(name),
                        ..finding.clone()
                    };
                    all.extend(findings.iter().map(named));
                }
                Some(Err(Error::Closed)) | None => return Err(Error::Closed),
                Some(Err(error)) => {
                    let why = "as many more may fail as a majority can spare, less this one";
                    let finding = Finding::new(Level::Warning, "quorum-node", error.to_string(), why);
                    all.push(Finding { node: name(), ..finding });
                }
            }
            if node.longest_ttl().is_none() && node.settles() > Duration::ZERO {
                let why = "restarted without its data it would grant at once what others hold: with one more such node two hold it";
                let what = "it has no boot guard";
                let fix = "name it with ?boot_guard=31s, or the longest ttl of all clients and a little more";
                all.push(Finding {
                    node: name(),
                    ..Finding::new(Level::Warning, "quorum-guard", what, why).fix(fix)
                });
            }
        }
        all.extend(self.nodes.iter().enumerate().filter_map(|(at, node)| {
            let twice =
                self.nodes[..at].iter().any(|other| other.name() == node.name() && node.name() != "memory:");
            let why = "what it says counts twice: a majority is then none";
            let what = || format!("{} is named twice", node.name());
            twice.then(|| Finding {
                node: Some(node.name().into()),
                ..Finding::new(Level::Error, "quorum-twice", what(), why)
            })
        }));
        Ok(all)
    }
}
