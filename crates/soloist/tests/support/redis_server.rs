//! A real redis-server of a test's own: on a free port of 127.0.0.1, ended with the test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server. Dropping it kills it.
pub struct RedisServer {
    child: Child,
    port: u16,
    args: Vec<String>,
    dir: tempfile::TempDir,
}

/// A port that nobody listened on a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl RedisServer {
    /// A server without persistence.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with more arguments, as `&["--requirepass", "geheim"]`.
    pub fn start_with(args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|&arg| arg.into()).collect();
        let dir = tempfile::tempdir().unwrap();
        let mut said = String::new();
        // Between finding a free port and using it, somebody else may take it.
        for _ in 0..10 {
            let port = free_port();
            match launch(port, &args, dir.path()) {
                Ok(child) => return RedisServer { child, port, args, dir },
                Err(why) => said = why,
            }
        }
        panic!("redis-server {args:?} did not start:\n{said}");
    }

    /// `redis://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's working folder: a place for sockets and certificates.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the server, kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same port, after [`RedisServer::kill`]: without its data, unless its arguments
    /// make it persist.
    pub fn start_again(&mut self) {
        self.kill();
        let mut said = String::new();
        for _ in 0..50 {
            match launch(self.port, &self.args, self.dir.path()) {
                Ok(child) => {
                    self.child = child;
                    return;
                }
                Err(why) => said = why,
            }
        }
        panic!("redis-server did not start again:\n{said}");
    }

    /// Starts it again on the same port with other arguments, after [`RedisServer::kill`].
    pub fn start_again_with(&mut self, args: &[&str]) {
        self.args = args.iter().map(|&arg| arg.into()).collect();
        self.start_again();
    }

    /// Stops the process, or has it go on: as a machine that hangs.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// A connection for the test's own commands.
    pub async fn admin(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        let patient = redis::AsyncConnectionConfig::new()
            .set_response_timeout(Some(std::time::Duration::from_secs(30)))
            .set_connection_timeout(Some(std::time::Duration::from_secs(30)));
        client.get_multiplexed_async_connection_with_config(&patient).await.expect("the server answers")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a server and waits until it says that it is ready.
fn launch(port: u16, args: &[String], dir: &Path) -> Result<Child, String> {
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => panic!("redis-server is not installed; run `cargo xtask test` ({error})"),
    };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = String::new();
    while let Some(Ok(line)) = lines.next() {
        if line.contains("Ready to accept connections") {
            // A server whose log nobody reads would stop at a full pipe.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(child);
        }
        said.push_str(&line);
        said.push('\n');
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(said)
}
