//! Failover after failover, while clients count under a lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use soloist::{Client, Error, Lease};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::failover::print;
use crate::team::{Team, until};
use crate::trio::soon;

const CLIENTS: usize = 4;

/// What the lock protects: it refuses a token that is smaller than one it has seen.
#[derive(Default)]
struct Register {
    seen: u64,
    value: u64,
    written: u64,
}

impl Register {
    fn read(&mut self, token: u64) -> u64 {
        self.seen = self.seen.max(token);
        self.value
    }

    fn write(&mut self, token: u64, value: u64) {
        if token >= self.seen {
            (self.seen, self.value, self.written) = (token, value, self.written + 1);
        }
    }
}

#[derive(Default)]
struct Course {
    register: Mutex<Register>,
    /// Even while nothing is broken; odd from a fault until all are at the new primary.
    phase: AtomicU64,
    /// The largest token of which anybody has heard.
    largest: AtomicU64,
    /// The phases in which those who hold the key now have asked for it.
    inside: Mutex<Vec<u64>>,
    /// The last phase in which somebody asked for the key and got it.
    served: AtomicU64,
    grants: AtomicU64,
    overlaps: AtomicU64,
    faults: Mutex<Vec<String>>,
    end: AtomicBool,
}

impl Course {
    fn fault(&self, what: String) {
        self.faults.lock().unwrap().push(what);
    }

    async fn count(&self, client: Client) {
        while !self.end.load(SeqCst) {
            let (phase, before) = (self.phase.load(SeqCst), self.largest.load(SeqCst));
            match client.lock("counter").ttl(Duration::from_secs(3)).await {
                Ok(lease) => self.hold(lease, phase, before).await,
                Err(Error::Unavailable { .. }) => {}
                Err(error) => self.fault(format!("{error:?}")),
            }
        }
    }

    async fn hold(&self, lease: Lease, phase: u64, before: u64) {
        let token = lease.token().0;
        if token <= before {
            self.fault(format!("token {token} after {before}"));
        }
        self.largest.fetch_max(token, SeqCst);
        self.grants.fetch_add(1, SeqCst);
        self.served.fetch_max(phase, SeqCst);
        self.enter(phase);
        let value = self.register.lock().unwrap().read(token);
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.register.lock().unwrap().write(token, value + 1);
        // What the lock protects is done: it is left before the key is released.
        self.leave(phase);
        match lease.release().await {
            Ok(()) | Err(Error::Lost { .. } | Error::Unknown { .. } | Error::Unavailable { .. }) => {}
            Err(error) => self.fault(format!("{error:?}")),
        }
    }

    fn enter(&self, phase: u64) {
        let mut inside = self.inside.lock().unwrap();
        if !inside.is_empty() {
            self.overlaps.fetch_add(1, SeqCst);
        }
        // A failover may lose a lock; where none was since both have asked, nothing can.
        if phase.is_multiple_of(2) && inside.contains(&phase) && self.phase.load(SeqCst) == phase {
            self.fault(format!("two at a time in phase {phase}"));
        }
        inside.push(phase);
    }

    fn leave(&self, phase: u64) {
        let mut inside = self.inside.lock().unwrap();
        let at = inside.iter().position(|other| *other == phase).unwrap();
        inside.remove(at);
    }

    /// Something breaks: answers how long until somebody has the key who asked for it after that.
    async fn broken(&self, what: &str, fault: impl Future<Output = ()>) {
        self.phase.fetch_add(1, SeqCst);
        let began = Instant::now();
        fault.await;
        let phase = self.phase.fetch_add(2, SeqCst) + 2;
        until(async || self.served.load(SeqCst) >= phase).await;
        print(&format!("{what}, under load"), began, Instant::now());
    }

    /// All is well again: much is counted before the next fault.
    async fn calm(&self) {
        let phase = self.phase.fetch_add(1, SeqCst) + 1;
        until(async || self.served.load(SeqCst) >= phase).await;
        let enough = self.grants.load(SeqCst) + 50;
        until(async || self.grants.load(SeqCst) >= enough).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_over_nothing_is_counted_twice() {
    let mut team = Team::start().await;
    let course = Arc::new(Course::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (client, course) = (team.client(&format!("client {number}")).await, Arc::clone(&course));
        clients.spawn(async move { course.count(client).await });
    }
    until(async || course.grants.load(SeqCst) > 50).await;

    let switch = async {
        team.fail_over().await;
        team.next(0, 1).await;
    };
    course.broken("SENTINEL FAILOVER", switch).await;
    let second = team.next(0, 1).await;
    team.nodes.all_at(second, CLIENTS).await;
    team.settled(second).await;
    course.calm().await;

    course.broken("kill -9", async { team.nodes.0[second].kill() }).await;
    let third = team.next(0, second).await;
    team.nodes.all_at(third, CLIENTS).await;
    team.nodes.start_again(second, Some(third));
    team.settled(third).await;
    course.calm().await;

    team.cut_replicas(third).await;
    course.calm().await;
    course.broken("kill -9 with a cut replication link", async { team.nodes.0[third].kill() }).await;
    let fourth = team.next(0, third).await;
    team.nodes.all_at(fourth, CLIENTS).await;
    team.nodes.start_again(third, None);
    course.calm().await;

    course.end.store(true, SeqCst);
    while let Some(ended) = soon(clients.join_next()).await {
        ended.unwrap();
    }
    let register = course.register.lock().unwrap();
    assert_eq!(register.value, register.written, "two have counted from the same number");
    let (grants, overlaps) = (course.grants.load(SeqCst), course.overlaps.load(SeqCst));
    println!(
        "{grants} grants, {} written, {overlaps} at a time with another, at failovers",
        register.written
    );
    assert_eq!(*course.faults.lock().unwrap(), Vec::<String>::new());
}
