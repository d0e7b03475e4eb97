//! A grant that counts only when replicas have it.

use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::store::Store;

/// Whether a store can have a grant acknowledged by so many replicas, told before anything is asked.
pub(crate) fn check(store: &dyn Store, wanted: u32) -> Result<u32> {
    if wanted == 0 || store.has_replicas() {
        return Ok(wanted);
    }
    let why = format!("it has no replicas that could acknowledge a grant; {wanted} are asked for");
    let hint = "leave replicas(n) out, or use a Redis that has replicas";
    Err(Error::Refused { store: store.name().into(), why, hint })
}

/// A lease that so many replicas have. `None` when it has ended meanwhile, so that it is to be asked for again. One that
/// too few of them have is given back, and told to be so.
///
/// Cancel safe: dropped, the lease is released in the background. It is renewed while this waits.
pub(crate) async fn counted(lease: Lease, wanted: u32) -> Result<Option<Lease>> {
    let (key, ticket) = (lease.key().clone(), lease.kept().ticket);
    let got = match lease.store().replicated(&key, ticket, wanted).await {
        Err(Error::NotHeld { .. }) => return Ok(None),
        // Dropping the lease gives it back: the store is away.
        got => got?,
    };
    if lease.is_lost() {
        return Ok(None);
    }
    if got >= wanted {
        return Ok(Some(lease));
    }
    // It is free before the caller hears of it. Where that fails the keeper goes on, or the lease has ended anyhow.
    let _ = lease.release().await;
    Err(Error::NotReplicated { key, wanted, got })
}
