//! `--replicas`: a lease that counts only when replicas have it, on a real primary with one replica.

use crate::place::{Ended, Place, Running, wait_for};
use soloist::testing::RedisServer;

/// A primary, and a replica that is in step with it.
fn pair() -> (Place, RedisServer) {
    let mut place = Place::redis();
    let primary = place.server.as_ref().unwrap();
    // No pause before a replica is served, for those who come together.
    primary.set("repl-diskless-sync-delay", "0");
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    wait_for("a replica in step", || primary.say("WAIT 1 100") == ":1");
    place.url = primary.url();
    (place, replica)
}

/// Runs it where everybody is to wait for one replica.
fn with_one(place: &Place, args: &[&str]) -> Ended {
    let mut command = place.command(args);
    command.env("SOLOIST_REPLICAS", "1");
    Running::of(command).end()
}

#[test]
fn a_lease_that_the_replica_has_counts() {
    let (place, _replica) = pair();
    assert_eq!(place.ok(&["run", "k", "--replicas", "1", "--", "echo", "ran"]), "ran\n");
    assert_eq!(place.ok(&["run", "k", "--try", "--replicas", "1", "--", "echo", "ran"]), "ran\n");
    assert_eq!(place.ok(&["once", "r", "--replicas", "1", "--", "echo", "once"]), "once\n");
    let lease = place.ok(&["lock", "k", "--replicas", "1"]);
    place.ok(&["unlock", lease.trim()]);
}

#[test]
fn one_that_reaches_too_few_is_given_back() {
    let (place, replica) = pair();
    replica.freeze();
    for verb in ["run", "once"] {
        let ended = place.soloist(&[verb, "k", "--replicas", "1", "--", "echo", "ran"]);
        assert_eq!((ended.code, ended.text()), (125, String::new()), "{ended:?}");
        assert!(
            ended.err.contains("reached 0 of the 1 replicas") && ended.err.contains("--replicas"),
            "{ended:?}"
        );
    }
    let ended = place.soloist(&["lock", "k", "--replicas", "1"]);
    assert_eq!((ended.code, ended.text()), (125, String::new()), "{ended:?}");
    assert_eq!(place.ok(&["ls"]), "", "nothing is held");
    replica.wake();
}

#[test]
fn the_environment_says_it_for_all() {
    let (place, replica) = pair();
    replica.freeze();
    let ended = with_one(&place, &["run", "k", "--", "echo", "ran"]);
    assert_eq!(ended.code, 125, "{ended:?}");
    let ended = with_one(&place, &["run", "k", "--replicas", "0", "--", "true"]);
    assert_eq!(ended.code, 0, "the option counts: {ended:?}");
    replica.wake();
}

#[test]
fn a_store_without_replicas_says_so() {
    let place = Place::local();
    let ended = place.soloist(&["run", "k", "--replicas", "1", "--", "echo", "ran"]);
    assert_eq!((ended.code, ended.text()), (125, String::new()), "{ended:?}");
    assert!(ended.err.contains("replicas") && ended.err.contains("hint"), "{ended:?}");
}
