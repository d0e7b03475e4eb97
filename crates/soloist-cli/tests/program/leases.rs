//! `soloist lock`, `renew`, `unlock`: a lease without a process.

use crate::on_both_stores;
use crate::place::Place;

on_both_stores! {
    a_lease_lives_on_without_a_process
    a_named_holder_needs_no_lease_id
}

fn a_lease_lives_on_without_a_process(place: &Place) {
    let lease = place.ok(&["lock", "article:12", "--ttl", "1h", "--note", "editing"]).trim_end().to_owned();
    assert!(lease.starts_with("article:12@"), "{lease}");
    let shown = place.show("article:12");
    assert_eq!((&shown["held"], &shown["note"]), (&true.into(), &"editing".into()));
    place.ok(&["renew", &lease, "--ttl", "2h"]);
    assert!(place.show("article:12")["left_ms"].as_u64().unwrap() > 3_600_000);
    place.soloist(&["lock", "article:12", "--try"]).fails(124, "is held by");
    let full = place.soloist(&["lock", "article:12", "--max-waiting", "0"]);
    full.fails(124, "\"article:12\" has 0 waiting, at most 0 may");
    full.fails(124, "hint: come back later, or pass a larger --max-waiting");
    place.ok(&["unlock", &lease]);
    assert_eq!(place.show("article:12")["held"], false);
    place.soloist(&["unlock", &lease]).fails(123, "is not held by that lease or holder: it is free");
    place.soloist(&["renew", &lease, "--ttl", "1h"]).fails(123, "is not held by that lease");
}

fn a_named_holder_needs_no_lease_id(place: &Place) {
    place.ok(&["lock", "k", "--holder", "user:20", "--no-expiry"]);
    assert_eq!(place.show("k")["left_ms"], serde_json::Value::Null);
    place.soloist(&["unlock", "--key", "k", "--holder", "user:21"]).fails(123, "user:20 holds it");
    place.ok(&["renew", "--key", "k", "--holder", "user:20", "--ttl", "1h"]);
    place.ok(&["unlock", "--key", "k", "--holder", "user:20"]);
    place.ok(&["unlock", "--key", "k", "--break"]);
}

#[test]
fn json_says_the_same() {
    let place = Place::local();
    let json = |args: &[&str]| -> serde_json::Value { serde_json::from_str(&place.ok(args)).unwrap() };
    let lock = json(&["lock", "k\n1", "--holder", "me", "--ttl", "90s", "--json"]);
    assert_eq!(
        (&lock["key"], &lock["holder"], &lock["ttl_ms"]),
        (&"k\n1".into(), &"me".into(), &90_000.into())
    );
    let lease = lock["lease"].as_str().unwrap();
    assert_eq!(json(&["renew", lease, "--ttl", "1h", "--json"])["token"], lock["token"]);
    assert_eq!(json(&["unlock", lease, "--json"])["released"], true);
    assert_eq!(json(&["unlock", "--key", "k\n1", "--break", "--json"])["released"], false);
}

#[test]
fn a_lease_that_cannot_be_printed_is_released() {
    let place = Place::local();
    place.soloist(&["lock", "two\nlines"]).fails(125, "--json");
    assert_eq!(place.show("two\nlines")["held"], false);
}
