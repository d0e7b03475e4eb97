//! The lock of an article editor: held by a user across requests, seen live by all others, taken over by force.
//!
//! `cargo run --example article_editor`

use std::time::Duration;

use futures_util::StreamExt;
use soloist::{Client, Error, Told};

const ARTICLE: &str = "example:article:12";
const TTL: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> soloist::Result<()> {
    let client = Client::from_env().await?;
    let mut events = client.events().await?;

    // A request opens the editor. The lock outlives the request, in the name of its user.
    client.lock(ARTICLE).holder("user:20").ttl(TTL).note("typing").await?.detach().await?;
    // Another request: the editor is still open.
    client.renew_held_by(ARTICLE, "user:20", TTL).await?;
    // Somebody else opens it, and is told who is in there; leaving by that name is refused.
    if client.try_lock(ARTICLE).holder("user:21").await?.is_none() {
        let holding = client.inspect(ARTICLE).await?.holding;
        println!(
            "user:21 reads only: {} edits",
            holding.map_or("nobody".into(), |now| now.holder.to_string())
        );
    }
    if let Err(Error::NotHeld { .. }) = client.release_held_by(ARTICLE, "user:21").await {
        println!("user:21 cannot close the editor of another");
    }
    // "Edit anyway": the old editor's pages are told. Then the tab is closed without a word.
    client.lock(ARTICLE).holder("user:21").ttl(TTL).force().await?.detach().await?;

    while let Some(told) = events.next().await {
        let Told::Event(event) = told else { continue };
        if event.key.as_str() == ARTICLE {
            println!("event: {} {}", event.kind.word(), event.holder);
            if event.kind.word() == "expired" {
                break;
            }
        }
    }
    client.close().await;
    Ok(())
}
