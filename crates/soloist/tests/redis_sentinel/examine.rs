//! What an examination says of real Sentinels.

use soloist::{Client, Finding, Level};

use crate::team::{NAME, Sentinel, Team, until};
use crate::trio::run;

async fn examined(client: &Client) -> Vec<Finding> {
    let findings = client.examine().await.unwrap();
    for finding in &findings {
        println!("{finding}");
    }
    findings
}

fn codes(findings: &[Finding], level: Level) -> Vec<&'static str> {
    let worse = findings.iter().filter(|finding| finding.level >= level);
    let mut codes: Vec<_> = worse.map(|finding| finding.code).collect();
    codes.dedup();
    codes
}

/// The findings about Sentinels, and what else servers are to each other.
fn about(findings: &[Finding], code: &str) -> Vec<(Level, Option<String>)> {
    let about = findings.iter().filter(|finding| finding.code == code);
    about.map(|finding| (finding.level, finding.node.clone())).collect()
}

impl Sentinel {
    async fn set(&self, name: &str, value: &str) {
        self.ask::<()>(&["SET", NAME, name, value]).await.unwrap();
    }

    fn address(&self) -> Option<String> {
        Some(format!("127.0.0.1:{}", self.port()))
    }
}

#[tokio::test]
async fn three_sentinels_and_their_servers_are_examined() {
    let mut team = Team::start().await;
    let client = team.client("a").await;
    let findings = examined(&client).await;
    let warned = codes(&findings, Level::Warning);
    assert!(warned.iter().all(|code| !code.starts_with("sentinel") && *code != "failover"), "{warned:?}");
    let note = findings.iter().find(|finding| finding.code == "sentinels").unwrap();
    let primary = format!("127.0.0.1:{}", team.nodes.0[1].port());
    assert!(note.what.contains("3 Sentinels") && note.what.contains(&primary), "{note}");
    let nodes = findings.iter().find(|finding| finding.code == "nodes").unwrap();
    for server in &team.nodes.0 {
        assert!(nodes.what.contains(&format!("127.0.0.1:{}", server.port())), "replicas, too: {nodes}");
    }
    assert_eq!(about(&findings, "min-replicas"), [(Level::Warning, Some(primary))]);

    // The next primary has no minimum.
    run::<()>(&team.nodes.0[1], &["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    assert_eq!(about(&examined(&client).await, "min-replicas").len(), 2);

    team.sentinels[2].set("quorum", "3").await;
    assert_eq!(about(&examined(&client).await, "sentinel-settings"), [(Level::Warning, None)]);
    for sentinel in &team.sentinels {
        sentinel.set("quorum", "1").await;
        sentinel.set("down-after-milliseconds", "30000").await;
    }
    let findings = examined(&client).await;
    assert_eq!(about(&findings, "sentinel-quorum"), [(Level::Warning, None)]);
    assert_eq!(about(&findings, "down-after"), [(Level::Warning, None)]);
    assert!(about(&findings, "sentinel-settings").is_empty());
    let lines: Vec<_> = findings.iter().filter_map(|finding| finding.fix.as_deref()).collect();
    assert!(lines.iter().any(|line| line.starts_with("SENTINEL SET main quorum 2")), "{lines:?}");

    team.sentinels[0].kill();
    let findings = examined(&client).await;
    assert_eq!(about(&findings, "sentinel-away"), [(Level::Warning, team.sentinels[0].address())]);
}

#[tokio::test]
async fn what_sentinels_know_is_told_while_the_primary_is_silent() {
    let mut team = Team::start().await;
    let client = team.client("a").await;
    team.sentinels[1].kill();
    team.sentinels[2].kill();
    team.nodes.0[1].freeze();
    // Alone it promotes nobody.
    let down =
        async || team.sentinels[0].knows().await.get("flags").is_some_and(|flags| flags.contains("s_down"));
    until(down).await;
    let findings = examined(&client).await;
    assert_eq!(about(&findings, "failover"), [(Level::Warning, team.sentinels[0].address())]);
    assert_eq!(about(&findings, "sentinel-away").len(), 3, "two that are away, and that they are too many");
    assert_eq!(findings[0].level, Level::Error, "and the primary does not answer");
    team.nodes.0[1].wake();
}
