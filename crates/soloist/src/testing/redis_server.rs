//! A real redis-server of a test's own.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::pid;
use super::scratch::Scratch;

/// A running `redis-server` on a free port of 127.0.0.1, without persistence unless its arguments say otherwise.
/// Dropping it kills it and removes its folder.
///
/// ```no_run
/// use soloist::testing::RedisServer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
/// let client = soloist::Client::connect(&server.url()).await?;
/// let lease = client.lock("report:42").await?;
/// server.start_again(); // kill -9, and again with its data
/// assert_eq!(client.inspect("report:42").await?.holding.unwrap().token, lease.token());
/// server.start_again_empty(); // and again without
/// lease.lost().await;
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// When no `redis-server` is installed, or it does not start. A test without its server has failed.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
    args: Vec<String>,
    dir: Scratch,
}

/// A port of 127.0.0.1 that nobody listened on a moment ago.
///
/// ```
/// let port = soloist::testing::free_port();
/// assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
/// ```
///
/// # Panics
/// When the system has none.
#[allow(clippy::expect_used, reason = "the kit panics when it cannot work")]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

impl RedisServer {
    /// A server without persistence.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with more arguments, as `&["--requirepass", "geheim"]`.
    pub fn start_with(args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|&arg| arg.into()).collect();
        let dir = Scratch::new();
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

    /// Says a command in one line, as `CONFIG SET maxmemory 100mb`, and answers the first line of the answer: of a
    /// test's own commands that need no client.
    ///
    /// # Panics
    /// When the server does not answer.
    #[allow(clippy::expect_used, reason = "the kit panics when it cannot work")]
    pub fn say(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server runs");
        let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
        writeln!(stream, "{command}\r").expect("the server hears");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("the server answers");
        line.trim_end().to_owned()
    }

    /// Sets a setting of the running server.
    ///
    /// # Panics
    /// When it does not take it.
    pub fn set(&self, name: &str, value: &str) {
        assert_eq!(self.say(&format!("CONFIG SET {name} \"{value}\"")), "+OK", "{name} {value}");
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

    /// Starts it again on the same port without its data, whatever its arguments, after [`RedisServer::kill`].
    pub fn start_again_empty(&mut self) {
        self.kill();
        for entry in std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".rdb") || name.starts_with("appendonly") {
                let _ = std::fs::remove_file(entry.path());
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        self.start_again();
    }

    /// Starts it again on the same port with other arguments, after [`RedisServer::kill`].
    pub fn start_again_with(&mut self, args: &[&str]) {
        self.args = args.iter().map(|&arg| arg.into()).collect();
        self.start_again();
    }

    /// Stops the process (SIGSTOP), as a machine that hangs: its connections stay open, and nothing answers.
    pub fn freeze(&self) {
        pid::freeze(&self.child);
    }

    /// Has it go on (SIGCONT).
    pub fn wake(&self) {
        pid::wake(&self.child);
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
        Err(error) => {
            panic!("redis-server cannot be run: is it installed? `apt install redis-server` ({error})")
        }
    };
    let mut said = String::new();
    if let Some(out) = child.stdout.take() {
        let mut lines = BufReader::new(out).lines();
        while let Some(Ok(line)) = lines.next() {
            if line.contains("Ready to accept connections") {
                // A server whose log nobody reads would stop at a full pipe. The thread ends with the server.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(child);
            }
            said.push_str(&line);
            said.push('\n');
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(said)
}
