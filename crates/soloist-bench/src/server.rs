//! A redis-server of the bench's own: on a free port of 127.0.0.1, ended with the bench.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;

use crate::Outcome;

/// A running server without persistence. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Outcome<Self> {
        Self::start_with(&[])
    }

    /// A cluster of one node, which has all slots.
    pub(crate) fn start_cluster() -> Outcome<Self> {
        let server = Self::start_with(&["--cluster-enabled", "yes"])?;
        let mut connection = redis::Client::open(server.url())?.get_connection()?;
        let all: Vec<u16> = (0..16384).collect();
        redis::cmd("CLUSTER").arg("ADDSLOTS").arg(all).exec(&mut connection)?;
        for _ in 0..1000 {
            let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut connection)?;
            if info.contains("cluster_state:ok") {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("a cluster of one node did not come up".into())
    }

    fn start_with(settings: &[&str]) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let mut said = String::new();
        // Between finding a free port and using it, somebody else may take it.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let mut child = Command::new("redis-server")
                .args([
                    "--port",
                    &port.to_string(),
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ])
                .args(settings)
                .current_dir(dir.path())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|error| format!("redis-server cannot be started: {error}"))?;
            let mut lines = child.stdout.take().map(|out| BufReader::new(out).lines()).into_iter().flatten();
            for line in lines.by_ref() {
                let line = line?;
                if line.contains("Ready to accept connections") {
                    // A server whose log nobody reads would stop at a full pipe.
                    std::thread::spawn(move || lines.for_each(drop));
                    return Ok(Server { child, port, _dir: dir });
                }
                said.push_str(&line);
                said.push('\n');
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        Err(format!("redis-server did not start:\n{said}").into())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection for bare commands.
    pub(crate) async fn bare(&self) -> Outcome<MultiplexedConnection> {
        connect(&self.url()).await
    }
}

/// A connection as a program of the crate redis has it, but patient.
pub(crate) async fn connect(url: &str) -> Outcome<MultiplexedConnection> {
    let patient = redis::AsyncConnectionConfig::new()
        .set_response_timeout(Some(Duration::from_secs(60)))
        .set_connection_timeout(Some(Duration::from_secs(10)));
    Ok(redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&patient).await?)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
