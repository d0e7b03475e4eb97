//! The same random steps on the machine and on the stores: every answer, wake-up and event is compared.

use std::time::Duration;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use soloist::protocol::{Answer, Mode, Request, Ttl, Want, Who};
use soloist::{Event, EventKind, FencingToken, Holder, Key, Ticket};

use crate::call::{Call, Heard};
use crate::case::{Case, Turn};
use crate::machine::Machine;
use crate::peer::{Ground, Peer};
use crate::steps::{Plan, plan};
use crate::{cases, normal, stores};

/// Each step stands in a millisecond of its own.
const TICK: u64 = 1000;

/// The stores side by side; cases follow each other on them, each on keys of its own.
struct World {
    peers: Vec<Peer>,
    now: u64,
    case: u64,
}

impl World {
    async fn new(grounds: Vec<Box<dyn Ground>>) -> Self {
        let mut peers = Vec::new();
        for ground in grounds {
            peers.push(Peer::new(ground).await);
        }
        World { peers, now: stores::START, case: 0 }
    }

    async fn pass(&mut self, machine: &mut Machine, us: u64) {
        self.now += us;
        machine.now = self.now;
        for peer in &self.peers {
            peer.ground.advance(Duration::from_micros(us)).await;
        }
    }

    async fn run(&mut self, plan: &Plan) -> Result<(), String> {
        self.case += 1;
        let mut case = Case::new(plan, format!("case {}:", self.case));
        let mut machine = Machine::new(self.now);
        for (at, (step, hears)) in plan.steps.iter().enumerate() {
            self.pass(&mut machine, TICK).await;
            let done = match case.turn(step, self.now, &machine.table) {
                Turn::Pass(us) => {
                    self.pass(&mut machine, us).await;
                    Ok(())
                }
                Turn::Die(session) => {
                    machine.die(session);
                    for peer in &mut self.peers {
                        peer.die(session).await;
                    }
                    Ok(())
                }
                Turn::Call(by, call) => self.compare(&case, &mut machine, by, &call, *hears).await,
            };
            done.map_err(|why| format!("step {at} ({step:?}): {why}"))?;
        }
        self.end(&case, &mut machine).await.map_err(|why| format!("at the end: {why}"))
    }

    async fn compare(
        &mut self,
        case: &Case,
        machine: &mut Machine,
        by: usize,
        call: &Call,
        hears: bool,
    ) -> Result<(), String> {
        let expected = machine.call(by, call);
        let mut confirm = Vec::new();
        let losses: Vec<_> = expected.heard.iter().filter_map(loss).collect();
        for peer in &mut self.peers {
            let name = peer.ground.name();
            let said =
                peer.call(by, call).await.map_err(|error| format!("{name}: {call:?} failed: {error}"))?;
            same(name, "answers", &normal::said(said), &normal::said(expected.said.clone()))?;
            let mut events = Vec::new();
            for _ in &expected.events {
                let event =
                    peer.next_event().await.map_err(|why| format!("{name}: {why}: {:?}", expected.events))?;
                let Some(event) = event else { continue };
                if !peer.tokens_grow(&event) {
                    return Err(format!("{name}: this token is not larger than the one before: {event:?}"));
                }
                events.push(event);
            }
            if peer.ground.is_watched() {
                same(name, "tells", &normal::events(events), &normal::events(expected.events.clone()))?;
            }
            let mut told = Vec::new();
            for (seat, ..) in &losses {
                let (ticket, token, loss) =
                    peer.hear_loss(*seat).await.map_err(|why| format!("{name}: {why}"))?;
                told.push((*seat, ticket, normal::step_of(token), loss));
            }
            // Between sessions there is no order.
            same(name, "tells losses", &sorted(told), &sorted(losses.clone()))?;
            for (seat, ticket, heard) in expected.heard.iter().filter(|_| hears) {
                let (Heard::Served(right), Some(request)) = (heard, case.standing(*ticket)) else { continue };
                if call.asks().is_some_and(|asked| asked.ticket == *ticket) {
                    continue; // it has its answer
                }
                let answer =
                    peer.hear(*seat, &request, self.now).await.map_err(|why| format!("{name}: {why}"))?;
                match (normal::answer(answer), normal::answer(right.clone())) {
                    // One store's wake-up is the grant itself, another's makes the waiter ask and so confirm it.
                    (Answer::Granted(a), Answer::Granted(b)) => same(name, "grants", &a.token, &b.token)?,
                    (a, b) => same(name, "serves", &a, &b)?,
                }
                if matches!(right, Answer::Granted(_)) {
                    confirm.push((*seat, request));
                }
            }
        }
        // Who hears a grant confirms it, on every store alike.
        let mut confirmed = Vec::<Ticket>::new();
        for (seat, request) in confirm {
            if !confirmed.contains(&request.ticket) {
                confirmed.push(request.ticket);
                let call = Call::Acquire { request, seen: false };
                Box::pin(self.compare(case, machine, seat, &call, false)).await?;
            }
        }
        Ok(())
    }

    /// Looks at everything, gives every request up, and makes sure that nothing more was told.
    async fn end(&mut self, case: &Case, machine: &mut Machine) -> Result<(), String> {
        let mut calls = vec![Call::List(case.prefix().to_owned())];
        calls.extend(case.keys().into_iter().map(Call::Inspect));
        calls.extend(case.all.iter().map(|(key, ticket)| Call::Leave(key.clone(), *ticket)));
        calls.extend(case.keys().into_iter().map(|key| Call::Release(key, Who::Any)));
        calls.extend(case.keys().into_iter().map(Call::Inspect));
        for call in calls {
            self.pass(machine, TICK).await;
            self.compare(case, machine, 0, &call, false).await?;
        }
        let last = Request {
            key: Key::new("the last of the case").map_err(|e| e.to_string())?,
            ticket: Ticket::mint(),
            holder: Holder::new("test").map_err(|e| e.to_string())?,
            note: None,
            want: Want::Lock,
            mode: Mode::Force,
            ttl: Ttl::Micros(1000),
            bound: false,
            seen: None,
            max_waiting: None,
            tokens: 1,
        };
        self.pass(machine, TICK).await;
        for peer in &mut self.peers {
            let name = peer.ground.name();
            peer.watcher().acquire(&last).await.map_err(|error| format!("{name}: {error}"))?;
            let mut event = peer.next_event().await.map_err(|why| format!("{name}: {why}"))?;
            let expired = |event: &Event| event.key == last.key && event.kind == EventKind::Expired;
            if event.as_ref().is_some_and(expired) {
                event = peer.next_event().await.map_err(|why| format!("{name}: {why}"))?;
            }
            if let Some(event) = event.filter(|event| event.key != last.key) {
                return Err(format!("{name}: an event too many: {event:?}"));
            }
            if let Some(notice) = peer.stray_notice() {
                return Err(format!("{name}: a notice too many: {notice:?}"));
            }
        }
        Ok(())
    }
}

type Lost = (usize, Ticket, FencingToken, soloist::Loss);

fn loss(heard: &(usize, Ticket, Heard)) -> Option<Lost> {
    match heard {
        (seat, ticket, Heard::Lost(token, loss)) => {
            Some((*seat, *ticket, normal::step_of(*token), loss.clone()))
        }
        _ => None,
    }
}

fn sorted(mut losses: Vec<Lost>) -> Vec<Lost> {
    losses.sort_by_key(|(seat, ticket, ..)| (*seat, *ticket));
    losses
}

fn same<T: PartialEq + std::fmt::Debug>(name: &str, what: &str, is: &T, must_be: &T) -> Result<(), String> {
    if is == must_be {
        return Ok(());
    }
    Err(format!("{name} {what} otherwise than the machine:\n   it: {is:?}\n must: {must_be:?}"))
}

/// Runs so many random cases; a failing one is made small and shown.
fn differ(count: u32, most: usize, bound: bool, grounds: impl AsyncFn() -> Vec<Box<dyn Ground>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut world = Some(runtime.block_on(async { World::new(grounds().await).await }));
    let config = Config {
        cases: cases(count),
        max_shrink_time: 30_000, // milliseconds: a lost wake-up costs each try its limit
        failure_persistence: None,
        ..Config::default()
    };
    let cell = std::cell::RefCell::new(&mut world);
    let ran = TestRunner::new(config).run(&plan(most, bound), |plan| {
        let mut world = cell.borrow_mut();
        let mut one = match world.take() {
            Some(one) => one,
            None => runtime.block_on(async { World::new(grounds().await).await }),
        };
        let done = runtime.block_on(one.run(&plan));
        if let Err(why) = &done {
            eprintln!("case of {} steps: {why}", plan.steps.len());
        }
        // After a failure a fresh world: what the failed case left behind must not fail the next.
        if done.is_ok() {
            **world = Some(one);
        } else {
            runtime.block_on(async move { drop(one) });
        }
        done.map_err(TestCaseError::fail)
    });
    runtime.block_on(async move {
        // The short ways are compared as well as the long ones, if random steps take both.
        for peer in world.iter().flat_map(|world| &world.peers) {
            for (way, count) in peer.ground.ways().await {
                println!("{}: {way} was taken {count} times", peer.ground.name());
                assert!(count >= 10, "{way} was taken {count} times only");
            }
        }
        drop(world);
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}

#[test]
fn memory_and_local_are_the_machine() {
    differ(1000, 60, true, async || vec![stores::memory(), stores::local()]);
}

#[test]
fn memory_local_and_redis_are_the_machine() {
    differ(2500, 40, false, async || vec![stores::memory(), stores::local(), stores::redis().await]);
}

#[test]
fn redis_that_nobody_watches_is_the_machine() {
    differ(1500, 40, false, async || vec![stores::unwatched_redis().await]);
}
