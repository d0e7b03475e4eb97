//! Results of any size and of any bytes arrive as they were sent: to who waits, and to who comes later.

use bytes::Bytes;

use crate::fixture::*;

async fn round_trip(fixture: &dyn Fixture, bytes: Bytes) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let leader = flight("k", "leader");
    granted(&a, &leader).await;
    let (here, there) = (flight("k", "here"), flight("k", "there"));
    let followers = [in_line(&a, &here).await, in_line(&b, &there).await];
    a.publish(&value(&leader, bytes.clone(), secs(60))).await.unwrap();
    for follower in followers {
        assert!(bytes_of(&outcome_of(follower.answer().await)) == &bytes, "to a follower");
    }
    for store in [&a, &b] {
        let late = outcome_of(ask(store, &flight("k", "late")).await);
        assert!(bytes_of(&late) == &bytes, "to who comes later");
    }
    assert_eq!(inspect(&b, "k").await.result.unwrap().size, bytes.len() as u64);
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|n| (n.wrapping_mul(31) >> 3) as u8).collect()
}

pub async fn no_byte(fixture: &dyn Fixture) {
    round_trip(fixture, Bytes::new()).await;
}

pub async fn one_byte(fixture: &dyn Fixture) {
    round_trip(fixture, Bytes::from_static(b"\0")).await;
}

pub async fn every_byte_value(fixture: &dyn Fixture) {
    round_trip(fixture, (0..=255).collect()).await;
}

pub async fn around_the_limits_of_stores(fixture: &dyn Fixture) {
    for len in [4095, 4096, 4097, 65535, 65536, 65537] {
        round_trip(fixture, pattern(len)).await;
        fixture.open().await.forget(&key("k")).await.unwrap();
    }
}

pub async fn a_hundred_kilobytes(fixture: &dyn Fixture) {
    round_trip(fixture, pattern(100 << 10)).await;
}

pub async fn five_megabytes(fixture: &dyn Fixture) {
    round_trip(fixture, pattern(5 << 20)).await;
}

pub async fn what_looks_like_a_protocol(fixture: &dyn Fixture) {
    for text in ["WAIT", "nil", "0", "false", "$-1\r\n", "*0\r\n", "-ERR\r\n", "{\"kind\":\"error\"}"] {
        round_trip(fixture, Bytes::from_static(text.as_bytes())).await;
        fixture.open().await.forget(&key("k")).await.unwrap();
    }
}
