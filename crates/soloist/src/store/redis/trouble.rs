//! What an error of the client library or the server means for a request.

use redis::{ErrorKind, RedisError};

use crate::protocol::Micros;

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The connection is lost. Whether a request on it was carried out is unknown.
    Lost(String),
    /// The server said that it was not carried out, and why.
    No(No),
    /// The server does not know the script: send its source.
    NoScript,
    /// The request arrived after its time, when the server's clock showed this, and nothing was changed.
    TooLate(Micros),
}

/// What a server says no with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct No {
    pub(super) kind: Kind,
    /// Its own words.
    pub(super) why: String,
    /// The way out.
    pub(super) hint: &'static str,
}

/// Whether the no may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The server cannot serve at present: an outage, which waiters wait through.
    Away,
    /// This server does not take writes now; another one behind the same address may.
    NotNow,
    /// No, told at once.
    Never,
}

use Kind::{Away, Never, NotNow};

const LOGIN: &str = "check user and password in the URL: redis://user:password@host, special letters as %XX";
const CLUSTER: &str = "this server is a node of a cluster: use redis-cluster://host:port";

const WORDS: [(&str, Kind, &str); 16] = [
    ("LOADING", Away, "the server is still loading its data; try again when it is done"),
    ("MASTERDOWN", Away, "this server is a replica that lost its primary; name the primary"),
    ("CLUSTERDOWN", Away, "the cluster does not serve; see CLUSTER INFO"),
    ("TRYAGAIN", Away, "a slot of the cluster is being moved; try again"),
    ("BUSY", Away, "somebody's script keeps the server busy; SCRIPT KILL ends it"),
    ("READONLY", NotNow, "this server is a read-only replica; name the primary"),
    ("NOREPLICAS", NotNow, "the server wants more replicas (min-replicas-to-write) before it takes writes"),
    ("OOM", Never, "the server's memory is full: raise maxmemory or free some; release and renew still work"),
    ("WRONGPASS", Never, LOGIN),
    ("NOAUTH", Never, "the server wants a password: redis://:password@host, or user:password"),
    ("NOPERM", Never, super::examine::HINT),
    ("MISCONF", Never, "the server cannot save its data to disk and takes no writes; see its log"),
    ("MOVED", Never, CLUSTER),
    ("CROSSSLOT", Never, CLUSTER),
    ("NOPROTO", Never, "a Redis or Valkey server >= 6.2 is needed"),
    (
        "DENIED",
        Never,
        "the server takes connections of its own machine only (protected-mode); set a password there",
    ),
];

impl Trouble {
    /// Whether the server does not know the script.
    pub(super) fn is_no_script(error: &RedisError) -> bool {
        error.code() == Some("NOSCRIPT")
    }

    pub(super) fn of(error: &RedisError) -> Self {
        let why = words(error);
        let code = error.code().unwrap_or_default();
        // Older servers wrap what a command inside of a script says: "ERR … -OOM command not allowed …".
        let says = |word: &str| {
            code == word || why.starts_with(&format!("{word} ")) || why.contains(&format!("-{word} "))
        };
        if Self::is_no_script(error) {
            return Trouble::NoScript;
        }
        let number = |text: &str| text.split_whitespace().next().and_then(|word| word.parse().ok());
        if code == "TOOLATE"
            && let Some(now) = error.detail().and_then(number)
        {
            return Trouble::TooLate(now);
        }
        if let Some((_, kind, hint)) = WORDS.into_iter().find(|(word, ..)| says(word)) {
            return Trouble::No(No { kind, why, hint });
        }
        // What a command inside of a script was refused with: until 7.0, and later.
        if why.contains("The user executing the script can't") || why.contains("ACL failure in script") {
            return Trouble::No(No { kind: Never, why, hint: super::examine::HINT });
        }
        if error.to_string().contains("max number of clients") {
            let hint = "the server has as many clients as it takes; raise maxclients there";
            return Trouble::No(No { kind: Away, why, hint });
        }
        let never = |why, hint| Trouble::No(No { kind: Never, why, hint });
        match error.kind() {
            ErrorKind::Io => Trouble::Lost(why),
            ErrorKind::Parse => Trouble::Lost(format!("it does not answer like Redis: {why}")),
            ErrorKind::AuthenticationFailed => never("wrong user or password".into(), LOGIN),
            ErrorKind::Server(_) | ErrorKind::Extension => {
                never(why, "a Redis or Valkey server >= 6.2 is needed; see its log")
            }
            _ => never(why, "check the URL"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_inside_of_a_script_are_found() {
        // As 6.2 says it; what newer ones say, the tests on a real server try.
        let said =
            "Error running script (call to f_0): @user_script:1: @user_script: 1: -OOM command not allowed";
        let error = RedisError::from((ErrorKind::Extension, "ERR", said.to_owned()));
        let Trouble::No(no) = Trouble::of(&error) else { panic!("{said}") };
        assert!(no.hint.contains("maxmemory"), "{no:?}");
    }
}
