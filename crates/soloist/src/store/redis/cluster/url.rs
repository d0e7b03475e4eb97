//! `redis-cluster://[user:password@]h1[:port],h2,h3[/0][?...]`

use redis::{Client, ConnectionInfo};

use crate::error::{Error, Result};
use crate::store::redis::address;
use crate::store::redis::at::At;
use crate::store::url::redact;

/// What a URL says: the nodes to ask first, and how to connect to any of them.
#[derive(Debug)]
pub(super) struct Seeds {
    pub(super) named: Vec<At>,
    pub(super) login: ConnectionInfo,
}

impl Seeds {
    /// The nodes of a URL; `None` if it is not about a cluster.
    pub(super) fn of(url: &str) -> Result<Option<Self>> {
        let bad = |why: &str| Error::BadUrl { url: redact(url), why: why.into() };
        let plain = match url.split_once("://") {
            Some(("redis-cluster", rest)) => format!("redis://{rest}"),
            Some(("rediss-cluster", rest)) => format!("rediss://{rest}"),
            _ => return Ok(None),
        };
        let clients = address::clients(&plain).map_err(|error| match error {
            Error::BadUrl { why, .. } => bad(&why.replace("redis://[", "redis-cluster://[")),
            error => error,
        })?;
        let infos: Vec<_> = clients.iter().map(Client::get_connection_info).collect();
        let named = infos.iter().filter_map(|info| At::of(info.addr())).collect();
        match infos.first() {
            None => Err(bad("it names no host")),
            Some(login) if login.redis_settings().db() != 0 => {
                Err(bad("a cluster has database 0 only: leave the number out"))
            }
            Some(login) => Ok(Some(Seeds { named, login: (*login).clone() })),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use redis::ConnectionAddr;

    use super::*;

    #[test]
    fn a_url_names_nodes_and_one_login() {
        let seeds = Seeds::of("redis-cluster://u:p%40w@h1,h2:7002,[::1]/0?boot_guard=3s").unwrap().unwrap();
        let named: Vec<_> = seeds.named.iter().map(At::to_string).collect();
        assert_eq!(named, ["h1:6379", "h2:7002", "[::1]:6379"]);
        let login = seeds.login.redis_settings();
        assert_eq!((login.username(), login.password()), (Some("u"), Some("p@w")));
        assert!(Seeds::of("redis://h1,h2").unwrap().is_none());
        let seeds = Seeds::of("rediss-cluster://h1,h2").unwrap().unwrap();
        assert!(matches!(seeds.login.addr(), ConnectionAddr::TcpTls { insecure: false, .. }));
    }

    #[test]
    fn urls_that_are_none() {
        for (url, why) in [
            ("redis-cluster://u:geheim@h1/1", "database 0"),
            ("redis-cluster://u:geheim@h1,,h2", "empty"),
            ("redis-cluster://u:geheim@h1,u:geheim@h2", "once"),
            ("redis-cluster://u:geheim@h1?ca=/x.pem", "unknown option"),
            ("redis-cluster://u:geheim@h1#x", "fragment"),
            ("redis-cluster://u:geheim@h1:x", "redis-cluster://["),
        ] {
            let said = Seeds::of(url).unwrap_err().to_string();
            assert!(said.contains(why) && !said.contains("geheim"), "{url}: {said}");
            assert!(said.contains("redis-cluster://u:***@"), "{url}: {said}");
        }
    }
}
