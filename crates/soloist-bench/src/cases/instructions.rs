//! Instructions of the client for one cycle, counted by callgrind: they do not swing with the load.

use std::process::{Command, Stdio};

use soloist::Client;
use tokio::task::JoinSet;

use super::local_cycle::Block;
use crate::Outcome;
use crate::bench::Bench;
use crate::report::Report;
use crate::roles;
use crate::row::{Row, Series};
use crate::server;
use crate::store::{Bare, rival, rival_cycle};

/// So many tasks share one client, where it is not one.
const TASKS: u64 = 64;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    if !cfg!(feature = "callgrind") {
        eprintln!("note: instructions need a build of their own: cargo xtask bench instructions");
        return Ok(());
    }
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !valgrind.is_ok_and(|status| status.success()) {
        return Err("valgrind is not installed".into());
    }
    let (url, local) = (bench.server.url(), bench.local("instructions"));
    let cycle = |kind: &str, url: &str| Outcome::Ok(Series::one(a_cycle(kind, url)?));
    let ours = Row::new("instructions of the client, Redis cycle", "", cycle("ours", &url)?);
    report.rows.push(ours.floor(cycle("floor", &url)?).rival(cycle("rival", &url)?));
    let ours = Row::new("the same: 64 tasks, one client / pipelines", "", cycle("ours-64", &url)?);
    report.rows.push(ours.floor(cycle("floor-64", &url)?).rival(cycle("rival-64", &url)?));
    let ours = Row::new("instructions, local cycle (without the kernel's)", "", cycle("ours", &local)?);
    report.rows.push(ours.floor(cycle("block", &local)?));
    Ok(())
}

/// What many cycles take more than few, so that beginning and end do not count.
fn a_cycle(kind: &str, url: &str) -> Outcome<f64> {
    const FEW: u64 = TASKS;
    const MANY: u64 = 17 * TASKS;
    let few = instructions(kind, url, FEW)?;
    Ok((instructions(kind, url, MANY)? - few) / (MANY - FEW) as f64)
}

fn instructions(kind: &str, url: &str, cycles: u64) -> Outcome<f64> {
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args([roles::FLAG, "cycles", kind, url, &cycles.to_string()])
        .output()?;
    let said = String::from_utf8_lossy(&out.stderr);
    let counted = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match counted {
        Some(counted) if out.status.success() => Ok(counted),
        _ => Err(format!("callgrind: {}: {said}", out.status).into()),
    }
}

/// A role: so many cycles of one kind.
pub(crate) async fn cycles(kind: &str, url: &str, count: u64) -> Outcome<()> {
    match kind {
        "ours" => {
            let client = Client::connect(url).await?;
            for _ in 0..count {
                client.lock("cycle").await?.release().await?;
            }
            client.close().await;
        }
        "floor" => {
            let mut bare = Bare::new(server::connect(url).await?);
            for _ in 0..count {
                bare.cycle("bare").await?;
            }
        }
        "rival" => {
            let rival = rival(url).await?;
            for _ in 0..count {
                rival_cycle(&rival, "rival").await?;
            }
        }
        "ours-64" => {
            let client = Client::connect(url).await?;
            let ours = client.clone();
            let one = move |key: String| {
                let client = ours.clone();
                async move { Ok(client.lock(&key).await?.release().await?) }
            };
            at_once(count, one).await?;
            client.close().await;
        }
        "floor-64" => {
            let mut bare = Bare::new(server::connect(url).await?);
            let keys: Vec<_> = (0..TASKS).map(|key| format!("bare:{key}")).collect();
            for _ in 0..count / TASKS {
                bare.cycles(&keys).await?;
            }
        }
        "rival-64" => {
            let rival = rival(url).await?;
            let one = move |key: String| {
                let rival = rival.clone();
                async move { rival_cycle(&rival, &key).await }
            };
            at_once(count, one).await?;
        }
        "block" => {
            let dir = tempfile::tempdir()?;
            let block = Block::new(&dir.path().join("block"))?;
            for _ in 0..count {
                block.cycle()?;
            }
        }
        _ => return Err("no such cycle".into()),
    }
    Ok(())
}

/// So many cycles in all, by tasks with a key of their own each.
async fn at_once<F>(count: u64, one: impl Fn(String) -> F + Clone + Send + 'static) -> Outcome<()>
where
    F: Future<Output = Outcome<()>> + Send,
{
    let mut all = JoinSet::new();
    for task in 0..TASKS {
        let one = one.clone();
        all.spawn(async move {
            for _ in 0..count / TASKS {
                one(format!("cycle:{task}")).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(())
}
