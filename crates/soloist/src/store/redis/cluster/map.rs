//! Which node has which shard.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::Value;

use crate::store::redis::at::At;

/// So many shards are there; `keys::shard` says which one a key is in.
pub(super) const SHARDS: usize = 256;
const SLOTS: u16 = 16384;

/// Who has a shard, and since which epoch of the cluster: of two that say so of themselves, the one with the larger epoch
/// has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    at: Arc<At>,
    /// Whether it says so itself. Others may be behind, and know its epoch all the same.
    itself: bool,
    epoch: u64,
}

/// What is known of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Map {
    owners: Vec<Option<Owner>>,
    pub(super) primaries: Vec<Arc<At>>,
    pub(super) replicas: Vec<Arc<At>>,
}

/// The slot of a hash tag: CRC16 in the form of XMODEM, as the specification of Redis Cluster says.
fn slot(tag: &[u8]) -> u16 {
    let step = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    let crc = tag.iter().fold(0, |crc, byte| {
        let crc = crc ^ (u16::from(*byte) << 8);
        (0..8).fold(crc, |crc, _| step(crc))
    });
    crc % SLOTS
}

/// The slot in which all names of a shard's keys are.
pub(super) fn slot_of(shard: u8) -> u16 {
    slot(format!("{shard:02x}").as_bytes())
}

impl Map {
    /// What `CLUSTER SLOTS` says, with the epochs of nodes by their ids; `None` is no such answer. A node without a host
    /// is the one that was asked.
    pub(super) fn of(told: &Value, epochs: &BTreeMap<&str, u64>, asked: &At) -> Option<Self> {
        let Value::Array(ranges) = told else { return None };
        let mut map = Map { owners: vec![None; SHARDS], ..Map::default() };
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [Value::Int(from), Value::Int(to), primary, replicas @ ..] = &parts[..] else { return None };
            let (at, id) = node(primary, asked)?;
            let (itself, epoch) = (at == *asked, epochs.get(&*id).copied().unwrap_or(0));
            let owner = Owner { at: Arc::new(at), itself, epoch };
            for (shard, slot) in (0..=u8::MAX).zip(&mut map.owners) {
                if (*from..=*to).contains(&i64::from(slot_of(shard))) {
                    *slot = Some(owner.clone());
                }
            }
            push(&mut map.primaries, owner.at);
            for replica in replicas {
                push(&mut map.replicas, Arc::new(node(replica, asked)?.0));
            }
        }
        Some(map)
    }

    /// What two nodes say together.
    pub(super) fn and(mut self, other: Map) -> Self {
        for (owner, there) in self.owners.iter_mut().zip(other.owners) {
            let better = |owner: &Option<Owner>| owner.as_ref().map(|owner| (owner.itself, owner.epoch));
            if better(&there) > better(owner) {
                *owner = there;
            }
        }
        self.replicas.extend(other.primaries);
        self.replicas.extend(other.replicas);
        self.sorted()
    }

    /// What is known after this, where so much was known before; and whether anything in it is older than that, which
    /// is not believed.
    pub(super) fn after(mut self, before: &Map) -> (Self, bool) {
        let mut older = false;
        for (owner, known) in self.owners.iter_mut().zip(&before.owners) {
            if epoch(known) > epoch(owner) {
                older = true;
                owner.clone_from(known);
            }
        }
        (self.sorted(), older)
    }

    /// Whoever has a shard is a primary, and all others are not.
    fn sorted(mut self) -> Self {
        let others =
            std::mem::take(&mut self.primaries).into_iter().chain(std::mem::take(&mut self.replicas));
        for owner in self.owners.iter().flatten() {
            push(&mut self.primaries, Arc::clone(&owner.at));
        }
        for at in others.filter(|at| !self.primaries.contains(at)).collect::<Vec<_>>() {
            push(&mut self.replicas, at);
        }
        self
    }

    /// Who has a shard, as far as that is known.
    pub(super) fn owner(&self, shard: u8) -> Option<&Arc<At>> {
        self.owners.get(usize::from(shard))?.as_ref().map(|owner| &owner.at)
    }

    /// A shard that a node has, if it has any.
    pub(super) fn a_shard_of(&self, at: &At) -> Option<u8> {
        (0..=u8::MAX).find(|shard| self.owner(*shard).is_some_and(|owner| **owner == *at))
    }

    /// A node says that another has a shard. Answers whether that is news.
    pub(super) fn moved(&mut self, shard: u8, to: &At) -> bool {
        let to = Arc::new(to.clone());
        match self.owners.get_mut(usize::from(shard)) {
            Some(owner) if owner.as_ref().is_none_or(|owner| owner.at != to) => {
                push(&mut self.primaries, Arc::clone(&to));
                self.replicas.retain(|replica| *replica != to);
                // Who says so may be behind the others: the next answer counts, whatever its epoch.
                *owner = Some(Owner { at: to, itself: false, epoch: 0 });
                true
            }
            _ => false,
        }
    }

    pub(super) fn is_primary(&self, at: &At) -> bool {
        self.primaries.iter().any(|primary| **primary == *at)
    }

    pub(super) fn knows(&self, at: &At) -> bool {
        self.is_primary(at) || self.replicas.iter().any(|replica| **replica == *at)
    }

    /// How many shards nobody has.
    pub(super) fn without_owner(&self) -> usize {
        self.owners.iter().filter(|owner| owner.is_none()).count()
    }
}

fn push(nodes: &mut Vec<Arc<At>>, at: Arc<At>) {
    if !nodes.contains(&at) {
        nodes.push(at);
    }
}

fn epoch(owner: &Option<Owner>) -> u64 {
    owner.as_ref().map_or(0, |owner| owner.epoch)
}

/// A node and its id, as `CLUSTER SLOTS` tells them: host, port, id, and what nobody needs here.
fn node(told: &Value, asked: &At) -> Option<(At, String)> {
    let Value::Array(parts) = told else { return None };
    let [host, Value::Int(port), id, ..] = &parts[..] else { return None };
    let text = |value: &Value| match value {
        Value::BulkString(text) => String::from_utf8(text.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Nil => Some(String::new()),
        _ => None,
    };
    Some((place(&text(host)?, u16::try_from(*port).ok()?, asked)?, text(id)?))
}

/// The epochs of all nodes by their ids, as `CLUSTER NODES` tells them.
pub(super) fn epochs(nodes: &str) -> BTreeMap<&str, u64> {
    let one = |line: &'_ str| -> Option<(usize, u64)> {
        let id = line.split(' ').next()?.len();
        Some((id, line.split(' ').nth(6)?.parse().ok()?))
    };
    nodes.lines().filter_map(|line| one(line).map(|(id, epoch)| (&line[..id], epoch))).collect()
}

/// A host may be left out, or not known to the node that tells it: then it is that node's own.
fn place(host: &str, port: u16, asked: &At) -> Option<At> {
    let host = if matches!(host, "" | "?") { &asked.host } else { host };
    (port > 0).then(|| At { host: host.to_owned(), port })
}

/// The node of a redirection, `host:port`; the colons of an address of IPv6 stand in front of the last one.
pub(super) fn redirected(to: &str, asked: &At) -> Option<At> {
    let (host, port) = to.rsplit_once(':')?;
    place(host.trim_matches(['[', ']']), port.parse().ok()?, asked)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> At {
        At { host: host.into(), port }
    }

    fn text(host: &str) -> Value {
        Value::BulkString(host.into())
    }

    fn told(host: Value, port: i64, id: &str) -> Value {
        Value::Array(vec![host, Value::Int(port), text(id), Value::Array(vec![])])
    }

    fn range(from: i64, to: i64, nodes: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(from), Value::Int(to)], nodes].concat())
    }

    /// A cluster of two, of which the second has all slots from this one on; and their epochs.
    fn two(from: i64, one: u64, other: u64) -> Map {
        let ranges = vec![
            range(0, from - 1, vec![told(text("one"), 1, "id1")]),
            range(from, 16383, vec![told(text("other"), 2, "id2")]),
        ];
        Map::of(&Value::Array(ranges), &[("id1", one), ("id2", other)].into(), &at("asked", 1)).unwrap()
    }

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT of 7.0 says.
        assert_eq!((slot(b"00"), slot(b"x"), slot(b"123456789")), (13254, 16287, 12739));
        assert_eq!(slot_of(0), 13254);
    }

    #[test]
    fn each_shard_is_found_at_its_primary() {
        let said = Value::Array(vec![
            range(0, 8191, vec![told(text("::1"), 7001, "a"), told(text("r.example"), 7002, "b")]),
            range(8192, 16000, vec![told(Value::Nil, 7003, "c")]),
            range(16001, 16383, vec![told(text("?"), 7003, "c")]),
        ]);
        let map = Map::of(&said, &BTreeMap::new(), &at("asked", 1)).unwrap();
        assert_eq!((map.primaries.len(), map.replicas.len(), map.without_owner()), (2, 1, 0));
        for shard in 0..=u8::MAX {
            let right = if slot_of(shard) < 8192 { at("::1", 7001) } else { at("asked", 7003) };
            assert_eq!(**map.owner(shard).unwrap(), right);
        }
        assert!(map.knows(&at("r.example", 7002)) && !map.is_primary(&at("r.example", 7002)));
    }

    #[test]
    fn of_two_views_the_newer_owner_counts_and_what_is_over_does_not_come_back() {
        // Slot 13254 has gone to the second one, of which the third has not heard.
        let (old, new) = (two(16000, 3, 2), two(8000, 3, 4));
        for both in [old.clone().and(new.clone()), new.clone().and(old.clone())] {
            assert_eq!(both.owner(0), Some(&Arc::new(at("other", 2))));
            assert_eq!(both.primaries.len(), 2);
        }
        let (kept, older) = old.clone().after(&new);
        assert!(older && kept.owner(0) == new.owner(0));
        let (taken, older) = new.clone().after(&old);
        assert!(!older && taken.owner(0) == new.owner(0));
        // A redirection is believed until somebody says otherwise.
        let mut moved = new;
        assert!(moved.moved(0, &at("third", 3)));
        assert_eq!(old.after(&moved).0.owner(0), Some(&Arc::new(at("one", 1))));
    }

    #[test]
    fn epochs_are_read_by_id() {
        let nodes = "07c 127.0.0.1:7001@17001,host master - 0 1426238317239 4 connected 0-9\n\
                     e7d 127.0.0.1:7002@17002 myself,slave 07c 0 0 1 connected\nx\n";
        assert_eq!(epochs(nodes), [("07c", 4), ("e7d", 1)].into());
    }

    #[test]
    fn a_shard_that_moves_is_found_where_it_went() {
        let mut map = Map { owners: vec![None; SHARDS], ..Map::default() };
        assert_eq!(map.without_owner(), SHARDS);
        let to = redirected("[::1]:7001", &at("asked", 1)).unwrap();
        assert!(map.moved(3, &to) && !map.moved(3, &to) && map.is_primary(&to));
        assert_eq!(map.owner(3), Some(&Arc::new(at("::1", 7001))));
        for (said, place) in [("fe80::1:7001", "fe80::1"), (":7001", "asked"), ("?:7001", "asked")] {
            assert_eq!(redirected(said, &at("asked", 1)), Some(at(place, 7001)), "{said}");
        }
        for no in ["", "host", "host:", "host:0", "host:70000"] {
            assert_eq!(redirected(no, &at("asked", 1)), None, "{no}");
        }
    }

    #[test]
    fn what_is_no_map_is_none() {
        for no in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![Value::Int(1), Value::Int(2)])]),
            Value::Array(vec![range(1, 2, vec![told(Value::Int(1), 1, "a")])]),
            Value::Array(vec![range(1, 2, vec![told(text("h"), 0, "a")])]),
        ] {
            assert_eq!(Map::of(&no, &BTreeMap::new(), &at("asked", 1)), None, "{no:?}");
        }
    }
}
