//! One connection that hears, at one node.
//!
//! Invariant: nothing but subscriptions goes over it. A server that gives a slot away says so unasked (`sunsubscribe`),
//! which the client library takes for the answer to whatever it has asked. So no answer counts here, only what the
//! server says of each channel by name.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::hearing::{Channel, Shared};
use crate::error::Error;
use crate::observe;
use crate::store::Told;
use crate::store::redis::at::At;
use crate::store::redis::backoff::Backoff;
use crate::store::redis::examine;
use crate::store::redis::greeting::{self, Failed};
use crate::store::redis::pack::{self, Message};
use crate::store::redis::trouble::{Kind, No, Trouble};

/// How long after a no a channel is asked for again.
const AGAIN: Duration = Duration::from_millis(25);
/// And how long after nothing came of it: its answer may have been taken for another's.
const UNANSWERED: Duration = Duration::from_millis(500);

const SUBSCRIBE: &str = "SSUBSCRIBE";

/// What came of a command.
enum Said {
    Well,
    No(RedisError),
    Nothing,
    /// It was not sent: the shard is on its way.
    NotNow,
}

/// Why it is not heard any more.
enum Stop {
    Lost(String),
    /// There is nothing to hear here for now.
    Idle,
}

struct Ear<'a> {
    shared: &'a Shared,
    at: &'a Arc<At>,
    connection: MultiplexedConnection,
    pushes: mpsc::UnboundedReceiver<PushInfo>,
    /// What the server has said that it is heard, and what was asked for since.
    subscribed: BTreeSet<Channel>,
    asked: BTreeSet<Channel>,
    /// What is not to be heard here any more, and was said so.
    leaving: BTreeSet<Channel>,
    /// When to ask again for what was not answered.
    again: Option<Instant>,
}

/// Hears what is to be heard at a node, and connects again without a limit of tries. It ends when its sender does.
pub(super) async fn hear(shared: Arc<Shared>, at: Arc<At>, mut target: watch::Receiver<BTreeSet<Channel>>) {
    let (store, mut backoff) = (Arc::clone(&shared.cluster.store), Backoff::new());
    let mut lost = false;
    while target.wait_for(|target| !target.is_empty()).await.is_ok() {
        match open(&shared, &at).await {
            Ok((connection, pushes)) => {
                if std::mem::take(&mut lost) {
                    observe::connected_again(&store, "wake-ups");
                }
                let [subscribed, asked, leaving] = Default::default();
                let (shared, at) = (&*shared, &at);
                let mut ear = Ear { shared, at, connection, pushes, subscribed, asked, leaving, again: None };
                let stop = ear.until_lost(&mut target).await;
                shared.is_all_deaf(at);
                match stop {
                    Stop::Idle => continue,
                    Stop::Lost(why) => observe::connection_lost(&store, "wake-ups", &why),
                }
                lost = true;
                backoff = Backoff::new();
            }
            Err(failed) => {
                observe::not_connected(&store, "wake-ups", &failed.error);
                if failed.kind == Kind::Never {
                    shared.refuse(&failed.error);
                }
            }
        }
        // Its slots may be another's by now.
        shared.cluster.hint();
        backoff.pause().await;
    }
}

type Opened = (MultiplexedConnection, mpsc::UnboundedReceiver<PushInfo>);

async fn open(shared: &Shared, at: &At) -> Result<Opened, Failed> {
    let (store, limit) = (&shared.cluster.store, shared.cluster.options.connect_timeout);
    let like = shared.cluster.client(at)?;
    let info = like.get_connection_info().clone();
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let client = Client::open(info.set_redis_settings(settings));
    let client = client.map_err(|error| greeting::failed(&error, store))?;
    let (sender, pushes) = mpsc::unbounded_channel();
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let config = config.set_push_sender(sender);
    match timeout(limit, client.get_multiplexed_async_connection_with_config(&config)).await {
        Ok(Ok(connection)) => Ok((connection, pushes)),
        Ok(Err(error)) => Err(greeting::failed(&error, store).at(&at.to_string())),
        Err(_) => Err(greeting::silent(limit, store)),
    }
}

impl<'a> Ear<'a> {
    async fn until_lost(&mut self, target: &mut watch::Receiver<BTreeSet<Channel>>) -> Stop {
        let mut answers = FuturesUnordered::new();
        let options = &self.shared.cluster.options;
        let mut health = Instant::now() + options.health_check;
        loop {
            let wanted = target.borrow_and_update().clone();
            self.asked.retain(|channel| wanted.contains(channel));
            for channel in wanted.iter().filter(|channel| !self.subscribed.contains(channel)) {
                if self.asked.insert(*channel) {
                    answers.push(self.say(SUBSCRIBE, Some(*channel)));
                    self.again = self.again.or(Some(Instant::now() + UNANSWERED));
                }
            }
            for channel in self.subscribed.difference(&wanted) {
                if self.leaving.insert(*channel) {
                    answers.push(self.say("SUNSUBSCRIBE", Some(*channel)));
                }
            }
            if wanted.is_empty() && self.subscribed.is_empty() {
                return Stop::Idle;
            }
            let again = self.again.unwrap_or(health);
            tokio::select! {
                biased;
                push = self.pushes.recv() => match push {
                    Some(push) => if !self.take(push) {
                        return Stop::Lost("it was closed".into());
                    },
                    None => return Stop::Lost("it was closed".into()),
                },
                Some(said) = answers.next() => match said {
                    Said::Well => {}
                    Said::No(error) => if let Some(why) = self.refused(&error) {
                        return Stop::Lost(why);
                    },
                    Said::Nothing => return Stop::Lost(format!("no answer within {:?}", options.response_timeout)),
                    Said::NotNow => self.ask_again_soon(),
                },
                changed = target.changed() => if changed.is_err() {
                    return Stop::Idle;
                },
                () = sleep_until(again), if self.again.is_some() => {
                    self.again = None;
                    self.asked.clear();
                }
                () = sleep_until(health) => {
                    health = Instant::now() + options.health_check;
                    answers.push(self.say("PING", None));
                }
            }
        }
    }

    /// Sends a command; the answer tells only whether the other end lives and refuses nothing.
    fn say(&self, word: &'static str, channel: Option<Channel>) -> impl Future<Output = Said> + use<'a> {
        let (shared, mut connection, mut cmd) = (self.shared, self.connection.clone(), redis::cmd(word));
        if let Some(channel) = channel {
            cmd.arg(channel.name(shared.session));
        }
        let limit = shared.cluster.options.response_timeout;
        async move {
            // First, so that whoever is heard at a node has said so where the next node finds it.
            if let Some(Channel::WakeUps(shard)) = channel
                && word == SUBSCRIBE
            {
                match timeout(limit, shared.mark(shard)).await {
                    Ok(Ok(())) => {}
                    // No waiting helps: whoever waits to be heard is told.
                    Ok(Err(error @ Error::Refused { .. })) => {
                        shared.refuse(&error);
                        return Said::NotNow;
                    }
                    _ => return Said::NotNow,
                }
            }
            match timeout(limit, cmd.query_async::<Value>(&mut connection)).await {
                Ok(Ok(_)) => Said::Well,
                Ok(Err(error)) => Said::No(error),
                Err(_) => Said::Nothing,
            }
        }
    }

    /// What the server says unasked. `false`: the connection is lost.
    fn take(&mut self, PushInfo { kind, data }: PushInfo) -> bool {
        let mut data = data.into_iter().map(|value| match value {
            Value::BulkString(bytes) => bytes,
            _ => Vec::new(),
        });
        let (channel, payload) = (data.next().unwrap_or_default(), data.next().unwrap_or_default());
        match kind {
            PushKind::SMessage => match self.channel(&channel) {
                // An old primary may go on for a while, and believe it.
                Some(channel) if self.is_over(channel) => self.shared.look(channel),
                _ => self.pass_on(&payload),
            },
            PushKind::SSubscribe => {
                if let Some(channel) = self.channel(&channel) {
                    self.asked.remove(&channel);
                    self.subscribed.insert(channel);
                    self.shared.hears(channel, self.at);
                }
            }
            PushKind::SUnsubscribe => {
                if let Some(channel) = self.channel(&channel)
                    && self.subscribed.remove(&channel)
                {
                    self.shared.is_deaf(channel, self.at);
                    if !self.leaving.remove(&channel) {
                        self.shared.cluster.hint();
                        // If it is still to be heard here after that.
                        self.asked.insert(channel);
                        self.ask_again_soon();
                    }
                }
            }
            PushKind::Disconnection => return false,
            _ => {}
        }
        true
    }

    /// Whether another node has the shard of a channel now.
    fn is_over(&self, channel: Channel) -> bool {
        self.shared.cluster.map().owner(channel.shard()).is_some_and(|owner| owner != self.at)
    }

    /// Which channel of ours a name is.
    fn channel(&self, name: &[u8]) -> Option<Channel> {
        let all = self.subscribed.iter().chain(&self.asked);
        all.copied().find(|channel| channel.name(self.shared.session) == name)
    }

    /// A subscription was refused, whichever it was. Answers why the connection is lost, if it is.
    fn refused(&mut self, error: &RedisError) -> Option<String> {
        let store = &self.shared.cluster.store;
        match Trouble::of(error) {
            Trouble::Lost(why) => return Some(why),
            // The slot is elsewhere.
            Trouble::No(No { why, .. }) if why.starts_with("MOVED") => {}
            Trouble::No(no) if no.kind == Kind::Never => {
                let No { why, .. } = no;
                let no =
                    No { kind: Kind::Never, why: format!("{}: {why}", self.at), hint: examine::CLUSTER_HINT };
                self.shared.refuse(&Failed::refused(store, no).error);
            }
            _ => {}
        }
        self.shared.cluster.hint();
        self.ask_again_soon();
        None
    }

    fn ask_again_soon(&mut self) {
        let soon = Instant::now() + AGAIN;
        self.again = Some(self.again.map_or(soon, |again| again.min(soon)));
    }

    fn pass_on(&self, payload: &[u8]) {
        match pack::message(payload) {
            Some(Message::Wake(tickets, wake)) => {
                for ticket in tickets {
                    self.shared.hub.tell(ticket, wake.clone());
                }
            }
            Some(Message::Events(events)) => {
                events.into_iter().for_each(|event| self.shared.tell(Told::Event(event)))
            }
            None => {
                tracing::warn!(store = %self.shared.cluster.store, "a message that this version does not know")
            }
        }
    }
}
