//! How a server serves: its version, its limits, the way to it, its clock.

use std::time::Duration;

use redis::ConnectionAddr;

use super::info::Info;
use crate::finding::{Finding, Level};

/// A round trip that is longer than this hurts whoever waits for a lock.
const SLOW: Duration = Duration::from_millis(100);
/// So much do clocks differ that people are confused who compare logs.
const ODD: Duration = Duration::from_secs(1);
/// A message holds results up to 64 KiB; a few of them have to fit in what a server keeps for a slow listener.
const LEAST_BUFFER: u64 = 1 << 20;

pub(super) fn version(info: &Info) -> Option<Finding> {
    let mut numbers = info.get("redis_version")?.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let what = format!("it is {}", info.version());
    let found = |level, why, fix| Some(Finding::new(level, "server-version", what, why).fix(fix));
    if version < (6, 2) {
        return found(Level::Error, "some of the commands that locks need are not there", "use 6.2 or newer");
    }
    if version < (7, 0) {
        let why = "this line is from 2021; see whether it still gets fixes";
        return found(Level::Note, why, "use a newer line of Redis or Valkey");
    }
    None
}

/// What a server allows its clients. `health_check` is how often the store sends something by itself.
pub(super) fn limits(info: &Info, health_check: Duration) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut find = |level, code, what: String, why: &str, fix: &str| {
        found.push(Finding::new(level, code, what, why).fix(fix));
    };
    if let (Some(now), Some(most)) =
        (info.number::<u64>("connected_clients"), info.number::<u64>("maxclients"))
        && now > most / 10 * 9 + most % 10 * 9 / 10
    {
        let what = format!("{now} of at most {most} clients are connected");
        let why = "when there are no more, clients that lost their connection cannot come back to renew";
        find(Level::Warning, "maxclients", what, why, "CONFIG SET maxclients 10000");
    }
    if let Some(timeout) = info.number::<u64>("timeout").filter(|timeout| *timeout > 0) {
        let short = Duration::from_secs(timeout) <= health_check;
        let level = if short { Level::Warning } else { Level::Note };
        let what = format!("it closes connections that are idle for {timeout} s");
        let why = "the first request after a pause finds its connection gone, and takes longer";
        find(level, "timeout", what, why, "CONFIG SET timeout 0");
    }
    if let Some((hard, soft)) = info.get("client-output-buffer-limit").and_then(pubsub_buffer)
        && [hard, soft].into_iter().any(|limit| (1..LEAST_BUFFER).contains(&limit))
    {
        let what = format!("client-output-buffer-limit for pubsub is {hard} and {soft} bytes");
        let why = "who hears wake-ups is cut off when many come at once, and has to ask again";
        let fix = "CONFIG SET client-output-buffer-limit \"pubsub 32mb 8mb 60\"";
        find(Level::Warning, "pubsub-buffer", what, why, fix);
    }
    let busy = info.number::<u64>("busy-reply-threshold").or_else(|| info.number("lua-time-limit"));
    if let Some(busy) = busy.filter(|busy| (1..1000).contains(busy)) {
        let what = format!("scripts are called busy after {busy} ms (busy-reply-threshold)");
        let why =
            "a long line takes a script some milliseconds; everybody else is refused (BUSY) and asks again";
        find(Level::Note, "busy-scripts", what, why, "CONFIG SET busy-reply-threshold 5000");
    }
    found
}

/// The hard and the soft limit for those who hear, of `normal 0 0 0 slave 268435456 67108864 60 pubsub ...`.
fn pubsub_buffer(limits: &str) -> Option<(u64, u64)> {
    let mut words = limits.split_whitespace().skip_while(|word| *word != "pubsub").skip(1);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Whether others can read along or come in.
pub(super) fn way(addr: &ConnectionAddr, password: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let (host, tls) = match addr {
        ConnectionAddr::Tcp(host, _) => (host, false),
        ConnectionAddr::TcpTls { host, .. } => (host, true),
        _ => return found,
    };
    let bare = host.trim_matches(['[', ']']);
    if bare == "localhost" || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()) {
        return found;
    }
    if !tls {
        let why = "whoever is on the way can read along, passwords too, and take and break locks";
        let fix = format!("rediss://{host}, with tls-port and a certificate at the server");
        found.push(
            Finding::new(Level::Warning, "no-tls", format!("{host} is reached without TLS"), why).fix(fix),
        );
    }
    if !password {
        let why = "whoever reaches the server can take and break locks";
        let fix = "give the program a user of its own: see Rights in docs/redis.md";
        found.push(Finding::new(Level::Note, "no-password", "it asks for no password", why).fix(fix));
    }
    found
}

/// How long round trips take.
pub(super) fn latency(mut pings: Vec<Duration>, ttl: Duration) -> Option<Finding> {
    pings.sort_unstable();
    let nth = |percent: usize| pings.get((pings.len() * percent).div_ceil(100).checked_sub(1)?).copied();
    let (half, most) = (nth(50)?, nth(99)?);
    let count = pings.len();
    let what = format!("a round trip takes {}, and {} at the 99th percentile of {count}", ms(half), ms(most));
    // A renewal is sent after a third of the ttl; it may take three tries.
    if most > SLOW || most * 3 > ttl / 3 {
        let why = "every request takes at least one; renewals may come too late for a short ttl";
        let fix = "see SLOWLOG GET 10 and LATENCY DOCTOR at the server, or use a longer ttl";
        return Some(Finding::new(Level::Warning, "latency", what, why).fix(fix));
    }
    Some(Finding::new(Level::Note, "latency", what, "every request takes at least one"))
}

pub(super) fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// By how much the server's clock is ahead of this machine's, known to within `unsure`; microseconds.
pub(super) fn clock(ahead: i64, unsure: Duration, ttl: Duration) -> Option<Finding> {
    let off = Duration::from_micros(ahead.unsigned_abs()).saturating_sub(unsure);
    if off < ODD {
        return None;
    }
    let level = if off > ttl { Level::Warning } else { Level::Note };
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let what = format!("its clock is {:.1} s {side} that of this machine", off.as_secs_f64());
    let why = "only the server's clock counts, but logs do not fit together; and if the server's is the wrong one, \
               setting it right ends leases early or late by as much";
    let fix = "chronyc tracking, on both machines; let clocks be slewed, not stepped";
    Some(Finding::new(level, "clock", what, why).fix(fix))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn versions_are_judged() {
        let level = |said: &str| version(&Info::of(said)).map(|finding| finding.level);
        assert_eq!(level("redis_version:6.0.16"), Some(Level::Error));
        assert_eq!(level("redis_version:6.2.9"), Some(Level::Note));
        assert_eq!(level("redis_version:7.0.15"), None);
        assert_eq!(level("redis_version:7.2.4\nvalkey_version:8.0.1"), None);
        assert_eq!(level(""), None);
    }

    #[test]
    fn limits_are_judged() {
        let found = |said: &str| {
            let found = limits(&Info::of(said), MS(3000)).into_iter();
            found.map(|finding| (finding.level, finding.code)).collect::<Vec<_>>()
        };
        let usual = "connected_clients:9\nmaxclients:10\ntimeout:0\nbusy-reply-threshold:5000\n\
                     client-output-buffer-limit:normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(found(usual), []);
        assert_eq!(found("client-output-buffer-limit:pubsub 0 0 0"), [], "none is no limit");
        for (said, level, code) in [
            ("connected_clients:10\nmaxclients:10", Level::Warning, "maxclients"),
            ("timeout:3", Level::Warning, "timeout"),
            ("timeout:300", Level::Note, "timeout"),
            (
                "client-output-buffer-limit:normal 0 0 0 pubsub 65536 8388608 60",
                Level::Warning,
                "pubsub-buffer",
            ),
            ("busy-reply-threshold:50", Level::Note, "busy-scripts"),
            ("lua-time-limit:50", Level::Note, "busy-scripts"),
        ] {
            assert_eq!(found(said), [(level, code)], "{said}");
        }
    }

    #[test]
    fn the_way_is_judged() {
        let codes = |host: &str, password| {
            let found = way(&ConnectionAddr::Tcp(host.into(), 6379), password);
            found.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        for host in ["127.0.0.1", "localhost", "::1", "[::1]", "127.1.2.3"] {
            assert!(codes(host, false).is_empty(), "{host}");
        }
        assert_eq!(codes("10.0.0.1", false), ["no-tls", "no-password"]);
        assert_eq!(codes("cache.example.org", true), ["no-tls"]);
        assert!(way(&ConnectionAddr::Unix("/run/redis".into()), false).is_empty());
    }

    #[test]
    fn round_trips_are_judged() {
        let level = |slow: usize, time, ttl| {
            let pings = [vec![MS(1); 100 - slow], vec![time; slow]].concat();
            latency(pings, ttl).unwrap().level
        };
        assert_eq!(level(0, MS(1), MS(30_000)), Level::Note);
        assert_eq!(level(1, MS(500), MS(30_000)), Level::Note, "one in a hundred");
        assert_eq!(level(2, MS(500), MS(30_000)), Level::Warning);
        assert_eq!(level(2, MS(20), MS(30_000)), Level::Note);
        assert_eq!(level(2, MS(20), MS(100)), Level::Warning, "a short ttl");
        assert_eq!(latency(vec![], MS(1)), None);
    }

    #[test]
    fn clocks_are_judged() {
        let level = |ahead| clock(ahead, MS(10), MS(30_000)).map(|finding| finding.level);
        assert_eq!((level(900_000), level(-900_000)), (None, None));
        assert_eq!((level(2_000_000), level(-2_000_000)), (Some(Level::Note), Some(Level::Note)));
        assert_eq!((level(60_000_000), level(-60_000_000)), (Some(Level::Warning), Some(Level::Warning)));
        assert!(clock(-2_000_000, MS(10), MS(30_000)).unwrap().what.contains("behind"));
        assert_eq!(clock(2_000_000, MS(1500), MS(30_000)), None, "it may be the line");
    }
}
