//! Where things stand on the server: `soloist:1:{SH}:…`, SH being the shard of the user's key.
//!
//! All names of one lock share the hash tag `{SH}`, so that they share a Cluster slot. The user's key stands
//! last and raw: no brace of it moves the slot, and two keys never meet.

use super::pack;
use crate::name::{Key, Session};

/// The channel of all events.
pub(super) const EVENTS: &str = "soloist:1:events";
/// There while somebody watches.
pub(super) const WATCHED: &str = "soloist:1:watched";
/// Where a test counts which way a script took.
pub(super) const TOOK: &str = "soloist:1:took:";
/// The clock that a test drives.
pub(super) const CLOCK: &str = "soloist:1:{00}:clock";
/// A name under which nothing ever stands.
pub(super) const NOTHING: &str = "soloist:1:nothing";

const PREFIX: &str = "soloist:1:{";
/// Where a user's key begins in `soloist:1:{00}:l:KEY`.
const NAME_AT: usize = 17;

/// The names of one lock.
#[derive(Debug)]
pub(super) struct KeyNames {
    /// All of them, one after the other: the counter's, and three that are as long as each other.
    all: String,
    /// Where the first of those three begins.
    fence: usize,
    each: usize,
}

impl KeyNames {
    pub(super) fn of(key: &Key, shard: u8) -> Self {
        let digit = |four: u8| char::from(b"0123456789abcdef"[usize::from(four)]);
        let (fence, each) = (NAME_AT - 1, NAME_AT + key.as_str().len());
        let mut all = String::with_capacity(fence + 3 * each);
        let mut name = |kind: &str, key: &str| {
            all.push_str(PREFIX);
            all.push(digit(shard >> 4));
            all.push(digit(shard & 15));
            all.push_str(kind);
            all.push_str(key);
        };
        name("}:f", "");
        for kind in ["}:l:", "}:q:", "}:r:"] {
            name(kind, key.as_str());
        }
        KeyNames { all, fence, each }
    }

    /// The counter of the key's shard.
    pub(super) fn fence(&self) -> &str {
        &self.all[..self.fence]
    }

    pub(super) fn lease(&self) -> &str {
        self.nth(0)
    }

    pub(super) fn queue(&self) -> &str {
        self.nth(1)
    }

    pub(super) fn result(&self) -> &str {
        self.nth(2)
    }

    fn nth(&self, place: usize) -> &str {
        let from = self.fence + place * self.each;
        &self.all[from..from + self.each]
    }

    /// The user's key in a name that a scan found.
    pub(super) fn user_key(name: &[u8]) -> Option<Key> {
        let (head, key) = name.split_at_checked(NAME_AT)?;
        let ours = head.starts_with(PREFIX.as_bytes()) && matches!(&head[13..], b"}:l:" | b"}:q:" | b"}:r:");
        ours.then(|| std::str::from_utf8(key).ok().and_then(|key| Key::stored(key).ok()))?
    }
}

/// The name of a shard's fencing counter.
pub(super) fn fence(shard: u8) -> String {
    format!("{PREFIX}{shard:02x}}}:f")
}

/// The shard of a key: FNV-1a, folded to a byte. Part of the protocol: every client must agree.
pub(super) fn shard(key: &Key) -> u8 {
    hash(key).to_be_bytes().into_iter().fold(0, |folded, byte| folded ^ byte)
}

/// FNV-1a.
pub(super) fn hash(key: &Key) -> u32 {
    let bytes = key.as_str().bytes();
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The channel on which a session hears.
pub(super) fn channel(session: Session) -> Vec<u8> {
    [b"soloist:1:s:".as_slice(), &pack::address(session)].concat()
}

/// The channel on which a session of a cluster hears of one shard: where the shard is.
pub(super) fn shard_channel(shard: u8, session: Session) -> Vec<u8> {
    [format!("{PREFIX}{shard:02x}}}:s:").as_bytes(), &pack::address(session)].concat()
}

/// The channel of a shard's events in a cluster.
pub(super) fn shard_events(shard: u8) -> Vec<u8> {
    format!("{PREFIX}{shard:02x}}}:e").into_bytes()
}

/// There while somebody watches a shard of a cluster.
pub(super) fn shard_watched(shard: u8) -> String {
    format!("{PREFIX}{shard:02x}}}:watched")
}

/// A name of a shard under which nothing ever stands.
pub(super) fn shard_nothing(shard: u8) -> String {
    format!("{PREFIX}{shard:02x}}}:nothing")
}

/// The pattern of the names of all keys that begin with `prefix`.
pub(super) fn pattern(prefix: &str) -> String {
    let mut pattern = String::from("soloist:1:{*}:[lqr]:");
    for letter in prefix.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('*');
    pattern
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_give_the_key_back_whatever_it_contains() {
        for text in ["a", "}:l:x", "{b}:q:\0\r\n *", "soloist:1:{00}:l:a"] {
            let key = Key::new(text).unwrap();
            let names = KeyNames::of(&key, shard(&key));
            for name in [names.lease(), names.queue(), names.result()] {
                assert_eq!(KeyNames::user_key(name.as_bytes()), Some(key.clone()), "{name:?}");
            }
            assert_eq!(KeyNames::user_key(names.fence().as_bytes()), None);
            let shard = shard(&key);
            let told = |kind: char| format!("soloist:1:{{{shard:02x}}}:{kind}:{text}");
            assert_eq!(
                (names.lease(), names.queue(), names.result()),
                (&*told('l'), &*told('q'), &*told('r'))
            );
            assert_eq!(names.fence(), format!("soloist:1:{{{shard:02x}}}:f"));
        }
        assert_eq!(KeyNames::user_key(CLOCK.as_bytes()), None);
        assert_eq!(KeyNames::user_key(b"somebody:else:{00}:l:a"), None);
    }

    #[test]
    fn the_shard_of_a_key_never_changes() {
        // Another version of this program must find the same locks.
        let shards = ["a", "report:42", "ü"].map(|text| shard(&Key::new(text).unwrap()));
        assert_eq!(shards, [0xed, 0x31, 0x12]);
    }
}
