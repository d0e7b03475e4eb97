//! Who is asked, who is believed, and what is said when nobody names a primary.

use std::time::Duration;

use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::{Client, Error, Key, Store};

use crate::fake::Fake;
use crate::redis_server::{RedisServer, free_port};
use crate::team::{NAME, Sentinel, until};
use crate::trio::{SECRET, Trio, careless, hasty, run, soon};

fn key() -> Key {
    Key::new("k").unwrap()
}

pub fn url(sentinels: &[u16]) -> String {
    let hosts: Vec<_> = sentinels.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("redis-sentinel://store:{SECRET}@{}/{NAME}/1", hosts.join(","))
}

pub async fn refused_with(url: &str, options: RedisOptions) -> Error {
    let error = soon(RedisStore::connect_with(url, options)).await.expect_err("refused");
    for said in [error.to_string(), format!("{error:?}"), error.hint().unwrap_or_default().to_owned()] {
        assert!(!said.contains(SECRET) && !said.contains("falsch"), "{said}");
    }
    assert!(error.hint().is_some(), "{error:?} says no way out");
    error
}

async fn refused(url: &str) -> Error {
    // Whoever waited for a silent one would wait for ever.
    refused_with(url, hasty().connect_timeout(Duration::from_secs(3600))).await
}

/// Two that call themselves primary, of which Sentinels name one.
pub async fn two_primaries() -> Trio {
    let trio = Trio::start().await;
    trio.promote(2).await;
    trio
}

async fn cut_off(trio: &Trio, node: usize) {
    run::<()>(&trio.0[node], &["CLIENT", "KILL", "USER", "store"]).await;
}

pub async fn served(store: &RedisStore) {
    until(async || store.touch(&key()).await.is_ok()).await;
}

#[tokio::test]
async fn nobody_who_names_a_primary_is_told_at_once() {
    let ports = [free_port(), free_port()];
    let error = refused(&url(&ports)).await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    for port in ports {
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}: ")), "{error}");
    }
}

#[tokio::test]
async fn an_unknown_name_is_told_at_once() {
    let server = RedisServer::start();
    let sentinel = Sentinel::start(server.port(), 1, "");
    let error = refused(&url(&[sentinel.port()]).replace(NAME, "other")).await;
    assert!(matches!(&error, Error::Refused { why, .. } if why.contains("\"other\"")), "{error:?}");
    assert!(error.hint().unwrap().contains("sentinel monitor"), "{error:?}");
}

#[tokio::test]
async fn a_data_node_for_a_sentinel_and_the_other_way_round() {
    let server = RedisServer::start();
    let sentinel = Sentinel::start(server.port(), 1, "");
    let error = refused(&url(&[server.port()]).replace(&format!("store:{SECRET}@"), "")).await;
    assert!(matches!(&error, Error::Refused { why, .. } if why.contains("not a Sentinel")), "{error:?}");
    assert!(error.hint().unwrap().contains("redis://"), "{error:?}");
    let error = refused(&format!("redis://127.0.0.1:{}", sentinel.port())).await;
    assert!(error.hint().unwrap().contains("redis-sentinel://"), "{error:?}");
}

#[tokio::test]
async fn sentinels_have_a_login_of_their_own() {
    let server =
        RedisServer::start_with(&["--user", "store", "on", &format!(">{SECRET}"), "~*", "&*", "+@all"]);
    let page = include_str!("../../../../docs/redis.md");
    let line =
        page.lines().find(|line| line.starts_with("ACL SETUSER watcher")).expect("the page has the line");
    let rights = line.strip_prefix("ACL SETUSER watcher ").unwrap().replace("PASSWORD", "wort%1");
    let sentinel = Sentinel::start(server.port(), 1, &format!("requirepass falsch\nuser watcher {rights}"));
    let url = url(&[sentinel.port()]);
    for login in ["", "?sentinel_password=falsch1", "?sentinel_user=watcher&sentinel_password=falsch"] {
        let error = refused(&format!("{url}{login}")).await;
        assert!(matches!(error, Error::Refused { .. }), "{login}: {error:?}");
        assert!(error.hint().unwrap().contains("sentinel_password"), "{login}: {error:?}");
    }
    for login in ["?sentinel_password=falsch", "?sentinel_user=watcher&sentinel_password=wort%251"] {
        let store = soon(RedisStore::connect_with(&format!("{url}{login}"), hasty())).await.unwrap();
        assert_eq!(store.name(), url.replace(SECRET, "***"), "without the options, which may be secret");
        assert!(!format!("{store:?}").contains("falsch"), "{store:?}");
        // It is heard, too: by now or soon.
        until(async || {
            let client = format!("redis://:falsch@127.0.0.1:{}", sentinel.port());
            let client = redis::Client::open(client).unwrap();
            let mut admin = client.get_multiplexed_async_connection().await.unwrap();
            let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut admin).await.unwrap();
            list.contains("cmd=subscribe")
        })
        .await;
    }
}

#[tokio::test]
async fn a_wrong_password_of_the_primary_is_told_at_once() {
    let trio = Trio::start().await;
    let sentinel = Fake::start(1, trio.0[1].port()).await;
    let error = refused(&url(&[sentinel.port()]).replace(SECRET, "falsch")).await;
    let node = format!("127.0.0.1:{}", trio.0[1].port());
    assert!(matches!(&error, Error::Refused { why, .. } if why.contains(&node)), "{error:?}");
}

#[tokio::test]
async fn a_primary_that_is_down_or_none_is_an_outage() {
    let mut trio = Trio::start().await;
    let sentinel = Fake::start(1, trio.0[0].port()).await;
    let url = url(&[sentinel.port()]);
    let error = refused(&url).await;
    assert!(matches!(&error, Error::Unavailable { why, .. } if why.contains("replica")), "{error:?}");
    trio.0[0].kill();
    let error = refused(&url).await;
    assert!(matches!(&error, Error::Unavailable { why, .. } if why.contains("refused")), "{error:?}");
}

/// By the URL alone, as the program has it.
#[tokio::test]
async fn a_client_connects_by_the_url() {
    let trio = Trio::start().await;
    let sentinel = Fake::start(1, trio.0[1].port()).await;
    let client = soon(Client::connect(&url(&[sentinel.port()]))).await.unwrap();
    soon(client.lock("k").into_future()).await.unwrap().release().await.unwrap();
    trio.all_at(1, 1).await;
}

#[tokio::test]
async fn nobody_waits_for_a_sentinel_that_is_dead_or_silent() {
    let trio = Trio::start().await;
    let (dead, sentinel) = (free_port(), Fake::start(1, trio.0[1].port()).await);
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url(&[dead, silent.local_addr().unwrap().port(), sentinel.port()]);
    let options = hasty().connect_timeout(Duration::from_secs(3600));
    drop(soon(RedisStore::connect_with(&url, options)).await.unwrap());
}

/// Most URLs have names, and Sentinels know one another by addresses.
#[tokio::test]
async fn a_sentinel_is_one_by_whatever_address() {
    let trio = Trio::start().await;
    let (named, other) = (Fake::start(1, trio.0[1].port()).await, Fake::start(1, trio.0[1].port()).await);
    other.knows(&[named.port()]);
    named.knows(&[other.port()]);
    let hosts = url(&[named.port()]).replace("@127.0.0.1", "@localhost");
    let store = RedisStore::connect_with(&hosts, hasty()).await.unwrap();
    until(async || named.heard() + other.heard() == 2).await;
    // The other tells of the first by its address: all of them are asked anew.
    for _ in 0..3 {
        cut_off(&trio, 1).await;
        served(&store).await;
    }
    assert_eq!((named.heard(), other.heard()), (1, 1));
}

#[tokio::test]
async fn whoever_is_closed_listens_no_more() {
    let trio = Trio::start().await;
    let sentinel = Fake::start(1, trio.0[1].port()).await;
    let store = RedisStore::connect_with(&url(&[sentinel.port()]), careless()).await.unwrap();
    until(async || sentinel.listeners() == 1).await;
    store.close().await;
    until(async || sentinel.listeners() == 0).await;
    drop(store);
}

#[tokio::test]
async fn the_newest_answer_counts() {
    let trio = two_primaries().await;
    let old = Fake::start(4, trio.0[1].port()).await;
    let new = Fake::start(5, trio.0[2].port()).await;
    for order in [[old.port(), new.port()], [new.port(), old.port()]] {
        let store = RedisStore::connect_with(&url(&order), careless()).await.unwrap();
        trio.all_at(2, 1).await;
        drop(store);
        trio.all_at(2, 0).await;
    }
}

/// The one that knows the new primary is away; the others, cut off with the old one, say that it is the primary, and it
/// says so itself.
#[tokio::test]
async fn nobody_leads_back_to_an_old_primary() {
    let trio = two_primaries().await;
    let old = Fake::start(4, trio.0[1].port()).await;
    let mut new = Fake::start(5, trio.0[2].port()).await;
    let options = hasty().give_up(Duration::from_secs(1));
    let store = RedisStore::connect_with(&url(&[old.port(), new.port()]), options).await.unwrap();
    new.kill().await;
    cut_off(&trio, 2).await;
    until(async || match store.touch(&key()).await {
        Err(Error::Unavailable { why, .. }) => why.contains("an older primary only"),
        _ => false,
    })
    .await;
    trio.all_at(2, 0).await;
    new.start_again().await;
    served(&store).await;
    trio.all_at(2, 1).await;
}

/// What one says is a hint, whatever it was: a Sentinel that comes back is asked, and may know better.
#[tokio::test]
async fn a_sentinel_that_comes_back_is_asked() {
    let trio = two_primaries().await;
    let mut sentinel = Fake::start(4, trio.0[1].port()).await;
    let store = RedisStore::connect_with(&url(&[sentinel.port()]), careless()).await.unwrap();
    trio.all_at(1, 1).await;
    sentinel.kill().await;
    sentinel.say(5, trio.0[2].port());
    sentinel.start_again().await;
    trio.all_at(2, 1).await;
    served(&store).await;
}

#[tokio::test]
async fn other_sentinels_are_learned() {
    let trio = two_primaries().await;
    let mut first = Fake::start(4, trio.0[1].port()).await;
    let second = Fake::start(4, trio.0[1].port()).await;
    first.knows(&[second.port(), first.port()]);
    let store = RedisStore::connect_with(&url(&[first.port()]), careless()).await.unwrap();
    first.kill().await;
    second.say(5, trio.0[2].port());
    cut_off(&trio, 1).await;
    served(&store).await;
    trio.all_at(2, 1).await;
}
