//! The machine by itself: what must hold after every step, whatever the steps were.

use std::collections::HashMap;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use soloist::protocol::{Answer, Held, KeyState, Published, Renewal, TOKENS_AHEAD, Who};
use soloist::{Event, EventKind, FencingToken, Key, Ticket};

use crate::call::{Call, Heard, Said, Step};
use crate::case::{Case, Turn};
use crate::cases;
use crate::machine::Machine;
use crate::steps::{Plan, plan};

/// What was true before a step.
struct Before {
    line: HashMap<Key, Vec<Ticket>>,
    held: HashMap<Key, (Ticket, FencingToken)>,
    last: FencingToken,
}

impl Before {
    fn of(machine: &Machine) -> Self {
        let line = |state: &KeyState| state.queue.iter().map(|waiter| waiter.ticket).collect();
        let lease = |held: &Held| (held.ticket, held.holding.token);
        let keys = &machine.table.keys;
        Before {
            line: keys.iter().map(|(key, state)| (key.clone(), line(state))).collect(),
            held: keys.iter().filter_map(|(k, s)| Some((k.clone(), lease(s.holders.first()?)))).collect(),
            last: machine.table.last,
        }
    }
}

fn holds(condition: bool, what: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(what.to_owned()) }
}

/// Whether this tells of a token that a renewal raised: that is no grant. Whoever is handed the key by a renewal of its own
/// may be given just the token that it names.
fn is_raised(machine: &Machine, before: &Before, call: &Call, event: &Event) -> bool {
    let raises = |one: &Renewal| one.key == event.key && one.at_least == Some(event.token);
    let holder = machine.table.keys.get(&event.key).and_then(|state| state.holders.first());
    let held = before.held.get(&event.key).map(|(ticket, _)| *ticket);
    matches!(call, Call::Renew(all) if all.iter().any(raises)) && held == holder.map(|held| held.ticket)
}

/// What must hold after a step.
fn invariants(machine: &Machine, before: &Before, call: &Call, step: &Step) -> Result<(), String> {
    holds(machine.table.last >= before.last, "the counter never falls")?;
    let mut last = before.last;
    for event in
        step.events.iter().filter(|e| matches!(e.kind, EventKind::Locked | EventKind::TakenOver { .. }))
    {
        if is_raised(machine, before, call, event) {
            // Others may have been given larger ones meanwhile: tokens are compared for one key.
            let before = before.held.get(&event.key).map(|(_, token)| *token);
            holds(before.is_none_or(|before| event.token > before), "a token is raised, not lowered")?;
            last = last.max(event.token);
            continue;
        }
        holds(event.token > last, "each grant has a larger token than the one before")?;
        // Whoever holds it has as many tokens as it was given.
        let held = machine.table.keys.get(&event.key).and_then(|state| state.holders.first());
        let tokens = held.filter(|held| held.holding.token == event.token).map_or(1, |held| held.tokens);
        last = FencingToken(event.token.0 + u64::from(tokens) - 1);
        holds(
            tokens == 1 || last.0 <= machine.now + TOKENS_AHEAD,
            "several tokens are not far ahead of the clock",
        )?;
    }
    holds(machine.table.last == last, "no token is spent without a grant that is told")?;
    for (key, state) in &machine.table.keys {
        holds(state.holders.len() <= 1, "one holder at most")?;
        let mut tickets: Vec<_> = state.queue.iter().map(|w| w.ticket).collect();
        tickets.extend(state.holders.iter().map(|held| held.ticket));
        let all = tickets.len();
        tickets.sort();
        tickets.dedup();
        holds(tickets.len() == all, "a request stands at one place only")?;
        holds(!state.is_idle(), "nothing is remembered of an idle key")?;
        // Fair: the line is the old one with some gone, and at most the asker new at its end.
        let old = before.line.get(key).cloned().unwrap_or_default();
        let mut rest = old.iter();
        let mut new = Vec::new();
        for waiter in &state.queue {
            if !rest.any(|ticket| *ticket == waiter.ticket) {
                new.push(waiter.ticket);
            }
        }
        let asker: Vec<_> = call.asks().map(|request| request.ticket).into_iter().collect();
        holds(new.is_empty() || new == asker, "nobody but the asker joins the line, at its end")?;
        let most = call.asks().and_then(|request| request.max_waiting).unwrap_or(u64::MAX);
        holds(
            new.is_empty() || state.queue.len() as u64 <= most.saturating_add(1),
            "no longer line is joined",
        )?;
        // Whenever there is somebody to be served, the key is held.
        holds(state.queue.is_empty() || !state.holders.is_empty(), "no free key has a line")?;
    }
    for (_, ticket, heard) in &step.heard {
        match heard {
            Heard::Served(_) => {
                let stood = before.line.values().any(|line| line.contains(ticket));
                holds(stood, "only who stood in line is served by message")?;
            }
            Heard::Lost(token, _) => {
                let held = before.held.values().any(|held| *held == (*ticket, *token));
                holds(held, "only a holder loses, and just the lease it had")?;
            }
        }
    }
    if let (Some(Answer::Granted(grant)), Some(request)) = (step.said.answer(), call.asks()) {
        let holder = &machine.table.keys[&request.key].holders[0];
        holds(holder.ticket == request.ticket, "who is granted holds")?;
        holds(holder.holding.token == grant.token, "with that token")?;
    }
    if let (Some(Answer::Full { waiting, .. }), Some(request)) = (step.said.answer(), call.asks()) {
        let line = machine.table.keys[&request.key].queue.iter();
        holds(
            line.clone().all(|waiter| waiter.ticket != request.ticket),
            "nobody is thrown out of a full line",
        )?;
        holds(*waiting == line.len() as u64 && request.max_waiting <= Some(*waiting), "it is full")?;
    }
    if matches!(call, Call::Inspect(_) | Call::List(_)) {
        holds(step.events.is_empty() && step.heard.is_empty(), "looking changes nothing")?;
    }
    Ok(())
}

/// Every waiter is served in order if the holders release.
fn drain(machine: &mut Machine, case: &Case) -> Result<(), String> {
    for key in case.keys() {
        machine.call(0, &Call::Touch(key.clone()));
        let waiting = machine.table.keys.get(&key).map_or(0, |state| state.queue.len());
        for _ in 0..=waiting {
            let Some(state) = machine.table.keys.get(&key) else { break };
            let Some(held) = state.holders.first() else { break };
            let who = Who::Ticket(held.ticket);
            machine.call(1, &Call::Release(key.clone(), who));
        }
        let left = machine.table.keys.get(&key).map_or(0, |state| state.queue.len() + state.holders.len());
        holds(left == 0, "so many releases as there are waiters empty the line")?;
    }
    Ok(())
}

fn run(plan: &Plan) -> Result<(), String> {
    let mut case = Case::new(plan, String::new());
    let mut machine = Machine::new(1_000_000_000);
    for (at, (step, _)) in plan.steps.iter().enumerate() {
        match case.turn(step, machine.now, &machine.table) {
            Turn::Pass(us) => machine.now += us,
            Turn::Die(session) => machine.die(session),
            Turn::Call(by, call) => {
                let before = Before::of(&machine);
                let done = machine.call(by, &call);
                let checked = invariants(&machine, &before, &call, &done)
                    .and_then(|()| again(&mut machine, by, &call, &done));
                checked.map_err(|why| format!("step {at} ({step:?}): {why}"))?;
            }
        }
    }
    drain(&mut machine, &case)
}

/// A repeated request, as after a lost reply, changes nothing and has the same answer.
fn again(machine: &mut Machine, by: usize, call: &Call, first: &Step) -> Result<(), String> {
    let idempotent = match call {
        // By ticket, that is: a holder's name may mean another lease the next time.
        Call::Renew(all) => all.len() == 1 && matches!(all[0].who, Who::Ticket(_)),
        Call::Acquire { .. } | Call::Publish(_) | Call::Touch(_) => true,
        _ => false,
    };
    // A request that the first call itself made a holder (the key was free, and it was next in line) has
    // something to renew and to publish the second time.
    let served = |ticket: &Ticket| first.heard.iter().any(|(_, to, _)| to == ticket);
    let changed = match call {
        Call::Renew(all) => all.iter().any(|one| matches!(&one.who, Who::Ticket(ticket) if served(ticket))),
        Call::Publish(publication) => served(&publication.ticket),
        _ => false,
    };
    if !idempotent || changed {
        return Ok(());
    }
    let before = machine.table.clone();
    let second = machine.call(by, call);
    holds(
        second.said == first.said || stale(first, &second),
        &format!("the same answer, not {:?} and then {:?}", first.said, second.said),
    )?;
    holds(second.events.is_empty() && second.heard.is_empty(), "and nothing more is told")?;
    holds(machine.table == before, "and nothing has changed")
}

/// A publication found stale is not remembered: asked again, its leader hears that it is not the leader.
fn stale(first: &Step, second: &Step) -> bool {
    matches!(first.said, Said::Published(Published::Stale))
        && matches!(second.said, Said::Published(Published::Refused(_)))
}

#[test]
fn the_machine_keeps_its_promises() {
    let config = Config { cases: cases(4000), failure_persistence: None, ..Config::default() };
    let ran = TestRunner::new(config).run(&plan(80, true), |plan| run(&plan).map_err(TestCaseError::fail));
    if let Err(error) = ran {
        panic!("{error}");
    }
}
