//! From a URL to a client of the `redis` crate.

use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    TlsCertificates,
};

use crate::error::{Error, Result};
use crate::store::url::redact;

/// The client of a URL, ready to connect.
pub(super) fn client(url: &str) -> Result<Client> {
    let bad = |why: String| Error::BadUrl { url: redact(url), why };
    let form = "it is not of the form redis://[user:password@]host[:port][/db]; write special letters as %XX";
    let parsed = redis::parse_redis_url(url).ok_or_else(|| bad(form.into()))?;
    if parsed.fragment().is_some() {
        return Err(bad("a #fragment means nothing here; a certificate is always verified, \
             with ?ca=/path.pem against a CA of your own"
            .into()));
    }
    let unix = parsed.scheme() == "redis+unix";
    let tls = parsed.scheme() == "rediss";
    let (mut ca, mut cert, mut key) = (None, None, None);
    for (name, value) in parsed.query_pairs() {
        let slot = match &*name {
            "ca" if tls => &mut ca,
            "cert" if tls => &mut cert,
            "key" if tls => &mut key,
            "db" | "user" | "pass" if unix => continue,
            _ => return Err(bad(format!("unknown option {name:?}"))),
        };
        let pem = std::fs::read(&*value).map_err(|error| bad(format!("{name} {value:?}: {error}")))?;
        *slot = Some(pem);
    }
    // The library's own message says what is wrong and does not quote the URL.
    let words = |error: redis::RedisError| error.to_string().replace(" - InvalidClientConfig", "");
    let info = parsed.into_connection_info().map_err(|error| bad(words(error)))?;
    if !tls {
        return Client::open(settings(info)).map_err(|error| bad(error.to_string()));
    }
    choose_crypto();
    let client_tls = match (cert, key) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
        (None, None) => None,
        _ => return Err(bad("cert and key belong together".into())),
    };
    let certificates = TlsCertificates { client_tls, root_cert: ca };
    Client::build_with_tls(settings(info), certificates).map_err(|error| bad(error.to_string()))
}

/// The caller's own client, with the settings that the store needs.
pub(super) fn adapted(client: &Client) -> Result<Client> {
    choose_crypto();
    let info = client.get_connection_info().clone();
    let name = name(&info);
    Client::open(settings(info)).map_err(|error| Error::BadUrl { url: name, why: error.to_string() })
}

/// The name of a server for messages, without secrets.
pub(super) fn name(info: &ConnectionInfo) -> String {
    let db = info.redis_settings().db();
    match info.addr() {
        ConnectionAddr::Unix(path) => format!("redis+unix://{}?db={db}", path.display()),
        ConnectionAddr::TcpTls { host, port, .. } => format!("rediss://{host}:{port}/{db}"),
        addr => format!("redis://{addr}/{db}"),
    }
}

/// Small messages go out at once, and a dead peer is noticed though nothing is sent.
fn settings(info: ConnectionInfo) -> ConnectionInfo {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(Duration::from_secs(20));
    // Pushes come on a connection of their own, so that none is ever taken for a reply.
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    info.set_tcp_settings(tcp).set_redis_settings(redis)
}

/// TLS takes the process's default cryptography, and fails where two are compiled in and none is chosen.
fn choose_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread chose first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}
