//! `soloist once`: one runs the command, everybody gets its output and exit code.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use soloist::{Client, Error, Flight, Leader, Lease, Raw};
use tokio::sync::oneshot;

use crate::args::{OnError, OnceArgs};
use crate::failure::{Failure, Outcome};
use crate::guard::Guard;
use crate::job::Job;
use crate::nested;
use crate::pump::{self, Pipes};
use crate::reaper::Fate;
use crate::recording::{Recorder, Recording};
use crate::signals::{self, Signals, until_ended};
use crate::talk;
use crate::units::human;

/// How often a person is told who runs the command.
const REFRESH: Duration = Duration::from_secs(1);

pub(crate) async fn once(client: &Client, guard: Guard, args: OnceArgs) -> Outcome {
    let mut signals = Signals::listen()?;
    let mut asking = client.once(&args.key);
    if let Some(ttl) = args.ttl {
        asking = asking.ttl(ttl);
    }
    if let Some(wait) = args.wait {
        asking = asking.wait(wait);
    }
    if let Some(holder) = &args.holder {
        asking = asking.holder(holder);
    }
    if let Some(most) = args.max_waiting {
        asking = asking.max_waiting(most);
    }
    if let Some(replicas) = args.replicas {
        asking = asking.replicas(replicas);
    }
    // Refused now rather than when the work is done.
    asking = asking.keep(args.keep).keep_errors(args.keep_errors);
    let joined = tokio::select! {
        biased;
        joined = until_ended(&mut signals, asking.join::<Raw>()) => joined,
        never = tell_who(client, &args.key) => match never {},
        never = nested::warn(client, &args.key) => match never {},
    };
    match joined? {
        Flight::Leader(leader) => lead(client, guard, args, leader, &mut signals).await,
        Flight::Done(Raw(bytes)) => replay(&args.key, bytes, &mut signals).await,
    }
}

/// A follower: writes out what the leader's command wrote.
async fn replay(key: &str, bytes: Bytes, signals: &mut Signals) -> Outcome {
    let Some(recording) = Recording::read(bytes) else {
        return Err(Failure::own(format!(
            "the result of {key:?} was not recorded by this version of `soloist once`"
        ))
        .hint(format!("`soloist forget {}` has it computed again", crate::out::argument(key))));
    };
    let code = recording.code;
    // On a thread of its own: a reader that is slow must not keep signals from being heard.
    let work = tokio::task::spawn_blocking(move || {
        recording.replay(std::io::stdout().lock(), std::io::stderr().lock())
    });
    let failed = |error: std::io::Error| Failure::own(format!("the output cannot be written: {error}"));
    let written =
        async { work.await.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(failed) };
    until_ended(signals, written).await?;
    Ok(code)
}

/// The leader: runs the command, passes its output on as it comes, and publishes all of it.
async fn lead(
    client: &Client,
    guard: Guard,
    args: OnceArgs,
    leader: Leader<Raw>,
    signals: &mut Signals,
) -> Outcome {
    // Dropping the leader lets the next in line lead; the program waits for that before it exits.
    let (mut job, mut child) = Job::start(client, leader.lease(), guard, &args.command, pump::recorded)?;
    signals.add(Signal::TSTP)?;
    let pipes = Pipes::of(&mut child).map_err(|error| Failure::own(format!("the command's output: {error}")));
    let mut pipes = match pipes {
        Ok(pipes) => pipes,
        Err(failure) => {
            job.end(args.grace, signals).await;
            job.farewell().await;
            return Err(failure);
        }
    };
    let mut recorder = Recorder::new(args.max_output);
    let work = work(&mut job, leader.lease(), &mut pipes, &mut recorder, signals);
    let ended = tokio::select! {
        biased;
        ended = work => Ok(ended),
        loss = leader.lease().lost() => Err(loss),
    };
    let (fate, asked_to_end) = match ended {
        Ok(ended) => ended,
        Err(loss) => {
            let (key, token) = (leader.lease().key().clone(), leader.token());
            talk::note(&format!("ending the command: TERM now, KILL after {}", human(args.grace)));
            job.end(args.grace, signals).await;
            job.farewell().await;
            return Err(Error::Lost { key, token, loss }.into());
        }
    };
    job.farewell().await;
    let code = fate.code();
    if asked_to_end && code != 0 {
        // Who interrupts this process does not mean the others: the next in line leads.
        return Ok(code);
    }
    tokio::select! {
        biased;
        published = publish(&args, leader, recorder, code) => published?,
        // Nobody has to wait for a store that does not answer; the work is done whatever is heard of it.
        _ = signals.end() => talk::note("warning: interrupted; if the result is not published by now, it is lost"),
    }
    Ok(code)
}

/// Until the command has ended and its output is passed on; answers also whether a signal asked it to end.
async fn work(
    job: &mut Job,
    lease: &Lease,
    pipes: &mut Pipes,
    recorder: &mut Recorder,
    signals: &mut Signals,
) -> (Fate, bool) {
    let (tell_end, end) = oneshot::channel();
    let mut tell_end = Some(tell_end);
    let mut pump = std::pin::pin!(pipes.pump(end, recorder));
    let (mut fate, mut pumped, mut asked_to_end) = (None, false, false);
    loop {
        tokio::select! {
            biased;
            ended = job.ended(lease), if fate.is_none() => {
                fate = Some(ended);
                tell_end.take().map(|tell| tell.send(()));
            }
            signal = signals.next() => {
                asked_to_end |= signals::ends(signal);
                job.send(signal);
            }
            () = &mut pump, if !pumped => pumped = true,
        }
        if let (Some(fate), true) = (fate, pumped) {
            return (fate, asked_to_end);
        }
    }
}

async fn publish(args: &OnceArgs, leader: Leader<Raw>, recorder: Recorder, code: u8) -> Outcome<()> {
    if code != 0 && args.on_error == OnError::Retry {
        return Ok(()); // dropped: the next in line runs its own
    }
    let keep = if code == 0 { args.keep } else { args.keep_errors };
    let published = match recorder.finish(code) {
        Ok(bytes) => leader.publish_for(Raw(bytes), keep).await.map(drop),
        Err(size) => {
            let limit = args.max_output;
            let told = format!("its output is {size} bytes long, over the --max-output of {limit} bytes");
            talk::note(&format!("warning: {told}; only this process has it"));
            leader.fail(told).await;
            Ok(())
        }
    };
    match published {
        Ok(()) => Ok(()),
        Err(error @ Error::Lost { .. }) => Err(error.into()),
        Err(error) => {
            talk::note(&format!("warning: the result could not be published: {error}"));
            Ok(())
        }
    }
}

/// Tells a person at the terminal who runs the command, and for how long, until it is dropped.
async fn tell_who(client: &Client, key: &str) -> std::convert::Infallible {
    if !std::io::stderr().is_terminal() || talk::is_quiet() {
        std::future::pending::<()>().await;
    }
    let mut line = StatusLine(0);
    loop {
        tokio::time::sleep(REFRESH).await;
        if let Ok(info) = client.inspect(key).await
            && let Some(now) = info.holding
        {
            let time = human(Duration::from_micros(info.now.saturating_sub(now.since)));
            line.show(&format!("soloist: {} has been running {:?} for {time}", now.holder, info.key));
        }
    }
}

/// A line on the terminal that replaces itself, and is cleared when it is dropped.
struct StatusLine(usize);

impl StatusLine {
    fn show(&mut self, text: &str) {
        let columns =
            rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        // One column less than there are, or the terminal goes to the next line.
        let text: String =
            crate::out::plain(text).chars().take(if columns > 1 { columns - 1 } else { 79 }).collect();
        let (width, length) = (self.0, text.chars().count());
        let _ = write!(std::io::stderr().lock(), "\r{text:<width$}");
        self.0 = length;
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        if self.0 > 0 {
            let _ = write!(std::io::stderr().lock(), "\r{:width$}\r", "", width = self.0);
        }
    }
}
