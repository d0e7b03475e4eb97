//! A store and a folder of a test's own, and the program in them.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use soloist::testing::RedisServer;

/// Far more than anything here takes: what is not there by then never comes.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A store and a working folder.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub url: String,
    pub server: Option<RedisServer>,
}

/// A program that runs; killed if the test does not wait for it.
pub struct Running {
    child: Child,
    out: Option<JoinHandle<Vec<u8>>>,
    err: Option<JoinHandle<Vec<u8>>>,
}

/// How it ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Place {
    pub fn local() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("local:{}", dir.path().join("store").display());
        Place { dir, url, server: None }
    }

    pub fn redis() -> Self {
        let server = RedisServer::start();
        Place { dir: tempfile::tempdir().unwrap(), url: server.url(), server: Some(server) }
    }

    /// The program with these arguments, to be started.
    pub fn command(&self, args: &[&str]) -> Command {
        // Whoever runs the tests in the background may have them ignore the signals of a terminal, and so would all their
        // children; the program heeds that.
        let mut command = Command::new("/usr/bin/env");
        command.args(["--default-signal=HUP,INT,QUIT", env!("CARGO_BIN_EXE_soloist")]);
        command.args(args).current_dir(self.dir.path()).env("SOLOIST_STORE", &self.url);
        command
            .env_remove("SOLOIST_PREFIX")
            .env_remove("SOLOIST_REPLICAS")
            .env_remove("SOLOIST_PASSWORD")
            .env_remove("SOLOIST_PASSWORD_FILE")
            .stdin(Stdio::null());
        command
    }

    pub fn start(&self, args: &[&str]) -> Running {
        Running::of(self.command(args))
    }

    /// Runs the program to its end.
    pub fn soloist(&self, args: &[&str]) -> Ended {
        self.start(args).end()
    }

    /// What it prints, when it is to end well.
    pub fn ok(&self, args: &[&str]) -> String {
        let ended = self.soloist(args);
        assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
        ended.text()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The file's content, as soon as it has a whole line.
    pub fn line_of(&self, name: &str) -> String {
        wait_for(&format!("a line in {name}"), || self.read(name).ends_with('\n'));
        self.read(name).trim_end().to_owned()
    }

    pub fn line_of_words(&self, name: &str) -> Vec<String> {
        self.read(name).split_whitespace().map(str::to_owned).collect()
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    pub fn touch(&self, name: &str) {
        std::fs::write(self.file(name), "\n").unwrap();
    }

    /// A script in the folder, as `./name`.
    pub fn script(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(self.file(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(self.file(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What `show --json` says of a key.
    pub fn show(&self, key: &str) -> serde_json::Value {
        serde_json::from_str(&self.ok(&["show", key, "--json"])).unwrap()
    }

    /// Until so many stand in line for a key.
    pub fn wait_for_line(&self, key: &str, waiting: u64) {
        wait_for(&format!("{waiting} in line for {key}"), || self.show(key)["waiting"] == waiting);
    }
}

impl Running {
    pub fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = Some(collect(child.stdout.take().unwrap()));
        let err = Some(collect(child.stderr.take().unwrap()));
        Running { child, out, err }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Gives it this input, and no more.
    pub fn input(&mut self, bytes: &[u8]) {
        self.child.stdin.take().unwrap().write_all(bytes).unwrap();
    }

    /// Types this, and goes on listening: who types keeps the input open.
    pub fn type_in(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub fn status(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < LIMIT, "it does not end");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// All that it wrote, after its end.
    pub fn bytes(&mut self) -> (Vec<u8>, Vec<u8>) {
        (self.out.take().unwrap().join().unwrap(), self.err.take().unwrap().join().unwrap())
    }

    pub fn end(mut self) -> Ended {
        let code = self.status().code().unwrap_or(-1);
        let out = self.out.take().unwrap().join().unwrap();
        let err = String::from_utf8_lossy(&self.err.take().unwrap().join().unwrap()).into_owned();
        Ended { code, out, err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    pub fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }

    /// Checks the exit code and that stderr says this.
    pub fn fails(&self, code: i32, says: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(says), "no {says:?} in {self:?}");
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Until something is so, which has to be soon.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process still runs; a zombie that nobody has reaped does not.
pub fn runs(pid: &str) -> bool {
    let alive = pid.parse().ok().and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid).is_ok());
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    alive && !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Runs the test on the local store and on a Redis server.
#[macro_export]
macro_rules! on_both_stores {
    ($($test:ident)*) => {
        mod on_local { $(#[test] fn $test() { super::$test(&$crate::place::Place::local()); })* }
        mod on_redis { $(#[test] fn $test() { super::$test(&$crate::place::Place::redis()); })* }
    };
}
