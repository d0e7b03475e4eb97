//! `soloist run`: holds a lock while a command runs.

use rustix::process::Signal;
use soloist::{Client, Error, Lease};

use crate::args::{LockArgs, RunArgs};
use crate::failure::{Failure, LOST, Outcome};
use crate::guard::Guard;
use crate::job::{self, Job};
use crate::nested;
use crate::reaper::Fate;
use crate::signals::{Signals, until_ended};
use crate::talk;
use crate::units::human;

pub(crate) async fn run(client: &Client, guard: Guard, args: RunArgs) -> Outcome {
    let mut signals = Signals::listen()?;
    let lease = acquire(client, &args.lock, &mut signals).await?;
    let (mut job, _child) = match Job::start(client, &lease, guard, &args.command, job::passed_through) {
        Ok(started) => started,
        Err(failure) => {
            release(lease, &mut signals).await?;
            return Err(failure);
        }
    };
    signals.add(Signal::TSTP)?;
    let code = tokio::select! {
        biased;
        fate = until_over(&mut job, &lease, &mut signals) => Ok(fate.code()),
        loss = lease.lost() => Err(loss),
    };
    let Ok(code) = code else {
        talk::note(&format!("ending the command: TERM now, KILL after {}", human(args.grace)));
        job.end(args.grace, &mut signals).await;
        job.farewell().await;
        release(lease, &mut signals).await?;
        return Err(Failure::silent(LOST));
    };
    job.farewell().await;
    release(lease, &mut signals).await?;
    Ok(code)
}

/// Passes signals on until the command has ended.
async fn until_over(job: &mut Job, lease: &Lease, signals: &mut Signals) -> Fate {
    loop {
        let signal = tokio::select! {
            biased;
            fate = job.ended(lease) => return fate,
            signal = signals.next() => signal,
        };
        job.send(signal);
    }
}

/// Stands in line as the flags say. A signal ends the wait and leaves the line.
pub(crate) async fn acquire(client: &Client, args: &LockArgs, signals: &mut Signals) -> Outcome<Lease> {
    macro_rules! asking {
        ($asking:expr) => {{
            let mut asking = $asking;
            if let Some(ttl) = args.ttl {
                asking = asking.ttl(ttl);
            }
            if let Some(holder) = &args.holder {
                asking = asking.holder(holder);
            }
            if let Some(note) = &args.note {
                asking = asking.note(note);
            }
            if let Some(replicas) = args.replicas {
                asking = asking.replicas(replicas);
            }
            if args.no_expiry {
                asking = asking.no_expiry();
            }
            asking
        }};
    }
    if args.try_once {
        let asking = asking!(client.try_lock(&args.key));
        return match until_ended(signals, asking.into_future()).await? {
            Some(lease) => Ok(lease),
            None => Err(Failure::busy(client, &soloist::Key::new(&args.key)?).await),
        };
    }
    let mut asking = asking!(client.lock(&args.key));
    if let Some(wait) = args.wait {
        asking = asking.wait(wait);
    }
    if let Some(most) = args.max_waiting {
        asking = asking.max_waiting(most);
    }
    if args.force {
        asking = asking.force();
    }
    tokio::select! {
        biased;
        lease = until_ended(signals, asking.into_future()) => lease,
        never = nested::warn(client, &args.key) => match never {},
    }
}

/// Ends the lease. That it was lost counts; that its end could not be told does not change how the work
/// ended, and nobody has to wait for a store that does not answer: a signal ends that.
async fn release(lease: Lease, signals: &mut Signals) -> Outcome<()> {
    let released = tokio::select! {
        biased;
        released = lease.release() => released,
        // It goes on in the background for as long as the program still closes the client.
        _ = signals.end() => {
            talk::note("warning: interrupted; if it is not released by now, it ends by its ttl");
            return Ok(());
        }
    };
    match released {
        Ok(()) => Ok(()),
        Err(error @ Error::Lost { .. }) => Err(error.into()),
        Err(error) => {
            talk::note(&format!("warning: {error}; not released, it ends by its ttl"));
            Ok(())
        }
    }
}
