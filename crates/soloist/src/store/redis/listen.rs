//! The connection that hears: wake-ups of this session, and events while anybody watches them.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::RedisError;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::audience::{Audience, Of};
use super::backoff::Backoff;
use super::greeting::{self, Failed};
use super::keys;
use super::options::RedisOptions;
use super::seat::Seat;
use super::subscriber::{self, Channels, Messages, PassOn};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::name::Session;
use crate::observe;
use crate::store::hub::Hub;
use crate::store::results;
use crate::store::{Results, Told};

/// How many events a slow subscriber may lag behind before it misses some.
pub(super) const EVENTS_KEPT: usize = 4096;

/// How often the other end is asked at most whether all has been heard, while somebody wants to know.
const ASKED_EACH: Duration = Duration::from_millis(250);

type Watch = oneshot::Sender<Result<broadcast::Receiver<Told>>>;

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

/// What the task needs to connect and to hear.
struct Ear {
    seat: Seat,
    session: Session,
    audience: Arc<Audience>,
    up: watch::Sender<Option<usize>>,
    wishes: mpsc::UnboundedReceiver<Wish>,
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
        let audience = Audience::new(&seat.nodes().store, &hub, events).into();
        let (seat, complete) = (seat.clone(), Arc::<Complete>::default());
        let ear = Ear {
            seat: seat.clone(),
            session,
            audience,
            up,
            wishes: wished,
            complete: Arc::clone(&complete),
            watching: false,
        };
        let heard = ear.open().await.map_err(|failed| failed.error)?;
        ear.up.send_replace(Some(heard.node));
        Ok(Listener { up: is_up, seat, hub, wishes, complete, task: tokio::spawn(ear.listen(heard)) })
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

/// A connection that hears.
struct Heard {
    /// Of which node.
    node: usize,
    channels: Channels,
    messages: Messages,
}

impl Ear {
    /// Opens a connection that hears already, where the verbs go.
    async fn open(&self) -> Result<Heard, Failed> {
        let (store, limit) = (&self.seat.nodes().store, self.options().connect_timeout);
        let node = self.seat.node().await;
        let client = self.seat.nodes().client(node)?;
        let audience = Arc::clone(&self.audience);
        let pass_on: PassOn = Arc::new(move |payload| audience.tell(payload));
        let opening = async {
            let (mut channels, messages) = subscriber::open(&client, pass_on).await?;
            channels.subscribe(&keys::channel(self.session)).await?;
            if self.watching {
                channels.subscribe(keys::EVENTS.as_bytes()).await?;
            }
            Ok::<_, RedisError>(Heard { node, channels, messages })
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
    async fn listen(mut self, mut heard: Heard) {
        let (store, audience) = (Arc::clone(&self.seat.nodes().store), Arc::clone(&self.audience));
        loop {
            let Heard { node, channels, mut messages } = heard;
            let why = match self.hear(node, channels, &mut messages).await {
                Stop::Lost(why) => why,
                Stop::Ended(told) => {
                    let _ = told.send(());
                    return;
                }
            };
            observe::connection_lost(&store, "wake-ups", &why);
            // Invariant: nothing is heard of this connection after what is said of its loss.
            messages.end().await;
            // Invariant: no result is served of which nothing would be heard.
            self.complete.set(None);
            audience.missed(Of::Results);
            self.up.send_replace(None);
            self.seat.doubt(node, &why);
            let mut backoff = Backoff::new();
            heard = loop {
                backoff.pause().await;
                match self.open().await {
                    Ok(opened) => break opened,
                    Err(Failed { error, .. }) => observe::not_connected(&store, "wake-ups", &error),
                }
            };
            // Heard again, and only now: what was said meanwhile is lost, so everybody asks again.
            self.up.send_replace(Some(heard.node));
            observe::connected_again(&store, "wake-ups");
            audience.hub.look_all(true);
            audience.missed(Of::All);
            // Before all is known to be heard again: what was asked for meanwhile is not certain either.
            audience.missed(Of::Results);
        }
    }

    /// Has passed on what is said until the connection fails or is to end.
    async fn hear(&mut self, node: usize, mut channels: Channels, messages: &mut Messages) -> Stop {
        let (heard, mut all_heard) = mpsc::unbounded_channel();
        let health = healthy(channels.clone(), self.options().clone(), Arc::clone(&self.complete), heard);
        let (seat, audience) = (self.seat.clone(), Arc::clone(&self.audience));
        let moved = seat.moved(node);
        tokio::pin!(health, moved);
        loop {
            tokio::select! {
                biased;
                () = messages.pass_on() => return Stop::Lost("it was closed".into()),
                why = &mut health => return Stop::Lost(why),
                // Only now: nothing is left of what the server said before its answer.
                Some(at) = all_heard.recv() => self.complete.set(Some(at)),
                () = &mut moved => return Stop::Lost("another node is the primary now".into()),
                () = audience.left.notified() => if self.watching && !audience.watches()
                    && let Err(why) = self.watch_no_more(&mut channels).await
                {
                    return Stop::Lost(why);
                },
                Some(wish) = self.wishes.recv() => match wish {
                    Wish::Watch(of, watch) => {
                        if let Err(why) = self.watch_events(&mut channels, of, watch).await {
                            return Stop::Lost(why);
                        }
                    }
                    Wish::End(told) => {
                        let name = keys::channel(self.session);
                        let _ = timeout(self.options().response_timeout, channels.unsubscribe(&name)).await;
                        return Stop::Ended(told);
                    }
                },
                else => pending().await,
            }
        }
    }

    /// Ends the subscription to the events, which nobody here watches any more.
    async fn watch_no_more(&mut self, channels: &mut Channels) -> Result<(), String> {
        let limit = self.options().response_timeout;
        match timeout(limit, channels.unsubscribe(keys::EVENTS.as_bytes())).await {
            Ok(Ok(())) => self.watching = false,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("no answer within {limit:?}")),
        }
        Ok(())
    }

    /// Subscribes to the events, if that is not done yet, and answers who wants them.
    async fn watch_events(&mut self, channels: &mut Channels, of: Of, watch: Watch) -> Result<(), String> {
        let (events, store) = (self.audience.watch(of), &self.seat.nodes().store);
        if !self.watching {
            let limit = self.options().response_timeout;
            match timeout(limit, channels.subscribe(keys::EVENTS.as_bytes())).await {
                Ok(Ok(())) => self.watching = true,
                Ok(Err(error)) => {
                    let error = greeting::failed(&error, store).error;
                    let lost = matches!(error, Error::Unavailable { .. });
                    let why = error.to_string();
                    let _ = watch.send(Err(error));
                    return if lost { Err(why) } else { Ok(()) };
                }
                Err(_) => {
                    let error = greeting::silent(limit, store).error;
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
    mut channels: Channels,
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
        match timeout(options.response_timeout, channels.ping()).await {
            Ok(Ok(())) => drop(heard.send(asked)),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("no answer within {:?}", options.response_timeout),
        }
        tokio::time::sleep(ASKED_EACH.min(options.health_check)).await;
    }
}
