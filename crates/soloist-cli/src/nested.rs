//! A command that asks for the very key under which it runs would wait for its own end.

use std::convert::Infallible;
use std::env;

use soloist::Client;

use crate::talk;

/// The names of what a command is told of the lease under which it runs.
pub(crate) const KEY: &str = "SOLOIST_KEY";
pub(crate) const TOKEN: &str = "SOLOIST_TOKEN";

/// Says so if this process runs under the current lease of `key`, and resolves never. Not an error: what was
/// left in the background may well wait for the rest to end.
pub(crate) async fn warn(client: &Client, key: &str) -> Infallible {
    if env::var(KEY).is_ok_and(|outer| outer == key)
        && let Ok(token) = env::var(TOKEN)
        && let Ok(info) = client.inspect(key).await
        && info.holding.is_some_and(|now| now.token.to_string() == token)
    {
        talk::note(&format!(
            "warning: {:?} is held by the soloist that runs this very command: this waits for its own end",
            info.key
        ));
    }
    std::future::pending().await
}
