#![allow(clippy::unwrap_used)]

use super::*;

const TTL: Duration = Duration::from_secs(30);

fn at(port: u16) -> At {
    At { host: "10.0.0.1".into(), port }
}

fn facts(text: &str) -> Facts {
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.into(), value.into())).collect()
}

/// One of three that are set up well; what is said changes it.
fn one(port: u16, said: &str) -> Seen {
    let usual = "flags=master quorum=2 num-other-sentinels=2 num-slaves=2 down-after-milliseconds=5000 \
                 failover-timeout=30000 config-epoch=7 runid=p";
    let mut all = facts(usual);
    all.extend(facts(said));
    let primary = at(u16::try_from(number(&all, "primary").unwrap_or(6379)).unwrap());
    (at(port), Ok(Known { primary, id: format!("id{port}"), facts: all, others: Vec::new() }))
}

fn trio(said: &str) -> Vec<Seen> {
    (1..=3).map(|port| one(port, said)).collect()
}

/// What is worse than the note that sums it up.
fn found(seen: &[Seen], replicas: Option<u64>, ttl: Duration) -> Vec<(Level, &'static str)> {
    let found = judged("main", seen, replicas, ttl).into_iter().filter(|finding| finding.code != "sentinels");
    found.map(|finding| (finding.level, finding.code)).collect()
}

#[test]
fn three_that_are_set_up_well_are_summed_up() {
    let seen = trio("");
    assert_eq!(found(&seen, Some(2), TTL), []);
    assert_eq!(found(&seen, None, TTL), [], "nobody told how many replicas there are");
    let what = &judged("main", &seen, Some(2), TTL)[0].what;
    assert!(what.contains("3 Sentinels watch main, 2 of them") && what.contains("10.0.0.1:6379"), "{what}");
}

#[test]
fn what_all_say_is_judged() {
    let warning = |code| (Level::Warning, code);
    for (said, expected) in [
        ("quorum=1", warning("sentinel-quorum")),
        ("quorum=3", warning("sentinel-quorum")),
        ("quorum=4", warning("sentinel-quorum")),
        ("num-slaves=0", warning("sentinel-replicas")),
        ("num-slaves=3", warning("sentinel-replicas")),
        ("down-after-milliseconds=30000", warning("down-after")),
        ("down-after-milliseconds=18001", warning("down-after")),
        ("down-after-milliseconds=999", (Level::Note, "down-after")),
    ] {
        let found = found(&trio(said), Some(2), TTL);
        assert!(found.contains(&expected), "{said}: {found:?}");
        // More than all are never there, either.
        assert_eq!(found.len(), 1 + usize::from(said == "quorum=4"), "{said}: {found:?}");
    }
    assert_eq!(found(&trio("down-after-milliseconds=18000"), Some(2), TTL), []);
    assert_eq!(found(&trio(""), Some(2), Duration::from_secs(10)), [warning("down-after")], "a short ttl");
    let four: Vec<_> = (1..=4).map(|port| one(port, "num-other-sentinels=3 quorum=3")).collect();
    assert_eq!(found(&four, Some(2), TTL), [(Level::Note, "sentinel-count")]);
    let two = [one(1, "num-other-sentinels=1"), one(2, "num-other-sentinels=1")];
    assert_eq!(found(&two, Some(2), TTL), [warning("sentinel-count")]);
}

#[test]
fn what_one_says_is_judged() {
    let with = |said: &str| found(&[one(1, ""), one(2, ""), one(3, said)], Some(2), TTL);
    assert_eq!(with("primary=6380 config-epoch=6 runid=q"), [(Level::Warning, "sentinel-disagrees")]);
    assert_eq!(with("primary=6380 runid=q"), [(Level::Error, "sentinel-disagrees")]);
    assert_eq!(with("primary=6380"), [], "the same server by another name");
    assert_eq!(with("failover-timeout=1"), [(Level::Warning, "sentinel-settings")]);
    assert_eq!(with("flags=master,s_down"), [(Level::Warning, "failover")]);
    assert_eq!(with("flags=master,o_down,failover_in_progress"), [(Level::Warning, "failover")]);
    assert_eq!(with("flags=s_down_or_so"), []);
}

#[test]
fn who_is_away_is_named() {
    let away = |port, error: Failed| (at(port), Err(error));
    let silent = || Failed::unavailable("redis-sentinel://h", "no answer within 1s".into());
    let seen = [one(1, ""), one(2, ""), away(3, silent())];
    assert_eq!(found(&seen, Some(2), TTL), [(Level::Warning, "sentinel-away")]);
    let seen = [one(1, ""), away(2, silent()), away(3, silent())];
    assert_eq!(found(&seen, Some(2), TTL), [(Level::Warning, "sentinel-away"); 3], "no majority besides");
    assert_eq!(found(&[away(1, silent())], None, TTL), [(Level::Warning, "sentinel-away")]);
    let mut seen = trio("");
    seen[0].1.as_mut().ok().unwrap().others = vec![
        facts("ip=10.0.0.1 port=2 runid=id2 flags=sentinel,s_down"),
        facts("ip=10.0.0.1 port=3 runid=id3 flags=sentinel"),
        facts("ip=10.0.0.1 port=9 runid=id9 flags=sentinel,s_down"),
    ];
    let findings = judged("main", &seen, Some(2), TTL);
    let unreached: Vec<_> = findings.iter().filter(|finding| finding.code == "sentinel-away").collect();
    assert_eq!(unreached.len(), 1, "{unreached:?}");
    assert!(unreached[0].what.contains("10.0.0.1:2") && unreached[0].node.as_deref() == Some("10.0.0.1:1"));
}
