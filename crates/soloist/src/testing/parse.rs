//! Everything of this crate that reads what others wrote, each behind one door: bytes in, and a panic when what was
//! promised does not hold. Nothing here may panic otherwise, hang, or take memory that its input does not pay for.
//!
//! The doors are knocked at by `tests/parse` (a bounded run with mutated seeds) and by the coverage-guided fuzzer in
//! `fuzz/`. A parser is reached by the table only: what is not in it is tested by neither.
//!
//! ```
//! use soloist::testing::parse::TARGETS;
//!
//! for target in TARGETS {
//!     for seed in (target.seeds)() {
//!         (target.run)(&seed);
//!     }
//! }
//! ```

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::{Event, EventKind};
use crate::glob::Glob;
use crate::lease::LeaseId;
use crate::limits;
use crate::name::{FencingToken, Holder, Key, MAX_HOLDER, MAX_KEY, MAX_NOTE, Note, Session, Ticket};
use crate::once::value_of;
use crate::payload::{Payload, Raw};
use crate::protocol::{Body, KeyInfo, Outcome, OutcomeKind};
use crate::store::{PASSWORD, StoreUrl, local, prefix, redis, with_password};

/// One parser.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, as the fuzzer is told it.
    pub name: &'static str,
    /// Reads the bytes, and panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Bytes as they are rightly written, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The files of `src` whose parsing it covers.
    pub covers: &'static [&'static str],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "names", run: names, seeds: name_seeds, covers: &["name.rs"] },
    Target { name: "lease_id", run: lease_id, seeds: lease_id_seeds, covers: &["lease.rs"] },
    Target { name: "glob", run: glob, seeds: glob_seeds, covers: &["glob.rs"] },
    Target { name: "store_url", run: store_url, seeds: url_seeds, covers: &["store/url.rs"] },
    Target { name: "prefix", run: stripped, seeds: glob_seeds, covers: &["store/prefix.rs"] },
    Target { name: "limits", run: durations, seeds: duration_seeds, covers: &["limits.rs"] },
    Target { name: "payload", run: payload, seeds: payload_seeds, covers: &["payload.rs", "once.rs"] },
    Target {
        name: "data",
        run: data,
        seeds: data_seeds,
        covers: &[
            "event.rs",
            "protocol/answer.rs",
            "protocol/request.rs",
            "protocol/key_state.rs",
            "protocol/table.rs",
        ],
    },
    Target {
        name: "redis_url",
        run: redis::parse::url,
        seeds: url_seeds,
        covers: &["store/redis/address.rs"],
    },
    Target {
        name: "sentinel_url",
        run: redis::sentinel::parse::url,
        seeds: redis::sentinel::parse::url_seeds,
        covers: &["store/redis/sentinel/url.rs"],
    },
    Target {
        name: "sentinel_answer",
        run: redis::sentinel::parse::answer,
        seeds: redis::sentinel::parse::answer_seeds,
        covers: &["store/redis/sentinel/ask.rs", "store/redis/sentinel/findings.rs"],
    },
    Target {
        name: "cluster_url",
        run: redis::cluster::parse::url,
        seeds: redis::cluster::parse::url_seeds,
        covers: &["store/redis/cluster/url.rs"],
    },
    Target {
        name: "cluster_answer",
        run: redis::cluster::parse::answer,
        seeds: redis::cluster::parse::answer_seeds,
        covers: &[
            "store/redis/cluster/ask.rs",
            "store/redis/cluster/map.rs",
            "store/redis/cluster/findings.rs",
            "store/redis/cluster/routes.rs",
            "store/redis/cluster/ear.rs",
        ],
    },
    Target {
        name: "redis_stored",
        run: redis::parse::stored,
        seeds: redis::parse::stored_seeds,
        covers: &["store/redis/pack.rs"],
    },
    Target {
        name: "redis_message",
        run: redis::parse::message,
        seeds: redis::parse::message_seeds,
        covers: &["store/redis/pack.rs", "store/redis/listen.rs"],
    },
    Target {
        name: "redis_answer",
        run: redis::parse::answer,
        seeds: redis::parse::answer_seeds,
        covers: &["store/redis/answer.rs", "store/redis/mod.rs"],
    },
    Target {
        name: "redis_reply",
        run: redis::parse::reply,
        seeds: redis::parse::reply_seeds,
        covers: &["store/redis/reply.rs"],
    },
    Target {
        name: "redis_greeting",
        run: redis::parse::greeting,
        seeds: redis::parse::greeting_seeds,
        covers: &["store/redis/greeting.rs", "store/redis/trouble.rs"],
    },
    Target {
        name: "redis_info",
        run: redis::examine::parse::info,
        seeds: redis::examine::parse::info_seeds,
        covers: &[
            "store/redis/examine/info.rs",
            "store/redis/examine/mod.rs",
            "store/redis/examine/rights.rs",
            "store/redis/examine/service.rs",
        ],
    },
    Target {
        name: "redis_keys",
        run: redis::parse::names,
        seeds: redis::parse::name_seeds,
        covers: &["store/redis/keys.rs"],
    },
    Target {
        name: "bridge",
        run: redis::bridge::parse::old_value,
        seeds: redis::bridge::parse::seeds,
        covers: &["store/redis/bridge/old.rs", "store/redis/bridge/marker.rs"],
    },
    Target {
        name: "local_slot",
        run: local::parse::slot,
        seeds: local::parse::slot_seeds,
        covers: &["store/local/slot.rs", "store/local/record.rs"],
    },
    Target {
        name: "local_table",
        run: local::parse::table,
        seeds: local::parse::table_seeds,
        covers: &["store/local/content.rs", "store/local/delta.rs"],
    },
    Target {
        name: "local_wake_up",
        run: local::parse::wake_ups,
        seeds: local::parse::wake_up_seeds,
        covers: &["store/local/fifo.rs", "store/local/peers.rs"],
    },
    Target {
        name: "local_event",
        run: local::parse::events,
        seeds: local::parse::event_seeds,
        covers: &["store/local/fifo.rs", "store/local/events.rs"],
    },
    Target {
        name: "local_folder",
        run: local::parse::folder,
        seeds: local::parse::folder_seeds,
        covers: &["store/local/boot.rs", "store/local/folder.rs", "store/local/results.rs"],
    },
];

/// The parser of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// What was read is printed as it was written.
fn reads_back<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<T>
where
    T::Err: Debug,
{
    let read: T = text.parse().ok()?;
    assert_eq!(read.to_string(), text, "printed");
    Some(read)
}

/// What serde reads it writes again, and reads that as the same.
fn serde_reads_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(read) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_vec(&read).unwrap_or_default();
        assert_eq!(serde_json::from_slice::<T>(&written).ok(), Some(read), "as JSON");
    }
}

fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let fits = |max: usize| (1..=max).contains(&text.len());
    assert_eq!(reads_back::<Key>(text).is_some(), fits(MAX_KEY));
    assert_eq!(reads_back::<Holder>(text).is_some(), fits(MAX_HOLDER));
    assert_eq!(reads_back::<Note>(text).is_some(), fits(MAX_NOTE));
    reads_back::<Ticket>(text);
    reads_back::<Session>(text);
    serde_reads_back::<(Key, Holder, Note, Ticket, FencingToken)>(bytes);
}

fn name_seeds() -> Vec<Vec<u8>> {
    let texts = ["report:42", "{a}:\0\r\n b", "00000000000000000000000000000007", "[\"k\",\"h\",\"n\",7,8]"];
    let mut seeds: Vec<Vec<u8>> = texts.map(|text| text.into()).into();
    seeds.extend([MAX_KEY, MAX_KEY + 1, MAX_HOLDER, MAX_NOTE, MAX_NOTE + 1].map(|len| vec![b'x'; len]));
    seeds
}

fn lease_id(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<LeaseId>() {
        assert_eq!(id.to_string().parse::<LeaseId>().ok(), Some(id.clone()));
        assert_eq!(id.to_string(), text, "one lease has one id");
    }
    serde_reads_back::<LeaseId>(bytes);
}

fn lease_id_seeds() -> Vec<Vec<u8>> {
    let id = "00000000000000000000000000000007";
    [format!("user@host@7.{id}"), format!("a@18446744073709551615.{id}"), format!("\"a@+7.{id}\"")]
        .map(Into::into)
        .into()
}

/// A pattern, a line feed, and a text.
fn glob(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (pattern, text) = text.split_once('\n').unwrap_or((text, text));
    let glob = Glob::new(pattern);
    if glob.matches(text) {
        assert!(text.starts_with(&glob.literal_prefix()), "who looks by the prefix finds every match");
    }
    let literal: String = text.chars().flat_map(|c| ['\\', c]).collect();
    assert!(Glob::new(&literal).matches(text), "a text matches itself");
}

fn glob_seeds() -> Vec<Vec<u8>> {
    ["report:*\nreport:42", "a*b?c\\*\naXbYc*", "**?*a*\naaaaaaaaaa", "\\\n\\"].map(Into::into).into()
}

/// A store's URL with a password in it: no printing of it may have one.
fn store_url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(url) = text.parse::<StoreUrl>() {
        let printed = url.to_string();
        assert_eq!(format!("{url:?}"), printed);
        match &url {
            // What is secret is not printed, so it is not read back.
            StoreUrl::Redis(whole) => assert_eq!(whole, text),
            _ => assert_eq!(printed.parse::<StoreUrl>().ok(), Some(url)),
        }
    }
    for url in with_password(text) {
        let said = match url.parse::<StoreUrl>() {
            Ok(url) => format!("{url} {url:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!said.contains(PASSWORD), "{url} is printed as {said}");
    }
}

fn url_seeds() -> Vec<Vec<u8>> {
    let urls = [
        "redis://user:password@h1:6379,h2,[::1]:7003/2",
        "rediss://h?nothing=1#insecure",
        "redis+unix:///run/redis.sock?db=1&user=u&pass=p",
        "local:/run/store",
        "local:///run/store",
        "local:",
        "memory:",
        "12?x=y",
        "%40/#[",
    ];
    urls.map(Into::into).into()
}

/// A prefix, a line feed, and a key: what was put before a key is taken off again, and nothing else is.
fn stripped(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (before, key) = text.split_once('\n').unwrap_or((text, text));
    prefix::taken_off(before, key);
}

fn durations(bytes: &[u8]) {
    let mut words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    let mut next = || words.next().unwrap_or_default();
    let time = Duration::new(next(), (next() % 1_000_000_000) as u32);
    if let Ok(ttl) = limits::ttl(time) {
        assert_eq!(ttl.duration().map(|ttl| ttl.as_micros()), Some(time.as_micros()));
    }
    let (_, _) = (limits::wait(time), limits::keep(time));
}

fn duration_seeds() -> Vec<Vec<u8>> {
    [Duration::ZERO, Duration::from_millis(10), Duration::from_secs(366 * 24 * 3600), Duration::MAX]
        .map(|time| [time.as_secs().to_le_bytes(), u64::from(time.subsec_nanos()).to_le_bytes()].concat())
        .into()
}

/// A result of another type or version is told, never taken for a value.
fn payload(bytes: &[u8]) {
    fn read<T: Payload + PartialEq + Debug>(bytes: &Bytes) {
        let Ok(value) = T::decode(bytes.clone()) else { return };
        let Ok(written) = value.encode() else { return };
        assert_eq!(T::decode(written).ok(), Some(value));
    }
    let bytes = Bytes::copy_from_slice(bytes);
    read::<u32>(&bytes);
    read::<Vec<Option<String>>>(&bytes);
    read::<(bool, i64, std::collections::BTreeMap<String, u8>)>(&bytes);
    read::<KeyInfo>(&bytes);
    assert_eq!(Raw::decode(bytes.clone()).and_then(|raw| raw.encode()).as_ref(), Ok(&bytes));
    let (Ok(key), Ok(leader)) = (Key::new("k"), Holder::new("h")) else { return };
    for kind in [OutcomeKind::Value, OutcomeKind::Error] {
        let body = Body::Inline(bytes.clone());
        let outcome = Outcome { token: FencingToken(1), leader: leader.clone(), at: 1, until: 2, kind, body };
        drop(value_of::<serde_json::Value>(&key, &outcome));
    }
}

fn payload_seeds() -> Vec<Vec<u8>> {
    ["42", "[null,\"a\"]", "[true,-1,{\"a\":1}]", "[[[[[[[[", "1e999", "\"\\ud800\""].map(Into::into).into()
}

/// What others write of it as JSON: an event, what is told of a key.
fn data(bytes: &[u8]) {
    serde_reads_back::<Event>(bytes);
    serde_reads_back::<KeyInfo>(bytes);
    serde_reads_back::<crate::protocol::Table>(bytes);
    serde_reads_back::<crate::protocol::Ttl>(bytes);
}

fn data_seeds() -> Vec<Vec<u8>> {
    let (Ok(key), Ok(from)) = (Key::new("k"), Holder::new("h")) else { return Vec::new() };
    let event = Event::new(key, EventKind::TakenOver { from: from.clone() }, from, FencingToken(7), 8);
    let mut seeds = vec![b"{\"Micros\":7}".to_vec()];
    seeds.extend(serde_json::to_vec(&event));
    seeds.extend(local::parse::tables().iter().filter_map(|table| serde_json::to_vec(table).ok()));
    let info = "{\"key\":\"k\",\"now\":1,\"holding\":{\"holder\":\"h\",\"token\":1,\"since\":1,\"deadline\":null,\
                \"note\":null,\"want\":\"lock\"},\"waiters\":[],\"waiting\":0,\"result\":null}";
    seeds.push(info.into());
    seeds
}
