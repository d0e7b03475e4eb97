//! `soloist lock`, `renew`, `unlock`: a lease that lives without a process.

use serde_json::json;
use soloist::{Client, Key, LeaseId};

use crate::args::{LockArgs, RenewArgs, UnlockArgs};
use crate::failure::{Failure, Outcome};
use crate::out;
use crate::run::acquire;
use crate::signals::Signals;
use crate::talk;

pub(crate) async fn lock(client: &Client, args: LockArgs, json: bool) -> Outcome {
    let mut signals = Signals::listen()?;
    let lease = acquire(client, &args, &mut signals).await?;
    let (key, holder, token) = (lease.key().clone(), lease.holder().clone(), lease.token());
    let id = lease.detach().await?;
    let printed = if json {
        let ttl = (!args.no_expiry).then(|| args.ttl.unwrap_or(client.ttl()).as_millis() as u64);
        out::json(&json!({ "key": key, "holder": holder, "token": token, "lease": id, "ttl_ms": ttl }))
    } else if key.as_str().contains(['\n', '\0']) {
        Err(Failure::own(format!("the lease of {key:?} does not fit on a line"))
            .hint("use --json, or --holder"))
    } else {
        out::line(&id.to_string())
    };
    if printed.is_err() {
        // Nobody has the lease's id: nobody could release it.
        client.release(&id).await?;
    }
    printed.map(|()| 0)
}

pub(crate) async fn renew(client: &Client, args: RenewArgs, json: bool) -> Outcome {
    let (key, token) = match (&args.lease, &args.key, &args.holder) {
        (Some(lease), ..) => {
            let id: LeaseId = lease.parse()?;
            (id.key().clone(), client.renew(&id, args.ttl).await?)
        }
        (None, Some(key), Some(holder)) => {
            (Key::new(key)?, client.renew_held_by(key, holder, args.ttl).await?)
        }
        _ => return Err(which()),
    };
    if json {
        out::json(&json!({ "key": key, "token": token, "ttl_ms": args.ttl.as_millis() as u64 }))?;
    }
    Ok(0)
}

pub(crate) async fn unlock(client: &Client, args: UnlockArgs, json: bool) -> Outcome {
    let (key, token) = match (&args.lease, &args.key) {
        (Some(lease), _) => {
            let id: LeaseId = lease.parse()?;
            (id.key().clone(), Some(client.release(&id).await?))
        }
        (None, Some(key)) if args.break_lock => (Key::new(key)?, client.break_lock(key).await?),
        (None, Some(key)) => {
            let Some(holder) = &args.holder else { return Err(which()) };
            (Key::new(key)?, Some(client.release_held_by(key, holder).await?))
        }
        _ => return Err(which()),
    };
    if json {
        out::json(&json!({ "key": key, "token": token, "released": token.is_some() }))?;
    } else if token.is_none() {
        talk::note(&format!("{key:?} was free"));
    }
    Ok(0)
}

fn which() -> Failure {
    Failure::own("which lease is not said").hint("give the lease, or --key and --holder")
}
