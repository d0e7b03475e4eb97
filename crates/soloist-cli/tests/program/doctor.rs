//! `soloist doctor`: each finding at a store that is badly configured, and none that is bad at a good one.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::fs::FlockOperation;
use serde_json::Value;

use crate::place::{Place, wait_for};
use soloist::testing::{RedisServer, free_port};

const GOOD: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

fn on(server: RedisServer) -> Place {
    let mut place = Place::local();
    place.url = server.url();
    place.server = Some(server);
    place
}

/// The exit code and the findings, as the program prints them for other programs.
fn doctor(place: &Place, args: &[&str]) -> (i32, Vec<Value>) {
    let ended = place.soloist(&[&["doctor", "--json"], args].concat());
    let findings: Vec<Value> =
        ended.text().lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert!(!findings.is_empty(), "{ended:?}");
    for finding in &findings {
        let worth = finding["what"].as_str().unwrap().len() + finding["why"].as_str().unwrap().len();
        let (level, code) = (finding["level"].as_str().unwrap(), finding["code"].as_str().unwrap());
        let page = include_str!("../../../../docs/cli.md");
        assert!(page.contains(&format!("`{code}`")), "docs/cli.md does not know {code}");
        assert!(worth > 10 && (level == "note" || finding["fix"].is_string()), "no way out: {finding}");
    }
    (ended.code, findings)
}

fn level(findings: &[Value], code: &str) -> Option<String> {
    let found = findings.iter().find(|finding| finding["code"] == code);
    found.map(|finding| finding["level"].as_str().unwrap().to_owned())
}

/// Checks that this is found, at this level.
fn finds(place: &Place, expected: &str, code: &str) -> Vec<Value> {
    let (_, findings) = doctor(place, &[]);
    assert_eq!(level(&findings, code).as_deref(), Some(expected), "{code}: {findings:#?}");
    findings
}

#[test]
fn a_good_server_has_notes_only() {
    let place = on(RedisServer::start_with(GOOD));
    let (code, findings) = doctor(&place, &[]);
    assert_eq!(code, 0);
    let bad = |finding: &&Value| finding["level"] != "note" && finding["code"] != "latency"; // a slow machine
    assert_eq!(findings.iter().find(bad), None);
    for code in ["latency", "cycle"] {
        assert!(level(&findings, code).is_some(), "{code}");
    }
    assert_eq!(place.ok(&["ls"]), "", "it leaves no key behind");
    let ended = place.soloist(&["doctor"]);
    assert!(ended.text().contains("note     cycle: taking a lock took "), "{ended:?}");
    assert!(ended.err.contains("0 errors, "), "{ended:?}");
    assert!(!ended.text().contains('\u{1b}'), "no colour but at a terminal");
    assert_eq!(place.soloist(&["doctor", "-q"]).err, "");
}

#[test]
fn each_setting_that_harms_is_found() {
    let place = on(RedisServer::start_with(GOOD));
    let server = place.server.as_ref().unwrap();
    for (name, bad, good, expected, code) in [
        ("maxmemory-policy", "allkeys-lru", "noeviction", "note", "maxmemory-policy"),
        ("appendfsync", "everysec", "always", "note", "persistence"),
        ("appendfsync", "no", "always", "note", "persistence"),
        ("appendonly", "no", "yes", "warning", "persistence"),
        ("timeout", "300", "0", "note", "timeout"),
        ("timeout", "3", "0", "warning", "timeout"),
        ("busy-reply-threshold", "50", "5000", "note", "busy-scripts"),
        (
            "client-output-buffer-limit",
            "pubsub 65536 65536 60",
            "pubsub 32mb 8mb 60",
            "warning",
            "pubsub-buffer",
        ),
    ] {
        server.set(name, bad);
        finds(&place, expected, code);
        server.set(name, good);
        let (_, findings) = doctor(&place, &[]);
        assert_eq!(level(&findings, code), None, "{name} {good}");
    }
    server.set("save", "3600 1");
    server.set("appendonly", "no");
    let findings = finds(&place, "warning", "persistence");
    assert!(findings.iter().any(|finding| finding["what"].to_string().contains("save 3600 1")));
}

#[test]
fn eviction_is_an_error_and_told_whenever_a_lock_is_taken() {
    let place = on(RedisServer::start_with(GOOD));
    let server = place.server.as_ref().unwrap();
    server.set("maxmemory", "100mb");
    assert_eq!(level(&doctor(&place, &[]).1, "maxmemory-policy"), None);
    assert_eq!(place.soloist(&["run", "k", "--", "true"]).err, "");
    server.set("maxmemory-policy", "volatile-ttl");
    let (code, findings) = doctor(&place, &[]);
    assert_eq!(
        (code, findings[0]["level"].as_str(), findings[0]["code"].as_str()),
        (1, Some("error"), Some("maxmemory-policy"))
    );
    assert_eq!(findings[0]["fix"], "CONFIG SET maxmemory-policy noeviction");

    let ended = place.soloist(&["run", "k", "--", "true"]);
    let said: Vec<&str> = ended.err.lines().collect();
    assert_eq!((ended.code, said.len()), (0, 2), "{ended:?}");
    let warning = format!("soloist: warning: {} may lose locks: maxmemory-policy is volatile-ttl", place.url);
    assert!(said[0].starts_with(&warning), "{ended:?}");
    assert_eq!(said[1], "soloist: hint: CONFIG SET maxmemory-policy noeviction; `soloist doctor` says more");
    assert_eq!(place.soloist(&["-q", "run", "k", "--", "true"]).err, "");
    // The doctor says it once, among its findings.
    assert!(!place.soloist(&["doctor"]).err.contains("warning:"));
}

#[test]
fn warnings_count_where_one_is_strict() {
    let place = on(RedisServer::start());
    let (code, findings) = doctor(&place, &[]);
    assert_eq!((code, level(&findings, "persistence").as_deref()), (0, Some("warning")));
    assert_eq!(doctor(&place, &["--strict"]).0, 1);
}

#[test]
fn memory_and_clients_that_run_out_are_found() {
    let place = on(RedisServer::start_with(GOOD));
    let server = place.server.as_ref().unwrap();
    assert!(server.say("SETRANGE filler 30000000 x").starts_with(':'));
    server.set("maxmemory", "33mb");
    finds(&place, "warning", "memory");
    server.set("maxmemory", "100mb");
    assert_eq!(level(&doctor(&place, &[]).1, "memory"), None);

    server.set("maxclients", "40");
    // With the doctor's own three at that moment, 37: more than nine of ten.
    let held: Vec<TcpStream> =
        (0..34).map(|_| TcpStream::connect(("127.0.0.1", server.port())).unwrap()).collect();
    finds(&place, "warning", "maxclients");
    drop(held);
}

#[test]
fn a_disk_that_takes_no_snapshot_is_found() {
    let place = on(RedisServer::start());
    let server = place.server.as_ref().unwrap();
    std::fs::remove_dir_all(server.dir()).unwrap();
    server.say("BGSAVE");
    wait_for("the snapshot to fail", || level(&doctor(&place, &[]).1, "not-saved").is_some());
    finds(&place, "error", "not-saved");
}

#[test]
fn replicas_without_a_minimum_are_found_and_told() {
    let place = on(RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]));
    let server = place.server.as_ref().unwrap();
    let port = server.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]);
    wait_for("the replica", || level(&doctor(&place, &[]).1, "min-replicas").is_some());
    assert_eq!(level(&doctor(&place, &[]).1, "min-replicas").as_deref(), Some("warning"));
    let ended = place.soloist(&["run", "k", "--", "true"]);
    assert!(ended.code == 0 && ended.err.contains("min-replicas"), "{ended:?}");
    server.set("min-replicas-to-write", "1");
    assert_eq!(level(&doctor(&place, &[]).1, "min-replicas"), None);

    let mut place = Place::local();
    place.url = replica.url();
    let (code, findings) = doctor(&place, &[]);
    assert_eq!((code, level(&findings, "is-replica").as_deref()), (125, Some("error")));
}

#[test]
fn a_server_that_is_guarded_after_its_start_is_a_note() {
    let mut place = on(RedisServer::start_with(GOOD));
    place.url += "?boot_guard=10m";
    let (code, findings) = doctor(&place, &[]);
    assert_eq!((code, level(&findings, "boot-guard").as_deref()), (0, Some("note")), "{findings:#?}");
    place.soloist(&["run", "k", "--try", "--", "true"]).fails(124, "boot guard");
    place.soloist(&["run", "k", "--ttl", "11m", "--", "true"]).fails(125, "--ttl: the store's boot guard");
    let waited = place.soloist(&["run", "k", "--wait", "1s", "--", "true"]);
    waited.fails(124, "warning: not granted yet");
}

#[test]
fn a_cluster_is_found() {
    let place = on(RedisServer::start_with(&["--cluster-enabled", "yes"]));
    let (code, findings) = doctor(&place, &[]);
    // Nothing more can be looked at there.
    assert_eq!((code, level(&findings, "cluster").as_deref()), (125, Some("error")), "{findings:#?}");
    assert!(findings[0]["fix"].as_str().unwrap().contains("redis-cluster://"), "{findings:#?}");
}

#[test]
fn a_cluster_is_examined_and_what_loses_locks_there_is_told() {
    let bus = free_port().to_string();
    let server = [
        &["--cluster-enabled", "yes", "--cluster-port", &bus, "--maxmemory", "100mb"][..],
        &["--maxmemory-policy", "allkeys-lru"],
    ];
    let mut place = on(RedisServer::start_with(&server.concat()));
    let server = place.server.as_ref().unwrap();
    assert_eq!(server.say("CLUSTER ADDSLOTSRANGE 0 16383"), "+OK");
    wait_for("the cluster", || server.say("SET k v") == "+OK");
    place.url = server.url().replace("redis://", "redis-cluster://");
    let (code, findings) = doctor(&place, &[]);
    assert_eq!(code, 1, "{findings:#?}");
    for (code, expected) in [
        ("maxmemory-policy", "error"),
        ("cluster", "note"),
        ("cluster-coverage", "note"),
        ("cluster-replicas", "warning"),
        ("cluster-size", "warning"),
    ] {
        assert_eq!(level(&findings, code).as_deref(), Some(expected), "{code}: {findings:#?}");
    }
    let ended = place.soloist(&["run", "k", "--", "true"]);
    let node = format!("127.0.0.1:{}", place.server.as_ref().unwrap().port());
    let warning = format!("{} may lose locks: {node}: maxmemory-policy is allkeys-lru", place.url);
    assert!(ended.code == 0 && ended.err.contains(&warning), "{ended:?}");
    assert_eq!(place.soloist(&["run", "-q", "k", "--", "true"]).err, "");
    place.server.as_ref().unwrap().set("maxmemory-policy", "noeviction");
    assert_eq!(place.soloist(&["run", "k", "--", "true"]).err, "");
}

#[test]
fn a_way_that_others_can_listen_to_is_found() {
    let place = on(RedisServer::start_with(GOOD));
    assert_eq!(level(&doctor(&place, &[]).1, "no-tls"), None);
    // The same server by a name that does not look like the loopback's.
    let mut other = Place::local();
    other.url = place.url.replace("127.0.0.1", "127.1");
    let findings = finds(&other, "warning", "no-tls");
    assert_eq!(level(&findings, "no-password").as_deref(), Some("note"));
}

#[test]
fn rights_are_found_with_the_line_for_this_user() {
    let mut place = on(RedisServer::start_with(GOOD));
    let server = place.server.as_ref().unwrap();
    let rights = "~soloist:1:* &soloist:1:* +@all -publish -config";
    assert_eq!(server.say(&format!("ACL SETUSER worker on >geheim resetchannels {rights}")), "+OK");
    place.url = server.url().replace("redis://", "redis://worker:geheim@");
    let (code, findings) = doctor(&place, &[]);
    assert_eq!((code, level(&findings, "not-examined").as_deref()), (1, Some("note")));
    let found = findings.iter().find(|finding| finding["code"] == "rights").unwrap();
    assert!(found["what"].as_str().unwrap().contains("publish"), "{found}");
    let fix = found["fix"].as_str().unwrap();
    assert!(fix.starts_with("ACL SETUSER worker "), "{found}");
    // Without that right no event is heard and nothing is handed over.
    assert_eq!(level(&findings, "cycle").as_deref(), Some("error"));
    assert_eq!(server.say(fix), "+OK");
    let (code, findings) = doctor(&place, &[]);
    assert_eq!((code, level(&findings, "rights")), (0, None));
    assert!(!format!("{findings:?}").contains("geheim"));
}

#[test]
fn a_store_that_cannot_be_reached_is_its_one_finding() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let web = listener.local_addr().unwrap().port();
    // Not Redis; ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let port = server.port();
    for (url, code) in [
        (format!("redis://:geheim@127.0.0.1:{port}"), "password"),
        (format!("redis://127.0.0.1:{port}"), "password"),
        (format!("redis://127.0.0.1:{}", free_port()), "unavailable"),
        (format!("rediss://127.0.0.1:{port}"), "tls"),
        (format!("redis://127.0.0.1:{web}"), "not-redis"),
        ("redis://127.0.0.1/nine".into(), "url"),
        ("local:/proc/self".into(), "folder"),
    ] {
        let mut place = Place::local();
        place.url = url;
        let (exit, findings) = doctor(&place, &[]);
        assert_eq!((exit, findings.len()), (125, 1), "{findings:?}");
        assert_eq!(
            (findings[0]["level"].as_str(), findings[0]["code"].as_str()),
            (Some("error"), Some(code))
        );
        assert!(
            findings[0]["fix"].is_string() && !findings[0].to_string().contains("geheim"),
            "{findings:?}"
        );
        let said = place.soloist(&["doctor"]);
        assert!(said.code == 125 && said.text().starts_with(&format!("error    {code}: ")), "{said:?}");
    }
}

/// The shard files of the store.
fn shards(place: &Place) -> Vec<PathBuf> {
    let base = std::fs::read_dir(place.file("store")).unwrap().next().unwrap().unwrap().path();
    std::fs::read_dir(base.join("s")).unwrap().map(|file| file.unwrap().path()).collect()
}

#[test]
fn a_local_store_is_examined() {
    let place = Place::local();
    place.ok(&["lock", "k", "--ttl", "1h"]);
    let (code, findings) = doctor(&place, &[]);
    let bad = |finding: &&Value| finding["level"] != "note" && finding["code"] != "space";
    assert_eq!((code, findings.iter().find(bad)), (0, None));
    let found =
        |code: &str| findings.iter().find(|finding| finding["code"] == code).unwrap()["what"].to_string();
    assert!(found("use").contains("1 keys are held"), "{}", found("use"));
    assert!(found("folder").contains(place.dir.path().to_str().unwrap()));
    assert!(level(&findings, "cycle").is_some());
    assert_eq!(place.ok(&["ls"]).lines().count(), 2, "the key of this test, and none of the doctor's");

    let shard = &shards(&place)[0];
    std::fs::set_permissions(shard, PermissionsExt::from_mode(0o644)).unwrap();
    finds(&place, "warning", "files");
    std::fs::set_permissions(shard, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(level(&doctor(&place, &[]).1, "files"), None);
}

#[test]
fn a_damaged_or_locked_shard_is_named() {
    let place = Place::local();
    place.ok(&["lock", "k", "--ttl", "1h"]);
    let shard = shards(&place).remove(0);
    let file = std::fs::File::options().write(true).open(&shard).unwrap();
    rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
    let findings = finds(&place, "warning", "busy");
    let name = shard.file_name().unwrap().to_str().unwrap();
    assert!(findings.iter().any(|finding| finding["what"].to_string().contains(name)), "{findings:#?}");
    rustix::fs::flock(&file, FlockOperation::Unlock).unwrap();

    std::fs::write(&shard, b"nothing of ours").unwrap();
    let (code, findings) = doctor(&place, &[]);
    assert_eq!((code, level(&findings, "damaged").as_deref()), (1, Some("error")), "{findings:#?}");
    assert!(findings[0]["what"].as_str().unwrap().contains(shard.to_str().unwrap()));
}

#[test]
fn a_store_of_one_process_is_told() {
    let mut place = Place::local();
    place.url = "memory:".into();
    let (code, findings) = doctor(&place, &[]);
    assert_eq!((code, level(&findings, "one-process").as_deref()), (0, Some("note")));
}
