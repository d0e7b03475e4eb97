//! The word to the server that somebody watches: what happens to leases is told only then, so that a lock that nobody
//! watches does not pay for it.
//!
//! Invariant: no event goes untold without a gap being told. The word stands before the watcher's stream begins, under a
//! name that it keeps as long as it stands without a break, and the server forgets it a while after its last renewal. A
//! watcher who finds another name than he left has missed something: the word was gone for a while, however many others have
//! said it since. What becomes of results is told in any case, so whoever keeps copies of them needs no such word.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use futures_util::{StreamExt, TryStreamExt};
use redis::Value;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::command::Cmd;
use super::keys::{self, KeyNames};
use super::many;
use super::scripts::Scripts;
use super::three;
use super::way::{Way, WeakWay};
use crate::error::{Error, Result};
use crate::name::Ticket;
use crate::store::{EventStream, Told};

/// How long the word stands.
const STANDS: Duration = Duration::from_secs(60);
/// How often it is renewed: twice it may fail.
const RENEWED_EACH: Duration = Duration::from_secs(20);
/// How soon after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// So many shards of a cluster are told at once, and so many keys touched.
const AT_ONCE: usize = 64;

/// The word, as one watcher keeps it up.
struct Word {
    /// Weak: a store that is dropped closes its connections, whoever still has a stream of its events.
    way: WeakWay,
    scripts: Arc<Scripts>,
    /// Under which name it stands, for each shard that has one of its own.
    names: BTreeMap<u8, Vec<u8>>,
    /// Whether all leases that stood there when its time began are known to scripts.
    settled: bool,
}

impl Word {
    /// Says it, and answers whether it stood all the time since it was said last.
    async fn say(&mut self) -> Result<bool> {
        let way = self.way.upgrade().ok_or(Error::Closed)?;
        let stood = self.say_at(&way).await?;
        if !self.settled {
            settle(&way, &self.scripts).await?;
            self.settled = true;
        }
        Ok(stood)
    }

    async fn say_at(&mut self, way: &Way) -> Result<bool> {
        let last = if way.is_cluster() { u8::MAX } else { 0 };
        let said = (0..=last).map(|shard| say(way, &self.scripts, shard));
        let mut said = stream::iter(said).buffer_unordered(AT_ONCE);
        let (mut stood, mut failed) = (true, None);
        while let Some((shard, said)) = said.next().await {
            match said {
                Ok(name) => {
                    let last = self.names.insert(shard, name.clone());
                    self.settled &= last.as_ref() == Some(&name);
                    stood &= last.is_none_or(|last| last == name);
                }
                Err(error) => failed = Some(error),
            }
        }
        // What was found broken is told first; what failed is said again soon.
        match failed {
            Some(error) if stood => Err(error),
            _ => Ok(stood),
        }
    }
}

/// Says it where a shard is; answers the name under which it stands.
async fn say(way: &Way, scripts: &Scripts, shard: u8) -> (u8, Result<Vec<u8>>) {
    let key = if way.is_cluster() { keys::shard_watched(shard) } else { keys::WATCHED.into() };
    let name = Ticket::mint().as_u128().to_be_bytes();
    // Of a cluster each shard's counter by its name; at a single server the script knows them all.
    let fence = way.is_cluster().then(|| keys::fence(shard));
    let build = |cmd: &mut Cmd, _| {
        match &fence {
            Some(fence) => cmd.arg(2).arg(&key).arg(fence),
            None => cmd.arg(1).arg(&key),
        };
        cmd.arg(name.as_slice()).arg(STANDS.as_secs() * 1000);
    };
    let said = match way.call(shard, &scripts.watch, &build).await.map(|answered| answered.value) {
        Ok(Value::BulkString(name)) => Ok(name),
        Ok(_) => Err(way.unavailable("its answer makes no sense to this version".into())),
        Err(error) => Err(error),
    };
    (shard, said)
}

/// Makes leases that were taken without a script outlive their deadlines, as others do, so that their expiry is told:
/// [`super::plain`]. Every key is touched for that, once when a watcher begins.
async fn settle(way: &Way, scripts: &Scripts) -> Result<()> {
    let touched = many::all(way, "").await?.into_iter().map(|key| async move {
        let shard = keys::shard(&key);
        let names = KeyNames::of(&key, shard);
        let build = |cmd: &mut Cmd, _| three(cmd.arg(3), &names);
        way.call(shard, &scripts.touch, &build).await.map(drop)
    });
    stream::iter(touched).buffer_unordered(AT_ONCE).try_collect().await
}

/// Keeps it up while its watcher lives.
struct Keeper {
    /// Something was missed, so that it may be gone.
    doubtful: Arc<Notify>,
    /// It was gone for a while.
    gaps: mpsc::UnboundedReceiver<()>,
    task: JoinHandle<()>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(mut word: Word, doubtful: Arc<Notify>, gap: mpsc::UnboundedSender<()>) {
    let (mut pause, mut stood_at) = (RENEWED_EACH, Instant::now());
    loop {
        let _ = timeout(pause, doubtful.notified()).await;
        let said = word.say().await;
        pause = match said {
            Ok(true) => RENEWED_EACH,
            // Of a cluster, parts may not have answered.
            Ok(false) | Err(_) => AGAIN,
        };
        match said {
            Ok(true) => stood_at = Instant::now(),
            Err(Error::Closed) => return,
            Err(_) if stood_at.elapsed() < STANDS => {}
            // Gone, or as good as gone, and told now and then as long as that is so.
            Ok(false) | Err(_) => {
                stood_at = Instant::now();
                let _ = gap.send(());
            }
        }
    }
}

/// The events that are heard, as a stream for one watcher.
pub(super) async fn watched(
    way: &Way,
    scripts: &Arc<Scripts>,
    events: broadcast::Receiver<Told>,
) -> Result<EventStream> {
    let mut word =
        Word { way: way.downgrade(), scripts: Arc::clone(scripts), names: BTreeMap::new(), settled: true };
    word.say().await?;
    let (doubtful, (gap, gaps)) = (Arc::<Notify>::default(), mpsc::unbounded_channel());
    let task = tokio::spawn(keep(word, Arc::clone(&doubtful), gap));
    let keeper = Keeper { doubtful, gaps, task };
    Ok(stream::unfold((events, keeper), |(mut events, mut keeper)| async {
        let told = tokio::select! {
            biased;
            Some(()) = keeper.gaps.recv() => Told::Missed,
            told = events.recv() => match told {
                Ok(told) => told,
                Err(RecvError::Lagged(_)) => Told::Missed,
                Err(RecvError::Closed) => return None,
            },
        };
        if matches!(told, Told::Missed) {
            keeper.doubtful.notify_one();
        }
        Some((told, (events, keeper)))
    })
    .boxed())
}
