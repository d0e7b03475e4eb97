//! Every example runs, ends by itself, and does what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/redis_server.rs"]
mod redis_server;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// What each example prints, line by line.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("cached_api", &["10 callers read: 12 °C, rain", "calls of the API: 1"]),
    (
        "mutex_with_failover",
        &[
            "node-1 is active",
            "node-1 is killed",
            "node-2 tried once: \"example:active-node\" was not free within 0ns: node-1 holds it",
            "node-2 is active",
            "a write of node-1 that comes late is refused: true",
        ],
    ),
    (
        "article_editor",
        &[
            "user:21 reads only: user:20 edits",
            "user:21 cannot close the editor of another",
            "event: locked user:20",
            "event: taken_over user:21",
            "event: expired user:21",
        ],
    ),
    (
        "worker_with_heartbeat",
        &[
            "worker-7 reserved example:resource",
            "worker-7: done",
            "worker-7 stops: the lease of \"example:resource\" (token N) is lost: taken over by operator",
            "worker-7 releases too late: true",
        ],
    ),
    (
        "report_once",
        &[
            "20 callers, runs: 1, sum of the rows: 16",
            "later: run 1",
            "only looked at: true",
            "forgotten, computed anew: run 2",
        ],
    ),
];

/// Long numbers are tokens, of which nobody knows the value.
fn without_tokens(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        let digits = word.trim_end_matches(')');
        let token = digits.len() > 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if token { word.replace(digits, "N") } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

async fn run_all_on(store: &str) {
    // This test is target/PROFILE/deps/examples-HASH; the examples stand in target/PROFILE/examples.
    let this = std::env::current_exe().unwrap();
    let folder = this.parent().unwrap().parent().unwrap().join("examples");
    for (name, expected) in EXAMPLES {
        let program = folder.join(name);
        assert!(program.exists(), "{name} is not built: `cargo test -p soloist` or `cargo build --examples`");
        let mut command = Command::new(&program);
        command.env("SOLOIST_STORE", store).stdin(Stdio::null()).kill_on_drop(true);
        let ended = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
        let output = ended.unwrap_or_else(|_| panic!("{name} does not end on {store}")).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} on {store}: {}\n{stderr}", output.status);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(stdout.lines().map(without_tokens).collect::<Vec<_>>(), *expected, "{name} on {store}");
    }
}

#[tokio::test]
async fn in_memory() {
    run_all_on("memory:").await;
}

#[tokio::test]
async fn on_the_local_store() {
    let folder = tempfile::tempdir().unwrap();
    run_all_on(&format!("local:{}", folder.path().join("store").display())).await;
}

#[tokio::test]
async fn on_redis() {
    let server = redis_server::RedisServer::start();
    run_all_on(&server.url()).await;
}

#[test]
fn none_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let written: BTreeSet<_> =
        files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let listed: BTreeSet<_> = EXAMPLES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(written, listed);
}
