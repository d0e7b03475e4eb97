//! What an examination of a store finds.

use std::fmt;

use serde::Serialize;

use crate::error::Error;

/// How bad a [`Finding`] is. A worse one is greater.
///
/// ```
/// use soloist::Level;
///
/// assert!(Level::Error > Level::Warning && Level::Warning > Level::Note);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    Note,
    /// Locks can be lost when something else goes wrong.
    Warning,
    /// Locks are lost, or cannot be taken.
    Error,
}

impl Level {
    /// As it is printed: `error`, `warning`, `note`.
    pub fn word(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "note",
        }
    }
}

/// One thing that was found; see [`Client::examine`](crate::Client::examine). No secret is in it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// use soloist::Level;
///
/// for finding in client.examine().await? {
///     println!("{finding}"); // error: maxmemory-policy: it is allkeys-lru, ...
///     assert!(finding.level < Level::Error, "{:?}", finding.fix);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// A short name of what it is about, for programs; it does not change. docs/cli.md lists them.
    pub code: &'static str,
    /// Which of several servers it is about, as `host:port`.
    pub node: Option<String>,
    /// What was found, with its value.
    pub what: String,
    /// What it can cost.
    pub why: String,
    /// The way out, as a line to paste where there is one.
    pub fix: Option<String>,
}

impl Finding {
    /// A finding, for those who write a [store](crate::Store). The code is a few words with dashes.
    pub fn new(level: Level, code: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Finding { level, code, node: None, what: what.into(), why: why.into(), fix: None }
    }

    /// The same with a way out.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// The same about one of several servers.
    #[must_use]
    pub fn at(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.level.word(), self.code)?;
        if let Some(node) = &self.node {
            write!(f, "{node}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// What the words of a store that refuses are about, and the code of that.
const REFUSALS: [(&str, &str); 17] = [
    ("speak TLS", "tls"),
    ("InvalidContentType", "tls"),
    ("certificate", "tls"),
    ("password", "password"),
    ("WRONGPASS", "password"),
    ("NOAUTH", "password"),
    ("NOPERM", "rights"),
    ("The user executing the script can't", "rights"),
    ("ACL failure in script", "rights"),
    ("HELLO", "server-version"),
    ("it is version", "server-version"),
    ("Sentinel", "sentinel"),
    ("CLUSTERDOWN", "cluster"),
    ("node of a cluster", "cluster"),
    ("not in cluster mode", "cluster"),
    ("READONLY", "is-replica"),
    ("answer like Redis", "not-redis"),
];

impl From<Error> for Finding {
    /// Why a store could not be opened.
    fn from(error: Error) -> Self {
        let what = error.to_string();
        let said = |why: &str| REFUSALS.iter().find(|(word, _)| why.contains(word)).map(|(_, code)| *code);
        let code = match &error {
            Error::BadUrl { .. } => "url",
            Error::Folder { .. } => "folder",
            Error::Refused { why, .. } => said(why).unwrap_or("refused"),
            Error::Unavailable { why, .. } => {
                said(why).filter(|code| *code == "tls").unwrap_or("unavailable")
            }
            _ => "failed",
        };
        let fix = match (code, error.hint()) {
            ("tls", _) if !what.contains("certificate") => Some(
                "if the port does not speak TLS: redis:// in place of rediss://, or the server's tls-port",
            ),
            ("tls", _) => Some("name the CA of the server's certificate: rediss://host?ca=/path.pem"),
            (_, hint) => hint,
        };
        let fix = fix.map(Into::into);
        Finding { fix, ..Finding::new(Level::Error, code, what, "no lock can be taken here") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_it_is_about() {
        let refused = |why: &str| Error::Refused { store: "redis://h".into(), why: why.into(), hint: "so" };
        for (error, code) in [
            (refused("WRONGPASS invalid username-password pair"), "password"),
            (refused("NOPERM this user has no permissions"), "rights"),
            (refused("it is version \"6.0.16\""), "server-version"),
            (refused("READONLY it is a replica"), "is-replica"),
            (refused("something else"), "refused"),
            (Error::Closed, "failed"),
        ] {
            let finding = Finding::from(error);
            assert_eq!((finding.level, finding.code), (Level::Error, code));
        }
        let finding = Finding::from(refused("it is a Sentinel"));
        assert_eq!(finding.to_string(), "error: sentinel: redis://h refuses: it is a Sentinel");
        assert_eq!(finding.fix.as_deref(), Some("so"));
    }
}
