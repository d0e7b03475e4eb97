//! The doors to URLs and to what Sentinels say; see `testing::parse`.

use std::time::Duration;

use redis::Value;

use super::{Sentinels, ask, findings};
use crate::store::redis::at::At;
use crate::store::redis::options::RedisOptions;
use crate::store::redis::parse::{of_tree, tree};
use crate::store::url::{PASSWORD, redact};

/// A URL of Sentinels. No error of it has the password, and each host becomes a Sentinel.
pub(crate) fn url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // These name files, which are read: of those on this machine nothing is known.
    if ["ca", "cert", "key", "%"].iter().any(|name| text.contains(name)) || text.contains(PASSWORD) {
        return;
    }
    let own = format!("redis-sentinel://u:{PASSWORD}@h1,h2/{text}");
    for url in [format!("redis-sentinel://{text}"), own, text.into()] {
        match Sentinels::of(&url, redact(&url).into(), RedisOptions::default()) {
            Ok(Some(sentinels)) => {
                assert!(!sentinels.shared.named.is_empty() && !sentinels.shared.name.is_empty());
            }
            Ok(None) => {}
            // What has an @ behind the login has two readings.
            Err(error) if !text.contains('@') => {
                assert!(!format!("{error} {error:?}").contains(PASSWORD), "{text}: {error}");
            }
            Err(_) => {}
        }
    }
}

pub(crate) fn url_seeds() -> Vec<Vec<u8>> {
    let seeds =
        ["h1:26379,h2/main/0?sentinel_user=u&sentinel_password=p", "main/1", "[::1]/a.b-c_d", "u:p@h/main"];
    seeds.map(|seed| seed.as_bytes().to_vec()).into()
}

/// What a Sentinel answers, whichever question it was.
pub(crate) fn answer(mut bytes: &[u8]) {
    let value = tree(&mut bytes, 4);
    let primary = redis::from_redis_value::<Option<(String, u16)>>(value.clone()).ok().flatten();
    let (host, port) = primary.unwrap_or_else(|| ("h".into(), 1));
    let others = redis::from_redis_value::<Vec<ask::Facts>>(value.clone()).unwrap_or_default();
    let facts = redis::from_redis_value::<ask::Facts>(value).unwrap_or_default();
    let count = others.len();
    let known = ask::Known { primary: At { host, port }, id: String::new(), facts, others };
    let seen = [(At { host: "h".into(), port: 1 }, Ok(known))];
    let found = findings::judged("main", &seen, Some(1), Duration::from_secs(30));
    assert!(found.iter().all(|finding| !finding.code.is_empty() && !finding.why.is_empty()));
    let answer = seen.into_iter().find_map(|(_, known)| known.ok()).map(ask::Known::answer);
    assert!(answer.is_some_and(|answer| answer.sentinels.len() <= count));
}

pub(crate) fn answer_seeds() -> Vec<Vec<u8>> {
    let text = |text: &str| Value::BulkString(text.into());
    let facts = || {
        Value::Array(
            ["config-epoch", "7", "quorum", "2", "flags", "s_down", "ip", "h", "port", "26379", "runid", "x"]
                .map(text)
                .into(),
        )
    };
    let address = Value::Array(vec![text("h"), text("6379")]);
    [facts(), Value::Array(vec![facts(), facts()]), address, Value::Nil].iter().map(of_tree).collect()
}
