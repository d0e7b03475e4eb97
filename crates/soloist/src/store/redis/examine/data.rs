//! How a server keeps what it was told: memory, disk, replicas.

use super::info::Info;
use crate::finding::{Finding, Level};

/// What a server does when its memory is full.
pub(super) fn eviction(info: &Info) -> Option<Finding> {
    let policy = info.get("maxmemory_policy").filter(|policy| *policy != "noeviction")?;
    let most = info.number::<u64>("maxmemory").unwrap_or(0);
    let fix = "CONFIG SET maxmemory-policy noeviction";
    let found = |level, what, why| Some(Finding::new(level, "maxmemory-policy", what, why).fix(fix));
    if most == 0 {
        let what = format!("maxmemory-policy is {policy}, without a maxmemory");
        return found(Level::Note, what, "once a maxmemory is set, locks that are held are thrown away");
    }
    let what = format!("maxmemory-policy is {policy}, with a maxmemory of {}", mib(most));
    found(Level::Error, what, "when memory is full, locks that are held are thrown away: then two hold them")
}

pub(super) fn memory(info: &Info) -> Option<Finding> {
    let most = info.number::<u64>("maxmemory").filter(|most| *most > 0)?;
    let used = info.number::<u64>("used_memory")?;
    let what = format!("{} of {} maxmemory are used", mib(used), mib(most));
    let why = "when it is full no new lock can be taken; releases and renewals still work";
    let full = used > most / 10 * 9;
    full.then(|| {
        Finding::new(Level::Warning, "memory", what, why)
            .fix("raise maxmemory, or keep results for less long")
    })
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// What of the data survives the end of the server.
pub(super) fn persistence(info: &Info) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut find = |level, what: String, why: &str, fix: &str| {
        found.push(Finding::new(level, "persistence", what, why).fix(fix));
    };
    const FIX: &str = "CONFIG SET appendonly yes; CONFIG SET appendfsync always; CONFIG REWRITE (or the boot guard: ?boot_guard=30s)";
    let lost = "a server that ends forgets its locks: then two may believe that they hold one, until the first is told";
    match (info.is("aof_enabled", "1"), info.get("appendfsync"), info.get("save")) {
        (true, Some("always"), _) => {}
        (true, Some("no"), _) => {
            let what = "appendonly is on, with appendfsync no".into();
            find(
                Level::Note,
                what,
                "a crash of its machine can lose the locks of the last 30 seconds or so",
                FIX,
            );
        }
        (true, Some(fsync), _) => {
            let what = format!("appendonly is on, with appendfsync {fsync}");
            find(
                Level::Note,
                what,
                "a crash of its machine can lose the locks of the last second or two",
                FIX,
            );
        }
        (true, None, _) => {
            let what = "appendonly is on; appendfsync could not be read".into();
            find(Level::Note, what, "unless it is always, a crash of its machine loses the last locks", FIX);
        }
        (false, _, Some("")) => {
            let what = "nothing is kept on disk: neither appendonly nor save points".into();
            find(Level::Warning, what, lost, FIX);
        }
        (false, _, Some(points)) => {
            let what = format!("there are snapshots (save {points}) but no appendonly");
            find(Level::Warning, what, "a server that ends forgets all locks since its last snapshot", FIX);
        }
        (false, _, None) if info.get("aof_enabled").is_some() => {
            let what = "appendonly is off; whether there are save points could not be read".into();
            find(Level::Note, what, lost, FIX);
        }
        (false, _, None) => {}
    }
    for name in ["rdb_last_bgsave_status", "aof_last_write_status"] {
        if info.is(name, "err") {
            let what = format!("it could not write to its disk ({name} is err)");
            let why = "it keeps nothing, and most servers then refuse new locks (MISCONF)";
            let fix = "free some space on its disk, and see its log";
            found.push(Finding::new(Level::Error, "not-saved", what, why).fix(fix));
        }
    }
    found
}

/// Whether a primary that is cut off from its replicas goes on granting.
pub(super) fn min_replicas(info: &Info) -> Option<Finding> {
    let replicas = info.number::<u64>("connected_slaves").filter(|count| *count > 0)?;
    // `INFO` has this line only where a minimum is set, so that nobody needs the right to read settings.
    let set = info.get("min_slaves_good_slaves").is_some();
    if set || !info.is("role", "master") {
        return None;
    }
    let what = format!("{replicas} replicas follow it, and min-replicas-to-write is 0");
    let why = "cut off from them it goes on granting locks that the next primary has never heard of";
    let fix = "CONFIG SET min-replicas-to-write 1; CONFIG SET min-replicas-max-lag 10; CONFIG REWRITE";
    Some(Finding::new(Level::Warning, "min-replicas", what, why).fix(fix))
}

/// What its place among other servers is.
pub(super) fn role(info: &Info, several: bool, cluster: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut find = |level, code, what: String, why: &str, fix: &str| {
        found.push(Finding::new(level, code, what, why).fix(fix));
    };
    match info.get("redis_mode") {
        Some("sentinel") => find(
            Level::Error,
            "sentinel",
            "it is a Sentinel".into(),
            "it keeps no data",
            "name it as redis-sentinel://host:26379/NAME, NAME being what it calls the primary",
        ),
        Some("cluster") if !cluster => find(
            Level::Error,
            "cluster",
            "it is part of a Cluster".into(),
            "keys whose slot is at another node are refused (MOVED)",
            "name the cluster: redis-cluster://host",
        ),
        _ => {}
    }
    if info.is("role", "slave") {
        if !several {
            let fix = "name the primary, or all of them: redis://h1,h2,h3";
            find(
                Level::Error,
                "is-replica",
                "it is a replica".into(),
                "it takes no writes, so it can lock nothing",
                fix,
            );
        }
        if !info.is("master_link_status", "up") {
            let what = "this replica has no link to its primary".into();
            let why = "made the primary now, it would not know the locks since then";
            find(Level::Warning, "replica-link", what, why, "see its log, and INFO replication");
        }
    }
    for replica in info.replicas() {
        let name = format!("{}:{}", replica.get("ip").unwrap_or("?"), replica.get("port").unwrap_or("?"));
        let late = replica.number::<u64>("lag").filter(|lag| *lag > 10);
        let what = match (replica.get("state"), late) {
            (Some("online"), None) => continue,
            (Some("online"), Some(late)) => format!("its replica {name} was last heard {late} s ago"),
            (state, _) => format!("its replica {name} is not in step ({})", state.unwrap_or("no state")),
        };
        let why = "made the primary now, it would not know the last locks";
        find(Level::Warning, "replica-link", what, why, "see the replica's log, and INFO replication");
    }
    found
}

/// How a node of a cluster takes part in failovers.
pub(super) fn failover(info: &Info) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut find = |level, code, what: &str, why: &str, fix: &str| {
        found.push(Finding::new(level, code, what, why).fix(fix));
    };
    let replica = info.is("role", "slave");
    if !replica && info.is("cluster-require-full-coverage", "yes") {
        find(
            Level::Note,
            "cluster-coverage",
            "cluster-require-full-coverage is yes",
            "while the slots of one primary are at no node, the locks at all the others stand still too",
            "CONFIG SET cluster-require-full-coverage no; CONFIG REWRITE (at every node)",
        );
    }
    if replica && info.is("cluster-replica-no-failover", "yes") {
        find(
            Level::Warning,
            "cluster-failover",
            "this replica takes over by hand only (cluster-replica-no-failover yes)",
            "when its primary ends, the locks there are away until somebody promotes it",
            "CONFIG SET cluster-replica-no-failover no; CONFIG REWRITE",
        );
    }
    if replica && info.is("cluster-replica-validity-factor", "0") {
        find(
            Level::Note,
            "cluster-failover",
            "it takes over however long ago it heard of its primary (cluster-replica-validity-factor 0)",
            "it may not know the locks since then; tokens still grow",
            "CONFIG SET cluster-replica-validity-factor 10; CONFIG REWRITE (then only one in step takes over)",
        );
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn levels(found: impl IntoIterator<Item = Finding>) -> Vec<(Level, &'static str)> {
        found.into_iter().map(|finding| (finding.level, finding.code)).collect()
    }

    #[test]
    fn memory_is_judged() {
        let said = |policy: &str, most: u64, used: u64| {
            Info::of(&format!("maxmemory_policy:{policy}\r\nmaxmemory:{most}\r\nused_memory:{used}\r\n"))
        };
        for policy in ["allkeys-lru", "volatile-ttl", "something-new"] {
            assert_eq!(eviction(&said(policy, 1 << 20, 0)).unwrap().level, Level::Error);
            assert_eq!(eviction(&said(policy, 0, 0)).unwrap().level, Level::Note);
        }
        assert_eq!(eviction(&said("noeviction", 1 << 20, 0)), None);
        assert_eq!(eviction(&Info::default()), None);
        assert_eq!(memory(&said("noeviction", 1000, 899)), None);
        assert_eq!(memory(&said("noeviction", 0, 899)), None);
        assert_eq!(memory(&said("noeviction", 1000, 901)).unwrap().level, Level::Warning);
    }

    #[test]
    fn persistence_is_judged() {
        for (said, level) in [
            ("aof_enabled:1\nappendfsync:always", None),
            ("aof_enabled:1\nappendfsync:everysec", Some(Level::Note)),
            ("aof_enabled:1\nappendfsync:no", Some(Level::Note)),
            ("aof_enabled:1", Some(Level::Note)),
            ("aof_enabled:0\nsave:", Some(Level::Warning)),
            ("aof_enabled:0\nsave:3600 1", Some(Level::Warning)),
            ("aof_enabled:0", Some(Level::Note)),
            ("", None),
        ] {
            let found = levels(persistence(&Info::of(said)));
            let expected: Vec<_> = level.into_iter().map(|level| (level, "persistence")).collect();
            assert_eq!(found, expected, "{said}");
        }
        let said = Info::of("aof_enabled:1\nappendfsync:always\nrdb_last_bgsave_status:err");
        assert_eq!(levels(persistence(&said)), [(Level::Error, "not-saved")]);
    }

    #[test]
    fn replicas_are_judged() {
        let primary = "role:master\nconnected_slaves:1\nslave0:ip=10.0.0.2,port=6379,";
        let healthy = Info::of(&format!("{primary}state=online,offset=9,lag=1\nmin_slaves_good_slaves:1"));
        assert_eq!((min_replicas(&healthy), role(&healthy, false, false)), (None, vec![]));
        let unsafe_one = Info::of(&format!("{primary}state=online,offset=9,lag=11"));
        assert_eq!(min_replicas(&unsafe_one).unwrap().level, Level::Warning);
        assert_eq!(levels(role(&unsafe_one, true, false)), [(Level::Warning, "replica-link")]);
        let behind = Info::of(&format!("{primary}state=send_bulk,offset=0,lag=0"));
        assert_eq!(levels(role(&behind, true, false)), [(Level::Warning, "replica-link")]);
        let replica = Info::of("role:slave\nmaster_link_status:down\nconnected_slaves:0");
        assert_eq!(levels(role(&replica, true, false)), [(Level::Warning, "replica-link")]);
        let both = [(Level::Error, "is-replica"), (Level::Warning, "replica-link")];
        assert_eq!(levels(role(&replica, false, false)), both);
        for mode in ["sentinel", "cluster"] {
            let found = role(&Info::of(&format!("redis_mode:{mode}")), false, false);
            assert_eq!(levels(found), [(Level::Error, mode)]);
        }
    }

    #[test]
    fn what_becomes_of_a_cluster_is_judged() {
        let all = "cluster-require-full-coverage:yes\ncluster-replica-no-failover:yes\ncluster-replica-validity-factor:0";
        let found = |role: &str| levels(failover(&Info::of(&format!("role:{role}\n{all}"))));
        assert_eq!(found("master"), [(Level::Note, "cluster-coverage")]);
        assert_eq!(found("slave"), [(Level::Warning, "cluster-failover"), (Level::Note, "cluster-failover")]);
        assert_eq!(failover(&Info::of(&all.replace("yes", "no").replace(":0", ":10"))), []);
        assert_eq!(failover(&Info::default()), []);
    }
}
