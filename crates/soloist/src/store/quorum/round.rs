//! One question to all nodes at once, and their answers as they come.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::Nodes;
use crate::error::{Error, Result};
use crate::store::Store;

/// A question under way. Dropping it drops what is still asked: a store's verb may then have been carried out or not.
pub(super) struct Round<T> {
    running: FuturesUnordered<BoxFuture<'static, (usize, Result<T>)>>,
    pub(super) answers: Vec<Option<Result<T>>>,
}

impl<T: Send + 'static> Round<T> {
    /// Asks every node.
    pub(super) fn ask<F>(nodes: &Nodes, verb: impl Fn(usize, Arc<dyn Store>) -> F) -> Self
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        Self::some(nodes, |_| true, verb)
    }

    /// Asks some of them; the others count as unanswered.
    pub(super) fn some<F>(
        nodes: &Nodes,
        which: impl Fn(usize) -> bool,
        verb: impl Fn(usize, Arc<dyn Store>) -> F,
    ) -> Self
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let chosen = nodes.iter().enumerate().filter(|(at, _)| which(*at));
        let one = |(at, node): (usize, &Arc<dyn Store>)| {
            let answer = verb(at, Arc::clone(node));
            async move { (at, answer.await) }.boxed()
        };
        Round { running: chosen.map(one).collect(), answers: nodes.iter().map(|_| None).collect() }
    }

    /// Listens until it is enough, or nobody is left to answer. Invariant: a node that does not answer holds nothing
    /// up that the others can decide.
    pub(super) async fn until(&mut self, mut enough: impl FnMut(&[Option<Result<T>>]) -> bool) {
        while !enough(&self.answers) {
            let Some((at, answer)) = self.running.next().await else { return };
            self.answers[at] = Some(answer);
        }
        // What is there already is taken along.
        while let Some(Some((at, answer))) = self.running.next().now_or_never() {
            self.answers[at] = Some(answer);
        }
    }

    /// The same, for so long at most once a majority has answered: then what is known has to do.
    pub(super) async fn until_or(
        &mut self,
        nodes: &Nodes,
        grace: Duration,
        mut enough: impl FnMut(&[Option<Result<T>>]) -> bool,
    ) {
        let majority = nodes.majority();
        self.until(|answers| enough(answers) || answers.iter().flatten().flatten().count() >= majority).await;
        if !enough(&self.answers) {
            let _ = tokio::time::timeout(grace, self.until(enough)).await;
        }
    }

    /// Whether somebody has still to answer.
    pub(super) fn is_open(&self) -> bool {
        !self.running.is_empty()
    }

    /// How many answered so.
    pub(super) fn count(&self, what: impl Fn(&T) -> bool) -> usize {
        count(&self.answers, what)
    }

    /// The answers, with whose they are.
    pub(super) fn given(&self) -> impl Iterator<Item = (usize, &T)> {
        let all = self.answers.iter().enumerate();
        all.filter_map(|(at, answer)| Some((at, answer.as_ref()?.as_ref().ok()?)))
    }

    pub(super) fn errors(&self) -> Vec<&Error> {
        self.answers.iter().flatten().filter_map(|answer| answer.as_ref().err()).collect()
    }
}

/// How many of these answers are so.
pub(super) fn count<T>(answers: &[Option<Result<T>>], what: impl Fn(&T) -> bool) -> usize {
    answers.iter().flatten().flatten().filter(|answer| what(answer)).count()
}
