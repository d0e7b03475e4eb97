//! What happened to a key, as told to those who watch.

use serde::{Deserialize, Serialize};

use crate::name::{FencingToken, Holder, Key};

/// What happened; see [`Event`].
///
/// ```
/// use soloist::EventKind;
/// assert_eq!(EventKind::Expired.word(), "expired");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The key was granted to `holder`.
    Locked,
    /// `holder` let it go.
    Released,
    /// The lease of `holder` ended unrenewed, or with its process.
    Expired,
    /// `holder` took the key over from `from`.
    TakenOver {
        /// Who held it before.
        from: Holder,
    },
    /// Somebody broke the lease of `holder`.
    Broken,
    /// `holder` published its result.
    Published,
    /// `holder` published an error.
    Failed,
    /// The result that `holder` had published was forgotten.
    Forgotten,
}

impl EventKind {
    /// The kind in one word, as the program prints it.
    pub fn word(&self) -> &'static str {
        match self {
            EventKind::Locked => "locked",
            EventKind::Released => "released",
            EventKind::Expired => "expired",
            EventKind::TakenOver { .. } => "taken_over",
            EventKind::Broken => "broken",
            EventKind::Published => "published",
            EventKind::Failed => "failed",
            EventKind::Forgotten => "forgotten",
        }
    }
}

/// Something that happened to one key; see [`Client::events`](crate::Client::events). Events of one key come in
/// the order in which they happened.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// use futures_util::StreamExt;
/// use soloist::{EventKind, Told};
///
/// let mut events = client.events().await?;
/// drop(client.lock("report:42").holder("worker-7").await?);
/// let mut seen = Vec::new();
/// while let Some(Told::Event(event)) = events.next().await {
///     println!("{} {} {} token {}", event.key, event.kind.word(), event.holder, event.token);
///     seen.push(event.kind);
///     if seen.len() == 2 {
///         break;
///     }
/// }
/// assert_eq!(seen, [EventKind::Locked, EventKind::Released]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// The key.
    pub key: Key,
    /// What happened.
    pub kind: EventKind,
    /// Whose lease or result it is about.
    pub holder: Holder,
    /// The token of that lease or result.
    pub token: FencingToken,
    /// When, by the store's clock, in microseconds since 1970.
    pub at: u64,
}

impl Event {
    /// An event; stores make them.
    pub fn new(key: Key, kind: EventKind, holder: Holder, token: FencingToken, at: u64) -> Self {
        Event { key, kind, holder, token, at }
    }
}
