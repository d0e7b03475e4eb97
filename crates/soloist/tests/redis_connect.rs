//! How the Redis store connects: every kind of address, and every clear "no".
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::Arc;
use std::time::Duration;

use certificates::certificates;
use futures_util::StreamExt;
use redis_server::{RedisServer, free_port};
use soloist::store::Told;
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::{Client, Error, EventKind, Finding, Key, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SECRET: &str = "geheim-4711";

async fn works(url: &str) {
    let store = RedisStore::connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    store.touch(&Key::new("k").unwrap()).await.unwrap();
    for shown in [store.name().to_owned(), format!("{store:?}")] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
    hears(Arc::new(store)).await;
}

/// Whoever waits hears that he holds, and whoever watches what happens: each connection has its own way to hear.
async fn hears(store: Arc<RedisStore>) {
    // Longer than a message takes on the slowest machine, shorter than the slow look that would hide a lost one.
    let by_message = Duration::from_secs(12);
    let client = Client::builder().store(store).unwrap();
    let mut events = client.events().await.unwrap();
    let held = client.lock("k").await.unwrap();
    let next = tokio::spawn({
        let client = client.clone();
        async move { client.lock("k").await.unwrap() }
    });
    let in_line = async { while client.inspect("k").await.unwrap().waiting == 0 {} };
    tokio::time::timeout(by_message, in_line).await.expect("in line");
    held.release().await.unwrap();
    let next = tokio::time::timeout(by_message, next).await.expect("a message, not a slow look").unwrap();
    let mut locked = 0;
    while locked < 2 {
        match tokio::time::timeout(by_message, events.next()).await.expect("it is told").unwrap() {
            Told::Event(event) => locked += usize::from(event.kind == EventKind::Locked),
            other => panic!("{other:?}"),
        }
    }
    next.release().await.unwrap();
    drop(events);
    client.close().await;
}

/// The error of a connection that is refused, in one try.
async fn refused(url: &str) -> Error {
    let limit = Duration::from_secs(20);
    let connected = tokio::time::timeout(limit, RedisStore::connect(url)).await.expect("in time");
    let error = connected.expect_err("refused");
    for said in [error.to_string(), format!("{error:?}"), error.hint().unwrap_or_default().to_owned()] {
        assert!(!said.contains(SECRET), "{said}");
    }
    assert!(error.hint().is_some(), "{error:?} says no way out");
    error
}

fn says_no(error: &Error, word: &str) {
    assert!(matches!(error, Error::Refused { why, .. } if why.contains(word)), "{word}: {error:?}");
}

async fn run(server: &RedisServer, words: &[&str]) {
    let mut cmd = redis::cmd(words[0]);
    let () = cmd.arg(&words[1..]).query_async(&mut server.admin().await).await.unwrap();
}

#[tokio::test]
async fn by_database_user_password_and_socket() {
    let server = RedisServer::start();
    let socket = tempfile::tempdir().unwrap();
    let path = socket.path().join("redis.sock");
    let with_socket = RedisServer::start_with(&["--unixsocket", path.to_str().unwrap()]);
    works(&format!("{}/3", server.url())).await;
    works(&format!("redis+unix://{}?db=2", path.display())).await;
    let rights = ["~soloist:*", "resetchannels", "&soloist:*", "+@all", "-@dangerous", "-@admin"];
    let user = ["ACL", "SETUSER", "worker", "on"];
    let password = format!(">{SECRET}");
    run(&server, &[&user[..], &[&password], &rights[..]].concat()).await;
    run(&with_socket, &[&user[..], &[&password], &rights[..]].concat()).await;
    works(&format!("redis://worker:{SECRET}@127.0.0.1:{}", server.port())).await;
    works(&format!("redis+unix://{}?user=worker&pass={SECRET}", path.display())).await;
    run(&server, &["CONFIG", "SET", "requirepass", SECRET]).await;
    works(&format!("redis://:{SECRET}@127.0.0.1:{}", server.port())).await;
    // Everything a lock needs is granted by the rights that the hints name.
    let store =
        RedisStore::connect(&format!("redis://worker:{SECRET}@127.0.0.1:{}", server.port())).await.unwrap();
    assert_eq!(store.list("").await.unwrap(), []);
    drop(store.events().await.unwrap());
}

#[tokio::test]
async fn a_client_of_the_callers() {
    let server = RedisServer::start();
    let client = redis::Client::open(format!("{}/1?protocol=resp3", server.url())).unwrap();
    let store = RedisStore::from_client(&client, RedisOptions::default()).await.unwrap();
    store.touch(&Key::new("k").unwrap()).await.unwrap();
    assert_eq!(store.name(), format!("redis://127.0.0.1:{}/1", server.port()));
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_told_at_once() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let at = format!("127.0.0.1:{}", server.port());
    for url in [format!("redis://:{SECRET}@{at}"), format!("redis://nobody:{SECRET}@{at}")] {
        let error = refused(&url).await;
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("password"));
    }
    let error = refused(&format!("redis://{at}")).await;
    says_no(&error, "NOAUTH");
}

#[tokio::test]
async fn missing_rights_are_told_at_once() {
    let server = RedisServer::start();
    run(&server, &["ACL", "SETUSER", "blind", "on", ">pw", "resetchannels", "~soloist:*", "+@all"]).await;
    let error = refused(&format!("redis://blind:pw@127.0.0.1:{}", server.port())).await;
    says_no(&error, "channel");
    run(
        &server,
        &["ACL", "SETUSER", "poor", "on", ">pw", "resetchannels", "~other:*", "&soloist:*", "+@all"],
    )
    .await;
    let store = RedisStore::connect(&format!("redis://poor:pw@127.0.0.1:{}", server.port())).await.unwrap();
    let error = store.touch(&Key::new("k").unwrap()).await.unwrap_err();
    says_no(&error, "NOPERM");
    assert!(error.hint().unwrap().contains("ACL SETUSER"));
}

#[tokio::test]
async fn nobody_there() {
    let error = refused(&format!("redis://127.0.0.1:{}", free_port())).await;
    assert!(matches!(&error, Error::Unavailable { why, .. } if why.contains("refused")), "{error:?}");
    let error = refused("redis://no-such-host.invalid:6379").await;
    assert!(matches!(&error, Error::Unavailable { .. }), "{error:?}");
    let error = refused("redis+unix:///no/such/socket").await;
    assert!(matches!(&error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn an_address_that_makes_no_sense() {
    for (url, why) in [
        ("redis://", "host"),
        (&format!("redis://:{SECRET}@host/twelve"), "database"),
        (&format!("redis://:{SECRET}/x@host"), "%XX"),
        ("redis://host?tls=yes", "tls"),
        ("redis://host?ca=/x", "ca"),
        ("rediss://host#insecure", "verified"),
        ("rediss://host?ca=/no/such/file", "/no/such/file"),
    ] {
        let error = refused(url).await;
        assert!(matches!(&error, Error::BadUrl { why: said, .. } if said.contains(why)), "{url}: {error:?}");
    }
}

/// A server that says the same whatever it is asked.
async fn parrot(says: &'static str) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut talks = tokio::task::JoinSet::new();
        while let Ok((mut wire, _)) = listener.accept().await {
            talks.spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = wire.read(&mut buffer).await {
                    // One answer for each command of a pipeline; a command begins with a star.
                    let commands = buffer[..len].iter().filter(|&&byte| byte == b'*').count();
                    if wire.write_all(says.repeat(commands.max(1)).as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (url, task)
}

#[tokio::test]
async fn somebody_else_there() {
    for (says, word) in [
        ("-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
        ("-ERR unknown command 'HELLO'\r\n", "HELLO"),
        ("*4\r\n$7\r\nversion\r\n$6\r\n6.0.16\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n", "6.0.16"),
        ("*4\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n", "Sentinel"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "Redis"),
    ] {
        let (url, task) = parrot(says).await;
        let error = refused(&url).await;
        says_no(&error, word);
        task.abort();
    }
    let (url, task) = parrot("").await;
    let error = refused(&url).await;
    assert!(matches!(&error, Error::Unavailable { why, .. } if why.contains("no answer")), "{error:?}");
    task.abort();
}

#[tokio::test]
async fn over_tls_against_a_verified_certificate() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path(), "localhost");
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
    let port = free_port();
    let tls = ["--tls-port", &port.to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key];
    let tls = [&tls[..], &["--tls-ca-cert-file", &ca, "--tls-auth-clients", "optional"]].concat();
    let server = RedisServer::start_with(&tls);
    works(&format!("rediss://localhost:{port}?ca={ca}")).await;
    works(&format!("rediss://localhost:{port}?ca={ca}&cert={cert}&key={key}")).await;
    works(&format!("rediss://localhost:{},localhost:{port}?ca={ca}", free_port())).await;
    let error = refused(&format!("rediss://localhost:{port}")).await;
    assert!(error.to_string().contains("certificate"), "{error}");
    let error = refused(&format!("rediss://127.0.0.1:{port}?ca={ca}")).await;
    assert!(error.to_string().contains("certificate"), "a certificate of another name: {error}");
    let error = refused(&format!("rediss://localhost:{}?ca={ca}", server.port())).await;
    assert!(matches!(error, Error::Unavailable { .. } | Error::Refused { .. }), "{error:?}");
    for (url, code) in [
        (format!("rediss://localhost:{port}"), "tls"),
        (format!("rediss://localhost:{}?ca={ca}", server.port()), "tls"),
        (format!("redis://localhost:{port}"), "unavailable"),
    ] {
        let finding = Finding::from(refused(&url).await);
        assert_eq!((finding.code, finding.fix.is_some()), (code, true), "{url}: {finding:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_full_of_clients_is_not_taken_for_a_wrong_password() {
    for (password, url) in [(None, "redis://127.0.0.1"), (Some(SECRET), "redis://:SECRET@127.0.0.1")] {
        let server = RedisServer::start();
        // The last connections that there are, held open by the test itself.
        let mut admin = server.admin().await;
        let set = |name: &'static str, value: String| {
            let mut cmd = redis::cmd("CONFIG");
            cmd.arg("SET").arg(name).arg(value);
            cmd
        };
        if let Some(password) = password {
            let () = set("requirepass", password.into()).query_async(&mut admin).await.unwrap();
        }
        let () = set("maxclients", "1".into()).query_async(&mut admin).await.unwrap();
        let url = format!("{}:{}", url.replace("SECRET", SECRET), server.port());
        // The server closes the connection right after its words, which may cut them off.
        let error = refused(&url).await;
        let said = matches!(&error, Error::Refused { hint, .. } if hint.contains("maxclients"));
        let cut_off = matches!(&error, Error::Unavailable { .. });
        assert!(said || cut_off, "not the password's fault, nor the version's: {error:?}");
    }
}
