//! One question to one Sentinel: who is the primary?

use std::collections::HashMap;

use futures_util::future::try_join3;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError};
use tokio::time::timeout;

use super::Shared;
use crate::store::redis::at::At;
use crate::store::redis::greeting::{self, Failed};
use crate::store::redis::trouble::{Kind, No, Trouble};

const LOGIN: &str = "a Sentinel has a login of its own: redis-sentinel://.../NAME?sentinel_user=USER&sentinel_password=PASSWORD \
     (without a user: the password alone), special letters as %XX";
const NO_SENTINEL: &str =
    "redis-sentinel:// names Sentinels, most often at port 26379; data nodes are named by redis://h1,h2";
const NAME: &str =
    "the NAME of redis-sentinel://host/NAME is the one of `sentinel monitor NAME ...` in its configuration";

/// What it knows, in its own words.
pub(super) struct Known {
    pub(super) primary: At,
    /// Its own id: it may be known by several addresses.
    pub(super) id: String,
    /// What it knows of the primary.
    pub(super) facts: Facts,
    /// What it knows of each other Sentinel.
    pub(super) others: Vec<Facts>,
}

/// What of it says which node is the primary.
pub(super) struct Answer {
    /// Of two answers, the one with the larger epoch is newer.
    pub(super) epoch: u64,
    pub(super) primary: At,
    /// Its own id.
    pub(super) id: String,
    /// The other Sentinels that it knows of, and their ids.
    pub(super) sentinels: Vec<(At, String)>,
}

/// What it says of itself, of the primary, or of another Sentinel.
pub(super) type Facts = HashMap<String, String>;

/// Asks one who the primary is.
pub(super) async fn ask(shared: &Shared, at: &At) -> Result<Answer, Failed> {
    look(shared, at).await.map(Known::answer)
}

/// Asks one for all that it knows.
pub(super) async fn look(shared: &Shared, at: &At) -> Result<Known, Failed> {
    let limit = shared.limit();
    match timeout(limit, asked(shared, at)).await {
        Ok(answer) => answer,
        Err(_) => Err(greeting::silent(limit, &shared.store)),
    }
}

async fn asked(shared: &Shared, at: &At) -> Result<Known, Failed> {
    let failed = |error| failed(&error, &shared.store);
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let opening = shared.client(at)?;
    let mut connection =
        opening.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
    let address = command(shared, "GET-MASTER-ADDR-BY-NAME");
    let address: Option<(String, u16)> = address.query_async(&mut connection).await.map_err(failed)?;
    let Some((host, port)) = address else {
        let why = format!("it watches no primary named {:?}", shared.name);
        return Err(Failed::refused(&shared.store, No { kind: Kind::Never, why, hint: NAME }));
    };
    let (id, facts, others) = facts(shared, &connection).await.map_err(failed)?;
    Ok(Known { primary: At { host, port }, id, facts, others })
}

impl Known {
    /// Of two, the one with the larger epoch is newer.
    pub(super) fn epoch(&self) -> u64 {
        self.facts.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default()
    }

    /// What the answers say together.
    pub(super) fn answer(self) -> Answer {
        let sentinels = self.others.iter().filter_map(other).collect();
        Answer { epoch: self.epoch(), primary: self.primary, id: self.id, sentinels }
    }
}

/// Where another Sentinel is, and its id.
fn other(facts: &Facts) -> Option<(At, String)> {
    let at = At { host: facts.get("ip")?.clone(), port: facts.get("port")?.parse().ok()? };
    Some((at, facts.get("runid")?.clone()))
}

/// Asked after the address, so that they are as new as it is or newer.
async fn facts(
    shared: &Shared,
    connection: &MultiplexedConnection,
) -> Result<(String, Facts, Vec<Facts>), RedisError> {
    let (master, sentinels) = (command(shared, "MASTER"), command(shared, "SENTINELS"));
    let mut id = redis::cmd("SENTINEL");
    id.arg("MYID");
    let [mut first, mut second, mut third] = [(); 3].map(|()| connection.clone());
    let (id, master) = (id.query_async(&mut first), master.query_async(&mut second));
    try_join3(id, master, sentinels.query_async(&mut third)).await
}

fn command(shared: &Shared, what: &str) -> redis::Cmd {
    let mut command = redis::cmd("SENTINEL");
    command.arg(what).arg(&shared.name);
    command
}

/// What an error of a Sentinel means.
pub(super) fn failed(error: &RedisError, store: &str) -> Failed {
    let never = |why: String, hint| Failed::refused(store, No { kind: Kind::Never, why, hint });
    match Trouble::of(error) {
        Trouble::No(No { why, .. }) if why.contains("unknown command") => {
            never("it is not a Sentinel".into(), NO_SENTINEL)
        }
        Trouble::No(No { why, .. }) if is_login(error) => never(why, LOGIN),
        _ => greeting::failed(error, store),
    }
}

fn is_login(error: &RedisError) -> bool {
    let refused = ["NOAUTH", "WRONGPASS", "NOPERM"].into_iter().any(|word| error.code() == Some(word));
    refused || error.kind() == redis::ErrorKind::AuthenticationFailed
}
