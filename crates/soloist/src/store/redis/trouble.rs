//! What an error of the client library or the server means for a request.

use redis::{ErrorKind, RedisError};

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The connection is lost. Whether a request on it was carried out is unknown.
    Lost(String),
    /// The server says "not now": ask again for a while. `reconnect` when another server may answer then.
    Passing { why: String, hint: &'static str, reconnect: bool },
    /// The server says no.
    Refused { why: String, hint: &'static str },
    /// The server does not know the script: send its source.
    NoScript,
}

/// What the server says no with, whether that may pass, and the way out.
const WORDS: [(&str, bool, &str); 16] = [
    ("LOADING", true, "the server is still loading its data; try again when it is done"),
    ("MASTERDOWN", true, "this server is a replica that lost its primary; name the primary"),
    ("READONLY", true, "this server is a read-only replica; name the primary"),
    ("CLUSTERDOWN", true, "the cluster does not serve; see CLUSTER INFO"),
    ("TRYAGAIN", true, "a slot of the cluster is being moved; try again"),
    ("NOREPLICAS", true, "the server wants more replicas (min-replicas-to-write) before it takes writes"),
    ("BUSY", true, "somebody's script keeps the server busy; SCRIPT KILL ends it"),
    ("OOM", false, "the server's memory is full: raise maxmemory or free some; release and renew still work"),
    (
        "WRONGPASS",
        false,
        "check user and password in the URL: redis://user:password@host, special letters as %XX",
    ),
    ("NOAUTH", false, "the server wants a password: redis://:password@host, or user:password"),
    ("NOPERM", false, "give the user rights: ACL SETUSER name ~soloist:* &soloist:* +@all -@dangerous"),
    ("MISCONF", false, "the server cannot save its data to disk and takes no writes; see its log"),
    ("MOVED", false, "this server is part of a cluster; name one that is not"),
    ("CROSSSLOT", false, "this server is part of a cluster; name one that is not"),
    ("NOPROTO", false, "a Redis or Valkey server >= 6.2 is needed"),
    (
        "DENIED",
        false,
        "the server takes connections of its own machine only (protected-mode); set a password there",
    ),
];

impl Trouble {
    pub(super) fn of(error: &RedisError) -> Self {
        let why = words(error);
        let code = error.code().unwrap_or_default();
        // Older servers wrap what a command inside of a script says: "ERR … -OOM command not allowed …".
        let says = |word: &str| {
            code == word || why.starts_with(&format!("{word} ")) || why.contains(&format!("-{word} "))
        };
        if code == "NOSCRIPT" {
            return Trouble::NoScript;
        }
        if let Some((word, passing, hint)) = WORDS.into_iter().find(|(word, ..)| says(word)) {
            let reconnect = matches!(word, "READONLY" | "MASTERDOWN");
            return if passing {
                Trouble::Passing { why, hint, reconnect }
            } else {
                Trouble::Refused { why, hint }
            };
        }
        match error.kind() {
            ErrorKind::Io => Trouble::Lost(why),
            ErrorKind::AuthenticationFailed => {
                let hint =
                    "check user and password in the URL: redis://user:password@host, special letters as %XX";
                Trouble::Refused { why, hint }
            }
            ErrorKind::Parse => Trouble::Refused {
                why: format!("it does not answer like Redis: {why}"),
                hint: "is this the port of a Redis server, and should it be rediss:// for TLS?",
            },
            ErrorKind::Server(_) | ErrorKind::Extension => {
                Trouble::Refused { why, hint: "a Redis or Valkey server >= 6.2 is needed; see its log" }
            }
            _ => Trouble::Refused { why, hint: "check the URL" },
        }
    }
}

/// The server's words, or what the library says. Neither has ever a password in it: a server does not repeat
/// one, and the library's own texts do not quote the URL.
fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}
