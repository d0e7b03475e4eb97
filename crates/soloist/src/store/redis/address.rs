//! From a URL to a client of the `redis` crate.

use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    TlsCertificates,
};

use crate::error::{Error, Result};
use crate::store::url::redact;

/// The longest boot guard, in milliseconds: a day, for which nobody wants to wait after a restart.
const LONGEST_GUARD: u64 = 24 * 3_600_000;

/// The clients of a URL, one for each of its hosts, ready to connect.
pub(super) fn clients(url: &str) -> Result<Vec<Client>> {
    each_host(url)?.iter().map(|one| client(one, url)).collect()
}

/// One URL for each host of `redis://user:password@h1:6379,h2:6379/0`; what stands around the hosts holds for
/// all of them.
fn each_host(url: &str) -> Result<Vec<String>> {
    let bad = |why: &str| Err(Error::BadUrl { url: redact(url), why: why.into() });
    let Some((scheme @ ("redis" | "rediss"), rest)) = url.split_once("://") else {
        return Ok(vec![url.into()]);
    };
    let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (login, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    if login.contains(',') && login.matches('@').count() > 1 {
        return bad("user and password stand once, before the first host; write @ in them as %40");
    }
    let one = |host: &str| format!("{scheme}://{login}{host}{behind}");
    match hosts.split(',').collect::<Vec<_>>() {
        hosts if hosts.len() == 1 => Ok(vec![url.into()]),
        hosts if hosts.contains(&"") => bad("one of its hosts is empty"),
        hosts => Ok(hosts.into_iter().map(one).collect()),
    }
}

/// The client of one host of `whole`.
pub(super) fn client(url: &str, whole: &str) -> Result<Client> {
    let bad = |why: String| Error::BadUrl { url: redact(whole), why };
    let form = "it is not of the form redis://[user:password@]host[:port][,host[:port]...][/db]; write special letters as %XX";
    let parsed = redis::parse_redis_url(url).ok_or_else(|| bad(form.into()))?;
    if parsed.fragment().is_some() {
        return Err(bad("a #fragment means nothing here; a certificate is always verified, \
             with ?ca=/path.pem against a CA of your own"
            .into()));
    }
    let unix = parsed.scheme() == "redis+unix";
    let tls = parsed.scheme() == "rediss";
    let (mut ca, mut cert, mut key) = (None, None, None);
    for (name, value) in parsed.query_pairs() {
        let slot = match &*name {
            "ca" if tls => &mut ca,
            "cert" if tls => &mut cert,
            "key" if tls => &mut key,
            "db" | "user" | "pass" if unix => continue,
            // Only as [`boot_guard`] finds it: one that is written with %XX would be taken and not kept.
            "boot_guard" if url.contains("boot_guard=") => continue,
            // It may be the rest of a password with a ? in it, which is not named.
            _ if parsed.query().is_some_and(|query| query.contains('@')) => return Err(bad(form.into())),
            _ => return Err(bad(format!("unknown option {name:?}"))),
        };
        let pem = std::fs::read(&*value).map_err(|error| bad(format!("{name} {value:?}: {error}")))?;
        *slot = Some(pem);
    }
    // The library's own message says what is wrong and does not quote the URL.
    let words = |error: redis::RedisError| error.to_string().replace(" - InvalidClientConfig", "");
    let info = parsed.into_connection_info().map_err(|error| bad(words(error)))?;
    if !tls {
        return Client::open(settings(info)).map_err(|error| bad(error.to_string()));
    }
    choose_crypto();
    let client_tls = match (cert, key) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
        (None, None) => None,
        _ => return Err(bad("cert and key belong together".into())),
    };
    let certificates = TlsCertificates { client_tls, root_cert: ca };
    Client::build_with_tls(settings(info), certificates).map_err(|error| bad(error.to_string()))
}

/// The boot guard that a URL asks for: `?boot_guard=30s`.
pub(super) fn boot_guard(url: &str) -> Result<Option<Duration>> {
    let Some((_, query)) = url.split_once('?') else { return Ok(None) };
    let Some(text) = query.split('&').find_map(|pair| pair.strip_prefix("boot_guard=")) else {
        return Ok(None);
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let whole = number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis));
    match whole.filter(|millis| (1..=LONGEST_GUARD).contains(millis)) {
        Some(millis) => Ok(Some(Duration::from_millis(millis))),
        None => {
            let why = "boot_guard is the longest ttl of all clients, as 500ms, 30s, 5m, at most 24h".into();
            Err(Error::BadUrl { url: redact(url), why })
        }
    }
}

/// The caller's own client, with the settings that the store needs.
pub(super) fn adapted(client: &Client) -> Result<Client> {
    choose_crypto();
    let info = client.get_connection_info().clone();
    let name = name(&info);
    Client::open(settings(info)).map_err(|error| Error::BadUrl { url: name, why: error.to_string() })
}

/// The name of a server for messages, without secrets.
pub(super) fn name(info: &ConnectionInfo) -> String {
    let db = info.redis_settings().db();
    match info.addr() {
        ConnectionAddr::Unix(path) => format!("redis+unix://{}?db={db}", path.display()),
        ConnectionAddr::TcpTls { host, port, .. } => format!("rediss://{host}:{port}/{db}"),
        addr => format!("redis://{addr}/{db}"),
    }
}

/// Small messages go out at once, and a dead peer is noticed though nothing is sent.
fn settings(info: ConnectionInfo) -> ConnectionInfo {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(Duration::from_secs(20));
    // Pushes come on a connection of their own, so that none is ever taken for a reply.
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    info.set_tcp_settings(tcp).set_redis_settings(redis)
}

/// TLS takes the process's default cryptography, and fails where two are compiled in and none is chosen.
fn choose_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread chose first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(url: &str) -> Vec<String> {
        let told = |client: &Client| {
            let info = client.get_connection_info();
            let login = info.redis_settings();
            format!("{}/{} {:?} {:?}", info.addr(), login.db(), login.username(), login.password())
        };
        clients(url).unwrap().iter().map(told).collect()
    }

    #[test]
    fn what_stands_around_the_hosts_holds_for_all() {
        let login = "Some(\"u\") Some(\"p,w\")";
        assert_eq!(
            addresses("redis://u:p,w@h1:7001,h2,[::1]:7003/2"),
            ["h1:7001", "h2:6379", "::1:7003"].map(|at| format!("{at}/2 {login}"))
        );
        assert_eq!(addresses("redis://u:p,w@h1"), [format!("h1:6379/0 {login}")], "one host is one host");
        assert_eq!(addresses("redis://h1,h2").len(), 2);
        assert_eq!(addresses("redis+unix:///run/a,b.sock").len(), 1, "a path is a path");
    }

    #[test]
    fn a_boot_guard_has_a_unit() {
        let guard = |url: &str| boot_guard(url).map_err(|error| error.to_string());
        for (text, millis) in [("30s", 30_000), ("500ms", 500), ("5m", 300_000), ("24h", 86_400_000)] {
            for url in [
                format!("redis://u:p@h1,h2/0?boot_guard={text}"),
                format!("rediss://h?ca=/a&boot_guard={text}"),
            ] {
                assert_eq!(guard(&url), Ok(Some(Duration::from_millis(millis))), "{url}");
            }
        }
        assert_eq!((guard("redis://h"), guard("rediss://h?ca=/x")), (Ok(None), Ok(None)));
        for bad in ["", "30", "s", "0s", "25h", "-1s", "1.5s", "99999999999999999999s", "9999999999999999h"] {
            let said = guard(&format!("redis://u:geheim@h?boot_guard={bad}")).unwrap_err();
            assert!(said.contains("boot_guard is") && !said.contains("geheim"), "{bad}: {said}");
        }
        assert!(clients("redis+unix:///run/redis.sock?db=1&boot_guard=30s").is_ok());
    }

    #[test]
    fn lists_that_are_none() {
        for (url, why) in [
            ("redis://h1,,h2", "empty"),
            ("redis://u:geheim@h1,", "empty"),
            ("redis://u:geheim@h1,u:geheim@h2", "once"),
            ("redis://u:geheim@h1/0,redis://u:geheim@h2/0", ""),
            ("redis://h1:geheim,h2", ""),
            ("redis://u:12?geheim@h1", "%XX"),
        ] {
            let said = clients(url).unwrap_err().to_string();
            assert!(said.contains(why) && (!url.contains('@') || !said.contains("geheim")), "{url}: {said}");
        }
    }
}
