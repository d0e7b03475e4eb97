//! Clusters whose nodes are reached in other ways: over TLS alone, by name, over IPv6, with a user of their own.

use std::path::Path;

use soloist::store::redis::RedisStore;
use soloist::{Client, Level};

use crate::certificates::certificates;
use crate::cluster::{hasty, soon, until};
use crate::redis_server::{RedisServer, free_port};

/// Three primaries, each with a third of the slots, that are told what to do over a socket of this machine.
struct Trio {
    nodes: Vec<RedisServer>,
    ports: Vec<u16>,
}

impl Trio {
    /// `meet` is the address at which they find each other, `port` the setting that says where they listen.
    async fn start(meet: &str, port: &str, more: &[&str]) -> Self {
        let mut trio = Trio { nodes: Vec::new(), ports: Vec::new() };
        let mut buses = Vec::new();
        for _ in 0..3 {
            let (own, bus) = (free_port(), free_port().to_string());
            let own_port = own.to_string();
            let args = [
                &["--cluster-enabled", "yes", "--cluster-port", &bus, "--unixsocket", "s"][..],
                &["--cluster-node-timeout", "5000", "--port", "0", port, &own_port],
                more,
            ];
            trio.nodes.push(RedisServer::start_with(&args.concat()));
            trio.ports.push(own);
            buses.push(bus);
        }
        for at in 0..3 {
            let () = trio.say(at, &["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]).await;
            let (from, to) = ((16384 * at / 3).to_string(), (16384 * (at + 1) / 3 - 1).to_string());
            let () = trio.say(at, &["CLUSTER", "ADDSLOTSRANGE", &from, &to]).await;
            if at > 0 {
                let () =
                    trio.say(at, &["CLUSTER", "MEET", meet, &trio.ports[0].to_string(), &buses[0]]).await;
            }
        }
        for at in 0..3 {
            until(async || {
                let info: String = trio.say(at, &["CLUSTER", "INFO"]).await;
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
            .await;
        }
        trio
    }

    async fn say<T: redis::FromRedisValue>(&self, node: usize, words: &[&str]) -> T {
        let socket = self.nodes[node].dir().join("s");
        let client = redis::Client::open(format!("redis+unix://{}", socket.display())).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.unwrap()
    }

    /// Waits until each of them tells the hosts of all in this way, and answers with a URL of the first.
    async fn url(&self, scheme: &str, host: &str, told: &str) -> String {
        for node in 0..3 {
            until(async || {
                let slots: redis::Value = self.say(node, &["CLUSTER", "SLOTS"]).await;
                format!("{slots:?}").matches(&format!("bulk-string('\"{told}\"')")).count() >= 3
            })
            .await;
        }
        format!("{scheme}://{host}:{}", self.ports[0])
    }

    /// Has everything done at all of its nodes, over a slot that moves without a word to the client.
    async fn serves(&self, client: impl AsyncFn() -> Client) {
        let (a, b) = (soon(client()).await, soon(client()).await);
        // One or two in each third.
        for key in ["a", "b", "c", "d", "e"] {
            let lease = soon(a.lock(key).into_future()).await.unwrap();
            let waits = {
                let b = b.clone();
                tokio::spawn(async move { b.lock(key).await })
            };
            until(async || a.inspect(key).await.unwrap().waiting == 1).await;
            soon(lease.release()).await.unwrap();
            // It heard of it, though it looks again only after seconds.
            soon(soon(waits).await.unwrap().unwrap().release()).await.unwrap();
        }
        assert!(soon(a.list("*")).await.unwrap().is_empty());
        let moved = "moved";
        let name = format!("soloist:1:{{{:02x}}}:f", crate::cluster::shard(moved));
        let slot: usize = self.say(0, &["CLUSTER", "KEYSLOT", &name]).await;
        let to = (slot * 3 / 16384 + 1) % 3;
        let id: String = self.say(to, &["CLUSTER", "MYID"]).await;
        for node in [to, (to + 1) % 3, (to + 2) % 3] {
            let () = self.say(node, &["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id]).await;
        }
        soon(soon(a.lock(moved).into_future()).await.unwrap().release()).await.unwrap();
        let findings = soon(a.examine()).await.unwrap();
        let grave: Vec<_> = findings.iter().filter(|finding| finding.level == Level::Error).collect();
        assert!(grave.is_empty(), "{grave:?}");
        assert_eq!(findings.iter().filter(|finding| finding.code == "latency").count(), 3, "{findings:?}");
    }
}

async fn client(url: &str) -> Client {
    Client::builder()
        .store(std::sync::Arc::new(RedisStore::connect_with(url, hasty()).await.unwrap()))
        .unwrap()
}

/// The settings of nodes that speak TLS only, to each other too, with a certificate for one host.
fn tls(dir: &Path, host: &str) -> ([String; 3], Vec<String>) {
    certificates(dir, host);
    let files = ["ca.pem", "cert.pem", "key.pem"].map(|name| dir.join(name).to_str().unwrap().to_owned());
    let [ca, cert, key] = &files;
    let all =
        ["--tls-cluster", "yes", "--tls-ca-cert-file", ca, "--tls-cert-file", cert, "--tls-key-file", key];
    (files.clone(), all.map(Into::into).to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_alone_with_a_certificate_and_a_user_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let ([ca, cert, key], tls) = tls(dir.path(), "127.0.0.1");
    let user = ["--tls-auth-clients", "yes", "--user", "store", "on", ">geh:eim/@%", "~*", "&*", "+@all"];
    let args: Vec<&str> = tls.iter().map(String::as_str).chain(user).collect();
    let trio = Trio::start("127.0.0.1", "--tls-port", &args).await;
    let plain = trio.url("redis-cluster", "store@127.0.0.1", "127.0.0.1").await;
    let url = plain.replace("redis-", "rediss-");
    let whole = format!("{url}?ca={ca}&cert={cert}&key={key}");
    let with_password = async || Client::builder().password("geh:eim/@%").connect(&whole).await.unwrap();
    trio.serves(with_password).await;
    let written = whole.replace("store@", "store:geh%3Aeim%2F%40%25@");
    trio.serves(async || client(&written).await).await;

    for (url, word) in [
        (format!("{url}?ca={ca}&cert={cert}&key={key}").replace("store@", "store:falsch@"), "password"),
        (written.replace(&format!("?ca={ca}&"), "?"), "certificate"),
        (written.split('&').next().unwrap().to_owned(), ""),
        (plain, ""),
    ] {
        let error = soon(RedisStore::connect_with(&url, hasty())).await.unwrap_err().to_string();
        assert!(
            error.contains(word) && !error.contains("falsch") && !error.contains("geh"),
            "{url}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_the_names_that_nodes_announce() {
    let by_name =
        ["--cluster-announce-hostname", "localhost", "--cluster-preferred-endpoint-type", "hostname"];
    let dir = tempfile::tempdir().unwrap();
    let ([ca, ..], tls) = tls(dir.path(), "localhost");
    let args = tls.iter().map(String::as_str).chain(["--tls-auth-clients", "no"]).chain(by_name);
    let trio = Trio::start("127.0.0.1", "--tls-port", &args.collect::<Vec<_>>()).await;
    let url = trio.url("rediss-cluster", "localhost", "localhost").await + &format!("?ca={ca}");
    trio.serves(async || client(&url).await).await;
    // The certificate is for the name only.
    let error = soon(RedisStore::connect_with(&url.replace("localhost", "127.0.0.1"), hasty())).await;
    assert!(error.unwrap_err().to_string().contains("certificate"));

    // Without TLS, an address leads to the names as well.
    let trio = Trio::start("127.0.0.1", "--port", &by_name).await;
    let url = trio.url("redis-cluster", "127.0.0.1", "localhost").await;
    trio.serves(async || client(&url).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_ipv6() {
    let trio = Trio::start("::1", "--port", &["--bind", "::1"]).await;
    let url = trio.url("redis-cluster", "[::1]", "::1").await;
    trio.serves(async || client(&url).await).await;

    let dir = tempfile::tempdir().unwrap();
    let ([ca, ..], tls) = tls(dir.path(), "::1");
    let args = tls.iter().map(String::as_str).chain(["--tls-auth-clients", "no", "--bind", "::1"]);
    let trio = Trio::start("::1", "--tls-port", &args.collect::<Vec<_>>()).await;
    let url = trio.url("rediss-cluster", "[::1]", "::1").await + &format!("?ca={ca}");
    trio.serves(async || client(&url).await).await;
}
