//! A connection to a server, logged in. Over TCP and Unix sockets it is ours, which batches; over TLS it is the client
//! library's, so that certificates and names are checked by nobody else than there.

use std::io;
use std::time::Duration;

use futures_util::future::{Either, join_all, select_ok};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::{TcpSettings, socket2::SockRef};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisConnectionInfo, RedisError, RedisFuture,
    RedisResult, Value,
};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::command::Cmd;
use super::fault::late;
use super::pipeline::{Hears, Pipeline};

/// One connection, shared by all who ask. It closes when the last of these is dropped.
#[derive(Clone)]
pub(super) enum Connection {
    Ours(Pipeline),
    Tls(MultiplexedConnection),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    /// Connects and logs in. It has no limit of time of its own.
    pub(super) async fn open(client: &Client) -> RedisResult<Self> {
        if let Some(pipeline) = ours(client, None).await? {
            return Ok(Connection::Ours(pipeline));
        }
        // The limits are ours: a reply that is late must not be taken for the next one's.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        Ok(Connection::Tls(client.get_multiplexed_async_connection_with_config(&config).await?))
    }

    /// Asks: the request is on its way before the answer is awaited. Without an answer within `limit` that ends with
    /// an error, and the connection owes a reply.
    ///
    /// Cancel safe: dropping the future leaves open whether the request was carried out.
    pub(super) fn ask(
        &self,
        request: Cmd,
        limit: Duration,
    ) -> impl Future<Output = RedisResult<Value>> + Send + use<> {
        match self {
            Connection::Ours(pipeline) => Either::Left(pipeline.ask(Some(limit), |out| request.write(out))),
            Connection::Tls(connection) => {
                let mut connection = connection.clone();
                // In a box, so that the many who wait without TLS do not keep room for it.
                Either::Right(Box::pin(async move {
                    match timeout(limit, request.for_library().query_async(&mut connection)).await {
                        Ok(answered) => answered,
                        Err(_) => Err(late(limit)),
                    }
                }))
            }
        }
    }
}

impl Connection {
    /// Asks two requests in one write; the answers are one list, errors among them. Otherwise as `ask`.
    pub(super) fn ask_two(
        &self,
        [first, second]: [Cmd; 2],
        limit: Duration,
    ) -> impl Future<Output = RedisResult<Value>> + Send + use<> {
        match self {
            Connection::Ours(pipeline) => Either::Left(pipeline.ask_all(2, Some(limit), |out| {
                first.write(out);
                second.write(out);
            })),
            Connection::Tls(connection) => {
                let mut connection = connection.clone();
                Either::Right(Box::pin(async move {
                    let mut both = redis::Pipeline::with_capacity(2);
                    both.add_command(first.for_library()).add_command(second.for_library());
                    match timeout(limit, connection.req_packed_commands(&both, 0, 2)).await {
                        Ok(answered) => answered.map(Value::Array),
                        Err(_) => Err(late(limit)),
                    }
                }))
            }
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a redis::Cmd) -> RedisFuture<'a, Value> {
        match self {
            Connection::Ours(pipeline) => Box::pin(pipeline.ask(None, |out| cmd.write_packed_command(out))),
            Connection::Tls(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a redis::Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Connection::Ours(ours) => {
                let asked: Vec<_> = pipeline
                    .cmd_iter()
                    .map(|cmd| ours.ask(None, |out| cmd.write_packed_command(out)))
                    .collect();
                Box::pin(async move {
                    let answers = join_all(asked).await.into_iter().skip(offset).take(count);
                    answers.collect()
                })
            }
            Connection::Tls(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Connection::Ours(_) => 0,
            Connection::Tls(connection) => connection.get_db(),
        }
    }
}

/// A connection of our own, logged in, which hears messages if that is told where they go. `None`: it is for TLS.
pub(super) async fn ours(client: &Client, hears: Option<Hears>) -> RedisResult<Option<Pipeline>> {
    let info = client.get_connection_info();
    let pipeline = match info.addr() {
        ConnectionAddr::Tcp(host, port) => {
            Pipeline::over(tcp(host, *port, info.tcp_settings()).await?, hears)
        }
        ConnectionAddr::Unix(path) => Pipeline::over(UnixStream::connect(path).await?, hears),
        _ => return Ok(None),
    };
    log_in(&pipeline, info.redis_settings()).await?;
    Ok(Some(pipeline))
}

/// Connects to the first of a host's addresses that answers.
async fn tcp(host: &str, port: u16, settings: &TcpSettings) -> RedisResult<TcpStream> {
    let found: Vec<_> = lookup_host((host, port)).await?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "this host has no address").into());
    }
    let connecting = found.into_iter().map(|at| Box::pin(TcpStream::connect(at)));
    let (stream, _) = select_ok(connecting).await?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_nodelay(settings.nodelay())?;
    if let Some(keepalive) = settings.keepalive() {
        socket.set_tcp_keepalive(keepalive)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(settings.user_timeout())?;
    Ok(stream)
}

/// Says who asks, and which database is meant, in one go.
async fn log_in(pipeline: &Pipeline, login: &RedisConnectionInfo) -> RedisResult<()> {
    let say = |cmd: &Cmd| pipeline.ask(None, |out| cmd.write(out));
    let authenticated = login.password().map(|password| {
        let mut auth = Cmd::new("AUTH");
        if let Some(user) = login.username() {
            auth.arg(user);
        }
        say(auth.arg(password))
    });
    let selected = (login.db() != 0).then(|| say(Cmd::new("SELECT").arg(login.db())));
    // For who looks at the server's list of clients. Older servers do not know it, and others may forbid it.
    for (name, value) in [("LIB-NAME", "soloist"), ("LIB-VER", env!("CARGO_PKG_VERSION"))] {
        drop(say(Cmd::new("CLIENT").arg("SETINFO").arg(name).arg(value)));
    }
    if let Some(authenticated) = authenticated {
        authenticated.await.map_err(|error| {
            // A server that is full, or takes nobody from elsewhere, answers the first request with that.
            let about = error.code() == Some("WRONGPASS")
                || error.code() == Some("ERR")
                    && error.detail().is_some_and(|why| why.contains("AUTH") || why.contains("password"));
            let failed = (ErrorKind::AuthenticationFailed, "wrong user or password");
            if about { RedisError::from(failed) } else { error }
        })?;
    }
    if let Some(selected) = selected {
        selected.await?;
    }
    Ok(())
}
