//! Which store: a URL, as `--store` and `SOLOIST_STORE` give it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Error;

/// The schemes of a Redis.
const REDIS: [&str; 7] =
    ["redis", "rediss", "redis+unix", "redis-sentinel", "rediss-sentinel", "redis-cluster", "rediss-cluster"];

/// The URL of a store. Printed, it shows no password.
///
/// | URL | store |
/// |---|---|
/// | `local:`, `local:/path` | the processes of this machine, in the default folder or in this one |
/// | `memory:` | inside this process |
/// | `redis://user:password@host:6379/0` | one Redis or Valkey, here database 0 |
/// | `rediss://host` | the same over TLS; `?ca=/path.pem` for a CA of your own, `&cert=` and `&key=` for a client certificate |
/// | `redis+unix:///path?db=0&user=...&pass=...` | the same over a socket of this machine |
/// | `redis-sentinel://user:password@h1:26379,h2,h3/NAME/0` | the primary that Sentinels name, and the next one after a failover; `rediss-sentinel://` over TLS; `?sentinel_user=` and `&sentinel_password=` for the Sentinels' own login |
/// | `redis-cluster://user:password@h1:6379,h2,h3` | a cluster, learned from any of these nodes; `rediss-cluster://` over TLS |
/// | `quorum:URL,URL,URL` | three or more (an odd number) of any of these, of which a [majority](super::quorum) decides; each URL is whole, with its own login and options, and a comma in it stays its own unless a scheme and a colon follow |
/// | any Redis of these with `?boot_guard=30s` | the same with a [boot guard](super::redis::RedisOptions::boot_guard) |
///
/// ```
/// use soloist::StoreUrl;
///
/// let url: StoreUrl = "redis://worker:secret@10.0.0.1/2".parse()?;
/// assert_eq!(url.to_string(), "redis://worker:***@10.0.0.1/2");
/// assert!("http://10.0.0.1".parse::<StoreUrl>().is_err());
/// # Ok::<(), soloist::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreUrl {
    /// `local:` or `local:/path`: shared by the processes of one machine.
    Local(Option<PathBuf>),
    /// `memory:`: inside one process.
    Memory,
    /// `redis://`, `rediss://`, `redis+unix://`: one Redis or Valkey, or the primary among several nodes;
    /// `redis-sentinel://`, `rediss-sentinel://`: the one that Sentinels name; `redis-cluster://`,
    /// `rediss-cluster://`: all primaries of a cluster. The whole URL, secrets included.
    Redis(String),
    /// `quorum:`: these stores, of which a majority decides.
    Quorum(Vec<StoreUrl>),
}

/// The nodes of a quorum: a comma ends one where the scheme of another follows. Hosts of one node are no schemes.
fn nodes(list: &str) -> Vec<&str> {
    let begins = |rest: &str| {
        let scheme = rest.split_once(':').map(|(scheme, _)| scheme);
        scheme
            .is_some_and(|scheme| REDIS.contains(&scheme) || ["local", "memory", "quorum"].contains(&scheme))
    };
    let mut nodes = Vec::new();
    let mut start = 0;
    for (at, _) in list.match_indices(',') {
        if begins(&list[at + 1..]) {
            nodes.push(&list[start..at]);
            start = at + 1;
        }
    }
    nodes.push(&list[start..]);
    nodes
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        let bad = |why: &str| Err(Error::BadUrl { url: redact(url), why: why.into() });
        let Some((scheme, rest)) = url.split_once(':') else {
            return bad("it has no scheme");
        };
        match scheme {
            "local" if rest.is_empty() => Ok(StoreUrl::Local(None)),
            "local" if rest.starts_with("///") => {
                Ok(StoreUrl::Local(Some(format!("/{}", rest.trim_start_matches('/')).into())))
            }
            "local" if rest.starts_with('/') && !rest.starts_with("//") => {
                Ok(StoreUrl::Local(Some(rest.into())))
            }
            "local" => bad("a local store's path is absolute: local:/path"),
            "memory" if rest.is_empty() => Ok(StoreUrl::Memory),
            "memory" => bad("a memory store has no path"),
            "quorum" => {
                let nodes: Vec<StoreUrl> =
                    nodes(rest).into_iter().map(str::parse).collect::<Result<_, _>>()?;
                match nodes.iter().any(|node| matches!(node, StoreUrl::Quorum(_))) {
                    true => bad("a quorum is no node of a quorum"),
                    false => Ok(StoreUrl::Quorum(nodes)),
                }
            }
            scheme if !REDIS.contains(&scheme) => bad("unknown scheme"),
            _ if rest.starts_with("//") => Ok(StoreUrl::Redis(url.into())),
            _ => bad("// is missing after the scheme"),
        }
    }
}

/// A URL without its password and query secrets.
pub(crate) fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // Not a URL, but somebody may have meant one that has a password.
        return url.rsplit_once('@').map_or_else(|| url.into(), |(_, host)| format!("***@{host}"));
    };
    // A password may itself contain an @, and in a list that is none each host may have one: the last one ends
    // what is secret.
    let end = rest.find('?').unwrap_or(rest.len());
    let secret_end = rest[..end].rfind('@').or_else(|| rest.rfind('@'));
    let (user, rest) = match secret_end {
        Some(at) => {
            // A word alone may be a password whose colon was forgotten.
            let user = rest[..at].split_once(':').map(|(user, _)| user).unwrap_or_default();
            (if user.is_empty() { "***@".into() } else { format!("{user}:***@") }, &rest[at + 1..])
        }
        None => (String::new(), rest),
    };
    let rest = rest.split('?').next().unwrap_or_default();
    format!("{scheme}://{user}{rest}")
}

/// For `testing::parse`: a password that no other part of a URL is.
#[cfg(feature = "testing")]
pub(crate) const PASSWORD: &str = "g3h31m";

/// URLs whose password begins with the text and ends in [`PASSWORD`].
#[cfg(feature = "testing")]
pub(crate) fn with_password(text: &str) -> Vec<String> {
    // What has an @ and one of these behind it has two readings; then only what is before the @ is taken for secret.
    if text.contains(PASSWORD) {
        return Vec::new();
    }
    let begin: String = text.chars().filter(|c| *c != '@' && !c.is_control()).take(40).collect();
    ["redis://user:", "rediss://:", "redis://"]
        .iter()
        .map(|head| format!("{head}{begin}{PASSWORD}@host:7/0"))
        .collect()
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Local(None) => f.write_str("local:"),
            StoreUrl::Local(Some(path)) => write!(f, "local:{}", path.display()),
            StoreUrl::Memory => f.write_str("memory:"),
            StoreUrl::Redis(url) => f.write_str(&redact(url)),
            StoreUrl::Quorum(nodes) => {
                let nodes: Vec<String> = nodes.iter().map(StoreUrl::to_string).collect();
                write!(f, "quorum:{}", nodes.join(","))
            }
        }
    }
}

impl fmt::Debug for StoreUrl {
    // No secret appears in a message or log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_printed() {
        for (url, shown) in [
            ("redis://:geheim@host:1/2", "redis://***@host:1/2"),
            ("rediss://user:geheim@host", "rediss://user:***@host"),
            ("redis://geheim@host", "redis://***@host"),
            ("redis://user:ge/he@im@host", "redis://user:***@host"),
            ("redis://user:ge,he@im@h1:1,h2:2,h3/0", "redis://user:***@h1:1,h2:2,h3/0"),
            ("redis://u:geheim@h1/0,redis://u:geheim@h2/0", "redis://u:***@h2/0"),
            ("redis://h1,u:geheim@h2?ca=/a@b.pem", "redis://h1,u:***@h2"),
            ("redis+unix:///run/redis.sock?db=1&user=u&pass=geheim", "redis+unix:///run/redis.sock"),
            (
                "redis-sentinel://u:geheim@h1,h2/main?sentinel_password=geheim",
                "redis-sentinel://u:***@h1,h2/main",
            ),
        ] {
            let parsed: StoreUrl = url.parse().unwrap();
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(format!("{parsed:?}"), shown);
        }
        for no_url in ["redis:user:geheim@host", "user:geheim@host:6379", "geheim@host"] {
            let error = no_url.parse::<StoreUrl>().unwrap_err().to_string();
            assert!(error.contains("host") && !error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn a_quorum_has_whole_urls_and_shows_none_of_their_secrets() {
        let url = "quorum:redis://u:ge,heim@h1:1,h2/0?boot_guard=5m,rediss://:geheim@h3,redis-sentinel://s1,s2/main,\
                   local:/a,b,memory:";
        let parsed: StoreUrl = url.parse().unwrap();
        let StoreUrl::Quorum(nodes) = &parsed else { panic!("{parsed}") };
        assert_eq!(nodes[0], StoreUrl::Redis("redis://u:ge,heim@h1:1,h2/0?boot_guard=5m".into()));
        assert_eq!(nodes[3], StoreUrl::Local(Some("/a,b".into())));
        let shown =
            "quorum:redis://u:***@h1:1,h2/0,rediss://***@h3,redis-sentinel://s1,s2/main,local:/a,b,memory:";
        assert_eq!((parsed.to_string(), format!("{parsed:?}")), (shown.into(), shown.into()));
        for bad in
            ["quorum:", "quorum:redis://h,http://x", "quorum:memory:,quorum:memory:", "quorum://u:geheim@h"]
        {
            let error = bad.parse::<StoreUrl>().err().map(|error| error.to_string());
            assert!(error.is_none_or(|error| !error.contains("geheim")), "{bad}");
        }
        assert!("quorum:".parse::<StoreUrl>().is_err());
    }

    #[test]
    fn a_local_path_is_absolute() {
        for (url, path) in [("local:/a//b", "/a//b"), ("local:///a", "/a"), ("local:////a", "/a")] {
            assert_eq!(url.parse::<StoreUrl>().unwrap(), StoreUrl::Local(Some(path.into())));
        }
    }

    #[test]
    fn a_local_path_may_follow_two_slashes() {
        for url in ["local:/run/store", "local:///run/store"] {
            let path = std::path::PathBuf::from("/run/store");
            assert_eq!(url.parse::<StoreUrl>().unwrap(), StoreUrl::Local(Some(path)), "{url}");
        }
    }

    #[test]
    fn unknown_schemes_are_refused() {
        for bad in ["", "local", "local:here", "local://here", "local://", "memory:x", "http://x", "redis:x"]
        {
            assert!(bad.parse::<StoreUrl>().is_err(), "{bad:?}");
        }
    }
}
