//! Listens to all Sentinels for `+switch-master`: one of them may be cut off together with an old primary.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::RedisError;
use redis::aio::PubSub;
use tokio::time::timeout;

use super::Shared;
use crate::store::redis::at::At;
use crate::store::redis::backoff::Backoff;

const SWITCHED: &str = "+switch-master";

/// Listens to each that is known. Ends when it is aborted.
pub(super) async fn all(shared: Arc<Shared>) {
    let (mut known, mut heard) = (shared.all.subscribe(), Vec::new());
    let mut ears = FuturesUnordered::new();
    loop {
        let all = known.borrow_and_update().clone();
        for at in all.into_iter().filter(|at| !heard.contains(at)).collect::<Vec<_>>() {
            heard.push(at.clone());
            ears.push(while_known(&shared, at));
        }
        tokio::select! {
            biased;
            changed = known.changed() => if changed.is_err() {
                return;
            },
            Some(gone) = ears.next(), if !ears.is_empty() => heard.retain(|at| *at != gone),
        }
    }
}

/// Listens to one until nobody names it any more.
async fn while_known(shared: &Shared, at: At) -> At {
    let mut known = shared.all.subscribe();
    tokio::select! {
        biased;
        () = hear(shared, &at) => {}
        // The sender lives as long as what is borrowed here.
        _ = known.wait_for(|all| !all.contains(&at)) => {}
    }
    at
}

/// Listens to one, and connects again without a limit of tries.
async fn hear(shared: &Shared, at: &At) {
    let mut backoff = Backoff::new();
    loop {
        let why = match timeout(shared.limit(), open(shared, at)).await {
            Ok(Ok(pubsub)) => {
                backoff = Backoff::new();
                // What it said before was not heard.
                shared.hint();
                until_lost(shared, pubsub).await
            }
            Ok(Err(why)) => why,
            Err(_) => format!("no answer within {:?}", shared.limit()),
        };
        tracing::debug!(store = %shared.store, sentinel = %at, why, "a Sentinel is not heard");
        backoff.pause().await;
    }
}

async fn open(shared: &Shared, at: &At) -> Result<PubSub, String> {
    let client = shared.client(at).map_err(|failed| failed.why())?;
    let words = |error: RedisError| super::ask::failed(&error, &shared.store).why();
    let mut pubsub = client.get_async_pubsub().await.map_err(words)?;
    pubsub.subscribe(SWITCHED).await.map_err(words)?;
    Ok(pubsub)
}

/// Passes on what one says. Returns when the connection is lost.
async fn until_lost(shared: &Shared, pubsub: PubSub) -> String {
    let (mut sink, mut stream) = pubsub.split();
    loop {
        let said = match timeout(shared.options.health_check, stream.next()).await {
            Ok(said) => said,
            // It has been silent: does it still live?
            Err(_) => match timeout(shared.options.response_timeout, sink.ping::<redis::Value>()).await {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return format!("no answer within {:?}", shared.options.response_timeout),
            },
        };
        let Some(said) = said else { return "it was closed".into() };
        // NAME OLD-IP OLD-PORT NEW-IP NEW-PORT
        let name = said.get_payload_bytes().split(|byte| *byte == b' ').next();
        if name == Some(shared.name.as_bytes()) {
            shared.hint();
        }
    }
}
