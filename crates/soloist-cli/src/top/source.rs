//! What `soloist top` asks the store, on the runtime's own thread: neither a list of very many keys nor a store that does
//! not answer holds up whoever looks.

use std::future::pending;
use std::time::Duration;

use futures_util::StreamExt as _;
use soloist::{Client, EventStream, Key, KeyInfo, Result, Told};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use crate::failure::{Failure, Outcome};

/// So many events may be on their way to the screen. Where more are, the store tells that some were missed.
const UNDER_WAY: usize = 4096;
/// So long after a subscription has ended it is asked for anew.
const AGAIN: Duration = Duration::from_secs(1);

/// The list every now and then, events as they come.
pub(crate) struct Source {
    client: Client,
    pattern: String,
    interval: Duration,
    told: Receiver<Told>,
    listening: AbortHandle,
    list: Asking<Vec<KeyInfo>>,
    details: Asking<KeyInfo>,
    /// When the list is asked for again, and before when it must not be.
    due: Option<Instant>,
    not_before: Instant,
}

/// At most one question under way.
struct Asking<T>(Option<(Instant, JoinHandle<Result<T>>)>);

/// What came.
pub(crate) enum Came {
    List(Result<Vec<KeyInfo>>),
    Details(Result<KeyInfo>),
    Told(Vec<Told>),
}

impl Source {
    /// Subscribes, and asks for the first list. A store that cannot be reached is an error here, and only here.
    pub(crate) async fn open(client: &Client, pattern: &str, interval: Duration) -> Outcome<Self> {
        let events = client.events().await?;
        let (to, told) = mpsc::channel(UNDER_WAY);
        let listening = tokio::spawn(listen(client.clone(), events, to)).abort_handle();
        let mut source = Source {
            client: client.clone(),
            pattern: pattern.to_owned(),
            interval,
            told,
            listening,
            list: Asking(None),
            details: Asking(None),
            due: None,
            not_before: Instant::now(),
        };
        source.ask_list();
        Ok(source)
    }

    /// What comes next. Cancel safe. Never asks for a list before the last one has been there for an interval.
    pub(crate) async fn next(&mut self) -> Outcome<Came> {
        loop {
            let due = self.due;
            tokio::select! {
                biased;
                list = self.list.answer() => {
                    self.rest();
                    self.due = Some(self.not_before);
                    return Ok(Came::List(list?));
                }
                details = self.details.answer() => return Ok(Came::Details(details?)),
                () = at(due) => self.ask_list(),
                told = self.told.recv() => {
                    let mut all = vec![told.ok_or_else(|| Failure::own("nobody listens for events any more"))?];
                    // As many as are there, but not without end.
                    while all.len() < UNDER_WAY && let Ok(told) = self.told.try_recv() {
                        all.push(told);
                    }
                    return Ok(Came::Told(all));
                }
            }
        }
    }

    fn ask_list(&mut self) {
        self.due = None;
        let (client, pattern) = (self.client.clone(), self.pattern.clone());
        self.list.ask(async move { client.list(&pattern).await });
    }

    /// Asks for everything about a key, in place of what was asked for before.
    pub(crate) fn ask_details(&mut self, key: Key) {
        let client = self.client.clone();
        self.details.ask(async move { client.inspect(key.as_str()).await });
    }

    /// Asks for no list meanwhile, or for one as soon as it may.
    pub(crate) fn pause(&mut self, paused: bool) {
        if paused && self.list.0.is_some() {
            self.list.drop_it();
            self.rest();
        }
        self.due = (!paused).then_some(self.not_before);
    }

    fn rest(&mut self) {
        self.not_before = Instant::now() + self.interval;
    }

    /// For how long the store has owed a list.
    pub(crate) fn owed(&self) -> Option<Duration> {
        self.list.0.as_ref().map(|(since, _)| since.elapsed())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.listening.abort();
        self.list.drop_it();
        self.details.drop_it();
    }
}

impl<T: Send + 'static> Asking<T> {
    fn ask(&mut self, what: impl Future<Output = Result<T>> + Send + 'static) {
        self.drop_it();
        self.0 = Some((Instant::now(), tokio::spawn(what)));
    }

    fn drop_it(&mut self) {
        if let Some((_, under_way)) = self.0.take() {
            under_way.abort();
        }
    }

    /// The answer, as soon as it is there; never, when nothing was asked.
    async fn answer(&mut self) -> Outcome<Result<T>> {
        let Some((_, under_way)) = &mut self.0 else { return pending().await };
        let answer = under_way.await;
        self.0 = None;
        answer.map_err(|error| Failure::own(format!("the store was not asked: {error}")))
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => pending().await,
    }
}

/// Passes on what is told. A subscription that ends is taken up anew; what was told in between was missed.
async fn listen(client: Client, mut events: EventStream, to: Sender<Told>) {
    loop {
        while let Some(told) = events.next().await {
            if to.send(told).await.is_err() {
                return;
            }
        }
        loop {
            tokio::time::sleep(AGAIN).await;
            if let Ok(anew) = client.events().await {
                events = anew;
                break;
            }
        }
        if to.send(Told::Missed).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Until a list is there.
    async fn list(source: &mut Source) -> Vec<KeyInfo> {
        loop {
            if let Came::List(list) = source.next().await.unwrap() {
                return list.unwrap();
            }
        }
    }

    /// How long the store has peace from now on, at least.
    fn peace(source: &Source) -> Option<Duration> {
        source.due.map(|due| due.saturating_duration_since(Instant::now()) + Duration::from_secs(60))
    }

    #[tokio::test]
    async fn no_list_is_asked_for_sooner_than_an_interval_after_the_last_one() {
        let client = Client::memory().unwrap();
        let lease = client.lock("report:42").await.unwrap();
        let other = client.lock("article:12").await.unwrap();
        let mut source = Source::open(&client, "report:*", HOUR).await.unwrap();
        assert!(source.owed().is_some() && source.due.is_none(), "the first one is asked for at once");
        assert_eq!(list(&mut source).await.len(), 1);
        assert!(source.owed().is_none() && peace(&source) > Some(HOUR));
        // Nor by pressing a key again and again.
        for _ in 0..3 {
            source.pause(true);
            assert_eq!(source.due, None);
            source.pause(false);
            assert!(source.owed().is_none() && peace(&source) > Some(HOUR));
        }
        // A list that is given up has cost as much as one that came.
        source.not_before = Instant::now();
        source.ask_list();
        source.pause(true);
        assert!(source.owed().is_none());
        source.pause(false);
        assert!(source.owed().is_none() && peace(&source) > Some(HOUR));
        drop((lease, other));
    }

    #[tokio::test]
    async fn the_details_that_were_asked_for_last_come_and_events_between() {
        let client = Client::memory().unwrap();
        let mut source = Source::open(&client, "*", HOUR).await.unwrap();
        let lease = client.lock("b").await.unwrap();
        source.ask_details(Key::new("a").unwrap());
        source.ask_details(Key::new("b").unwrap());
        let (mut details, mut events) = (Vec::new(), Vec::new());
        while details.is_empty() || events.is_empty() {
            match source.next().await.unwrap() {
                Came::Details(info) => details.push(info.unwrap()),
                Came::Told(all) => events.extend(all),
                Came::List(list) => drop(list.unwrap()),
            }
        }
        assert_eq!(details.len(), 1);
        assert_eq!(details[0].holding.as_ref().unwrap().token, lease.token());
        assert!(matches!(&events[0], Told::Event(event) if event.token == lease.token()));
    }

    #[tokio::test]
    async fn its_end_ends_all_that_it_asked() {
        let client = Client::memory().unwrap();
        let mut source = Source::open(&client, "*", HOUR).await.unwrap();
        let listening = source.listening.clone();
        source.ask_details(Key::new("a").unwrap());
        let asked = source.details.0.as_ref().map(|(_, asked)| asked.abort_handle()).unwrap();
        drop(source);
        let ended = async {
            while !(listening.is_finished() && asked.is_finished()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
    }
}
