//! docs/moving.md leaves nothing out.

/// Every option, method, event and default of each system.
const PARTS: &[(&str, &[&str])] = &[
    (
        "locksmith",
        &[
            "locksmith([key], callback)",
            "release",
            "host",
            "port",
            "prefix",
            "__locksmith:",
            "timeout",
            "120",
            "empty string",
        ],
    ),
    (
        "halocksmith",
        &[
            "nodes",
            "prefix",
            "timeout",
            "120",
            "retries",
            "100",
            "retryTimeout",
            "1000",
            "retries: 0",
            "already made",
            "else",
        ],
    ),
    (
        "locky",
        &[
            "lock({resource, locker, force})",
            "force: true",
            "refresh(resource)",
            "unlock(resource)",
            "getLocker(resource)",
            "numbers",
            "ttl",
            "no expiration",
            "redis",
            "a function that makes clients",
            "prefix",
            "lock(resource, locker)",
            "expire(resource)",
            "close()",
        ],
    ),
    (
        "redis-reservation",
        &[
            "by",
            "host",
            "port",
            "password",
            "heartbeat_interval",
            "lock_ttl",
            "log",
            "lock(resource)",
            "wait_until_lock(resource)",
            "release()",
            "losing it",
        ],
    ),
    (
        "process-locker",
        &[
            "request(key)",
            "LOCKED",
            "DONE",
            "stays pending",
            "publish(key, result, timeout)",
            "redis",
            "subRedis",
            "redisPrefix",
            "channel",
            "resultTimeout",
            "30 min",
            "lockTimeout",
            "60 min",
            "logger",
            "get",
            "open wish",
        ],
    ),
];

#[test]
fn the_page_leaves_nothing_out() {
    let page = include_str!("../../../../docs/moving.md");
    for (system, parts) in PARTS {
        let section = page.split("\n## ").find(|section| section.lines().next() == Some(system));
        let section = section.unwrap_or_else(|| panic!("no section for {system}"));
        // The left column of its table.
        let left: String =
            section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
        for part in *parts {
            assert!(left.contains(part), "{system}: {part} is left out");
        }
        for name in ["Before:", "After", "Repaired:", "```rust"] {
            assert!(section.contains(name), "{system} has no {name}");
        }
    }
}
