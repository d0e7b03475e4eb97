//! The same cycles and hand-overs on a cluster of one node, which is what a cluster asks of the client and of the server
//! that a single server does not.

use soloist::Client;

use super::cycle::{floor_of, named, ours_of};
use super::hand_over::among;
use crate::Outcome;
use crate::bench::{Bench, runtime};
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Row, Series};
use crate::server::Server;
use crate::store::Bare;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let cluster = Server::start_cluster()?;
    bench.cpus.place(Placed::Together, cluster.pid())?;
    for tasks in [1, 64] {
        report.rows.extend(runtime()?.block_on(cycles(bench, &cluster, tasks))?);
    }
    report.rows.extend(hand_overs(bench, &cluster)?);
    bench.place(Placed::Free)
}

fn url(cluster: &Server) -> String {
    format!("redis-cluster://127.0.0.1:{}", cluster.port())
}

async fn cycles(bench: &Bench, cluster: &Server, tasks: usize) -> Outcome<Vec<Row>> {
    let client = Client::connect(&url(cluster)).await?;
    let bare = Bare::new(cluster.bare().await?);
    let [mut ours, mut floor, mut work, mut floor_work] = [(); 4].map(|()| Series::default());
    for round in 0..=bench.rounds() {
        let window = bench.window();
        let (rate, cost) = ours_of(&client, tasks, window).await?;
        let (bare_rate, bare_cost) = floor_of(&bare, tasks, window).await?;
        // The first round only warms up.
        if round > 0 {
            ours.push(rate);
            floor.push(bare_rate);
            work.push(cost);
            floor_work.push(bare_cost);
        }
    }
    client.close().await;
    let tasks = named(tasks);
    let name = format!("{tasks}, {}", Placed::Together);
    Ok(vec![
        Row::new(format!("lock + release on a cluster, {name}"), "1/s", ours).floor(floor),
        Row::new(format!("the same: work of the client, {tasks}"), "us", work).floor(floor_work),
    ])
}

/// Beside those on the single server.
fn hand_overs(bench: &Bench, cluster: &Server) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (kind, what) in [("ours", "hand-overs"), ("rotating", "rotations")] {
        let (mut ours, mut single) = (Series::default(), Series::default());
        for round in 0..bench.rounds() {
            bench.cpus.place(Placed::Together, cluster.pid())?;
            let key = format!("{kind}:{round}");
            ours.push(among(bench, kind, &url(cluster), &key, 4, 2)?.rate);
            bench.place(Placed::Together)?;
            single.push(among(bench, kind, &bench.server.url(), &format!("cluster:{key}"), 4, 2)?.rate);
        }
        let name = format!(
            "{what} on a cluster / on a single server, 8 waiters in 4 processes, {}",
            Placed::Together
        );
        rows.push(Row::new(name, "1/s", ours).floor(single));
    }
    Ok(rows)
}
