//! Very many leases of one client renewed, beside pipelined PEXPIREs. The store is asked as the keeper asks it.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use redis::aio::MultiplexedConnection;
use soloist::protocol::{Mode, Renewal, Renewed, Request, Ttl, Want, Who};
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::{Holder, Key, Store, Ticket};

use crate::Outcome;
use crate::bench::{Bench, runtime};
use crate::count;
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Number, Of, Row, Series};

/// So many are asked for at the same time.
const TOGETHER: usize = 256;
/// Long enough that none ends meanwhile, and short of "for ever".
const TTL: Duration = Duration::from_secs(3600);

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    bench.place(Placed::Apart)?;
    let sizes: &[usize] = if bench.quick { &[10_000] } else { &[100_000, 1_000_000] };
    for count in sizes {
        report.rows.extend(runtime()?.block_on(measure(bench, *count))?);
    }
    bench.place(Placed::Free)
}

fn request(number: usize) -> Outcome<Request> {
    Ok(Request {
        key: Key::new(format!("leases:{number}"))?,
        ticket: Ticket::mint(),
        holder: Holder::new("bench")?,
        note: None,
        want: Want::Lock,
        mode: Mode::Try,
        ttl: Ttl::new(TTL),
        bound: false,
        seen: None,
        max_waiting: None,
        tokens: 1,
    })
}

/// A store whose leases have their whole ttl from the start: nobody renews them before they are counted.
pub(crate) async fn open(bench: &Bench) -> Outcome<RedisStore> {
    Ok(RedisStore::connect_with(&bench.server.url(), RedisOptions::default().plain(false)).await?)
}

/// Takes so many leases, without a client that would renew them by itself.
pub(crate) async fn take(store: &RedisStore, count: usize) -> Outcome<Vec<Renewal>> {
    let taken = stream::iter(0..count).map(|number| async move {
        let request = request(number)?;
        store.acquire(&request).await?;
        let (key, who, ttl) = (request.key, Who::Ticket(request.ticket), request.ttl);
        Outcome::Ok(Renewal { key, who, ttl, detach: false, at_least: None })
    });
    taken.buffered(TOGETHER).try_collect().await
}

async fn measure(bench: &Bench, leases: usize) -> Outcome<Vec<Row>> {
    let mut admin = bench.server.bare().await?;
    redis::cmd("FLUSHALL").query_async::<()>(&mut admin).await?;
    let store = open(bench).await?;
    let renewals = take(&store, leases).await?;
    // The floor's own keys, as many.
    let bare = |number: usize| format!("bare:{number}");
    for some in (0..leases).collect::<Vec<_>>().chunks(1000) {
        let mut pipe = redis::pipe();
        for number in some {
            pipe.cmd("SET").arg(bare(*number)).arg("x").ignore();
        }
        pipe.query_async::<()>(&mut admin).await?;
    }
    let (mut ours, mut floor, mut longest) = (Series::default(), Series::default(), Series::default());
    let (mut wall, mut bare_wall) = (Series::default(), Series::default());
    let rounds = if leases > 100_000 { 1 } else { bench.size(5, 2) };
    for _ in 0..rounds {
        slowest(&mut admin, true).await?;
        count::reset_time(&mut admin).await?;
        let began = Instant::now();
        let renewed = store.renew(&renewals).await?;
        wall.push(began.elapsed().as_secs_f64() * 1e6 / leases as f64);
        ours.push(count::server_us(&mut admin, &["evalsha", "eval"]).await? / leases as f64);
        longest.push(slowest(&mut admin, false).await?);
        if renewed.len() != leases || renewed.iter().any(|one| !matches!(one, Renewed::Renewed { .. })) {
            return Err("a lease was not renewed".into());
        }
        count::reset_time(&mut admin).await?;
        let began = Instant::now();
        for some in (0..leases).collect::<Vec<_>>().chunks(200) {
            let mut pipe = redis::pipe();
            for number in some {
                pipe.cmd("PEXPIRE").arg(bare(*number)).arg(TTL.as_millis() as u64).ignore();
            }
            pipe.query_async::<()>(&mut admin).await?;
        }
        bare_wall.push(began.elapsed().as_secs_f64() * 1e6 / leases as f64);
        floor.push(count::server_us(&mut admin, &["pexpire"]).await? / leases as f64);
    }
    store.close().await;
    redis::cmd("FLUSHALL").query_async::<()>(&mut admin).await?;
    let title = format!("{} leases renewed", Number(leases as f64));
    let time = Row::new(format!("{title}: server time a lease / PEXPIRE"), "us", ours).floor(floor);
    let longest = Row::new(format!("{title}: the longest call"), "ms", longest);
    Ok(vec![
        time.goal(Of::Ours, Bound::AtMost(2.5)),
        longest.goal(Of::Ours, Bound::AtMost(5.0)),
        Row::new(format!("{title}: time a lease / pipelined PEXPIRE"), "us", wall).floor(bare_wall),
    ])
}

/// The longest EVALSHA that the server remembers, in milliseconds; `begin` makes it remember all from now on.
async fn slowest(admin: &mut MultiplexedConnection, begin: bool) -> Outcome<f64> {
    if begin {
        let mut config = redis::cmd("CONFIG");
        config.arg("SET").arg("slowlog-log-slower-than").arg(100).arg("slowlog-max-len").arg(100_000);
        config.query_async::<()>(admin).await?;
        redis::cmd("SLOWLOG").arg("RESET").query_async::<()>(admin).await?;
        return Ok(0.0);
    }
    // Number, time, microseconds, the command with its arguments (bytes, not text), and who sent it.
    type Slow = (i64, i64, i64, Vec<Vec<u8>>, String, String);
    let slow: Vec<Slow> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query_async(admin).await?;
    let ours =
        slow.iter().filter(|(_, _, _, words, ..)| words.first().is_some_and(|word| word == b"EVALSHA"));
    Ok(ours.map(|(_, _, us, ..)| *us).max().unwrap_or(0) as f64 / 1e3)
}
