//! The command under a lease: started in a process group of its own, guarded, and ended as a whole.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, getppid};
use soloist::{Client, Lease, Moment};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::failure::{Failure, NOT_FOUND, NOT_RUNNABLE, Outcome};
use crate::guard::{Guard, pid_of};
use crate::out::plain;
use crate::reaper::{self, Fate};
use crate::signals::Signals;
use crate::terminal::Terminal;
use crate::{group, nested, sys, talk};

/// How long a group that was killed may take to vanish before it is said that it did not.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How long the guard may take to hear the farewell.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How often to look whether the lease was renewed.
const LOOK_AT_LEASE: Duration = Duration::from_secs(1);

/// A command that runs.
pub(crate) struct Job {
    group: Pid,
    guard: Guard,
    /// The end of the lease that the guard was told last.
    told: Option<Option<Moment>>,
    terminal: Option<Terminal>,
    reports: mpsc::UnboundedReceiver<(Pid, Fate)>,
    /// How the command itself ended.
    ended: Option<Fate>,
}

impl Job {
    /// Starts the command; `prepare` says where its output goes. To be called on the main thread: the
    /// parent-death signal comes when the thread that spawned the child ends.
    pub(crate) fn start(
        client: &Client,
        lease: &Lease,
        mut guard: Guard,
        command: &[OsString],
        prepare: impl FnOnce(&mut Command),
    ) -> Outcome<(Self, Child)> {
        let own = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| Failure::own(format!("{what}: {error}"))
        };
        let Some((program, args)) = command.split_first() else {
            return Err(Failure::own("there is no command to run"));
        };
        adopt_orphans();
        guard.keep_alive(client.liveness()?).map_err(own("the guard cannot be reached"))?;
        // Invariant: before the command starts, so that it does not outlast the lease of a wrapper that is frozen just then.
        let ends = lease.deadline();
        guard.lease_lives(ends.map(|ends| ends.since(Moment::now())));
        let terminal = Terminal::ours();
        let mut command = Command::new(program);
        command
            .args(args)
            .env(nested::KEY, lease.key().as_str())
            .env(nested::TOKEN, lease.token().to_string())
            .env("SOLOIST_HOLDER", lease.holder().as_str())
            .env("SOLOIST_LEASE", lease.id().to_string())
            .process_group(0);
        prepare(&mut command);
        let mut introduce = guard.introduction().map_err(own("the guard cannot be reached"))?;
        let mut take = match terminal.as_ref().filter(|terminal| terminal.at_once()) {
            Some(terminal) => Some(terminal.taking().map_err(own("the terminal"))?),
            None => None,
        };
        let wrapper = getpid();
        sys::before_exec(&mut command, move || {
            die_with(wrapper)?;
            introduce()?;
            take.as_mut().map_or(Ok(()), |take| take())
        });
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                guard.farewell();
                if let Some(terminal) = &terminal {
                    terminal.reclaim();
                }
                return Err(not_runnable(program, &error));
            }
        };
        let group = pid_of(child.id()).ok_or_else(|| Failure::own("the command has no process id"))?;
        let reports = reaper::start().map_err(own("the reaper cannot be started"))?;
        Ok((Job { group, guard, told: Some(ends), terminal, reports, ended: None }, child))
    }

    /// Passes a signal on to the whole group.
    pub(crate) fn send(&self, signal: Signal) {
        group::send(self.group, signal);
    }

    /// Resolves when the command itself has ended. Stops this process, too, when the command is stopped
    /// from the terminal. Cancel safe.
    pub(crate) async fn ended(&mut self, lease: &Lease) -> Fate {
        loop {
            if let Some(fate) = self.ended {
                return fate;
            }
            let pause = self.tell_guard(lease);
            tokio::select! {
                report = self.reports.recv() => match report {
                    Some(report) => self.note(report, Some(lease)),
                    // The reaper ends after the last child; the command's own fate came before.
                    None => self.ended = Some(Fate::Ended(crate::failure::OWN)),
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tells the guard when the lease ends, if that has changed. Answers when to look again: well before
    /// the guard would take the renewed lease for ended.
    fn tell_guard(&mut self, lease: &Lease) -> Duration {
        let ends = lease.deadline();
        let left = ends.map(|ends| ends.since(Moment::now()));
        if self.told != Some(ends) && !lease.is_lost() {
            self.guard.lease_lives(left);
            self.told = Some(ends);
        }
        left.map_or(LOOK_AT_LEASE, |left| (left / 8).clamp(LOOK_AGAIN, LOOK_AT_LEASE))
    }

    fn note(&mut self, (pid, fate): (Pid, Fate), lease: Option<&Lease>) {
        match fate {
            Fate::Stopped(signal) => {
                if let Some(lease) = lease.filter(|_| pid == self.group) {
                    self.stopped(signal, lease);
                }
            }
            fate if pid == self.group => {
                self.ended = Some(fate);
                // What the command leaves behind is left alone, also if the output takes its time.
                self.guard.lease_lives(None);
            }
            _ if pid == self.guard.pid => {
                talk::note(
                    "warning: the guard was killed; if this process is killed too, the command may go on",
                );
            }
            _ => {} // an orphan of the command
        }
    }

    /// The command was stopped: by ctrl-Z, or because it asked for the terminal. By anything else it is
    /// stopped alone: this process goes on and keeps the lease.
    fn stopped(&self, signal: Option<Signal>, lease: &Lease) {
        let asks = matches!(signal, Some(Signal::TTIN | Signal::TTOU));
        if !asks && signal != Some(Signal::TSTP) {
            return;
        }
        let give = || self.terminal.as_ref().is_some_and(|terminal| terminal.give(self.group));
        if !(asks && give()) {
            if let Some(terminal) = &self.terminal {
                terminal.take_back(self.group);
            }
            stop();
            // Here the shell has said `fg` or `bg`. Invariant: the command does not go on without its lease.
            if lease.is_lost() {
                return;
            }
            give();
        }
        self.send(Signal::CONT);
    }

    /// Ends the whole group: TERM, and KILL to whatever is left after `grace`. Signals are passed on
    /// meanwhile.
    pub(crate) async fn end(&mut self, grace: Duration, signals: &mut Signals) {
        self.guard.ending();
        self.send(Signal::TERM);
        // What is stopped hears it only when it goes on.
        self.send(Signal::CONT);
        if self.gone_by(Instant::now() + grace, Some(signals)).await {
            return;
        }
        self.send(Signal::KILL);
        if !self.gone_by(Instant::now() + KILL_PATIENCE, None).await {
            talk::note("warning: the command does not die of SIGKILL; it may still be running");
        }
    }

    async fn gone_by(&mut self, end: Instant, mut signals: Option<&mut Signals>) -> bool {
        while group::runs(self.group) {
            if Instant::now() >= end {
                return false;
            }
            let look = end.min(Instant::now() + LOOK_AGAIN);
            tokio::select! {
                Some(report) = self.reports.recv() => self.note(report, None),
                signal = next(&mut signals) => self.send(signal),
                () = tokio::time::sleep_until(look) => {}
            }
        }
        true
    }

    /// All is over: the terminal is ours again, and the guard may go.
    pub(crate) async fn farewell(mut self) {
        if let Some(terminal) = &self.terminal {
            terminal.take_back(self.group);
        }
        let guard = self.guard.pid;
        self.guard.farewell();
        let end = Instant::now() + FAREWELL_PATIENCE;
        while let Ok(Some((pid, _))) = timeout_at(end, self.reports.recv()).await {
            if pid == guard {
                break;
            }
        }
    }
}

async fn next(signals: &mut Option<&mut Signals>) -> Signal {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

/// Stops this process as ctrl-Z would, and returns when it goes on. In an orphaned group, which nobody could
/// wake, the system does not stop it.
pub(crate) fn stop() {
    let _ = sys::while_set(Signal::TSTP, false, || rustix::process::kill_process(getpid(), Signal::TSTP));
}

/// What the command leaves behind falls to this process while it runs, which reaps it.
fn adopt_orphans() {
    // Not worth failing for: then they fall to process 1, as always.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
}

/// Makes the system kill the child when the wrapper dies; fails if it is dead already. Only system calls.
fn die_with(wrapper: Pid) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() == Some(wrapper) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

fn not_runnable(program: &OsString, error: &io::Error) -> Failure {
    let name = plain(&program.to_string_lossy());
    let (code, message, hint) = match error.kind() {
        io::ErrorKind::NotFound => {
            (NOT_FOUND, format!("command not found: {name}"), "is it installed, and on the PATH?")
        }
        _ => (
            NOT_RUNNABLE,
            format!("{name} cannot be run: {error}"),
            "is it a program, and executable by you?",
        ),
    };
    Failure { code, message, hint: Some(hint.into()) }
}

/// Stdio that is handed through.
pub(crate) fn passed_through(command: &mut Command) {
    command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
}
