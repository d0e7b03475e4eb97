//! What a server, or each of several, is like for locks: asked, then judged.

mod data;
mod info;
#[cfg(feature = "testing")]
pub(crate) mod parse;
mod rights;
mod service;

use std::time::Duration;

use redis::{Cmd, RedisError, Value};
use tokio::time::timeout;

use self::info::{CLUSTER_SETTINGS, Info, SETTINGS};
use self::rights::Of;
use super::at::At;
use super::connection::Connection;
use super::nodes::Nodes;
use super::seat::Seat;
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::finding::{Finding, Level};
use crate::observe;
use crate::store::memory::StoreClock;

pub(super) use self::rights::{CLUSTER_HINT, HINT};

/// How many round trips are timed, and for how long at most.
const PINGS: usize = 100;
const PINGING: Duration = Duration::from_secs(3);

/// A server as it was found.
struct Seen {
    node: String,
    info: Info,
    findings: Vec<Finding>,
}

/// Examines every server of a store, and its Sentinels.
pub(super) async fn examine(nodes: &Nodes, ttl: Duration) -> Result<Vec<Finding>> {
    let Some(sentinels) = nodes.sentinels() else { return servers(nodes, ttl).await };
    // They name the primary; it knows its replicas.
    let mut replicas = None::<Vec<At>>;
    for node in nodes.known() {
        if let Some(more) = replicas_of(nodes, node).await {
            replicas.get_or_insert_default().extend(more);
        }
    }
    let mut findings = sentinels.findings(replicas.as_ref().map(|all| all.len() as u64), ttl).await;
    let all = match replicas {
        Some(replicas) if !replicas.is_empty() => {
            servers(&nodes.with(sentinels, &replicas).map_err(|failed| failed.error)?, ttl).await
        }
        _ => servers(nodes, ttl).await,
    };
    // What the Sentinels say is worth most while no server answers.
    findings.extend(all.unwrap_or_else(|error| vec![Finding::from(error)]));
    Ok(findings)
}

/// The replicas that follow a node, if it is a primary and says so.
async fn replicas_of(nodes: &Nodes, node: usize) -> Option<Vec<At>> {
    let connection = nodes.dial(node).await.ok()?;
    let mut asked = Asked { connection, limit: nodes.options.response_timeout };
    let info = Info::of(&text(asked.ask(redis::cmd("INFO").arg("replication")).await?.ok()?));
    let at = |one: Info| Some(At { host: one.get("ip")?.into(), port: one.number("port")? });
    info.is("role", "master").then(|| info.replicas().into_iter().filter_map(at).collect())
}

async fn servers(nodes: &Nodes, ttl: Duration) -> Result<Vec<Finding>> {
    let (mut seen, mut findings, mut last) = (Vec::new(), Vec::new(), None);
    for node in nodes.known() {
        let address = nodes.address(node);
        match examine_one(nodes, node, ttl).await {
            Ok(one) => seen.push(one),
            Err(error) => {
                let Finding { code, what, fix, .. } = Finding::from(error.clone());
                // The others serve meanwhile; a password that is wrong here would be found at the failover.
                let level = if code == "unavailable" { Level::Warning } else { Level::Error };
                let why = "no failover can go there";
                findings.push(Finding { fix, ..Finding::new(level, code, what, why) }.at(address));
                last = Some(error);
            }
        }
    }
    match last {
        Some(error) if seen.is_empty() => return Err(error),
        _ => {}
    }
    if nodes.is_cluster() {
        findings.extend(without_replica(&seen));
        findings.extend(versions(&seen));
    } else if nodes.several() {
        findings.extend(together(&seen));
    }
    for Seen { node, findings: found, .. } in seen {
        let at = |finding: Finding| if nodes.several() { finding.at(&*node) } else { finding };
        findings.extend(found.into_iter().map(at));
    }
    Ok(findings)
}

/// Looks at what loses locks, when a store is opened. One round trip on a connection that is there, at most; whoever
/// may not ask is not bothered.
pub(super) async fn at_connect(seat: &Seat) {
    let (store, limit) = (&seat.nodes().store, seat.nodes().options.response_timeout);
    let Ok((generation, mut connection)) = seat.up(tokio::time::Instant::now()).await else { return };
    match timeout(limit, redis::cmd("INFO").query_async::<Value>(&mut connection)).await {
        Ok(Ok(told)) => grave(told).iter().for_each(|finding| observe::may_lose_locks(store, finding)),
        Ok(Err(error)) => observe::not_examined(store, &error),
        // It owes a reply now.
        Err(_) => drop(seat.lost(generation, seat.unavailable(format!("no answer within {limit:?}")))),
    }
}

/// What of an `INFO` loses locks without anybody's fault.
pub(super) fn grave(told: Value) -> Vec<Finding> {
    let info = Info::of(&text(told));
    let eviction = data::eviction(&info).filter(|finding| finding.level == Level::Error);
    eviction.into_iter().chain(data::min_replicas(&info)).collect()
}

/// A connection, and how long an answer may take.
struct Asked {
    connection: Connection,
    limit: Duration,
}

impl Asked {
    /// The answer or what the server says instead; `None` when it says nothing.
    async fn ask(&mut self, cmd: &Cmd) -> Option<Result<Value, RedisError>> {
        timeout(self.limit, cmd.query_async(&mut self.connection)).await.ok()
    }
}

async fn examine_one(nodes: &Nodes, node: usize, ttl: Duration) -> Result<Seen> {
    let (address, options) = (nodes.address(node), &nodes.options);
    let client = &nodes.client(node).map_err(|failed| failed.error)?;
    let silent = || {
        let why = format!("{address}: no answer within {:?}", options.response_timeout);
        Error::Unavailable { store: nodes.store.to_string(), why }
    };
    let connection = nodes.dial(node).await.map_err(|failed| failed.at(&address).error)?;
    let mut asked = Asked { connection, limit: options.response_timeout };
    let mut findings = Vec::new();

    let login = client.get_connection_info();
    let user = login.redis_settings().username().unwrap_or("default");
    let unread = |what: &str, why: &RedisError, right: &str| {
        let what = format!("{what} could not be read: {why}");
        let fix = format!("ACL SETUSER {user} {right}");
        Finding::new(Level::Note, "not-examined", what, "what it would tell is not examined").fix(fix)
    };
    let mut info = match asked.ask(&redis::cmd("INFO")).await.ok_or_else(silent)? {
        Ok(told) => Info::of(&text(told)),
        Err(error) => {
            findings.push(unread("INFO", &error, "+info"));
            Info::default()
        }
    };
    let of_cluster = if nodes.is_cluster() { &CLUSTER_SETTINGS[..] } else { &[] };
    for name in SETTINGS.iter().chain(of_cluster) {
        match asked.ask(redis::cmd("CONFIG").arg("GET").arg(name)).await.ok_or_else(silent)? {
            Ok(told) => info.take(&told),
            Err(error) => {
                findings.push(unread("CONFIG", &error, "+config|get"));
                break;
            }
        }
    }
    let pings = pings(&mut asked).await;
    let (ahead, unsure) = clock(&mut asked).await.unwrap_or_default();

    findings.extend(service::version(&info));
    findings.extend(data::role(&info, nodes.several(), nodes.is_cluster()));
    findings.extend(data::eviction(&info));
    findings.extend(data::memory(&info));
    findings.extend(data::persistence(&info));
    findings.extend(data::min_replicas(&info));
    findings.extend(data::failover(&info));
    findings.extend(service::limits(&info, options.health_check));
    findings.extend(service::way(login.addr(), login.redis_settings().password().is_some()));
    findings.extend(service::latency(pings, ttl));
    findings.extend(service::clock(ahead, unsure, ttl));
    let of = if nodes.is_cluster() { Of::Node(nodes.shard(node)) } else { Of::Server };
    let missing = rights::missing(of, client, &mut asked.connection, asked.limit).await;
    findings.extend(missing.finding(user, of));
    Ok(Seen { node: address, info, findings })
}

async fn pings(asked: &mut Asked) -> Vec<Duration> {
    let (mut pings, began) = (Vec::with_capacity(PINGS), Moment::now());
    while pings.len() < PINGS && Moment::now().since(began) < PINGING {
        let sent = Moment::now();
        match asked.ask(&redis::cmd("PING")).await {
            Some(Ok(_)) => {}
            Some(Err(_)) => break, // a right that is missing is found below
            None => {
                pings.push(asked.limit);
                break;
            }
        }
        pings.push(Moment::now().since(sent));
    }
    pings
}

/// By how many microseconds the server's clock is ahead of this machine's, and how sure that is.
async fn clock(asked: &mut Asked) -> Option<(i64, Duration)> {
    let here = StoreClock::real();
    let before = here.now();
    let told = asked.ask(&redis::cmd("TIME")).await?.ok()?;
    let after = here.now();
    let (secs, micros): (i64, i64) = redis::from_redis_value(told).ok()?;
    let between = i64::try_from(before.midpoint(after)).ok()?;
    Some((secs * 1_000_000 + micros - between, Duration::from_micros(after.saturating_sub(before) / 2)))
}

/// What several servers are to each other.
fn together(seen: &[Seen]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_primary = |one: &&Seen| one.info.is("role", "master");
    let primaries: Vec<&Seen> = seen.iter().filter(is_primary).collect();
    let told: Vec<String> = seen.iter().map(|one| told(one, primaries.first().copied())).collect();
    let why = "the first of them that is a primary and takes writes is used, and followed when that changes";
    findings.push(Finding::new(Level::Note, "nodes", told.join("; "), why));
    if let [one, other, ..] = &primaries[..] {
        let what = format!("{} and {} both call themselves primary", one.node, other.node);
        let why =
            "the same key may be held at both, by clients that name them in another order or were cut off";
        let fix = format!("at the one that is not to be it: REPLICAOF {}", one.node.replace(':', " "));
        findings.push(Finding::new(Level::Error, "two-primaries", what, why).fix(fix));
    }
    // What is cut off may be the next primary.
    let minimum = |one: &&Seen| one.info.get("min_slaves_good_slaves").is_some();
    if primaries.iter().any(minimum) {
        for one in seen.iter().filter(|one| one.info.is("role", "slave") && !minimum(one)) {
            let what = "its primary has a min-replicas-to-write, and it has none";
            let why = "as the next primary it would go on granting when it is cut off";
            let fix =
                "CONFIG SET min-replicas-to-write 1; CONFIG SET min-replicas-max-lag 10; CONFIG REWRITE";
            findings.push(Finding::new(Level::Warning, "min-replicas", what, why).fix(fix).at(&*one.node));
        }
    }
    findings.extend(versions(seen));
    findings
}

fn versions(seen: &[Seen]) -> Option<Finding> {
    let mut versions: Vec<String> = seen.iter().map(|one| one.info.version()).collect();
    versions.sort_unstable();
    versions.dedup();
    let what = format!("they are not of one version: {}", versions.join(", "));
    let why = "after a failover another one serves";
    (versions.len() > 1).then(|| Finding::new(Level::Note, "versions", what, why))
}

/// Which primaries of a cluster nobody could take over from.
fn without_replica(seen: &[Seen]) -> Option<Finding> {
    let is_alone = |one: &&Seen| one.info.is("role", "master") && one.info.is("connected_slaves", "0");
    let alone: Vec<&str> = seen.iter().filter(is_alone).map(|one| &*one.node).collect();
    let what = format!("no replica follows {}", alone.join(", "));
    let why = "when a primary without one ends, its locks are away until it is back";
    let fix = "redis-cli --cluster add-node NEW:PORT HOST:PORT --cluster-slave";
    (!alone.is_empty()).then(|| Finding::new(Level::Warning, "cluster-replicas", what, why).fix(fix))
}

fn told(one: &Seen, primary: Option<&Seen>) -> String {
    let (node, info) = (&one.node, &one.info);
    match info.get("role") {
        Some("master") => format!("{node} is a primary"),
        Some("slave") => {
            let offset = |info: &Info, name| info.number::<u64>(name);
            let behind = primary
                .and_then(|primary| offset(&primary.info, "master_repl_offset"))
                .zip(offset(info, "slave_repl_offset"));
            let behind = behind.map(|(there, here)| format!(", {} bytes behind", there.saturating_sub(here)));
            let link = info.get("master_link_status").unwrap_or("unknown");
            format!("{node} is a replica, its link is {link}{}", behind.unwrap_or_default())
        }
        _ => format!("{node} does not tell its role"),
    }
}

fn text(told: Value) -> String {
    match told {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::VerbatimString { text, .. } => text,
        _ => String::new(),
    }
}
