//! Which node is taken, and what is said when none is.

use std::time::Duration;

use soloist::store::redis::RedisStore;
use soloist::{Error, Key, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::redis_server::free_port;
use crate::trio::{SECRET, Trio, hasty, run, soon};

async fn refused(url: &str) -> Error {
    let error = soon(RedisStore::connect_with(url, hasty())).await.expect_err("refused");
    for said in [error.to_string(), format!("{error:?}"), error.hint().unwrap_or_default().to_owned()] {
        assert!(!said.contains(SECRET), "{said}");
    }
    assert!(error.hint().is_some(), "{error:?} says no way out");
    error
}

#[tokio::test]
async fn the_primary_is_found_behind_a_replica() {
    let trio = Trio::start().await;
    let client = trio.client("a").await;
    client.lock("k").await.unwrap().release().await.unwrap();
    trio.all_at(1, 1).await;

    let store = trio.store(hasty()).await;
    assert_eq!(store.name(), trio.url().replace(SECRET, "***"));
    assert!(!format!("{store:?}").contains(SECRET), "{store:?}");
}

#[tokio::test]
async fn all_replicas_or_all_down_are_named() {
    let mut trio = Trio::start().await;
    trio.0[1].kill();
    let error = refused(&trio.url()).await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let said = error.to_string();
    assert!(trio.all_named(&said), "{said}");
    assert_eq!(said.matches("it is a replica").count(), 2, "{said}");
    assert_eq!(said.matches("refused").count(), 1, "{said}");
    trio.0[0].kill();
    trio.0[2].kill();
    let said = refused(&trio.url()).await.to_string();
    assert!(trio.all_named(&said) && said.matches("refused").count() == 3, "{said}");
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once() {
    let trio = Trio::start().await;
    // Nobody answers at this one, for the whole of the time that a connection may take.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = trio.url_with("falsch-0815").replace("/1", &format!(",{}/1", silent.local_addr().unwrap()));
    let options = hasty().connect_timeout(Duration::from_secs(3600));
    let error = soon(RedisStore::connect_with(&url, options)).await.expect_err("refused");
    assert!(matches!(&error, Error::Refused { why, .. } if why.contains("127.0.0.1:")), "{error:?}");
    assert!(error.hint().unwrap().contains("password"), "{error:?}");
    assert!(!format!("{error:?}").contains("falsch"), "{error:?}");

    // At one node only, it is an error before it is met at a failover; but no reason to stop working.
    let store = trio.store(hasty()).await;
    run::<()>(&trio.0[0], &["ACL", "SETUSER", "store", "resetpass", ">other"]).await;
    let error = refused(&trio.url()).await;
    let node = format!("127.0.0.1:{}", trio.0[0].port());
    assert!(matches!(&error, Error::Refused { why, .. } if why.contains(&node)), "{error:?}");
    run::<()>(&trio.0[1], &["CLIENT", "KILL", "USER", "store"]).await;
    soon(store.touch(&Key::new("k").unwrap())).await.unwrap();
    trio.all_at(1, 1).await;
}

#[tokio::test]
async fn a_password_that_is_wrong_everywhere_is_told_later_too() {
    let trio = Trio::start().await;
    let store = trio.store(hasty()).await;
    for server in &trio.0 {
        run::<()>(server, &["ACL", "SETUSER", "store", "resetpass", ">other"]).await;
        run::<()>(server, &["CLIENT", "KILL", "USER", "store"]).await;
    }
    let error = soon(store.touch(&Key::new("k").unwrap())).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("password"), "{error:?}");
}

/// A server that loads its data knows who it is, and lets one log in.
fn of_one_that_loads(command: &str) -> &'static str {
    if command.contains("HELLO") {
        return "*6\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n\
                $4\r\nrole\r\n$6\r\nmaster\r\n";
    }
    let allowed = ["AUTH", "SELECT", "CLIENT"].iter().any(|word| command.contains(word));
    if allowed { "+OK\r\n" } else { "-LOADING Redis is loading the dataset in memory\r\n" }
}

#[tokio::test]
async fn one_that_loads_or_is_silent_is_passed_over() {
    let trio = Trio::start().await;
    let loading = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let others = [&loading, &silent].map(|listener| listener.local_addr().unwrap());
    let parrot = tokio::spawn(async move {
        let mut wires = tokio::task::JoinSet::new();
        while let Ok((mut wire, _)) = loading.accept().await {
            wires.spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = wire.read(&mut buffer).await {
                    let said = String::from_utf8_lossy(&buffer[..len]).into_owned();
                    let answers: String = said.split('*').skip(1).map(of_one_that_loads).collect();
                    if wire.write_all(answers.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    let free = free_port();
    let hosts = format!("@{},{},127.0.0.1:{free},", others[0], others[1]);
    let store = RedisStore::connect_with(&trio.url().replace('@', &hosts), hasty()).await.unwrap();
    store.touch(&Key::new("k").unwrap()).await.unwrap();
    trio.all_at(1, 1).await;
    let error = refused(&format!("redis://{},127.0.0.1:{free},{}", others[0], others[1])).await;
    let said = error.to_string();
    for word in ["LOADING", "no answer", "refused"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    parrot.abort();
}
