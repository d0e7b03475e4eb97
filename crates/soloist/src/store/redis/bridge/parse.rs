//! The door to what older systems write; see `testing::parse`.

use super::Old;
use crate::name::Holder;

/// Whatever stands at their key, somebody can be named.
pub(crate) fn old_value(bytes: &[u8]) {
    let value = String::from_utf8_lossy(bytes);
    let prefix = String::from("p");
    let olds = [
        Old::Locky,
        Old::RedisReservation,
        Old::Locksmith { prefix: prefix.clone() },
        Old::ProcessLocker { prefix, channel: "c".into() },
    ];
    for old in olds {
        assert!(super::somebody(&old, &value).is_ok(), "{value:?}");
        assert!(old.key(&value).ends_with(&*value));
        if matches!(old, Old::RedisReservation) && Holder::new(&value).is_ok() {
            assert_eq!(old.holder(&old.mark(&value, 7)), &*value, "our own mark names our holder");
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    ["host:1", "me-7", "-", "1700000000", "WAIT", "{\"a\":1}", ""].map(Into::into).into()
}
