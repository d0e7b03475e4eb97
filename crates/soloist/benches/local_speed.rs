//! How fast the local store is here: `cargo bench --bench local_speed`.

use std::time::{Duration, Instant};

use soloist::protocol::{Answer, Mode, Request, Ttl, Want, Who};
use soloist::store::local::LocalStore;
use soloist::store::memory::MemoryStore;
use soloist::{Client, Holder, Key, Result, Store, Ticket};

const PARTNER: &str = "SOLOIST_SPEED_PARTNER";
const CYCLES: u32 = 50_000;
const HAND_OVERS: usize = 20_000;

fn request(name: &str) -> Result<Request> {
    Ok(Request {
        key: Key::new(name)?,
        ticket: Ticket::mint(),
        holder: Holder::new(format!("speed:{}", std::process::id()))?,
        note: None,
        want: Want::Lock,
        mode: Mode::Line,
        ttl: Ttl::new(Duration::from_secs(30)),
        bound: true,
        seen: None,
        max_waiting: None,
    })
}

async fn take(store: &LocalStore, request: &Request) -> Result<()> {
    let reply = store.acquire(request).await?;
    if let Answer::Queued(_) = reply.answer {
        store.wait(request, reply).await?;
    }
    Ok(())
}

async fn give(store: &LocalStore, request: &Request) -> Result<()> {
    store.release(&request.key, &Who::Ticket(request.ticket)).await.map(drop)
}

/// Lock and release, with the keeper's part.
async fn client_cycles(store: impl Store) -> Result<f64> {
    let client = Client::builder().store(std::sync::Arc::new(store))?;
    let began = Instant::now();
    for _ in 0..CYCLES {
        client.lock("cycle").await?.release().await?;
    }
    let second = f64::from(CYCLES) / began.elapsed().as_secs_f64();
    client.close().await;
    Ok(second)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = std::env::var_os(PARTNER) {
        let store = LocalStore::open(Some(path.as_ref()))?;
        loop {
            let request = request("pair")?;
            take(&store, &request).await?;
            give(&store, &request).await?;
        }
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("store");

    let began = Instant::now();
    for _ in 0..200 {
        let store = LocalStore::open(Some(&path))?;
        let request = request("alone")?;
        take(&store, &request).await?;
        give(&store, &request).await?;
        store.close().await;
    }
    println!("open, acquire, release, close: {:?}", began.elapsed() / 200);

    let store = LocalStore::open(Some(&path))?;
    let began = Instant::now();
    for _ in 0..CYCLES {
        let request = request("alone")?;
        take(&store, &request).await?;
        give(&store, &request).await?;
    }
    let second = f64::from(CYCLES) / began.elapsed().as_secs_f64();
    println!("acquire + release in one process: {second:.0} a second");

    println!("lock + release by a client: {:.0} a second", client_cycles(store).await?);
    println!("the same in memory: {:.0} a second", client_cycles(MemoryStore::new()).await?);

    let store = LocalStore::open(Some(&path))?;
    let mut partner = std::process::Command::new(std::env::current_exe()?).env(PARTNER, &path).spawn()?;
    let mut turns = Vec::with_capacity(HAND_OVERS);
    let mut held = request("pair")?;
    take(&store, &held).await?;
    while store.inspect(&held.key).await?.waiting == 0 {
        tokio::task::yield_now().await;
    }
    while turns.len() < HAND_OVERS {
        // In line again before the release, so that each grant is a hand-over: two to a turn.
        let next = request("pair")?;
        let standing = store.acquire(&next).await?;
        let began = Instant::now();
        give(&store, &held).await?;
        store.wait(&next, standing).await?;
        turns.push(began.elapsed() / 2);
        held = next;
    }
    turns.sort_unstable();
    let (half, most) = (turns[turns.len() / 2], turns[turns.len() * 99 / 100]);
    println!("hand-over between two processes: p50 {half:?}, p99 {most:?}");
    partner.kill()?;
    partner.wait()?;
    Ok(())
}
