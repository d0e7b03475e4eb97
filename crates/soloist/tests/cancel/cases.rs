//! What is dropped: every public future, with the points that it passes, and what crosses it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use soloist::{Client, Error, Flight, LeaseId, OnError};

use crate::ground::World;

pub type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One run of a case: the future to be dropped, and the hand-over that crosses it.
pub struct Scene {
    pub under: Boxed,
    pub crossing: Boxed,
    /// The id of a lease that the future has detached, if it came so far.
    pub detached: Arc<Mutex<Option<LeaseId>>>,
}

/// A public future.
pub struct Case {
    pub name: &'static str,
    /// The verbs that it asks on its way, before anything has to happen.
    pub alone: &'static [&'static str],
    /// Those that it asks, or whose answer comes, once the other side has done its part.
    pub then: &'static [&'static str],
    pub scene: fn(World, String) -> Pin<Box<dyn Future<Output = Scene> + Send>>,
}

const LONG: Duration = Duration::from_secs(600);

fn scene(
    under: impl Future<Output = ()> + Send + 'static,
    crossing: impl Future<Output = ()> + Send + 'static,
) -> Scene {
    Scene { under: Box::pin(under), crossing: Box::pin(crossing), detached: Arc::default() }
}

/// Whatever becomes of a request that is dropped or crossed, it is not that the store fails.
fn fine<T>(done: Result<T, Error>) {
    match done {
        Err(error @ (Error::Unavailable { .. } | Error::Refused { .. } | Error::Unknown { .. })) => {
            panic!("{error}")
        }
        Ok(_) | Err(_) => {}
    }
}

/// Takes the key, in line, and gives it back.
async fn pass_through(client: &Client, key: &str) {
    fine(client.lock(key).await.unwrap().release().await);
}

async fn lead(client: &Client, key: &str) -> soloist::Leader<u32> {
    match client.once(key).join::<u32>().await.unwrap() {
        Flight::Leader(leader) => leader,
        Flight::Done(_) => panic!("a result"),
    }
}

async fn compute(client: Client, key: String) {
    fine(client.once(&key).run(|| async { Ok::<u32, Error>(1) }).await);
}

macro_rules! cases {
    ($($name:literal $alone:expr, $then:expr, |$world:ident, $a:ident, $b:ident, $key:ident| $scene:expr;)+) => {
        /// All of them.
        pub const CASES: &[Case] = &[$(Case {
            name: $name,
            alone: &$alone,
            then: &$then,
            scene: |$world, $key| Box::pin(async move {
                let ($a, $b) = ($world.a.clone(), $world.b.clone());
                let _ = (&$a, &$b);
                $scene
            }),
        }),+];
    };
}

cases! {
    "lock, free" ["acquire"], [], |world, a, b, key| {
        let other = key.clone();
        scene(async move { fine(a.lock(key).await) }, async move { pass_through(&b, &other).await })
    };
    "lock, in line" ["acquire", "wait"], ["wait"], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        scene(async move { fine(a.lock(key).await) }, async move { fine(held.release().await) })
    };
    "lock, in line behind a forced one" ["acquire", "wait"], ["wait"], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        let other = key.clone();
        scene(async move { fine(a.lock(key).await) }, async move {
            fine(b.lock(other).force().await.unwrap().release().await);
            drop(held);
        })
    };
    "lock, two in line" ["acquire", "wait"], ["wait"], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        let (first, second) = (key.clone(), key.clone());
        scene(async move {
            tokio::join!(async { fine(a.lock(first).await) }, async { fine(a.lock(second).await) });
        }, async move { fine(held.release().await) })
    };
    "lock, the wait is over" ["acquire", "wait", "leave", "inspect"], [], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        scene(async move { fine(a.lock(key).wait(Duration::from_millis(20)).await.map(drop).or_else(in_time)) },
            async move { fine(held.release().await) })
    };
    "lock, with a wait" ["acquire", "wait"], ["wait"], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        scene(async move { fine(a.lock(key).wait(LONG).await) }, async move { fine(held.release().await) })
    };
    "lock in a cohort, free" ["acquire"], [], |world, a, b, key| {
        let other = key.clone();
        scene(async move { fine(a.lock(key).cohort(8).await) }, async move { pass_through(&b, &other).await })
    };
    "lock in a cohort, in line" ["acquire", "wait"], ["wait"], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        scene(async move { fine(a.lock(key).cohort(8).await) }, async move { fine(held.release().await) })
    };
    "lock in a cohort, two in line" ["acquire", "wait"], ["wait"], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        let (first, second) = (key.clone(), key.clone());
        scene(async move {
            let passes = async |key| match a.lock(key).cohort(8).await {
                Ok(lease) => fine(lease.release().await),
                failed => fine(failed),
            };
            tokio::join!(passes(first), passes(second));
        }, async move { fine(held.release().await) })
    };
 "lock in a cohort of two, three in line" ["acquire", "wait"], ["wait", "rotate"], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        let keys = [key.clone(), key.clone(), key];
        scene(async move {
            let passes = async |key| match a.lock(key).cohort(2).await {
                Ok(lease) => fine(lease.release().await),
                failed => fine(failed),
            };
            let [first, second, third] = keys;
            tokio::join!(passes(first), passes(second), passes(third));
        }, async move { fine(held.release().await) })
    };
    "lock in a cohort, behind one of it" [], [], |world, a, b, key| {
        let held = a.lock(&key).cohort(8).await.unwrap();
        scene(async move { fine(a.lock(key).cohort(8).await) }, async move { fine(held.release().await) })
    };
    "try_lock" ["acquire"], [], |world, a, b, key| {
        let other = key.clone();
        scene(async move { fine(a.try_lock(key).await) }, async move { pass_through(&b, &other).await })
    };
    "force" ["acquire"], [], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        scene(async move { fine(a.lock(key).force().await) }, async move { fine(held.release().await) })
    };
    "release" ["release"], [], |world, a, b, key| {
        let held = a.lock(&key).await.unwrap();
        scene(async move { fine(held.release().await) }, async move { pass_through(&b, &key).await })
    };
    "rotate, nobody waits" ["rotate"], [], |world, a, b, key| {
        let held = a.lock(&key).await.unwrap();
        let other = key.clone();
        scene(async move { fine(a.lock(key).rotate(held).await) }, async move { pass_through(&b, &other).await })
    };
    "rotate, one in line" ["rotate", "wait"], ["wait"], |world, a, b, key| {
        let held = a.lock(&key).await.unwrap();
        let (other, next) = (b.clone(), key.clone());
        let waiting = tokio::spawn(async move { other.lock(next).await.unwrap() });
        while b.inspect(&key).await.unwrap().waiting == 0 {
            tokio::task::yield_now().await;
        }
        scene(async move { fine(a.lock(key).rotate(held).await) }, async move {
            fine(waiting.await.unwrap().release().await);
        })
    };
    "renew" ["renew"], [], |world, a, b, key| {
        let held = a.lock(&key).await.unwrap();
        scene(async move { fine(held.renew(LONG * 2).await) }, async move {
            fine(b.lock(key).force().await.unwrap().release().await);
        })
    };
    "detach" ["renew"], [], |world, a, b, key| {
        let held = a.lock(&key).await.unwrap();
        let detached = Arc::new(Mutex::new(None));
        let stash = Arc::clone(&detached);
        let under = async move {
            if let Ok(id) = held.detach().await {
                *stash.lock().unwrap() = Some(id);
            }
        };
        Scene { detached, ..scene(under, async move { fine(b.lock(key).force().await.unwrap().release().await) }) }
    };
    "once, leading" ["acquire", "publish"], [], |world, a, b, key| {
        scene(compute(a, key.clone()), compute(b, key))
    };
    "once, following" ["acquire", "wait"], ["wait"], |world, a, b, key| {
        let leader = lead(&b, &key).await;
        scene(compute(a, key), async move { fine(leader.publish(7).await) })
    };
    "once, following a leader that fails" ["acquire", "wait"], ["wait", "publish"], |world, a, b, key| {
        let leader = lead(&b, &key).await;
        scene(compute(a, key), async move {
            drop(leader);
            b.flush().await;
        })
    };
    "once, two callers of a process" ["acquire", "wait"], ["wait"], |world, a, b, key| {
        let leader = lead(&b, &key).await;
        let other = (a.clone(), key.clone());
        scene(async move {
            tokio::join!(compute(a, key), compute(other.0, other.1));
        }, async move { fine(leader.publish(7).await) })
    };
    "once, the wait is over" ["acquire", "wait", "inspect"], [], |world, a, b, key| {
        let leader = lead(&b, &key).await;
        scene(async move {
            fine(a.once(key).wait(Duration::from_millis(20)).join::<u32>().await.map(drop).or_else(in_time));
        }, async move { fine(leader.publish(7).await) })
    };
    "once, the work fails and is shared" ["acquire", "publish"], [], |world, a, b, key| {
        let other = key.clone();
        scene(async move { fine(a.once(key).run(|| async { Err::<u32, _>("no rows") }).await) }, compute(b, other))
    };
    "once, the work fails and is tried again" ["acquire", "release"], [], |world, a, b, key| {
        let other = key.clone();
        scene(async move {
            let once = a.once(key).on_error(OnError::Retry);
            fine(once.run(|| async { Err::<u32, _>("no rows") }).await);
        }, compute(b, other))
    };
    "join, leading" ["acquire"], [], |world, a, b, key| {
        let other = key.clone();
        scene(async move { fine(a.once(key).join::<u32>().await) }, compute(b, other))
    };
    "publish" ["publish"], [], |world, a, b, key| {
        let leader = lead(&a, &key).await;
        scene(async move { fine(leader.publish(3).await) }, compute(b, key))
    };
    "fail" ["publish"], [], |world, a, b, key| {
        let leader = lead(&a, &key).await;
        scene(async move { drop(leader.fail("no rows").await) }, compute(b, key))
    };
    "renew by id" ["renew"], [], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        let id = held.id();
        scene(async move { fine(a.renew(&id, LONG).await) }, async move { fine(held.release().await) })
    };
    "renew by holder" ["renew"], [], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        scene(async move { fine(a.renew_held_by(key, "b", LONG).await) }, async move { fine(held.release().await) })
    };
    "release by id" ["release"], [], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        let id = held.id();
        scene(async move { fine(a.release(&id).await) }, async move { fine(held.release().await) })
    };
    "release by holder" ["release"], [], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        scene(async move { fine(a.release_held_by(key, "b").await) }, async move { fine(held.release().await) })
    };
    "break" ["release"], [], |world, a, b, key| {
        let held = b.lock(&key).await.unwrap();
        scene(async move { fine(a.break_lock(key).await) }, async move { fine(held.release().await) })
    };
    "inspect" ["inspect"], [], |world, a, b, key| {
        let other = key.clone();
        scene(async move { fine(a.inspect(key).await) }, async move { pass_through(&b, &other).await })
    };
    "list" ["list"], [], |world, a, b, key| {
        let other = key.clone();
        scene(async move { fine(a.list(&key).await) }, async move { pass_through(&b, &other).await })
    };
    "result" ["result"], [], |world, a, b, key| {
        scene(compute(b, key.clone()), async move { fine(a.result::<u32>(key).await) }).turned()
    };
    "forget" ["forget"], [], |world, a, b, key| {
        let leader = lead(&b, &key).await;
        scene(async move { fine(a.forget(key).await) }, async move { fine(leader.publish(3).await) })
    };
    "events" ["events", "list"], [], |world, a, b, key| {
        scene(async move {
            let mut events = a.events().await.unwrap();
            events.next().await;
        }, async move { pass_through(&b, &key).await })
    };
    "flush" [], [], |world, a, b, key| {
        drop(a.lock(&key).await.unwrap());
        scene(async move { a.flush().await }, async move { pass_through(&b, &key).await })
    };
    "lost" [], [], |world, a, b, key| {
        let held = a.lock(&key).await.unwrap();
        scene(async move { drop(held.lost().await) }, async move {
            fine(b.lock(key).force().await.unwrap().release().await);
        })
    };
    "close" ["stop_waiting", "close"], [], |world, a, b, key| {
        let closing = world.fresh().await;
        let held = closing.lock(&key).await.unwrap();
        scene(async move {
            closing.close().await;
            drop(held);
        }, async move { pass_through(&b, &key).await })
    };
    "close, one in line" ["stop_waiting", "close"], [], |world, a, b, key| {
        let (closing, held) = (world.fresh().await, b.lock(&key).await.unwrap());
        let in_line = closing.clone();
        scene(async move {
            tokio::join!(async { fine(in_line.lock(&key).await) }, closing.close());
        }, async move { fine(held.release().await) })
    };
}

/// On a slow machine a short wait may be over before the first answer.
fn in_time(error: Error) -> Result<(), Error> {
    if matches!(error, Error::Unavailable { .. }) { Ok(()) } else { Err(error) }
}

impl Scene {
    /// The other way round.
    fn turned(self) -> Self {
        Scene { under: self.crossing, crossing: self.under, ..self }
    }
}
