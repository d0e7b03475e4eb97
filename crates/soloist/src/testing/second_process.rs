//! Another process: this test binary again, in a role, or any program. It is talked to by lines.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::pid;

/// The environment variable that names the role.
const ROLE: &str = "SOLOIST_TEST_ROLE";

/// A second process, which can be frozen past its ttl and woken, or killed. Dropping it kills it.
///
/// Its words are the lines of its output that have an `@`, from there on: a test harness says other things, too.
///
/// The usual one is the test binary itself, told to run one test which is none, as `child::role` here:
///
/// ```no_run
/// use soloist::testing::{self, SecondProcess};
///
/// #[tokio::test]
/// async fn role() {
///     let Some(role) = testing::role() else { return }; // as a test of its own it does nothing
///     let client = soloist::Client::connect(&role).await.unwrap();
///     let lease = client.lock("report:42").await.unwrap();
///     testing::says("holding");
///     lease.lost().await;
///     testing::says("lost");
/// }
///
/// # async fn example(url: &str) {
/// let mut holder = SecondProcess::in_role("child::role", url, &[]);
/// assert_eq!(holder.says().await.as_deref(), Some("holding"));
/// holder.freeze();
/// # }
/// ```
#[derive(Debug)]
pub struct SecondProcess {
    child: Child,
    input: Option<ChildStdin>,
    said: UnboundedReceiver<String>,
}

impl SecondProcess {
    /// Starts this test binary again, as its test `test` (its full name, `child::role`), which finds its role by
    /// [`role`], with more variables in its environment.
    ///
    /// # Panics
    /// When the binary cannot be started.
    #[allow(clippy::expect_used, reason = "the kit panics when it cannot work")]
    pub fn in_role(test: &str, role: &str, env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this test's own binary"));
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).envs(env.iter().copied());
        Self::start(command)
    }

    /// Starts any program. Its input and output are taken.
    ///
    /// # Panics
    /// When it cannot be started.
    #[allow(clippy::expect_used, reason = "the kit panics when it cannot work")]
    pub fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the second process starts");
        let (say, said) = unbounded_channel();
        if let Some(out) = child.stdout.take() {
            // The thread ends with the process's output.
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if let Some((_, word)) = line.split_once('@') {
                        let _ = say.send(word.to_owned());
                    }
                }
            });
        }
        SecondProcess { input: child.stdin.take(), child, said }
    }

    /// The next thing it says; `None` at its end.
    ///
    /// # Cancel safety
    /// Safe: what it says is said to the next call.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use soloist::testing::SecondProcess;
    ///
    /// let mut shell = std::process::Command::new("sh");
    /// shell.args(["-c", "echo @ready; read word; echo \"@heard $word\""]);
    /// let mut process = SecondProcess::start(shell);
    /// assert_eq!(process.says().await.as_deref(), Some("ready"));
    /// process.tell("a word");
    /// assert_eq!(process.says().await.as_deref(), Some("heard a word"));
    /// assert_eq!(process.says().await, None);
    /// # }
    /// ```
    pub async fn says(&mut self) -> Option<String> {
        self.said.recv().await
    }

    /// Tells it a line. One that has ended does not hear it.
    pub fn tell(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{line}").and_then(|()| input.flush());
        }
    }

    /// Stops it (SIGSTOP), and returns when it stands still.
    pub fn freeze(&self) {
        pid::freeze(&self.child);
    }

    /// Has it go on (SIGCONT).
    pub fn wake(&self) {
        pid::wake(&self.child);
    }

    /// kill -9. The process stays a zombie until [`SecondProcess::reap`] or the drop.
    pub fn kill(&self) {
        pid::signal(&self.child, rustix::process::Signal::KILL);
    }

    /// Kills it and waits for its end.
    pub fn reap(mut self) {
        self.end();
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for SecondProcess {
    fn drop(&mut self) {
        self.end();
    }
}

/// The role of this process; `None` in the first one.
///
/// ```
/// assert_eq!(soloist::testing::role(), None);
/// ```
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Says a word to the process that started this one.
///
/// ```
/// soloist::testing::says("ready"); // prints `@ready`
/// ```
pub fn says(word: &str) {
    let mut out = std::io::stdout();
    // Nobody may listen any more.
    let _ = writeln!(out, "@{word}").and_then(|()| out.flush());
}

/// The next line that this process was told; `None` when nobody tells it any more. Blocks its thread.
///
/// ```no_run
/// while let Some(line) = soloist::testing::hears() {
///     soloist::testing::says(&format!("heard {line}"));
/// }
/// ```
pub fn hears() -> Option<String> {
    std::io::stdin().lines().next()?.ok()
}
