//! Events of several nodes as one stream: what a majority has told, once, under the lease's own token.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::{StreamExt, future, stream};

use super::Nodes;
use crate::error::Result;
use crate::event::{Event, EventKind};
use crate::name::{FencingToken, Holder, Key};
use crate::store::{EventStream, Told};

/// The most keys of which something is known that is not told yet, or not over.
const MOST_KEYS: usize = 10_000;
/// The most grants of one key that no majority has told of (yet).
const MOST_GRANTS: usize = 16;

/// Subscribes to all nodes that can be reached, a majority at least.
pub(super) async fn events(name: &str, nodes: &Nodes) -> Result<EventStream> {
    let asked = nodes.iter().map(|node| node.events());
    let (mut streams, mut errors) = (Vec::new(), Vec::new());
    for (at, asked) in future::join_all(asked).await.into_iter().enumerate() {
        match asked {
            // One that ends has missed what comes.
            Ok(events) => streams.push(events.map(move |told| (at, told)).boxed()),
            Err(error) => errors.push(error),
        }
    }
    if streams.len() < nodes.majority() {
        return Err(super::judge::undecided(name, nodes, &errors.iter().collect::<Vec<_>>()));
    }
    let tally = Tally { majority: nodes.majority(), ..Tally::default() };
    let counted = stream::select_all(streams).scan(tally, |tally, (node, told)| {
        let told: VecDeque<Told> = match told {
            Told::Event(event) => tally.hear(node, event),
            other => [other].into(),
        };
        future::ready(Some(stream::iter(told)))
    });
    Ok(counted.flatten().boxed())
}

/// What the nodes have told.
#[derive(Debug, Default)]
struct Tally {
    majority: usize,
    keys: BTreeMap<Key, Heard>,
}

/// What was told of one key.
#[derive(Debug, Default)]
struct Heard {
    /// By the word of each node: who has it there, and whom it was taken over from.
    nodes: BTreeMap<usize, (Holder, Option<Holder>)>,
    grants: BTreeMap<FencingToken, Grant>,
}

/// One grant of a key, as the nodes told of it.
#[derive(Debug)]
struct Grant {
    holder: Holder,
    begun: BTreeSet<usize>,
    is_told: bool,
    /// How it ended, and at which nodes.
    ended: Vec<(EventKind, BTreeSet<usize>)>,
}

impl Tally {
    /// Takes in what one node told; answers what a majority has told by that.
    fn hear(&mut self, node: usize, event: Event) -> VecDeque<Told> {
        let mut told = VecDeque::new();
        if !self.keys.contains_key(&event.key) && self.keys.len() >= MOST_KEYS {
            self.keys.clear();
            told.push_back(Told::Missed);
        }
        let heard = self.keys.entry(event.key.clone()).or_default();
        told.extend(heard.hear(node, self.majority, &event));
        if heard.nodes.is_empty() && heard.grants.is_empty() {
            self.keys.remove(&event.key);
        }
        told
    }
}

impl Heard {
    fn hear(&mut self, node: usize, majority: usize, event: &Event) -> Vec<Told> {
        let from = match &event.kind {
            EventKind::Locked => None,
            EventKind::TakenOver { from } => Some(from.clone()),
            _ => return self.ends(node, majority, event),
        };
        let before = self.nodes.get(&node).filter(|(holder, _)| *holder == event.holder);
        let raised = before.is_some();
        let from = before.and_then(|(_, from)| from.clone()).or(from);
        self.nodes.insert(node, (event.holder.clone(), from.clone()));
        if !raised {
            // A node's own grant says nothing yet. Once a majority has the lease, its token is raised there.
            return Vec::new();
        }
        let grant = self.grant(event.token, &event.holder);
        grant.begun.insert(node);
        if grant.is_told || grant.begun.len() < majority {
            return Vec::new();
        }
        grant.is_told = true;
        let kind = from.map_or(EventKind::Locked, |from| EventKind::TakenOver { from });
        let mut told = vec![say(kind, event, event.token)];
        // Whoever had it before is over, and may have ended at a majority before this was told.
        self.grants.retain(|other, _| *other >= event.token);
        told.extend(self.ended(majority, event, event.token));
        told
    }

    fn ends(&mut self, node: usize, majority: usize, event: &Event) -> Vec<Told> {
        let begun = self.nodes.remove(&node).is_some_and(|(holder, _)| holder == event.holder);
        // A node that got the lease late has given it a larger token of its own.
        let own = |(token, grant): &(&FencingToken, &Grant)| {
            **token <= event.token && grant.holder == event.holder && grant.is_told
        };
        let told = self.grants.iter().rfind(own).map(|(token, _)| *token);
        let raised = self.grants.get(&event.token).is_some_and(|grant| grant.begun.contains(&node));
        if told.is_none() && begun && !raised {
            // That node's own grant, which was never of a majority.
            return Vec::new();
        }
        let token = told.unwrap_or(event.token);
        let grant = self.grant(token, &event.holder);
        match grant.ended.iter_mut().find(|(kind, _)| *kind == event.kind) {
            Some((_, nodes)) => drop(nodes.insert(node)),
            None => grant.ended.push((event.kind.clone(), [node].into())),
        }
        self.ended(majority, event, token)
    }

    /// Tells of the end, when a majority has told of it. It may have begun before anybody listened here.
    fn ended(&mut self, majority: usize, event: &Event, token: FencingToken) -> Vec<Told> {
        let ended = self
            .grants
            .get(&token)
            .and_then(|grant| grant.ended.iter().find(|(_, nodes)| nodes.len() >= majority));
        let Some(kind) = ended.map(|(kind, _)| kind.clone()) else { return Vec::new() };
        self.grants.remove(&token);
        vec![say(kind, event, token)]
    }

    fn grant(&mut self, token: FencingToken, holder: &Holder) -> &mut Grant {
        while self.grants.len() > MOST_GRANTS {
            self.grants.pop_first();
        }
        self.grants.entry(token).or_insert_with(|| Grant {
            holder: holder.clone(),
            begun: BTreeSet::new(),
            is_told: false,
            ended: Vec::new(),
        })
    }
}

fn say(kind: EventKind, event: &Event, token: FencingToken) -> Told {
    Told::Event(Event { kind, token, ..event.clone() })
}
