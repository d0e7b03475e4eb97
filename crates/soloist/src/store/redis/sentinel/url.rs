//! `redis-sentinel://[user:password@]h1[:port],h2,h3/NAME[/db][?...]`

use std::sync::Arc;

use redis::ConnectionInfo;
use tokio::sync::watch as channel;

use super::{Sentinels, Shared};
use crate::error::{Error, Result};
use crate::store::redis::address;
use crate::store::redis::at::At;
use crate::store::redis::options::RedisOptions;
use crate::store::url::redact;

const PORT: u16 = 26379;

/// What a URL says.
struct Parts {
    name: String,
    hosts: Vec<String>,
    /// The URL of a data node and that of a Sentinel, each around its host.
    node: (String, String),
    sentinel: (String, String),
}

impl Sentinels {
    /// The Sentinels of a URL; `None` if it is not about Sentinels.
    pub(in crate::store::redis) fn of(
        url: &str,
        store: Arc<str>,
        options: RedisOptions,
    ) -> Result<Option<Self>> {
        let Some(Parts { name, hosts, node, sentinel }) = parts(url)? else { return Ok(None) };
        let info = |(before, behind): &(String, String), host: &str| -> Result<ConnectionInfo> {
            let one = format!("{before}{host}{behind}");
            Ok(address::client(&one, url)?.get_connection_info().clone())
        };
        let named: Vec<_> = hosts.iter().map(|host| info(&sentinel, host)).collect::<Result<_>>()?;
        let login = named[0].clone();
        let named: Vec<_> = named.iter().filter_map(|info| At::of(info.addr())).collect();
        let (all, hints) = (channel::Sender::new(named.clone()), channel::Sender::new(0));
        let shared = Shared { store, options, name, named, login, all, hints };
        Ok(Some(Sentinels {
            shared: Arc::new(shared),
            node: info(&node, &hosts[0])?,
            told: Default::default(),
            watch: Default::default(),
        }))
    }
}

fn parts(url: &str) -> Result<Option<Parts>> {
    let bad = |why: &str| Err(Error::BadUrl { url: redact(url), why: why.into() });
    let (tls, rest) = match url.split_once("://") {
        Some(("redis-sentinel", rest)) => (false, rest),
        Some(("rediss-sentinel", rest)) => (true, rest),
        _ => return Ok(None),
    };
    if rest.contains('#') {
        return bad("a #fragment means nothing here; write # as %23");
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    if login.contains(',') && login.matches('@').count() > 1 {
        return bad("user and password stand once, before the first host; write @ in them as %40");
    }
    if hosts.split(',').any(str::is_empty) {
        return bad("one of its hosts is empty");
    }
    let (name, db) = path.split_once('/').unwrap_or((path, "0"));
    if name.is_empty() {
        return bad("the name of the primary is missing: redis-sentinel://host/NAME");
    }
    // The letters that Sentinel itself allows.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
        return bad("the name of the primary may have letters, digits and .-_ only");
    }
    if db.parse::<u32>().is_err() {
        return bad("what follows the name of the primary is the number of a database");
    }
    let (mut options, mut user, mut password, mut sentinel_tls) = (Vec::new(), "", "", tls);
    for option in query.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=').unwrap_or((option, "")) {
            ("sentinel_user", value) => user = value,
            ("sentinel_password", value) => password = value,
            ("sentinel_tls", "off") if tls => sentinel_tls = false,
            ("sentinel_tls", "on") if tls => sentinel_tls = true,
            ("sentinel_tls", _) => return bad("sentinel_tls is on or off, and for rediss-sentinel:// only"),
            ("ca" | "cert" | "key", _) if tls => options.push(option),
            ("boot_guard", _) => {} // it is no matter of addresses
            (name, _) => return bad(&format!("unknown option {name:?}")),
        }
    }
    if password.is_empty() && !user.is_empty() {
        return bad("sentinel_user needs sentinel_password");
    }
    let options = if options.is_empty() { String::new() } else { format!("?{}", options.join("&")) };
    let scheme = |tls| if tls { "rediss" } else { "redis" };
    let sentinel_login = match password {
        "" => String::new(),
        _ => format!("{}:{}@", escaped(user), escaped(password)),
    };
    let sentinel_options = if sentinel_tls { options.clone() } else { String::new() };
    Ok(Some(Parts {
        name: name.into(),
        hosts: hosts.split(',').map(with_port).collect(),
        node: (format!("{}://{login}", scheme(tls)), format!("/{db}{options}")),
        sentinel: (format!("{}://{sentinel_login}", scheme(sentinel_tls)), sentinel_options),
    }))
}

/// A host with the port of Sentinels, unless it has one.
fn with_port(host: &str) -> String {
    // The colons of an address of IPv6 stand in brackets.
    let behind = host.rsplit(']').next().unwrap_or(host);
    if behind.contains(':') { host.into() } else { format!("{host}:{PORT}") }
}

/// What stands in a query, as it has to stand before a host. What is `%XX` already stays so.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use redis::ConnectionAddr;

    use super::*;

    fn of(url: &str) -> Result<Option<Sentinels>> {
        Sentinels::of(url, redact(url).into(), RedisOptions::default())
    }

    fn login(info: &ConnectionInfo) -> String {
        let redis = info.redis_settings();
        format!("{}/{} {:?} {:?}", info.addr(), redis.db(), redis.username(), redis.password())
    }

    #[test]
    fn a_url_names_sentinels_and_the_primary_that_they_watch() {
        let url =
            "redis-sentinel://u:p%40w@h1,h2:7002,[::1]/main.a-b_1/3?sentinel_user=s&sentinel_password=a/b%25";
        let sentinels = of(url).unwrap().unwrap();
        let named: Vec<_> = sentinels.shared.named.iter().map(At::to_string).collect();
        assert_eq!(named, ["h1:26379", "h2:7002", "[::1]:26379"]);
        assert_eq!(sentinels.shared.name, "main.a-b_1");
        assert_eq!(login(&sentinels.shared.login), "h1:26379/0 Some(\"s\") Some(\"a/b%\")");
        assert_eq!(login(&sentinels.node), "h1:26379/3 Some(\"u\") Some(\"p@w\")");
        let none = of("redis://h1,h2/0").unwrap();
        assert!(none.is_none());
    }

    #[test]
    fn a_password_alone_is_that_of_the_default_user() {
        let sentinels = of("redis-sentinel://h1/main?sentinel_password=geheim").unwrap().unwrap();
        assert_eq!(login(&sentinels.shared.login), "h1:26379/0 None Some(\"geheim\")");
        assert_eq!(login(&sentinels.node), "h1:26379/0 None None");
    }

    #[test]
    fn tls_is_for_all_unless_it_is_said() {
        let is_tls =
            |info: &ConnectionInfo| matches!(info.addr(), ConnectionAddr::TcpTls { insecure: false, .. });
        for (url, tls) in [
            ("redis-sentinel://h1/main", (false, false)),
            ("rediss-sentinel://h1/main", (true, true)),
            ("rediss-sentinel://h1/main?sentinel_tls=off", (false, true)),
        ] {
            let sentinels = of(url).unwrap().unwrap();
            assert_eq!((is_tls(&sentinels.shared.login), is_tls(&sentinels.node)), tls, "{url}");
        }
    }

    #[test]
    fn urls_that_are_none() {
        for (url, why) in [
            ("redis-sentinel://u:geheim@h1", "name of the primary is missing"),
            ("redis-sentinel://u:geheim@h1/?x=1", "name of the primary is missing"),
            ("redis-sentinel://u:geheim@h1,,h2/main", "empty"),
            ("redis-sentinel://u:geheim@h1,u:geheim@h2/main", "once"),
            ("redis-sentinel://u:geheim@h1/ma%20in", "letters"),
            ("redis-sentinel://u:geheim@h1/main/x", "number"),
            ("redis-sentinel://u:geheim@h1/main/1/2", "number"),
            ("redis-sentinel://u:geheim@h1/main#x", "fragment"),
            ("redis-sentinel://u:geheim@h1/main?ca=/x.pem", "unknown option"),
            ("redis-sentinel://u:geheim@h1/main?sentinel_tls=off", "rediss-sentinel"),
            ("rediss-sentinel://u:geheim@h1/main?sentinel_tls=maybe", "on or off"),
            ("redis-sentinel://u:geheim@h1/main?sentinel_user=geheim", "needs"),
            ("redis-sentinel://u:geheim@h1:x/main?sentinel_password=geheim", ""),
        ] {
            let said = of(url).err().unwrap().to_string();
            assert!(said.contains(why) && !said.contains("geheim"), "{url}: {said}");
        }
    }
}
