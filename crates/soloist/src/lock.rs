//! Asking for a lock: the options are methods, await is the verb.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use tracing::Instrument;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::limits;
use crate::name::{Holder, Key, Note, Ticket};
use crate::observe;
use crate::place::Served;
use crate::protocol::{Mode, Request, Ttl, Want};

pub(crate) type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What every request can say; shared by lock, try_lock and once.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) key: Result<Key>,
    pub(crate) holder: Result<Holder>,
    pub(crate) note: Result<Option<Note>>,
    pub(crate) ttl: Result<Ttl>,
    pub(crate) wait: Result<Option<Duration>>,
}

impl Ask {
    pub(crate) fn new(client: &Client, key: &str) -> Self {
        Ask {
            key: Key::new(key),
            holder: Ok(client.holder().clone()),
            note: Ok(None),
            ttl: Ok(client.ttl()),
            wait: Ok(None),
        }
    }

    /// The request, or the first thing that is wrong with it: told before anything is sent.
    pub(crate) fn request(self, want: Want, mode: Mode) -> Result<(Request, Option<Duration>)> {
        let (key, holder, note, ttl, wait) = (self.key?, self.holder?, self.note?, self.ttl?, self.wait?);
        // To wait for no time is to try.
        let mode = if mode == Mode::Line && wait == Some(Duration::ZERO) { Mode::Try } else { mode };
        let wait = if mode == Mode::Line { wait } else { None };
        let ticket = Ticket::mint();
        Ok((Request { key, ticket, holder, note, want, mode, ttl, bound: true, seen: None }, wait))
    }
}

/// A lock that is asked for; see [`Client::lock`]. Await it.
#[derive(Debug)]
#[must_use = "nothing is asked for until this is awaited"]
pub struct Lock<'a> {
    client: &'a Client,
    ask: Ask,
    mode: Mode,
}

macro_rules! ask_options {
    () => {
        /// Under which name to hold it, in place of the client's.
        pub fn holder(mut self, holder: impl AsRef<str>) -> Self {
            self.ask.holder = $crate::name::Holder::new(holder);
            self
        }

        /// A remark that whoever looks at the key can read.
        pub fn note(mut self, note: impl AsRef<str>) -> Self {
            self.ask.note = $crate::name::Note::new(note).map(Some);
            self
        }

        /// How long the lease lives unless it is renewed: 10 ms to a year. It renews itself; this is how
        /// long others wait for the key when this process is cut off.
        pub fn ttl(mut self, ttl: std::time::Duration) -> Self {
            self.ask.ttl = $crate::limits::ttl(ttl);
            self
        }
    };
}
pub(crate) use ask_options;

impl<'a> Lock<'a> {
    pub(crate) fn new(client: &'a Client, key: &str) -> Self {
        Lock { client, ask: Ask::new(client, key), mode: Mode::Line }
    }

    ask_options!();

    /// Held until it is released, however long that takes. On the local store it still ends with this
    /// process.
    pub fn no_expiry(mut self) -> Self {
        self.ask.ttl = Ok(Ttl::Forever);
        self
    }

    /// How long to stand in line at most; without this, for as long as it takes. Zero is to try once.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.ask.wait = limits::wait(wait).map(Some);
        self
    }

    /// Takes the key over from whoever holds it. The new lease has a larger token, and the old holder is
    /// told that it lost the key. Those who wait stay in line.
    pub fn force(mut self) -> Self {
        self.mode = Mode::Force;
        self
    }
}

impl<'a> IntoFuture for Lock<'a> {
    type Output = Result<Lease>;
    type IntoFuture = Asking<'a, Lease>;

    /// # Cancel safety
    /// Safe: dropped at any moment, no key stays held and no place in line stays taken.
    fn into_future(self) -> Self::IntoFuture {
        let Lock { client, ask, mode } = self;
        Box::pin(async move {
            let (request, wait) = ask.request(Want::Lock, mode)?;
            let (key, span) = (request.key.clone(), observe::lock_span(&request.key, &request.holder));
            match client.place(request).served(wait).instrument(span).await? {
                Served::Lease(lease) => Ok(lease),
                Served::Busy(now) => {
                    Err(Error::TimedOut { key, waited: Duration::ZERO, holder: Some(now.holder) })
                }
                Served::Done(_) => Err(client.odd_answer("a lock is answered with a result")),
            }
        })
    }
}

/// A lock that is tried for; see [`Client::try_lock`]. Await it.
#[derive(Debug)]
#[must_use = "nothing is asked for until this is awaited"]
pub struct TryLock<'a> {
    client: &'a Client,
    ask: Ask,
}

impl<'a> TryLock<'a> {
    pub(crate) fn new(client: &'a Client, key: &str) -> Self {
        TryLock { client, ask: Ask::new(client, key) }
    }

    ask_options!();

    /// Held until it is released, however long that takes. On the local store it still ends with this
    /// process.
    pub fn no_expiry(mut self) -> Self {
        self.ask.ttl = Ok(Ttl::Forever);
        self
    }
}

impl<'a> IntoFuture for TryLock<'a> {
    type Output = Result<Option<Lease>>;
    type IntoFuture = Asking<'a, Option<Lease>>;

    /// # Cancel safety
    /// Safe: dropped at any moment, no key stays held.
    fn into_future(self) -> Self::IntoFuture {
        let TryLock { client, ask } = self;
        Box::pin(async move {
            let (request, _) = ask.request(Want::Lock, Mode::Try)?;
            let span = observe::lock_span(&request.key, &request.holder);
            match client.place(request).served(None).instrument(span).await? {
                Served::Lease(lease) => Ok(Some(lease)),
                Served::Busy(_) => Ok(None),
                Served::Done(_) => Err(client.odd_answer("a lock is answered with a result")),
            }
        })
    }
}
