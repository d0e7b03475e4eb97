//! Instructions of the client for one cycle, counted by callgrind: they do not swing with the load.

use std::process::{Command, Stdio};

use soloist::Client;

use super::local_cycle::Block;
use crate::Outcome;
use crate::bench::Bench;
use crate::report::Report;
use crate::roles;
use crate::row::{Row, Series};
use crate::server;
use crate::store::{Bare, rival, rival_cycle};

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
    let ours = Row::new("instructions, local cycle (without the kernel's)", "", cycle("ours", &local)?);
    report.rows.push(ours.floor(cycle("block", &local)?));
    Ok(())
}

/// What many cycles take more than few, so that beginning and end do not count.
fn a_cycle(kind: &str, url: &str) -> Outcome<f64> {
    const FEW: u64 = 100;
    const MANY: u64 = 1100;
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
        "block" => {
            let dir = tempfile::tempdir()?;
            let block = Block::new(dir.path())?;
            for _ in 0..count {
                block.cycle()?;
            }
        }
        _ => return Err("no such cycle".into()),
    }
    Ok(())
}
