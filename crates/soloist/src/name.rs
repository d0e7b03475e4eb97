//! The names of things: what is locked, by whom, on which request, with which token.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;
use crate::random;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 512;
/// The longest prefix that a client puts before its keys, in bytes.
pub const MAX_PREFIX: usize = 128;
/// The longest holder name, in bytes.
pub const MAX_HOLDER: usize = 256;
/// The longest note, in bytes.
pub const MAX_NOTE: usize = 1024;

fn checked(what: &'static str, text: &str, max: usize) -> Result<Arc<str>, Error> {
    match text.len() {
        0 => Err(Error::EmptyName { what }),
        len if len > max => Err(Error::LongName { what, len, max }),
        _ => Ok(text.into()),
    }
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a text.
            ///
            /// # Errors
            /// [`Error::EmptyName`] and [`Error::LongName`], which say the limit.
            pub fn new(text: impl AsRef<str>) -> Result<Self, Error> {
                checked($what, text.as_ref(), $max).map(Self)
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

    };
}

/// Reads a name where its text stands, which is checked as it is by this function.
struct Text<T>(fn(&str) -> Result<T, Error>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        self.0(text).map_err(E::custom)
    }
}

macro_rules! from_text {
    ($($name:ident: $read:ident),+) => {
        $(impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                Self::$read(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Text(|text| Self::$read(text)))
            }
        })+
    };
}

text_name!(
    /// What is locked or computed: any UTF-8 text of 1 to 512 bytes; braces, colons and spaces included.
    ///
    /// ```
    /// use soloist::Key;
    ///
    /// assert_eq!(Key::new("{a} report: 42")?.as_str(), "{a} report: 42");
    /// assert!(Key::new("").is_err());
    /// assert!(Key::new("x".repeat(513)).is_err());
    /// # Ok::<(), soloist::Error>(())
    /// ```
    Key, "key", MAX_KEY
);
text_name!(
    /// A human-readable name of who holds a key: any text of 1 to 256 bytes. It is a label, not a proof:
    /// what proves a lease is its [`Ticket`].
    ///
    /// ```
    /// let holder: soloist::Holder = "user:20".parse()?;
    /// assert_eq!(holder.to_string(), "user:20");
    /// # Ok::<(), soloist::Error>(())
    /// ```
    Holder, "holder", MAX_HOLDER
);
text_name!(
    /// A free remark kept with a lease and shown to whoever looks: 1 to 1024 bytes.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// let lease = client.lock("article:12").note("typing").await?;
    /// let note = client.inspect("article:12").await?.holding.and_then(|now| now.note);
    /// assert_eq!(note.unwrap().as_str(), "typing");
    /// # drop(lease);
    /// # Ok(())
    /// # }
    /// ```
    Note, "note", MAX_NOTE
);

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
            /// A new random id, fresh from the operating system each time: a forked process or a restored
            /// machine image never repeats one.
            ///
            /// # Panics
            /// When the operating system has no randomness to give, which no input and no network can cause.
            #[allow(clippy::expect_used)]
            pub fn mint() -> Self {
                let mut bytes = [0u8; 16];
                random::fill(&mut bytes).expect("the operating system gives randomness");
                Self(u128::from_le_bytes(bytes))
            }

            /// The id as a number.
            pub const fn as_u128(self) -> u128 {
                self.0
            }

            /// The id with this number.
            pub const fn from_u128(id: u128) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        // As a number for people; else as bytes: random numbers gain nothing by being written short.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                match to.is_human_readable() {
                    true => to.serialize_u128(self.0),
                    false => to.serialize_bytes(&self.0.to_le_bytes()),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                match from.is_human_readable() {
                    true => u128::deserialize(from).map(Self),
                    false => from.deserialize_bytes(Id).map(Self),
                }
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                match text.len() {
                    32 if text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
                        u128::from_str_radix(text, 16).map(Self).map_err(|_| Error::BadLeaseId)
                    }
                    _ => Err(Error::BadLeaseId),
                }
            }
        }
    };
}

/// Reads the bytes of an id.
struct Id;

impl Visitor<'_> for Id {
    type Value = u128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("16 bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<u128, E> {
        let id = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
        Ok(u128::from_le_bytes(id))
    }
}

from_text!(Key: stored, Holder: new, Note: new);

/// Keys are in the order of their texts, so a map of keys is asked by a text.
impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Key {
    /// A key as stores keep it: with its client's prefix it may be longer than one that a user gives.
    pub(crate) fn stored(text: impl AsRef<str>) -> Result<Self, Error> {
        checked("key", text.as_ref(), MAX_PREFIX + MAX_KEY).map(Self)
    }
}

random_id!(
    /// The id of ONE request, minted by the client before anything is sent. It makes every retry idempotent
    /// and every cancel complete; whoever has it can renew and release, so it is not shown to others. Users
    /// meet it only inside a [`LeaseId`](crate::LeaseId).
    ///
    /// ```
    /// use soloist::Ticket;
    ///
    /// let ticket = Ticket::mint();
    /// assert_ne!(ticket, Ticket::mint());
    /// assert_eq!(ticket.to_string().parse::<Ticket>()?, ticket);
    /// # Ok::<(), soloist::Error>(())
    /// ```
    Ticket
);
random_id!(
    /// One open store of one process: where its wake-ups go, and what is alive as long as it is. For those
    /// who write a [store](crate::Store).
    Session
);

/// A number that grows with every grant of a key: across release, expiry, force, a restart of the server
/// without its data and a failover to a stale replica. Pass it on to what the lock protects, and let that
/// refuse a smaller one. It is at least the store's clock in microseconds since 1970, and below 2^53: exact in
/// Lua and JavaScript too.
///
/// ```
/// use soloist::FencingToken;
///
/// struct Report { body: String, fence: FencingToken }
///
/// impl Report {
///     /// What the protected resource has to do; in SQL: `... WHERE id = $1 AND fence <= $2`.
///     fn write(&mut self, body: &str, token: FencingToken) -> bool {
///         if token < self.fence {
///             return false; // somebody with a larger token has written
///         }
///         (self.body, self.fence) = (body.into(), token);
///         true
///     }
/// }
///
/// let mut report = Report { body: String::new(), fence: FencingToken(0) };
/// assert!(report.write("new", FencingToken(8)));
/// assert!(!report.write("late", FencingToken(7)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(pub u64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_any_text_of_1_to_512_bytes() {
        assert!(Key::new("").unwrap_err().to_string().contains("key"));
        assert!(Key::new("a".repeat(512)).is_ok());
        assert!(Key::new("a".repeat(513)).is_err());
        assert!(Key::new("ü".repeat(257)).is_err(), "bytes count, not letters");
        assert_eq!(Key::new("{a} b:\0\r\n").unwrap().as_str(), "{a} b:\0\r\n");
    }

    #[test]
    fn ids_read_back_what_they_print() {
        let ticket = Ticket::mint();
        assert_eq!(ticket.to_string().parse::<Ticket>().unwrap(), ticket);
        assert_ne!(ticket, Ticket::mint());
        for bad in ["", "12", "+0000000000000000000000000000001", "G0000000000000000000000000000001"] {
            assert!(bad.parse::<Ticket>().is_err(), "{bad:?}");
        }
    }
}
