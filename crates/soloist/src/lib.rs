//! *One performs, the others wait and hear the result.*
//!
//! Soloist gives a fleet of processes two things: **locks** (one holder at a time, in fair order, with a lease
//! that renews itself while its process lives and ends by itself when it does not) and **work-once** (one
//! process computes, every other caller gets that same result). It runs on the Redis or Valkey that you have,
//! and on nothing at all: on a store that the processes of one machine share.
//!
//! ```no_run
//! # async fn work() {}
//! # async fn build() -> std::io::Result<String> { Ok(String::new()) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> soloist::Result<()> {
//! # use std::time::Duration;
//! let client = soloist::Client::connect("redis://127.0.0.1").await?; // or "" for the local store
//!
//! let lease = client.lock("report:42").await?; // stands in line, renews itself
//! lease.run_until_lost(work()).await?; // the work is dropped the moment the lease is lost
//! lease.release().await?; // or just drop it
//!
//! let half_an_hour = Duration::from_secs(1800);
//! let report: String = client.once("report:42").keep(half_an_hour).run(|| build()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | word | meaning |
//! |---|---|
//! | [key](Key) | what is locked or computed: any text of 1 to 512 bytes |
//! | [holder](Holder) | a readable name of who holds it; `host:pid` unless you choose another |
//! | [ticket](Ticket) | the secret id of one request, made before anything is sent: asking again is safe, and cancelling is complete |
//! | [lease](Lease) | the fact of holding: key, ticket and fencing token, with a ttl that is renewed |
//! | [fencing token](FencingToken) | a number that grows with every grant of a key |
//! | ttl, wait, keep | how long a lease lives unless renewed; how long a caller stands in line; how long a result is kept |
//! | hand-over | the releaser's own step makes the next in line the holder |
//! | [leader](Leader), follower | who computes a result, who waits for it |
//!
//! # Locks
//! A [`Client`] is opened once and shared; its clones are cheap. Requests are builders: options are methods,
//! `await` is the verb. Busy is a value for [`Client::try_lock`], and [`Error::TimedOut`] for a lock with a
//! [`wait`](Lock::wait).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> soloist::Result<()> {
//! # let client = soloist::Client::memory()?;
//! use std::time::Duration;
//! use soloist::Error;
//!
//! let lease = client.lock("report:42").holder("worker-7").note("nightly").await?;
//!
//! assert!(client.try_lock("report:42").await?.is_none());
//! match client.lock("report:42").wait(Duration::from_millis(20)).await {
//!     Err(Error::TimedOut { holder, .. }) => assert_eq!(holder.unwrap().as_str(), "worker-7"),
//!     other => panic!("{other:?}"),
//! }
//! lease.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! **A lease can be lost while it is held**: its ttl passes while the store is away or the machine sleeps, or
//! somebody takes the key over. [`Lease::run_until_lost`] drops the work then; [`Lease::lost`] is for a
//! `select!` of your own. Renewal goes on by itself, on a thread of this crate's: a runtime whose threads are all
//! blocked loses nothing by that. [`Lock::max_hold`] is for a holder that may be stuck: beyond it nothing is renewed.
//!
//! ```
//! # async fn work() {}
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> soloist::Result<()> {
//! # let client = soloist::Client::memory()?;
//! let lease = client.lock("report:42").await?;
//! tokio::select! {
//!     loss = lease.lost() => eprintln!("stopped: {loss}"),
//!     () = work() => lease.release().await?,
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Taking over** with [`force`](Lock::force) gives a larger token and tells the old holder.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> soloist::Result<()> {
//! # let client = soloist::Client::memory()?;
//! use soloist::Loss;
//!
//! let old = client.lock("article:12").holder("user:20").await?;
//! let new = client.lock("article:12").holder("user:21").force().await?;
//! assert!(new.token() > old.token());
//! assert!(matches!(old.lost().await, Loss::TakenOver { by } if by.as_str() == "user:21"));
//! # Ok(())
//! # }
//! ```
//!
//! **A lease without its process**: [`Lease::detach`] gives a [`LeaseId`], a text by which another request or
//! another process renews and releases it. Where nobody can keep that text, the holder's name will do.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> soloist::Result<()> {
//! # let client = soloist::Client::memory()?;
//! use std::time::Duration;
//! let minute = Duration::from_secs(60);
//!
//! let id = client.lock("upload:7").ttl(minute).await?.detach().await?;
//! let cookie = id.to_string(); // whoever has it can release: keep it secret
//! client.renew(&cookie.parse()?, minute).await?;
//! client.release(&cookie.parse()?).await?;
//!
//! client.lock("article:12").holder("user:20").ttl(minute).await?.detach().await?;
//! client.renew_held_by("article:12", "user:20", minute).await?;
//! client.release_held_by("article:12", "user:20").await?;
//! # Ok(())
//! # }
//! ```
//!
//! **Very many very short holds** of one key by tasks of few processes: with [`cohort`](Lock::cohort) they hand its lease
//! to each other without the store, a row at a time, each with a token of its own; processes take turns.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> soloist::Result<()> {
//! # let client = soloist::Client::memory()?;
//! let one = async || client.lock("counter").cohort(64).await?.release().await;
//! tokio::try_join!(one(), one(), one())?;
//! # Ok(())
//! # }
//! ```
//!
//! **Fencing.** No lease can stop a process that was frozen past its ttl and goes on writing. What the lock
//! protects can, if every write carries [`Lease::token`] (more in [docs/fencing.md]):
//!
//! ```sql
//! UPDATE report SET body = $1, fence = $2 WHERE id = $3 AND fence <= $2; -- 0 rows: you are late, stop
//! ```
//!
//! # Work once
//! However many callers in however many processes ask for a result, one computes it. If that leader fails,
//! panics, is dropped, is killed or loses its lease, the next in line is the leader, and a value that comes too
//! late is refused. Values are whatever serde can write and read, or [`Raw`] bytes.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> soloist::Result<()> {
//! # let client = soloist::Client::memory()?;
//! use std::time::Duration;
//!
//! async fn build() -> std::io::Result<Vec<u32>> { Ok(vec![3, 5, 8]) }
//!
//! let report = client.once("report:42").keep(Duration::from_secs(1800)).wait(Duration::from_secs(60));
//! let (one, two) = tokio::join!(report.clone().run(build), report.run(build)); // builds once
//! assert_eq!(one?, two?);
//!
//! // Kept: later callers get it, too, and it can be looked at without computing. Until it is forgotten.
//! assert_eq!(client.result::<Vec<u32>>("report:42").await?, Some(vec![3, 5, 8]));
//! assert!(client.forget("report:42").await?);
//! # Ok(())
//! # }
//! ```
//!
//! In two steps, where the work is no closure:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> soloist::Result<()> {
//! # let client = soloist::Client::memory()?;
//! use soloist::Flight;
//!
//! let answer: u32 = match client.once("answer").join().await? {
//!     Flight::Leader(leader) => leader.publish(42).await?,
//!     Flight::Done(answer) => answer,
//! };
//! # assert_eq!(answer, 42);
//! # Ok(())
//! # }
//! ```
//!
//! **Read very often**, a result that is kept can be kept in the process, too: it then costs no request, and is never older
//! than a second, whatever fails. [`ClientBuilder::result_cache`] says exactly what a reader may see.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> soloist::Result<()> {
//! use std::time::Duration;
//! use soloist::{Client, Error};
//!
//! let client = Client::builder().result_cache(10_000, 64 << 20).connect("memory:").await?;
//! let rate = client.once("rate").keep(Duration::from_secs(60));
//! assert_eq!(rate.clone().run(|| async { Ok::<_, Error>(1.25) }).await?, 1.25);
//! assert_eq!(rate.run(|| async { Ok::<_, Error>(0.0) }).await?, 1.25); // from this process's memory
//! # Ok(())
//! # }
//! ```
//!
//! **When the work fails**, all who wait get the leader's error as [`Error::Failed`]; with [`OnError::Retry`]
//! the next in line tries instead. [`Once::keep_errors`] keeps an error for those who come later.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> soloist::Result<()> {
//! # let client = soloist::Client::memory()?;
//! use soloist::{Error, OnError};
//!
//! let failed = client.once("report:42").run(|| async { Err::<u32, _>("no rows") }).await;
//! assert!(matches!(failed, Err(Error::Failed { message, .. }) if message == "no rows"));
//!
//! let retried = client.once("report:42").on_error(OnError::Retry).run(|| async { Ok::<_, Error>(42) });
//! assert_eq!(retried.await?, 42);
//! # Ok(())
//! # }
//! ```
//!
//! # Looking
//! [`Client::inspect`] and [`Client::list`] change nothing; [`Client::events`] tells what happens from now on.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> soloist::Result<()> {
//! # let client = soloist::Client::memory()?;
//! use futures_util::StreamExt;
//! use soloist::Told;
//!
//! let mut events = client.events().await?;
//! let lease = client.lock("report:42").note("nightly").await?;
//!
//! let info = client.inspect("report:42").await?;
//! println!("{:?}, {} in line", info.holding, info.waiting);
//! assert_eq!(client.list("report:*").await?.len(), 1);
//!
//! match events.next().await {
//!     Some(Told::Event(event)) => assert_eq!(event.kind.word(), "locked"),
//!     Some(_) => println!("events were missed here: look at the state"),
//!     None => println!("the store was closed"),
//! }
//! # drop(lease);
//! # Ok(())
//! # }
//! ```
//!
//! [`Client::examine`] looks at the store itself, for what would lose locks: a server that evicts keys, is not
//! kept on disk, lacks rights. The program does it with `soloist doctor`.
//!
//! **Logs** go through [`tracing`](https://docs.rs/tracing), under the targets `soloist::line`,
//! `soloist::lease`, `soloist::flight` and `soloist::store`; their names and fields are in [docs/observing.md].
//! No password, ticket or result is ever logged.
//!
//! # Stores
//! | URL | who shares it |
//! |---|---|
//! | `""`, `local:`, `local:/path` | the processes of one machine, no server; a holder that is killed is noticed at once. [`store::local`] |
//! | `redis://`, `rediss://`, `redis+unix://` | all who reach the server; Redis 6.2 or newer, Valkey. [`store::redis`] |
//! | `redis-sentinel://h1,h2,h3/NAME` | the same: the primary that Sentinels name, followed at a failover |
//! | `redis-cluster://h1,h2,h3` | the same: each key at the primary of a cluster that has its slot, followed when that moves |
//! | `quorum:URL,URL,URL` | all who reach a majority of these independent servers; without work-once. [`store::quorum`] |
//! | `memory:` | the tasks of one process. [`store::memory`] |
//!
//! [`Client::from_env`] takes the URL from `SOLOIST_STORE`. [`ClientBuilder::store`] takes a store that is open
//! already: around a connection of yours ([`RedisStore::from_client`]), beside an older system
//! ([`store::redis::bridge`]), or one of your own ([`Store`] is a small trait). What each store guarantees and
//! what not is a table in the README.
//!
//! **A failover** of a Redis may lose the newest leases: their holders are told, and fencing tokens grow all the same.
//! With [`replicas(n)`](Lock::replicas) a lease is given only when n replicas have it.
//!
//! # Limits
//! | what | at most | over it |
//! |---|---|---|
//! | key; with its prefix | 512 bytes ([`MAX_KEY`]); 640 | [`Error::LongName`], before anything is sent |
//! | holder, note, prefix | 256, 1024, 128 bytes ([`MAX_HOLDER`], [`MAX_NOTE`], [`MAX_PREFIX`]) | the same |
//! | ttl; wait and keep | 10 ms to 366 days; 366 days | [`Error::BadDuration`], likewise |
//! | result | 16 MiB ([`ClientBuilder::max_result`]) | [`Error::TooLarge`]; those who wait are told, too |
//! | line of a key | 100,000 ([`ClientBuilder::max_waiting`], [`Lock::max_waiting`], [`Once::max_waiting`]) | [`Error::LineFull`], at once |
//! | holders of a row in a [`cohort`](Lock::cohort) | 128, for about a millisecond | the next in the store's line |
//! | results kept in the process ([`ClientBuilder::result_cache`]) | what you say; 10,000 keys and 64 MiB for [`Once::cached`] alone | the longest there goes, unless it was read since |
//!
//! The number of keys has no limit but the store's memory.
//!
//! **In tests**, a store inside the process on a clock that the test moves:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> soloist::Result<()> {
//! use std::{sync::Arc, time::Duration};
//! use soloist::store::memory::{MemoryStore, StoreClock};
//! use soloist::{Client, Error};
//!
//! let clock = StoreClock::manual(1_000_000);
//! let store = MemoryStore::with_clock(clock.clone());
//! let other = Client::builder().holder("other").store(Arc::new(store.peer()))?; // as another process
//! let client = Client::builder().holder("worker").store(Arc::new(store))?;
//!
//! let lease = client.lock("report:42").ttl(Duration::from_secs(30)).await?;
//! assert!(other.try_lock("report:42").await?.is_none());
//! clock.advance(Duration::from_secs(31));
//! let taken = other.try_lock("report:42").await?.expect("the lease has expired");
//! assert!(taken.token() > lease.token());
//! assert!(matches!(lease.release().await, Err(Error::Lost { .. })));
//! # Ok(())
//! # }
//! ```
//!
//! # Errors, cancelling, closing
//! [`Error`] is one enum; each says what happened, to which key, who holds it, and by [`Error::hint`] what to
//! do. Nothing is retried for ever silently, and what cannot be told is [`Error::Unknown`], never a guess.
//!
//! **Every future of this crate may be dropped at any await**: no key stays held and no place in line stays
//! taken. What is dropped, also by a panic or by a runtime that ends, is cleaned up in the background as long as the
//! process lives; so call [`Client::close`] before the process ends, or on a Redis others wait for the ttl of what was
//! not yet released. A process that forks must not use its parent's clients in the child: nothing there renews or
//! releases the parent's leases, and they end there by their deadline. Open a new client in it.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> soloist::Result<()> {
//! # let client = soloist::Client::memory()?;
//! use std::time::Duration;
//!
//! let lease = client.lock("report:42").await?;
//! let waiting = client.lock("report:42");
//! let _ = tokio::time::timeout(Duration::from_millis(5), waiting.into_future()).await; // out of line again
//! drop(lease); // released in the background
//! client.close().await; // waits for that
//! # Ok(())
//! # }
//! ```
//!
//! # More
//! [docs/moving.md] for those who come from locksmith, halocksmith, locky, redis-reservation or process-locker,
//! [docs/protocol.md] for the [state machine](protocol), `examples/` for whole programs, and the program
//! `soloist`, which is all this for the shell: [docs/cli.md].
//!
//! [`RedisStore::from_client`]: store::redis::RedisStore::from_client
//! [docs/cli.md]: ../../../docs/cli.md
//! [docs/fencing.md]: ../../../docs/fencing.md
//! [docs/moving.md]: ../../../docs/moving.md
//! [docs/observing.md]: ../../../docs/observing.md
//! [docs/protocol.md]: ../../../docs/protocol.md
#![forbid(unsafe_code)]
// Unit tests run on real threads: there is nothing of them where a scheduler has its own.
#![cfg(not(all(test, soloist_shuttle)))]

mod builder;
mod by_ticket;
mod cache;
mod client;
mod clock;
mod cohort;
mod error;
mod event;
mod finding;
mod flights;
mod glob;
#[cfg(soloist_shuttle)]
pub mod interleavings;
mod keeper;
mod kept;
mod leader;
mod lease;
mod limits;
mod lock;
mod name;
mod observe;
mod once;
mod payload;
mod place;
pub mod protocol;
mod random;
mod replicas;
pub mod store;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod watch;

pub use builder::ClientBuilder;
pub use client::{APP_KEY, Client};
pub use clock::{Moment, Reading};
pub use error::{Error, Loss, Result};
pub use event::{Event, EventKind};
pub use finding::{Finding, Level};
pub use glob::Glob;
pub use leader::{Flight, Leader, OnError};
pub use lease::{Lease, LeaseId};
pub use lock::{Lock, TryLock};
pub use name::{FencingToken, Holder, Key, MAX_HOLDER, MAX_KEY, MAX_NOTE, MAX_PREFIX, Note, Session, Ticket};
pub use once::Once;
pub use payload::{Payload, Raw};
pub use protocol::{Holding, KeyInfo, OutcomeKind, ResultInfo, WaiterInfo, Want};
pub use store::{EventStream, Store, StoreUrl, Told};

/// The snippets of this page are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/moving.md")]
struct Moving;
