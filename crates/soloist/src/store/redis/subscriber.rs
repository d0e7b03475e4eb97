//! A connection that hears what is said on channels. Over TCP and Unix sockets it is ours, and each message is passed on
//! by whoever reads it; over TLS it is the client library's, as every connection is.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Client, RedisResult, Value};
use tokio::sync::mpsc;

use super::command::Cmd;
use super::connection;
use super::pipeline::Pipeline;

/// What is done with each message, which is told its payload. It must not wait.
pub(super) type PassOn = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Which channels are heard.
#[derive(Clone)]
pub(super) enum Channels {
    Ours(Pipeline),
    Tls(PubSubSink),
}

/// What is said on them.
pub(super) enum Messages {
    /// Whoever reads passes it on; he has an end of this, and says nothing.
    Ours(mpsc::Receiver<Infallible>),
    Tls(PubSubStream, PassOn),
}

/// Connects and logs in; nothing is heard yet. It has no limit of time of its own.
pub(super) async fn open(client: &Client, pass_on: PassOn) -> RedisResult<(Channels, Messages)> {
    let (reads, gone) = mpsc::channel(1);
    let hears = {
        let pass_on = Arc::clone(&pass_on);
        Box::new(move |payload: &[u8]| {
            let _: &mpsc::Sender<Infallible> = &reads; // is dropped with this
            pass_on(payload);
        })
    };
    match connection::ours(client, Some(hears)).await? {
        Some(pipeline) => Ok((Channels::Ours(pipeline), Messages::Ours(gone))),
        None => {
            let (sink, stream) = client.get_async_pubsub().await?.split();
            Ok((Channels::Tls(sink), Messages::Tls(stream, pass_on)))
        }
    }
}

impl Channels {
    /// From the answer on, this is heard.
    pub(super) async fn subscribe(&mut self, name: &[u8]) -> RedisResult<()> {
        match self {
            Channels::Ours(pipeline) => say(pipeline, Cmd::new("SUBSCRIBE").arg(name)).await,
            Channels::Tls(sink) => sink.subscribe(name).await,
        }
    }

    /// From the answer on, this is heard no more.
    pub(super) async fn unsubscribe(&mut self, name: &[u8]) -> RedisResult<()> {
        match self {
            Channels::Ours(pipeline) => say(pipeline, Cmd::new("UNSUBSCRIBE").arg(name)).await,
            Channels::Tls(sink) => sink.unsubscribe(name).await,
        }
    }

    /// The answer comes behind all that was said before it.
    pub(super) async fn ping(&mut self) -> RedisResult<()> {
        match self {
            Channels::Ours(pipeline) => say(pipeline, &Cmd::new("PING")).await,
            Channels::Tls(sink) => sink.ping::<Value>().await.map(drop),
        }
    }
}

async fn say(pipeline: &Pipeline, cmd: &Cmd) -> RedisResult<()> {
    pipeline.ask(None, |out| cmd.write(out)).await.map(drop)
}

impl Messages {
    /// Passes on what is said, until the connection is lost.
    ///
    /// Cancel safe: what was not passed on stays.
    pub(super) async fn pass_on(&mut self) {
        match self {
            Messages::Ours(gone) => drop(gone.recv().await),
            Messages::Tls(stream, pass_on) => {
                while let Some(message) = stream.next().await {
                    pass_on(message.get_payload_bytes());
                }
            }
        }
    }

    /// Returns when nothing is passed on any more, once its channels have been let go of.
    pub(super) async fn end(self) {
        if let Messages::Ours(mut gone) = self {
            gone.recv().await;
        }
    }
}
