//! The connection that hears: wake-ups of this session, and events while anybody watches them.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use redis::RedisError;
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::backoff::Backoff;
use super::greeting::{self, Failed};
use super::keys;
use super::options::RedisOptions;
use super::pack::{self, Message};
use super::seat::Seat;
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::name::Session;
use crate::observe;
use crate::store::hub::Hub;
use crate::store::results::{self, RESULTS_KEPT, is_about_a_result};
use crate::store::{Results, Told};

/// How many events a slow subscriber may lag behind before it misses some.
pub(super) const EVENTS_KEPT: usize = 4096;

/// How often the other end is asked at most whether all has been heard, while somebody wants to know.
const ASKED_EACH: Duration = Duration::from_millis(250);

type Watch = oneshot::Sender<Result<broadcast::Receiver<Told>>>;

/// What is watched.
#[derive(Clone, Copy)]
enum Of {
    All,
    Results,
}

/// What the store asks of the task.
enum Wish {
    Watch(Of, Watch),
    /// Hear no more; answered when the server knows.
    End(oneshot::Sender<()>),
}

/// Why the task stops hearing on a connection.
enum Stop {
    Lost(String),
    Ended(oneshot::Sender<()>),
}

/// The hearing connection, kept up by a task.
pub(super) struct Listener {
    /// At which node it hears.
    up: watch::Receiver<Option<usize>>,
    seat: Seat,
    hub: Arc<Hub>,
    wishes: mpsc::UnboundedSender<Wish>,
    complete: Arc<Complete>,
    task: JoinHandle<()>,
}

/// Up to when everything that the server said has been passed on.
#[derive(Debug, Default)]
struct Complete {
    at: Mutex<Option<Moment>>,
    /// Somebody wants to know it of a later moment.
    wanted: Notify,
}

impl Complete {
    fn set(&self, at: Option<Moment>) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn get(&self) -> Option<Moment> {
        let at = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if at.is_none_or(|at| Moment::now().since(at) > ASKED_EACH) {
            self.wanted.notify_one();
        }
        at
    }
}

/// What becomes of results, as this connection hears it.
#[derive(Debug)]
struct RedisResults {
    told: broadcast::Receiver<Told>,
    complete: Arc<Complete>,
}

impl Results for RedisResults {
    fn complete(&self) -> Option<Moment> {
        self.complete.get()
    }

    fn hear(&mut self) -> Option<Told> {
        results::hear(&mut self.told)
    }
}

/// What the task needs to connect and to pass on what it hears.
struct Ear {
    seat: Seat,
    session: Session,
    hub: Arc<Hub>,
    up: watch::Sender<Option<usize>>,
    wishes: mpsc::UnboundedReceiver<Wish>,
    events: broadcast::Sender<Told>,
    /// What of them is about results, for those who keep some.
    results: broadcast::Sender<Told>,
    complete: Arc<Complete>,
    /// Whether the events are subscribed to.
    watching: bool,
}

impl Listener {
    /// Connects and subscribes, once, where the verbs go.
    pub(super) async fn connect(
        seat: &Seat,
        session: Session,
        hub: Arc<Hub>,
        events: broadcast::Sender<Told>,
    ) -> Result<Self> {
        let (up, is_up) = watch::channel(None);
        let (wishes, wished) = mpsc::unbounded_channel();
        let (told, seat) = (Arc::clone(&hub), seat.clone());
        let complete = Arc::<Complete>::default();
        let ear = Ear {
            seat: seat.clone(),
            session,
            hub: told,
            up,
            wishes: wished,
            events,
            results: broadcast::channel(RESULTS_KEPT).0,
            complete: Arc::clone(&complete),
            watching: false,
        };
        let (node, pubsub) = ear.open().await.map_err(|failed| failed.error)?;
        ear.up.send_replace(Some(node));
        Ok(Listener { up: is_up, seat, hub, wishes, complete, task: tokio::spawn(ear.listen(node, pubsub)) })
    }

    /// Whether wake-ups are heard now where the verbs go.
    pub(super) fn is_heard(&self) -> bool {
        self.up.borrow().is_some_and(|here| self.seat.is_at(here))
    }

    /// Waits, but not longer than this, until wake-ups are heard at the node that the verbs go to: who joins the
    /// line unheard is passed over.
    pub(super) async fn hears(&self, limit: Duration) {
        let (mut up, mut states) = (self.up.clone(), self.seat.subscribe());
        let heard = async {
            loop {
                let (here, there) = (*up.borrow_and_update(), self.seat.at(&states.borrow_and_update()));
                if here.is_some() && here == there {
                    return;
                }
                let changed = tokio::select! {
                    biased;
                    changed = up.changed() => changed,
                    changed = states.changed() => changed,
                };
                if changed.is_err() {
                    return; // the task has ended, and the verb says why
                }
            }
        };
        // Where it takes too long, the look after the reconnection recovers the place.
        let _ = timeout(limit, heard).await;
    }

    /// All events from now on.
    pub(super) async fn events(&self, store: &str, limit: Duration) -> Result<broadcast::Receiver<Told>> {
        self.watch(Of::All, store, limit).await
    }

    /// What becomes of results from now on.
    pub(super) async fn results(&self, store: &str, limit: Duration) -> Result<Box<dyn Results>> {
        let told = self.watch(Of::Results, store, limit).await?;
        Ok(Box::new(RedisResults { told, complete: Arc::clone(&self.complete) }))
    }

    async fn watch(&self, of: Of, store: &str, limit: Duration) -> Result<broadcast::Receiver<Told>> {
        let (watch, subscribed) = oneshot::channel();
        self.wishes.send(Wish::Watch(of, watch)).map_err(|_| Error::Closed)?;
        match timeout(limit, subscribed).await {
            Ok(answer) => answer.map_err(|_| Error::Closed)?,
            Err(_) => Err(greeting::silent(limit, store).error),
        }
    }

    /// Ends all subscriptions, and returns when the server knows that this session hears no more; where that
    /// takes too long it finds out by itself.
    pub(super) async fn end(&self, limit: Duration) {
        let (end, ended) = oneshot::channel();
        if self.up.borrow().is_some() && self.wishes.send(Wish::End(end)).is_ok() {
            let _ = timeout(limit, ended).await;
        }
        self.task.abort();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        // Nobody hears any more: whoever waits is told.
        self.hub.close();
    }
}

impl Ear {
    /// Opens a connection that hears already, where the verbs go.
    async fn open(&self) -> Result<(usize, PubSub), Failed> {
        let (store, limit) = (&self.seat.nodes().store, self.options().connect_timeout);
        let node = self.seat.node().await;
        let client = self.seat.nodes().client(node)?;
        let opening = async {
            let mut pubsub = client.get_async_pubsub().await?;
            pubsub.subscribe(keys::channel(self.session)).await?;
            if self.watching {
                pubsub.subscribe(keys::EVENTS).await?;
            }
            Ok::<_, RedisError>((node, pubsub))
        };
        match timeout(limit, opening).await {
            Ok(opened) => opened.map_err(|error| greeting::failed(&error, store)),
            Err(_) => Err(greeting::silent(limit, store)),
        }
    }

    fn options(&self) -> &RedisOptions {
        &self.seat.nodes().options
    }

    /// Hears, and connects again without a limit of tries.
    async fn listen(mut self, mut node: usize, mut pubsub: PubSub) {
        let store = Arc::clone(&self.seat.nodes().store);
        loop {
            let (sink, stream) = pubsub.split();
            let why = match self.hear(node, sink, stream).await {
                Stop::Lost(why) => why,
                Stop::Ended(told) => {
                    let _ = told.send(());
                    return;
                }
            };
            observe::connection_lost(&store, "wake-ups", &why);
            // Invariant: no result is served of which nothing would be heard.
            self.complete.set(None);
            let _ = self.results.send(Told::Missed);
            self.up.send_replace(None);
            self.seat.doubt(node, &why);
            let mut backoff = Backoff::new();
            (node, pubsub) = loop {
                backoff.pause().await;
                match self.open().await {
                    Ok(opened) => break opened,
                    Err(Failed { error, .. }) => observe::not_connected(&store, "wake-ups", &error),
                }
            };
            // Heard again, and only now: what was said meanwhile is lost, so everybody asks again.
            self.up.send_replace(Some(node));
            observe::connected_again(&store, "wake-ups");
            self.hub.look_all(true);
            let _ = self.events.send(Told::Missed);
            // Before all is known to be heard again: what was asked for meanwhile is not certain either.
            let _ = self.results.send(Told::Missed);
        }
    }

    /// Passes on what is said until the connection fails or is to end.
    async fn hear(&mut self, node: usize, mut sink: PubSubSink, mut stream: PubSubStream) -> Stop {
        let (heard, mut all_heard) = mpsc::unbounded_channel();
        let health = healthy(sink.clone(), self.options().clone(), Arc::clone(&self.complete), heard);
        let seat = self.seat.clone();
        let moved = seat.moved(node);
        tokio::pin!(health, moved);
        loop {
            tokio::select! {
                biased;
                said = stream.next() => {
                    let Some(said) = said else { return Stop::Lost("it was closed".into()) };
                    self.pass_on(said.get_payload_bytes());
                    if self.watching && self.events.receiver_count() + self.results.receiver_count() == 0
                        && let Err(why) = self.watch_no_more(&mut sink).await
                    {
                        return Stop::Lost(why);
                    }
                }
                why = &mut health => return Stop::Lost(why),
                // Only now: nothing is left of what the server said before its answer.
                Some(at) = all_heard.recv() => self.complete.set(Some(at)),
                () = &mut moved => return Stop::Lost("another node is the primary now".into()),
                Some(wish) = self.wishes.recv() => match wish {
                    Wish::Watch(of, watch) => {
                        if let Err(why) = self.watch_events(&mut sink, of, watch).await {
                            return Stop::Lost(why);
                        }
                    }
                    Wish::End(told) => {
                        let ending = sink.unsubscribe(keys::channel(self.session));
                        let _ = timeout(self.options().response_timeout, ending).await;
                        return Stop::Ended(told);
                    }
                },
                else => pending().await,
            }
        }
    }

    fn pass_on(&self, payload: &[u8]) {
        match pack::message(payload) {
            Some(Message::Wake(tickets, wake)) => {
                for ticket in tickets {
                    self.hub.tell(ticket, wake.clone());
                }
            }
            // An error means that nobody watches any more.
            Some(Message::Events(events)) => {
                for event in events {
                    if is_about_a_result(&event.kind) {
                        let _ = self.results.send(Told::Event(event.clone()));
                    }
                    let _ = self.events.send(Told::Event(event));
                }
            }
            None => {
                tracing::warn!(store = %self.seat.nodes().store, "a message that this version does not know")
            }
        }
    }

    /// Ends the subscription to the events, which nobody here watches any more.
    async fn watch_no_more(&mut self, sink: &mut PubSubSink) -> Result<(), String> {
        let limit = self.options().response_timeout;
        match timeout(limit, sink.unsubscribe(keys::EVENTS)).await {
            Ok(Ok(())) => self.watching = false,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("no answer within {limit:?}")),
        }
        Ok(())
    }

    /// Subscribes to the events, if that is not done yet, and answers who wants them.
    async fn watch_events(&mut self, sink: &mut PubSubSink, of: Of, watch: Watch) -> Result<(), String> {
        let events = match of {
            Of::All => self.events.subscribe(),
            Of::Results => self.results.subscribe(),
        };
        if !self.watching {
            let limit = Instant::now() + self.options().response_timeout;
            let subscribed = timeout_at(limit, sink.subscribe(keys::EVENTS)).await;
            match subscribed {
                Ok(Ok(())) => self.watching = true,
                Ok(Err(error)) => {
                    let error = greeting::failed(&error, &self.seat.nodes().store).error;
                    let lost = matches!(error, Error::Unavailable { .. });
                    let why = error.to_string();
                    let _ = watch.send(Err(error));
                    return if lost { Err(why) } else { Ok(()) };
                }
                Err(_) => {
                    let error =
                        greeting::silent(self.options().response_timeout, &self.seat.nodes().store).error;
                    let why = error.to_string();
                    let _ = watch.send(Err(error));
                    return Err(why);
                }
            }
        }
        let _ = watch.send(Ok(events));
        Ok(())
    }
}

/// Asks now and then whether the other end still lives: a connection that is open at one end only says
/// nothing by itself. Returns when it does not.
///
/// Each answer comes behind all that the server said before it, and tells so: `heard` gets the moment before the question.
async fn healthy(
    mut sink: PubSubSink,
    options: RedisOptions,
    complete: Arc<Complete>,
    heard: mpsc::UnboundedSender<Moment>,
) -> String {
    loop {
        tokio::select! {
            biased;
            () = complete.wanted.notified() => {}
            () = tokio::time::sleep(options.health_check) => {}
        }
        let asked = Moment::now();
        match timeout(options.response_timeout, sink.ping::<redis::Value>()).await {
            Ok(Ok(_)) => drop(heard.send(asked)),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("no answer within {:?}", options.response_timeout),
        }
        tokio::time::sleep(ASKED_EACH.min(options.health_check)).await;
    }
}
