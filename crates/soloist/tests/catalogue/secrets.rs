//! No password and no ticket is in an error, a name, a `Debug` or a log line, whatever goes wrong.

use std::io::{Read, Write};
use std::net::TcpListener;

use soloist::store::StoreUrl;
use soloist::testing::{WireFault, free_port};
use soloist::{Client, Error};

use crate::fleet::soon;
use crate::recorder::Recorder;
use crate::redis_server::RedisServer;
use crate::{MS, client_with, hasty, wire};

/// As it is, and as it stands in a URL.
const SECRET: &str = "ge/heim:4711";
const ENCODED: &str = "ge%2Fheim%3A4711";

fn check(what: &str, said: &str) {
    for secret in [SECRET, ENCODED, "4711", "heim"] {
        assert!(!said.contains(secret), "{what} tells {secret:?}: {said}");
    }
}

fn check_error(what: &str, error: &Error) {
    check(what, &format!("{error} {error:?} {}", error.hint().unwrap_or_default()));
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        check(what, &format!("{inner} {inner:?}"));
        source = inner.source();
    }
}

fn with_login(url: &str) -> String {
    url.replace("redis://", &format!("redis://worker:{ENCODED}@"))
}

/// A server that answers whatever it is asked by an error that says it all again.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = vec![0; 4096];
                while let Ok(len @ 1..) = client.read(&mut bytes) {
                    let asked = String::from_utf8_lossy(&bytes[..len]).replace(['\r', '\n'], " ");
                    let said = format!("-ERR unknown command, with args beginning with: {asked}\r\n");
                    let commands = bytes[..len].iter().filter(|byte| **byte == b'*').count().max(1);
                    if client.write_all(said.repeat(commands).as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn no_password_is_told_by_a_connection_that_fails() {
    let (log, _guard) = Recorder::listen();
    let wrong = RedisServer::start_with(&["--requirepass", "right"]);
    // A server of which a careful administrator has taken commands away repeats what they were given.
    let without_auth = RedisServer::start_with(&["--rename-command", "AUTH", ""]);
    let without_hello = RedisServer::start_with(&["--rename-command", "HELLO", ""]);
    let mut gone = RedisServer::start();
    gone.kill();
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let at = [wrong.url(), without_auth.url(), without_hello.url(), gone.url(), nobody, echo()];
    let mut urls: Vec<String> = at.iter().map(|url| with_login(url)).collect();
    urls.extend(at.iter().map(|url| format!("{},127.0.0.1:{}", with_login(url), free_port())));
    urls.push(with_login(&at[5]).replace("redis://", "rediss://"));
    urls.push(format!("redis://worker:{ENCODED}@127.0.0.1:notaport"));
    urls.push(format!("redis://worker:{ENCODED}@host/notadb"));
    urls.push(format!("redis://worker:{SECRET}@host"));
    urls.push(format!("redis+unix:///no/such?user=worker&pass={ENCODED}"));
    urls.push(format!("redis+unix:///no/such?pass={ENCODED}&tls=yes"));
    urls.push(format!("redis://host?password={ENCODED}"));
    urls.push(format!("http://worker:{ENCODED}@host"));
    for url in urls {
        let error = soon(Client::connect(&url)).await.unwrap_err();
        check_error(&url, &error);
        if let Ok(parsed) = url.parse::<StoreUrl>() {
            check("a parsed URL", &format!("{parsed} {parsed:?}"));
        }
    }
    check("the log", &format!("{:?}", log.seen()));
}

#[tokio::test]
async fn no_password_and_no_ticket_is_told_by_a_client_in_trouble() {
    let (log, _guard) = Recorder::listen();
    let server = RedisServer::start();
    let password = format!(">{SECRET}");
    server.run::<()>(&["ACL", "SETUSER", "worker", "on", &password, "~*", "&*", "+@all"]).await;
    let wire = wire(&server);
    let client = client_with(&with_login(&wire.url()), "a", hasty().give_up(MS(500))).await;
    let mut errors = Vec::new();
    let lease = client.lock("k").await.unwrap();
    let ticket = lease.id().to_string().rsplit('.').next().unwrap().to_owned();
    check("Debug", &format!("{client:?} {lease:?}"));
    for fault in [WireFault::CutReply, WireFault::Silence, WireFault::CutInReply(3)] {
        wire.on_request(b":l:k", fault);
        let _ = soon(lease.renew(MS(30_000))).await;
    }
    // The server denies us what we had, and then our login.
    server.run::<()>(&["ACL", "SETUSER", "worker", "-eval", "-evalsha"]).await;
    errors.push(soon(lease.renew(MS(30_000))).await.unwrap_err());
    server.run::<()>(&["ACL", "SETUSER", "worker", "resetpass", ">another"]).await;
    wire.cut();
    errors.push(soon(lease.renew(MS(30_000))).await.unwrap_err());
    wire.refuse(true);
    wire.cut();
    errors.push(soon(lease.renew(MS(30_000))).await.unwrap_err());
    errors.push(soon(lease.release()).await.unwrap_err());
    for error in &errors {
        check_error("an error", error);
        assert!(!format!("{error} {error:?}").contains(&ticket), "{error:?}");
    }
    drop(client);
    let said = format!("{:?}", log.seen());
    assert!(log.seen().len() > 5, "it said something");
    check("the log", &said);
    assert!(!said.contains(&ticket), "the log tells a ticket: {said}");
}

#[tokio::test]
async fn a_panic_on_an_error_tells_no_password() {
    let url = with_login(&format!("redis://127.0.0.1:{}", free_port()));
    let task = tokio::spawn(async move { Client::connect(&url).await.map(drop).unwrap() });
    let panic = task.await.unwrap_err().into_panic();
    check("a panic", panic.downcast_ref::<String>().unwrap());
}
