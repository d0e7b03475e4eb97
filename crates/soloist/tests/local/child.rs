//! The second process: this test binary again, in a role.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use soloist::Store;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::asking::{hold, lock, open, release, soon};

/// A process in a role.
pub(crate) struct Child {
    process: tokio::process::Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts one; it says `@ready` or whatever its role says.
    pub(crate) fn start(role: &str, path: &Path) -> Child {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["child::role", "--exact", "--nocapture", "--test-threads=1"])
            .env("SOLOIST_TEST_ROLE", role)
            .env("SOLOIST_TEST_PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        Child { process, said }
    }

    /// The next thing it says; `None` at its end.
    pub(crate) async fn says(&mut self) -> Option<String> {
        while let Some(line) = soon(self.said.next_line()).await.unwrap() {
            if let Some(at) = line.find('@') {
                return Some(line[at + 1..].to_owned());
            }
        }
        None
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.process.id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// kill -9. The process stays a zombie until [`Child::reap`] or the end of the test.
    pub(crate) fn kill(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    pub(crate) async fn reap(mut self) {
        soon(self.process.wait()).await.unwrap();
    }
}

fn say(word: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "@{word}").unwrap();
    out.flush().unwrap();
}

/// Not a test: what the second process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role() {
    let (Ok(role), Ok(path)) = (std::env::var("SOLOIST_TEST_ROLE"), std::env::var("SOLOIST_TEST_PATH"))
    else {
        return;
    };
    let path = Path::new(&path);
    let (role, name) = role.split_once(' ').unwrap();
    match role {
        // Holds a key until it is killed.
        "hold" => {
            let store = open(path);
            hold(&store, &lock(name)).await;
            say("holding");
            std::future::pending::<()>().await;
        }
        // Stands in line until it is killed.
        "wait" => {
            let store = open(path);
            let request = lock(name);
            let reply = store.acquire(&request).await.unwrap();
            say("waiting");
            store.wait(&request, reply).await.unwrap();
            say("holding");
            std::future::pending::<()>().await;
        }
        // Takes and releases one key as fast as it can.
        "spin" => {
            let store = open(path);
            say("spinning");
            loop {
                let request = lock(name);
                hold(&store, &request).await;
                release(&store, &request).await;
            }
        }
        "race" => race(path, name.parse().unwrap()).await,
        other => panic!("unknown role {other}"),
    }
}

/// Takes a random key, proves with a lock of the operating system that it is alone, and notes its token.
async fn race(path: &Path, keys: u64) {
    let file = |what: &str, number: u64| path.parent().unwrap().join(format!("{what}-{number}"));
    let witness =
        |number| std::fs::OpenOptions::new().append(true).create(true).open(file("witness", number)).unwrap();
    let mut witnesses: Vec<_> = (0..keys).map(witness).collect();
    let store = open(path);
    say("racing");
    loop {
        let number = (soloist::Ticket::mint().as_u128() % u128::from(keys)) as usize;
        let request = lock(&format!("key-{number}"));
        let grant = hold(&store, &request).await;
        let witness = &mut witnesses[number];
        let owner = file("owner", number as u64);
        // The name goes before the lock, so whoever has the lock is named.
        let before = std::fs::read_to_string(&owner).unwrap_or_default();
        std::fs::write(&owner, std::process::id().to_string()).unwrap();
        if witness.try_lock().is_err() {
            // A killed process may lose its lease an instant before it loses its other files.
            if !is_dying(&before) {
                say(&format!("violation by {before}"));
            }
            witness.lock().unwrap();
        }
        witness.write_all(format!("{}\n", grant.token).as_bytes()).unwrap();
        witness.unlock().unwrap();
        release(&store, &request).await;
    }
}

/// Whether a process has ended, or is on its way out. One that was killed while it wrote its name has none.
pub(crate) fn is_dying(pid: &str) -> bool {
    const EXITING: u64 = 4;
    if pid.is_empty() {
        return true;
    }
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let after_name = stat.rsplit(')').next().unwrap();
    let flags: u64 = after_name.split_whitespace().nth(6).unwrap().parse().unwrap();
    flags & EXITING != 0
}
