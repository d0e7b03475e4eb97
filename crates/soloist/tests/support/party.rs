//! One client that works and records what it believes: in a simulation, or on a real server.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use soloist::protocol::Mode;
use soloist::testing::{Dice, End, Gave, Op, Recorder, RecordingStore, Said, Weather, What};
use soloist::{Client, Error, Flight, Lease, LeaseId, Moment, Result, Want};

pub const MS: fn(u64) -> Duration = Duration::from_millis;

/// What a lock protects: it refuses older tokens. In memory, or in files that several processes share.
#[derive(Clone)]
pub enum Registers {
    Memory(Arc<Mutex<BTreeMap<String, [u64; 2]>>>),
    Folder(PathBuf),
}

impl Registers {
    /// Writes; answers how many writes there were before, and whether this one was taken.
    fn write(&self, key: &str, token: u64) -> (u64, bool) {
        match self {
            Registers::Memory(all) => step(all.lock().unwrap().entry(key.to_owned()).or_default(), token),
            Registers::Folder(folder) => {
                let mut options = std::fs::File::options();
                let options = options.create(true).truncate(false).read(true).write(true);
                let mut file = options.open(folder.join(key)).unwrap();
                file.lock().unwrap();
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap());
                let mut state = [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)];
                let written = step(&mut state, token);
                file.rewind().unwrap();
                file.write_all(format!("{:020} {:020}", state[0], state[1]).as_bytes()).unwrap();
                written
            }
        }
    }
}

fn step([newest, writes]: &mut [u64; 2], token: u64) -> (u64, bool) {
    let accepted = token >= *newest;
    *newest = token.max(*newest);
    *writes += 1;
    (*writes - 1, accepted)
}

/// A client and where it records.
#[derive(Clone)]
pub struct Party {
    pub id: u32,
    pub client: Client,
    pub recorder: Recorder,
    pub registers: Registers,
    /// Whether it now and then asks for a key again in the step in which it releases it.
    pub rotates: bool,
}

/// Polls a future so often and drops it then; `None` polls it to its end.
async fn polled<T>(polls: Option<u64>, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), polls);
    std::future::poll_fn(|cx| {
        if left == Some(0) {
            return Poll::Ready(None);
        }
        left = left.map(|left| left - 1);
        match work.as_mut().poll(cx) {
            Poll::Ready(out) => Poll::Ready(Some(out)),
            Poll::Pending if left == Some(0) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

impl Party {
    fn record(&self, what: What) {
        self.recorder.record(self.id, what);
    }

    /// Does things, one after the other, until it is told to stop.
    pub async fn work(&self, mut dice: Dice, locks: &[&str], flights: &[&str], stopped: impl Fn() -> bool) {
        while !stopped() {
            self.one(&mut dice, locks, flights).await;
            tokio::time::sleep(MS(dice.between(50, 3000))).await;
        }
    }

    /// Holds keys that hardly anybody else wants, each for moments only.
    pub async fn hurry(&self, mut dice: Dice, locks: &[&str], stopped: impl Fn() -> bool) {
        while !stopped() {
            let key = locks[dice.below(locks.len() as u64) as usize];
            self.briefly(&mut dice, key).await;
            tokio::time::sleep(MS(dice.between(1, 20))).await;
        }
    }

    async fn briefly(&self, dice: &mut Dice, key: &str) {
        let (op, wait) = (self.recorder.op(), MS(10_000));
        let in_us = Some(wait.as_micros() as u64);
        self.record(What::Asked { op, key: key.into(), want: Want::Lock, mode: Mode::Line, wait: in_us });
        let lock = self.client.lock(key).ttl(MS(dice.between(1000, 10_000))).wait(wait);
        let lease = match RecordingStore::of(op, lock.into_future()).await {
            Ok(lease) => lease,
            Err(Error::TimedOut { .. }) => return self.record(What::GaveUp { op, why: Gave::TimedOut }),
            Err(_) => return self.record(What::GaveUp { op, why: Gave::Failed }),
        };
        let sure = lease.deadline().map(Recorder::at);
        self.record(What::Granted { op, token: lease.token().0, sure });
        let lost = self.works(op, &lease, MS(dice.between(1, 30)), false).await;
        self.ends(op, &lease, if lost { End::Lost } else { End::LetGo });
        if !lost {
            let released = lease.release().await;
            self.answered(op, &released);
        }
    }

    async fn one(&self, dice: &mut Dice, locks: &[&str], flights: &[&str]) {
        let lock = locks[dice.below(locks.len() as u64) as usize];
        if flights.is_empty() {
            return match dice.below(30) {
                0 => drop(self.breaks(lock, false).await),
                _ => self.lock(dice, lock).await,
            };
        }
        let flight = flights[dice.below(flights.len() as u64) as usize];
        match dice.below(100) {
            0..62 => self.lock(dice, lock).await,
            62..94 => self.once(dice, flight).await,
            94 => drop(self.breaks(lock, false).await),
            95 => drop(self.breaks(flight, false).await),
            96..98 => drop(self.breaks(flight, true).await),
            _ => drop(self.client.inspect(lock).await),
        }
    }

    async fn lock(&self, dice: &mut Dice, key: &str) {
        let mode = match dice.below(20) {
            0 => Mode::Force,
            1..5 => Mode::Try,
            _ => Mode::Line,
        };
        let ttl = MS(dice.between(1000, 10_000));
        let wait = dice.chance(60).then(|| MS(dice.between(100, 15_000))).filter(|_| mode == Mode::Line);
        let dropped = dice.chance(15).then(|| dice.between(1, 12));
        let op = self.recorder.op();
        let in_us = wait.map(|wait| wait.as_micros() as u64);
        self.record(What::Asked { op, key: key.into(), want: Want::Lock, mode, wait: in_us });
        let asking = async {
            let lock = self.client.lock(key).ttl(ttl);
            let lock = if dice.chance(5) { lock.no_expiry() } else { lock };
            match mode {
                Mode::Try => lock.wait(Duration::ZERO).await,
                Mode::Force => lock.force().await,
                Mode::Line => match wait {
                    Some(wait) => lock.wait(wait).await,
                    None => lock.await,
                },
            }
        };
        match polled(dropped, RecordingStore::of(op, asking)).await {
            Some(Ok(lease)) => self.held(dice, op, lease, ttl).await,
            Some(Err(Error::TimedOut { .. })) => {
                let why = if mode == Mode::Try { Gave::Busy } else { Gave::TimedOut };
                self.record(What::GaveUp { op, why });
            }
            Some(Err(_)) => self.record(What::GaveUp { op, why: Gave::Failed }),
            None => self.record(What::GaveUp { op, why: Gave::Dropped }),
        }
    }

    async fn held(&self, dice: &mut Dice, op: Op, lease: Lease, ttl: Duration) {
        let sure = lease.deadline().map(Recorder::at);
        self.record(What::Granted { op, token: lease.token().0, sure });
        let time = MS(dice.between(20, 2000));
        let time = if dice.chance(10) { time + ttl } else { time };
        // Now and then one that does not look whether it lost the lease.
        let blind = dice.chance(10);
        let lost = self.works(op, &lease, time, blind).await;
        if lost && !blind {
            self.ends(op, &lease, End::Lost);
            return;
        }
        match dice.below(10) {
            0..5 if self.rotates && dice.chance(50) => Box::pin(self.rotated(dice, op, lease, ttl)).await,
            0..5 => {
                self.ends(op, &lease, End::LetGo);
                let dropped = dice.chance(10).then(|| dice.between(0, 4));
                if let Some(released) = polled(dropped, lease.release()).await {
                    self.answered(op, &released);
                }
            }
            5..7 => self.ends(op, &lease, End::LetGo), // and drops it
            7 => {
                // The shorter of both ends counts from when this is asked, whenever it is answered.
                let end = Moment::now().after(ttl + MS(500));
                let sure = Recorder::at(lease.deadline().map_or(end, |before| before.min(end)));
                self.record(What::Sure { op, sure: Some(sure) });
                if lease.renew(ttl + MS(500)).await.is_ok() {
                    self.works(op, &lease, time, false).await;
                }
                self.ends(op, &lease, End::LetGo);
                let released = lease.release().await;
                self.answered(op, &released);
            }
            _ => self.detached(dice, op, lease, ttl).await,
        }
    }

    async fn rotated(&self, dice: &mut Dice, op: Op, lease: Lease, ttl: Duration) {
        self.ends(op, &lease, End::LetGo);
        let wait = dice.chance(60).then(|| MS(dice.between(100, 15_000)));
        let dropped = dice.chance(15).then(|| dice.between(0, 12));
        let (again, key) = (self.recorder.op(), lease.key().to_string());
        let in_us = wait.map(|wait| wait.as_micros() as u64);
        let (want, mode) = (Want::Lock, Mode::Line);
        self.record(What::Asked { op: again, key: key.clone(), want, mode, wait: in_us });
        let lock = self.client.lock(&key).ttl(ttl);
        let lock = wait.into_iter().fold(lock, |lock, wait| lock.wait(wait));
        let rotated = polled(dropped, RecordingStore::of(again, lock.rotate(lease))).await;
        let why = match rotated {
            Some(Ok(lease)) => {
                self.answered(op, &Ok(()));
                return self.held(dice, again, lease, ttl).await;
            }
            Some(Err(Error::TimedOut { .. })) => Gave::TimedOut,
            Some(lost @ Err(Error::Lost { .. } | Error::Unknown { .. })) => {
                // Then nothing was asked for.
                self.answered(op, &lost);
                Gave::Dropped
            }
            Some(Err(_)) => Gave::Failed,
            None => Gave::Dropped,
        };
        self.record(What::GaveUp { op: again, why });
    }

    async fn detached(&self, dice: &mut Dice, op: Op, lease: Lease, ttl: Duration) {
        let (before, was_lost) = (lease.deadline().map(Recorder::at), lease.is_lost());
        let forever = before.is_none();
        let until = |sent: Moment| (!forever).then(|| Recorder::at(sent.after(ttl)));
        let sent = Moment::now();
        if let Some(polls) = dice.chance(20).then(|| dice.between(0, 3)) {
            // Dropped under way it lets go of the lease, and the next one may say that he holds it before this one says so.
            self.ends(op, &lease, End::LetGo);
            if let Some(Ok(id)) = polled(Some(polls), lease.detach()).await {
                self.gives_back(op, &id).await;
            }
            return;
        }
        let Ok(id) = lease.detach().await else {
            let how = if was_lost { End::Lost } else { End::LetGo };
            self.record(What::Ended { op, how, sure: before });
            return;
        };
        let mut sure = until(sent);
        self.record(What::Sure { op, sure });
        tokio::time::sleep(MS(dice.between(10, 900))).await;
        if dice.chance(50) {
            let end = Recorder::at(Moment::now().after(ttl));
            // It may be carried out whatever comes of it: the shorter of both ends counts from when it is asked, also of a
            // lease that had none.
            sure = Some(sure.map_or(end, |before| before.min(end)));
            self.record(What::Sure { op, sure });
            if self.client.renew(&id, ttl).await.is_ok() {
                sure = Some(end);
                self.record(What::Sure { op, sure });
            }
        }
        self.record(What::Ended { op, how: End::LetGo, sure });
        self.gives_back(op, &id).await;
    }

    /// Nobody else does it: that lease is in the caller's own hands now.
    async fn gives_back(&self, op: Op, id: &LeaseId) {
        let mut released = self.client.release(id).await;
        while let Err(Error::Unavailable { .. } | Error::Refused { .. }) = released {
            tokio::time::sleep(MS(500)).await;
            released = self.client.release(id).await;
        }
        self.answered(op, &released);
    }

    /// Works and writes for a time. Answers whether the lease was lost meanwhile.
    async fn works(&self, op: Op, lease: &Lease, time: Duration, blind: bool) -> bool {
        for _ in 0..3 {
            if lease.is_lost() && !blind {
                return true;
            }
            let (seq, accepted) = self.registers.write(lease.key().as_str(), lease.token().0);
            self.record(What::Wrote { op, seq, accepted });
            let sure = lease.deadline().map(Recorder::at);
            self.record(What::Sure { op, sure });
            tokio::select! {
                biased;
                _ = lease.lost(), if !blind => return true,
                () = tokio::time::sleep(time / 3) => {}
            }
        }
        lease.is_lost()
    }

    fn ends(&self, op: Op, lease: &Lease, how: End) {
        let how = if lease.is_lost() { End::Lost } else { how };
        self.record(What::Ended { op, how, sure: lease.deadline().map(Recorder::at) });
    }

    fn answered<T>(&self, op: Op, answer: &Result<T>) {
        let said = match answer {
            Ok(_) => Said::Yes,
            Err(Error::Lost { .. } | Error::NotHeld { .. }) => Said::Lost,
            Err(Error::Unknown { .. }) => Said::Unknown,
            Err(_) => Said::Failed,
        };
        self.record(What::Answered { op, said });
    }

    async fn once(&self, dice: &mut Dice, key: &str) {
        let ttl = MS(dice.between(1000, 10_000));
        let wait = dice.chance(50).then(|| MS(dice.between(100, 15_000)));
        let keep = if dice.chance(30) { MS(dice.between(10, 8000)) } else { Duration::ZERO };
        let op = self.recorder.op();
        let in_us = wait.map(|wait| wait.as_micros() as u64);
        let (want, mode) = (Want::Flight, Mode::Line);
        self.record(What::Asked { op, key: key.into(), want, mode, wait: in_us });
        let once = self.client.once(key).ttl(ttl).keep(keep);
        let once = wait.into_iter().fold(once, |once, wait| once.wait(wait));
        let dropped = dice.chance(15).then(|| dice.between(1, 12));
        let joined = polled(dropped, RecordingStore::of(op, once.join::<u64>())).await;
        let leader = match joined {
            Some(Ok(Flight::Leader(leader))) => leader,
            Some(Ok(Flight::Done(value))) => return self.record(What::Got { op, value }),
            other => {
                let why = match other {
                    None => Gave::Dropped,
                    Some(Err(Error::TimedOut { .. })) => Gave::TimedOut,
                    Some(Err(Error::Failed { .. })) => Gave::Shared,
                    Some(_) => Gave::Failed,
                };
                return self.record(What::GaveUp { op, why });
            }
        };
        let (token, sure) = (leader.token().0, leader.lease().deadline().map(Recorder::at));
        self.record(What::Granted { op, token, sure });
        let (time, blind) = (MS(dice.between(20, 2500)), dice.chance(30));
        if self.works(op, leader.lease(), time, blind).await && !blind {
            return self.ends(op, leader.lease(), End::Lost);
        }
        match dice.below(10) {
            0 => self.ends(op, leader.lease(), End::LetGo), // and drops it
            1 => {
                self.ends(op, leader.lease(), End::LetGo);
                drop(leader.fail("planned").await);
            }
            _ => {
                let keep = keep.as_micros() as u64;
                self.record(What::Publishes { op, keep });
                self.ends(op, leader.lease(), End::Published);
                let dropped = dice.chance(10).then(|| dice.between(0, 4));
                if let Some(published) = polled(dropped, leader.publish(token)).await {
                    self.answered(op, &published);
                }
            }
        }
    }

    /// Ends whatever lease the key has, or drops its result. Answers whether it is known to be done, or to be refused.
    pub async fn breaks(&self, key: &str, forget: bool) -> bool {
        let op = self.recorder.op();
        self.record(What::Breaks { op, key: key.into(), forget });
        let done = match forget {
            true => self.client.forget(key).await.map(drop),
            false => self.client.break_lock(key).await.map(drop),
        };
        if done.is_err() {
            // It may be on its way still.
            tokio::time::sleep(MS(10_000)).await;
        }
        if done.is_ok() || !forget {
            self.record(What::Broke { op });
        }
        !matches!(done, Err(Error::Unavailable { .. } | Error::Unknown { .. }))
    }
}

/// What the network is like for a while.
pub fn weather(dice: &mut Dice) -> Weather {
    Weather {
        request_lost: dice.below(30),
        reply_lost: dice.below(30),
        duplicated: dice.below(30),
        wake_up_lost: dice.below(80),
        late: dice.below(50),
        latest: dice.between(1, 4_000_000),
        way: dice.between(100, 50_000),
    }
}
