//! What is asked about many keys, in few steps: of one server all together, of a cluster shard by shard.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::command::Cmd;
use super::keys::{self, KeyNames};
use super::way::Way;
use super::{RedisStore, answer, four, pack};
use crate::error::Result;
use crate::name::Key;
use crate::protocol::{KeyInfo, Renewal, Renewed, Ttl};

/// So many leases are renewed in one step of the server: less than a millisecond, and on a slow machine a few.
const RENEWALS_A_CALL: usize = 100;
/// So many keys are looked at in one step of the server.
const LOOKS_A_CALL: usize = 200;
/// So many steps are under way at once, in a cluster.
const STEPS: usize = 64;
/// How long the rest of a renewal is waited for when the first part of it is answered, at most.
const REST: Duration = Duration::from_secs(1);
/// How often a cluster whose slots move is listed anew.
const LISTS: u32 = 3;

/// Which of several keys are asked for in one step, as their places; and their shard.
struct Step {
    shard: u8,
    places: Vec<usize>,
}

impl RedisStore {
    /// In what steps keys are asked for.
    fn steps<'a>(&self, keys: impl Iterator<Item = &'a Key>, most: usize) -> Vec<Step> {
        let mut shards: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
        for (place, key) in keys.enumerate() {
            // One server has all shards.
            let shard = if self.way.is_cluster() { self.shard(key) } else { 0 };
            shards.entry(shard).or_default().push(place);
        }
        let steps = shards.into_iter().flat_map(|(shard, places)| {
            let step = |places: &[usize]| Step { shard, places: places.to_vec() };
            places.chunks(most).map(step).collect::<Vec<_>>()
        });
        steps.collect()
    }

    /// Looks at keys, changing nothing.
    pub(super) async fn look(&self, wanted: &[Key], waiters: bool) -> Result<Vec<KeyInfo>> {
        let steps = self.steps(wanted.iter(), LOOKS_A_CALL);
        let looks = steps.into_iter().map(|step| async move {
            let keys: Vec<Key> = step.places.iter().map(|place| wanted[*place].clone()).collect();
            self.look_step(step.shard, &keys, waiters).await.map(|infos| (step.places, infos))
        });
        let mut looks = stream::iter(looks).buffer_unordered(if self.way.is_cluster() { STEPS } else { 1 });
        let mut found = BTreeMap::new();
        while let Some(looked) = looks.next().await {
            let (places, infos) = looked?;
            found.extend(places.into_iter().zip(infos));
        }
        Ok(found.into_values().collect())
    }

    async fn look_step(&self, shard: u8, keys: &[Key], waiters: bool) -> Result<Vec<KeyInfo>> {
        let names: Vec<KeyNames> = keys.iter().map(|key| self.names(key)).collect();
        let build = |cmd: &mut Cmd, _| {
            cmd.arg(4 * names.len());
            for names in &names {
                four(cmd, names);
            }
            cmd.arg(u8::from(waiters));
        };
        let mut answered = self.way.look(shard, &self.scripts.look, &build).await?;
        let (infos, now) = self.read(answer::looks(answered.take(), keys))?;
        self.way.read(&answered, now);
        Ok(infos)
    }

    /// Renews leases. Where a part of a cluster does not answer, that is said of its leases only.
    pub(super) async fn renew_all(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        let steps = self.steps(renewals.iter().map(|renewal| &renewal.key), RENEWALS_A_CALL);
        if !self.way.is_cluster() {
            let mut all = Vec::with_capacity(renewals.len());
            for Step { shard, places } in steps {
                let some: Vec<_> = places.iter().map(|place| &renewals[*place]).collect();
                all.extend(self.renew_step(shard, &some).await?);
            }
            return Ok(all);
        }
        let mut all = vec![Renewed::Unknown; renewals.len()];
        let (mut last, mut any, mut end) = (None, false, None);
        let mut asked: FuturesUnordered<_> = steps
            .into_iter()
            .map(|Step { shard, places }| async move {
                let some: Vec<_> = places.iter().map(|place| &renewals[*place]).collect();
                (self.renew_step(shard, &some).await, places)
            })
            .collect();
        loop {
            let answered = match end {
                None => asked.next().await,
                Some(end) => timeout_at(end, asked.next()).await.unwrap_or_default(),
            };
            match answered {
                Some((Ok(renewed), places)) => {
                    any = true;
                    // Invariant: no lease is lost because a node does not answer for another. There is time left to ask
                    // again for those that it does not answer for.
                    end = end.or_else(|| Some(Instant::now() + rest(renewals)));
                    for (place, renewed) in places.into_iter().zip(renewed) {
                        all[place] = renewed;
                    }
                }
                Some((Err(error), _)) => last = Some(error),
                None => break,
            }
        }
        match last {
            Some(error) if !any => Err(error),
            _ => Ok(all),
        }
    }

    async fn renew_step(&self, shard: u8, some: &[&Renewal]) -> Result<Vec<Renewed>> {
        let names: Vec<KeyNames> = some.iter().map(|renewal| self.names(&renewal.key)).collect();
        let build = |cmd: &mut Cmd, _| {
            cmd.arg(names.len());
            for names in &names {
                cmd.arg(names.lease());
            }
            for renewal in some {
                let (whose, ttl) = pack::renewal(renewal);
                cmd.arg(whose).arg(ttl);
            }
        };
        let mut answered = self.way.call_in_time(shard, &self.scripts.renew, &build).await?;
        let (renewed, now) =
            self.read(answer::renewed(answered.take(), some.iter().map(|renewal| renewal.ttl)))?;
        self.way.read(&answered, now);
        Ok(renewed)
    }

    /// Every key that is held, waited for or has a result.
    pub(super) async fn list_all(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        let found: Vec<Key> = all(&self.way, prefix).await?.into_iter().collect();
        let mut infos = self.look(&found, false).await?;
        infos.retain(|info| info.holding.is_some() || info.waiting > 0 || info.result.is_some());
        Ok(infos)
    }
}

/// All keys that begin with `prefix`.
pub(super) async fn all(way: &Way, prefix: &str) -> Result<BTreeSet<Key>> {
    let mut found = BTreeSet::new();
    match way {
        Way::One(_) => scan(way, 0, prefix, &mut found).await?,
        Way::Cluster(routes) => {
            // While a slot moves, its keys may be seen at both nodes, or at none.
            for _ in 0..LISTS {
                let shards = routes.cluster().a_shard_of_each();
                for shard in &shards {
                    scan(way, *shard, prefix, &mut found).await?;
                }
                if routes.cluster().a_shard_of_each() == shards {
                    break;
                }
            }
        }
    }
    Ok(found)
}

/// Finds the keys of the server that has a shard.
async fn scan(way: &Way, shard: u8, prefix: &str, found: &mut BTreeSet<Key>) -> Result<()> {
    let mut cursor = 0;
    loop {
        let mut scan = Cmd::new("SCAN");
        scan.arg(cursor).arg("MATCH").arg(keys::pattern(prefix)).arg("COUNT").arg(1000);
        let (next, names) = way.meant(answer::scanned(way.command(shard, &scan).await?))?;
        let keys = names.iter().filter_map(|name| KeyNames::user_key(name));
        found.extend(keys.filter(|key| key.as_str().starts_with(prefix)));
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}

/// How long the rest of these is waited for: a small part of the shortest ttl.
fn rest(renewals: &[Renewal]) -> Duration {
    let part = |renewal: &Renewal| match renewal.ttl {
        Ttl::Micros(us) => Duration::from_micros(us) / 24,
        Ttl::Forever => REST,
    };
    renewals.iter().map(part).fold(REST, Duration::min)
}
