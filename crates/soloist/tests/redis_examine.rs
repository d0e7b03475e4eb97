//! What an examination finds at real servers: each missing right, and what several servers are to each other.
//! The program's own tests (`doctor.rs`) have the settings of one server.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::Arc;
use std::time::Duration;

use redis_server::RedisServer;
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::testing::{FaultyWire, WireFault};
use soloist::{Client, Finding, Level};

const LIMIT: Duration = Duration::from_secs(30);

async fn run(server: &RedisServer, words: &[&str]) {
    let mut cmd = redis::cmd(words[0]);
    cmd.arg(&words[1..]).query_async::<()>(&mut server.admin().await).await.unwrap();
}

async fn examined(url: &str) -> Vec<Finding> {
    let client = Client::connect(url).await.unwrap();
    let findings = tokio::time::timeout(LIMIT, client.examine()).await.expect("in time").unwrap();
    client.close().await;
    findings
}

fn of<'a>(findings: &'a [Finding], code: &str) -> Option<&'a Finding> {
    findings.iter().find(|finding| finding.code == code)
}

/// The rights of docs/redis.md, one word each.
fn documented() -> Vec<&'static str> {
    let page = include_str!("../../../docs/redis.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER soloist")).unwrap();
    line.split_whitespace().skip_while(|word| *word != "resetkeys").collect()
}

#[tokio::test]
async fn each_right_that_is_missing_is_named_with_the_line_that_gives_it() {
    let server = RedisServer::start();
    let url = server.url().replace("redis://", "redis://worker:pw@");
    let all = documented();
    let rights: Vec<&str> =
        all.iter().copied().filter(|word| !word.contains("reset") && *word != "-@all").collect();
    assert!(rights.len() > 20, "{rights:?}");
    for missing in [""].iter().chain(&rights) {
        let have: Vec<&str> = all.iter().copied().filter(|word| word != missing).collect();
        run(&server, &[&["ACL", "SETUSER", "worker", "reset", "on", ">pw"], &have[..]].concat()).await;
        // Who may hear nothing is refused at once.
        let findings = match Client::connect(&url).await {
            Ok(client) => client.examine().await.unwrap(),
            Err(error) => vec![Finding::from(error)],
        };
        let found = of(&findings, "rights");
        if missing.is_empty() {
            assert_eq!(found, None, "the documented user lacks nothing");
            assert_eq!(of(&findings, "not-examined").unwrap().level, Level::Note, "it may not read settings");
            continue;
        }
        let found = found.unwrap_or_else(|| panic!("{missing} is not missed: {findings:?}"));
        assert_eq!(found.level, Level::Error);
        let fix = found.fix.as_deref().unwrap();
        assert!(fix.contains("ACL SETUSER") && fix.split_whitespace().any(|word| word == *missing), "{fix}");
        let named = match missing.split_at(1) {
            ("+", command) => found.what.contains(command),
            ("~", _) => found.what.contains("keys"),
            _ => found.what.contains("channel"),
        };
        assert!(named, "{missing}: {found:?}");
        // The line is enough.
        if fix.starts_with("ACL SETUSER worker") {
            let words: Vec<&str> = fix.split_whitespace().collect();
            run(&server, &words).await;
            assert_eq!(of(&examined(&url).await, "rights"), None, "{fix}");
        }
    }
    let mut admin = server.admin().await;
    let left: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut admin).await.unwrap();
    assert!(left.is_empty(), "it leaves nothing behind: {left:?}");
}

/// Until the examination says so; what servers know of each other takes its time.
async fn until(url: &str, what: &str, is_so: impl Fn(&[Finding]) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let waiting = tokio::time::timeout(LIMIT, async {
        loop {
            findings = examined(url).await;
            if is_so(&findings) {
                return;
            }
        }
    });
    let in_time = waiting.await.is_ok();
    assert!(in_time, "waited in vain for {what}: {findings:#?}");
    findings
}

#[tokio::test]
async fn several_servers_are_examined_together() {
    let primary = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
    let port = primary.port().to_string();
    let mut replica =
        RedisServer::start_with(&["--replicaof", "127.0.0.1", &port, "--maxmemory-policy", "allkeys-lru"]);
    let (one, other) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", replica.port()));
    let url = format!("redis://{one},{other}");

    let in_step = |findings: &[Finding]| {
        of(findings, "nodes").is_some_and(|nodes| nodes.what.contains("its link is up"))
            && of(findings, "min-replicas").is_some()
            && of(findings, "replica-link").is_none()
    };
    let findings = until(&url, "the replica to follow", in_step).await;
    let nodes = &of(&findings, "nodes").unwrap().what;
    assert!(
        nodes.contains(&format!("{one} is a primary")) && nodes.contains(&format!("{other} is a replica"))
    );
    assert_eq!(of(&findings, "is-replica"), None, "that is what it is for");
    assert_eq!(of(&findings, "rights"), None, "that a replica takes no writes is not for want of rights");
    let at = |code: &str| of(&findings, code).unwrap_or_else(|| panic!("no {code}")).node.clone();
    assert_eq!((at("min-replicas"), at("maxmemory-policy")), (Some(one.clone()), Some(other.clone())));
    assert!(findings.is_sorted_by_key(|finding| std::cmp::Reverse(finding.level)), "worst first");

    // The next primary is to have one as well.
    run(&primary, &["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let next = |findings: &[Finding]| {
        of(findings, "min-replicas").is_some_and(|it| it.node.as_ref() == Some(&other))
    };
    until(&url, "the replica's minimum to be missed", next).await;
    run(&replica, &["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    until(&url, "the minimum to be seen", |findings| of(findings, "min-replicas").is_none()).await;

    run(&primary, &["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    run(&replica, &["REPLICAOF", "NO", "ONE"]).await;
    let findings = until(&url, "two primaries", |findings| of(findings, "two-primaries").is_some()).await;
    assert_eq!(findings[0].level, Level::Error);
    assert!(of(&findings, "two-primaries").unwrap().fix.as_deref().unwrap().contains("REPLICAOF 127.0.0.1"));

    replica.kill();
    let findings = examined(&url).await;
    let away = of(&findings, "unavailable").unwrap();
    assert_eq!((away.level, away.node.as_ref()), (Level::Warning, Some(&other)));
}

#[tokio::test]
async fn a_replica_that_lost_its_primary_is_told() {
    let mut primary = RedisServer::start();
    let port = primary.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]);
    // A primary that still answers, named first, so that a connection comes about.
    let third = RedisServer::start();
    let url = format!("{},127.0.0.1:{}", third.url(), replica.port());
    primary.kill();
    let lost = |findings: &[Finding]| of(findings, "replica-link").is_some();
    let findings = until(&url, "the link to be missed", lost).await;
    assert_eq!(of(&findings, "replica-link").unwrap().level, Level::Warning);
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_an_error() {
    let (primary, server) = (RedisServer::start(), RedisServer::start());
    let client = Client::connect(&server.url()).await.unwrap();
    run(&server, &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
    let findings = client.examine().await.unwrap();
    assert_eq!((findings[0].level, findings[0].code), (Level::Error, "is-replica"));
}

#[tokio::test]
async fn a_look_that_is_not_answered_spoils_no_connection() {
    let server = RedisServer::start();
    let wire = FaultyWire::before(("127.0.0.1", server.port())).unwrap();
    wire.on_request(b"\r\nINFO\r\n", WireFault::Silence);
    let options = RedisOptions::default().response_timeout(Duration::from_millis(300)).give_up(LIMIT);
    let store = RedisStore::connect_with(&wire.url(), options).await.unwrap();
    assert_eq!(wire.counts().silenced, 1);
    // The connection that owes a reply is not used again: there is a third one before anything is asked.
    let mut counts = wire.watch();
    let third = counts.wait_for(|counts| counts.connections == 3);
    assert!(tokio::time::timeout(LIMIT, third).await.is_ok_and(|third| third.is_ok()));
    let client = Client::builder().store(Arc::new(store)).unwrap();
    assert!(client.try_lock("k").await.unwrap().is_some());
    client.close().await;
}
