//! From one process's release to another's grant, beside a bare PUBLISH, a baton in a list, and the rival.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use soloist::Client;
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::child::{Child, ready, say, start_all};
use crate::clock::now_ns;
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};
use crate::server;
use crate::store::{TTL, rival};
use crate::turns::{HandOvers, Seen, Turn, hand_overs};
use crate::{Outcome, bench};

const PROCESSES: usize = 4;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    for placed in bench.cpus.placements() {
        bench.place(placed)?;
        for waiters in [8, 64] {
            report.rows.extend(measure(bench, placed, waiters)?);
        }
    }
    bench.place(Placed::Free)
}

fn measure(bench: &Bench, placed: Placed, waiters: usize) -> Outcome<Vec<Row>> {
    let url = bench.server.url();
    let [mut p50, mut rate, mut rotating_p50, mut rotations] = [(); 4].map(|()| Series::default());
    let mut theirs = Ok((Series::default(), Series::default()));
    let (mut hop, mut baton) = (Series::default(), Series::default());
    for round in 0..bench.rounds() {
        let key = |kind: &str| format!("{kind}:{placed}:{waiters}:{round}");
        let each = waiters / PROCESSES;
        let ours = among(bench, "ours", &url, &key("ours"), PROCESSES, each)?;
        hop.push(bare_hop(bench, &url)?);
        let rotating = among(bench, "rotating", &url, &key("rotating"), PROCESSES, each)?;
        place_baton(bench, &key("baton"))?;
        baton.push(among(bench, "baton", &url, &key("baton"), PROCESSES, each)?.rate);
        p50.push(ours.p50);
        rate.push(ours.rate);
        rotating_p50.push(rotating.p50);
        rotations.push(rotating.rate);
        // A rival that gives up is not asked again, and takes nothing from what the others show.
        if let Ok((their_p50, their_rate)) = &mut theirs {
            match among(bench, "rival", &url, &key("rival"), PROCESSES, each) {
                Ok(HandOvers { rate, p50 }) => {
                    their_p50.push(p50);
                    their_rate.push(rate);
                }
                Err(why) => theirs = Err(format!("round {}: {why}", round + 1)),
            }
        }
    }
    let (their_p50, their_rate) = match theirs {
        Ok((p50, rate)) => (Ok(p50), Ok(rate)),
        Err(why) => (Err(why.clone()), Err(why)),
    };
    let title = format!("{waiters} waiters in {PROCESSES} processes, {placed}");
    let goal =
        |row: Row| if placed == Placed::Together { row.goal(Of::Floor, Bound::AtMost(1.5)) } else { row };
    let time = |what: &str, ours| Row::new(format!("{what} p50 / PUBLISH hop, {title}"), "us", ours);
    let rate_of = |what: &str, ours| Row::new(format!("{what} / BLPOP baton, {title}"), "1/s", ours);
    let at_least = Bound::AtLeast(0.9);
    Ok(vec![
        goal(time("hand-over", p50).floor(hop.clone()).rival_or_why(their_p50)),
        goal(time("hand-over in a rotation,", rotating_p50).floor(hop)),
        rate_of("hand-overs", rate).floor(baton.clone()).rival_or_why(their_rate).goal(Of::Floor, at_least),
        rate_of("rotations", rotations).floor(baton).goal(Of::Floor, at_least),
    ])
}

/// So many processes contend for one key.
pub(crate) fn among(
    bench: &Bench,
    kind: &str,
    url: &str,
    key: &str,
    processes: usize,
    each: usize,
) -> Outcome<HandOvers> {
    let millis = bench.window().as_millis();
    let words = |process: usize| {
        let first = (process * each).to_string();
        ["contend", kind, url, key, &first, &each.to_string(), &millis.to_string()]
            .map(str::to_owned)
            .to_vec()
    };
    let mut children = start_all((0..processes).map(words))?;
    let seen = children.iter_mut().map(Seen::hear).collect::<Outcome<Vec<_>>>()?;
    Ok(hand_overs(&seen))
}

/// The list in which the only baton lies.
fn place_baton(bench: &Bench, key: &str) -> Outcome<()> {
    bench::runtime()?.block_on(async {
        let mut bare = bench.server.bare().await?;
        Ok(redis::cmd("LPUSH").arg(key).arg("baton").query_async(&mut bare).await?)
    })
}

/// Half of the time that a message takes there and back between two processes that publish to each other.
fn bare_hop(bench: &Bench, url: &str) -> Outcome<f64> {
    let millis = bench.window().as_millis().to_string();
    let words = |mine: &str, other: &str, first: &str| {
        ["hop", url, mine, other, first, &millis].map(str::to_owned).to_vec()
    };
    let mut both = start_all([words("b", "a", "second"), words("a", "b", "first")])?;
    let hops = both.iter_mut().map(|child| Ok(child.says()?.parse::<f64>()?)).collect::<Outcome<Vec<_>>>()?;
    Ok(hops.iter().sum::<f64>() / hops.len() as f64)
}

/// The turns of one process's waiters.
#[derive(Clone, Default)]
struct Turns(Arc<Mutex<Vec<Turn>>>);

impl Turns {
    /// Notes a turn that ends now.
    fn note(&self, waiter: u64, granted: u64) {
        let turn = Turn { waiter, granted, released: now_ns() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(turn);
    }
}

/// A role: waiters that take a key, and return it at once, for so long.
pub(crate) async fn contend(
    kind: &str,
    url: &str,
    key: &str,
    (first, tasks): (u64, u64),
    millis: u64,
) -> Outcome<()> {
    let (turns, mut all) = (Turns::default(), JoinSet::<Outcome<()>>::new());
    let key: Arc<str> = key.into();
    let waiters = first..first + tasks;
    let mut client = None;
    let begin = Arc::new(tokio::sync::Semaphore::new(0));
    for waiter in waiters {
        let (turns, key, begin) = (turns.clone(), Arc::clone(&key), Arc::clone(&begin));
        match kind {
            "ours" | "rotating" => {
                if client.is_none() {
                    client = Some(Client::connect(url).await?);
                }
                let Some(client) = client.clone() else { continue };
                let rotates = kind == "rotating";
                all.spawn(async move {
                    begin.acquire().await?.forget();
                    let mut lease = client.lock(&*key).await?;
                    loop {
                        turns.note(waiter, now_ns());
                        lease = if rotates {
                            client.lock(&*key).rotate(lease).await?
                        } else {
                            lease.release().await?;
                            client.lock(&*key).await?
                        };
                    }
                });
            }
            "baton" => {
                let mut own = server::connect(url).await?;
                all.spawn(async move {
                    begin.acquire().await?.forget();
                    loop {
                        let (_, baton): (String, String) =
                            redis::cmd("BLPOP").arg(&*key).arg(0).query_async(&mut own).await?;
                        turns.note(waiter, now_ns());
                        redis::cmd("LPUSH").arg(&*key).arg(baton).query_async::<()>(&mut own).await?;
                    }
                });
            }
            _ => {
                let rival = rival(url).await?;
                all.spawn(async move {
                    begin.acquire().await?.forget();
                    loop {
                        let lock = rival.acquire(key.as_bytes(), TTL).await?;
                        turns.note(waiter, now_ns());
                        lock.release().await;
                    }
                });
            }
        }
    }
    ready()?;
    let from = now_ns();
    begin.add_permits(usize::try_from(tasks)?);
    tokio::select! {
        // None of them ends by itself, except by a failure.
        Some(failed) = all.join_next() => failed??,
        () = tokio::time::sleep(Duration::from_millis(millis)) => {}
    }
    let to = now_ns();
    all.shutdown().await;
    if let Some(client) = client {
        client.close().await;
    }
    let turns = std::mem::take(&mut *turns.0.lock().unwrap_or_else(PoisonError::into_inner));
    say(Seen { from, to, turns })
}

/// A role: answers each message with one, and says how long they took on their way.
pub(crate) async fn hop(url: &str, mine: &str, other: &str, first: bool, millis: u64) -> Outcome<()> {
    let mut hears = redis::Client::open(url)?.get_async_pubsub().await?;
    hears.subscribe(mine).await?;
    let mut messages = hears.into_on_message();
    let mut bare = server::connect(url).await?;
    let mut took = Vec::new();
    ready()?;
    let end = now_ns() + millis * 1_000_000;
    if first {
        redis::cmd("PUBLISH").arg(other).arg(now_ns()).query_async::<()>(&mut bare).await?;
    }
    // Whoever is done first leaves the other without an answer.
    let hop = async {
        while let Some(message) = messages.next().await {
            let now = now_ns();
            took.push(now.saturating_sub(message.get_payload::<u64>()?));
            redis::cmd("PUBLISH").arg(other).arg(now_ns()).query_async::<()>(&mut bare).await?;
            if now > end {
                break;
            }
        }
        Outcome::Ok(())
    };
    if let Ok(failed) = tokio::time::timeout(Duration::from_millis(millis + 200), hop).await {
        failed?;
    }
    took.sort_unstable();
    let half = took.get(took.len() / 2).ok_or("no message has arrived")?;
    say(*half as f64 / 1e3)
}

/// The pair of processes of a case, started and let go.
pub(crate) fn pair(one: Vec<String>, other: Vec<String>) -> Outcome<Vec<Child>> {
    start_all([one, other])
}
