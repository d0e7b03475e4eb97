//! A real redis-server of a test's own: on a free port of 127.0.0.1, killed with the test. The program's
//! tests know no Redis client: an answer of any kind says that it is up.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::place::wait_for;

/// A running server without persistence. Dropping it kills it.
pub struct RedisServer {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

/// A port that nobody listened on a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl RedisServer {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]).args(args);
        command.current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().expect("redis-server is not installed: cargo xtask test installs it");
        let mut server = RedisServer { child, port, dir };
        let mut ended = false;
        wait_for("the redis-server to answer", || {
            ended = server.child.try_wait().unwrap().is_some();
            ended || answers(port)
        });
        // Between finding a free port and using it, somebody else may have taken it.
        if ended { Self::start_with(args) } else { server }
    }

    /// `redis://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl RedisServer {
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its working folder.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Says a command, and answers the first line of what it says to that.
    pub fn say(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        writeln!(stream, "{command}\r").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Sets a setting.
    pub fn set(&self, name: &str, value: &str) {
        assert_eq!(self.say(&format!("CONFIG SET {name} \"{value}\"")), "+OK", "{name} {value}");
    }
}

/// Whether a server answers there: with PONG, or that it wants a password.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut first = [0];
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut first).is_ok()
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
