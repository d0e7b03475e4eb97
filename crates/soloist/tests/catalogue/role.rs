//! What the second process of a test does: it works with one key, as it is told.

use std::time::Duration;

use soloist::testing::{SecondProcess, hears, role as role_here, says};
use soloist::{Client, Flight, Leader, Lease};

use crate::fleet::soon;

/// Starts a process that works on key `k` of a store, and waits for its first word.
pub async fn start(role: &str, url: &str, first: &str) -> SecondProcess {
    let mut process = SecondProcess::in_role("role::role", &format!("{role} {url}"), &[]);
    assert_eq!(next(&mut process).await, first);
    process
}

/// What it says next.
pub async fn next(process: &mut SecondProcess) -> String {
    soon(process.says()).await.expect("it still runs")
}

/// Tells it something, and answers what it says to that.
pub async fn ask(process: &mut SecondProcess, what: &str) -> String {
    process.tell(what);
    next(process).await
}

const TTL: Duration = Duration::from_millis(1500);

/// Not a test: what the second process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role() {
    let Some(role) = role_here() else { return };
    let (role, url) = role.split_once(' ').unwrap();
    let client = Client::builder().holder(format!("second {role}")).connect(url).await.unwrap();
    match role {
        "hold" => {
            let lease = client.lock("k").ttl(TTL).await.unwrap();
            says("holding");
            obey(lease, url).await;
        }
        // A holder that takes its time is one that never ends here.
        "wait" => {
            says("waiting");
            let lease = client.lock("k").await.unwrap();
            says("holding");
            lease.lost().await;
        }
        "lead" => {
            let Flight::Leader(leader) = client.once("k").ttl(TTL).join::<String>().await.unwrap() else {
                panic!("somebody else leads");
            };
            says("leading");
            publish_when_told(leader).await;
        }
        // The panic of a task is the end of that task, and of what it held.
        "panic" => {
            let lease = client.lock("k").ttl(Duration::from_secs(3600)).await.unwrap();
            says("holding");
            tokio::task::block_in_place(hears);
            let task = tokio::spawn(async move {
                let _lease = lease;
                panic!("as planned");
            });
            assert!(task.await.is_err());
            says("panicked");
            tokio::task::block_in_place(hears);
        }
        "abort" => {
            let lease = client.lock("k").ttl(TTL).await.unwrap();
            says("holding");
            tokio::task::block_in_place(hears);
            let _lease = lease;
            std::process::abort();
        }
        other => panic!("unknown role {other}"),
    }
}

/// Answers questions about its lease, on the very thread that was told: nothing runs before the answer.
async fn obey(lease: Lease, url: &str) {
    let mut lease = Some(lease);
    while let Some(word) = tokio::task::block_in_place(hears) {
        let said = match word.as_str() {
            "token" => lease.as_ref().unwrap().token().to_string(),
            "is it lost?" => lease.as_ref().unwrap().is_lost().to_string(),
            "why?" => soon(lease.as_ref().unwrap().lost()).await.to_string(),
            "write" => write(url, lease.as_ref().unwrap().token().0, "second").await.to_string(),
            "release" => match lease.take().unwrap().release().await {
                Ok(()) => "released".to_owned(),
                Err(error) => error.to_string(),
            },
            other => panic!("what is {other:?}?"),
        };
        says(&said);
    }
}

async fn publish_when_told(leader: Leader<String>) {
    tokio::task::block_in_place(hears);
    match leader.publish("late".into()).await {
        Ok(value) => says(&format!("published {value}")),
        Err(error) => says(&error.to_string()),
    }
}

/// A write to a register that is fenced as docs/fencing.md says, by its very script. Answers whether it was taken.
pub async fn write(url: &str, token: u64, value: &str) -> bool {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/fencing.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, script) = page.split_once("```lua\n").unwrap();
    let (script, _) = script.split_once("```").unwrap();
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut eval = redis::cmd("EVAL");
    eval.arg(script).arg(2).arg("{r}:value").arg("{r}:fence").arg(token).arg(value);
    eval.query_async::<bool>(&mut connection).await.unwrap()
}
