//! Which store: a URL, as `--store` and `SOLOIST_STORE` give it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Error;

/// The URL of a store.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreUrl {
    /// `local:` or `local:/path`: shared by the processes of one machine.
    Local(Option<PathBuf>),
    /// `memory:`: inside one process.
    Memory,
    /// `redis://`, `rediss://`, `redis+unix://`: one Redis or Valkey. The whole URL, secrets included.
    Redis(String),
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
            // `local:///path` is what other URLs have taught people to write.
            "local" if rest.strip_prefix("//").unwrap_or(rest).starts_with('/') => {
                Ok(StoreUrl::Local(Some(rest.strip_prefix("//").unwrap_or(rest).into())))
            }
            "local" => bad("a local store's path is absolute: local:/path"),
            "memory" if rest.is_empty() => Ok(StoreUrl::Memory),
            "memory" => bad("a memory store has no path"),
            "redis" | "rediss" | "redis+unix" if rest.starts_with("//") => Ok(StoreUrl::Redis(url.into())),
            "redis" | "rediss" | "redis+unix" => bad("// is missing after the scheme"),
            _ => bad("unknown scheme"),
        }
    }
}

/// A URL without its password and query secrets.
pub(crate) fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.into();
    };
    // A password may itself contain an @: the last one ends it.
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
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

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Local(None) => f.write_str("local:"),
            StoreUrl::Local(Some(path)) => write!(f, "local:{}", path.display()),
            StoreUrl::Memory => f.write_str("memory:"),
            StoreUrl::Redis(url) => f.write_str(&redact(url)),
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
            ("redis+unix:///run/redis.sock?db=1&user=u&pass=geheim", "redis+unix:///run/redis.sock"),
        ] {
            let parsed: StoreUrl = url.parse().unwrap();
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(format!("{parsed:?}"), shown);
        }
        let error = "redis:geheim".parse::<StoreUrl>().unwrap_err();
        assert!(error.to_string().contains("//"));
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
        for bad in ["", "local", "local:here", "local://", "local://here", "memory:x", "http://x", "redis:x"]
        {
            assert!(bad.parse::<StoreUrl>().is_err(), "{bad:?}");
        }
    }
}
