//! Over TLS, against verified certificates.

use soloist::store::redis::RedisStore;
use soloist::{Key, Store};

use crate::certificates::certificates;
use crate::connect::refused_with;
use crate::redis_server::{RedisServer, free_port};
use crate::team::{NAME, Sentinel};
use crate::trio::{hasty, soon};

#[tokio::test]
async fn nodes_and_sentinels_are_verified() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path(), "127.0.0.1");
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
    let port = free_port();
    let tls = ["--tls-port", &port.to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key];
    let _server = RedisServer::start_with(
        &[&tls[..], &["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"]].concat(),
    );
    let lines = format!(
        "tls-cert-file {cert}\ntls-key-file {key}\ntls-ca-cert-file {ca}\ntls-auth-clients no\ntls-replication yes"
    );
    let plain = Sentinel::start(port, 1, &lines);
    let secure = Sentinel::start(port, 1, &format!("{lines}\nport 0\ntls-port PORT"));

    let of = |scheme: &str, sentinel: &Sentinel, options: &str| {
        format!("{scheme}://127.0.0.1:{}/{NAME}{options}", sentinel.port())
    };
    for url in [
        of("rediss-sentinel", &secure, &format!("?ca={ca}")),
        of("rediss-sentinel", &plain, &format!("?ca={ca}&sentinel_tls=off")),
    ] {
        let store = soon(RedisStore::connect_with(&url, hasty())).await.unwrap();
        store.touch(&Key::new("k").unwrap()).await.unwrap();
    }
    for (url, word) in [
        (of("rediss-sentinel", &secure, ""), "certificate"),
        (of("rediss-sentinel", &plain, "?sentinel_tls=off"), "certificate"),
        (of("rediss-sentinel", &plain, &format!("?ca={ca}")), ""),
        (of("redis-sentinel", &secure, ""), ""),
        (of("redis-sentinel", &plain, ""), ""),
    ] {
        let error = refused_with(&url, hasty()).await;
        assert!(error.to_string().contains(word), "{url}: {error}");
    }
}
